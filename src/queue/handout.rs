//! Handing out: who gets what, in which order, and what has to be looked at before.

use crate::base::limits::{QUEUE_AHEAD_READY_MAX, QUEUE_AHEAD_RUNS_MAX, QUEUE_RUNS_MAX};
use crate::base::{Offset, TimestampMs};
use crate::queue::ledger::{Flow, Ledger};
use crate::queue::output::{Moment, Output};
use crate::queue::record::Settled;
use crate::queue::window::{Run, State};
use crate::queue::{ConsumerId, Delivery, Facts, LedgerRecord, Span};

impl Ledger {
    /// Hands out what is ready to those who have credit, one after the other: each gets its share of what there is, as
    /// far as its credit goes, and as neighbours where it can.
    pub fn hand_out(&mut self, now: &Moment, out: &mut Output) {
        while let Some((consumer, hungry)) = self.consumers.next() {
            let available = self.available();
            let found = self.consumers.find(consumer);
            let credit = found.expect("who is in line takes part").credit;
            let share = available.div_ceil(hungry).min(u64::from(credit));
            let handed = self.hand_to(consumer, share, now, out);
            if handed == 0 {
                return;
            }
            self.consumers.served(handed);
        }
    }

    /// From which offset on records should be looked at next, for [`Ledger::feed`]; `None`: enough are.
    pub fn wants(&self) -> Option<Offset> {
        let is_wanted = self.settings.needs_facts()
            && self.fed < self.visible
            && self.window.len() < QUEUE_AHEAD_RUNS_MAX
            && self.window.in_state().ready < QUEUE_AHEAD_READY_MAX;
        is_wanted.then_some(Offset(self.fed))
    }

    /// Tells what the records from where [`Ledger::wants`] said up to `until` say about their delivery: each of them the
    /// same. Records with a key are told one by one.
    pub fn feed(&mut self, until: Offset, facts: Facts, now: &Moment, out: &mut Output) {
        let until = until.0;
        assert!(self.fed < until && until <= self.visible);
        assert!(facts.key.is_none() || until == self.fed + 1);
        let mut at = std::mem::replace(&mut self.fed, until);
        while at < until.min(self.window.end) {
            let Some((last, run)) = self.window.at_or_after(at) else {
                break;
            };
            let (from, end) = (run.from.max(at), (last + 1).min(until));
            if from >= end {
                break;
            }
            at = end;
            if run.state == State::Unfed {
                let last = self.window.carve(from, end);
                self.window.set_facts(last, facts);
                self.admit(last, now, out);
            }
        }
        if self.window.end < until {
            self.feed_new(until, facts, now, out);
        }
    }

    fn feed_new(&mut self, until: u64, facts: Facts, now: &Moment, out: &mut Output) {
        let is_plain = facts.key.is_none() && facts.not_before.is_none();
        if is_plain {
            return self.window.append_ready(until, facts);
        }
        let mut run = Run::untouched(self.window.end, State::Unfed);
        run.facts = facts;
        self.window.insert(until - 1, run);
        self.window.end = until;
        self.admit(until - 1, now, out);
    }

    /// A run that was not looked at yet takes part from here on.
    pub(super) fn admit(&mut self, last: u64, now: &Moment, out: &mut Output) {
        let run = self.window.run(last);
        let (from, facts, wait) = (run.from, run.facts, run.wait);
        if let Some(key) = facts.key {
            let chain = self.keys.entry(key).or_default();
            debug_assert!(chain.back().is_none_or(|before| *before < from));
            chain.push_back(from);
        }
        if let Some(wait) = wait {
            // A wall clock that was set back meanwhile does not make it wait longer than it was meant to.
            let left_ms = wait.not_before_ms.saturating_sub(now.wall.0);
            let left_ms = left_ms.clamp(0, i64::from(wait.wait_ms)) as u64;
            match left_ms {
                0 => self.wake(last, out),
                left_ms => self.delay(last, left_ms, Some(wait), now),
            }
            return;
        }
        match facts.not_before {
            Some(time) if run.deliveries == 0 && time > now.wall => {
                let left_ms = time.0.saturating_sub(now.wall.0) as u64;
                self.delay(last, left_ms, None, now);
            }
            _ => self.wake(last, out),
        }
    }

    /// Records that could be handed out now, as far as is known.
    pub fn available(&self) -> u64 {
        self.window.in_state().ready + self.behind()
    }

    /// Records behind the window that need not be looked at before.
    fn behind(&self) -> u64 {
        match self.settings.needs_facts() {
            true => 0,
            false => self.visible.saturating_sub(self.window.end),
        }
    }

    /// How many more records may be leased: each of them may have to become a run of its own.
    pub(super) fn room(&self) -> u64 {
        let used = self.window.len() as u64 + self.window.in_state().leased;
        (QUEUE_RUNS_MAX as u64).saturating_sub(used)
    }

    /// Hands up to `count` records to a consumer; returns how many.
    fn hand_to(&mut self, consumer: ConsumerId, count: u64, now: &Moment, out: &mut Output) -> u64 {
        let mut handed = 0;
        while handed < count {
            let most = (count - handed).min(self.room());
            if most == 0 {
                break;
            }
            let last = match self.window.first_ready() {
                Some((last, run)) if is_expired(run, now) => {
                    self.settle(last, Settled::Expired, out);
                    continue;
                }
                Some((last, run)) => {
                    let until = (run.from + most).min(last + 1);
                    self.window.carve(run.from, until)
                }
                None => match self.behind().min(most) {
                    0 => break,
                    some => {
                        let from = self.window.end;
                        self.window.end = from + some;
                        let run = Run::untouched(from, State::Unfed);
                        self.window.insert(from + some - 1, run);
                        from + some - 1
                    }
                },
            };
            handed += self.deliver(consumer, last, now, out);
        }
        handed
    }

    /// Gives a run to a consumer; returns how many records that were.
    fn deliver(&mut self, consumer: ConsumerId, last: u64, now: &Moment, out: &mut Output) -> u64 {
        let run = self.window.run_mut(last);
        if run.deliveries == 0 {
            run.first_ms = now.wall.0;
        }
        run.deliveries = run.deliveries.saturating_add(1);
        let span = Span {
            from: Offset(run.from),
            until: Offset(last + 1),
            deliveries: run.deliveries,
        };
        let first = TimestampMs(run.first_ms);
        out.deliveries.push(Delivery {
            consumer,
            span,
            first,
        });
        let found = self.consumers.find(consumer);
        if found.expect("it is in line").flow == Flow::AtMostOnce {
            self.settle(last, Settled::Acked, out);
        } else {
            out.records.push(LedgerRecord::Delivered {
                from: span.from,
                until: span.until,
                deliveries: span.deliveries,
                first,
            });
            let due_ms = now.monotonic_ms + u64::from(self.settings.lease_ms) + 1;
            let hold = self.hold(Some(consumer), span.from.0, last, due_ms);
            self.window.set_state(last, State::Leased(hold));
        }
        span.until.0 - span.from.0
    }
}

fn is_expired(run: &Run, now: &Moment) -> bool {
    run.facts.expires.is_some_and(|expires| expires <= now.wall)
}
