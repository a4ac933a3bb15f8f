//! recovery: what a start reads after a stop that was not clean, the log alone, one core.
//!
//! Sketch: one journal file of 64 MiB is read in direct reads of 1 MiB (3 GB/s: 21 ms) and checked (CRC-32 at 10 GB/s: 6
//! ms). Of each segment, the index is read, then what lies behind it is walked: direct blocks are read again and held
//! against the journal's checksums (as many bytes as journals in use speak of), small partitions are rebuilt from the
//! journal's bytes. A partition costs some three system calls off the core (open, stat, list: 50 us each with the thread
//! switches). So 256 MiB in one partition take about 0.15 s, 1,000 small partitions about 0.2 s.
//!
//! Seen otherwise: 1.7 s for 1,000 small partitions: each waits for its handful of calls off the core, one after the other,
//! and none overlaps with the next partition's.
//!
//! The page cache plays no part in direct reads. An operation is one recovery.
//!
//! `cargo bench --bench recovery -- [--smoke] [--dir DIR] [--only NAME]`

#[path = "rig/cores.rs"]
mod cores;
mod rig;
#[path = "rig/store.rs"]
mod store;

use cores::cores;
use millrace::base::{AckLevel, RecordBatch};
use millrace::io::uring::{Uring, run_cores};
use millrace::log;
use rig::{Args, Took, Watch};
use std::path::PathBuf;
use std::time::Instant;
use store::{Dir, acked, batch, open, start};

const ROUNDS_UNWRITTEN: u64 = 16;

fn main() {
    let args = Args::read();
    for (partitions, records, rounds) in [(1, 1_000, 2_500), (100, 1_000, 25), (1_000, 1, 20)] {
        let rounds = args.scale(rounds, 4);
        let name =
            format!("recover {partitions} partitions, {rounds} batches of {records} records each");
        args.row(&name, "recoveries", || {
            let dir = Dir::make(args.value("--dir"), "recovery");
            let data = dir.path();
            // The core ends without a stop of its log, as a killed broker does.
            let ran = run_cores::<(), _, _, _>(cores(1), move |io, _| {
                fill(io, data.clone(), partitions, records, rounds)
            });
            let written = ran.expect("the core runs").remove(0);
            let data = dir.path();
            let again = args.scale(5, 1);
            let ran = run_cores::<(), _, _, _>(cores(1), move |io, _| {
                recover(io, data.clone(), written, again)
            });
            ran.expect("the core runs").remove(0)
        });
    }
}

/// How many bytes of record batches it wrote.
async fn fill(io: Uring, data: PathBuf, partitions: u32, records: u64, rounds: u64) -> u64 {
    let log = start(&io, data).await;
    let handles = open(&io, &log, partitions).await;
    let bytes = batch(records);
    for round in 1..=rounds {
        for partition in &handles {
            let batch = RecordBatch::parse(&bytes).expect("built here");
            partition.append(&batch, AckLevel::Written).expect("taken");
        }
        if round % ROUNDS_UNWRITTEN == 0 || round == rounds || partitions > 1 {
            for partition in &handles {
                acked(partition, partition.frontiers().appended, AckLevel::Written).await;
            }
        }
    }
    bytes.len() as u64 * rounds * u64::from(partitions)
}

async fn recover(io: Uring, data: PathBuf, written: u64, again: u64) -> Took {
    let mut watch = Watch::start();
    let mut entries = 0;
    for _ in 0..again {
        let began = Instant::now();
        let recovered = log::recover(&io, &data).await.expect("recovers");
        watch.note(began);
        let report = recovered.report;
        assert!(!report.clean && report.damaged.is_empty());
        assert_eq!(report.bytes, written);
        entries = report.entries;
    }
    let note = format!("; {} MiB, {entries} journal entries", written >> 20);
    watch.stop(again, note)
}
