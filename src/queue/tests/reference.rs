//! A naive ledger: a row for each record, and loops over all rows. What it does is meant to be seen to be right.

use crate::base::queue::{Cause, ConsumerId, Facts, Nack, QueueSettings, Span};
use crate::queue::{Evidence, Flow, LedgerRecord, Moment, Settled};
use std::collections::BTreeMap;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    /// Not looked at yet; perhaps it waits until then (wall clock), for so long at most.
    Fresh(Option<(i64, u32)>),
    Ready,
    /// Until then (monotonic clock).
    Leased(ConsumerId, u64),
    /// Until then; what a restart will find of it.
    Delayed(u64, Option<(i64, u32)>),
    Dying(Cause, Option<Evidence>),
    Settled(Settled),
}

#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) place: Place,
    pub(super) deliveries: u32,
    pub(super) first_ms: i64,
    pub(super) facts: Facts,
}

pub(super) struct Naive {
    pub(super) settings: QueueSettings,
    pub(super) rows: Vec<Row>,
    pub(super) credit: BTreeMap<ConsumerId, (Flow, u32)>,
    /// Rows below were looked at.
    pub(super) fed: usize,
}

impl Row {
    pub(super) fn new(facts: Facts) -> Self {
        Self {
            place: Place::Fresh(None),
            deliveries: 0,
            first_ms: 0,
            facts,
        }
    }

    pub(super) fn is_settled(&self) -> bool {
        matches!(self.place, Place::Settled(_))
    }
}

impl Naive {
    fn is_over(&self, at: usize) -> bool {
        matches!(self.rows[at].place, Place::Settled(_) | Place::Dying(..))
    }

    /// An earlier record of its key that was looked at is not done with.
    pub(super) fn is_blocked(&self, at: usize) -> bool {
        let key = self.rows[at].facts.key;
        let before = (0..at).filter(|before| !self.is_over(*before));
        key.is_some()
            && before
                .into_iter()
                .any(|one| self.rows[one].facts.key == key)
    }

    /// Whose turn it is: expired ones end here.
    pub(super) fn next(&mut self, now: &Moment) -> Option<usize> {
        loop {
            let may_go = |at: &usize| match self.rows[*at].place {
                Place::Ready => !self.is_blocked(*at),
                Place::Fresh(wait) => !self.settings.needs_facts() && wait.is_none(),
                _ => false,
            };
            let all = (0..self.rows.len()).filter(may_go);
            let first = all.min_by_key(|at| (9 - self.rows[*at].facts.priority, *at))?;
            match self.rows[first].facts.expires {
                Some(time) if time <= now.wall => {
                    self.rows[first].place = Place::Settled(Settled::Expired);
                }
                _ => return Some(first),
            }
        }
    }

    pub(super) fn deliver(&mut self, at: usize, to: ConsumerId, now: &Moment) {
        let lease_ms = u64::from(self.settings.lease_ms);
        let row = &mut self.rows[at];
        if row.deliveries == 0 {
            row.first_ms = now.wall.0;
        }
        row.deliveries += 1;
        let (flow, credit) = self.credit.get_mut(&to).expect("it takes part");
        *credit -= 1;
        row.place = match flow {
            Flow::AtMostOnce => Place::Settled(Settled::Acked),
            _ => Place::Leased(to, now.monotonic_ms + lease_ms + 1),
        };
    }

    fn let_go(&mut self, at: usize) {
        if let Place::Leased(by, _) = self.rows[at].place
            && let Some((Flow::Prefetch(_), credit)) = self.credit.get_mut(&by)
        {
            *credit += 1;
        }
    }

    pub(super) fn settle(&mut self, at: usize, how: Settled) {
        self.let_go(at);
        self.rows[at].place = Place::Settled(how);
    }

    fn give_up(&mut self, at: usize, cause: Cause) {
        self.let_go(at);
        self.rows[at].place = match self.settings.has_dead_letters {
            true => Place::Dying(cause, None),
            false => Place::Settled(Settled::Dead),
        };
    }

    pub(super) fn wake(&mut self, at: usize) {
        let deliveries = self.rows[at].deliveries;
        if self
            .settings
            .deliveries_max
            .is_some_and(|max| deliveries >= max)
        {
            return self.give_up(at, Cause::Deliveries);
        }
        self.let_go(at);
        self.rows[at].place = Place::Ready;
    }

    /// Which rows of a span a consumer has under that number.
    pub(super) fn of_span(&self, by: ConsumerId, span: Span) -> Vec<usize> {
        let all = span.from.0 as usize..(span.until.0 as usize).min(self.rows.len());
        let is_its = |at: &usize| {
            let row = &self.rows[*at];
            row.deliveries == span.deliveries
                && matches!(row.place, Place::Leased(of, _) if of == by)
        };
        all.filter(is_its).collect()
    }

    pub(super) fn nack(&mut self, at: usize, nack: Nack, now: &Moment) {
        let deliveries = self.rows[at].deliveries;
        let wait_ms = match nack {
            Nack::Retry => self.settings.retry.delay_ms(deliveries),
            Nack::After(ms) => ms,
            Nack::Reject => return self.give_up(at, Cause::Rejected),
        };
        let is_last = self
            .settings
            .deliveries_max
            .is_some_and(|max| deliveries >= max);
        if is_last || wait_ms == 0 {
            return self.wake(at);
        }
        self.let_go(at);
        let until = now.monotonic_ms + u64::from(wait_ms) + 1;
        let stored = (now.wall.0 + i64::from(wait_ms), wait_ms);
        self.rows[at].place = Place::Delayed(until, Some(stored));
    }

    pub(super) fn tick(&mut self, now: &Moment) {
        for at in 0..self.rows.len() {
            match self.rows[at].place {
                Place::Leased(_, until) | Place::Delayed(until, _) if until <= now.monotonic_ms => {
                    self.wake(at);
                }
                _ => {}
            }
        }
    }

    pub(super) fn leave(&mut self, consumer: ConsumerId) {
        self.credit.remove(&consumer);
        for at in 0..self.rows.len() {
            if matches!(self.rows[at].place, Place::Leased(by, _) if by == consumer) {
                self.wake(at);
            }
        }
    }

    /// The row was looked at.
    pub(super) fn admit(&mut self, at: usize, now: &Moment) {
        let Place::Fresh(wait) = self.rows[at].place else {
            return;
        };
        let row = &self.rows[at];
        let left_ms = |until_ms: i64| (until_ms - now.wall.0).max(0) as u64;
        let delayed = |left_ms: u64, wait| Place::Delayed(now.monotonic_ms + left_ms + 1, wait);
        let place = match (wait, row.facts.not_before) {
            (Some((until_ms, _)), _) if left_ms(until_ms) == 0 => return self.wake(at),
            (Some((until_ms, wait_ms)), _) => {
                delayed(left_ms(until_ms).min(u64::from(wait_ms)), wait)
            }
            (None, Some(time)) if row.deliveries == 0 && time > now.wall => {
                delayed(left_ms(time.0), None)
            }
            _ => return self.wake(at),
        };
        self.rows[at].place = place;
    }

    /// What is left of all this if the broker dies now, from the first `stored` of the records alone.
    pub(super) fn crash(&mut self, stored: &[LedgerRecord]) {
        self.fed = 0;
        self.credit.clear();
        for row in &mut self.rows {
            *row = Row::new(row.facts);
        }
        // A checkpoint says what is known already, but for the waits that were over: the others stand in it.
        let (mut is_piece, mut waits) = (false, Vec::new());
        for record in stored {
            match *record {
                LedgerRecord::Checkpoint { .. } => {
                    is_piece = true;
                    waits.clear();
                }
                LedgerRecord::Delayed { from, until, .. } if is_piece => {
                    waits.extend(from.0..until.0);
                }
                LedgerRecord::Complete { .. } => {
                    is_piece = false;
                    self.end_waits(&waits);
                }
                LedgerRecord::Settled { .. } | LedgerRecord::Delivered { .. } => is_piece = false,
                _ => {}
            }
            let (from, until, change): (_, _, &dyn Fn(&mut Row)) = match *record {
                _ if is_piece => continue,
                LedgerRecord::Settled { how, from, until } => {
                    (from, until, &move |row| row.place = Place::Settled(how))
                }
                LedgerRecord::Delivered {
                    from,
                    until,
                    deliveries,
                    first,
                } => (from, until, &move |row| {
                    row.deliveries = deliveries;
                    row.first_ms = first.0;
                    row.place = Place::Fresh(None);
                }),
                LedgerRecord::Delayed {
                    from,
                    until,
                    not_before,
                    wait_ms,
                } => (from, until, &move |row| {
                    row.place = Place::Fresh(Some((not_before.0, wait_ms)));
                }),
                LedgerRecord::Dying {
                    offset,
                    cause,
                    evidence,
                } => (offset, offset.plus(1), &move |row| {
                    row.place = Place::Dying(cause, evidence);
                }),
                _ => continue,
            };
            let rows = self.rows.iter_mut().take(until.0 as usize);
            rows.skip(from.0 as usize).for_each(change);
        }
    }

    /// No row waits but these.
    fn end_waits(&mut self, but: &[u64]) {
        for (at, row) in (0..).zip(&mut self.rows) {
            if matches!(row.place, Place::Fresh(Some(_))) && !but.contains(&at) {
                row.place = Place::Fresh(None);
            }
        }
    }
}
