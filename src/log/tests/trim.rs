//! Trimming. Goal: what lies below the start is not read any more and gives its room back, what lies above is untouched, and
//! the start survives whatever the journal goes through. Method: steps on both grounds; the crashes are in `crash`.

use crate::base::{AckLevel, Body, NodeId, Offset, TimestampMs};
use crate::io::Io;
use crate::io::sim::{Sim, SimDisk, SimIo};
use crate::log::repair::{Goal, RepairError, perform};
use crate::log::tests::steps::{SMALL, append, bytes_of, check_all, key, reached, start};
use crate::log::tests::verify::verified;
use crate::log::verify::Severity;
use crate::log::{Log, LogError, PartitionLog, ReadError, SegmentSettings};
use std::path::Path;
use std::time::Duration;

const DATA: &str = "/data";

/// Appends `batches` of 10 records, 20 KB each, and waits until all are written.
async fn fill<I: Io>(partition: &PartitionLog<I>, batches: u64) {
    for _ in 0..batches {
        let next = append(partition, 10, 2_000, AckLevel::Written);
        assert!(reached(partition, next, AckLevel::Written).await);
    }
}

async fn segments_of<I: Io>(io: &I, data: &Path) -> usize {
    let dir = crate::log::paths::partition(data, key(0));
    let files = io.list_dir(&dir).await.expect("there");
    files
        .iter()
        .filter(|file| file.name.ends_with(".log"))
        .count()
}

/// What is there is what the trims left.
async fn check<I: Io>(io: &I, partition: &PartitionLog<I>, begin: u64) {
    let frontiers = partition.frontiers();
    assert_eq!(frontiers.start, Offset(begin));
    let count = check_all(io, partition, frontiers.start, frontiers.written, 50_000).await;
    assert_eq!(count, frontiers.written.0 - begin);
    let mut body = Body::default();
    for from in [0, begin.saturating_sub(1)] {
        let read = partition
            .read(Offset(from), frontiers.written, 1, &mut body)
            .await;
        assert_eq!(read.is_err(), from < begin, "{read:?}");
        assert!(read.is_ok() || read == Err(ReadError::OutOfRange));
    }
    // The records are a millisecond apart, from 1,000,000 on.
    let first = partition.find_time(TimestampMs(0), frontiers.written).await;
    let wanted = (begin < frontiers.written.0)
        .then_some((Offset(begin), TimestampMs(1_000_000 + begin as i64)));
    assert_eq!(first, Ok(wanted));
}

async fn opened<I: Io>(io: &I, data: &Path) -> (Log<I>, PartitionLog<I>) {
    let (log, report) = start(io, data).await.expect("starts");
    assert!(report.damaged.is_empty(), "{report:?}");
    let partition = log.open(key(0), SMALL).await.expect("opens");
    (log, partition)
}

/// Trims in the middle of a segment, to the end, and back, with restarts and full journal files in between.
pub(super) async fn life<I: Io>(io: I, data: &Path) {
    let (log, partition) = opened(&io, data).await;
    fill(&partition, 40).await;
    let (all, bytes) = (partition.segments(), partition.bytes());
    assert!(all > 8, "{all}");
    // A reader that holds files of what goes.
    let mut body = Body::default();
    let read = partition
        .read(Offset(5), Offset(200), 100_000, &mut body)
        .await;
    read.expect("readable");
    io.sleep(Duration::from_millis(50)).await;
    partition.trim(Offset(207)).await.expect("trims");
    check(&io, &partition, 207).await;
    assert!(partition.segments() < all && partition.bytes() < bytes);
    assert_eq!(segments_of(&io, data).await as u32, partition.segments());
    assert!(!bytes_of(&io, &body).await.is_empty(), "it reads on");
    partition.trim(Offset(100)).await.expect("nothing to do");
    check(&io, &partition, 207).await;
    // Many journal files.
    fill(&partition, 60).await;
    check(&io, &partition, 207).await;
    log.stop().await.expect("stops");
    for _ in 0..2 {
        let (log, partition) = opened(&io, data).await;
        check(&io, &partition, 207).await;
        log.stop().await.expect("stops");
    }
    let (log, partition) = opened(&io, data).await;
    let end = partition.frontiers().written;
    partition.trim(end).await.expect("trims");
    check(&io, &partition, end.0).await;
    assert_eq!(partition.segments(), 1, "the one that is appended to stays");
    fill(&partition, 3).await;
    check(&io, &partition, end.0).await;
    log.stop().await.expect("stops");
    let (log, partition) = opened(&io, data).await;
    check(&io, &partition, end.0).await;
    assert_eq!(segments_of(&io, data).await as u32, partition.segments());
    log.stop().await.expect("stops");
    let late = partition.trim(end).await;
    assert!(
        matches!(late, Err(LogError::Failed(_))),
        "the log has stopped"
    );
}

#[test]
fn trim_on_sim() {
    for seed in 0..3 {
        let disk = SimDisk::new(seed);
        let sim = Sim::with_disk(seed, disk.clone());
        sim.run(|io| async move { life(io, Path::new(DATA)).await })
            .done();
        assert_eq!(verified(&disk).findings, []);
    }
}

/// Goal: readers that run while segments go get all of what they asked for, or are told that it went. Method: readers at
/// random places with a trim after the other, on a disk that takes its time.
#[test]
fn readers_under_a_trim_get_all_or_are_told() {
    let sim = Sim::new(8);
    sim.run(|io| async move {
        let (log, partition) = opened(&io, Path::new(DATA)).await;
        fill(&partition, 60).await;
        let end = partition.frontiers().written;
        for reader in 0..8u64 {
            let (io_of, partition) = (io.clone(), partition.clone());
            io.spawn(async move {
                for round in 0..40 {
                    let from = Offset((reader * 71 + round * 13) % end.0);
                    let mut body = Body::default();
                    match partition.read(from, end, 30_000, &mut body).await {
                        Ok(()) => {
                            let bytes = bytes_of(&io_of, &body).await;
                            crate::log::tests::steps::check_batches(&bytes, from, end);
                        }
                        Err(error) => {
                            assert_eq!(error, ReadError::OutOfRange);
                            assert!(from < partition.frontiers().start);
                        }
                    }
                    io_of.sleep(Duration::from_micros(50)).await;
                }
            });
        }
        for before in (0..end.0).step_by(23) {
            partition.trim(Offset(before)).await.expect("trims");
            io.sleep(Duration::from_micros(100)).await;
        }
        io.sleep(Duration::from_secs(1)).await;
        log.stop().await.expect("stops");
    })
    .done();
}

/// Goal: a partition that was trimmed to its end, whose last segment was then sealed for its age, is whole after a power cut.
/// The removed segment was the last one that the journal named (seed 1000325 of the simulation).
#[test]
fn a_trimmed_partition_whose_last_segment_is_empty_outlives_a_power_cut() {
    let aged = SegmentSettings {
        segment_ms: 1_000,
        ..SMALL
    };
    let disk = SimDisk::new(11);
    let sim = Sim::with_disk(11, disk.clone());
    sim.run(move |io| async move {
        let (log, _) = start(&io, Path::new(DATA)).await.expect("starts");
        let partition = log.open(key(0), aged).await.expect("opens");
        let next = append(&partition, 10, 100, AckLevel::Synced);
        assert!(reached(&partition, next, AckLevel::Synced).await);
        partition.trim(Offset(10)).await.expect("trims");
        io.sleep(Duration::from_secs(5)).await;
        assert_eq!(segments_of(&io, Path::new(DATA)).await, 1, "one went");
        assert_eq!(partition.segments(), 1);
    })
    .done();
    disk.power_cut();
    let sim = Sim::with_disk(12, disk.clone());
    sim.run(|io| async move {
        let (log, partition) = opened(&io, Path::new(DATA)).await;
        assert_eq!(partition.frontiers().appended, Offset(10));
        check(&io, &partition, 10).await;
        let next = append(&partition, 5, 100, AckLevel::Synced);
        assert!(reached(&partition, next, AckLevel::Synced).await);
        check(&io, &partition, 10).await;
        log.stop().await.expect("stops");
    })
    .done();
    let report = verified(&disk);
    assert_eq!(report.count(Severity::Damage), 0, "{:?}", report.findings);
}

/// Goal: a repair knows where the partition began, and leaves it there. Method: a trimmed partition whose last segment is
/// damaged, repaired; a cut below its beginning is refused.
#[test]
fn a_repaired_partition_begins_where_it_began() {
    let disk = SimDisk::new(9);
    let sim = Sim::with_disk(9, disk.clone());
    sim.run(|io| async move {
        let (log, partition) = opened(&io, Path::new(DATA)).await;
        fill(&partition, 30).await;
        partition.trim(Offset(107)).await.expect("trims");
        log.stop().await.expect("stops");
    })
    .done();
    let mut segments: Vec<_> = disk.list_files();
    segments.retain(|path| path.to_string_lossy().ends_with(".log"));
    segments.sort();
    let damaged = &segments[segments.len() - 2];
    assert!(disk.corrupt(damaged, 30_000, &[0xee; 4]));
    let sim = Sim::with_disk(10, disk.clone());
    sim.run(|io| async move {
        let repair = |io: SimIo, goal| async move {
            perform(&io, Path::new(DATA), NodeId(7), key(0), goal, "a test").await
        };
        let refused = repair(io.clone(), Goal::CutAt(Offset(50))).await;
        assert!(
            matches!(refused, Err(RepairError::BelowStart { .. })),
            "{refused:?}"
        );
        let done = repair(io.clone(), Goal::CutAtDamage)
            .await
            .expect("repairs");
        let end = done.plan.next_offset;
        assert!(end > Offset(107), "{end}");
        let (log, partition) = opened(&io, Path::new(DATA)).await;
        assert_eq!(partition.frontiers().appended, end);
        check(&io, &partition, 107).await;
        log.stop().await.expect("stops");
    })
    .done();
    let report = verified(&disk);
    assert_eq!(report.count(Severity::Damage), 0, "{:?}", report.findings);
}
