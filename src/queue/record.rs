//! The records that keep a ledger, and their bytes.
//!
//! ```text
//! byte  0      1      2          4            8        16        24       32       40
//!       | kind | how  | zero u16 | number u32 | from   | until   | time   | other  |
//!       | u8   | u8   |          |            | u64    | u64     | i64    | u64    |
//!
//! kind           how       number        from     until   time              other
//! 1 settled      how       0             first    end     0                 0
//! 2 delivered    0         deliveries    first    end     first delivery    0
//! 3 delayed      0         0             first    end     not before        wait in ms
//! 4 dying        cause     dead letters' record   +1      0                 their offset
//!                          partition, or 2^32-1: nowhere yet                 or 0
//! 5 checkpoint   0         0             begin    end     0                 0
//! 6 held         0         deliveries    first    end     first delivery    0
//! 7 total        how       0             count    0       0                 0
//! 8 complete     0         0             records  0       0                 0
//! ```
//! All little-endian, all of one size; what a kind does not use is zero. They stand back to back behind one byte of version
//! in the value of a record of a record batch, whose checksum covers them. A checkpoint is what stands from its record of
//! kind 5 to that of kind 8, which says how many came between (kinds 3, 4, 6 and 7): it takes the place of everything
//! before it. Without its end it says nothing, and the next record of another kind shows that it never got one.

use crate::base::limits::TOPIC_PARTITIONS_MAX;
use crate::base::{Offset, PartitionNo, TimestampMs};
use crate::queue::{Cause, Evidence};
use thiserror::Error;
use zerocopy::byteorder::little_endian::{I64, U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

const VERSION: u8 = 1;
/// Stands for a partition of dead letters where there is none.
const NOWHERE: u32 = u32::MAX;
const _: () = assert!(TOPIC_PARTITIONS_MAX < NOWHERE);

/// The bytes of one record.
pub const RECORD_BYTES: usize = size_of::<Fields>();

/// How a record is done with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Settled {
    /// A consumer is done with it.
    Acked,
    /// It was given up: moved to the dead letters where there are any.
    Dead,
    /// It was too old.
    Expired,
    /// Somebody did not want it any more, or the log was trimmed.
    Purged,
    /// There is no such record: a gap of the log.
    Absent,
    /// It was done with in another way, and then the end of the log was lost with the power, and it with it. Its offset is
    /// that of another record now.
    Lost,
}

impl Settled {
    /// All of them, by code.
    pub const ALL: [Self; 6] = [
        Self::Acked,
        Self::Dead,
        Self::Expired,
        Self::Purged,
        Self::Absent,
        Self::Lost,
    ];

    fn code(self) -> u8 {
        self as u8 + 1
    }

    fn from_code(code: u8) -> Option<Self> {
        let one = usize::from(code).checked_sub(1)?;
        Self::ALL.get(one).copied()
    }
}

/// A change of a ledger, or a piece of a checkpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LedgerRecord {
    /// Records are done with.
    Settled {
        /// How.
        how: Settled,
        /// The first.
        from: Offset,
        /// After the last.
        until: Offset,
    },
    /// Records are about to be delivered.
    Delivered {
        /// The first.
        from: Offset,
        /// After the last.
        until: Offset,
        /// For the how-many-eth time, each.
        deliveries: u32,
        /// When each was first delivered.
        first: TimestampMs,
    },
    /// Records wait.
    Delayed {
        /// The first.
        from: Offset,
        /// After the last.
        until: Offset,
        /// Until when.
        not_before: TimestampMs,
        /// How long that was when it was decided, in milliseconds.
        wait_ms: u32,
    },
    /// A record is about to be moved to the dead letters.
    Dying {
        /// Which.
        offset: Offset,
        /// Why.
        cause: Cause,
        /// Where to look for it; `None`: it was not written anywhere yet.
        evidence: Option<Evidence>,
    },
    /// A checkpoint begins: nothing at all is in the ledger but what follows.
    Checkpoint {
        /// The first record that the queue covers.
        begin: Offset,
        /// After the last one that is in the ledger.
        end: Offset,
    },
    /// Records are not done with.
    Held {
        /// The first.
        from: Offset,
        /// After the last.
        until: Offset,
        /// How often each was delivered.
        deliveries: u32,
        /// When each was first delivered, if it ever was.
        first: TimestampMs,
    },
    /// How many records have been done with in one way, ever.
    Total {
        /// In which.
        how: Settled,
        /// How many.
        count: u64,
    },
    /// The checkpoint is complete.
    Complete {
        /// How many records there were between its beginning and this.
        records: u64,
    },
}

/// Why bytes are no such records.
#[derive(Error, Clone, Copy, PartialEq, Eq, Debug)]
pub enum DecodeError {
    /// No whole number of records behind the version.
    #[error("ledger records of {0} bytes: they take {RECORD_BYTES} each behind one of version")]
    Length(usize),
    /// Written by a version that we do not know.
    #[error("ledger records of version {0}: written by a newer broker?")]
    Version(u8),
    /// A kind that we do not know.
    #[error("ledger record of unknown kind {0}")]
    Kind(u8),
    /// A way to be done with, or a cause, that we do not know.
    #[error("ledger record with unknown code {0}")]
    Code(u8),
    /// A value that could never have been decided.
    #[error("ledger record out of bounds")]
    Bounds,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Default)]
#[repr(C)]
struct Fields {
    kind: u8,
    how: u8,
    zero: U16,
    number: U32,
    from: U64,
    until: U64,
    time: I64,
    other: U64,
}
const _: () = assert!(RECORD_BYTES == 40);

/// Appends the bytes of `records` to `out`.
pub fn encode_all(records: &[LedgerRecord], out: &mut Vec<u8>) {
    out.reserve(1 + records.len() * RECORD_BYTES);
    out.push(VERSION);
    for record in records {
        out.extend_from_slice(fields(record).as_bytes());
    }
}

/// The records that fill `bytes` exactly.
pub fn decode_all(
    bytes: &[u8],
) -> Result<impl Iterator<Item = Result<LedgerRecord, DecodeError>> + '_, DecodeError> {
    let length = DecodeError::Length(bytes.len());
    let (&version, rest) = bytes.split_first().ok_or(length)?;
    if version != VERSION {
        return Err(DecodeError::Version(version));
    }
    let all = <[Fields]>::ref_from_bytes(rest).map_err(|_| length)?;
    Ok(all.iter().map(decode))
}

fn fields(record: &LedgerRecord) -> Fields {
    match *record {
        LedgerRecord::Settled { how, from, until } => Fields {
            how: how.code(),
            ..span(1, from, until)
        },
        LedgerRecord::Delivered {
            from,
            until,
            deliveries,
            first,
        } => Fields {
            number: U32::new(deliveries),
            time: I64::new(first.0),
            ..span(2, from, until)
        },
        LedgerRecord::Delayed {
            from,
            until,
            not_before,
            wait_ms,
        } => Fields {
            time: I64::new(not_before.0),
            other: U64::new(u64::from(wait_ms)),
            ..span(3, from, until)
        },
        LedgerRecord::Dying {
            offset,
            cause,
            evidence,
        } => Fields {
            how: cause.code(),
            number: U32::new(evidence.map_or(NOWHERE, |evidence| evidence.partition.0)),
            other: U64::new(evidence.map_or(0, |evidence| evidence.from.0)),
            ..span(4, offset, offset.plus(1))
        },
        LedgerRecord::Checkpoint { begin, end } => span(5, begin, end),
        LedgerRecord::Held {
            from,
            until,
            deliveries,
            first,
        } => Fields {
            number: U32::new(deliveries),
            time: I64::new(first.0),
            ..span(6, from, until)
        },
        LedgerRecord::Total { how, count } => Fields {
            how: how.code(),
            ..span(7, Offset(count), Offset(0))
        },
        LedgerRecord::Complete { records } => span(8, Offset(records), Offset(0)),
    }
}

fn span(kind: u8, from: Offset, until: Offset) -> Fields {
    Fields {
        kind,
        from: U64::new(from.0),
        until: U64::new(until.0),
        ..Fields::default()
    }
}

fn decode(fields: &Fields) -> Result<LedgerRecord, DecodeError> {
    let record = read(fields)?;
    // What a kind does not use is zero: then there is one way to write each record.
    match self::fields(&record).as_bytes() == fields.as_bytes() {
        true => Ok(record),
        false => Err(DecodeError::Bounds),
    }
}

fn read(fields: &Fields) -> Result<LedgerRecord, DecodeError> {
    let (from, until) = (fields.from.get(), fields.until.get());
    let is_sound = match fields.kind {
        1..=3 | 6 => from < until,
        // An offset that can still be counted on.
        4 => from < u64::MAX,
        5 => from <= until,
        _ => true,
    };
    let (number, from, until) = (fields.number.get(), Offset(from), Offset(until));
    let (time, other) = (TimestampMs(fields.time.get()), fields.other.get());
    let record = match fields.kind {
        1..=8 if !is_sound => return Err(DecodeError::Bounds),
        1 => LedgerRecord::Settled {
            how: settled(fields.how)?,
            from,
            until,
        },
        2 if number == 0 => return Err(DecodeError::Bounds),
        2 => LedgerRecord::Delivered {
            from,
            until,
            deliveries: number,
            first: time,
        },
        3 => LedgerRecord::Delayed {
            from,
            until,
            not_before: time,
            wait_ms: u32::try_from(other).map_err(|_| DecodeError::Bounds)?,
        },
        4 => LedgerRecord::Dying {
            offset: from,
            cause: Cause::from_code(fields.how).ok_or(DecodeError::Code(fields.how))?,
            evidence: match number {
                NOWHERE => None,
                _ => Some(Evidence {
                    partition: PartitionNo(number),
                    from: Offset(other),
                }),
            },
        },
        5 => LedgerRecord::Checkpoint {
            begin: from,
            end: until,
        },
        6 => LedgerRecord::Held {
            from,
            until,
            deliveries: number,
            first: time,
        },
        7 => LedgerRecord::Total {
            how: settled(fields.how)?,
            count: from.0,
        },
        8 => LedgerRecord::Complete { records: from.0 },
        other => return Err(DecodeError::Kind(other)),
    };
    Ok(record)
}

fn settled(code: u8) -> Result<Settled, DecodeError> {
    Settled::from_code(code).ok_or(DecodeError::Code(code))
}
