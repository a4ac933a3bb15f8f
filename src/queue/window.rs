//! The records that are neither done with nor behind the window: runs of neighbours in one state, by their last offset.
//!
//! ```text
//!   runs by last offset:   [3..5 leased]     [9..9 delayed]  [10..41 ready]        end
//!   offsets        0 1 2 │ 3 4 5 │ 6 7 8 │ 9 │ 10 ... 41 │ 42 ...
//!                 settled         settled                  not in the ledger yet
//! ```
//! By the last and not by the first offset, because runs lose their front: a consumer acks in order, and an ack of the
//! first record of a run then moves one number instead of a place in the tree.

use crate::queue::Facts;
use std::collections::{BTreeMap, BTreeSet};

/// In what state the records of a run are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    /// May be handed out.
    Ready,
    /// A consumer has it, by this hold.
    Leased(u32),
    /// Waits for its time, by this hold.
    Delayed(u32),
    /// Waits for an earlier record of its key.
    Blocked,
    /// Is being moved to the dead letters.
    Dying,
    /// Was read back, and not looked at since.
    Unfed,
}

/// How many records are in which state.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct InState {
    pub(super) ready: u64,
    pub(super) leased: u64,
    pub(super) delayed: u64,
    pub(super) blocked: u64,
    pub(super) dying: u64,
    pub(super) unfed: u64,
}

/// A delay that is to be found again after a restart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Wait {
    pub(super) not_before_ms: i64,
    pub(super) wait_ms: u32,
}

/// Neighbouring records in one state.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub(super) from: u64,
    pub(super) state: State,
    pub(super) deliveries: u32,
    /// When they were first delivered; means nothing if they never were.
    pub(super) first_ms: i64,
    pub(super) facts: Facts,
    pub(super) wait: Option<Wait>,
}

impl Run {
    /// Records that nothing has happened to.
    pub(super) fn untouched(from: u64, state: State) -> Self {
        Self {
            from,
            state,
            deliveries: 0,
            first_ms: 0,
            facts: Facts::default(),
            wait: None,
        }
    }

    /// Nothing has to be stored of it.
    pub(super) fn is_untouched(&self) -> bool {
        self.deliveries == 0 && self.wait.is_none() && self.state != State::Dying
    }

    /// High priorities first.
    fn rank(&self) -> u8 {
        u8::MAX - self.facts.priority
    }
}

/// See the module.
#[derive(Default)]
pub(super) struct Window {
    runs: BTreeMap<u64, Run>,
    /// The runs that are ready, by priority, then offset.
    ready: BTreeSet<(u8, u64)>,
    /// After the last record that is in the ledger: the next one is not handed out yet.
    pub(super) end: u64,
    in_state: InState,
}

impl Window {
    pub(super) fn new(end: u64) -> Self {
        Self {
            end,
            ..Self::default()
        }
    }

    /// Everything below is done with.
    pub(super) fn floor(&self) -> u64 {
        self.runs.values().next().map_or(self.end, |run| run.from)
    }

    pub(super) fn len(&self) -> usize {
        self.runs.len()
    }

    pub(super) fn in_state(&self) -> InState {
        self.in_state
    }

    pub(super) fn runs(&self) -> impl DoubleEndedIterator<Item = (u64, &Run)> {
        self.runs.iter().map(|(last, run)| (*last, run))
    }

    /// The run that holds `offset`, or the next one.
    pub(super) fn at_or_after(&self, offset: u64) -> Option<(u64, &Run)> {
        let (last, run) = self.runs.range(offset..).next()?;
        Some((*last, run))
    }

    /// The run that ends with `last`.
    pub(super) fn run(&self, last: u64) -> &Run {
        &self.runs[&last]
    }

    /// To change what is neither its state nor its first offset nor its priority.
    pub(super) fn run_mut(&mut self, last: u64) -> &mut Run {
        self.runs.get_mut(&last).expect("the caller has seen it")
    }

    /// The run whose turn it is.
    pub(super) fn first_ready(&self) -> Option<(u64, &Run)> {
        let (_, last) = self.ready.first()?;
        Some((*last, &self.runs[last]))
    }

    /// Adds a run that ends with `last`, where there is none.
    pub(super) fn insert(&mut self, last: u64, run: Run) {
        assert!(run.from <= last);
        let count = last - run.from + 1;
        *self.in_state.of(run.state) += count;
        if run.state == State::Ready {
            self.ready.insert((run.rank(), last));
        }
        let before = self.runs.insert(last, run);
        debug_assert!(before.is_none(), "runs do not overlap");
    }

    /// Takes a run out: its records are done with.
    pub(super) fn remove(&mut self, last: u64) -> Run {
        let run = self.runs.remove(&last).expect("the caller has seen it");
        *self.in_state.of(run.state) -= last - run.from + 1;
        if run.state == State::Ready {
            self.ready.remove(&(run.rank(), last));
        }
        run
    }

    pub(super) fn set_state(&mut self, last: u64, state: State) {
        let run = self.runs.get_mut(&last).expect("the caller has seen it");
        let before = std::mem::replace(&mut run.state, state);
        let (count, rank) = (last - run.from + 1, run.rank());
        *self.in_state.of(before) -= count;
        *self.in_state.of(state) += count;
        match (before == State::Ready, state == State::Ready) {
            (true, false) => drop(self.ready.remove(&(rank, last))),
            (false, true) => drop(self.ready.insert((rank, last))),
            _ => {}
        }
    }

    /// Sets what a run's records say about their delivery. Not of one that is ready.
    pub(super) fn set_facts(&mut self, last: u64, facts: Facts) {
        let run = self.run_mut(last);
        assert!(run.state != State::Ready);
        run.facts = facts;
    }

    /// Makes `from..until`, which lies within one run, a run of its own. Returns its last offset.
    pub(super) fn carve(&mut self, from: u64, until: u64) -> u64 {
        assert!(from < until);
        let (last, run) = self.at_or_after(from).expect("the caller has seen it");
        assert!(run.from <= from && until - 1 <= last, "within one run");
        let begins = run.from;
        if begins < from {
            self.split(last, from);
        }
        if until - 1 < last {
            self.split(last, until);
        }
        until - 1
    }

    /// Parts the run that ends with `last` before `at`. What stays behind `at` keeps its place.
    fn split(&mut self, last: u64, at: u64) {
        let run = self.runs.get_mut(&last).expect("the caller has seen it");
        let mut front = run.clone();
        front.from = std::mem::replace(&mut run.from, at);
        if front.state == State::Ready {
            self.ready.insert((front.rank(), at - 1));
        }
        self.runs.insert(at - 1, front);
    }

    /// Adds records behind all others that are ready and say nothing but perhaps a priority: to the last run, if it is
    /// of the same kind.
    pub(super) fn append_ready(&mut self, until: u64, facts: Facts) {
        assert!(facts.key.is_none() && self.end < until);
        let mut from = self.end;
        let like = |run: &Run| run.state == State::Ready && run.deliveries == 0;
        if let Some((&last, run)) = self.runs.last_key_value()
            && last + 1 == from
            && like(run)
            && run.facts == facts
        {
            from = self.remove(last).from;
        }
        let mut run = Run::untouched(from, State::Ready);
        run.facts = facts;
        self.insert(until - 1, run);
        self.end = until;
    }

    /// Forgets everything from `until` on.
    pub(super) fn cut(&mut self, until: u64) {
        if self.end > until
            && self
                .at_or_after(until)
                .is_some_and(|(_, run)| run.from < until)
        {
            let (last, _) = self.at_or_after(until).expect("looked at just now");
            self.split(last, until);
        }
        while let Some((&last, _)) = self.runs.range(until..).next() {
            self.remove(last);
        }
        self.end = self.end.min(until);
    }
}

impl InState {
    fn of(&mut self, state: State) -> &mut u64 {
        match state {
            State::Ready => &mut self.ready,
            State::Leased(_) => &mut self.leased,
            State::Delayed(_) => &mut self.delayed,
            State::Blocked => &mut self.blocked,
            State::Dying => &mut self.dying,
            State::Unfed => &mut self.unfed,
        }
    }

    /// Records that are in the window.
    pub(super) fn all(&self) -> u64 {
        let waiting = self.delayed + self.blocked + self.unfed;
        self.ready + self.leased + waiting + self.dying
    }
}
