//! A broker of one table in memory, for the client's tests: the protocol's server side, and answers as the real one
//! gives them, but for waiting: a fetch is answered at once.

use crate::base::batch::stamp;
use crate::base::clients::{ClientCounts, ClientWire, CoreClients, NamedBy};
use crate::base::stages::{Counter, Stage, Stages, encode};
use crate::base::{
    AckLevel, Body, CoreId, NodeId, Offset, PartitionKey, PartitionNo, RecordBatch, TimestampMs,
    TopicId,
};
use crate::protocol::native::{
    CoreAddress, CoreStages, EngineError, Fetch, FetchRequest, FetchedPartition, Greeting,
    ListOffsets, MetadataQuery, NewTopic, OffsetQuery, PartitionInfo, Produce, Produced,
    ReplyWriter, Request, Split, TopicInfo, TopicRef, TopicSettings, split,
};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// What the tests' topics are made with.
pub(super) fn settings() -> TopicSettings {
    TopicSettings {
        ack: AckLevel::Written,
        segment_bytes: 1 << 20,
        segment_ms: 60_000,
        ..TopicSettings::default()
    }
}

/// Where the fake broker's time goes.
pub(super) fn stages() -> CoreStages {
    let mut stages = Stages::of(&[Stage::Sync]);
    stages.record(Stage::Sync, 1_000_000);
    let encoded = stages.rows().map(|(stage, row)| (stage, encode(row)));
    CoreStages {
        core: CoreId(0),
        uptime: Duration::from_secs(1),
        stages: encoded.collect(),
        counters: vec![(Counter::Cycles, 7)],
    }
}

/// Who asks the fake broker for what, behind the first `first`: more clients than one reply holds.
pub(super) fn clients(first: u32) -> CoreClients {
    let client = |number: u32| ClientCounts {
        wire: ClientWire::Kafka,
        named_by: NamedBy::Software,
        name: format!("client {number}"),
        version: "1".to_owned(),
        open: number,
        connections: 7,
        requests: Vec::new(),
        errors: Vec::new(),
    };
    CoreClients {
        core: CoreId(0),
        clients: (first..60).map(client).collect(),
        more: false,
    }
}

/// The broker: one value serves all connections of a test.
pub(super) struct FakeBroker {
    writer: ReplyWriter,
    greeting: Greeting,
    topics: Vec<TopicInfo>,
    logs: BTreeMap<PartitionKey, Vec<Vec<u8>>>,
    pub(super) cores: Vec<CoreAddress>,
    /// What the next produce entries are refused with, oldest first.
    pub(super) refusals: Vec<EngineError>,
    /// Produce requests seen.
    pub(super) produces: usize,
    /// The produce request, counted from 1, that is carried out and not answered: the connection is closed instead.
    pub(super) hang_up_at: Option<usize>,
    hung_up: bool,
}

impl FakeBroker {
    pub(super) fn new(cores: u16) -> Self {
        let address = |core| CoreAddress {
            core: CoreId(core),
            host: "127.0.0.1".to_owned(),
            port: 1 + core,
        };
        Self {
            writer: ReplyWriter::new(),
            greeting: Greeting::new(),
            topics: Vec::new(),
            logs: BTreeMap::new(),
            cores: (0..cores).map(address).collect(),
            refusals: Vec::new(),
            produces: 0,
            hang_up_at: None,
            hung_up: false,
        }
    }

    /// Makes a topic.
    pub(super) fn topic(&mut self, name: &str, partitions: u32) -> Topic {
        let made = self.create(&NewTopic {
            name: name.to_owned(),
            partitions,
            settings: settings(),
        });
        Topic(made.expect("a new name").id)
    }

    /// The offset after a partition's last record.
    pub(super) fn end(&self, key: PartitionKey) -> Offset {
        let last = self.logs.get(&key).and_then(|log| log.last());
        last.map_or(Offset(0), |bytes| {
            RecordBatch::parse(bytes).expect("as stored").next_offset()
        })
    }

    /// Puts a batch as it is behind a partition's log.
    pub(super) fn plant(&mut self, key: PartitionKey, bytes: Vec<u8>) {
        self.logs.entry(key).or_default().push(bytes);
    }

    /// Answers all whole frames of `bytes`; how many bytes they were.
    pub(super) fn answer(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> usize {
        let mut taken = 0;
        loop {
            match split(&bytes[taken..], self.greeting.caps()).expect("our client's frames") {
                Split::NeedMore(_) => return taken,
                Split::Frame(frame) => {
                    taken += frame.total;
                    let request = Request::decode(frame.header, frame.body).expect("our client's");
                    self.request(frame.correlation, &request, out);
                }
            }
        }
    }

    fn request(&mut self, id: u32, request: &Request<'_>, out: &mut Vec<u8>) {
        match self.greeting.admit(request) {
            Err(refusal) => return self.writer.refused(id, refusal.code, &refusal.message, out),
            Ok(Some(version)) => {
                return self.writer.welcome(id, version, NodeId(9), CoreId(0), out);
            }
            Ok(None) => {}
        }
        match request {
            Request::Hello(_) => unreachable!("admitted above"),
            Request::Metadata(query) => self.metadata(id, query, out),
            Request::CreateTopic(new) => {
                let made = self.create(new);
                self.writer.topic_created(id, &made, out);
            }
            Request::AlterTopic(alter) => {
                let found = self.find(&alter.topic);
                let altered = found.map(|mut info| {
                    info.settings = alter.change.applied_to(info.settings);
                    info
                });
                self.writer.topic_altered(id, &altered, out);
            }
            Request::Trim { before, .. } => {
                let trimmed = Ok(before.unwrap_or(Offset(0)));
                self.writer.partition_trimmed(id, &trimmed, out);
            }
            Request::DeleteTopic(delete) => {
                let found = self.find(&delete.topic);
                let done = found.map(|topic| self.topics.retain(|t| t.id != topic.id));
                self.writer.topic_deleted(id, &done, out);
            }
            Request::DescribeTopic { topic, first } => {
                let described = self.find(topic).map(|info| {
                    let parts = (0..info.partitions)
                        .map(|p| self.describe(&info, p))
                        .collect();
                    (info, parts)
                });
                self.writer.topic_described(id, &described, first.0, out);
            }
            Request::Produce(produce) => self.produce(id, produce, out),
            Request::Fetch(fetch) => self.fetch(id, fetch, out),
            Request::ListOffsets(list) => self.list(id, list, out),
            Request::Stages => self.writer.stages(id, &stages(), out),
            Request::Clients { first } => self.writer.clients(id, &clients(*first), out),
            Request::Group(_) | Request::Queue(_) | Request::PollQueue(_) => {
                let refusal = EngineError::InvalidRequest("none here".to_owned());
                self.writer.topic_deleted(id, &Err(refusal), out);
            }
        }
    }

    fn find(&self, topic: &TopicRef) -> Result<TopicInfo, EngineError> {
        let found = self.topics.iter().find(|info| match topic {
            TopicRef::Name(name) => info.name == *name,
            TopicRef::Id(id) => info.id == *id,
        });
        found
            .cloned()
            .ok_or_else(|| EngineError::UnknownTopic(format!("{topic:?}")))
    }

    fn create(&mut self, new: &NewTopic) -> Result<TopicInfo, EngineError> {
        if self.topics.iter().any(|info| info.name == new.name) {
            return Err(EngineError::TopicExists(new.name.clone()));
        }
        let id = TopicId(100 + self.topics.len() as u128);
        let cores = self.cores.len() as u16;
        let info = TopicInfo {
            id,
            name: new.name.clone(),
            partitions: new.partitions,
            settings: new.settings,
            owners: (0..new.partitions)
                .map(|p| PartitionKey::new(id, PartitionNo(p)).core(cores))
                .collect(),
        };
        self.topics.push(info.clone());
        self.topics.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(info)
    }

    fn metadata(&mut self, id: u32, query: &MetadataQuery, out: &mut Vec<u8>) {
        let topics: Vec<_> = match query {
            MetadataQuery::All { after } => {
                let behind = |info: &&TopicInfo| Some(&info.name) > after.as_ref();
                self.topics.iter().filter(behind).cloned().map(Ok).collect()
            }
            MetadataQuery::Topics(refs) => refs.iter().map(|topic| self.find(topic)).collect(),
        };
        self.writer.metadata(id, &self.cores, &topics, out);
    }

    fn describe(&self, info: &TopicInfo, partition: u32) -> PartitionInfo {
        let key = PartitionKey::new(info.id, PartitionNo(partition));
        let log = self.logs.get(&key);
        PartitionInfo {
            core: info.owners[partition as usize],
            log_start: Offset(0),
            high_watermark: self.end(key),
            next_offset: self.end(key),
            bytes: log.map_or(0, |log| log.iter().map(|batch| batch.len() as u64).sum()),
            segments: 1,
        }
    }

    fn produce(&mut self, id: u32, produce: &Produce<'_>, out: &mut Vec<u8>) {
        self.produces += 1;
        let results: Vec<_> = produce
            .entries()
            .map(|entry| {
                if !self.refusals.is_empty() {
                    return Err(self.refusals.remove(0));
                }
                self.find(&TopicRef::Id(entry.key.topic))?;
                let batch = RecordBatch::parse(entry.batches).map_err(EngineError::BadBatch)?;
                batch.check().map_err(EngineError::BadBatch)?;
                assert_eq!(
                    batch.bytes().len(),
                    entry.batches.len(),
                    "one batch an entry"
                );
                let base_offset = self.end(entry.key);
                let mut bytes = entry.batches.to_vec();
                stamp(&mut bytes, base_offset, 0);
                self.plant(entry.key, bytes);
                Ok(Produced {
                    base_offset,
                    log_start: Offset(0),
                    append_time: None,
                })
            })
            .collect();
        if self.hang_up_at == Some(self.produces) {
            self.hung_up = true;
            return;
        }
        self.writer.produced(id, &results, out);
    }

    fn fetch(&mut self, id: u32, fetch: &Fetch<'_>, out: &mut Vec<u8>) {
        let mut request = FetchRequest::default();
        fetch.fill(&mut request);
        let mut body = Vec::new();
        let mut answers = Vec::new();
        for wanted in &request.partitions {
            let mut answer: FetchedPartition<Vec<u8>, ()> = FetchedPartition {
                key: wanted.key,
                error: self.find(&TopicRef::Id(wanted.key.topic)).err(),
                high_watermark: self.end(wanted.key),
                log_start: Offset(0),
                body: Body::default(),
            };
            let log = self.logs.get(&wanted.key).into_iter().flatten();
            let behind = |bytes: &&Vec<u8>| {
                RecordBatch::parse(bytes).expect("as stored").next_offset() > wanted.from
            };
            for bytes in log.filter(behind) {
                if !body.is_empty() && body.len() + bytes.len() > request.bytes_max as usize {
                    break;
                }
                answer.body.push_copy(bytes);
                body.extend_from_slice(bytes);
            }
            answers.push(answer);
        }
        let announced = self.writer.fetched(id, &answers, out);
        assert_eq!(announced, body.len());
        out.extend_from_slice(&body);
    }

    fn list(&mut self, id: u32, list: &ListOffsets<'_>, out: &mut Vec<u8>) {
        let results: Vec<_> = list
            .entries()
            .map(|entry| {
                self.find(&TopicRef::Id(entry.key.topic))?;
                Ok(match entry.query {
                    OffsetQuery::Earliest => (Offset(0), None),
                    OffsetQuery::Latest => (self.end(entry.key), None),
                    OffsetQuery::AtTime(time) => self.at_time(entry.key, time),
                    OffsetQuery::Youngest => self.at_time(entry.key, TimestampMs(i64::MAX)),
                })
            })
            .collect();
        self.writer.offsets_listed(id, &results, out);
    }

    fn at_time(&self, key: PartitionKey, time: TimestampMs) -> (Offset, Option<TimestampMs>) {
        let batches = self.logs.get(&key).into_iter().flatten();
        let mut parsed = batches.map(|bytes| RecordBatch::parse(bytes).expect("as stored"));
        match parsed.find(|batch| batch.max_timestamp() >= time) {
            Some(batch) => (batch.base_offset(), Some(batch.base_timestamp())),
            None => (self.end(key), None),
        }
    }
}

/// A topic of the fake broker.
#[derive(Clone, Copy)]
pub(super) struct Topic(pub(super) TopicId);

impl Topic {
    pub(super) fn key(self, partition: u32) -> PartitionKey {
        PartitionKey::new(self.0, PartitionNo(partition))
    }
}

/// The fake broker behind sockets: a port per core, a thread per connection. Ends with the value.
pub(super) struct Server {
    broker: Arc<Mutex<FakeBroker>>,
    sockets: Arc<Mutex<Vec<TcpStream>>>,
    addresses: Vec<SocketAddr>,
    stopping: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// Serves a new fake broker.
pub(super) fn serve(cores: u16) -> Server {
    let mut server = Server {
        broker: Arc::new(Mutex::new(FakeBroker::new(cores))),
        sockets: Arc::default(),
        addresses: Vec::new(),
        stopping: Arc::default(),
        threads: Vec::new(),
    };
    for core in 0..usize::from(cores) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("loopback");
        let address = listener.local_addr().expect("bound");
        server.with(|broker| broker.cores[core].port = address.port());
        server.addresses.push(address);
        let (broker, sockets) = (Arc::clone(&server.broker), Arc::clone(&server.sockets));
        let stopping = Arc::clone(&server.stopping);
        let accept = move || {
            let mut threads = Vec::new();
            for socket in listener.incoming() {
                if stopping.load(Ordering::SeqCst) {
                    break;
                }
                let socket = socket.expect("loopback");
                let kept = socket.try_clone().expect("file descriptors");
                sockets.lock().expect("no panic").push(kept);
                let broker = Arc::clone(&broker);
                threads.push(std::thread::spawn(move || converse(&broker, socket)));
            }
            for thread in threads {
                let _ = thread.join();
            }
        };
        server.threads.push(std::thread::spawn(accept));
    }
    server
}

impl Server {
    /// Where core 0 listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// Looks into the broker, or changes it.
    pub(super) fn with<T>(&self, look: impl FnOnce(&mut FakeBroker) -> T) -> T {
        look(&mut self.broker.lock().expect("no test thread panics inside"))
    }

    /// Closes every connection there is; new ones are taken.
    pub(super) fn hang_up(&self) {
        for socket in self.sockets.lock().expect("no panic").drain(..) {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::SeqCst);
        for address in &self.addresses {
            let _ = TcpStream::connect(address);
        }
        self.hang_up();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn converse(broker: &Mutex<FakeBroker>, mut socket: TcpStream) {
    let (mut greeting, mut bytes, mut out) = (Greeting::new(), Vec::new(), Vec::new());
    let mut piece = vec![0; 64 << 10];
    loop {
        match socket.read(&mut piece) {
            Ok(0) | Err(_) => return,
            Ok(count) => bytes.extend_from_slice(&piece[..count]),
        }
        let hung_up = {
            let mut broker = broker.lock().expect("no test thread panics inside");
            broker.greeting = greeting;
            let taken = broker.answer(&bytes, &mut out);
            greeting = broker.greeting;
            bytes.drain(..taken);
            std::mem::take(&mut broker.hung_up)
        };
        let sent = socket.write_all(&out);
        out.clear();
        if hung_up || sent.is_err() {
            let _ = socket.shutdown(Shutdown::Both);
            return;
        }
    }
}
