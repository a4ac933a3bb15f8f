//! What the campaigns share: how long one runs, from which seed, and the ledger.
//!
//! A campaign is a test that can run as long as one likes: short in `.ci/run`, long by hand (README, "Proof"). It says at
//! its end how much it tried and how much failed, in one line of CSV, and where MILLRACE_LEDGER names a file, it adds
//! the line there. `tests/ledger.csv` is that file for the runs that count: a total is a sum over its lines.
#![allow(dead_code, reason = "each campaign asks for what it needs")]

use std::fs::OpenOptions;
use std::io::Write;
use std::process::Command;
use std::str::FromStr;
use std::time::Instant;

/// The first line of the ledger.
pub(crate) const HEADER: &str = "date,commit,campaign,unit,count,faults,failures,seconds";

/// A campaign that runs.
pub(crate) struct Campaign {
    name: &'static str,
    unit: &'static str,
    began: Instant,
}

impl Campaign {
    /// `unit`: what its count counts, such as `seeds` or `states`.
    pub(crate) fn begin(name: &'static str, unit: &'static str) -> Self {
        let began = Instant::now();
        Self { name, unit, began }
    }

    /// Says what was done: `count` units, with `faults` that truly happened in them, and `failures` among the units.
    pub(crate) fn end(self, count: u64, faults: u64, failures: u64) {
        let seconds = self.began.elapsed().as_secs();
        let (date, commit) = (said("date", &["-u", "+%F"]), commit());
        let (name, unit) = (self.name, self.unit);
        let line = format!("{date},{commit},{name},{unit},{count},{faults},{failures},{seconds}");
        println!("{HEADER}\n{line}");
        if let Ok(path) = std::env::var("MILLRACE_LEDGER") {
            let file = OpenOptions::new().append(true).create(true).open(&path);
            let mut file = file.unwrap_or_else(|error| panic!("{path}: {error}"));
            writeln!(file, "{line}").unwrap_or_else(|error| panic!("{path}: {error}"));
        }
    }
}

/// The number in an environment variable, or `default`: MILLRACE_SEEDS, MILLRACE_STATES and the like.
pub(crate) fn number<T: FromStr>(variable: &str, default: T) -> T {
    match std::env::var(variable) {
        Ok(text) => match text.replace('_', "").parse() {
            Ok(number) => number,
            Err(_) => panic!("{variable}={text}: a number is wanted"),
        },
        Err(_) => default,
    }
}

/// What was tested: the commit, with a `+` if the tree was changed since.
fn commit() -> String {
    let changed = !said(
        "git",
        &["status", "--porcelain", "--untracked-files=no", "src"],
    )
    .is_empty();
    let mark = if changed { "+" } else { "" };
    format!("{}{mark}", said("git", &["rev-parse", "--short=9", "HEAD"]))
}

fn said(program: &str, arguments: &[&str]) -> String {
    let out = Command::new(program)
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output();
    out.map(|out| String::from_utf8_lossy(&out.stdout).trim().to_owned())
        .unwrap_or_default()
}
