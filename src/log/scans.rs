//! What is known of a segment's file as its readers found it: which spans were checked, and which are being checked now.

use crate::io::Signal;
use crate::io::signal::Wait;
use std::cell::RefCell;
use std::rc::Rc;

/// Spans remembered. Readers in sequence make one of them longer and longer; of too many the shortest is forgotten.
const SPANS_MAX: usize = 16;

/// The scans of one segment. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Scans {
    state: Rc<State>,
}

#[derive(Default)]
struct State {
    checked: RefCell<Spans>,
    under_way: RefCell<Vec<(u64, u64)>>,
    ended: Signal,
}

impl Scans {
    /// Whether all of `from..until` was checked.
    pub(crate) fn is_checked(&self, from: u64, until: u64) -> bool {
        self.state.checked.borrow().covers(from, until)
    }

    /// How far everything from `pos` on was checked; `pos` if nothing was.
    pub(crate) fn checked_until(&self, pos: u64) -> u64 {
        self.state.checked.borrow().end_of(pos)
    }

    /// `from..until` is good.
    pub(crate) fn note_checked(&self, from: u64, until: u64) {
        self.state.checked.borrow_mut().insert(from, until);
    }

    /// A scan of `from..until` begins; it ends when what is returned is dropped, with its task too.
    pub(crate) fn begin(&self, from: u64, until: u64) -> UnderWay {
        let span = (from, until);
        self.state.under_way.borrow_mut().push(span);
        let scans = self.clone();
        UnderWay { scans, span }
    }

    /// Ready when a scan has ended, if one is under way that covers `pos`.
    pub(crate) fn wait_for(&self, pos: u64) -> Option<Wait> {
        let under_way = self.state.under_way.borrow();
        let covers = |(from, until): &(u64, u64)| (*from..*until).contains(&pos);
        under_way
            .iter()
            .any(covers)
            .then(|| self.state.ended.wait())
    }
}

/// See [`Scans::begin`].
pub(crate) struct UnderWay {
    scans: Scans,
    span: (u64, u64),
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let state = &self.scans.state;
        let mut under_way = state.under_way.borrow_mut();
        if let Some(index) = under_way.iter().position(|span| *span == self.span) {
            under_way.swap_remove(index);
        }
        drop(under_way);
        state.ended.notify();
    }
}

/// Spans of a file, sorted, none touching another.
#[derive(Debug, Default)]
struct Spans(Vec<(u64, u64)>);

impl Spans {
    fn covers(&self, from: u64, until: u64) -> bool {
        from < until && until <= self.end_of(from)
    }

    /// Where the span that covers `pos` ends, or `pos`.
    fn end_of(&self, pos: u64) -> u64 {
        let after = self.0.partition_point(|span| span.0 <= pos);
        let span = after.checked_sub(1).map(|index| self.0[index]);
        span.map_or(pos, |span| span.1.max(pos))
    }

    fn insert(&mut self, from: u64, until: u64) {
        if from >= until {
            return;
        }
        let first = self.0.partition_point(|span| span.1 < from);
        let behind = self.0.partition_point(|span| span.0 <= until);
        let touched = &self.0[first..behind];
        let from = touched.first().map_or(from, |span| span.0.min(from));
        let until = touched.last().map_or(until, |span| span.1.max(until));
        self.0.splice(first..behind, [(from, until)]);
        if self.0.len() > SPANS_MAX {
            let lengths = self.0.iter().map(|span| span.1 - span.0);
            let shortest = lengths.enumerate().min_by_key(|(_, length)| *length);
            self.0.remove(shortest.expect("there are many").0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::prng::Prng;

    #[test]
    fn spans_cover_what_was_inserted_and_nothing_else() {
        let mut prng = Prng::new(11);
        for _ in 0..2_000 {
            let (mut spans, mut naive) = (Spans::default(), [false; 64]);
            for _ in 0..prng.below(12) {
                let from = prng.below(64);
                let until = from + prng.below(65 - from);
                spans.insert(from, until);
                naive[from as usize..until as usize].fill(true);
            }
            let from = prng.below(64);
            let until = from + 1 + prng.below(64 - from);
            let expected = naive[from as usize..until as usize].iter().all(|is| *is);
            assert_eq!(spans.covers(from, until), expected, "{spans:?}");
        }
    }

    #[test]
    fn of_too_many_spans_the_shortest_is_forgotten() {
        let mut spans = Spans::default();
        for number in 0..SPANS_MAX as u64 + 1 {
            spans.insert(100 * number, 100 * number + 10 + number);
        }
        assert_eq!(spans.0.len(), SPANS_MAX);
        assert!(!spans.covers(0, 10) && spans.covers(100, 111));
    }

    #[test]
    fn a_scan_that_is_dropped_has_ended() {
        let scans = Scans::default();
        let scan = scans.begin(10, 20);
        assert!(scans.wait_for(9).is_none() && scans.wait_for(20).is_none());
        assert!(scans.wait_for(10).is_some());
        drop(scan);
        assert!(scans.wait_for(10).is_none());
    }
}
