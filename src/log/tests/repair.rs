//! What a repair does. Goal: a damaged partition serves again, every batch that could be read is there at its offset, byte
//! for byte, and nothing else; the others are not touched; a crash at any effect of a repair leaves the partition refused
//! or repaired, and a second repair ends where the first would have. Method: on the simulated disk, with a byte flipped
//! in blocks of segments and journals, then repair, start, read everything, append, stop, verify.

use crate::base::limits::BLOCK_BYTES;
use crate::base::record::records;
use crate::base::{AckLevel, Body, NodeId, Offset, RecordBatch};
use crate::io::Io;
use crate::io::sim::{Sim, SimDisk, SimIo};
use crate::log::PartitionLog;
use crate::log::repair::{Goal, Performed, Plan, RepairError, perform, plan};
use crate::log::tests::crash::{Death, die};
use crate::log::tests::damage::fill;
use crate::log::tests::steps::{SMALL, append, bytes_of, key, reached, start, value_of};
use crate::log::tests::verify::verified;
use crate::log::verify::Severity;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

const DATA: &str = "/data";
const PARTITIONS: u32 = 4;
const RECORDS: u64 = 30;

fn filled(seed: u64) -> SimDisk {
    let disk = SimDisk::new(seed);
    Sim::with_disk(seed, disk.clone()).run(fill).done();
    disk
}

fn planned(disk: &SimDisk, number: u32, goal: Goal) -> Result<Plan, RepairError> {
    let sim = Sim::with_disk(50, disk.clone());
    let made = sim.run(|io| async move { plan(&io, Path::new(DATA), key(number), goal).await });
    let made = made.done().remove(0);
    assert_eq!(disk.effects(), 0, "a plan changes nothing");
    made
}

async fn repair(io: SimIo, number: u32, goal: Goal) -> Result<Performed, RepairError> {
    perform(&io, Path::new(DATA), NodeId(7), key(number), goal, "a test").await
}

fn repaired(disk: &SimDisk, number: u32, goal: Goal) -> Performed {
    let sim = Sim::with_disk(51, disk.clone());
    let done = sim.run(|io| repair(io, number, goal)).done().remove(0);
    done.expect("repairs")
}

/// The offsets of all records that are served; each must hold what was appended there.
async fn served(io: &SimIo, partition: &PartitionLog<SimIo>) -> BTreeSet<u64> {
    let (mut next, end) = (Offset(0), partition.frontiers().appended);
    let mut offsets = BTreeSet::new();
    while next < end {
        let mut body = Body::default();
        partition
            .read(next, end, 20_000, &mut body)
            .await
            .expect("readable");
        let bytes = bytes_of(io, &body).await;
        let mut rest = &bytes[..];
        assert!(!rest.is_empty(), "nothing at {next}");
        while !rest.is_empty() {
            let batch = RecordBatch::parse(rest).expect("whole batches");
            batch.check().expect("sound batches");
            rest = &rest[batch.bytes().len()..];
            assert!(batch.base_offset() <= next, "no gap at {next}");
            next = next.max(batch.next_offset());
            if batch.is_control() {
                continue;
            }
            for record in records(&batch) {
                let record = record.expect("sound records");
                let offset = batch.base_offset().0 + record.offset_delta as u64;
                let value = record.value.expect("has one");
                assert_eq!(value, value_of(offset, value.len() - 8), "at {offset}");
                offsets.insert(offset);
            }
        }
    }
    offsets
}

/// Starts; the partition `number` must hold exactly the records of `expected` and go on at `next`, the others must be
/// whole. Appends to all, stops.
async fn check(io: SimIo, number: u32, expected: BTreeSet<u64>, next: Offset) {
    let (log, report) = start(&io, Path::new(DATA)).await.expect("starts");
    assert!(report.damaged.is_empty(), "{report:?}");
    for other in 0..PARTITIONS {
        let partition = log.open(key(other), SMALL).await.expect("opens");
        let (wanted, end) = match other == number {
            true => (expected.clone(), next),
            false => ((0..RECORDS).collect(), Offset(RECORDS)),
        };
        assert_eq!(partition.frontiers().appended, end, "partition {other}");
        assert_eq!(served(&io, &partition).await, wanted, "partition {other}");
        let after = append(&partition, 3, 500, AckLevel::Synced);
        assert!(reached(&partition, after, AckLevel::Synced).await);
    }
    log.stop().await.expect("stops");
}

/// What a plan leaves of the records.
fn kept_by(plan: &Plan) -> BTreeSet<u64> {
    let is_lost = |offset: &u64| {
        let lost = |loss: &crate::log::repair::Loss| (loss.from.0..loss.until.0).contains(offset);
        plan.losses.iter().any(lost)
    };
    (0..RECORDS).filter(|offset| !is_lost(offset)).collect()
}

fn check_and_verify(disk: &SimDisk, number: u32, performed: &Performed) {
    let (kept, next) = (kept_by(&performed.plan), performed.plan.next_offset);
    Sim::with_disk(52, disk.clone())
        .run(|io| check(io, number, kept, next))
        .done();
    let report = verified(disk);
    assert_eq!(report.count(Severity::Damage), 0, "{:?}", report.findings);
}

fn files_of(disk: &SimDisk, below: &str, suffix: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let paths = disk.list_files().into_iter().filter(|path| {
        path.to_string_lossy().contains(below) && path.to_string_lossy().ends_with(suffix)
    });
    let read = |path: PathBuf| disk.read_file(&path).map(|bytes| (path, bytes));
    paths.filter_map(read).collect()
}

#[test]
fn whatever_block_of_a_segment_is_damaged_only_its_batches_are_lost() {
    let disk = filled(40);
    let whole = disk.snapshot();
    let mut repairs = 0;
    for (path, bytes) in files_of(&disk, "/2/", ".log") {
        for (number, block) in bytes.chunks(BLOCK_BYTES).enumerate() {
            if block[12..].iter().all(|byte| *byte == 0) {
                continue;
            }
            disk.restore(&whole);
            let at = number * BLOCK_BYTES + 12;
            disk.corrupt(&path, at as u64, &[bytes[at] ^ 0x20]);
            let plan = match planned(&disk, 2, Goal::AcceptLoss) {
                Ok(plan) => plan,
                // The padding: no batch is in it.
                Err(RepairError::Sound(_)) => continue,
                Err(error) => panic!("{error}"),
            };
            assert!(kept_by(&plan).len() as u64 >= RECORDS - 4, "{plan:?}");
            let performed = repaired(&disk, 2, Goal::AcceptLoss);
            assert_eq!(performed.plan, plan);
            assert_eq!(plan.next_offset, Offset(RECORDS));
            check_and_verify(&disk, 2, &performed);
            let copied = disk.read_file(performed.copies.join(path.file_name().expect("has one")));
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x20;
            assert!(
                copied == Some(damaged),
                "what was changed is kept as it was"
            );
            repairs += 1;
        }
    }
    assert!(repairs > 10, "{repairs}");
}

#[test]
fn a_partition_can_be_cut_at_every_batch_below_the_damage_and_nowhere_else() {
    let disk = filled(41);
    let (path, bytes) = files_of(&disk, "/1/", ".log").remove(0);
    disk.corrupt(&path, 9_000, &[bytes[9_000] ^ 1]);
    let whole = disk.snapshot();
    let damaged = planned(&disk, 1, Goal::AcceptLoss).expect("it is damaged");
    let damaged = damaged.losses[0].from.0;
    assert!(damaged > 4, "{damaged}");
    for at in 0..=RECORDS {
        disk.restore(&whole);
        match planned(&disk, 1, Goal::CutAt(Offset(at))) {
            Err(RepairError::BehindDamage { .. }) => assert!(at > damaged),
            Err(RepairError::NotABoundary { below, above, .. }) => {
                assert_eq!((below.0, above.0), (at - 1, at + 1));
            }
            Err(error) => panic!("{error}"),
            Ok(plan) => {
                assert!(at <= damaged && at % 2 == 0, "two records a batch");
                let performed = repaired(&disk, 1, Goal::CutAt(Offset(at)));
                assert_eq!(performed.plan, plan);
                assert_eq!(kept_by(&plan), (0..at).collect());
                check_and_verify(&disk, 1, &performed);
            }
        }
    }
}

#[test]
fn a_lost_segment_is_passed_over() {
    for victim in 0..2 {
        let disk = filled(42);
        let (path, _) = files_of(&disk, "/3/", ".log").remove(victim);
        let sim = Sim::with_disk(43, disk.clone());
        sim.run(|io| async move { io.remove_file(&path).await.expect("removes") })
            .done();
        let performed = repaired(&disk, 3, Goal::AcceptLoss);
        assert_eq!(performed.plan.next_offset, Offset(RECORDS));
        assert!(kept_by(&performed.plan).len() > 4, "{performed:?}");
        check_and_verify(&disk, 3, &performed);
    }
}

#[test]
fn a_sound_partition_is_left_alone() {
    let disk = filled(44);
    for goal in [Goal::AcceptLoss, Goal::CutAt(Offset(2)), Goal::CutAtDamage] {
        assert!(matches!(
            planned(&disk, 0, goal),
            Err(RepairError::Sound(_))
        ));
    }
    let missing = planned(&disk, 9, Goal::AcceptLoss);
    assert!(matches!(missing, Err(RepairError::NoPartition(_))));
}

/// Damage in the journal, found by a start, which put the journals aside: what they hold of the partition is not lost.
#[test]
fn what_the_kept_journals_hold_is_kept() {
    let disk = filled(45);
    let whole = disk.snapshot();
    let (mut repairs, mut losses) = (0, 0);
    for (path, bytes) in files_of(&disk, "/journal/", ".wal") {
        for at in (BLOCK_BYTES + 7..bytes.len()).step_by(3 * BLOCK_BYTES) {
            disk.restore(&whole);
            disk.corrupt(&path, at as u64, &[bytes[at] ^ 0x10]);
            let sim = Sim::with_disk(46, disk.clone());
            let damaged = sim.run(|io| async move {
                let (log, report) = start(&io, Path::new(DATA)).await.expect("starts");
                log.stop().await.expect("stops");
                report.damaged
            });
            let mut plans = Vec::new();
            for (damaged, _) in damaged.done().remove(0) {
                let plan = repaired(&disk, damaged.partition.0, Goal::AcceptLoss).plan;
                losses += plan.losses.len();
                assert!(kept_by(&plan).len() as u64 >= RECORDS - 4, "{plan:?}");
                plans.push(plan);
                repairs += 1;
            }
            let sim = Sim::with_disk(49, disk.clone());
            sim.run(|io| async move {
                let (log, report) = start(&io, Path::new(DATA)).await.expect("starts");
                assert!(report.damaged.is_empty(), "{report:?}");
                for plan in plans {
                    let partition = log.open(plan.key, SMALL).await.expect("opens");
                    let offsets = served(&io, &partition).await;
                    let (kept, next) = (kept_by(&plan), plan.next_offset.0);
                    assert_eq!(offsets, kept.range(..next).copied().collect(), "{plan:?}");
                    assert!(offsets.len() as u64 >= RECORDS - 4, "{plan:?}");
                }
                log.stop().await.expect("stops");
            })
            .done();
            let report = verified(&disk);
            assert_eq!(report.count(Severity::Damage), 0, "{:?}", report.findings);
        }
    }
    assert!(repairs > 5, "{repairs} repairs, {losses} losses");
}

#[test]
fn a_crash_at_any_effect_of_a_repair_leaves_the_partition_refused_or_repaired() {
    let disk = filled(47);
    let (path, bytes) = files_of(&disk, "/1/", ".log").remove(0);
    disk.corrupt(&path, 9_000, &[bytes[9_000] ^ 1]);
    let damaged = disk.snapshot();
    for goal in [Goal::AcceptLoss, Goal::CutAt(Offset(4))] {
        disk.restore(&damaged);
        let plan = planned(&disk, 1, goal).expect("it is damaged");
        let (mut again, mut states) = (0, 0);
        for effect in 0.. {
            let mut ended = true;
            for death in [Death::Kill, Death::PowerCut] {
                disk.restore(&damaged);
                disk.crash_at(effect);
                let sim = Sim::with_disk(effect, disk.clone());
                ended = !sim.run(|io| repair(io, 1, goal)).is_crashed();
                die(&disk, death);
                again += u64::from(finish(&disk, goal));
                let performed = Performed {
                    plan: plan.clone(),
                    copies: PathBuf::new(),
                };
                check_and_verify(&disk, 1, &performed);
                states += 1;
            }
            if ended {
                break;
            }
        }
        assert!(
            states > 60 && again > 20 && again < states,
            "{again} of {states}"
        );
    }
}

/// What an operator does after a crash: starts, and where the partition is refused, stops and repairs it again. True: it
/// was refused or still damaged.
fn finish(disk: &SimDisk, goal: Goal) -> bool {
    let sim = Sim::with_disk(48, disk.clone());
    let refused = sim.run(|io| async move {
        let (log, report) = start(&io, Path::new(DATA)).await.expect("starts");
        log.stop().await.expect("stops");
        let others = report
            .damaged
            .iter()
            .filter(|(damaged, _)| *damaged != key(1));
        assert_eq!(others.count(), 0, "{report:?}");
        !report.damaged.is_empty()
    });
    let refused = refused.done().remove(0);
    match planned(disk, 1, goal) {
        Err(RepairError::Sound(_)) => assert!(!refused),
        Ok(_) => {
            repaired(disk, 1, goal);
            return true;
        }
        Err(error) => panic!("{error}"),
    }
    false
}
