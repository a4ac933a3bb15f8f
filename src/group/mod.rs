//! group: the coordinator of consumer groups, the classic protocol; a state machine over requests and time.
//!
//! Does: who is a member of a group and of which generation ([`Coordinator`]), what its members are assigned, which
//! offsets it has committed, and the bytes of the records that keep them ([`OffsetRecord`]).
//! May import: base.
//! Must not know: async, files, clocks, the other deciding rooms, any wire. Time and chance are handed in ([`Moment`]).
//!
//! ```text
//!           first join                  all joined, or time is up            leader assigned
//!  (none) ────────────> PreparingRebalance ─────────────> CompletingRebalance ───────────> Stable
//!    ▲                   ▲     │  ▲                              │                           │
//!    │ offsets gone      │     │  └── join, leave, silence ──────┴───────────────────────────┘
//!    └───── Empty <──────┼─────┘ nobody left
//!             └──────────┘ join
//!
//!  request, ticket ──handle──> Effect::Reply      now or later, once for each ticket
//!                         └──> Effect::Store ──(synced)──stored──> the offsets count, and are answered
//!  time            ──tick──> the same;  next_deadline() says when
//! ```
//! Invariants:
//! - Every ticket is answered exactly once. Of a member at most one ticket waits.
//! - Every wait ends: a rebalance by the longest rebalance timeout of its members, an assignment by the same, silence
//!   by the session timeout.
//! - Offsets are what was stored, in the order in which it was stored: `stored` is called in the order of the ids.
//! - A member that asks in time is never told that it is unknown; one that is told so was silent, left or fenced.
//!
//! Decided:
//! - Members live in memory only; a restarted broker tells them that they are unknown, and they join again. What
//!   must not be lost is the offsets.
//! - The first rebalance of an empty group waits half a second for others (Kafka: 3 s): who starts alone should not
//!   wait long, and a fleet that comes later than that costs one more rebalance.
//! - Offsets belong to a topic's id: a new topic under an old name begins without any.
//! - Offsets of a group are kept while it has members, and for a week after. A restart begins that week anew, because
//!   members may come back that have read everything and have nothing to commit.

mod coordinator;
mod effect;
mod inspect;
mod join;
mod member;
mod offsets;
mod rebalance;
mod record;
mod state;
mod statics;
mod sync;

#[cfg(test)]
mod tests;

pub use coordinator::{Coordinator, Options};
pub use effect::{Effect, Moment, StoreId, Ticket};
pub use record::{DecodeError, OffsetRecord, slot_of};

use crate::base::{PartitionKey, PartitionNo, TopicId};

/// The partition that the offsets of a slot live in. A slot moves to its next generation, counted from 1, when most of
/// what its partition holds has been written over; every generation of it is on the same core. Its topic is no topic of
/// the catalog.
pub fn offsets_key(generation: u32, slot: PartitionNo) -> PartitionKey {
    assert!(generation > 0, "topic 0 is the catalog's");
    PartitionKey::new(TopicId(u128::from(generation)), slot)
}
