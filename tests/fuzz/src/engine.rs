//! An engine that remembers little and answers everything: what the protocol and net make of a request is under test,
//! not what a broker would do with it.

use millrace::base::queue::Span;
use millrace::base::limits::{TOPIC_PARTITIONS_MAX, TOPICS_MAX};
use millrace::base::{
    AckLevel, Body, CoreId, Offset, PartitionKey, PartitionNo, RecordBatch, TimestampMs, TopicId,
};
use millrace::engine::{
    AlterTopic, CoreAddress, CoreStages, DeleteTopic, Engine, EngineError, FetchPartition,
    FetchRequest, FetchedPartition, GroupListing, GroupReply, GroupRequest, NewQueue, NewTopic,
    OffsetQuery, PartitionInfo, Produced, QueueInfo, QueuePoll, QueuePolled, QueueState, TopicInfo,
    TopicRef,
};
use millrace::group::{self, Coordinator, Effect, Moment};
use millrace::io::sim::{SimIo, SimSource};
use millrace::io::{Io, Monotonic};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

/// The length of the file that spans are served from.
pub const SPAN_BYTES: u64 = 64 << 10;
/// The most that one partition of a fetch brings.
const ENTRY_BYTES_MAX: u64 = 16 << 10;

/// See the module. Clones are the same engine.
#[derive(Clone)]
pub struct Forgetful {
    inner: Rc<Inner>,
}

struct Inner {
    io: SimIo,
    source: SimSource,
    topics: RefCell<Vec<TopicInfo>>,
    appended: Cell<u64>,
    coordinator: RefCell<Coordinator>,
    group_replies: RefCell<BTreeMap<group::Ticket, GroupReply>>,
    group_requests: Cell<u128>,
}

/// A produce that settles at a time of its own.
pub struct Ticket {
    result: Result<Produced, EngineError>,
    settled_at: Monotonic,
}

impl Forgetful {
    /// `source` is a file of [`SPAN_BYTES`].
    pub fn new(io: SimIo, source: SimSource) -> Self {
        let inner = Inner {
            io,
            source,
            topics: RefCell::default(),
            appended: Cell::new(0),
            coordinator: RefCell::new(Coordinator::new(group::Options::default())),
            group_replies: RefCell::default(),
            group_requests: Cell::new(0),
        };
        Self {
            inner: Rc::new(inner),
        }
    }

    fn append(&self, to: PartitionKey, mut batches: &[u8]) -> Result<Produced, EngineError> {
        assert!(!batches.is_empty(), "a produce entry has bytes");
        let (base_offset, mut taken) = (Offset(self.inner.appended.get()), 0);
        while !batches.is_empty() {
            let parsed = RecordBatch::parse(batches);
            let batch = parsed.and_then(|batch| batch.check().map(|()| batch));
            let batch = batch.map_err(EngineError::BadBatch)?;
            taken += u64::from(batch.offsets_taken());
            batches = &batches[batch.bytes().len()..];
        }
        if to.partition.0 % 2 == 1 {
            return Err(EngineError::UnknownPartition(to.partition.0));
        }
        self.inner.appended.set(base_offset.0 + taken);
        Ok(Produced {
            base_offset,
            log_start: Offset(0),
            append_time: None,
        })
    }

    /// A step of the coordinator; what it wants to have stored is.
    fn coordinate(&self, step: impl FnOnce(&mut Coordinator, &Moment, &mut Vec<Effect>)) {
        let requests = self.inner.group_requests.get() + 1;
        self.inner.group_requests.set(requests);
        let now = Moment {
            monotonic_ms: self.inner.io.now().0 / 1_000_000,
            wall: TimestampMs(self.inner.io.wall_ms()),
            chance: requests,
        };
        let mut effects = Vec::new();
        let mut coordinator = self.inner.coordinator.borrow_mut();
        step(&mut coordinator, &now, &mut effects);
        while let Some(effect) = effects.pop() {
            match effect {
                Effect::Store { id, .. } => coordinator.stored(id, Ok(()), &mut effects),
                Effect::Reply(ticket, reply) => {
                    let before = self.inner.group_replies.borrow_mut().insert(ticket, reply);
                    assert!(before.is_none(), "answered twice");
                }
            }
        }
    }

    /// Some bytes, as pieces of every kind that the request makes fit.
    fn body(&self, wanted: &FetchPartition) -> Body<Rc<[u8]>, SimSource> {
        let mut body = Body::default();
        let bytes = u64::from(wanted.bytes_max).min(ENTRY_BYTES_MAX);
        if bytes == 0 {
            return body;
        }
        let position = wanted.from.0 % (SPAN_BYTES - ENTRY_BYTES_MAX);
        let memory: Rc<[u8]> = vec![7; bytes as usize].into();
        if wanted.from.0 % 2 == 0 {
            body.push_memory(Rc::clone(&memory), 0, bytes as usize);
        }
        if wanted.from.0 % 3 == 0 {
            body.push_file(self.inner.source.clone(), position, bytes);
        }
        if wanted.from.0 % 5 == 0 {
            body.push_copy(&memory);
        }
        body
    }

    fn topic(&self, asked: &TopicRef) -> Result<TopicInfo, EngineError> {
        let topics = self.inner.topics.borrow();
        let found = topics.iter().find(|topic| match asked {
            TopicRef::Name(name) => topic.name == *name,
            TopicRef::Id(id) => topic.id == *id,
        });
        found
            .cloned()
            .ok_or_else(|| EngineError::UnknownTopic(format!("{asked:?}")))
    }
}

impl Engine for Forgetful {
    type Chunk = Rc<[u8]>;
    type Source = SimSource;
    type Ticket = Ticket;
    type Consumer = ();

    async fn room(&self) {}

    fn produce(&self, to: PartitionKey, level: AckLevel, batches: &[u8]) -> Ticket {
        let wait = match level {
            AckLevel::None => Duration::ZERO,
            AckLevel::Written => Duration::from_micros(50),
            AckLevel::Synced => Duration::from_millis(2),
        };
        Ticket {
            result: self.append(to, batches),
            settled_at: self.inner.io.now().plus(wait),
        }
    }

    fn is_settled(&self, ticket: &Ticket) -> bool {
        self.inner.io.now() >= ticket.settled_at
    }

    async fn produced(&self, ticket: Ticket) -> Result<Produced, EngineError> {
        let io = &self.inner.io;
        io.sleep(ticket.settled_at.since(io.now())).await;
        ticket.result
    }

    async fn fetch(
        &self,
        request: &FetchRequest,
        reply: &mut Vec<FetchedPartition<Rc<[u8]>, SimSource>>,
    ) {
        if u64::from(request.bytes_min) > SPAN_BYTES {
            self.inner.io.sleep(request.wait_max).await;
        }
        reply.clear();
        let mut left = u64::from(request.bytes_max);
        for wanted in &request.partitions {
            let mut body = Body::default();
            if left > 0 {
                body = self.body(wanted);
            }
            left = left.saturating_sub(body.bytes);
            reply.push(FetchedPartition {
                key: wanted.key,
                error: None,
                high_watermark: wanted.from,
                log_start: Offset(0),
                body,
            });
        }
    }

    async fn list_offset(
        &self,
        of: PartitionKey,
        query: OffsetQuery,
    ) -> Result<(Offset, Option<TimestampMs>), EngineError> {
        match query {
            OffsetQuery::Youngest => Ok((Offset(0), Some(TimestampMs(0)))),
            OffsetQuery::AtTime(time) => Ok((Offset(time.0 as u64), Some(time))),
            _ if of.partition.0 > 1_000 => {
                Err(EngineError::Damaged("that is what it is".to_owned()))
            }
            _ => Ok((Offset(self.inner.appended.get()), None)),
        }
    }

    async fn trim(&self, of: PartitionKey, before: Option<Offset>) -> Result<Offset, EngineError> {
        match of.partition.0 {
            0..=1_000 => Ok(before.unwrap_or(Offset(self.inner.appended.get()))),
            other => Err(EngineError::UnknownPartition(other)),
        }
    }

    fn cores(&self) -> Vec<CoreAddress> {
        vec![CoreAddress {
            core: CoreId(0),
            host: "test".to_owned(),
            port: 1,
        }]
    }

    fn topic_id(&self, name: &str) -> Option<TopicId> {
        let topics = self.inner.topics.borrow();
        let found = topics.iter().find(|topic| topic.name == name);
        found.map(|topic| topic.id)
    }

    fn new_producer_id(&self) -> i64 {
        7
    }

    fn topics(&self, which: Option<&[TopicRef]>) -> Vec<Result<TopicInfo, EngineError>> {
        match which {
            Some(refs) => refs.iter().map(|asked| self.topic(asked)).collect(),
            None => self.inner.topics.borrow().iter().cloned().map(Ok).collect(),
        }
    }

    fn check_topic(&self, topic: &NewTopic) -> Result<(), EngineError> {
        match topic.partitions {
            0 => Err(EngineError::InvalidPartitions("none".to_owned())),
            _ => Ok(()),
        }
    }

    async fn create_topic(&self, topic: NewTopic) -> Result<TopicInfo, EngineError> {
        let mut topics = self.inner.topics.borrow_mut();
        if topic.partitions > TOPIC_PARTITIONS_MAX || topics.len() == TOPICS_MAX {
            return Err(EngineError::InvalidRequest("too much".to_owned()));
        }
        let id = TopicId(topics.len() as u128 + 1);
        topics.push(TopicInfo {
            id,
            name: topic.name,
            partitions: topic.partitions,
            settings: topic.settings,
            owners: vec![CoreId(0); topic.partitions as usize],
        });
        Ok(topics.last().expect("pushed").clone())
    }

    async fn alter_topic(&self, asked: AlterTopic) -> Result<TopicInfo, EngineError> {
        let mut altered = self.topic(&asked.topic)?;
        altered.settings = asked.change.applied_to(altered.settings);
        let mut topics = self.inner.topics.borrow_mut();
        let found = topics.iter_mut().find(|topic| topic.id == altered.id);
        *found.expect("it was found above") = altered.clone();
        Ok(altered)
    }

    async fn delete_topic(&self, topic: DeleteTopic) -> Result<(), EngineError> {
        let found = self.topic(&topic.topic)?;
        let mut topics = self.inner.topics.borrow_mut();
        topics.retain(|topic| topic.id != found.id);
        Ok(())
    }

    async fn describe_topic(
        &self,
        topic: TopicRef,
    ) -> Result<(TopicInfo, Vec<PartitionInfo>), EngineError> {
        let topic = self.topic(&topic)?;
        let state = PartitionInfo {
            core: CoreId(0),
            log_start: Offset(0),
            high_watermark: Offset(1),
            next_offset: Offset(2),
            bytes: 3,
            segments: 4,
        };
        let states = vec![state; topic.partitions as usize];
        Ok((topic, states))
    }

    fn group_core(&self, group: &str) -> CoreId {
        CoreId(group.len() as u16 % 2)
    }

    async fn group(&self, request: GroupRequest) -> Result<GroupReply, EngineError> {
        let ticket = group::Ticket(self.inner.group_requests.get() + 1);
        self.coordinate(|coordinator, now, out| coordinator.handle(now, ticket, request, out));
        loop {
            if let Some(reply) = self.inner.group_replies.borrow_mut().remove(&ticket) {
                return Ok(reply);
            }
            self.inner.io.sleep(Duration::from_millis(100)).await;
            self.coordinate(|coordinator, now, out| coordinator.tick(now, out));
        }
    }

    async fn groups(&self) -> Result<Vec<GroupListing>, EngineError> {
        Ok(self.inner.coordinator.borrow().list())
    }

    async fn create_queue(&self, _: NewQueue) -> Result<QueueInfo, EngineError> {
        Err(no_queues())
    }

    async fn delete_queue(&self, _: String) -> Result<(), EngineError> {
        Err(no_queues())
    }

    fn queues(&self, _: Option<&str>) -> Result<Vec<QueueInfo>, EngineError> {
        Ok(Vec::new())
    }

    async fn describe_queue(
        &self,
        _: String,
    ) -> Result<(QueueInfo, Vec<QueueState>), EngineError> {
        Err(no_queues())
    }

    async fn purge_queue(&self, _: String) -> Result<u64, EngineError> {
        Err(no_queues())
    }

    async fn held_by_queue(
        &self,
        _: String,
        _: PartitionNo,
    ) -> Result<Vec<(Span, bool)>, EngineError> {
        Err(no_queues())
    }

    fn join_queue(&self, _: &str, _: bool) -> Result<(), EngineError> {
        Err(no_queues())
    }

    async fn poll_queue(
        &self,
        (): &(),
        _: &QueuePoll,
        _: impl Future<Output = ()>,
        _: &mut QueuePolled,
    ) -> Result<(), EngineError> {
        Err(no_queues())
    }

    fn stages(&self) -> CoreStages {
        CoreStages {
            core: CoreId(0),
            uptime: Duration::from_secs(1),
            stages: Vec::new(),
            counters: Vec::new(),
        }
    }
}

fn no_queues() -> EngineError {
    EngineError::UnknownQueue("there are none here".to_owned())
}
