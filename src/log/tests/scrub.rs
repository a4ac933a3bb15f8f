//! The scrub. Goal: it reads every sealed segment, no faster than it may, and finds damage in one without being asked to
//! read it; what is sound it leaves alone; it can be switched off. Method: on the simulated disk, where its clock is exact,
//! with a byte of a file flipped while the log runs.

use crate::base::limits::BLOCK_BYTES;
use crate::base::{AckLevel, NodeId, Offset};
use crate::io::Io;
use crate::io::sim::{Sim, SimDisk, SimIo};
use crate::log::tests::steps::{SMALL, append, key, reached};
use crate::log::{Log, Options, recover, retire_journals};
use std::path::{Path, PathBuf};
use std::time::Duration;

const DATA: &str = "/data";
const RATE: u64 = 100 << 10;
const PARTITIONS: u32 = 2;

async fn start(io: &SimIo, rate: u64) -> Log<SimIo> {
    let recovered = recover(io, Path::new(DATA)).await.expect("recovers");
    let mut options = Options::new(DATA.into(), NodeId(7), recovered.epoch);
    options.journal_file_bytes = 256 << 10;
    options.disk_reserve_bytes = 0;
    options.scrub_bytes_per_second = rate;
    let log = Log::start(io.clone(), options, recovered.partitions).await;
    let log = log.expect("starts");
    retire_journals(io, &recovered.retired)
        .await
        .expect("retires");
    log
}

/// Several sealed segments in each partition, at rest.
fn filled(seed: u64) -> SimDisk {
    let disk = SimDisk::new(seed);
    let sim = Sim::with_disk(seed, disk.clone());
    sim.run(|io| async move {
        let log = start(&io, 0).await;
        for number in 0..PARTITIONS {
            let partition = log.open(key(number), SMALL).await.expect("opens");
            for _ in 0..30 {
                let next = append(&partition, 2, 4_000, AckLevel::Synced);
                assert!(reached(&partition, next, AckLevel::Synced).await);
            }
        }
        assert_eq!(log.stats().scrubbed_bytes, 0);
        log.stop().await.expect("stops");
    })
    .done();
    disk
}

/// The sealed segments of a partition: all but the last.
fn sealed(disk: &SimDisk, number: u32) -> Vec<PathBuf> {
    let below = format!("/{number}/");
    let mut paths = disk.list_files();
    paths.retain(|path| {
        let name = path.to_string_lossy();
        name.contains(&below) && name.ends_with(".log")
    });
    paths.pop();
    assert!(paths.len() > 2, "{paths:?}");
    paths
}

#[test]
fn what_is_sound_is_read_once_a_round_and_no_faster_than_it_may() {
    let disk = filled(70);
    let sim = Sim::with_disk(71, disk.clone());
    sim.run(|io| async move {
        let log = start(&io, RATE).await;
        let began = io.now();
        while log.stats().scrub_rounds == 0 {
            io.sleep(Duration::from_millis(100)).await;
        }
        let stats = log.stats();
        assert!(stats.scrubbed_bytes > 300_000, "{stats:?}");
        let least = Duration::from_millis(stats.scrubbed_bytes * 900 / RATE);
        assert!(io.now().since(began) >= least, "faster than it may");
        io.sleep(Duration::from_secs(60)).await;
        assert_eq!(
            log.stats().scrubbed_bytes,
            stats.scrubbed_bytes,
            "once a round"
        );
        assert_eq!(
            (log.stats().scrub_damaged, log.take_notices()),
            (0, Vec::new())
        );
        log.stop().await.expect("stops");
    })
    .done();
}

#[test]
fn damage_at_rest_is_found_told_once_and_not_served() {
    let disk = filled(72);
    let whole = disk.snapshot();
    for victim in 0..3 {
        disk.restore(&whole);
        let path = sealed(&disk, 1).swap_remove(victim);
        let at = 5 * BLOCK_BYTES as u64 + 100;
        let byte = disk.read_file(&path).expect("there")[at as usize];
        let rotting = disk.clone();
        let sim = Sim::with_disk(73, disk.clone());
        sim.run(|io| async move {
            let log = start(&io, RATE).await;
            assert!(rotting.corrupt(&path, at, &[byte ^ 4]));
            io.sleep(Duration::from_secs(60)).await;
            assert_eq!(log.stats().scrub_damaged, 1);
            let notices = log.take_notices();
            assert!(notices.len() == 1 && notices[0].0 == key(1), "{notices:?}");
            let sound = log.open(key(0), SMALL).await.expect("opens");
            assert_eq!(sound.doubted_from(Offset(0)), None);
            let partition = log.open(key(1), SMALL).await.expect("opens");
            let (from, what) = partition.doubted_from(Offset(0)).expect("it was noted");
            let base = path
                .file_stem()
                .and_then(|stem| stem.to_str()?.parse::<u64>().ok());
            assert!(
                from.0 > base.expect("a base offset"),
                "records before it are served"
            );
            assert!(what.contains("checksum"), "{what}");
            let inside = partition.doubted_from(from).map(|(from, _)| from);
            assert_eq!(inside, Some(from));
            let end = partition.frontiers().appended;
            let last = Offset(end.0 - 1);
            assert_eq!(
                partition.doubted_from(last),
                None,
                "what comes behind the segment is served"
            );
            // A second round says nothing new.
            io.sleep(Duration::from_secs(3_700)).await;
            assert_eq!(
                (log.stats().scrub_damaged, log.take_notices().len()),
                (1, 0)
            );
            assert!(log.stats().scrub_rounds >= 1);
            log.stop().await.expect("stops");
        })
        .done();
    }
}
