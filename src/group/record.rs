//! The records that keep committed offsets, and their bytes.
//!
//! ```text
//! key    byte  0        1       2           18           22             24
//!             | version| kind 1| topic id  | partition  | name bytes   | group ...
//!             | u8 = 1 | u8    | u128      | u32        | u16          |
//!
//! value  byte  0        1           9               13                   21               23
//!             | version| offset    | leader epoch  | committed at, ms   | metadata bytes  | metadata ...
//!             | u8 = 1 | u64       | i32           | i64                | u16             |
//!
//! key    byte  0        1            value  byte  0        1
//!             | version| kind 2|                 | version| records u64 |
//! ```
//! All little-endian; a key and a value are exactly as long as their fields. No value: the offset was removed. Kind 2
//! ends a snapshot and says how many records came before it. They are keys and values of records in record batches,
//! whose checksum covers them; there is no second one here.

use crate::base::group::Committed;
use crate::base::limits::{GROUP_NAME_BYTES_MAX, GROUP_SLOTS, OFFSET_METADATA_BYTES_MAX};
use crate::base::{Offset, PartitionKey, PartitionNo, TimestampMs, TopicId};
use thiserror::Error;
use zerocopy::byteorder::little_endian::{I32, I64, U16, U32, U64, U128};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

const VERSION: u8 = 1;
const KIND_OFFSET: u8 = 1;
const KIND_COMPLETE: u8 = 2;

/// A change of the committed offsets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum OffsetRecord {
    /// A group has committed an offset, or has none any more.
    Offset {
        /// The group.
        group: String,
        /// Of which partition.
        key: PartitionKey,
        /// What is committed now.
        value: Option<Committed>,
    },
    /// A snapshot is complete.
    Complete {
        /// How many records came before.
        records: u64,
    },
}

/// Why bytes are not such a record.
#[derive(Error, Clone, PartialEq, Eq, Debug)]
pub enum DecodeError {
    /// Shorter or longer than its fields.
    #[error("group record of {have} bytes where its fields take {needed}")]
    Length {
        /// Bytes at hand.
        have: usize,
        /// Bytes that it needs, as far as can be told.
        needed: usize,
    },
    /// Written by a version that we do not know.
    #[error("group record of version {0}: written by a newer broker?")]
    Version(u8),
    /// A kind that we do not know.
    #[error("group record of unknown kind {0}")]
    Kind(u8),
    /// A name or metadata that is not UTF-8.
    #[error("group record with a text that is none")]
    Text,
    /// A value that could never have been decided.
    #[error("group record out of bounds")]
    Bounds,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct KeyFields {
    topic: U128,
    partition: U32,
    group_bytes: U16,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct ValueFields {
    version: u8,
    offset: U64,
    leader_epoch: I32,
    at: I64,
    metadata_bytes: U16,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct CompleteFields {
    version: u8,
    records: U64,
}
const _: () = assert!(size_of::<KeyFields>() == 22 && size_of::<ValueFields>() == 23);
const _: () = assert!(GROUP_NAME_BYTES_MAX <= u16::MAX as usize);
const _: () = assert!(OFFSET_METADATA_BYTES_MAX <= u16::MAX as usize);

/// The partition of ours that keeps the offsets of a group, by its name: FNV-1a, folded, which is a part of the format.
pub fn slot_of(group: &str) -> PartitionNo {
    let hash = group.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    // Both halves: the last byte of a name has hardly reached the high one, and the low one alone is badly mixed.
    PartitionNo((hash ^ (hash >> 32)) as u32 % GROUP_SLOTS)
}

impl OffsetRecord {
    /// Appends the bytes of the key to `out`.
    pub fn encode_key(&self, out: &mut Vec<u8>) {
        match self {
            Self::Offset { group, key, .. } => {
                let fields = KeyFields {
                    topic: U128::new(key.topic.0),
                    partition: U32::new(key.partition.0),
                    group_bytes: length_u16(group),
                };
                out.extend_from_slice(&[VERSION, KIND_OFFSET]);
                out.extend_from_slice(fields.as_bytes());
                out.extend_from_slice(group.as_bytes());
            }
            Self::Complete { .. } => out.extend_from_slice(&[VERSION, KIND_COMPLETE]),
        }
    }

    /// Appends the bytes of the value to `out`. False: the record has none.
    pub fn encode_value(&self, out: &mut Vec<u8>) -> bool {
        match self {
            Self::Offset { value: None, .. } => return false,
            Self::Offset {
                value: Some(value), ..
            } => {
                let fields = ValueFields {
                    version: VERSION,
                    offset: U64::new(value.offset.0),
                    leader_epoch: I32::new(value.leader_epoch),
                    at: I64::new(value.at.0),
                    metadata_bytes: length_u16(&value.metadata),
                };
                out.extend_from_slice(fields.as_bytes());
                out.extend_from_slice(value.metadata.as_bytes());
            }
            Self::Complete { records } => {
                let fields = CompleteFields {
                    version: VERSION,
                    records: U64::new(*records),
                };
                out.extend_from_slice(fields.as_bytes());
            }
        }
        true
    }

    /// Reads a record whose key and value fill their bytes exactly.
    pub fn decode(key: &[u8], value: Option<&[u8]>) -> Result<Self, DecodeError> {
        let [version, kind, rest @ ..] = key else {
            return Err(length(key, 2));
        };
        if *version != VERSION {
            return Err(DecodeError::Version(*version));
        }
        match *kind {
            KIND_OFFSET => {
                let (group, key) = decode_key(key, rest)?;
                let value = value.map(decode_value).transpose()?;
                Ok(Self::Offset { group, key, value })
            }
            KIND_COMPLETE if rest.is_empty() => decode_complete(value.unwrap_or_default()),
            KIND_COMPLETE => Err(length(key, 2)),
            other => Err(DecodeError::Kind(other)),
        }
    }
}

fn decode_key(key: &[u8], rest: &[u8]) -> Result<(String, PartitionKey), DecodeError> {
    let fixed = 2 + size_of::<KeyFields>();
    let (fields, name) = KeyFields::ref_from_prefix(rest).map_err(|_| length(key, fixed))?;
    let name_bytes = usize::from(fields.group_bytes.get());
    if name.len() != name_bytes {
        return Err(length(key, fixed + name_bytes));
    }
    if !(1..=GROUP_NAME_BYTES_MAX).contains(&name_bytes) {
        return Err(DecodeError::Bounds);
    }
    let partition = PartitionNo(fields.partition.get());
    let of = PartitionKey::new(TopicId(fields.topic.get()), partition);
    Ok((text(name)?, of))
}

fn decode_value(bytes: &[u8]) -> Result<Committed, DecodeError> {
    let fixed = size_of::<ValueFields>();
    let (fields, metadata) =
        ValueFields::ref_from_prefix(bytes).map_err(|_| length(bytes, fixed))?;
    if fields.version != VERSION {
        return Err(DecodeError::Version(fields.version));
    }
    let metadata_bytes = usize::from(fields.metadata_bytes.get());
    if metadata.len() != metadata_bytes {
        return Err(length(bytes, fixed + metadata_bytes));
    }
    if metadata_bytes > OFFSET_METADATA_BYTES_MAX {
        return Err(DecodeError::Bounds);
    }
    Ok(Committed {
        offset: Offset(fields.offset.get()),
        leader_epoch: fields.leader_epoch.get(),
        metadata: text(metadata)?,
        at: TimestampMs(fields.at.get()),
    })
}

fn decode_complete(bytes: &[u8]) -> Result<OffsetRecord, DecodeError> {
    let needed = size_of::<CompleteFields>();
    let fields = CompleteFields::ref_from_bytes(bytes).map_err(|_| length(bytes, needed))?;
    match fields.version {
        VERSION => Ok(OffsetRecord::Complete {
            records: fields.records.get(),
        }),
        other => Err(DecodeError::Version(other)),
    }
}

fn text(bytes: &[u8]) -> Result<String, DecodeError> {
    let text = std::str::from_utf8(bytes).map_err(|_| DecodeError::Text)?;
    Ok(text.to_owned())
}

fn length_u16(text: &str) -> U16 {
    U16::new(u16::try_from(text.len()).expect("a checked text is short"))
}

fn length(bytes: &[u8], needed: usize) -> DecodeError {
    DecodeError::Length {
        have: bytes.len(),
        needed,
    }
}
