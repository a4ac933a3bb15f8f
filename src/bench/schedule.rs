//! When requests are due in an open loop: an even schedule that waits for nobody.
//!
//! ```text
//!   lane 0   |        |        |        one lane a connection; all together: a request every `gap`
//!   lane 1      |        |        |
//!   lane 2         |        |        |
//! ```
//! Request `n` of all is due at `n * gap` and belongs to lane `n mod lanes`. Points are computed from `n`, never by adding
//! up, so that the rate does not drift however many there are.

use crate::io::Monotonic;
use std::time::Duration;

/// The due times of one core of the load, in order.
#[derive(Clone, Debug)]
pub struct Schedule {
    start: Monotonic,
    gap_ns: f64,
    lanes: usize,
    next: u64,
}

impl Schedule {
    /// `requests_per_s` over `lanes` lanes, from `start` on; the first is due `phase` gaps (0 to 1) after it.
    pub fn new(start: Monotonic, requests_per_s: f64, lanes: usize, phase: f64) -> Self {
        assert!(lanes > 0 && requests_per_s > 0.0);
        let gap_ns = 1e9 / requests_per_s;
        Self {
            start: start.plus(Duration::from_nanos((gap_ns * phase) as u64)),
            gap_ns,
            lanes,
            next: 0,
        }
    }

    /// When the next request is due.
    pub fn next_due(&self) -> Monotonic {
        let after_ns = self.next as f64 * self.gap_ns;
        self.start.plus(Duration::from_nanos(after_ns as u64))
    }

    /// The next request, its lane and when it was due, if that is at or before `now`.
    pub fn take(&mut self, now: Monotonic) -> Option<(usize, Monotonic)> {
        let due = self.next_due();
        if due > now {
            return None;
        }
        let lane = (self.next % self.lanes as u64) as usize;
        self.next += 1;
        Some((lane, due))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_second_holds_the_rate_and_lanes_take_turns() {
        let mut schedule = Schedule::new(Monotonic(5), 1_000.0, 3, 0.5);
        let mut taken = Vec::new();
        while let Some(next) = schedule.take(Monotonic(5 + SECOND)) {
            taken.push(next);
        }
        assert_eq!(taken.len(), 1_000);
        assert_eq!(taken[0], (0, Monotonic(500_005)));
        assert_eq!(taken[4], (1, Monotonic(4_500_005)));
    }

    #[test]
    fn what_was_due_while_nobody_looked_keeps_its_time() {
        let mut schedule = Schedule::new(Monotonic(0), 10.0, 1, 0.0);
        assert_eq!(schedule.take(Monotonic(0)), Some((0, Monotonic(0))));
        let late = Monotonic(SECOND);
        for tenth in 1..=10 {
            let due = Monotonic(tenth * SECOND / 10);
            assert_eq!(schedule.take(late), Some((0, due)));
        }
        assert_eq!(schedule.take(late), None);
    }

    #[test]
    fn odd_rates_do_not_drift() {
        let mut schedule = Schedule::new(Monotonic(0), 333_333.0, 7, 0.0);
        let mut last = Monotonic(0);
        for _ in 0..=333_333 * 5 {
            last = schedule.take(Monotonic(u64::MAX)).expect("due").1;
        }
        assert!(last.0.abs_diff(5 * SECOND) < 10, "{last:?}");
    }
}
