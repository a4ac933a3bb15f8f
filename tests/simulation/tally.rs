//! What was done and what happened, counted, so that a run which did too little fails instead of passing.

use std::collections::BTreeMap;
use std::fmt;

/// Counts by name.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Tally(BTreeMap<&'static str, u64>);

/// The least that a run must have of each, for every 1,000 seeds.
const LEAST_PER_1000: &[(&str, u64)] = &[
    ("records acked", 100_000),
    ("records read", 100_000),
    ("topics made", 1_000),
    ("topics deleted", 20),
    ("trims", 100),
    ("reads below a start", 20),
    ("clean stops", 500),
    ("kills", 500),
    ("power cuts", 500),
    ("deaths in recovery", 50),
    ("starts on other cores", 500),
    ("places proven at the end", 1_500),
    ("fault: write fails", 20),
    ("fault: write is short", 20),
    ("fault: write is lost", 20),
    ("fault: write is misdirected", 20),
    ("fault: sync is lost", 20),
    ("fault: sync fails", 20),
    ("fault: no space", 40),
    ("fault: names or space fail", 20),
    ("fault: read fails", 5),
    ("fault: slow", 40),
    ("fault: connection dropped", 1_000),
    ("fault: connection stalled", 1_000),
    ("fault: connections refused", 1_000),
    ("fault: wall clock jumped", 1_000),
];

impl Tally {
    pub(crate) fn add(&mut self, what: &'static str, more: u64) {
        *self.0.entry(what).or_default() += more;
    }

    pub(crate) fn merge(&mut self, other: &Tally) {
        for (what, count) in &other.0 {
            self.add(what, *count);
        }
    }

    pub(crate) fn of(&self, what: &str) -> u64 {
        self.0.get(what).copied().unwrap_or(0)
    }

    /// The sum of all faults that truly happened.
    pub(crate) fn faults(&self) -> u64 {
        let faults = self
            .0
            .iter()
            .filter(|(what, _)| what.starts_with("fault: "));
        faults.map(|(_, count)| count).sum()
    }

    /// What there was too little of in a run of `seeds`.
    pub(crate) fn missing(&self, seeds: u64) -> Vec<String> {
        let short = LEAST_PER_1000.iter().filter_map(|(what, least)| {
            let (least, have) = (least * seeds / 1_000, self.of(what));
            (have < least).then(|| format!("only {have} {what}, at least {least} were wanted"))
        });
        short.collect()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, count) in &self.0 {
            writeln!(f, "{count:>14} {what}")?;
        }
        Ok(())
    }
}
