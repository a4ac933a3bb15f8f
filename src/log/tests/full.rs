//! A full disk. Goal: appends are refused before the reserve is used, and nothing that was accepted is lost; reads and
//! deletes go on; when space is back, so do appends, within 2 s of the simulated clock; space that somebody else takes at
//! any moment only makes what is under way wait. Method: a simulated disk of some MiB, filled until it refuses.

use crate::base::{AckLevel, Offset, RecordBatch};
use crate::io::Io;
use crate::io::sim::{Sim, SimDisk, SimIo};
use crate::log::tests::steps::{SMALL, append, batch, check_all, key, reached};
use crate::log::tests::verify::verified;
use crate::log::verify::Severity;
use crate::log::{
    AppendError, Draw, Log, Options, PartitionLog, RecoveryReport, recover, retire_journals,
};
use std::path::Path;
use std::time::Duration;

const DATA: &str = "/data";
const RESERVE: u64 = 4 << 20;
const CAPACITY: u64 = 16 << 20;
/// The figure that is promised.
const RESUME_MAX: Duration = Duration::from_secs(2);

async fn start(io: &SimIo) -> (Log<SimIo>, RecoveryReport) {
    let recovered = recover(io, Path::new(DATA)).await.expect("recovers");
    let node = crate::base::NodeId(7);
    let mut options = Options::new(DATA.into(), node, recovered.epoch);
    options.journal_file_bytes = 256 << 10;
    options.hot_bytes_max = 128 << 10;
    options.disk_reserve_bytes = RESERVE;
    let log = Log::start(io.clone(), options, recovered.partitions)
        .await
        .expect("starts");
    retire_journals(io, &recovered.retired)
        .await
        .expect("retires");
    (log, recovered.report)
}

/// One batch, if it is accepted.
fn try_append(partition: &PartitionLog<SimIo>, draw: Draw) -> Result<Offset, AppendError> {
    let first = partition.frontiers().appended.0;
    let bytes = batch(first, 3, 3_000);
    let batch = RecordBatch::parse(&bytes).expect("built by us");
    partition.append_drawing(&batch, AckLevel::Synced, draw, None)
}

/// Appends until it is refused; everything accepted is acknowledged.
async fn fill(io: &SimIo, partition: &PartitionLog<SimIo>) -> Offset {
    loop {
        match try_append(partition, Draw::Free) {
            Ok(next) => assert!(reached(partition, next, AckLevel::Synced).await),
            Err(AppendError::DiskFull) => return partition.frontiers().appended,
            Err(other) => panic!("{other}"),
        }
        io.yield_now().await;
    }
}

/// How long until an append is accepted and acknowledged.
async fn resume(io: &SimIo, partition: &PartitionLog<SimIo>) {
    let began = io.now();
    let next = loop {
        match try_append(partition, Draw::Free) {
            Ok(next) => break next,
            Err(AppendError::DiskFull) => io.sleep(Duration::from_millis(20)).await,
            Err(other) => panic!("{other}"),
        }
        assert!(io.now().since(began) <= RESUME_MAX, "it does not go on");
    };
    assert!(reached(partition, next, AckLevel::Synced).await);
    assert!(io.now().since(began) <= RESUME_MAX, "it goes on too late");
}

#[test]
fn appends_are_refused_before_the_reserve_is_used_and_go_on_by_themselves() {
    let disk = SimDisk::new(60);
    disk.set_capacity(CAPACITY);
    let sim = Sim::with_disk(60, disk.clone());
    sim.run(|io| async move {
        let (log, _) = start(&io).await;
        let kept = log.open(key(0), SMALL).await.expect("opens");
        for round in 1..6 {
            let gone = log.open(key(round), SMALL).await.expect("opens");
            let (some, end) = (
                append(&kept, 2, 100, AckLevel::Synced),
                fill(&io, &gone).await,
            );
            assert!(end > Offset(900), "{end}");
            let free = io.free_bytes(Path::new(DATA)).await.expect("asked");
            assert!(
                free > RESERVE - (1 << 20) && free < RESERVE + (1 << 20),
                "{free}"
            );
            assert_eq!(check_all(&io, &gone, Offset(0), end, 1 << 20).await, end.0);
            assert_eq!(
                check_all(&io, &kept, Offset(0), some, 1 << 20).await,
                some.0
            );
            // What lets space be freed is still recorded.
            let next = try_append(&kept, Draw::Reserve).expect("draws on the reserve");
            assert!(reached(&kept, next, AckLevel::Synced).await);
            log.delete(key(round)).await.expect("deletes");
            resume(&io, &kept).await;
        }
        log.stop().await.expect("stops");
    })
    .done();
    assert_eq!(verified(&disk).count(Severity::Damage), 0);
}

/// Somebody takes all the space at some moment, and gives it back.
#[test]
fn space_that_is_taken_from_outside_makes_appends_wait_and_loses_nothing() {
    for seed in 0..20 {
        let disk = SimDisk::new(seed);
        disk.set_capacity(CAPACITY);
        let ballast = disk.clone();
        let sim = Sim::with_disk(seed, disk.clone());
        sim.run(|io| async move {
            let (log, _) = start(&io).await;
            let partition = log.open(key(0), SMALL).await.expect("opens");
            let before = 20 * seed;
            let mut last = Offset(0);
            for round in 0..600 {
                if round == before {
                    let free = io.free_bytes(Path::new(DATA)).await.expect("asked");
                    ballast.set_capacity(CAPACITY - free);
                }
                match try_append(&partition, Draw::Free) {
                    Ok(next) => last = next,
                    Err(AppendError::DiskFull) => break,
                    Err(other) => panic!("{other}"),
                }
                io.sleep(Duration::from_millis(1)).await;
            }
            io.sleep(Duration::from_secs(3)).await;
            assert_eq!(
                try_append(&partition, Draw::Free),
                Err(AppendError::DiskFull)
            );
            assert!(partition.failed().is_none(), "{:?}", partition.failed());
            assert!(
                partition.frontiers().synced < last,
                "seed {seed}: something waits"
            );
            ballast.set_capacity(CAPACITY);
            resume(&io, &partition).await;
            let end = partition.frontiers().synced;
            assert!(end > last);
            assert_eq!(
                check_all(&io, &partition, Offset(0), end, 1 << 20).await,
                end.0
            );
            log.stop().await.expect("stops");
        })
        .done();
        assert_eq!(verified(&disk).count(Severity::Damage), 0);
    }
}

/// A stop on a full disk ends: what could not be written was never acknowledged, and everything else is there.
#[test]
fn a_stop_on_a_full_disk_ends_and_keeps_what_was_acknowledged() {
    let disk = SimDisk::new(61);
    disk.set_capacity(CAPACITY);
    let ballast = disk.clone();
    let sim = Sim::with_disk(61, disk.clone());
    let acked = sim.run(|io| async move {
        let (log, _) = start(&io).await;
        let partition = log.open(key(0), SMALL).await.expect("opens");
        let next = append(&partition, 50, 1_000, AckLevel::Synced);
        assert!(reached(&partition, next, AckLevel::Synced).await);
        let free = io.free_bytes(Path::new(DATA)).await.expect("asked");
        ballast.set_capacity(CAPACITY - free);
        while try_append(&partition, Draw::Free).is_ok() {
            io.sleep(Duration::from_millis(1)).await;
        }
        assert!(
            log.stop().await.is_err(),
            "it says that not all was written"
        );
        partition.frontiers().synced
    });
    let acked = acked.done()[0];
    disk.set_capacity(2 * CAPACITY);
    let sim = Sim::with_disk(62, disk.clone());
    sim.run(|io| async move {
        let (log, report) = start(&io).await;
        assert!(report.damaged.is_empty(), "{report:?}");
        let partition = log.open(key(0), SMALL).await.expect("opens");
        let end = partition.frontiers().synced;
        assert!(end >= acked);
        assert_eq!(
            check_all(&io, &partition, Offset(0), end, 1 << 20).await,
            end.0
        );
        log.stop().await.expect("stops");
    })
    .done();
}
