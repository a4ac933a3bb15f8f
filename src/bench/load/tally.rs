//! What was seen: counts, histograms and slices of one core, that add up to those of the run.

use crate::bench::outcome::Interval;
use crate::io::Monotonic;
use hdrhistogram::Histogram;
use std::time::Duration;

/// The longest time that a histogram tells apart; longer ones count as this. An hour.
const NS_MAX: u64 = 3_600_000_000_000;
/// A run is cut into at most so many slices, none shorter than [`SLICE_MIN`].
const SLICES_MAX: u32 = 60;
const SLICE_MIN: Duration = Duration::from_millis(100);

/// The time that counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Window {
    /// Its begin.
    pub from: Monotonic,
    /// Its end.
    pub until: Monotonic,
}

impl Window {
    /// Whether a point lies in it.
    pub fn holds(self, at: Monotonic) -> bool {
        self.from <= at && at < self.until
    }

    /// How long it is.
    pub fn duration(self) -> Duration {
        self.until.since(self.from)
    }
}

/// One answered request.
#[derive(Clone, Copy, Debug)]
pub struct Answered {
    /// When it was due.
    pub due: Monotonic,
    /// When it was sent.
    pub sent: Monotonic,
    /// When its reply was there.
    pub done: Monotonic,
}

/// What was seen.
#[derive(Clone, Debug)]
pub struct Tally {
    /// The time that counts.
    pub window: Window,
    /// Messages acked or read in it.
    pub messages: u64,
    /// Their payload.
    pub bytes: u64,
    /// Requests that were due in it.
    pub requests: u64,
    /// Of those, the ones that were never sent: the broker was so far behind that they were given up.
    pub unsent: u64,
    /// Due to reply, nanoseconds.
    pub response: Histogram<u64>,
    /// Sent to reply, nanoseconds.
    pub service: Histogram<u64>,
    /// Due to the consumer's hands, nanoseconds.
    pub end_to_end: Histogram<u64>,
    /// The last reply of all.
    pub last: Monotonic,
    slice: Duration,
    slices: Vec<Slice>,
}

#[derive(Clone, Debug)]
struct Slice {
    messages: u64,
    bytes: u64,
    response: Histogram<u64>,
    service: Histogram<u64>,
    delay: Histogram<u64>,
    end_to_end: Histogram<u64>,
}

impl Slice {
    /// Costs address space more than memory: pages of a histogram that no time falls into stay untouched. So slices are
    /// made one by one and never cloned before they are full.
    fn empty() -> Self {
        Self {
            messages: 0,
            bytes: 0,
            response: histogram(),
            service: histogram(),
            delay: histogram(),
            end_to_end: histogram(),
        }
    }
}

impl Tally {
    /// Nothing seen yet. All memory that a run needs is taken here.
    pub fn new(window: Window, has_slices: bool) -> Self {
        let slice = SLICE_MIN.max(window.duration() / SLICES_MAX);
        let slices = match has_slices {
            true => window.duration().as_nanos().div_ceil(slice.as_nanos()) as usize,
            false => 0,
        };
        Self {
            window,
            messages: 0,
            bytes: 0,
            requests: 0,
            unsent: 0,
            response: histogram(),
            service: histogram(),
            end_to_end: histogram(),
            last: Monotonic(0),
            slice,
            slices: (0..slices).map(|_| Slice::empty()).collect(),
        }
    }

    /// Takes in a request. Its times count if it was due in the window, its messages if they came in it.
    pub fn record(&mut self, request: Answered, messages: u64, bytes: u64) {
        let response_ns = nanos(request.done, request.due);
        let service_ns = nanos(request.done, request.sent);
        if self.window.holds(request.due) {
            self.requests += 1;
            self.response.saturating_record(response_ns);
            self.service.saturating_record(service_ns);
        }
        self.last = self.last.max(request.done);
        if let Some(slice) = self.count(request.done, messages, bytes) {
            slice.response.saturating_record(response_ns);
            slice.service.saturating_record(service_ns);
            slice
                .delay
                .saturating_record(nanos(request.sent, request.due));
        }
    }

    /// A request whose messages count elsewhere, at their consumer.
    pub fn record_times(&mut self, request: Answered) {
        self.record(request, 0, 0);
    }

    /// Takes in messages that reached the consumer at `at`, and were due at `due`.
    pub fn deliver(&mut self, due: Monotonic, at: Monotonic, messages: u64, bytes: u64) {
        let end_to_end_ns = nanos(at, due);
        if self.window.holds(due) {
            self.end_to_end.saturating_record(end_to_end_ns);
        }
        self.last = self.last.max(at);
        if let Some(slice) = self.count(at, messages, bytes) {
            slice.end_to_end.saturating_record(end_to_end_ns);
        }
    }

    /// Takes in messages that reached the consumer at `at`, of which nobody knows when they were due.
    pub fn deliver_untimed(&mut self, at: Monotonic, messages: u64, bytes: u64) {
        self.last = self.last.max(at);
        self.count(at, messages, bytes);
    }

    /// A request that was due and is given up at `now`: it took at least so long.
    pub fn give_up(&mut self, due: Monotonic, now: Monotonic) {
        if self.window.holds(due) {
            self.requests += 1;
            self.unsent += 1;
            self.response.saturating_record(nanos(now, due));
        }
    }

    fn count(&mut self, at: Monotonic, messages: u64, bytes: u64) -> Option<&mut Slice> {
        if !self.window.holds(at) {
            return None;
        }
        self.messages += messages;
        self.bytes += bytes;
        let index = at.since(self.window.from).as_nanos() / self.slice.as_nanos();
        let slice = self.slices.get_mut(index as usize)?;
        slice.messages += messages;
        slice.bytes += bytes;
        Some(slice)
    }

    /// Adds what another core saw in the same window.
    pub fn add(&mut self, other: &Self) {
        assert_eq!(self.window, other.window, "cores of one run");
        self.messages += other.messages;
        self.bytes += other.bytes;
        self.requests += other.requests;
        self.unsent += other.unsent;
        self.last = self.last.max(other.last);
        for (mine, theirs) in [
            (&mut self.response, &other.response),
            (&mut self.service, &other.service),
            (&mut self.end_to_end, &other.end_to_end),
        ] {
            mine.add(theirs).expect("made with equal bounds");
        }
        for (mine, theirs) in self.slices.iter_mut().zip(&other.slices) {
            mine.messages += theirs.messages;
            mine.bytes += theirs.bytes;
            for (mine, theirs) in [
                (&mut mine.response, &theirs.response),
                (&mut mine.service, &theirs.service),
                (&mut mine.delay, &theirs.delay),
                (&mut mine.end_to_end, &theirs.end_to_end),
            ] {
                mine.add(theirs).expect("made with equal bounds");
            }
        }
    }

    /// The slices, in order.
    pub fn intervals(&self) -> Vec<Interval> {
        let slice_s = self.slice.as_secs_f64();
        let whole_s = self.window.duration().as_secs_f64();
        let numbered = self.slices.iter().enumerate();
        numbered
            .map(|(index, slice)| Interval {
                at_s: index as f64 * slice_s,
                seconds: slice_s.min(whole_s - index as f64 * slice_s),
                messages: slice.messages,
                bytes: slice.bytes,
                response: slice.response.clone(),
                service: slice.service.clone(),
                delay: slice.delay.clone(),
                end_to_end: slice.end_to_end.clone(),
            })
            .collect()
    }
}

fn nanos(later: Monotonic, earlier: Monotonic) -> u64 {
    (later.since(earlier).as_nanos() as u64).max(1)
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, NS_MAX, 3).expect("bounds and digits that it takes")
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn at(ms: u64) -> Monotonic {
        Monotonic(ms * MS)
    }

    fn tally() -> Tally {
        let window = Window {
            from: at(1_000),
            until: at(1_350),
        };
        Tally::new(window, true)
    }

    fn request(due: u64, sent: u64, done: u64) -> Answered {
        Answered {
            due: at(due),
            sent: at(sent),
            done: at(done),
        }
    }

    #[test]
    fn times_count_by_when_they_were_due_and_messages_by_when_they_came() {
        let mut tally = tally();
        tally.record(request(990, 990, 1_010), 5, 50);
        tally.record(request(1_200, 1_220, 1_230), 5, 50);
        tally.record(request(1_340, 1_340, 1_400), 5, 50);
        tally.record(request(1_350, 1_350, 1_360), 5, 50);
        assert_eq!((tally.messages, tally.bytes, tally.requests), (10, 100, 2));
        assert_eq!(tally.response.len(), 2);
        assert!(tally.response.max() >= 60 * MS && tally.response.max() < 61 * MS);
        assert!(tally.response.min() >= 29 * MS && tally.service.min() < 11 * MS);
    }

    #[test]
    fn slices_cover_the_window_and_nothing_else() {
        let mut tally = tally();
        tally.record(request(1_000, 1_000, 1_000), 1, 10);
        tally.record(request(1_000, 1_000, 1_349), 2, 20);
        let intervals = tally.intervals();
        assert_eq!(intervals.len(), 4);
        assert_eq!((intervals[0].messages, intervals[3].messages), (1, 2));
        assert!((intervals[3].seconds - 0.05).abs() < 1e-9);
        let sum: u64 = intervals.iter().map(|i| i.response.len()).sum();
        assert_eq!(sum, tally.requests);
    }

    #[test]
    fn a_slice_tells_waiting_to_be_sent_from_waiting_for_the_broker() {
        let mut tally = tally();
        tally.record(request(1_000, 1_020, 1_030), 1, 10);
        tally.deliver(at(1_000), at(1_040), 1, 10);
        let slice = &tally.intervals()[0];
        for (histogram, ms) in [
            (&slice.response, 30),
            (&slice.service, 10),
            (&slice.delay, 20),
            (&slice.end_to_end, 40),
        ] {
            assert!(histogram.equivalent(histogram.max(), ms * MS), "{ms}");
            assert_eq!(histogram.len(), 1);
        }
    }

    #[test]
    fn what_was_never_sent_shows_with_the_time_it_had_waited() {
        let mut tally = tally();
        tally.give_up(at(1_100), at(3_100));
        assert_eq!((tally.requests, tally.unsent, tally.messages), (1, 1, 0));
        assert!(tally.response.max() >= 1_999 * MS);
        assert!(tally.service.is_empty());
    }

    #[test]
    fn cores_add_up() {
        let (mut one, mut two) = (tally(), tally());
        one.record(request(1_000, 1_000, 1_010), 1, 10);
        two.record(request(1_000, 1_000, 1_020), 2, 20);
        two.deliver(at(1_000), at(1_100), 3, 30);
        one.add(&two);
        assert_eq!((one.messages, one.bytes, one.requests), (6, 60, 2));
        assert_eq!((one.response.len(), one.end_to_end.len()), (2, 1));
        assert_eq!(one.intervals()[0].messages, 3);
    }
}
