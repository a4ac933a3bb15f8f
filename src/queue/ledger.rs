//! The ledger from outside: consumers, their answers, time, and what happens to the log beneath.

use crate::base::limits::{
    QUEUE_CONSUMERS_MAX, QUEUE_DELAY_MS_MAX, QUEUE_LEASE_MS_MAX, QUEUE_LEASE_MS_MIN,
};
use crate::base::planted::{Bug, planted};
use crate::base::queue::{
    Answered, Cause, ConsumerId, Counts, Held, HeldRun, Nack, QueueSettings, Span, Standing, Totals,
};
use crate::base::{Offset, TimestampMs};
use crate::queue::LedgerRecord;
use crate::queue::consumers::Consumers;
use crate::queue::output::{Evidence, Moment, Output};
use crate::queue::record::Settled;
use crate::queue::settle::add;
use crate::queue::wheel::{TimerId, Wheel};
use crate::queue::window::{State, Wait, Window};
use std::collections::{BTreeMap, HashMap, VecDeque};

/// How a consumer says how much it wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flow {
    /// At most so many records at a time that it has not settled.
    Prefetch(u32),
    /// As many as it is given credit for.
    Granted,
    /// The same, and what it gets is acked before it leaves: it is delivered once, or not at all.
    AtMostOnce,
}

/// The ledger of one queue on one partition. See the door of the room.
pub struct Ledger {
    pub(super) settings: QueueSettings,
    /// The first record that the queue covers.
    pub(super) begin: u64,
    /// After the last record that may be handed out.
    pub(super) visible: u64,
    /// Everything below was looked at, where records have to be.
    pub(super) fed: u64,
    pub(super) window: Window,
    pub(super) holds: Vec<Hold>,
    pub(super) free_holds: Vec<u32>,
    pub(super) wheel: Wheel,
    pub(super) consumers: Consumers,
    /// Records with a key that are not done with, by key, in order. Never walked over.
    pub(super) keys: HashMap<u64, VecDeque<u64>>,
    pub(super) dying: BTreeMap<u64, Dying>,
    pub(super) totals: Totals,
    /// A checkpoint that is being read back and has not come to its end.
    pub(super) replayed: Vec<LedgerRecord>,
    fired: Vec<u32>,
}

/// Records that a consumer has, or that wait for a time, together.
pub(super) struct Hold {
    /// Nobody: they wait.
    pub(super) consumer: Option<ConsumerId>,
    pub(super) from: u64,
    pub(super) last: u64,
    /// How many of them are still in it.
    pub(super) live: u64,
    pub(super) timer: Option<TimerId>,
}

/// A record that is being moved to the dead letters.
#[derive(Clone, Copy)]
pub(super) struct Dying {
    pub(super) cause: Cause,
    pub(super) evidence: Option<Evidence>,
}

impl Ledger {
    /// A ledger that covers the records from `begin` on. To be filled by [`Ledger::replay`] if something is stored, then
    /// started by [`Ledger::recovered`].
    pub fn new(settings: QueueSettings, begin: Offset, now: &Moment) -> Self {
        Self {
            settings,
            begin: begin.0,
            visible: begin.0,
            fed: begin.0,
            window: Window::new(begin.0),
            holds: Vec::new(),
            free_holds: Vec::new(),
            wheel: Wheel::new(now.monotonic_ms),
            consumers: Consumers::default(),
            keys: HashMap::new(),
            dying: BTreeMap::new(),
            totals: Totals::default(),
            replayed: Vec::new(),
            fired: Vec::new(),
        }
    }

    /// A consumer takes part. False: it does already, or there are too many.
    pub fn join(&mut self, consumer: ConsumerId, flow: Flow) -> bool {
        self.consumers.len() < QUEUE_CONSUMERS_MAX && self.consumers.add(consumer, flow)
    }

    /// A consumer is gone: what it has is tried again.
    pub fn leave(&mut self, consumer: ConsumerId, out: &mut Output) {
        let Some(left) = self.consumers.remove(consumer) else {
            return;
        };
        for hold in left.holds {
            self.end_hold(hold, out);
        }
    }

    /// A consumer may have so many records more.
    pub fn grant(&mut self, consumer: ConsumerId, credit: u32) {
        self.consumers.give(consumer, credit);
    }

    /// A consumer wants nothing more for now; returns the credit that it has not used.
    pub fn take_back(&mut self, consumer: ConsumerId) -> u32 {
        self.consumers.take_back(consumer)
    }

    /// Records below `until` may be handed out. Never goes back.
    pub fn reached(&mut self, until: Offset) {
        self.visible = self.visible.max(until.0);
    }

    /// A consumer is done with what it was handed.
    pub fn ack(&mut self, consumer: ConsumerId, span: Span, out: &mut Output) -> Answered {
        self.each_leased(consumer, span, |ledger, last| {
            ledger.settle(last, Settled::Acked, out);
        })
    }

    /// A consumer gives back what it was handed.
    pub fn nack(
        &mut self,
        consumer: ConsumerId,
        span: Span,
        nack: Nack,
        now: &Moment,
        out: &mut Output,
    ) -> Answered {
        let wait_ms = match nack {
            Nack::Retry => self.settings.retry.delay_ms(span.deliveries),
            Nack::After(wait_ms) => wait_ms.min(QUEUE_DELAY_MS_MAX),
            Nack::Reject => 0,
        };
        let max = self.settings.deliveries_max;
        let is_last = max.is_some_and(|max| span.deliveries >= max);
        self.each_leased(consumer, span, |ledger, last| {
            if nack == Nack::Reject {
                ledger.give_up(last, Cause::Rejected, out);
            } else if is_last || wait_ms == 0 {
                ledger.wake(last, out);
            } else {
                let wait = Wait {
                    not_before_ms: now.wall.0.saturating_add(i64::from(wait_ms)),
                    wait_ms,
                };
                ledger.note_delay(last, wait, out);
                ledger.delay(last, u64::from(wait_ms), Some(wait), now);
            }
        })
    }

    /// A consumer needs what it was handed for so many milliseconds from now on.
    pub fn extend(
        &mut self,
        consumer: ConsumerId,
        span: Span,
        lease_ms: u32,
        now: &Moment,
    ) -> Answered {
        let lease_ms = lease_ms.clamp(QUEUE_LEASE_MS_MIN, QUEUE_LEASE_MS_MAX);
        let due_ms = now.monotonic_ms + u64::from(lease_ms) + 1;
        self.each_leased(consumer, span, |ledger, last| ledger.renew(last, due_ms))
    }

    /// What time has brought about.
    pub fn tick(&mut self, now: &Moment, out: &mut Output) {
        let mut fired = std::mem::take(&mut self.fired);
        self.wheel.advance(now.monotonic_ms, &mut fired);
        for hold in fired.drain(..) {
            self.holds[hold as usize].timer = None;
            self.end_hold(hold, out);
        }
        self.fired = fired;
    }

    /// When [`Ledger::tick`] is due next, on the clock of [`Moment::monotonic_ms`].
    pub fn next_deadline(&self) -> Option<u64> {
        self.wheel.next_ms()
    }

    /// Gives up everything below `until` that nobody has and that is not on its way to the dead letters.
    pub fn purge(&mut self, until: Offset, out: &mut Output) {
        let until = until.0.min(self.visible);
        let is_free = |state| !matches!(state, State::Leased(_) | State::Dying);
        self.settle_below(until, Settled::Purged, is_free, out);
    }

    /// The log begins at `start` now: what lay below is gone, whoever has it.
    pub fn trimmed(&mut self, start: Offset, out: &mut Output) {
        self.visible = self.visible.max(start.0);
        self.settle_below(start.0, Settled::Purged, |_| true, out);
    }

    /// There are no records from `from` up to `until`, which the ledger may have handed out.
    pub fn absent(&mut self, from: Offset, until: Offset, out: &mut Output) {
        assert!(from <= until && until.0 <= self.visible);
        self.settle_between(from.0, until.0, Settled::Absent, |_| true, out);
        if from.0 <= self.fed {
            self.fed = self.fed.max(until.0);
        }
    }

    /// A dying record is about to be moved to where `evidence` says. False: it is not dying.
    pub fn moving(&mut self, offset: Offset, evidence: Evidence, out: &mut Output) -> bool {
        let Some(dying) = self.dying.get_mut(&offset.0) else {
            return false;
        };
        dying.evidence = Some(evidence);
        out.records.push(LedgerRecord::Dying {
            offset,
            cause: dying.cause,
            evidence: Some(evidence),
        });
        true
    }

    /// A dying record is in the dead letters, durably: it is not in this queue any more.
    pub fn moved(&mut self, offset: Offset, out: &mut Output) {
        if self.dying.contains_key(&offset.0) {
            let (last, _) = self.window.at_or_after(offset.0).expect("it is dying");
            self.settle(last, Settled::Dead, out);
        }
    }

    /// The records that are not done with, of those that something has happened to the first `most` runs.
    pub fn held(&self, most: usize) -> Held {
        let mut runs: Vec<HeldRun> = Vec::new();
        let mut more = false;
        for (last, run) in self.window.runs() {
            if runs.len() == most {
                more = true;
                break;
            }
            let span = Span {
                from: Offset(run.from),
                until: Offset(last + 1),
                deliveries: run.deliveries,
            };
            runs.push(HeldRun {
                span,
                first: (run.deliveries > 0).then_some(TimestampMs(run.first_ms)),
                standing: match run.state {
                    State::Ready | State::Unfed => Standing::Ready,
                    State::Leased(_) => Standing::Leased,
                    State::Delayed(_) => Standing::Delayed,
                    State::Blocked => Standing::Blocked,
                    State::Dying => Standing::Dying,
                },
            });
        }
        let end = self.window.end;
        Held {
            runs,
            more,
            backlog: (Offset(end), Offset(end.max(self.visible))),
        }
    }

    /// Where all records are.
    pub fn counts(&self) -> Counts {
        let state = self.window.in_state();
        let unfed = state.unfed + self.visible.saturating_sub(self.window.end);
        Counts {
            ready: state.ready + unfed,
            leased: state.leased,
            delayed: state.delayed,
            blocked: state.blocked,
            dying: state.dying,
            totals: self.totals,
            begin: Offset(self.begin),
            floor: Offset(self.window.floor()),
            visible: Offset(self.visible),
            consumers: self.consumers.len() as u32,
        }
    }

    /// Whether a consumer has any of these records under that number.
    pub fn has(&self, consumer: ConsumerId, span: Span) -> bool {
        let mut at = span.from.0;
        while let Some((last, run)) = self.window.at_or_after(at) {
            if run.from >= span.until.0 {
                return false;
            }
            let is_leased = matches!(run.state, State::Leased(hold) if self.is_of(hold, consumer));
            if is_leased && run.deliveries == span.deliveries {
                return true;
            }
            at = last + 1;
        }
        false
    }

    /// What it is set to.
    pub fn settings(&self) -> &QueueSettings {
        &self.settings
    }

    /// Does `act` with every run of `span` that the consumer has under that number, cut to the span.
    fn each_leased(
        &mut self,
        consumer: ConsumerId,
        span: Span,
        mut act: impl FnMut(&mut Self, u64),
    ) -> Answered {
        let (mut at, until) = (span.from.0, span.until.0);
        let mut taken = 0;
        while at < until {
            let Some((last, run)) = self.window.at_or_after(at) else {
                break;
            };
            let (from, end) = (run.from.max(at), (last + 1).min(until));
            if from >= end {
                break;
            }
            at = end;
            let is_its = (run.deliveries == span.deliveries || planted(Bug::TakeStaleAnswer))
                && matches!(run.state, State::Leased(hold) if self.is_of(hold, consumer));
            if is_its {
                let last = self.window.carve(from, end);
                taken += end - from;
                act(self, last);
            }
        }
        Answered {
            taken,
            stale: until.saturating_sub(span.from.0) - taken,
        }
    }

    fn is_of(&self, hold: u32, consumer: ConsumerId) -> bool {
        self.holds[hold as usize].consumer == Some(consumer)
    }

    /// Moves a leased run to a hold of its own, or its whole hold to another time.
    fn renew(&mut self, last: u64, due_ms: u64) {
        let run = self.window.run(last);
        let (State::Leased(id), from) = (run.state, run.from) else {
            unreachable!("only leases are renewed");
        };
        let count = last - from + 1;
        let hold = &mut self.holds[id as usize];
        if hold.live == count {
            if let Some(timer) = hold.timer.take() {
                self.wheel.cancel(timer);
            }
            hold.timer = Some(self.wheel.set(due_ms, id));
            return;
        }
        hold.live -= count;
        let consumer = hold.consumer;
        let own = self.hold(consumer, from, last, due_ms);
        self.window.set_state(last, State::Leased(own));
    }

    fn settle_below(
        &mut self,
        until: u64,
        how: Settled,
        is_meant: impl Fn(State) -> bool,
        out: &mut Output,
    ) {
        self.settle_between(self.window.floor(), until, how, is_meant, out);
    }

    /// Is done with all records of a range whose state is meant, and with those that are not in the ledger yet.
    fn settle_between(
        &mut self,
        from: u64,
        until: u64,
        how: Settled,
        is_meant: impl Fn(State) -> bool,
        out: &mut Output,
    ) {
        let mut at = from;
        while at < until.min(self.window.end) {
            let Some((last, run)) = self.window.at_or_after(at) else {
                break;
            };
            let (begins, end) = (run.from.max(at), (last + 1).min(until));
            if begins >= end {
                break;
            }
            at = end;
            if is_meant(run.state) {
                let last = self.window.carve(begins, end);
                self.settle(last, how, out);
            }
        }
        let end = self.window.end;
        if from <= end && end < until {
            self.window.end = until;
            add(&mut self.totals, how, until - end);
            out.settled(how, end, until);
        }
        self.fed = self.fed.max(self.window.floor());
    }
}
