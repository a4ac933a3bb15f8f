//! Goal: whatever the machine, its disk, its network and its clock do to a broker, nothing that it promised is lost, doubled,
//! reordered or taken back; what is damaged is told; and it goes on when all is well again.
//!
//! Method: the whole broker except io/uring (net, protocol, engine, shard, log, catalog, and the client's session and
//! driver) on `io/sim`, where a seed decides everything. A seed draws the lives of a machine: on 1 to 4 cores, with
//! producers, readers and changes of topics (made, trimmed, deleted), ended by a clean stop, a kill or a power cut (also in
//! the middle of an effect, in recovery, in a start), on a disk that is calm, that fails, or that lies. The last life is a
//! healed one, in which everything must work and everything is read. `history` holds what clients saw against what was
//! promised.
//!
//! | disk | what goes wrong | expected |
//! |---|---|---|
//! | calm | deaths, with torn writes | nothing promised is lost, nothing is refused |
//! | failing | failed, short and slow writes, no space, failed reads and names | the same; a broker may refuse until its next start |
//! | failing | failed syncs, of files and of directories | nothing is lost in silence: what the kernel forgot may be refused after a power cut |
//! | lying | one write lost or misdirected, or one sync lost, in a life | damage is refused or seen by the reader's checksum; silently cut is only what no evidence could tell (`history`) |
//!
//! A directory sync that lies is not among them: the name of the journal may go with it, and all evidence.
//! Each seed runs twice, and the two runs must be the same to the last event. A run with too few operations, deaths or
//! faults fails. A seed that fails is had again by
//! `MILLRACE_SEED=N cargo test --profile campaign --test simulation replay -- --ignored --nocapture`, with the trace of
//! all that happened in the file that MILLRACE_TRACE names.
//!
//! The campaign: `MILLRACE_SEEDS=100000 cargo test --profile campaign --test simulation campaign -- --ignored --nocapture`
//! (MILLRACE_FIRST: the first seed; MILLRACE_THREADS: how many at a time).

#[path = "simulation/admin.rs"]
mod admin;
#[path = "simulation/broker.rs"]
mod broker;
mod campaign;
#[path = "simulation/consumer.rs"]
mod consumer;
#[path = "history/mod.rs"]
mod history;
#[path = "simulation/nemesis.rs"]
mod nemesis;
#[path = "simulation/plan.rs"]
mod plan;
#[path = "simulation/producer.rs"]
mod producer;
#[path = "simulation/records.rs"]
mod records;
#[path = "simulation/seed.rs"]
mod seed;
#[path = "simulation/tally.rs"]
mod tally;
#[path = "simulation/world.rs"]
mod world;

use campaign::{Campaign, number};
use seed::Report;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use tally::Tally;

/// Seeds of the form that runs with all tests: few, for a build with little optimisation.
const SEEDS: u64 = 30;
/// Failures that are told in full; of the rest, the number.
const TOLD_MAX: usize = 10;

/// Runs a seed twice; what came of it, or what went wrong.
fn twice(seed: u64) -> Result<Tally, String> {
    let run = || catch_unwind(AssertUnwindSafe(|| seed::run(seed, false)));
    let (first, second) = match (run(), run()) {
        (Ok(first), Ok(second)) => (first, second),
        (Err(panic), _) | (_, Err(panic)) => {
            let text = panic.downcast_ref::<String>().cloned();
            return Err(text.unwrap_or_else(|| "a panic".to_owned()));
        }
    };
    if !first.failures.is_empty() {
        return Err(first.failures.join("\n    "));
    }
    let same =
        first.trace_hash == second.trace_hash && first.history.events() == second.history.events();
    same.then_some(first.tally)
        .ok_or_else(|| "two runs of the seed differ".to_owned())
}

/// Runs `count` seeds from `first` on, in as many threads as there are cores. Fails if one does, or if too little
/// happened.
fn run_seeds(first: u64, count: u64) {
    let campaign = Campaign::begin("simulation", "seeds");
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let (next, total) = (AtomicU64::new(first), Mutex::new(Tally::default()));
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..number("MILLRACE_THREADS", cores) {
            scope.spawn(|| {
                let mut tally = Tally::default();
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + count {
                        break;
                    }
                    match twice(seed) {
                        Ok(of_seed) => tally.merge(&of_seed),
                        Err(reason) => note_failure(&failed, seed, &reason),
                    }
                }
                total.lock().expect("nothing under it panics").merge(&tally);
            });
        }
    });
    let (total, failed) = (total.into_inner(), failed.into_inner());
    let (total, failed) = (total.expect("not poisoned"), failed.expect("not poisoned"));
    println!("{total}");
    campaign.end(count, total.faults(), failed.len() as u64);
    assert!(
        failed.is_empty(),
        "{} seeds failed: {failed:?}",
        failed.len()
    );
    let missing = total.missing(count);
    assert!(missing.is_empty(), "too little happened: {missing:?}");
}

fn note_failure(failed: &Mutex<Vec<u64>>, seed: u64, reason: &str) {
    let mut failed = failed.lock().expect("nothing under it panics");
    failed.push(seed);
    if failed.len() <= TOLD_MAX {
        println!(
            "seed {seed} failed:\n    {reason}\n  to see it again: {}",
            replay_command(seed)
        );
    }
}

fn replay_command(seed: u64) -> String {
    format!(
        "MILLRACE_SEED={seed} MILLRACE_TRACE=/tmp/trace-{seed} cargo test --profile campaign --test simulation replay -- --ignored --nocapture"
    )
}

#[test]
fn a_few_seeds() {
    run_seeds(number("MILLRACE_FIRST", 1), SEEDS);
}

#[test]
#[ignore = "a campaign: see the door"]
fn campaign_of_many_seeds() {
    run_seeds(
        number("MILLRACE_FIRST", 1_000_000),
        number("MILLRACE_SEEDS", 2_000),
    );
}

#[test]
#[ignore = "one seed, by MILLRACE_SEED"]
fn replay() {
    let seed = number("MILLRACE_SEED", 1);
    let path = std::env::var("MILLRACE_TRACE").ok();
    let report: Report = seed::run(seed, path.is_some());
    if let Some(path) = path {
        let mut text = report.trace.join("\n");
        for event in report.history.events() {
            text.push_str(&format!("\n{event:?}"));
        }
        std::fs::write(&path, text).unwrap_or_else(|error| panic!("{path}: {error}"));
        println!("the trace and the history are in {path}");
    }
    println!("{}", report.tally);
    println!("{:#?}", plan::Plan::of(seed).0);
    assert!(
        report.failures.is_empty(),
        "seed {seed}:\n    {}",
        report.failures.join("\n    ")
    );
}
