//! The catalog's records and their bytes.
//!
//! ```text
//! byte  0        1       2            18           22      23           31           39        40
//!       | version| kind 1| topic id   | partitions | ack   | segment    | segment    | name    | name ...
//!       | u8 = 1 | u8    | u128       | u32        | u8    | bytes u64  | ms u64     | len u8  |
//!
//! byte  0        1       2            18
//!       | version| kind 2| topic id   |
//! ```
//! All little-endian. A record is exactly as long as its fields: more is as wrong as less. It is the value of a record
//! in a record batch, whose checksum covers it; there is no second one here.

use crate::base::{AckLevel, TopicId};
use crate::catalog::rules::{Refusal, check_name, check_partitions, check_settings};
use thiserror::Error;
use zerocopy::byteorder::little_endian::{U32, U64, U128};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

const VERSION: u8 = 1;
const KIND_CREATED: u8 = 1;
const KIND_DELETED: u8 = 2;

/// What a topic is made with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// The level that records must reach before they are read: `Written` or `Synced`.
    pub ack: AckLevel,
    /// A segment is sealed before it grows past this many bytes.
    pub segment_bytes: u64,
    /// A segment is sealed when its first record is this old, in milliseconds.
    pub segment_ms: u64,
}

/// A topic.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Topic {
    /// Its identity.
    pub id: TopicId,
    /// Its name; unique among those that live.
    pub name: String,
    /// How many partitions it has.
    pub partitions: u32,
    /// Its settings.
    pub settings: Settings,
}

/// A change of the catalog.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Record {
    /// A topic was made.
    TopicCreated(Topic),
    /// A topic was deleted, with all its records.
    TopicDeleted {
        /// Which.
        id: TopicId,
    },
}

/// Why bytes are not a catalog record.
#[derive(Error, Clone, PartialEq, Eq, Debug)]
pub enum DecodeError {
    /// Shorter or longer than its fields.
    #[error("catalog record of {have} bytes where its fields take {needed}")]
    Length {
        /// Bytes at hand.
        have: usize,
        /// Bytes that it needs, as far as can be told.
        needed: usize,
    },
    /// Written by a version that we do not know.
    #[error("catalog record of version {0}: written by a newer broker?")]
    Version(u8),
    /// A kind that we do not know.
    #[error("catalog record of unknown kind {0}")]
    Kind(u8),
    /// A level that does not exist.
    #[error("catalog record with unknown ack level {0}")]
    Level(u8),
    /// A name that is not UTF-8.
    #[error("catalog record with a name that is no text")]
    Name,
    /// A value that could never have been decided.
    #[error("catalog record out of bounds: {0}")]
    Bounds(Refusal),
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Prefix {
    version: u8,
    kind: u8,
    id: U128,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct CreatedFields {
    partitions: U32,
    ack: u8,
    segment_bytes: U64,
    segment_ms: U64,
    name_bytes: u8,
}
const _: () = assert!(size_of::<Prefix>() == 18 && size_of::<CreatedFields>() == 22);
const _: () = assert!(crate::base::limits::TOPIC_NAME_BYTES_MAX <= u8::MAX as usize);

impl Record {
    /// Appends the record's bytes to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::TopicCreated(topic) => {
                out.extend_from_slice(prefix(KIND_CREATED, topic.id).as_bytes());
                let name_bytes = u8::try_from(topic.name.len()).expect("a checked name is short");
                let fields = CreatedFields {
                    partitions: U32::new(topic.partitions),
                    ack: topic.settings.ack.code(),
                    segment_bytes: U64::new(topic.settings.segment_bytes),
                    segment_ms: U64::new(topic.settings.segment_ms),
                    name_bytes,
                };
                out.extend_from_slice(fields.as_bytes());
                out.extend_from_slice(topic.name.as_bytes());
            }
            Self::TopicDeleted { id } => {
                out.extend_from_slice(prefix(KIND_DELETED, *id).as_bytes());
            }
        }
    }

    /// Reads a record that fills `bytes` exactly.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let (prefix, rest) =
            Prefix::ref_from_prefix(bytes).map_err(|_| length(bytes, size_of::<Prefix>()))?;
        if prefix.version != VERSION {
            return Err(DecodeError::Version(prefix.version));
        }
        let id = TopicId(prefix.id.get());
        match prefix.kind {
            KIND_CREATED => decode_created(bytes, rest, id).map(Self::TopicCreated),
            KIND_DELETED if rest.is_empty() => Ok(Self::TopicDeleted { id }),
            KIND_DELETED => Err(length(bytes, size_of::<Prefix>())),
            other => Err(DecodeError::Kind(other)),
        }
    }
}

fn prefix(kind: u8, id: TopicId) -> Prefix {
    Prefix {
        version: VERSION,
        kind,
        id: U128::new(id.0),
    }
}

fn decode_created(bytes: &[u8], rest: &[u8], id: TopicId) -> Result<Topic, DecodeError> {
    let fixed = size_of::<Prefix>() + size_of::<CreatedFields>();
    let (fields, name) = CreatedFields::ref_from_prefix(rest).map_err(|_| length(bytes, fixed))?;
    if name.len() != usize::from(fields.name_bytes) {
        return Err(length(bytes, fixed + usize::from(fields.name_bytes)));
    }
    let name = std::str::from_utf8(name).map_err(|_| DecodeError::Name)?;
    let settings = Settings {
        ack: AckLevel::from_code(fields.ack).ok_or(DecodeError::Level(fields.ack))?,
        segment_bytes: fields.segment_bytes.get(),
        segment_ms: fields.segment_ms.get(),
    };
    let partitions = fields.partitions.get();
    check_name(name).map_err(DecodeError::Bounds)?;
    check_partitions(partitions).map_err(DecodeError::Bounds)?;
    check_settings(&settings).map_err(DecodeError::Bounds)?;
    Ok(Topic {
        id,
        name: name.to_owned(),
        partitions,
        settings,
    })
}

fn length(bytes: &[u8], needed: usize) -> DecodeError {
    DecodeError::Length {
        have: bytes.len(),
        needed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::limits::SEGMENT_BYTES_DEFAULT;

    fn samples() -> [Record; 2] {
        let topic = Topic {
            id: TopicId(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef),
            name: "orders.v1".into(),
            partitions: 12,
            settings: Settings {
                ack: AckLevel::Synced,
                segment_bytes: SEGMENT_BYTES_DEFAULT,
                segment_ms: 1_000,
            },
        };
        let id = topic.id;
        [Record::TopicCreated(topic), Record::TopicDeleted { id }]
    }

    fn bytes_of(record: &Record) -> Vec<u8> {
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        bytes
    }

    #[test]
    fn records_round_trip() {
        for record in samples() {
            assert_eq!(Record::decode(&bytes_of(&record)), Ok(record));
        }
    }

    /// Goal: the bytes stay what they are. Method: a record written down by hand from the drawing above.
    #[test]
    fn the_bytes_are_as_drawn() {
        let id: [u8; 16] = std::array::from_fn(|i| i as u8);
        let mut expected = vec![1, 1];
        expected.extend_from_slice(&id);
        expected.extend_from_slice(&[3, 0, 0, 0, 1, 0, 0, 0, 16, 0, 0, 0, 0]);
        expected.extend_from_slice(&[0xe8, 3, 0, 0, 0, 0, 0, 0, 2, b'a', b'b']);
        let record = Record::TopicCreated(Topic {
            id: TopicId(u128::from_le_bytes(id)),
            name: "ab".into(),
            partitions: 3,
            settings: Settings {
                ack: AckLevel::Written,
                segment_bytes: 256 << 20,
                segment_ms: 1_000,
            },
        });
        assert_eq!(bytes_of(&record), expected);
    }

    #[test]
    fn every_truncation_and_any_byte_more_is_refused() {
        for record in samples() {
            let mut bytes = bytes_of(&record);
            for cut in 0..bytes.len() {
                assert!(
                    matches!(
                        Record::decode(&bytes[..cut]),
                        Err(DecodeError::Length { .. })
                    ),
                    "cut at {cut}"
                );
            }
            bytes.push(0);
            assert!(Record::decode(&bytes).is_err());
        }
    }

    #[test]
    fn what_nobody_could_have_decided_is_refused() {
        let bytes = bytes_of(&samples()[0]);
        for (index, byte, expected) in [
            (0, 2, DecodeError::Version(2)),
            (1, 3, DecodeError::Kind(3)),
            (22, 7, DecodeError::Level(7)),
            (40, 0xff, DecodeError::Name),
        ] {
            let mut bad = bytes.clone();
            bad[index] = byte;
            assert_eq!(Record::decode(&bad), Err(expected));
        }
        for (index, byte) in [(18, 0), (22, 0), (30, 0xff), (40, b'/')] {
            let mut bad = bytes.clone();
            bad[index] = byte;
            if index == 18 {
                bad[18..22].fill(0);
            }
            assert!(
                matches!(Record::decode(&bad), Err(DecodeError::Bounds(_))),
                "{index}"
            );
        }
    }
}
