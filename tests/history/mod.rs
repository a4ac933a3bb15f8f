//! history: what clients saw of a log, as plain records, and the checker that names what a log must not do.
//!
//! Goal: one verdict for every test that kills, starves or lies to a broker. A test notes what its clients did and saw, in
//! the order in which it happened (one clock), and what befell the machine; [`check`] returns the anomalies
//! (RELIABILITY 4.1, for a log without transactions). Method: one pass over the events, one slot for each offset of each
//! place and one fate for each value: O(n) in time and memory.
//!
//! ```text
//!   Sent ─> Acked | Refused | (nothing: unknown)          a producer's record, whose value is unique
//!   Asked ─> Read* ─> Answered                            a reader's fetch
//!   Died ─> Found (for each place) ─> ...                 what a restart finds: the log is a prefix of what it was
//!   Trimming ─> Trimmed | (nothing: unknown)              the beginning of a place is given up
//!   Starts (for each place, before Found)                 where a restart finds its beginning
//!   Whole                                                 a full read from the beginning has come to an end here
//! ```
//! What is promised, and to what death:
//! - An ack at `written` survives the process, one at `synced` the power; a record that was read survives what its
//!   place's level does; everything that a restart found survives power from then on, for the broker serves it as synced.
//! - What was written survives power too once it is older than [`Rules::flushed_after`] (the background flush), if its core
//!   had not failed by then: nothing can be promised for what a failed disk was not asked to sync.
//! - Records below an answered trim are gone for good, whatever dies; above the highest that was asked for nothing goes.
//! - An outcome that nobody heard of may be either, once; a refused record must never be seen.
//!
//! Of a disk that lies ([`Event::Lied`]) the last group of acks of a core may be cut in silence: no later journal entry
//! carries a frontier past it, so that nothing on the disk tells it from a torn tail (RELIABILITY 2.3, "residual risk").
//! Evidence exists as soon as a record that was sent after the ack was acked by the same core; then a cut is an anomaly
//! again. A damaged place that is refused, or a batch that fails its checksum, is no event here: nothing was read.
#![allow(
    dead_code,
    reason = "each test that includes this asks for what it needs"
)]

mod check;
#[cfg(test)]
mod tests;

pub(crate) use check::check;

use std::fmt;

/// Names a partition, counted from 0 in the order of [`History::place`].
pub(crate) type Place = u32;
/// A record. Counted from 0 in the order of [`History::sent`].
pub(crate) type Value = u64;

/// What a record was promised. In order: a later one is more.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Promise {
    /// Nothing.
    None,
    /// It survives the death of the process.
    Written,
    /// It survives the loss of power.
    Synced,
}

/// How a life of the machine ended. In order: a later one takes more.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Death {
    /// It was asked to stop.
    Stop,
    /// The process was killed.
    Kill,
    /// Power was lost.
    Power,
}

impl Death {
    /// The least promise that survives it.
    pub(crate) fn spares(self) -> Promise {
        match self {
            Self::Stop | Self::Kill => Promise::Written,
            Self::Power => Promise::Synced,
        }
    }
}

/// One thing that happened, in the order of the one clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Event {
    /// A producer hands over the next value. Sends of one producer travel in their order.
    Sent { producer: u32, place: Place },
    /// The broker promised `value` at `offset`. `stream` is the core that did; `at` is now, in nanoseconds.
    Acked {
        value: Value,
        offset: u64,
        promise: Promise,
        stream: u16,
        at: u64,
    },
    /// The broker said that it did not take `value`.
    Refused { value: Value },
    /// A fetch begins: the next poll.
    Asked { place: Place },
    /// A reader was handed a record by a fetch.
    Read {
        reader: u32,
        place: Place,
        offset: u64,
        value: Value,
    },
    /// The fetch `poll` is answered: records below `high_watermark` can be read.
    Answered { poll: u32, high_watermark: u64 },
    /// A reader goes to `offset` on its own account.
    Sought {
        reader: u32,
        place: Place,
        offset: u64,
    },
    /// A life has ended at `at` nanoseconds.
    Died { how: Death, at: u64 },
    /// The first look at a place after a death: it ends before `end` now, and `stream` serves it.
    Found { place: Place, end: u64, stream: u16 },
    /// A place is being deleted, or may be: from here on it owes nothing.
    Deleting { place: Place },
    /// Somebody asks that what lies below `before` be given up: from here on it is owed to nobody.
    Trimming { place: Place, before: u64 },
    /// That was answered: a place begins at `start`, for good.
    Trimmed { place: Place, start: u64 },
    /// The first look at a place after a death: it begins at `start` now. Comes before [`Event::Found`].
    Starts { place: Place, start: u64 },
    /// `reader` has read all of a place, from its beginning to before `end`, since it last sought; nobody writes meanwhile.
    Whole { reader: u32, place: Place, end: u64 },
    /// The disk has lied once in this life: lost a write that it acknowledged, or put it elsewhere.
    Lied,
    /// A write or a sync of `stream` has failed (none: of any core, for all that is known), which ends its log for this
    /// life: what it had written is flushed no more. `at` is now.
    Failed { stream: Option<u16>, at: u64 },
}

/// What the checker assumes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// Nanoseconds after which what is written is synced without anybody asking; `u64::MAX`: never.
    pub(crate) flushed_after: u64,
}

/// What happened, and where.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    events: Vec<Event>,
    /// What a reader is promised at each place.
    levels: Vec<Promise>,
    values: Value,
    polls: u32,
}

impl History {
    /// A new place whose readers are promised `level`.
    pub(crate) fn place(&mut self, level: Promise) -> Place {
        self.levels.push(level);
        (self.levels.len() - 1) as Place
    }

    /// Notes a send; returns the value that it stands for.
    pub(crate) fn sent(&mut self, producer: u32, place: Place) -> Value {
        self.note(Event::Sent { producer, place });
        self.values += 1;
        self.values - 1
    }

    /// Notes the begin of a fetch; returns the number for its answer.
    pub(crate) fn asked(&mut self, place: Place) -> u32 {
        self.note(Event::Asked { place });
        self.polls += 1;
        self.polls - 1
    }

    /// Notes anything else.
    pub(crate) fn note(&mut self, event: Event) {
        self.events.push(event);
    }

    /// All events.
    pub(crate) fn events(&self) -> &[Event] {
        &self.events
    }

    /// What readers of `place` are promised.
    pub(crate) fn level(&self, place: Place) -> Promise {
        self.levels[place as usize]
    }

    /// How many places there are.
    pub(crate) fn places(&self) -> u32 {
        self.levels.len() as u32
    }

    /// How many values were sent.
    pub(crate) fn values(&self) -> Value {
        self.values
    }
}

/// What a log must not do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Anomaly {
    /// A record that was acked is not there although its promise holds.
    Lost {
        place: Place,
        offset: u64,
        value: Value,
        promise: Promise,
    },
    /// A record was read at its place's level and is gone: the read is taken back.
    TakenBack {
        place: Place,
        offset: u64,
        value: Value,
    },
    /// An offset that a restart had found is not there any more, whatever was in it.
    Shrunk { place: Place, offset: u64 },
    /// One value at two offsets.
    Duplicate {
        value: Value,
        first: (Place, u64),
        second: (Place, u64),
    },
    /// Two observers disagree about an offset.
    Inconsistent {
        place: Place,
        offset: u64,
        one: Value,
        other: Value,
    },
    /// A refused value, or one that nobody ever sent, was observed.
    Phantom {
        place: Place,
        offset: u64,
        value: Value,
    },
    /// A value is in a place that it was not sent to.
    Misplaced {
        value: Value,
        sent_to: Place,
        seen_in: Place,
    },
    /// A value that a death had taken is back.
    Resurrected {
        place: Place,
        offset: u64,
        value: Value,
    },
    /// A reader was handed another offset than the one after its last: it went back, or over records.
    Skipped {
        reader: u32,
        place: Place,
        expected: u64,
        got: u64,
    },
    /// A fetch knows less than an earlier one, or than an ack that came before it.
    Stale { place: Place, told: u64, known: u64 },
    /// One producer's later acked send has a lower offset.
    SendOrder {
        producer: u32,
        place: Place,
        earlier: u64,
        later: u64,
    },
    /// One producer's records lie in the log in another order than they were sent.
    Reordered {
        producer: u32,
        place: Place,
        offset: u64,
    },
    /// A place begins behind all that anybody asked to be given up.
    Overtrimmed {
        place: Place,
        start: u64,
        asked: u64,
    },
    /// What was given up, and said to be, is back.
    Untrimmed {
        place: Place,
        start: u64,
        answered: u64,
    },
    /// A full read went past an offset without a record.
    Gap { place: Place, offset: u64 },
}

impl Anomaly {
    /// Its kind in a word.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Lost { .. } => "lost",
            Self::TakenBack { .. } => "taken-back",
            Self::Shrunk { .. } => "shrunk",
            Self::Duplicate { .. } => "duplicate",
            Self::Inconsistent { .. } => "inconsistent-offset",
            Self::Phantom { .. } => "phantom",
            Self::Misplaced { .. } => "misplaced",
            Self::Resurrected { .. } => "resurrected",
            Self::Skipped { .. } => "skipped",
            Self::Stale { .. } => "stale",
            Self::SendOrder { .. } => "send-order",
            Self::Reordered { .. } => "reordered",
            Self::Overtrimmed { .. } => "overtrimmed",
            Self::Untrimmed { .. } => "untrimmed",
            Self::Gap { .. } => "gap",
        }
    }
}

impl fmt::Display for Anomaly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {self:?}", self.kind())
    }
}
