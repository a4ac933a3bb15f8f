//! What goes in comes out: over segments, journal files, eviction, restarts, deletes.

use crate::base::prng::Prng;
use crate::base::{AckLevel, Body, Offset, TimestampMs};
use crate::io::Io;
use crate::log::tests::steps::{SMALL, append, bytes_of, check_all, key, reached, start};
use crate::log::{LogError, ReadError};
use std::path::Path;

const PARTITIONS: u32 = 3;

/// Appends `rounds` batches to each partition, of sizes from one small record to several segments' worth.
async fn ingest<I: Io>(io: &I, data: &Path, seed: u64, rounds: u64) {
    let mut rng = Prng::new(seed);
    let (log, _) = start(io, data).await.expect("starts");
    for round in 0..rounds {
        for number in 0..PARTITIONS {
            let partition = log.open(key(number), SMALL).await.expect("opens");
            let (count, bytes) = match rng.below(10) {
                0 => (1, 70_000),
                1 => (200, 100),
                2..6 => (1 + rng.below(5), 10),
                _ => (1 + rng.below(20), rng.below(2_000) as usize),
            };
            let level = if rng.chance(1, 4) {
                AckLevel::Synced
            } else {
                AckLevel::Written
            };
            let next = append(&partition, count, bytes, level);
            if rng.chance(1, 3) {
                assert!(reached(&partition, next, level).await);
                let frontiers = partition.frontiers();
                assert!(frontiers.synced <= frontiers.written);
                assert!(frontiers.written <= frontiers.appended);
            }
            if round % 16 == 3 {
                let until = partition.frontiers().written;
                let from = Offset(rng.below(until.0 + 1));
                check_all(io, &partition, from, until, 1 + rng.below(200_000)).await;
            }
        }
    }
    log.stop().await.expect("stops");
}

/// Everything is there, whatever the step of the reads.
async fn verify<I: Io>(io: &I, data: &Path) -> Vec<Offset> {
    let (log, report) = start(io, data).await.expect("starts");
    assert!(report.damaged.is_empty(), "{report:?}");
    let mut ends = Vec::new();
    for number in 0..PARTITIONS {
        let partition = log.open(key(number), SMALL).await.expect("opens");
        let frontiers = partition.frontiers();
        assert_eq!(
            frontiers.appended, frontiers.synced,
            "what recovery found is durable"
        );
        for step in [1, 5_000, 1 << 20] {
            let count = check_all(io, &partition, Offset(0), frontiers.synced, step).await;
            assert_eq!(count, frontiers.synced.0);
        }
        check_times(io, &partition, frontiers.synced).await;
        ends.push(frontiers.synced);
    }
    log.stop().await.expect("stops");
    ends
}

async fn check_times<I: Io>(io: &I, partition: &crate::log::PartitionLog<I>, end: Offset) {
    let _ = io;
    for offset in (0..end.0).step_by((end.0 / 7).max(1) as usize) {
        let found = partition
            .find_time(TimestampMs(1_000_000 + offset as i64), end)
            .await;
        let wanted = Some((Offset(offset), TimestampMs(1_000_000 + offset as i64)));
        assert_eq!(found.expect("readable"), wanted);
    }
    assert_eq!(
        partition.find_time(TimestampMs(i64::MAX), end).await,
        Ok(None)
    );
    assert_eq!(
        partition
            .find_time(TimestampMs(0), end)
            .await
            .expect("readable")
            .map(|f| f.0),
        (end.0 > 0).then_some(Offset(0))
    );
}

/// Ingest, restart, verify, ingest more, restart, verify.
pub(super) async fn life<I: Io>(io: I, data: &Path, rounds: u64) {
    ingest(&io, data, 1, rounds).await;
    let first = verify(&io, data).await;
    ingest(&io, data, 2, rounds).await;
    let second = verify(&io, data).await;
    assert!(first.iter().zip(&second).all(|(a, b)| a < b));
}

/// A deleted partition stays away, and reads outside of what is there are refused.
pub(super) async fn edges<I: Io>(io: I, data: &Path) {
    let (log, _) = start(&io, data).await.expect("starts");
    let (kept, gone) = (key(0), key(1));
    for key in [kept, gone] {
        let partition = log.open(key, SMALL).await.expect("opens");
        let next = append(&partition, 10, 9_000, AckLevel::Written);
        assert!(reached(&partition, next, AckLevel::Written).await);
    }
    let partition = log.open(kept, SMALL).await.expect("opens");
    let mut body = Body::default();
    for (from, until) in [(11, 11), (5, 4), (0, 11)] {
        let read = partition
            .read(Offset(from), Offset(until), 1, &mut body)
            .await;
        assert_eq!(read, Err(ReadError::OutOfRange), "{from} {until}");
    }
    partition
        .read(Offset(10), Offset(10), 1, &mut body)
        .await
        .expect("the end is in range");
    assert_eq!(bytes_of(&io, &body).await.len(), 0);
    let deleted = log.open(gone, SMALL).await.expect("opens");
    log.delete(gone).await.expect("deletes");
    let more = crate::log::tests::steps::batch(10, 1, 1);
    let more = crate::base::RecordBatch::parse(&more).expect("built by us");
    assert!(deleted.append(&more, AckLevel::Written).is_err());
    log.stop().await.expect("stops");
    let (log, report) = start(&io, data).await.expect("starts");
    assert_eq!(report.partitions, 1);
    let partition = log.open(kept, SMALL).await.expect("opens");
    assert_eq!(
        check_all(&io, &partition, Offset(0), Offset(10), 1).await,
        10
    );
    log.stop().await.expect("stops");
}

/// A log that was not closed refuses nothing and loses nothing that was acknowledged; a second start of the same data
/// that finds a flipped bit in what was acknowledged refuses that partition alone.
pub(super) async fn no_appends_after_stop<I: Io>(io: I, data: &Path) {
    let (log, _) = start(&io, data).await.expect("starts");
    let partition = log.open(key(0), SMALL).await.expect("opens");
    log.stop().await.expect("stops");
    let bytes = crate::log::tests::steps::batch(0, 1, 1);
    let batch = crate::base::RecordBatch::parse(&bytes).expect("built by us");
    assert!(partition.append(&batch, AckLevel::None).is_err());
    assert!(!matches!(log.stop().await, Err(LogError::Failed(_))));
}
