//! Rotation of the journal. Goal: a full journal file always goes in the end, however many partitions have to leave it and
//! however long one of them takes; otherwise nothing would ever be written again. Method: on io/sim, more partitions than
//! a journal file of the configured size has blocks, and a partition that cannot be carried for an hour while others
//! fill the file. A log that waits for itself uses up the simulated day that a run has.

use crate::base::AckLevel;
use crate::io::Io;
use crate::io::sim::{EffectKind, Fault, Sim, SimDisk, SimIo};
use crate::log::tests::steps::{SMALL, append, check_all, key, reached, start};
use crate::log::{Log, PartitionLog};
use std::path::Path;
use std::time::Duration;

const DATA: &str = "/data";
/// Four times the blocks of a journal file of these tests.
const MANY: u32 = 256;

async fn open_all(log: &Log<SimIo>, count: u32) -> Vec<PartitionLog<SimIo>> {
    let mut all = Vec::new();
    for number in 0..count {
        all.push(log.open(key(number), SMALL).await.expect("opens"));
    }
    all
}

/// Everything is there, then everybody appends a little, `rounds` times, which fills several journal files.
async fn live(io: SimIo, expected: u64, rounds: u64, is_stopped: bool) {
    let (log, report) = start(&io, Path::new(DATA)).await.expect("starts");
    assert!(report.damaged.is_empty(), "{report:?}");
    let all = open_all(&log, MANY).await;
    for partition in &all {
        let frontiers = partition.frontiers();
        assert_eq!(frontiers.synced.0, expected);
        check_all(&io, partition, frontiers.start, frontiers.synced, 50_000).await;
    }
    for _ in 0..rounds {
        let next: Vec<_> = all
            .iter()
            .map(|partition| append(partition, 1, 700, AckLevel::Synced))
            .collect();
        for (partition, next) in all.iter().zip(next) {
            assert!(reached(partition, next, AckLevel::Synced).await);
        }
    }
    if is_stopped {
        log.stop().await.expect("stops");
    }
}

#[test]
fn more_partitions_than_a_journal_file_has_blocks_are_carried() {
    let rounds = 12;
    let disk = SimDisk::new(1);
    for life in 0..3 {
        let sim = Sim::with_disk(life, disk.clone());
        let expected = life * rounds;
        sim.run(|io| live(io, expected, rounds, life == 0)).done();
        match life {
            0 => {}
            1 => disk.kill(),
            _ => disk.power_cut(),
        }
    }
    let sim = Sim::with_disk(9, disk.clone());
    sim.run(|io| live(io, 3 * rounds, 1, true)).done();
}

/// The number of partitions grows while journal files of the size for a few are in use.
async fn grow(io: SimIo) {
    let (log, _) = start(&io, Path::new(DATA)).await.expect("starts");
    for count in [2, 30, 80, MANY] {
        let all = open_all(&log, count).await;
        for round in 0..6 {
            for partition in &all {
                let next = append(partition, 1, 900 + round, AckLevel::Written);
                assert!(reached(partition, next, AckLevel::Written).await);
            }
        }
    }
}

#[test]
fn journal_files_grow_with_the_partitions() {
    Sim::new(2).run(grow).done();
}

async fn fill_while_one_waits(io: SimIo, disk: SimDisk) {
    let (log, _) = start(&io, Path::new(DATA)).await.expect("starts");
    let all = open_all(&log, 8).await;
    let (late, others) = all.split_first().expect("some");
    let next = append(late, 1, 60_000, AckLevel::Written);
    assert!(reached(late, next, AckLevel::Written).await);
    // Whatever was being made is there.
    io.sleep(Duration::from_secs(5)).await;
    let began = io.now();
    let hour = Duration::from_secs(3600);
    disk.fail_next(EffectKind::Name, 0, Fault::SlowBy(hour));
    let last = append(late, 1, 20_000, AckLevel::Written);
    for _ in 0..100 {
        for other in others {
            let next = append(other, 1, 2_000, AckLevel::Written);
            assert!(reached(other, next, AckLevel::Written).await);
        }
    }
    assert!(reached(late, last, AckLevel::Written).await);
    assert!(
        io.now().since(began) >= hour,
        "the segment of the late one came late"
    );
    for partition in &all {
        let frontiers = partition.frontiers();
        let count = check_all(&io, partition, frontiers.start, frontiers.written, 50_000).await;
        assert_eq!(count, frontiers.written.0);
    }
}

#[test]
fn a_journal_file_is_not_filled_up_while_a_partition_still_has_to_be_carried_into_it() {
    let disk = SimDisk::new(3);
    let sim = Sim::with_disk(3, disk.clone());
    sim.run(|io| fill_while_one_waits(io, disk)).done();
}
