//! engine: the bridge between the front tower (net, protocols) and the back tower (shard, log).
//!
//! Does: the trait [`Engine`] and the plain data that crosses it: what any protocol asks, what any shard answers.
//! May import: base.
//! Must not know: who implements it, which wire asked, sockets, files.
//!
//! ```text
//!   protocol ──decodes──> net/connection ──[Engine]──> shard ──> partition, log
//! ```
//! Invariants:
//! - `produce` takes its bytes before it returns (one copy, into the append buffer), so a receive buffer is free again.
//! - Tickets settle in the order that the log acknowledges; a ticket may be awaited at any later time, once.
//! - The caller owns the reply buffers of the hot calls; they are cleared, not reallocated.

mod error;
mod queues;
mod types;

pub use error::EngineError;
pub use queues::{
    AnswerKind, Delivered, NewQueue, QueueAnswer, QueueInfo, QueuePoll, QueuePolled, QueueState,
};
pub use types::{
    AlterTopic, CoreAddress, CoreStages, DeleteTopic, FetchPartition, FetchRequest,
    FetchedPartition, NewTopic, OffsetQuery, PartitionInfo, Produced, TopicInfo, TopicRef,
};

pub use crate::base::{TopicChange, TopicSettings};

pub use crate::base::group::{GroupListing, GroupReply, GroupRequest};

use crate::base::queue::Held;
use crate::base::{AckLevel, CoreId, PartitionKey, PartitionNo, TimestampMs, TopicId};
use std::future::Future;

/// What a shard offers to whoever speaks a protocol. One value per core, cheap to clone.
pub trait Engine: Clone + 'static {
    /// A piece of the hot tail in memory.
    type Chunk: AsRef<[u8]> + Clone + 'static;
    /// A file that spans are sent from.
    type Source: Clone + 'static;
    /// A produce that was handed in and not yet answered.
    type Ticket: 'static;
    /// Somebody who takes records from a queue. Dropped, it is gone, and what it has is given to others.
    type Consumer: 'static;

    /// Waits until this core may take more bytes. To be awaited before a socket is read, never between `produce` calls.
    fn room(&self) -> impl Future<Output = ()>;

    /// Checks and appends the record batches in `batches` (one or more, back to back): all of them, or none if any is
    /// refused. Copies before it returns.
    fn produce(&self, to: PartitionKey, level: AckLevel, batches: &[u8]) -> Self::Ticket;

    /// Whether [`Engine::produced`] would answer at once.
    fn is_settled(&self, ticket: &Self::Ticket) -> bool;

    /// The answer to a produce, once its level is reached.
    fn produced(&self, ticket: Self::Ticket)
    -> impl Future<Output = Result<Produced, EngineError>>;

    /// Reads from one or more partitions; waits up to the request's time until its minimum of bytes is there. Fills
    /// `reply` with one entry per partition asked, in the same order.
    fn fetch(
        &self,
        request: &FetchRequest,
        reply: &mut Vec<FetchedPartition<Self::Chunk, Self::Source>>,
    ) -> impl Future<Output = ()>;

    /// The offset that a query stands for, and the timestamp found where one was searched.
    fn list_offset(
        &self,
        of: PartitionKey,
        query: OffsetQuery,
    ) -> impl Future<Output = Result<(crate::base::Offset, Option<TimestampMs>), EngineError>>;

    /// Gives up the records of a partition below `before`, or all that can be read; durable when it returns. Never goes
    /// back: what lies below the first offset already is nothing to do. Returns the first offset that can be read.
    fn trim(
        &self,
        of: PartitionKey,
        before: Option<crate::base::Offset>,
    ) -> impl Future<Output = Result<crate::base::Offset, EngineError>>;

    /// The cores of this broker and where each listens, by core number.
    fn cores(&self) -> Vec<CoreAddress>;

    /// The id of the topic of that name, if there is one. Cheap: asked for each topic of each Kafka request.
    fn topic_id(&self, name: &str) -> Option<TopicId>;

    /// An id for a producer that numbers its batches, which none ever had on this node. Not negative.
    fn new_producer_id(&self) -> i64;

    /// The topics asked for (all, where `which` is `None`), in the order of their names or as asked.
    fn topics(&self, which: Option<&[TopicRef]>) -> Vec<Result<TopicInfo, EngineError>>;

    /// Whether a topic could be made now, as far as this core knows.
    fn check_topic(&self, topic: &NewTopic) -> Result<(), EngineError>;

    /// Makes a topic; durable when it returns.
    fn create_topic(&self, topic: NewTopic)
    -> impl Future<Output = Result<TopicInfo, EngineError>>;

    /// Deletes a topic and its records; durable when it returns.
    fn delete_topic(&self, topic: DeleteTopic) -> impl Future<Output = Result<(), EngineError>>;

    /// Changes a topic: its settings, or to more partitions; durable when it returns.
    fn alter_topic(
        &self,
        change: AlterTopic,
    ) -> impl Future<Output = Result<TopicInfo, EngineError>>;

    /// State of each partition of a topic, by partition number.
    fn describe_topic(
        &self,
        topic: TopicRef,
    ) -> impl Future<Output = Result<(TopicInfo, Vec<PartitionInfo>), EngineError>>;

    /// The core where a consumer group is coordinated. Any core takes its requests; that one has the shortest way.
    fn group_core(&self, group: &str) -> CoreId;

    /// Asks the coordinator of a consumer group. A join waits for a rebalance and a sync for the leader's assignment:
    /// minutes, bounded by what the members asked for. Dropped early, a request stays in force.
    fn group(&self, request: GroupRequest)
    -> impl Future<Output = Result<GroupReply, EngineError>>;

    /// The consumer groups of all cores, in the order of their names.
    fn groups(&self) -> impl Future<Output = Result<Vec<GroupListing>, EngineError>>;

    /// Makes a queue; durable when it returns.
    fn create_queue(&self, queue: NewQueue)
    -> impl Future<Output = Result<QueueInfo, EngineError>>;

    /// Deletes a queue; durable when it returns. The records of its topic stay.
    fn delete_queue(&self, name: String) -> impl Future<Output = Result<(), EngineError>>;

    /// The queue of that name, or all in the order of their names.
    fn queues(&self, which: Option<&str>) -> Result<Vec<QueueInfo>, EngineError>;

    /// Where the records of a queue are, by partition.
    fn describe_queue(
        &self,
        name: String,
    ) -> impl Future<Output = Result<(QueueInfo, Vec<QueueState>), EngineError>>;

    /// Gives up the records of a queue that no consumer has; durable when it returns. Returns how many that were.
    fn purge_queue(&self, name: String) -> impl Future<Output = Result<u64, EngineError>>;

    /// The records of one partition of a queue that are not done with, as runs of neighbours.
    fn held_by_queue(
        &self,
        name: String,
        partition: PartitionNo,
    ) -> impl Future<Output = Result<Held, EngineError>>;

    /// A consumer of the partitions that a queue has on this core. `at_most_once`: what it gets is acked before it leaves.
    fn join_queue(&self, name: &str, at_most_once: bool) -> Result<Self::Consumer, EngineError>;

    /// Takes answers, then waits up to the poll's time, or until `hurried`, until there is something to deliver. When it
    /// returns, the answers are as durable as the topic's records, and so is that this was delivered. Clears `reply`.
    fn poll_queue(
        &self,
        consumer: &Self::Consumer,
        poll: &QueuePoll,
        hurried: impl Future<Output = ()>,
        reply: &mut QueuePolled,
    ) -> impl Future<Output = Result<(), EngineError>>;

    /// Where the time behind the bridge goes on this core, since its start. Who asks adds what goes before it.
    fn stages(&self) -> CoreStages;
}
