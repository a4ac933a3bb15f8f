//! The records of a ledger: their bytes, and what is refused.

use super::*;
use crate::base::PartitionNo;
use crate::queue::{Cause, DecodeError, Evidence, RECORD_BYTES, Settled, decode_all, encode_all};

fn samples() -> Vec<LedgerRecord> {
    let (from, until, first) = (Offset(3), Offset(8), TimestampMs(-5));
    let dying = |evidence| LedgerRecord::Dying {
        offset: from,
        cause: Cause::Rejected,
        evidence,
    };
    let mut samples = vec![
        LedgerRecord::Delivered {
            from,
            until,
            deliveries: 7,
            first,
        },
        LedgerRecord::Delayed {
            from,
            until,
            not_before: TimestampMs(99),
            wait_ms: u32::MAX,
        },
        dying(None),
        dying(Some(Evidence {
            partition: PartitionNo(9),
            from: Offset(u64::MAX),
        })),
        LedgerRecord::Checkpoint {
            begin: from,
            end: from,
        },
        LedgerRecord::Held {
            from,
            until,
            deliveries: 0,
            first: TimestampMs(0),
        },
        LedgerRecord::Complete { records: 12 },
    ];
    for how in Settled::ALL {
        samples.push(LedgerRecord::Settled { how, from, until });
        samples.push(LedgerRecord::Total { how, count: 5 });
    }
    samples
}

fn bytes_of(records: &[LedgerRecord]) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_all(records, &mut bytes);
    bytes
}

fn decode(bytes: &[u8]) -> Result<Vec<LedgerRecord>, DecodeError> {
    decode_all(bytes)?.collect()
}

#[test]
fn records_round_trip() {
    assert_eq!(decode(&bytes_of(&samples())), Ok(samples()));
    assert_eq!(decode(&bytes_of(&[])), Ok(Vec::new()));
}

/// Goal: the bytes stay what they are. Method: records written down by hand from the drawing.
#[test]
fn the_bytes_are_as_drawn() {
    let le = |number: u64| number.to_le_bytes();
    let record = |front: [u8; 8], rest: [u64; 4]| [&front[..], &rest.map(le).concat()].concat();
    let by_hand = [
        vec![1],
        record([2, 0, 0, 0, 7, 0, 0, 0], [3, 8, (-5_i64) as u64, 0]),
        record([3, 0, 0, 0, 0, 0, 0, 0], [3, 8, 99, 0xffff_ffff]),
        record([4, 2, 0, 0, 255, 255, 255, 255], [3, 4, 0, 0]),
        record([4, 2, 0, 0, 9, 0, 0, 0], [3, 4, 0, u64::MAX]),
        record([5, 0, 0, 0, 0, 0, 0, 0], [3, 3, 0, 0]),
        record([6, 0, 0, 0, 0, 0, 0, 0], [3, 8, 0, 0]),
        record([8, 0, 0, 0, 0, 0, 0, 0], [12, 0, 0, 0]),
        record([1, 1, 0, 0, 0, 0, 0, 0], [3, 8, 0, 0]),
        record([7, 1, 0, 0, 0, 0, 0, 0], [5, 0, 0, 0]),
    ];
    assert_eq!(bytes_of(&samples()[..9]), by_hand.concat());
}

#[test]
fn every_truncation_and_any_byte_more_is_refused_or_whole_records() {
    let bytes = bytes_of(&samples());
    for cut in 0..bytes.len() {
        match cut % RECORD_BYTES {
            1 => assert_eq!(
                decode(&bytes[..cut]).map(|all| all.len()),
                Ok(cut / RECORD_BYTES)
            ),
            _ => assert_eq!(decode(&bytes[..cut]), Err(DecodeError::Length(cut))),
        }
    }
    let longer = [&bytes[..], &[0]].concat();
    assert_eq!(decode(&longer), Err(DecodeError::Length(longer.len())));
}

#[test]
fn what_nobody_could_have_written_is_refused() {
    // Of each record the first offset is byte 9.
    for (record, index, byte, expected) in [
        (0, 0, 2, DecodeError::Version(2)),
        (0, 1, 0, DecodeError::Kind(0)),
        (0, 1, 9, DecodeError::Kind(9)),
        (0, 2, 1, DecodeError::Bounds),
        (0, 3, 1, DecodeError::Bounds),
        (0, 5, 0, DecodeError::Bounds),
        (0, 9, 8, DecodeError::Bounds),
        (1, 37, 1, DecodeError::Bounds),
        (2, 2, 3, DecodeError::Code(3)),
        (2, 17, 9, DecodeError::Bounds),
        (4, 9, 4, DecodeError::Bounds),
        (7, 2, 7, DecodeError::Code(7)),
        (7, 40, 7, DecodeError::Bounds),
    ] {
        let mut bytes = bytes_of(&samples()[record..=record]);
        bytes[index] = byte;
        assert_eq!(
            decode(&bytes),
            Err(expected),
            "record {record}, byte {index}"
        );
    }
}

#[test]
fn records_that_contradict_each_other_are_told() {
    let now = Moment {
        monotonic_ms: 0,
        wall: TimestampMs(0),
    };
    let settled = |from, until| LedgerRecord::Settled {
        how: Settled::Acked,
        from: Offset(from),
        until: Offset(until),
    };
    let checkpoint = LedgerRecord::Checkpoint {
        begin: Offset(0),
        end: Offset(4),
    };
    let held = |from, until| LedgerRecord::Held {
        from: Offset(from),
        until: Offset(until),
        deliveries: 1,
        first: TimestampMs(0),
    };
    let complete = |records| LedgerRecord::Complete { records };
    for records in [
        &[settled(0, 4), settled(3, 5)][..],
        &[settled(0, 4), samples()[0]],
        &[settled(0, 4), samples()[1]],
        &[settled(0, 4), samples()[3]],
        &[complete(0)],
        &[complete(u64::MAX)],
        &[checkpoint, complete(1)],
        &[checkpoint, held(0, 5), complete(1)],
        &[checkpoint, held(0, 2), held(1, 3), complete(2)],
        &[held(0, 1)],
    ] {
        let mut ledger = Ledger::new(settings(), Offset(0), &now);
        let (last, before) = records.split_last().expect("some");
        for record in before {
            ledger.replay(*record).expect("sound");
        }
        assert!(ledger.replay(*last).is_err(), "{records:?}");
        // Whoever goes on nevertheless has a ledger that works.
        let mut out = Output::default();
        ledger.recovered(&now, &mut out);
        assert!(matches!(out.records[0], LedgerRecord::Checkpoint { .. }));
    }
}

/// Goal: a checkpoint that was cut off changes nothing. Method: one is cut at each record; then the ledger is as before.
#[test]
fn a_checkpoint_counts_only_as_a_whole() {
    let mut rig = Rig::new(settings(), 20);
    rig.join(1, Flow::Prefetch(9));
    rig.hand_out();
    rig.ack(1, span(2, 4, 1));
    rig.nack(1, span(5, 6, 1), Nack::After(50));
    let mut checkpoint = Vec::new();
    rig.ledger.checkpoint(&mut checkpoint);
    let restored = |records: &[LedgerRecord]| {
        let mut ledger = Ledger::new(settings(), Offset(0), &rig.now);
        for record in records {
            ledger.replay(*record).expect("ours");
        }
        let mut out = Output::default();
        ledger.recovered(&rig.now, &mut out);
        out.records
    };
    assert_eq!(restored(&rig.stored), checkpoint);
    assert_eq!(restored(&checkpoint), checkpoint);
    for cut in 0..checkpoint.len() {
        let records = [&rig.stored[..], &checkpoint[..cut]].concat();
        assert_eq!(restored(&records), checkpoint, "cut at {cut}");
        // The next start writes its own, and that one counts.
        let records = [&records[..], &checkpoint].concat();
        assert_eq!(restored(&records), checkpoint, "after a cut at {cut}");
    }
}
