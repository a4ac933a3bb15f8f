//! Queues in the catalog, and the bytes of their records.
//!
//! ```text
//! byte  0        1       2            18           34              50      51     52        56
//!       | version| kind 4| queue id   | topic id   | dead letters' | flags | from | lease   | deliveries | retry |
//!       | u8 = 2 | u8    | u128       | u128       | topic id u128 | u8    | u8   | ms u32  | max u32    | u8    |
//!
//!       60       61      62
//!       | retry  | steps | step ms u32, so often | name len u8 | name ...                        a queue was made
//!       | u8     | u8    |                       |             |
//!
//!       | version| kind 5| queue id   |                                                         a queue was deleted
//! ```
//! All little-endian. No dead letters: 0. Flags: 1 key order, 2 headers are read. From: 0 the beginning, 1 the end, of
//! each partition when the queue was made. Deliveries: 0 as many as it takes. Retry: 0 at once (no steps), 1 exponential
//! (first, cap), 2 a schedule.

use crate::base::TopicId;
use crate::base::queue::{QueueSettings, Retry};
use crate::catalog::Refusal;
use crate::catalog::record::{DecodeError, Fields, Record, length, prefix};
use crate::catalog::rules::check_name;
use zerocopy::byteorder::little_endian::{U32, U128};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

pub(super) const KIND_CREATED: u8 = 4;
pub(super) const KIND_DELETED: u8 = 5;

const FLAG_KEY_ORDER: u8 = 1;
const FLAG_READS_HEADERS: u8 = 2;

/// A queue: a subscription on a topic that hands out each of its records to one consumer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Queue {
    /// Its identity; also the topic id of the partitions of our own that keep its ledgers, one for each partition of the
    /// topic and on the same core ([`crate::base::PartitionKey::core`]).
    pub id: TopicId,
    /// Its name; unique among the queues that live.
    pub name: String,
    /// Whose records it hands out.
    pub topic: TopicId,
    /// Where its dead records go.
    pub dead_letters: Option<TopicId>,
    /// It begins with what comes after it was made.
    pub from_end: bool,
    /// What else it is set to.
    pub settings: QueueSettings,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct QueueFields {
    topic: U128,
    dead_letters: U128,
    flags: u8,
    from: u8,
    lease_ms: U32,
    deliveries_max: U32,
    retry: u8,
    steps: u8,
}
const _: () = assert!(size_of::<QueueFields>() == 44);
const _: () = assert!(crate::base::limits::QUEUE_RETRY_STEPS_MAX <= u8::MAX as usize);

/// Appends the bytes of the record that makes `queue`.
pub(super) fn encode(queue: &Queue, out: &mut Vec<u8>) {
    let settings = &queue.settings;
    let (retry, steps) = match &settings.retry {
        Retry::AtOnce => (0, Vec::new()),
        Retry::Exponential { first_ms, cap_ms } => (1, vec![*first_ms, *cap_ms]),
        Retry::Schedule(steps) => (2, steps.clone()),
    };
    let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
    let fields = QueueFields {
        topic: U128::new(queue.topic.0),
        dead_letters: U128::new(queue.dead_letters.map_or(0, |topic| topic.0)),
        flags: flag(settings.key_order, FLAG_KEY_ORDER)
            | flag(settings.reads_headers, FLAG_READS_HEADERS),
        from: u8::from(queue.from_end),
        lease_ms: U32::new(settings.lease_ms),
        deliveries_max: U32::new(settings.deliveries_max.unwrap_or(0)),
        retry,
        steps: steps.len() as u8,
    };
    prefix(KIND_CREATED, queue.id, out);
    out.extend_from_slice(fields.as_bytes());
    for step in steps {
        out.extend_from_slice(&step.to_le_bytes());
    }
    out.push(u8::try_from(queue.name.len()).expect("a checked name is short"));
    out.extend_from_slice(queue.name.as_bytes());
}

/// Reads what stands behind the prefix of such a record.
pub(super) fn decode(fields: &mut Fields<'_>, id: TopicId) -> Result<Record, DecodeError> {
    let fixed: &QueueFields = fields.next(1)?;
    let mut steps = Vec::with_capacity(usize::from(fixed.steps));
    for left in (0..usize::from(fixed.steps)).rev() {
        let step: &U32 = fields.next(left * size_of::<U32>() + 1)?;
        steps.push(step.get());
    }
    let retry = match (fixed.retry, &steps[..]) {
        (0, []) => Retry::AtOnce,
        (1, [first_ms, cap_ms]) => Retry::Exponential {
            first_ms: *first_ms,
            cap_ms: *cap_ms,
        },
        (2, _) => Retry::Schedule(steps),
        (other, _) => return Err(DecodeError::QueueCode(other)),
    };
    let (flags, from) = (fixed.flags, fixed.from);
    if flags > (FLAG_KEY_ORDER | FLAG_READS_HEADERS) || from > 1 {
        return Err(DecodeError::QueueCode(flags.max(from)));
    }
    let dead_letters = fixed.dead_letters.get();
    let settings = QueueSettings {
        lease_ms: fixed.lease_ms.get(),
        deliveries_max: Some(fixed.deliveries_max.get()).filter(|max| *max > 0),
        retry,
        key_order: flags & FLAG_KEY_ORDER != 0,
        reads_headers: flags & FLAG_READS_HEADERS != 0,
        has_dead_letters: dead_letters != 0,
    };
    let out_of_bounds = |refusal| DecodeError::Bounds(Refusal::QueueSetting(refusal));
    settings.check().map_err(out_of_bounds)?;
    Ok(Record::QueueCreated(Queue {
        id,
        name: decode_name(fields)?,
        topic: TopicId(fixed.topic.get()),
        dead_letters: settings.has_dead_letters.then_some(TopicId(dead_letters)),
        from_end: from == 1,
        settings,
    }))
}

/// A name that fills the rest.
fn decode_name(fields: &mut Fields<'_>) -> Result<String, DecodeError> {
    let name_bytes = usize::from(*fields.next::<u8>(0)?);
    let name = fields.rest();
    if name.len() != name_bytes {
        return Err(length(fields.bytes, fields.at + name_bytes));
    }
    fields.at += name_bytes;
    let name = std::str::from_utf8(name).map_err(|_| DecodeError::Name)?;
    check_name(name).map_err(DecodeError::Bounds)?;
    Ok(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(retry: Retry) -> Record {
        Record::QueueCreated(Queue {
            id: TopicId(u128::MAX / 3),
            name: "ab".to_owned(),
            topic: TopicId(1 << 40),
            dead_letters: Some(TopicId(1 << 41)),
            from_end: true,
            settings: QueueSettings {
                lease_ms: 258,
                deliveries_max: Some(3),
                retry,
                key_order: true,
                reads_headers: false,
                has_dead_letters: true,
            },
        })
    }

    fn samples() -> Vec<Record> {
        let exponential = Retry::Exponential {
            first_ms: 5,
            cap_ms: 6,
        };
        let mut plain = queue(Retry::AtOnce);
        if let Record::QueueCreated(queue) = &mut plain {
            queue.dead_letters = None;
            queue.settings = QueueSettings::default();
        }
        let id = TopicId(9 << 64);
        vec![
            queue(Retry::Schedule(vec![1, 2, 3])),
            queue(exponential),
            plain,
            Record::QueueDeleted { id },
        ]
    }

    fn bytes_of(record: &Record) -> Vec<u8> {
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        bytes
    }

    #[test]
    fn records_round_trip_and_no_other_length_is_taken() {
        for record in samples() {
            let mut bytes = bytes_of(&record);
            assert_eq!(Record::decode(&bytes), Ok(record));
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

    /// Goal: the bytes stay what they are. Method: a record written down by hand from the drawing.
    #[test]
    fn the_bytes_are_as_drawn() {
        let mut by_hand = vec![3, 4];
        by_hand.extend_from_slice(&[0x55; 16]);
        by_hand.extend_from_slice(&(1_u128 << 40).to_le_bytes());
        by_hand.extend_from_slice(&(1_u128 << 41).to_le_bytes());
        by_hand.extend_from_slice(&[1, 1, 2, 1, 0, 0, 3, 0, 0, 0, 2, 3]);
        by_hand.extend_from_slice(&[1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0]);
        by_hand.extend_from_slice(&[2, b'a', b'b']);
        assert_eq!(bytes_of(&samples()[0]), by_hand);
    }

    #[test]
    fn what_nobody_could_have_decided_is_refused() {
        let bytes = bytes_of(&samples()[0]);
        // Flags, from, the lease, the kind of retry, a delay, the name.
        for (index, byte) in [
            (50, 4),
            (51, 2),
            (55, 0xff),
            (60, 3),
            (65, 0xff),
            (76, b'/'),
        ] {
            let mut bad = bytes.clone();
            bad[index] = byte;
            assert!(Record::decode(&bad).is_err(), "{index}");
        }
    }
}
