//! queue: the ledger of a queue on one partition: which record is ready, with whom, settled or dead.
//!
//! Does: hands records out to consumers by their credit, takes their answers, counts deliveries, ends leases, delays what
//! is to be tried again, gives up what was tried too often ([`Ledger`]); the records that keep all this and their bytes
//! ([`LedgerRecord`]).
//! May import: base.
//! Must not know: async, files, clocks, the other deciding rooms, any wire, what a record contains. Time is handed in
//! ([`Moment`]), and what a record says about its own delivery ([`Facts`]).
//!
//! ```text
//!  settled for ever │ runs: neighbours in one state                      │ not handed out yet
//!  ─────────────────┼── ready ── gap ── leased ── delayed ── gap ── ready ──┼──────────────────┼──>
//!                 floor                                                   end        high watermark
//!
//!          hand out              ack
//!   ready ──────────> leased ──────────────> settled: acked      expired, purged: settled, too
//!    ▲ ▲                │  nack, lease over, consumer gone
//!    │ └────────────────┤
//!    │    time          ├──> delayed
//!    └──────────────────┘
//!                       └─ too often, rejected ──> dying ──moved──> settled: dead
//! ```
//! A gap between runs is settled. So what was settled above the floor takes no memory of its own, records that were never
//! handed out take none at all, and a run of records that one consumer got together is one entry.
//!
//! Every step changes the state at once and says in [`Output::records`] what has to be stored. Nothing that the step
//! brings about may be seen from outside before that is durable: a delivery must not leave, an answer must not be given.
//! If storing fails, the storage is over until a restart, and what is stored counts.
//!
//! Invariants:
//! - Each record that the queue covers is in exactly one state: records = ready + delayed + leased + waiting for an earlier
//!   one of their key + dying + acked + dead + expired + purged + absent.
//! - What is settled stays so. An answer counts only for a lease that lives, named by offset and number of the delivery;
//!   that pair is never given out twice, also not after a crash, because a delivery is stored before it leaves.
//! - A record is with one consumer at a time, and is delivered at most as often as its queue allows.
//! - Without priorities and key order, what is ready is handed out in the order of the offsets.
//! - Memory is bounded by `QUEUE_RUNS_MAX`, however many records are behind the window.
//! - The stored records in their order give the same state again, but for the leases: those end with the broker.
//!
//! Decided:
//! - A lease that ended is over, even if nobody else has the record yet: one rule that a client can reason about, instead
//!   of a race that it sometimes wins.
//! - A lease that ended or whose consumer is gone is tried again at once; only a consumer that gives a record back starts
//!   the retry delays. A consumer that dies says nothing about the record, and the limit of deliveries holds anyway.
//! - A record expires when its turn comes: nothing runs through a backlog to look for what is too old.
//! - Priorities choose among what has been looked at (`QUEUE_AHEAD_RUNS_MAX`), not among all that is stored.
//! - Delays run on the monotonic clock, so that a wall clock that is set does not move them; across a restart the wall
//!   clock decides, and never makes a delay longer than it was.

mod checkpoint;
mod consumers;
mod handout;
mod ledger;
mod output;
mod record;
mod settle;
mod wheel;
mod window;

#[cfg(test)]
mod tests;

pub use checkpoint::ReplayError;
pub use ledger::{Flow, Ledger};
pub use output::{Doomed, Evidence, Moment, Output};
pub use record::{DecodeError, LedgerRecord, RECORD_BYTES, Settled, decode_all, encode_all};

pub use crate::base::queue::{
    Answered, Cause, ConsumerId, Counts, Delivery, Facts, Nack, QueueSettings, Retry, Span, Totals,
};
