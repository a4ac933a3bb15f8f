//! The catalog's records and their bytes.
//!
//! ```text
//! byte  0        1       2            18           22                76        77
//!       | version| kind 1| topic id   | partitions | settings        | name    | name ...   a topic was made
//!       | u8 = 3 | u8    | u128       | u32        | 54 bytes        | len u8  |
//!
//!       | version| kind 2| topic id   |                                                     a topic was deleted
//!       | version| kind 3| topic id   | partitions | settings        |                      a topic was changed
//!
//! settings, byte  0      1          9          17          21         22              30
//!                 | ack  | segment  | segment  | batch     | timestamp| timestamp     | timestamp    |
//!                 | u8   | bytes u64| ms u64   | bytes u32 | type u8  | before ms u64 | after ms u64 |
//!                 38               46
//!                 | retention     | retention   |
//!                 | ms u64        | bytes u64   |
//! ```
//! Those of queues (kinds 4 and 5) are drawn in `queue_record`.
//!
//! All little-endian. A record is exactly as long as its fields: more is as wrong as less. It is the value of a record
//! in a record batch, whose checksum covers it; there is no second one here. Records of older versions are read for ever:
//! version 2 has no retention among the settings; version 1 has only ack, segment bytes and segment ms there, and nothing
//! that changes a topic, and no queues.

use crate::base::{AckLevel, TimestampType, TopicId, TopicSettings};
use crate::catalog::queue_record::{self, Queue};
use crate::catalog::rules::{Refusal, check_name, check_partitions, check_settings};
use thiserror::Error;
use zerocopy::byteorder::little_endian::{U32, U64, U128};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

const VERSION: u8 = 3;
/// The first that has all settings but retention, changes of topics, and queues.
const VERSION_MORE: u8 = 2;
const VERSION_FIRST: u8 = 1;
const KIND_CREATED: u8 = 1;
const KIND_DELETED: u8 = 2;
const KIND_ALTERED: u8 = 3;

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
    pub settings: TopicSettings,
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
    /// A topic was changed: from here on it is as this says.
    TopicAltered {
        /// Which.
        id: TopicId,
        /// How many partitions it has: never fewer than before.
        partitions: u32,
        /// All its settings.
        settings: TopicSettings,
    },
    /// A queue was made.
    QueueCreated(Queue),
    /// A queue was deleted; its topic stays.
    QueueDeleted {
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
    /// A type of timestamps that does not exist.
    #[error("catalog record with unknown timestamp type {0}")]
    TimestampType(u8),
    /// A setting of a queue that does not exist.
    #[error("catalog record with unknown setting {0} of a queue")]
    QueueCode(u8),
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

/// The settings of version 1.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct FirstSettings {
    ack: u8,
    segment_bytes: U64,
    segment_ms: U64,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct MoreSettings {
    batch_bytes_max: U32,
    timestamp_type: u8,
    timestamp_before_ms_max: U64,
    timestamp_after_ms_max: U64,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RetentionSettings {
    ms: U64,
    bytes: U64,
}
const _: () = assert!(size_of::<Prefix>() == 18);
const _: () = assert!(size_of::<FirstSettings>() + size_of::<MoreSettings>() == 38);
const _: () = assert!(size_of::<RetentionSettings>() == 16);
const _: () = assert!(crate::base::limits::TOPIC_NAME_BYTES_MAX <= u8::MAX as usize);

impl Record {
    /// Appends the record's bytes to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::TopicCreated(topic) => {
                prefix(KIND_CREATED, topic.id, out);
                out.extend_from_slice(&topic.partitions.to_le_bytes());
                encode_settings(&topic.settings, out);
                out.push(u8::try_from(topic.name.len()).expect("a checked name is short"));
                out.extend_from_slice(topic.name.as_bytes());
            }
            Self::TopicDeleted { id } => prefix(KIND_DELETED, *id, out),
            Self::TopicAltered {
                id,
                partitions,
                settings,
            } => {
                prefix(KIND_ALTERED, *id, out);
                out.extend_from_slice(&partitions.to_le_bytes());
                encode_settings(settings, out);
            }
            Self::QueueCreated(queue) => queue_record::encode(queue, out),
            Self::QueueDeleted { id } => prefix(queue_record::KIND_DELETED, *id, out),
        }
    }

    /// Reads a record that fills `bytes` exactly.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut fields = Fields { bytes, at: 0 };
        let prefix: &Prefix = fields.next(0)?;
        if !(VERSION_FIRST..=VERSION).contains(&prefix.version) {
            return Err(DecodeError::Version(prefix.version));
        }
        let id = TopicId(prefix.id.get());
        let record = match (prefix.kind, prefix.version) {
            (KIND_CREATED, version) => {
                Self::TopicCreated(decode_created(&mut fields, id, version)?)
            }
            (KIND_DELETED, _) => Self::TopicDeleted { id },
            (KIND_ALTERED, version @ VERSION_MORE..) => Self::TopicAltered {
                id,
                partitions: decode_partitions(&mut fields, size_of::<FirstSettings>())?,
                settings: decode_settings(&mut fields, version, 0)?,
            },
            (queue_record::KIND_CREATED, VERSION_MORE..) => queue_record::decode(&mut fields, id)?,
            (queue_record::KIND_DELETED, VERSION_MORE..) => Self::QueueDeleted { id },
            (other, _) => return Err(DecodeError::Kind(other)),
        };
        match fields.rest() {
            [] => Ok(record),
            _ => Err(length(bytes, fields.at)),
        }
    }
}

/// Takes fields off the front of a record.
pub(super) struct Fields<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) at: usize,
}

impl<'a> Fields<'a> {
    pub(super) fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..]
    }

    /// The next field; behind it at least `behind` bytes more are needed.
    pub(super) fn next<T: FromBytes + Immutable + KnownLayout + Unaligned>(
        &mut self,
        behind: usize,
    ) -> Result<&'a T, DecodeError> {
        let needed = self.at + size_of::<T>() + behind;
        let taken = T::ref_from_prefix(self.rest()).map_err(|_| length(self.bytes, needed));
        let (field, _) = taken?;
        self.at += size_of::<T>();
        Ok(field)
    }
}

pub(super) fn prefix(kind: u8, id: TopicId, out: &mut Vec<u8>) {
    let prefix = Prefix {
        version: VERSION,
        kind,
        id: U128::new(id.0),
    };
    out.extend_from_slice(prefix.as_bytes());
}

fn encode_settings(settings: &TopicSettings, out: &mut Vec<u8>) {
    let first = FirstSettings {
        ack: settings.ack.code(),
        segment_bytes: U64::new(settings.segment_bytes),
        segment_ms: U64::new(settings.segment_ms),
    };
    let more = MoreSettings {
        batch_bytes_max: U32::new(settings.batch_bytes_max),
        timestamp_type: settings.timestamp_type.code(),
        timestamp_before_ms_max: U64::new(settings.timestamp_before_ms_max),
        timestamp_after_ms_max: U64::new(settings.timestamp_after_ms_max),
    };
    let retention = RetentionSettings {
        ms: U64::new(settings.retention_ms),
        bytes: U64::new(settings.retention_bytes),
    };
    out.extend_from_slice(first.as_bytes());
    out.extend_from_slice(more.as_bytes());
    out.extend_from_slice(retention.as_bytes());
}

fn decode_created(fields: &mut Fields<'_>, id: TopicId, version: u8) -> Result<Topic, DecodeError> {
    let partitions = decode_partitions(fields, size_of::<FirstSettings>() + 1)?;
    let settings = decode_settings(fields, version, 1)?;
    let name_bytes = usize::from(*fields.next::<u8>(0)?);
    let name = fields.rest();
    if name.len() != name_bytes {
        return Err(length(fields.bytes, fields.at + name_bytes));
    }
    fields.at += name_bytes;
    let name = std::str::from_utf8(name).map_err(|_| DecodeError::Name)?;
    check_name(name).map_err(DecodeError::Bounds)?;
    Ok(Topic {
        id,
        name: name.to_owned(),
        partitions,
        settings,
    })
}

fn decode_partitions(fields: &mut Fields<'_>, behind: usize) -> Result<u32, DecodeError> {
    let partitions = fields.next::<U32>(behind)?.get();
    check_partitions(partitions).map_err(DecodeError::Bounds)?;
    Ok(partitions)
}

/// What a version lacks is as it was before there was such a setting, which is what the defaults say.
fn decode_settings(
    fields: &mut Fields<'_>,
    version: u8,
    behind: usize,
) -> Result<TopicSettings, DecodeError> {
    let first: &FirstSettings = fields.next(behind)?;
    let mut settings = TopicSettings {
        ack: AckLevel::from_code(first.ack).ok_or(DecodeError::Level(first.ack))?,
        segment_bytes: first.segment_bytes.get(),
        segment_ms: first.segment_ms.get(),
        ..TopicSettings::default()
    };
    if version >= VERSION_MORE {
        let more: &MoreSettings = fields.next(behind)?;
        let code = more.timestamp_type;
        settings.batch_bytes_max = more.batch_bytes_max.get();
        settings.timestamp_type =
            TimestampType::from_code(code).ok_or(DecodeError::TimestampType(code))?;
        settings.timestamp_before_ms_max = more.timestamp_before_ms_max.get();
        settings.timestamp_after_ms_max = more.timestamp_after_ms_max.get();
    }
    if version > VERSION_MORE {
        let retention: &RetentionSettings = fields.next(behind)?;
        settings.retention_ms = retention.ms.get();
        settings.retention_bytes = retention.bytes.get();
    }
    check_settings(&settings).map_err(DecodeError::Bounds)?;
    Ok(settings)
}

pub(super) fn length(bytes: &[u8], needed: usize) -> DecodeError {
    DecodeError::Length {
        have: bytes.len(),
        needed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::KEEP_ALL;

    fn settings() -> TopicSettings {
        TopicSettings {
            ack: AckLevel::Synced,
            segment_ms: 1_000,
            batch_bytes_max: 1_000_000,
            timestamp_type: TimestampType::Append,
            timestamp_before_ms_max: 7,
            timestamp_after_ms_max: 8,
            ..TopicSettings::default()
        }
    }

    fn samples() -> [Record; 3] {
        let topic = Topic {
            id: TopicId(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef),
            name: "orders.v1".into(),
            partitions: 12,
            settings: settings(),
        };
        let id = topic.id;
        let altered = Record::TopicAltered {
            id,
            partitions: 13,
            settings: settings(),
        };
        [
            Record::TopicCreated(topic),
            Record::TopicDeleted { id },
            altered,
        ]
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

    /// The id of the records that are written down by hand.
    const ID: [u8; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

    fn by_hand(version: u8, kind: u8, rest: &[&[u8]]) -> Vec<u8> {
        [&[version, kind], &ID[..], &rest.concat()].concat()
    }

    /// Partitions 3, ack written, segments of 256 MiB and a second.
    const FIRST: [u8; 21] = [
        3, 0, 0, 0, 1, 0, 0, 0, 16, 0, 0, 0, 0, 0xe8, 3, 0, 0, 0, 0, 0, 0,
    ];
    /// Batches of 64 KiB, append time, 5 ms before and 6 after.
    const MORE: [u8; 21] = [
        0, 0, 1, 0, 1, 5, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0,
    ];

    /// 7 ms, and all bytes.
    const RETENTION: [u8; 16] = [
        7, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255,
    ];

    fn topic(settings: TopicSettings) -> Topic {
        Topic {
            id: TopicId(u128::from_le_bytes(ID)),
            name: "ab".into(),
            partitions: 3,
            settings,
        }
    }

    /// Goal: the bytes stay what they are. Method: records written down by hand from the drawing above.
    #[test]
    fn the_bytes_are_as_drawn() {
        let settings = TopicSettings {
            ack: AckLevel::Written,
            segment_bytes: 256 << 20,
            segment_ms: 1_000,
            batch_bytes_max: 64 << 10,
            timestamp_type: TimestampType::Append,
            timestamp_before_ms_max: 5,
            timestamp_after_ms_max: 6,
            retention_ms: 7,
            retention_bytes: KEEP_ALL,
        };
        let topic = topic(settings);
        let altered = Record::TopicAltered {
            id: topic.id,
            partitions: 3,
            settings,
        };
        let name: &[u8] = &[2, b'a', b'b'];
        for (record, bytes) in [
            (
                Record::TopicCreated(topic),
                by_hand(3, 1, &[&FIRST, &MORE, &RETENTION, name]),
            ),
            (altered, by_hand(3, 3, &[&FIRST, &MORE, &RETENTION])),
        ] {
            assert_eq!(bytes_of(&record), bytes);
        }
    }

    /// Goal: a catalog from before there was retention is read, and keeps everything. Method: its bytes by hand.
    #[test]
    fn the_second_version_is_still_read() {
        let settings = TopicSettings {
            ack: AckLevel::Written,
            segment_bytes: 256 << 20,
            segment_ms: 1_000,
            batch_bytes_max: 64 << 10,
            timestamp_type: TimestampType::Append,
            timestamp_before_ms_max: 5,
            timestamp_after_ms_max: 6,
            ..TopicSettings::default()
        };
        let topic = topic(settings);
        let altered = Record::TopicAltered {
            id: topic.id,
            partitions: 3,
            settings,
        };
        let name: &[u8] = &[2, b'a', b'b'];
        for (bytes, record) in [
            (
                by_hand(2, 1, &[&FIRST, &MORE, name]),
                Record::TopicCreated(topic),
            ),
            (by_hand(2, 3, &[&FIRST, &MORE]), altered),
        ] {
            assert_eq!(Record::decode(&bytes), Ok(record));
            for cut in 0..bytes.len() {
                assert!(Record::decode(&bytes[..cut]).is_err(), "cut at {cut}");
            }
        }
    }

    /// Goal: a catalog of the first version is read. Method: its bytes by hand; what it lacks is what holds unasked.
    #[test]
    fn the_first_version_is_still_read() {
        let settings = TopicSettings {
            ack: AckLevel::Written,
            segment_bytes: 256 << 20,
            segment_ms: 1_000,
            ..TopicSettings::default()
        };
        let (id, name): (_, &[u8]) = (TopicId(u128::from_le_bytes(ID)), &[2, b'a', b'b']);
        let created = by_hand(1, 1, &[&FIRST, name]);
        let expected = Record::TopicCreated(topic(settings));
        assert_eq!(Record::decode(&created), Ok(expected));
        let deleted = Record::decode(&by_hand(1, 2, &[]));
        assert_eq!(deleted, Ok(Record::TopicDeleted { id }));
        let altered = Record::decode(&by_hand(1, 3, &[&FIRST]));
        assert_eq!(altered, Err(DecodeError::Kind(3)), "it had no such kind");
        for cut in 0..created.len() {
            assert!(Record::decode(&created[..cut]).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn every_truncation_and_any_byte_more_is_refused() {
        for record in samples() {
            let mut bytes = bytes_of(&record);
            for cut in 0..bytes.len() {
                assert!(
                    matches!(
                        Record::decode(&bytes[..cut]),
                        Err(DecodeError::Length { have, needed }) if have == cut && needed > cut
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
            (0, 4, DecodeError::Version(4)),
            (0, 0, DecodeError::Version(0)),
            (1, 6, DecodeError::Kind(6)),
            (22, 7, DecodeError::Level(7)),
            (43, 2, DecodeError::TimestampType(2)),
            (77, 0xff, DecodeError::Name),
        ] {
            let mut bad = bytes.clone();
            bad[index] = byte;
            assert_eq!(Record::decode(&bad), Err(expected));
        }
        // Partitions 0, ack none, vast segments, no batch at all, a span that is no span, a name that is a path.
        for (index, byte) in [
            (18, 0),
            (22, 0),
            (30, 0xff),
            (39, 0),
            (51, 0xff),
            (77, b'/'),
        ] {
            let mut bad = bytes.clone();
            bad[index] = byte;
            match index {
                18 => bad[18..22].fill(0),
                39 => bad[39..43].fill(0),
                _ => {}
            }
            assert!(
                matches!(Record::decode(&bad), Err(DecodeError::Bounds(_))),
                "{index}"
            );
        }
    }
}
