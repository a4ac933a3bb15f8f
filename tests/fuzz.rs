//! Goal: no bytes from a peer, a disk or a file make any parser, or what handles what it parsed, panic, hang, leak or take
//! much memory; and no history of commands and deaths makes the log differ from its model.
//!
//! Method: the targets of tests/fuzz, one for each thing that takes such bytes, built by cargo-fuzz with the address
//! sanitizer and debug assertions, run by libFuzzer from seeds that real encoders wrote (tests/fuzz/seeds.rs), for so many
//! seconds each. A crash, a leak, more than a second of processor time for one input, or more memory than is allowed fails
//! the campaign and says how to have it again; so does a target that hardly ran. What is found stays in
//! tests/fuzz/artifacts, what is learnt in tests/fuzz/corpus; neither is committed: what is found becomes a test.
//!
//! Short, 3 s each (.ci/run):  cargo test --test fuzz -- --ignored --nocapture
//! Long, 110 s each:           MILLRACE_FUZZ_SECONDS=110 cargo test --test fuzz -- --ignored --nocapture
//! Some targets only:          MILLRACE_FUZZ_TARGETS=dispatch,session ...
#![allow(clippy::unwrap_used, reason = "a test may panic; the line says where")]

mod campaign;
#[path = "fuzz/seeds.rs"]
mod seeds;

use campaign::Campaign;
use seeds::TARGETS;
use std::collections::{BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

/// The version that is installed where there is none.
const CARGO_FUZZ: &str = "0.13.2";
/// One input may take so long, with the sanitizer, on a machine that is busy: a hang takes for ever.
const INPUT_SECONDS_MAX: u32 = 10;
/// What a target may take of memory in all, and for one allocation, in MiB. The sanitizer keeps what was freed for a
/// while, hence the sum; the largest single thing that any of them may ask for is a frame of 16 MiB, doubled.
const RSS_MB_MAX: u32 = 1_500;
const ALLOCATION_MB_MAX: u32 = 64;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz")
}

fn files(folder: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let stems = entries.map(|entry| entry.unwrap().path());
    stems
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect()
}

#[test]
fn every_target_is_listed_and_has_seeds_of_its_own() {
    let listed: BTreeSet<_> = TARGETS
        .iter()
        .map(|target| target.name().to_owned())
        .collect();
    assert_eq!(listed, files(&folder().join("fuzz_targets")));
    let manifest = std::fs::read_to_string(folder().join("Cargo.toml")).unwrap();
    for target in TARGETS {
        let name = target.name();
        let path = format!("name = \"{name}\"\npath = \"fuzz_targets/{name}.rs\"");
        assert!(manifest.contains(&path), "{name} is not in the manifest");
        let seeds = (target.seeds)();
        assert!(!seeds.is_empty(), "{name} has no seeds");
        let bytes: usize = seeds.iter().map(Vec::len).sum();
        assert!(
            (1..4 << 20).contains(&bytes),
            "{name}: {bytes} bytes of seeds"
        );
    }
}

#[test]
#[ignore = "builds all targets with a sanitizer: minutes; see the head of this file"]
fn no_input_crashes_any_target() {
    if let Err(reason) = ensure_cargo_fuzz() {
        println!("SKIPPED: no fuzzing, because cargo-fuzz is not there: {reason}");
        return;
    }
    build();
    let seconds: u64 = campaign::number("MILLRACE_FUZZ_SECONDS", 3);
    let only = std::env::var("MILLRACE_FUZZ_TARGETS").ok();
    let is_wanted = |name: &str| {
        only.as_ref()
            .is_none_or(|only| only.split(',').any(|n| n == name))
    };
    let wanted = TARGETS.iter().filter(|target| is_wanted(target.name()));
    let queue: Mutex<VecDeque<_>> = Mutex::new(wanted.collect());
    assert!(
        !queue.lock().unwrap().is_empty(),
        "no such target: {only:?}"
    );
    let failed = Mutex::new(Vec::new());
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some(target) = { queue.lock().unwrap().pop_front() } {
                    let campaign = Campaign::begin(target.campaign, "runs");
                    let run = fuzz(target, seconds);
                    campaign.end(run.runs, 0, u64::from(run.failure.is_some()));
                    failed.lock().unwrap().extend(run.failure);
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// Cargo-fuzz is there, or has been installed.
fn ensure_cargo_fuzz() -> Result<(), String> {
    let mut version = Command::new("cargo");
    if succeeds(version.args(["fuzz", "--version"])).is_ok() {
        return Ok(());
    }
    println!("installing cargo-fuzz {CARGO_FUZZ}");
    let mut install = Command::new("cargo");
    succeeds(install.args(["install", "cargo-fuzz", "--locked", "--version", CARGO_FUZZ]))
}

/// Builds all targets. The sanitizer's flags are unstable ones, which RUSTC_BOOTSTRAP lets the stable compiler take.
fn build() {
    let mut build = Command::new("cargo");
    build
        .args(["fuzz", "build", "--fuzz-dir"])
        .arg(folder())
        .env("RUSTC_BOOTSTRAP", "1")
        // Behind cargo-fuzz's own flags, which ask for one unit: twice the time to build on two cores.
        .env("RUSTFLAGS", "-Ccodegen-units=16")
        .env_remove("CARGO_TARGET_DIR");
    if let Err(said) = succeeds(&mut build) {
        panic!("the targets do not build: {said}");
    }
}

/// Runs a command to its end; the error is the last of what it said.
fn succeeds(command: &mut Command) -> Result<(), String> {
    let out = command.output().map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&out.stderr);
    if out.status.success() {
        Ok(())
    } else {
        Err(format!("{}\n{}", out.status, last_lines(&said)))
    }
}

fn last_lines(text: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(60)..].join("\n")
}

/// What a target's run came to.
struct Run {
    runs: u64,
    failure: Option<String>,
}

fn fuzz(target: &seeds::Target, seconds: u64) -> Run {
    let name = target.name();
    let seeds = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("fuzz-seeds")
        .join(name);
    let (corpus, artifacts) = (
        folder().join("corpus").join(name),
        folder().join("artifacts").join(name),
    );
    for folder in [&seeds, &corpus, &artifacts] {
        std::fs::create_dir_all(folder).unwrap();
    }
    let written = (target.seeds)();
    for (number, seed) in written.iter().enumerate() {
        std::fs::write(seeds.join(format!("{number:03}")), seed).unwrap();
    }
    let binary = folder()
        .join("target/x86_64-unknown-linux-gnu/release")
        .join(name);
    let mut command = Command::new(binary);
    command
        .args([&corpus, &seeds])
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-timeout={INPUT_SECONDS_MAX}"))
        .arg(format!("-rss_limit_mb={RSS_MB_MAX}"))
        .arg(format!("-malloc_limit_mb={ALLOCATION_MB_MAX}"))
        .args(["-print_final_stats=1", "-use_value_profile=1"])
        // Names of functions that are newly reached cost more than the runs.
        .arg("-print_funcs=0")
        .env("ASAN_OPTIONS", "detect_odr_violation=0");
    let dictionary = folder().join(format!("dictionaries/{name}.dict"));
    if dictionary.exists() {
        command.arg(format!("-dict={}", dictionary.display()));
    }
    let out = command
        .output()
        .unwrap_or_else(|error| panic!("{name}: {error}"));
    let said = String::from_utf8_lossy(&out.stderr);
    let stat = |key: &str| {
        let line = said.lines().find_map(|line| line.strip_prefix(key));
        line.and_then(|rest| rest.trim().parse::<u64>().ok())
    };
    let runs = stat("stat::number_of_executed_units:").unwrap_or(0);
    let rss = stat("stat::peak_rss_mb:").unwrap_or(0);
    println!("{name}: {runs} runs, at most {rss} MiB, {}", out.status);
    let failure = if !out.status.success() {
        let again = format!("cargo fuzz run --fuzz-dir tests/fuzz {name} FILE");
        let said = last_lines(&said);
        Some(format!(
            "{name}: {said}\nto have it again: RUSTC_BOOTSTRAP=1 {again}"
        ))
    } else if runs <= written.len() as u64 {
        Some(format!(
            "{name}: {runs} runs in {seconds} s: its seeds alone"
        ))
    } else {
        None
    };
    Run { runs, failure }
}
