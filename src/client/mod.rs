//! client: the native client: a sans-IO session and its drivers.
//!
//! Does: the client's end of the native protocol ([`session`]); the driver for programs on cores ([`driver`], any `Io`);
//! the client for programs with threads ([`blocking`]): topics, producers that batch, consumers that follow.
//! May import: base, io, protocol/native.
//! Must not know: the broker's rooms.
//!
//! ```text
//!   blocking/  (threads, std sockets)     driver  (tasks of a core, any Io)
//!        │  batcher, partitioner, cluster, backoff: decide    │
//!        └──────────────> session (sans-IO) <─────────────────┘
//!                              │
//!                       protocol/native
//! ```
//! Invariants:
//! - What is told about a record that was sent is true: acked, certainly not stored, or unknown. An unknown outcome is
//!   not sent again unless the program asked for that.
//! - A record is handed out only from a batch whose checksum was checked.
//! - Memory is bounded: by the batches in flight, and by a few buffers per connection.
//!
//! To write:
//! ```no_run
//! use millrace::client::blocking::{Client, ClientOptions, Outcome, ProducerOptions};
//! use millrace::client::Target;
//!
//! let mut client = Client::connect(["127.0.0.1:7420"], ClientOptions::default())?;
//! let mut producer = client.producer("logs", ProducerOptions::default(), |delivery| {
//!     if !matches!(delivery.outcome, Outcome::Acked(_)) {
//!         eprintln!("{delivery:?}");
//!     }
//! })?;
//! let host = b"web-1";
//! producer.send(Target::Key(host), None, Some(host), Some(b"GET / 200"), &[])?;
//! let totals = producer.flush();
//! println!("{} acked, {} failed, {} unknown", totals.acked, totals.failed, totals.unknown);
//! # Ok::<(), millrace::client::ClientError>(())
//! ```
//! To take from a queue and answer:
//! ```no_run
//! use millrace::client::blocking::{Client, ClientOptions, QueueOptions};
//! use std::time::Duration;
//!
//! let mut client = Client::connect(["127.0.0.1:7420"], ClientOptions::default())?;
//! let mut consumer = client.queue_consumer("jobs", QueueOptions::default())?;
//! let answerer = consumer.answerer();
//! loop {
//!     for delivered in consumer.poll(Duration::from_secs(1))? {
//!         let delivered = delivered?;
//!         match delivered.record.value {
//!             Some(_) => answerer.ack(delivered.receipt),
//!             None => answerer.reject(delivered.receipt),
//!         }
//!     }
//! }
//! # #[allow(unreachable_code)]
//! # Ok::<(), millrace::client::ClientError>(())
//! ```
//! To read:
//! ```no_run
//! use millrace::client::blocking::{Client, ClientOptions, ConsumerOptions, StartAt};
//! use std::time::Duration;
//!
//! let mut client = Client::connect(["127.0.0.1:7420"], ClientOptions::default())?;
//! let options = ConsumerOptions { start: StartAt::Last(10), ..ConsumerOptions::default() };
//! let mut consumer = client.consumer("logs", None, options)?;
//! while !consumer.is_caught_up() {
//!     for record in consumer.poll(Duration::from_secs(1))? {
//!         let record = record?;
//!         println!("{}/{}: {:?}", record.partition, record.offset, record.value);
//!     }
//! }
//! # Ok::<(), millrace::client::ClientError>(())
//! ```

mod answers;
pub mod backoff;
mod batcher;
pub mod blocking;
mod cluster;
pub mod driver;
mod error;
#[cfg(test)]
mod fake;
pub mod in_flight;
mod partitioner;
pub mod session;

pub use cluster::Cluster;
pub use error::ClientError;
pub use partitioner::{Partitioner, Target, murmur2};

// The wire's nouns that a program on the driver holds in its hands.
pub use crate::protocol::native::{
    AnswerKind, CoreAddress, Delivered, FetchPartition, FetchRequest, FetchedReply, NewQueue,
    NewTopic, PolledReply, Polling, ProducedReply, QueueAnswer, QueueAsk, QueueInfo, QueueTold,
    Refusal, Reply, TopicChange, TopicInfo, TopicRef, TopicSettings,
};
