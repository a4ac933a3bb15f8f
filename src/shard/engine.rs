//! The bridge's trait, answered by this core.

use crate::base::queue::Held;
use crate::base::{AckLevel, CoreId, Offset, PartitionKey, PartitionNo, TimestampMs, TopicId};
use crate::engine::{
    AlterTopic, CoreAddress, CoreStages, DeleteTopic, Engine, EngineError, FetchRequest,
    FetchedPartition, GroupListing, GroupReply, GroupRequest, NewQueue, NewTopic, OffsetQuery,
    PartitionInfo, Produced, QueueInfo, QueuePoll, QueuePolled, QueueState, TopicInfo, TopicRef,
};
use crate::io::Io;
use crate::log::Chunk;
use crate::shard::{
    Consumer, Shard, Ticket, admin, fetch, groups, offsets, produce, queues, stats, topics, trim,
};
use std::future::Future;

impl<I: Io> Engine for Shard<I> {
    type Chunk = Chunk<I>;
    type Source = I::Source;
    type Ticket = Ticket<I>;
    type Consumer = Consumer<I>;

    async fn room(&self) {
        self.core.log.room().await;
        self.core.post.room().await;
    }

    fn produce(&self, to: PartitionKey, level: AckLevel, batches: &[u8]) -> Ticket<I> {
        produce::produce(&self.core, to, level, batches)
    }

    fn is_settled(&self, ticket: &Ticket<I>) -> bool {
        ticket.is_settled()
    }

    async fn produced(&self, ticket: Ticket<I>) -> Result<Produced, EngineError> {
        ticket.produced().await
    }

    async fn fetch(
        &self,
        request: &FetchRequest,
        reply: &mut Vec<FetchedPartition<Chunk<I>, I::Source>>,
    ) {
        fetch::fetch(&self.core, request, reply).await;
    }

    async fn list_offset(
        &self,
        of: PartitionKey,
        query: OffsetQuery,
    ) -> Result<(Offset, Option<TimestampMs>), EngineError> {
        offsets::list(&self.core, of, query).await
    }

    async fn trim(&self, of: PartitionKey, before: Option<Offset>) -> Result<Offset, EngineError> {
        trim::trim(&self.core, of, before).await
    }

    fn cores(&self) -> Vec<CoreAddress> {
        self.core.addresses.borrow().clone()
    }

    fn topic_id(&self, name: &str) -> Option<TopicId> {
        let catalog = self.core.catalog.borrow();
        catalog.by_name(name).map(|topic| topic.id)
    }

    fn new_producer_id(&self) -> i64 {
        self.core.producers.draw()
    }

    fn topics(&self, which: Option<&[TopicRef]>) -> Vec<Result<TopicInfo, EngineError>> {
        topics::list(&self.core, which)
    }

    fn check_topic(&self, topic: &NewTopic) -> Result<(), EngineError> {
        admin::check_create(&self.core, topic)
    }

    async fn create_topic(&self, topic: NewTopic) -> Result<TopicInfo, EngineError> {
        admin::request_create(&self.core, topic).await
    }

    async fn alter_topic(&self, change: AlterTopic) -> Result<TopicInfo, EngineError> {
        admin::request_alter(&self.core, change).await
    }

    async fn delete_topic(&self, topic: DeleteTopic) -> Result<(), EngineError> {
        admin::request_delete(&self.core, topic).await
    }

    async fn describe_topic(
        &self,
        topic: TopicRef,
    ) -> Result<(TopicInfo, Vec<PartitionInfo>), EngineError> {
        topics::describe(&self.core, &topic).await
    }

    fn group_core(&self, group: &str) -> CoreId {
        groups::core_of(&self.core, group)
    }

    async fn group(&self, request: GroupRequest) -> Result<GroupReply, EngineError> {
        groups::ask(&self.core, request).await
    }

    async fn groups(&self) -> Result<Vec<GroupListing>, EngineError> {
        groups::list(&self.core).await
    }

    async fn create_queue(&self, queue: NewQueue) -> Result<QueueInfo, EngineError> {
        admin::request_create_queue(&self.core, queue).await
    }

    async fn delete_queue(&self, name: String) -> Result<(), EngineError> {
        admin::request_delete_queue(&self.core, name).await
    }

    fn queues(&self, which: Option<&str>) -> Result<Vec<QueueInfo>, EngineError> {
        queues::infos(&self.core, which)
    }

    async fn describe_queue(
        &self,
        name: String,
    ) -> Result<(QueueInfo, Vec<QueueState>), EngineError> {
        queues::counts(&self.core, &name).await
    }

    async fn purge_queue(&self, name: String) -> Result<u64, EngineError> {
        queues::purge(&self.core, &name).await
    }

    async fn held_by_queue(
        &self,
        name: String,
        partition: PartitionNo,
    ) -> Result<Held, EngineError> {
        queues::held(&self.core, &name, partition).await
    }

    fn join_queue(&self, name: &str, at_most_once: bool) -> Result<Consumer<I>, EngineError> {
        queues::join(&self.core, name, at_most_once)
    }

    async fn poll_queue(
        &self,
        consumer: &Consumer<I>,
        poll: &QueuePoll,
        hurried: impl Future<Output = ()>,
        reply: &mut QueuePolled,
    ) -> Result<(), EngineError> {
        queues::poll(consumer, poll, hurried, reply).await
    }

    fn stages(&self) -> CoreStages {
        stats::core_stages(&self.core)
    }
}
