//! Kafka clients: their frames become what is owed to them, and their answers.
//!
//! ```text
//!   frame ─┬─ Produce: batches into the engine at once ─> Hot, tickets ─┐
//!          ├─ Fetch ──────────────────────────────────> Hot ────────────┼─> queue ─> answer, in the requests' order
//!          └─ anything else ──────────────────────────> Cold ───────────┘
//! ```
//! A Kafka broker handles one request of a connection after the other, and so do we, but for produces: a long fetch holds
//! back what stands behind it. Clients know, and use a connection of its own for their group.

mod admin;
mod alter;
mod answer;
mod cold;
mod groups;
mod hide;
mod take;
mod topics;

pub(super) use take::take;

use crate::engine::{FetchRequest, TopicSettings};
use crate::protocol::kafka::{self, Api, Cluster, Echo};

/// What Kafka clients are served with.
#[derive(Clone, Debug)]
pub struct Kafka {
    /// The brokers that clients are told of.
    pub cluster: Cluster,
    /// Whether a topic is made when somebody asks for one that does not exist.
    pub auto_create: bool,
    /// How many partitions a topic gets unasked.
    pub partitions: u32,
    /// The settings that a topic gets unasked.
    pub settings: TopicSettings,
    /// How long producers that number their batches are remembered while they are silent.
    pub producer_expiration_ms: u64,
}

/// A produce or a fetch that is owed an answer.
#[derive(Debug, Default)]
pub(super) struct Hot {
    pub(super) is_fetch: bool,
    /// Of a produce: so many tickets are its.
    pub(super) entries: usize,
    version: i16,
    /// What is wrong with a fetch as a whole.
    error_code: i16,
    /// A produce that asked for no answer.
    is_silent: bool,
    /// Boxed so that the queue stays small; kept for the next request.
    lists: Box<Lists>,
}

#[derive(Debug, Default)]
struct Lists {
    echo: Echo,
    fetch: FetchRequest,
}

impl Hot {
    pub(super) fn held_bytes(&self) -> usize {
        let fetch = &self.lists.fetch.partitions;
        size_of::<Lists>()
            + self.lists.echo.held_bytes()
            + fetch.capacity() * size_of::<crate::engine::FetchPartition>()
    }

    pub(super) fn clear(&mut self) {
        self.lists.echo.clear();
        self.lists.fetch.partitions.clear();
        self.entries = 0;
    }
}

/// Any other request that is owed an answer.
#[derive(Debug)]
pub(super) struct Cold {
    api: &'static Api,
    version: i16,
    /// `None`: of a version of ApiVersions that is not served.
    request: Option<kafka::Cold>,
    /// What a client that joins a group calls itself.
    client: String,
    /// What the request holds of memory besides its struct.
    pub(super) held_bytes: usize,
}
