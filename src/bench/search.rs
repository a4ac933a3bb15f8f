//! The search for the highest rate that the broker holds: doubling until it does not, then halving what lies between.

/// Close enough: the highest rate that held and the lowest that did not are so near each other.
const RATIO_ENOUGH: f64 = 1.05;
/// A search ends after so many tries, whatever it has found.
const TRIES_MAX: usize = 24;

/// What is known so far.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Search {
    held: Option<f64>,
    failed: Option<f64>,
    next: f64,
    tries: usize,
}

impl Search {
    /// Begins at `first`, in messages a second.
    pub fn new(first: f64) -> Self {
        assert!(first > 0.0);
        Self {
            held: None,
            failed: None,
            next: first,
            tries: 0,
        }
    }

    /// The rate to try next; `None` at the end.
    pub fn next(&self) -> Option<f64> {
        let near = match (self.held, self.failed) {
            (Some(held), Some(failed)) => failed / held <= RATIO_ENOUGH,
            _ => false,
        };
        (!near && self.tries < TRIES_MAX).then_some(self.next)
    }

    /// What became of the rate that was tried.
    pub fn learn(&mut self, did_hold: bool) {
        self.tries += 1;
        let known = if did_hold {
            &mut self.held
        } else {
            &mut self.failed
        };
        *known = Some(self.next);
        self.next = match (self.held, self.failed) {
            (Some(held), Some(failed)) => f64::midpoint(held, failed),
            (Some(held), None) => held * 2.0,
            (None, Some(failed)) => failed / 2.0,
            (None, None) => unreachable!("one of them was just learnt"),
        };
    }

    /// The highest rate that held.
    pub fn found(&self) -> Option<f64> {
        self.held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(first: f64, limit: f64) -> (Option<f64>, usize) {
        let mut search = Search::new(first);
        let mut tries = 0;
        while let Some(rate) = search.next() {
            search.learn(rate <= limit);
            tries += 1;
        }
        (search.found(), tries)
    }

    #[test]
    fn the_limit_is_found_from_below_and_from_above() {
        for (first, limit) in [(10.0, 12_345.0), (1e6, 12_345.0), (12_345.0, 12_345.0)] {
            let (found, tries) = search(first, limit);
            let found = found.expect("some rate holds");
            assert!(found <= limit && found * RATIO_ENOUGH >= limit, "{found}");
            assert!(tries < TRIES_MAX, "{tries}");
        }
    }

    #[test]
    fn where_nothing_holds_it_ends_without_a_rate() {
        assert_eq!(search(1e6, 0.0), (None, TRIES_MAX));
    }
}
