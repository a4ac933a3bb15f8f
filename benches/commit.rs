//! commit: one record to each of 1, 100 and 1,000 partitions at a time, then the wait until all are acked; the log alone.
//!
//! Sketch, per round of one 170 B batch to each of P partitions: P copies into append chunks and again into the journal
//! entry (170 B each), CRC-32 of the entry (P x 4 KiB at most, as each partition's partial block is carried whole: 0.4 us
//! a partition at 10 GB/s), one write of the entry (80 us of the device at 4 KiB, 1.4 ms at 4 MiB), and for `synced` one
//! flush of the journal file (about 100 us here), however many partitions took part. So with P = 1 the device's latency
//! is all there is; with P = 1,000 some 1 us of CPU a partition and cycles of up to 1 MiB. The flushes per cycle are
//! printed: one, not P.
//!
//! `cargo bench --bench commit -- [--smoke] [--dir DIR] [--only NAME]`

#[path = "rig/cores.rs"]
mod cores;
mod rig;
#[path = "rig/store.rs"]
mod store;

use cores::cores;
use millrace::base::{AckLevel, RecordBatch};
use millrace::io::uring::{Uring, run_cores};
use rig::{Args, Took, Watch};
use std::path::PathBuf;
use std::time::Instant;
use store::{Dir, acked, batch, open, start};

fn main() {
    let args = Args::read();
    for level in [AckLevel::Written, AckLevel::Synced] {
        for (partitions, rounds) in [(1, 3_000), (100, 1_000), (1_000, 150)] {
            let rounds = args.scale(rounds, 3);
            let name = format!("commit {level} to {partitions} partitions a round");
            args.row(&name, "records", || {
                let dir = Dir::make(args.value("--dir"), "commit");
                let data = dir.path();
                let ran = run_cores::<(), _, _, _>(cores(1), move |io, _| {
                    measure(io, data.clone(), level, partitions, rounds)
                });
                ran.expect("the core runs").remove(0)
            });
        }
    }
}

async fn measure(io: Uring, data: PathBuf, level: AckLevel, partitions: u32, rounds: u64) -> Took {
    let log = start(&io, data).await;
    let handles = open(&io, &log, partitions).await;
    let bytes = batch(1);
    let before = log.stats();
    let mut watch = Watch::start();
    for round in 0..rounds {
        let began = Instant::now();
        for partition in &handles {
            let batch = RecordBatch::parse(&bytes).expect("built here");
            let next = partition.append(&batch, level).expect("accepted");
            assert_eq!(next.0, round + 1);
        }
        for partition in &handles {
            acked(partition, partition.frontiers().appended, level).await;
        }
        watch.note(began);
    }
    let after = log.stats();
    let cycles = after.cycles - before.cycles;
    let flushes = after.journal_flushes - before.journal_flushes;
    let note = format!(
        " a round; {:.2} cycles, {:.2} flushes of journals, {:.2} of segments a round",
        cycles as f64 / rounds as f64,
        flushes as f64 / rounds as f64,
        (after.segment_flushes - before.segment_flushes) as f64 / rounds as f64,
    );
    let took = watch.stop(rounds * u64::from(partitions), note);
    log.stop().await.expect("stops");
    took
}
