//! Why the engine refuses: a variant per decision that a client can take. Wire codes live in the protocols.

use crate::base::{Offset, TimestampMs};
use thiserror::Error;

/// A refusal. `Display` is one line for a person: the cause and the remedy.
#[derive(Error, Clone, PartialEq, Eq, Debug)]
pub enum EngineError {
    /// No topic of that name or id.
    #[error("unknown topic {0}: create it with `millrace topic create`")]
    UnknownTopic(String),
    /// The topic has fewer partitions.
    #[error("topic has no partition {0}")]
    UnknownPartition(u32),
    /// The name is taken.
    #[error("topic {0} exists already")]
    TopicExists(String),
    /// No queue of that name.
    #[error("unknown queue {0}: create it with `millrace queue create`")]
    UnknownQueue(String),
    /// The name is taken.
    #[error("queue {0} exists already")]
    QueueExists(String),
    /// A queue needs the topic.
    #[error("{0}")]
    TopicInUse(String),
    /// A name, count or setting outside its limits.
    #[error("{0}")]
    InvalidRequest(String),
    /// A count of partitions that the topic or the node cannot have.
    #[error("{0}")]
    InvalidPartitions(String),
    /// A topic cannot be set to that.
    #[error("{0}")]
    InvalidSetting(String),
    /// The batch failed a check.
    #[error("record batch refused: {0}")]
    BadBatch(crate::base::BatchError),
    /// The batch is larger than the topic takes.
    #[error("record batch of {bytes} bytes is above the topic's limit of {bytes_max}")]
    BatchTooLarge {
        /// Of the batch.
        bytes: usize,
        /// The topic's limit.
        bytes_max: u32,
    },
    /// A record's timestamp is too far from the broker's time for the topic.
    #[error(
        "timestamp {timestamp} is too far from the broker's time {now}: the topic's limits say how far it may be"
    )]
    InvalidTimestamp {
        /// Which record of its batch, where that can be told.
        record: Option<u32>,
        /// Its timestamp.
        timestamp: TimestampMs,
        /// The broker's time.
        now: TimestampMs,
    },
    /// The offset is outside what the partition holds.
    #[error("offset {asked} is outside {log_start} to {high_watermark}")]
    OffsetOutOfRange {
        /// What was asked for.
        asked: Offset,
        /// First readable.
        log_start: Offset,
        /// After the last readable.
        high_watermark: Offset,
    },
    /// The disk is full: nothing was appended; reads and deletes work.
    #[error("disk is full: free space or delete topics, produce goes on by itself")]
    DiskFull,
    /// The partition is damaged and was refused at start.
    #[error("partition is damaged: {0}")]
    Damaged(String),
    /// A write or a sync failed. Whether the records are stored is unknown until the broker was restarted.
    #[error("storage failed, the outcome is unknown: {0}")]
    StorageFailed(String),
    /// The broker is stopping; nothing was appended.
    #[error("broker is stopping")]
    Stopping,
    /// A producer that numbers its records left some out, or sends what is older than its last five batches.
    #[error("records of this producer go on at number {expected}, not {found}")]
    OutOfOrder {
        /// The number that would be next.
        expected: i32,
        /// The number that came.
        found: i32,
    },
    /// Another instance of the same producer has taken over.
    #[error("the producer's epoch {found} is over, {current} has begun")]
    Fenced {
        /// The epoch that is.
        current: i16,
        /// The one that came.
        found: i16,
    },
    /// Too much is in flight; nothing was appended; try again.
    #[error("broker is overloaded: {0}")]
    Overloaded(&'static str),
}
