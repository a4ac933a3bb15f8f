//! An engine that remembers little and answers everything: what the protocol and net make of a request is under test,
//! not what a broker would do with it.

use millrace::base::limits::{QUEUE_POLL_ITEMS_MAX, TOPIC_PARTITIONS_MAX, TOPICS_MAX};
use millrace::base::queue::{Answered, Counts, Held, HeldRun, Span, Standing};
use millrace::base::{
    AckLevel, Body, CoreId, Offset, PartitionKey, PartitionNo, RecordBatch, TimestampMs, TopicId,
};
use millrace::engine::{
    AlterTopic, CoreAddress, CoreStages, DeleteTopic, Delivered, Engine, EngineError, FetchPartition,
    FetchRequest, FetchedPartition, GroupListing, GroupReply, GroupRequest, NewQueue, NewTopic,
    OffsetQuery, PartitionInfo, Produced, QueueInfo, QueuePoll, QueuePolled, QueueState, TopicInfo,
    TopicRef,
};
use millrace::group::{self, Coordinator, Effect, Moment};
use millrace::io::sim::{SimIo, SimSource};
use millrace::io::{Io, Monotonic};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
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
    queues: RefCell<BTreeMap<String, QueueInfo>>,
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
            queues: RefCell::default(),
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

impl Forgetful {
    fn queue(&self, name: &str) -> Result<QueueInfo, EngineError> {
        let found = self.inner.queues.borrow().get(name).cloned();
        found.ok_or_else(|| EngineError::UnknownQueue(name.to_owned()))
    }
}

impl Engine for Forgetful {
    type Chunk = Rc<[u8]>;
    type Source = SimSource;
    type Ticket = Ticket;
    type Consumer = Cell<u64>;

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

    async fn create_queue(&self, queue: NewQueue) -> Result<QueueInfo, EngineError> {
        let topic = self.topic(&queue.topic)?;
        let mut queues = self.inner.queues.borrow_mut();
        if queues.contains_key(&queue.name) {
            return Err(EngineError::QueueExists(queue.name));
        }
        let info = QueueInfo {
            id: TopicId(1 << 100 | queues.len() as u128),
            name: queue.name.clone(),
            topic_id: topic.id,
            topic: topic.name,
            dead_letters: queue.dead_letters.map(|topic| format!("{topic:?}")),
            settings: queue.settings,
            owners: topic.owners,
        };
        queues.insert(queue.name, info.clone());
        Ok(info)
    }

    async fn delete_queue(&self, name: String) -> Result<(), EngineError> {
        let removed = self.inner.queues.borrow_mut().remove(&name);
        removed.map(drop).ok_or(EngineError::UnknownQueue(name))
    }

    fn queues(&self, which: Option<&str>) -> Result<Vec<QueueInfo>, EngineError> {
        match which {
            Some(name) => self.queue(name).map(|queue| vec![queue]),
            None => Ok(self.inner.queues.borrow().values().cloned().collect()),
        }
    }

    async fn describe_queue(
        &self,
        name: String,
    ) -> Result<(QueueInfo, Vec<QueueState>), EngineError> {
        let queue = self.queue(&name)?;
        let state = |no: u32| QueueState {
            partition: PartitionNo(no),
            core: CoreId(0),
            counts: match no % 3 {
                0 => Err(EngineError::Damaged("that is what it is".to_owned())),
                _ => Ok(Counts::default()),
            },
        };
        let states = (0..queue.owners.len() as u32).map(state).collect();
        Ok((queue, states))
    }

    async fn purge_queue(&self, name: String) -> Result<u64, EngineError> {
        self.queue(&name).map(|queue| queue.owners.len() as u64)
    }

    async fn held_by_queue(
        &self,
        name: String,
        partition: PartitionNo,
    ) -> Result<Held, EngineError> {
        self.queue(&name)?;
        let run = |no: u64| HeldRun {
            span: Span {
                from: Offset(no),
                until: Offset(no + 1),
                deliveries: no as u32,
            },
            first: (no > 0).then_some(TimestampMs(-1)),
            standing: Standing::Ready,
        };
        Ok(Held {
            runs: (0..u64::from(partition.0 % 2_000)).map(run).collect(),
            more: false,
            backlog: (Offset(9), Offset(9)),
        })
    }

    fn join_queue(&self, name: &str, _: bool) -> Result<Cell<u64>, EngineError> {
        self.queue(name).map(|_| Cell::new(0))
    }

    /// Every third poll finds nothing and waits.
    async fn poll_queue(
        &self,
        polls: &Cell<u64>,
        poll: &QueuePoll,
        hurried: impl Future<Output = ()>,
        reply: &mut QueuePolled,
    ) -> Result<(), EngineError> {
        polls.set(polls.get() + 1);
        reply.answered.clear();
        reply.deliveries.clear();
        reply.batches.clear();
        for answer in &poll.answers {
            let taken = answer.span.until.0 - answer.span.from.0;
            reply.answered.push(Answered { taken, stale: 0 });
        }
        if poll.credit == 0 {
            return Ok(());
        }
        if polls.get() % 3 == 0 {
            let mut time = pin!(self.inner.io.sleep(poll.wait_max));
            let mut hurried = pin!(hurried);
            let either = poll_fn(|context| {
                let is_over = hurried.as_mut().poll(context).is_ready()
                    || time.as_mut().poll(context).is_ready();
                if is_over { Poll::Ready(()) } else { Poll::Pending }
            });
            either.await;
            return Ok(());
        }
        for no in 0..poll.credit.min(QUEUE_POLL_ITEMS_MAX as u32) {
            let from = Offset(u64::from(no));
            reply.batches.push(7);
            reply.deliveries.push(Delivered {
                partition: PartitionNo(0),
                span: Span {
                    from,
                    until: Offset(from.0 + 1),
                    deliveries: 1,
                },
                first: TimestampMs(0),
                bytes: 1,
            });
        }
        Ok(())
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
