//! Memory that the connections of a core share, and who gets it when it is short.
//!
//! ```text
//!   shared   |<-------- buffers of any size -------->|<- up to 2 MiB ->|<- up to 256 KiB ->|
//!   reserve  |<- one buffer at a time, of any size: whoever waits and finds it free         ->|
//! ```
//! - Small buffers are served where large ones have to wait: whoever wants to hold all of it has to hold it in small
//!   pieces, on many connections.
//! - Whoever holds some and waits for more never waits for others who do the same: the reserve lets one of them go on to
//!   the largest frame there is, and passes on when it is given back. (Without it, 32 halves of 16 MiB frames waited
//!   for each other for ever.)
//! - While somebody waits, the core's watch ends those who hold some and hardly send ([`Budget::is_short`]).

use crate::base::limits::{RECEIVE_BYTES_MAX, RECEIVE_RESERVE_BYTES};
use crate::io::Signal;
use std::cell::Cell;

/// Buffers up to these sizes may use so many quarters of what is shared; larger ones half of it.
const TIERS: [(usize, usize); 2] = [(256 << 10, 4), (2 << 20, 3)];
const QUARTERS_FOR_LARGE: usize = 2;

/// See the module.
#[derive(Debug)]
pub(super) struct Budget {
    shared_max: usize,
    used: Cell<usize>,
    reserve_is_taken: Cell<bool>,
    waiting: Cell<usize>,
    freed: Signal,
}

/// What one buffer was granted. Must be given back to the budget that granted it.
#[derive(Debug, Default)]
pub(super) struct Grant {
    shared: usize,
    reserve: bool,
}

/// One who waits, until dropped.
struct Waiting<'a>(&'a Cell<usize>);

impl<'a> Waiting<'a> {
    fn begin(count: &'a Cell<usize>) -> Self {
        count.set(count.get() + 1);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self::new(RECEIVE_BYTES_MAX - RECEIVE_RESERVE_BYTES)
    }
}

impl Budget {
    /// `shared_max` bytes, and the reserve.
    pub(super) fn new(shared_max: usize) -> Self {
        Self {
            shared_max,
            used: Cell::new(0),
            reserve_is_taken: Cell::new(false),
            waiting: Cell::new(0),
            freed: Signal::new(),
        }
    }

    /// Waits until `grant` may be `bytes` in all.
    pub(super) async fn grow(&self, grant: &mut Grant, bytes: usize) {
        assert!(bytes <= RECEIVE_RESERVE_BYTES);
        loop {
            let freed = self.freed.wait();
            if self.try_grow(grant, bytes) || self.try_reserve(grant) {
                return;
            }
            let _waiting = Waiting::begin(&self.waiting);
            freed.await;
        }
    }

    /// Makes `grant` up to `bytes` in all, if so much is free now for its size.
    pub(super) fn try_grow(&self, grant: &mut Grant, bytes: usize) -> bool {
        if grant.reserve {
            return true;
        }
        let used = self.used.get() + bytes.saturating_sub(grant.shared);
        let fits = used <= self.shared_for(bytes);
        if fits {
            self.used.set(used);
            grant.shared = grant.shared.max(bytes);
        }
        fits
    }

    fn try_reserve(&self, grant: &mut Grant) -> bool {
        let is_free = !self.reserve_is_taken.replace(true);
        grant.reserve |= is_free;
        is_free
    }

    /// What buffers of this size may take of what is shared, together with all smaller and larger ones.
    fn shared_for(&self, bytes: usize) -> usize {
        let tier = TIERS.iter().find(|(bytes_max, _)| bytes <= *bytes_max);
        self.shared_max / 4 * tier.map_or(QUARTERS_FOR_LARGE, |(_, quarters)| *quarters)
    }

    /// Gives back what was granted.
    pub(super) fn give_back(&self, grant: &mut Grant) {
        let Grant { shared, reserve } = std::mem::take(grant);
        assert!(shared <= self.used.get());
        self.used.set(self.used.get() - shared);
        if reserve {
            self.reserve_is_taken.set(false);
        }
        if shared > 0 || reserve {
            self.freed.notify();
        }
    }

    /// Whether somebody waits for more.
    pub(super) fn is_short(&self) -> bool {
        self.waiting.get() > 0
    }

    /// Bytes that are taken, the reserve as a whole.
    pub(super) fn used(&self) -> usize {
        let reserve = usize::from(self.reserve_is_taken.get()) * RECEIVE_RESERVE_BYTES;
        self.used.get() + reserve
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_lite::future::{block_on, poll_once};

    const LARGE: usize = 4 << 20;
    const SMALL: usize = 64 << 10;

    fn take(budget: &Budget, bytes: usize) -> Option<Grant> {
        let mut grant = Grant::default();
        budget.try_grow(&mut grant, bytes).then_some(grant)
    }

    #[test]
    fn small_buffers_are_served_where_large_ones_wait() {
        let budget = Budget::default();
        let large: Vec<_> = std::iter::from_fn(|| take(&budget, LARGE)).collect();
        let medium: Vec<_> = std::iter::from_fn(|| take(&budget, 1 << 20)).collect();
        let small: Vec<_> = std::iter::from_fn(|| take(&budget, SMALL)).collect();
        assert!(large.len() >= 3 && medium.len() >= 8 && small.len() >= 100);
        for mut grant in [large, medium, small].into_iter().flatten() {
            budget.give_back(&mut grant);
        }
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn those_who_hold_some_and_wait_for_more_go_on_one_after_the_other() {
        let budget = Budget::default();
        let mut halves: Vec<_> = std::iter::from_fn(|| take(&budget, LARGE)).collect();
        assert!(halves.len() > 1);
        let mut last = halves.pop().expect("several");
        for half in &mut halves {
            let mut grown = Box::pin(budget.grow(half, 4 * LARGE));
            assert!(block_on(poll_once(&mut grown)).is_some(), "the reserve");
            drop(grown);
            let mut waits = Box::pin(budget.grow(&mut last, 4 * LARGE));
            assert!(block_on(poll_once(&mut waits)).is_none());
            assert!(budget.is_short());
            drop(waits);
            assert!(!budget.is_short(), "nobody waits any more");
            // It has the reserve: it never waits again.
            assert!(budget.try_grow(half, RECEIVE_RESERVE_BYTES));
            budget.give_back(half);
        }
        assert!(block_on(poll_once(Box::pin(budget.grow(&mut last, 4 * LARGE)))).is_some());
        budget.give_back(&mut last);
        assert_eq!(budget.used(), 0);
    }
}
