//! Goal: the tests would notice. Method: in the test programs as they are built anyway one planted bug after the other is
//! switched on (src/base/planted.rs), and the test that is to catch it has to fail, by name, where it passes without the bug.
//!
//! Four bugs, others for every commit (.ci/run):
//! ```text
//! cargo test --test teeth -- --ignored --nocapture some_planted_bugs
//! ```
//! All bugs, some minutes (MILLRACE_BUGS: only these, by name, with commas between them):
//! ```text
//! cargo test --test teeth -- --ignored --nocapture all_planted_bugs
//! ```
#![allow(clippy::unwrap_used, reason = "a test may panic; the line says where")]

mod campaign;

use campaign::Campaign;
use millrace::base::planted::BUGS;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How many bugs the short form tries.
const SAMPLE: usize = 4;
/// A test that a bug keeps from ending has not caught it.
const PATIENCE: Duration = Duration::from_secs(240);

const CRASH_KILL: &str = "log::tests::crash::what_was_written_survives_a_kill_at_every_effect";
const CRASH_TRIM: &str =
    "log::tests::crash::what_was_trimmed_stays_so_after_a_crash_at_every_effect";
const CRASH_POWER: &str = "log::tests::crash::what_was_synced_survives_a_power_cut_at_every_effect";
const BUSY: &str = "log::tests::crash::what_was_acked_survives_with_many_cycles_in_flight";
const FAIL: &str = "log::tests::fail::a_failure_at_any_operation_is_final_or_harmless";
const FLIP: &str = "log::tests::damage::a_flipped_byte_in_any_journal_block_is_refused_or_harmless";
const DECAY: &str = "log::tests::decay::damage_in_a_file_is_told_or_harmless_after_a_clean_stop";
const UNREADABLE: &str =
    "log::tests::damage::an_unreadable_journal_stops_the_start_and_cuts_nothing";
const CRASH_INSIDE: &str =
    "log::tests::crash::recovery_survives_a_crash_at_every_effect_of_its_own";
const KEPT: &str = "log::tests::repair::what_the_kept_journals_hold_is_kept";
const TOPICS: &str = "shard::tests::crash::topics_are_whole_after_a_kill_at_any_effect";
const BLOCKS: &str =
    "shard::tests::found::blocks_that_were_written_and_outlived_a_kill_outlive_a_power_cut";
const NAMES: &str = "shard::tests::found::a_topic_that_a_kill_left_half_made_outlives_a_power_cut";
const SEEDS: &str = "a_few_seeds";
const GONE: &str = "log::tests::decay::a_file_that_is_gone_is_told_or_made_again";
const INDEX: &str = "log::index::tests::a_file_comes_back_and_every_flipped_byte_ends_trust";
const VISIBLE: &str =
    "shard::tests::fetches::a_record_is_visible_only_once_it_is_acked_at_its_level";

const NUMBERED: &str =
    "shard::tests::numbered::what_is_sent_again_is_answered_again_and_gaps_are_refused";
const PRODUCERS: &str =
    "shard::tests::numbered::nothing_is_taken_twice_across_the_death_of_the_broker";
const QUEUED: &str =
    "shard::tests::numbered::a_batch_waits_for_the_one_before_it_that_was_refused_for_a_moment";
const COMMITS: &str = "shard::tests::groups::commits_survive_a_kill_at_any_effect";
const INSTANCE: &str =
    "group::tests::members::a_static_member_comes_back_without_a_rebalance_and_fences_the_old_one";
const GENERATION: &str = "group::tests::members::heartbeats_by_state_and_generation";
const SILENT: &str = "group::tests::members::a_silent_member_is_dropped_and_the_others_rebalance";
const TRIM: &str =
    "shard::tests::trim::a_trim_that_was_answered_survives_a_power_cut_at_any_effect";
const NAMED: &str =
    "log::tests::trim::a_trimmed_partition_whose_last_segment_is_empty_outlives_a_power_cut";
const ROTATE: &str = "log::tests::rotate::journal_files_grow_with_the_partitions";
const ACKS: &str = "protocol::kafka::tests::acks_stand_for_levels";

const LEDGER: &str = "queue::tests::model::agrees_with_a_naive_ledger_whatever_happens";
const QUEUE_KILL: &str =
    "shard::tests::queues::crashes::no_record_is_lost_or_comes_twice_after_a_kill_at_any_effect";
const QUEUE_LOSS: &str =
    "shard::tests::queues::crashes::what_the_power_took_is_not_missed_and_what_comes_after_is_new";

/// A bug, the test program that catches it, and the test.
type Catcher = (&'static str, &'static str, &'static str);

const LIB: &str = "millrace";

/// Which test catches which bug.
const CATCHERS: &[Catcher] = &[
    ("skip-flush", LIB, CRASH_POWER),
    ("ack-early", LIB, CRASH_KILL),
    ("ignore-short-write", LIB, FAIL),
    ("serve-unchecked", LIB, DECAY),
    ("forget-kept-journals", LIB, KEPT),
    ("serve-past-commit", LIB, VISIBLE),
    ("answer-out-of-order", "simulation", SEEDS),
    ("forget-dir-sync", LIB, CRASH_POWER),
    ("forget-seal-sync", LIB, CRASH_POWER),
    ("retry-sync", LIB, FAIL),
    ("cut-at-eio", LIB, UNREADABLE),
    ("accept-bad-crc", LIB, FLIP),
    ("lose-wake-up", LIB, CRASH_KILL),
    ("catalog-early", LIB, TOPICS),
    ("retire-early", LIB, CRASH_INSIDE),
    ("ignore-boot-id", LIB, CRASH_POWER),
    ("forward-last-first", "simulation", SEEDS),
    ("trust-unsynced", LIB, BLOCKS),
    ("forget-names", LIB, NAMES),
    ("ignore-write-error", LIB, FAIL),
    ("ack-out-of-order", LIB, BUSY),
    ("carry-not-all", LIB, CRASH_POWER),
    ("recycle-early", LIB, CRASH_POWER),
    ("keep-no-room", LIB, ROTATE),
    ("ack-after-failure", LIB, FAIL),
    ("accept-bad-batch", LIB, DECAY),
    ("damage-is-absence", LIB, FLIP),
    ("trust-torn-direct", LIB, CRASH_KILL),
    ("trust-index", LIB, INDEX),
    ("frontier-ahead", LIB, CRASH_POWER),
    ("unannounced-partition", LIB, CRASH_KILL),
    ("delete-before-record", LIB, BUSY),
    ("visible-before-synced", LIB, VISIBLE),
    ("missing-segment-is-absence", LIB, GONE),
    ("take-twice", LIB, NUMBERED),
    ("take-gap", LIB, NUMBERED),
    ("take-fenced", LIB, NUMBERED),
    ("forget-producers", LIB, PRODUCERS),
    ("jump-queue", LIB, QUEUED),
    ("commit-early", LIB, COMMITS),
    ("compact-in-place", LIB, COMMITS),
    ("trust-half-snapshot", LIB, COMMITS),
    ("ignore-fenced-instance", LIB, INSTANCE),
    ("any-generation", LIB, GENERATION),
    ("keep-silent-member", LIB, SILENT),
    ("acks-all-written", LIB, ACKS),
    ("trim-early", LIB, TRIM),
    ("forget-trim", LIB, TRIM),
    ("follow-trimmed", LIB, CRASH_TRIM),
    ("remove-named", LIB, NAMED),
    ("settle-early", LIB, QUEUE_KILL),
    ("deliver-early", LIB, QUEUE_KILL),
    ("take-stale-answer", LIB, LEDGER),
    ("move-twice", LIB, QUEUE_KILL),
    ("keep-lost-offsets", LIB, QUEUE_LOSS),
];

/// The test programs, by the names of their targets.
fn build() -> BTreeMap<String, PathBuf> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let mut build = Command::new(cargo);
    build
        .args(["test", "--locked", "--no-run"])
        .args(["--lib", "--test", "simulation"])
        .args(["--message-format", "json"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stderr(Stdio::inherit());
    let out = build.output().unwrap();
    assert!(out.status.success(), "the test programs are not built");
    let text = String::from_utf8(out.stdout).unwrap();
    let messages = text
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let programs = messages.filter_map(|message| {
        let is_test = message["profile"]["test"] == true;
        let program = message["executable"].as_str().filter(|_| is_test)?;
        let name = message["target"]["name"].as_str()?;
        Some((name.to_owned(), PathBuf::from(program)))
    });
    programs.collect()
}

/// How a test went.
#[derive(PartialEq, Eq, Debug)]
enum End {
    Passed,
    Failed,
    /// It did not end, or there is no such test.
    Nothing(String),
}

/// Runs one test, with a bug or without.
fn run(program: &Path, test: &str, bug: Option<&str>) -> End {
    let mut command = Command::new(program);
    command
        .args([test, "--exact", "--include-ignored"])
        .env_remove("MILLRACE_PLANT")
        .env_remove("MILLRACE_LEDGER")
        .env("RUST_BACKTRACE", "0")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stderr(Stdio::null());
    // A file, not a pipe: nobody reads along, and a full pipe would keep the test from ending.
    let said = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("teeth-{}", std::process::id()));
    command.stdout(File::create(&said).unwrap());
    if let Some(bug) = bug {
        command.env("MILLRACE_PLANT", bug);
    }
    let mut child = command.spawn().unwrap();
    let began = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if began.elapsed() > PATIENCE {
            child.kill().unwrap();
            child.wait().unwrap();
            return End::Nothing(format!("it did not end within {PATIENCE:?}"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let text = std::fs::read(&said).unwrap();
    std::fs::remove_file(&said).unwrap();
    let said = String::from_utf8_lossy(&text).into_owned();
    if said.contains(&format!("test {test} ... ok")) {
        End::Passed
    } else if said.contains("1 failed") {
        End::Failed
    } else {
        End::Nothing(said)
    }
}

/// Switches on each of `bugs` and sees that it is caught.
fn try_bugs(name: &'static str, bugs: &[Catcher]) {
    let programs = build();
    let campaign = Campaign::begin(name, "bugs");
    let mut sound: Vec<(&str, &str)> = bugs.iter().map(|(_, of, test)| (*of, *test)).collect();
    sound.sort_unstable();
    sound.dedup();
    for (of, test) in sound {
        let end = run(&programs[of], test, None);
        assert_eq!(end, End::Passed, "{test} without a bug");
    }
    let mut missed = Vec::new();
    for (bug, of, test) in bugs {
        let end = run(&programs[*of], test, Some(bug));
        println!("{bug}: {test}: {end:?}");
        if end != End::Failed {
            missed.push(*bug);
        }
    }
    campaign.end(bugs.len() as u64, bugs.len() as u64, missed.len() as u64);
    assert!(missed.is_empty(), "not caught: {missed:?}");
}

#[test]
fn every_bug_has_a_test_that_is_to_catch_it() {
    let mut known: Vec<&str> = BUGS.iter().map(|(name, _)| *name).collect();
    let mut caught: Vec<&str> = CATCHERS.iter().map(|(name, ..)| *name).collect();
    known.sort_unstable();
    caught.sort_unstable();
    assert_eq!(known, caught);
    assert!(known.len() >= 25, "{} bugs", known.len());
}

#[test]
#[ignore = "a minute; run by .ci/run"]
fn some_planted_bugs_are_caught() {
    // Other ones for every commit: its first digits say where to begin.
    let head = Command::new("git")
        .args(["rev-parse", "--short=6", "HEAD"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output();
    let head = head.map(|out| String::from_utf8_lossy(&out.stdout).trim().to_owned());
    let seed = head
        .ok()
        .and_then(|head| u64::from_str_radix(&head, 16).ok());
    let first: usize = campaign::number("MILLRACE_SEED", seed.unwrap_or(0)) as usize;
    let sample: Vec<_> = (0..SAMPLE)
        .map(|number| CATCHERS[(first + number * CATCHERS.len() / SAMPLE) % CATCHERS.len()])
        .collect();
    try_bugs("teeth-sample", &sample);
}

#[test]
#[ignore = "minutes; the door comment has the command"]
fn all_planted_bugs_are_caught() {
    let Ok(named) = std::env::var("MILLRACE_BUGS") else {
        return try_bugs("teeth-all", CATCHERS);
    };
    let of_name = |name| CATCHERS.iter().find(|(known, ..)| *known == name);
    let named = named.split(',').map(|name| match of_name(name) {
        Some(catcher) => *catcher,
        None => panic!("MILLRACE_BUGS: no bug is called {name}"),
    });
    try_bugs("teeth-named", &named.collect::<Vec<_>>());
}
