//! The records of committed offsets: their bytes, what is refused, and that they add up to the same state.

use super::*;
use crate::base::limits::GROUP_SLOTS;
use crate::base::prng::Prng;
use crate::group::{DecodeError, slot_of};

fn bytes_of(record: &OffsetRecord) -> (Vec<u8>, Option<Vec<u8>>) {
    let (mut key, mut value) = (Vec::new(), Vec::new());
    record.encode_key(&mut key);
    let has_value = record.encode_value(&mut value);
    (key, has_value.then_some(value))
}

fn samples() -> [OffsetRecord; 3] {
    let offset = |value| OffsetRecord::Offset {
        group: "g".to_owned(),
        key: partition(7),
        value,
    };
    let value = Committed {
        offset: Offset(11),
        leader_epoch: 3,
        metadata: "m".to_owned(),
        at: TimestampMs(12),
    };
    [
        offset(Some(value)),
        offset(None),
        OffsetRecord::Complete { records: 9 },
    ]
}

#[test]
fn records_round_trip() {
    for record in samples() {
        let (key, value) = bytes_of(&record);
        assert_eq!(OffsetRecord::decode(&key, value.as_deref()), Ok(record));
    }
}

/// Goal: the bytes stay what they are. Method: a record written down by hand from the drawing.
#[test]
fn the_bytes_are_as_drawn() {
    let mut key = vec![1, 1, 9];
    key.extend_from_slice(&[0; 15]);
    key.extend_from_slice(&[7, 0, 0, 0, 1, 0, b'g']);
    let mut value = vec![1, 11, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0];
    value.extend_from_slice(&[12, 0, 0, 0, 0, 0, 0, 0, 1, 0, b'm']);
    assert_eq!(bytes_of(&samples()[0]), (key, Some(value)));
    let complete = (vec![1, 2], Some(vec![1, 9, 0, 0, 0, 0, 0, 0, 0]));
    assert_eq!(bytes_of(&samples()[2]), complete);
}

#[test]
fn every_truncation_and_any_byte_more_is_refused() {
    for record in samples() {
        let (key, value) = bytes_of(&record);
        let is_length = |key: &[u8], value: Option<&[u8]>| {
            let decoded = OffsetRecord::decode(key, value);
            assert!(
                matches!(decoded, Err(DecodeError::Length { .. })),
                "{decoded:?}"
            );
        };
        for cut in 0..key.len() {
            is_length(&key[..cut], value.as_deref());
        }
        is_length(&[&key[..], &[0]].concat(), value.as_deref());
        if let Some(value) = value {
            for cut in 0..value.len() {
                is_length(&key, Some(&value[..cut]));
            }
            is_length(&key, Some(&[&value[..], &[0]].concat()));
        }
    }
}

#[test]
fn what_nobody_could_have_written_is_refused() {
    let (key, value) = bytes_of(&samples()[0]);
    let value = value.expect("it has one");
    for (in_key, index, byte, expected) in [
        (true, 0, 2, DecodeError::Version(2)),
        (true, 1, 3, DecodeError::Kind(3)),
        (true, 24, 0xff, DecodeError::Text),
        (false, 0, 2, DecodeError::Version(2)),
        (false, 23, 0xff, DecodeError::Text),
    ] {
        let (mut key, mut value) = (key.clone(), value.clone());
        if in_key {
            key[index] = byte;
        } else {
            value[index] = byte;
        }
        assert_eq!(OffsetRecord::decode(&key, Some(&value)), Err(expected));
    }
    let mut nameless = key.clone();
    nameless[22] = 0;
    nameless.pop();
    let decoded = OffsetRecord::decode(&nameless, Some(&value));
    assert_eq!(decoded, Err(DecodeError::Bounds));
}

#[test]
fn groups_spread_over_all_slots_and_stay_where_they_are() {
    let names = (0..10_000).map(|no| format!("group-{no}"));
    let slots: std::collections::BTreeSet<_> = names.map(|name| slot_of(&name)).collect();
    assert_eq!(slots.len(), GROUP_SLOTS as usize);
    // A part of the format: another number would hide the offsets that there are.
    assert_eq!(slot_of("readers"), PartitionNo(READERS_SLOT));
}

/// FNV-1a of the name, its halves xored, modulo 64, computed apart from this program.
const READERS_SLOT: u32 = 6;

/// Goal: records in their order give the state that made them, and so does a snapshot. Method: random commits and
/// removals over some groups, replayed through their bytes.
#[test]
fn replay_and_snapshot_give_the_same_state() {
    for seed in 0..50 {
        let (mut prng, mut rig) = (Prng::new(seed), Rig::new());
        let mut stored = Vec::new();
        for step in 0..200 {
            let group = format!("group-{}", prng.below(5));
            let request = match prng.below(10) {
                0 => GroupRequest::Delete { group },
                1 => GroupRequest::DeleteOffsets {
                    group,
                    partitions: vec![partition(prng.below(8) as u32)],
                    unwanted_in: None,
                },
                _ => GroupRequest::Commit {
                    group,
                    identity: Identity::default(),
                    generation: Generation::NONE,
                    offsets: vec![(partition(prng.below(8) as u32), committed(step))],
                },
            };
            rig.ask(request);
            for (_, records) in &rig.stores {
                stored.extend(records.iter().map(bytes_of));
            }
            rig.store(Ok(()));
        }
        let all = |coordinator: &Coordinator| {
            let slots = (0..GROUP_SLOTS).map(PartitionNo);
            let records = slots.flat_map(|slot| coordinator.snapshot(slot));
            records.collect::<Vec<_>>()
        };
        let expected = all(&rig.coordinator);
        assert!(!expected.is_empty());
        let mut replayed = Coordinator::new(Options::default());
        for (key, value) in &stored {
            let record = OffsetRecord::decode(key, value.as_deref()).expect("ours");
            replayed.restore(&rig.now, record);
        }
        assert_eq!(all(&replayed), expected, "seed {seed}");
        assert_eq!(replayed.list().len(), rig.coordinator.list().len());
        let mut again = Coordinator::new(Options::default());
        for record in expected.clone() {
            again.restore(&rig.now, record);
        }
        assert_eq!(all(&again), expected, "seed {seed}");
    }
}
