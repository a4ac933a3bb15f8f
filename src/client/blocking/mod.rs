//! client/blocking: the client for programs with threads, and for the command line: standard sockets, no runtime.
//!
//! ```text
//!   Client ── admin calls, retried where that is safe ──> one connection
//!     ├── producer() ──> Producer ── a connection per core that owns partitions of the topic, pipelined
//!     ├── consumer() ──> Consumer <── a thread and a connection per such core, one fetch ahead
//!     └── queue_consumer() ──> QueueConsumer <── the same, one poll ahead; what it gets, it answers for
//! ```
//! Each value belongs to one thread at a time and owns its connections; make as many as you like. A lost connection is
//! made again with bounded, jittered backoff; what that means for records that were in flight, [`Producer`] tells.

mod admin;
mod connection;
mod consumer;
mod fetcher;
mod groups;
mod producer;
mod queue;
mod queues;
#[cfg(test)]
mod tests;

pub use admin::{Client, ClientOptions};
pub use consumer::{Consumer, ConsumerOptions, Record, StartAt};
pub use groups::GroupState;
pub use producer::{Delivery, Outcome, Producer, ProducerOptions, Totals};
pub use queue::{Answerer, QueueConsumer, QueueOptions, QueueRecord, Receipt, Settled};
pub use queues::{PartitionState, QueueStates};

use crate::client::backoff::{Backoff, BackoffOptions};
use crate::client::{ClientError, Cluster};
use connection::Connection;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// How connections are made, by everything that a client makes.
#[derive(Clone, Debug)]
struct Dialer {
    cluster: Cluster,
    backoff: BackoffOptions,
    timeout: Duration,
}

impl Dialer {
    fn open(&self, address: &str) -> Result<Connection, ClientError> {
        Ok(Connection::open(address, self.timeout)?.0)
    }

    /// A connection to any address that the user named, the first that answers.
    fn open_any(&self) -> Result<Connection, ClientError> {
        let mut last = None;
        for address in self.cluster.bootstrap() {
            match self.open(address) {
                Ok(connection) => return Ok(connection),
                Err(error) => last = Some(error),
            }
        }
        Err(last.expect("a cluster has at least one address"))
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(self.backoff, random())
    }
}

/// Random bits of no cryptographic worth: where to begin, how long to wait.
fn random() -> u64 {
    RandomState::new().hash_one(0u8)
}
