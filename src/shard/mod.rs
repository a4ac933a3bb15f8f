//! shard: one core's world: its partitions, its log, the requests of others' connections; implements `engine::Engine`.
//!
//! Does: starts and stops all cores together, keeps a catalog on every core, appends and reads partitions of this
//! core, and forwards what belongs to another.
//! May import: base, io, engine, log, partition, queue, group, catalog.
//! Must not know: protocols, net.
//!
//! ```text
//!   net (this core) ──[Engine]──> produce / fetch / topics ──owned here──> hosted ──> log
//!                                          │                                 ▲
//!                                          └─owned elsewhere─> post ~~mailbox~~> forwarded (on the owner)
//!                          create / delete ──> admin (core 0) ──record synced──> apply (every core)
//!                          groups ──> the core of the group's slot ──records synced──> answered
//!                          queues ──> the core of the partition: ledger ──records stored──> answered, delivered
//! ```
//! Invariants:
//! - A partition is touched by its owner only ([`PartitionKey::core`]); what crosses is plain data ([`Message`]).
//! - A local produce costs no allocation and no task: its ticket is a place in a partition, which the log moves past.
//! - The receive loop never waits for a mailbox, so full mailboxes cannot hold each other up.
//! - A catalog record is synced before any core acts on it, and every core acts before the change is answered.
//! - Nothing on disk is removed without a catalog record that says that its topic was deleted; but a partition of our
//!   own is, once everything that it must keep is synced in its successor.
//! - Before a start lets anything else be appended, the checkpoint of each queue's ledger is synced.
//! - A commit of offsets is synced before it is answered, and before anybody reads it.
//!
//! Decided:
//! - A produce is answered at the level that its producer asked for, and becomes visible at the higher of that and
//!   the topic's (see `partition::Visibility`).
//! - Several batches of one request are checked before the first is taken; if the disk fills up between two, the
//!   outcome is told as unknown, since what was taken cannot be taken back.
//!
//! [`PartitionKey::core`]: crate::base::PartitionKey::core

mod admin;
mod core;
mod engine;
mod fetch;
mod forwarded;
mod gate;
mod groups;
mod hosted;
mod message;
mod numbered;
mod offsets;
mod post;
mod produce;
mod producer_ids;
mod queues;
mod replay;
mod retention;
mod start;
mod stats;
mod stop;
mod topics;
mod trim;
mod watch;

#[cfg(test)]
mod tests;

pub use message::Message;
pub use produce::Ticket;
pub use queues::Consumer;
pub use start::{Options, Share, StartError, StartReport, remedy, share};
pub use stats::Stats;
pub use stop::StopError;

use crate::io::Io;
use std::rc::Rc;

/// One core of the broker. Clones are the same core.
pub struct Shard<I: Io> {
    core: Rc<core::Core<I>>,
}

impl<I: Io> Clone for Shard<I> {
    fn clone(&self) -> Self {
        Self {
            core: Rc::clone(&self.core),
        }
    }
}

impl<I: Io> Shard<I> {
    /// What this core has counted so far.
    pub fn stats(&self) -> Stats {
        *self.core.stats.borrow()
    }
}
