//! What crosses the bridge about queues.

use crate::base::queue::{Answered, Counts, Nack, QueueSettings, Span};
use crate::base::{CoreId, PartitionNo, TimestampMs, TopicId};
use crate::engine::{EngineError, TopicRef};
use std::time::Duration;

/// A queue to be made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewQueue {
    /// 1-249 of `[A-Za-z0-9._-]`.
    pub name: String,
    /// Whose records it hands out.
    pub topic: TopicRef,
    /// Where its dead records go, if anywhere.
    pub dead_letters: Option<TopicRef>,
    /// It begins with what comes after it was made.
    pub from_end: bool,
    /// What else it is set to; whether there are dead letters follows from above.
    pub settings: QueueSettings,
}

/// A queue as the catalog has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct QueueInfo {
    /// Its identity.
    pub id: TopicId,
    /// Its name.
    pub name: String,
    /// The topic whose records it hands out.
    pub topic_id: TopicId,
    /// The name of that.
    pub topic: String,
    /// The topic where its dead records go, if anywhere.
    pub dead_letters: Option<String>,
    /// What it is set to.
    pub settings: QueueSettings,
    /// The core that hands out the records of each partition, by partition number.
    pub owners: Vec<CoreId>,
}

/// Where the records of one partition of a queue are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct QueueState {
    /// Which.
    pub partition: PartitionNo,
    /// The core that owns it.
    pub core: CoreId,
    /// The records, or why it does not serve.
    pub counts: Result<Counts, EngineError>,
}

/// What a consumer says about records that it was handed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QueueAnswer {
    /// Of which partition.
    pub partition: PartitionNo,
    /// Which records, under which number.
    pub span: Span,
    /// What.
    pub kind: AnswerKind,
}

/// See [`QueueAnswer`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AnswerKind {
    /// It is done with them.
    Ack,
    /// It does not want them.
    Nack(Nack),
    /// It needs them for longer.
    Extend {
        /// From now on, in milliseconds.
        lease_ms: u32,
    },
}

/// A consumer answers, and asks for more.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct QueuePoll {
    /// In the order in which they count.
    pub answers: Vec<QueueAnswer>,
    /// How many records it wants now at most; 0: only the answers matter.
    pub credit: u32,
    /// With nothing to deliver, answer when this time has passed.
    pub wait_max: Duration,
    /// At most about this many bytes, but always one batch if there is any.
    pub bytes_max: u32,
}

/// The reply to a [`QueuePoll`].
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct QueuePolled {
    /// What became of each answer.
    pub answered: Vec<Answered>,
    /// What is delivered: at most `QUEUE_POLL_ITEMS_MAX`.
    pub deliveries: Vec<Delivered>,
    /// The record batches of the deliveries, back to back.
    pub batches: Vec<u8>,
}

/// Neighbouring records of one partition that a consumer has now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Delivered {
    /// Of which partition.
    pub partition: PartitionNo,
    /// Which, under which number. A batch may hold others, too: those are not meant. Offsets without a record in the
    /// batches are no records, and done with.
    pub span: Span,
    /// When they were first delivered to anybody.
    pub first: TimestampMs,
    /// Bytes of their batches.
    pub bytes: u32,
}
