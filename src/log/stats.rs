//! What the log of a core counts and times. A clock is read once per append into an empty core, per cycle, per
//! acknowledgement and twice per sync round; never per batch.

use crate::base::{Stage, Stages};
use crate::io::Monotonic;
use std::cell::{Cell, Ref, RefCell};

/// Counts since the start of this core's log. Plain data, pulled by whoever shows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stats {
    /// Commit cycles launched.
    pub cycles: u64,
    /// What they took: partitions, once per cycle and segment.
    pub cycle_partitions: u64,
    /// Bytes of their journal entries, padding included.
    pub journal_bytes: u64,
    /// Writes straight to segments, and their bytes.
    pub direct_writes: u64,
    /// See `direct_writes`.
    pub direct_bytes: u64,
    /// Sync rounds that ended well.
    pub sync_rounds: u64,
    /// Flushes of journal files, in them or as part of the write of a durable entry.
    pub journal_flushes: u64,
    /// Flushes of segment files in them.
    pub segment_flushes: u64,
    /// Bytes of sealed segments that were read again and were sound.
    pub scrubbed_bytes: u64,
    /// Times that all sealed segments were read.
    pub scrub_rounds: u64,
    /// Segments in which that found damage.
    pub scrub_damaged: u64,
    /// Reads that met a damaged batch.
    pub damaged_reads: u64,
}

/// The same, being counted, and the histograms.
#[derive(Debug)]
pub(crate) struct Meter {
    stats: Cell<Stats>,
    stages: RefCell<Stages>,
    /// When the oldest append was made that no cycle has taken.
    waiting_since: Cell<Option<Monotonic>>,
}

impl Meter {
    pub(crate) fn new() -> Self {
        Self {
            stats: Cell::default(),
            stages: RefCell::new(Stages::of(&[
                Stage::WaitForCommit,
                Stage::Write,
                Stage::Sync,
            ])),
            waiting_since: Cell::new(None),
        }
    }

    pub(crate) fn stats(&self) -> Stats {
        self.stats.get()
    }

    pub(crate) fn stages(&self) -> Ref<'_, Stages> {
        self.stages.borrow()
    }

    /// The first append since a cycle took all that there was.
    pub(crate) fn began_to_wait(&self, now: Monotonic) {
        self.waiting_since.set(Some(now));
    }

    /// A cycle took what it could. What it had to leave keeps waiting since the same time.
    pub(crate) fn took(&self, now: Monotonic, leaves_some: bool) {
        let Some(since) = self.waiting_since.get() else {
            return;
        };
        self.record(Stage::WaitForCommit, since, now);
        if !leaves_some {
            self.waiting_since.set(None);
        }
    }

    /// A cycle was acknowledged that was launched at `launched`.
    pub(crate) fn wrote(&self, launched: Monotonic, now: Monotonic) {
        self.record(Stage::Write, launched, now);
    }

    /// A sync round ended well.
    pub(crate) fn synced(&self, began: Monotonic, now: Monotonic) {
        self.record(Stage::Sync, began, now);
        self.count(|stats| stats.sync_rounds += 1);
    }

    pub(crate) fn count(&self, change: impl FnOnce(&mut Stats)) {
        let mut stats = self.stats.get();
        change(&mut stats);
        self.stats.set(stats);
    }

    fn record(&self, stage: Stage, from: Monotonic, to: Monotonic) {
        let nanos = to.0.saturating_sub(from.0);
        self.stages.borrow_mut().record(stage, nanos);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_cycle_leaves_keeps_waiting() {
        let meter = Meter::new();
        let waits = || {
            let stages = meter.stages();
            let (_, waits) = stages.rows().next().expect("the first of three");
            (waits.len(), waits.max())
        };
        meter.took(Monotonic(500_000), false);
        assert_eq!(waits(), (0, 0));
        meter.began_to_wait(Monotonic(1_000_000));
        meter.took(Monotonic(1_200_000), true);
        meter.took(Monotonic(3_000_000), false);
        meter.took(Monotonic(9_000_000), false);
        let (count, longest) = waits();
        assert_eq!(count, 2);
        assert!(longest.abs_diff(2_000_000) <= 20_000, "{longest}");
    }
}
