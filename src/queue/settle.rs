//! The steps that every change is made of: a run is let go, woken, delayed, given up or done with.

use crate::base::queue::{Cause, Totals};
use crate::base::{Offset, TimestampMs};
use crate::queue::ledger::{Dying, Hold, Ledger};
use crate::queue::output::{Doomed, Moment, Output};
use crate::queue::record::Settled;
use crate::queue::window::{State, Wait};
use crate::queue::{ConsumerId, LedgerRecord};

impl Ledger {
    /// The records of a run are done with.
    pub(super) fn settle(&mut self, last: u64, how: Settled, out: &mut Output) {
        self.let_go(last);
        let run = self.window.remove(last);
        if run.state == State::Dying {
            self.dying.remove(&run.from);
        }
        let count = last - run.from + 1;
        add(&mut self.totals, how, count);
        out.settled(how, run.from, last + 1);
        if let Some(key) = run.facts.key {
            self.unchain(key, run.from);
        }
    }

    /// What is to become of a run that nobody has any more and that waits for no time.
    pub(super) fn wake(&mut self, last: u64, out: &mut Output) {
        let run = self.window.run(last);
        let is_used_up = |max: u32| run.deliveries >= max;
        if self.settings.deliveries_max.is_some_and(is_used_up) {
            return self.give_up(last, Cause::Deliveries, out);
        }
        let state = match run.facts.key {
            Some(key) if !self.is_first(key, run.from) => State::Blocked,
            _ => State::Ready,
        };
        self.let_go(last);
        self.window.run_mut(last).wait = None;
        self.window.set_state(last, state);
    }

    /// A run waits, at least this long. What is to be found again after a restart is in `wait`.
    pub(super) fn delay(&mut self, last: u64, wait_ms: u64, wait: Option<Wait>, now: &Moment) {
        self.let_go(last);
        // The clock has run on since its last full millisecond.
        let due_ms = now.monotonic_ms + wait_ms + 1;
        let from = self.window.run(last).from;
        let hold = self.hold(None, from, last, due_ms);
        self.window.run_mut(last).wait = wait;
        self.window.set_state(last, State::Delayed(hold));
    }

    /// A run is not to be delivered any more.
    pub(super) fn give_up(&mut self, last: u64, cause: Cause, out: &mut Output) {
        if !self.settings.has_dead_letters {
            return self.settle(last, Settled::Dead, out);
        }
        self.let_go(last);
        let (from, key) = (self.window.run(last).from, self.window.run(last).facts.key);
        for offset in from..=last {
            let one = self.window.carve(offset, offset + 1);
            self.window.run_mut(one).wait = None;
            self.window.run_mut(one).facts.key = None;
            self.window.set_state(one, State::Dying);
            let dying = Dying {
                cause,
                evidence: None,
            };
            self.dying.insert(offset, dying);
            out.records.push(LedgerRecord::Dying {
                offset: Offset(offset),
                cause,
                evidence: None,
            });
            out.doomed.push(self.doomed(offset, dying));
        }
        if let Some(key) = key {
            self.unchain(key, from);
        }
    }

    pub(super) fn doomed(&self, offset: u64, dying: Dying) -> Doomed {
        let (_, run) = self.window.at_or_after(offset).expect("a dying record");
        Doomed {
            offset: Offset(offset),
            deliveries: run.deliveries,
            first: (run.deliveries > 0).then_some(TimestampMs(run.first_ms)),
            cause: dying.cause,
            evidence: dying.evidence,
        }
    }

    /// A hold on `from..=last` that ends at `due_ms`: a lease, or a delay if it is nobody's.
    pub(super) fn hold(
        &mut self,
        consumer: Option<ConsumerId>,
        from: u64,
        last: u64,
        due_ms: u64,
    ) -> u32 {
        let id = match self.free_holds.pop() {
            Some(id) => id,
            None => self.holds.len() as u32,
        };
        let hold = Hold {
            consumer,
            from,
            last,
            live: last - from + 1,
            timer: Some(self.wheel.set(due_ms, id)),
        };
        match self.holds.get_mut(id as usize) {
            Some(place) => *place = hold,
            None => self.holds.push(hold),
        }
        if let Some(consumer) = consumer.and_then(|id| self.consumers.find(id)) {
            consumer.holds.insert(id);
        }
        id
    }

    /// A run is in nobody's hold any more. Its state is to be set next.
    fn let_go(&mut self, last: u64) {
        let run = self.window.run(last);
        let (State::Leased(id) | State::Delayed(id)) = run.state else {
            return;
        };
        let count = last - run.from + 1;
        self.window.set_state(last, State::Unfed);
        let hold = &mut self.holds[id as usize];
        hold.live -= count;
        let (consumer, is_over) = (hold.consumer, hold.live == 0);
        let timer = match is_over {
            true => hold.timer.take(),
            false => None,
        };
        if let Some(timer) = timer {
            self.wheel.cancel(timer);
        }
        if is_over {
            self.free_holds.push(id);
        }
        if let Some(consumer) = consumer {
            self.consumers.settled(consumer, count);
            if is_over && let Some(consumer) = self.consumers.find(consumer) {
                consumer.holds.remove(&id);
            }
        }
    }

    /// A hold is over: what is still in it is to be tried again.
    pub(super) fn end_hold(&mut self, id: u32, out: &mut Output) {
        let (mut at, until) = (
            self.holds[id as usize].from,
            self.holds[id as usize].last + 1,
        );
        while at < until {
            let Some((last, run)) = self.window.at_or_after(at) else {
                return;
            };
            let is_in = matches!(run.state, State::Leased(of) | State::Delayed(of) if of == id);
            if is_in {
                self.wake(last, out);
            }
            at = last + 1;
        }
    }

    /// Whether a record is the first of its key that is not done with.
    fn is_first(&self, key: u64, offset: u64) -> bool {
        let first = self.keys.get(&key).and_then(|chain| chain.front());
        first == Some(&offset)
    }

    /// A record of a key is done with: the next one may go, if it was waiting for this.
    fn unchain(&mut self, key: u64, offset: u64) {
        let Some(chain) = self.keys.get_mut(&key) else {
            return;
        };
        if let Ok(at) = chain.binary_search(&offset) {
            chain.remove(at);
        }
        let next = chain.front().copied();
        let Some(next) = next else {
            self.keys.remove(&key);
            return;
        };
        let (last, run) = self
            .window
            .at_or_after(next)
            .expect("chained: not done with");
        assert!(
            run.from == next && last == next,
            "a record with a key stands alone"
        );
        if run.state == State::Blocked {
            self.window.set_state(last, State::Ready);
        }
    }

    /// Notes in the records that a run waits.
    pub(super) fn note_delay(&self, last: u64, wait: Wait, out: &mut Output) {
        out.records.push(LedgerRecord::Delayed {
            from: Offset(self.window.run(last).from),
            until: Offset(last + 1),
            not_before: TimestampMs(wait.not_before_ms),
            wait_ms: wait.wait_ms,
        });
    }
}

/// Counts records that are done with.
pub(super) fn add(totals: &mut Totals, how: Settled, count: u64) {
    let total = total(totals, how);
    *total = total.saturating_add(count);
}

/// The count of one way of being done with.
pub(super) fn total(totals: &mut Totals, how: Settled) -> &mut u64 {
    match how {
        Settled::Acked => &mut totals.acked,
        Settled::Dead => &mut totals.dead,
        Settled::Expired => &mut totals.expired,
        Settled::Purged => &mut totals.purged,
        Settled::Absent => &mut totals.absent,
        Settled::Lost => &mut totals.lost,
    }
}
