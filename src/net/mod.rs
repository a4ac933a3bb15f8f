//! net: listeners and connections; moves bytes between sockets, protocols and the engine.
//!
//! Does: accepts within a limit, reads frames, hands requests to the engine, sends answers in order, ends connections
//! that are too slow, and all of them at a stop.
//! May import: base, io, engine, protocol.
//! Must not know: shard, partition, log.
//!
//! ```text
//!   listener ──> connection (reads)                         one task each
//!                  │  receive ─ native | kafka: split ─ decode ─> engine.produce
//!                  └─> queue of what is owed ──> answer (writes)
//!                                                  await ─ encode ─ send: memory vectored, spans of files
//!   life: deadlines as numbers; one watch per core dooms who is overdue
//! ```
//! Invariants:
//! - Answers leave in the order of their requests; a request is taken only while the queue has room.
//! - A read is never raced: a connection is ended by its writing half, which shuts the socket down.
//! - A connection that waits holds no buffer: those for receives and replies are lent by the core's pool.
//! - Memory is bounded: per connection by the largest frame and the queue's limit, per core by the budget of receive
//!   buffers and by `Engine::room`, both awaited before a socket is read.
//! - No connection keeps the core to itself: reading and answering let others run after a turn (`TURN`).
//! - A connection that breaks the protocol is refused where that can be said, and closed; no other notices.
//! - A poll of a queue waits until something else is owed on its connection: that one hurries it.
//! - After warm-up, a produce and its answer allocate nothing, nor does a fetch that is served from memory.

mod answer;
mod budget;
mod clients;
mod connection;
mod groups;
mod kafka;
mod life;
mod listener;
mod native;
mod patience;
mod pool;
mod queue;
mod queues;
mod receive;
mod send;
mod stats;

pub use kafka::Kafka;
pub use listener::{Net, Options};
pub use stats::Stats;

use std::time::Duration;

/// How long one half of a connection works before it lets others run: what everybody else waits for each that floods.
const TURN: Duration = Duration::from_micros(500);
/// Frames and answers are so cheap that the clock is looked at once for so many.
const TURN_STEPS: u32 = 16;
