//! catalog: which topics and queues exist, with their settings; a state machine over catalog records.
//!
//! Does: the records and their bytes ([`Record`]), the state that they add up to ([`Catalog`]), the rules of names,
//! counts and settings.
//! May import: base.
//! Must not know: async, files, clocks, the other deciding rooms. Chance (a topic's id) is handed in.
//!
//! ```text
//!   request ──decide──> Record ──stored at `synced`──> apply ──> Catalog of every core
//!                          ▲                             ▲
//!              (refusal: nothing happened)      (replay at start: the same function)
//! ```
//! Invariants:
//! - The state is a function of the records in their order, and of nothing else.
//! - `decide` changes nothing; `apply` refuses nothing that `decide` proposed in the same state.
//! - A stored record that cannot be decoded or contradicts those before it is damage, never skipped.
//! - The id of a topic or a queue is never used twice, also not after it was deleted.
//! - A queue's topic lives, and so does that of its dead letters: neither can be deleted before the queue.

mod queue_record;
mod queues;
mod record;
mod rules;
mod state;

pub use queue_record::Queue;
pub use queues::NewQueue;
pub use record::{DecodeError, Record, Topic};
pub use rules::{Refusal, check_name, check_partitions, check_settings};
pub use state::{Catalog, Contradiction};

use crate::base::{PartitionKey, PartitionNo, TopicId};

/// The partition that the records live in. Its topic is no topic of the catalog; id 0 puts it on core 0, however many
/// cores run.
pub const CATALOG_KEY: PartitionKey = PartitionKey {
    topic: TopicId(0),
    partition: PartitionNo(0),
};
