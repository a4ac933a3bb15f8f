//! Goal: after warm-up, what the broker's core allocates for a produce, a fetch or a poll of a queue depends on bytes and disk
//! operations, never on how many records there are, and per record of a batch of 1,000 it is next to nothing.
//!
//! Method: a whole core in this process (io_uring, shard, net) on a thread of its own, a client over plain sockets on
//! this one. The allocator counts what the core's thread asks for, and nothing else. Each is measured twice: with 32
//! requests in flight, as under load, and one at a time, where the core goes to sleep and wakes up for each, which
//! costs more allocations than the request itself. A batch of 1,000 records is held against one of the same bytes in
//! one record. With MILLRACE_TRACE=1 it also prints where the allocations of some requests come from.
//!
//! ```text
//!   allocations a request, measured     32 in flight   one at a time
//!   produce  1 record of 100 B                   1.6              28
//!   produce  1 record of 107,000 B               4.1              44
//!   produce  1,000 records of 100 B              6.1              48
//!   fetch    of any of these, in memory    1.1 - 1.4         6 - 7
//! ```
#![allow(clippy::unwrap_used, reason = "a test may panic; the line says where")]

#[path = "kafka/wire.rs"]
mod wire;

use millrace::base::limits::PRODUCER_EXPIRATION_MS_DEFAULT;
use millrace::base::queue::QueueSettings;
use millrace::base::record::BatchBuilder;
use millrace::base::{AckLevel, NodeId, Offset, PartitionKey, PartitionNo, TimestampMs};
use millrace::client::blocking::{Client, ClientOptions};
use millrace::client::session::Session;
use millrace::client::{AnswerKind, NewQueue, Polling, QueueAnswer, QueueAsk, TopicRef};
use millrace::engine::CoreAddress;
use millrace::io::uring::{self, Uring, UringMailbox, UringSource};
use millrace::io::{Io, Listener};
use millrace::log;
use millrace::net::{self, Kafka, Net};
use millrace::protocol::kafka::Cluster;
use millrace::protocol::kafka::api::key;
use millrace::protocol::native::{FetchPartition, FetchRequest, NewTopic, Reply, TopicSettings};
use millrace::shard::{self, Message, Shard};
use std::alloc::{GlobalAlloc, Layout, System};
use std::backtrace::Backtrace;
use std::cell::Cell;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use wire::request;

const WARM_UP: u64 = 384;
const MEASURED: u64 = 960;
/// Requests whose allocations are traced.
const TRACED: u64 = 32;
const IN_FLIGHT: u64 = 32;
/// What a record may cost, of a batch of 1,000, under load.
const PER_RECORD_MAX: f64 = 0.02;
/// What a request may cost that is alone on its core.
const ALONE_MAX: f64 = 128.0;
/// What a request with one small record may cost under load.
const SMALL_MAX: f64 = 10.0;
/// By how much two measurements of the same may differ: cycles and receives fall as they fall, and how often a core
/// sleeps is the machine's choice. 1,000 records that allocated once each would be far beyond.
const NOISE: f64 = 40.0;

/// Counts what one thread allocates.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static TRACING: AtomicBool = AtomicBool::new(false);
static TRACES: Mutex<Vec<String>> = Mutex::new(Vec::new());

thread_local! {
    /// Whether this thread's allocations count.
    static COUNTED: Cell<bool> = const { Cell::new(false) };
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn count() {
    // A thread that ends may allocate after its own state is gone; then it is none that counts.
    if !COUNTED.try_with(Cell::get).unwrap_or(false) {
        return;
    }
    ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    if TRACING.load(Ordering::Relaxed) {
        COUNTED.set(false);
        let trace = Backtrace::force_capture().to_string();
        TRACES.lock().unwrap().push(trace);
        COUNTED.set(true);
    }
}

// SAFETY: every call goes to the system's allocator as it came; counting neither changes arguments nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of `alloc`, which is the system's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of `alloc_zeroed`, which is the system's.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, bytes: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count();
        // SAFETY: the bytes came from this allocator, and so from the system's.
        unsafe { System.realloc(bytes, layout, new_size) }
    }

    unsafe fn dealloc(&self, bytes: *mut u8, layout: Layout) {
        // SAFETY: the bytes came from this allocator, and so from the system's.
        unsafe { System.dealloc(bytes, layout) }
    }
}

/// One core of a broker, until told to stop.
async fn serve(
    io: Uring,
    mailbox: UringMailbox<Message<UringSource>>,
    data: PathBuf,
    ready: Sender<(SocketAddr, SocketAddr)>,
    stop: Arc<AtomicBool>,
) {
    let recovered = log::recover(&io, &data).await.unwrap();
    let log = log::Options::new(data, NodeId(1), recovered.epoch);
    let share = shard::share(recovered, 1).remove(0);
    let listener = io.listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.local_addr();
    let options = shard::Options {
        cores: 1,
        address: CoreAddress {
            core: io.core(),
            host: address.ip().to_string(),
            port: address.port(),
        },
        log,
        producer_expiration: Duration::from_millis(PRODUCER_EXPIRATION_MS_DEFAULT),
    };
    let started = Shard::start(io.clone(), mailbox, options, share).await;
    let (shard, _) = started.unwrap();
    let net = Net::new(io.clone(), shard.clone(), net::Options::new(NodeId(1)));
    net.serve(listener);
    let listener = io.listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let kafka_address = listener.local_addr();
    net.serve_kafka(listener, kafka());
    ready.send((address, kafka_address)).unwrap();
    COUNTED.set(true);
    while !stop.load(Ordering::Relaxed) {
        io.sleep(Duration::from_millis(20)).await;
    }
    COUNTED.set(false);
    net.stop().await;
    shard.stop().await.unwrap();
}

/// The client's end: asks, and waits for the answer.
struct Asker {
    stream: TcpStream,
    session: Session,
    key: PartitionKey,
}

impl Asker {
    fn new(address: SocketAddr, name: &str) -> Self {
        let options = ClientOptions::default();
        let mut client = Client::connect([address.to_string()], options).unwrap();
        let topic = NewTopic {
            name: name.to_owned(),
            partitions: 1,
            settings: TopicSettings {
                ack: AckLevel::Written,
                segment_bytes: 1 << 30,
                segment_ms: 86_400_000,
                ..TopicSettings::default()
            },
        };
        let topic = client.create_topic(&topic).unwrap();
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut asker = Self {
            stream,
            session: Session::new(),
            key: PartitionKey::new(topic.id, PartitionNo(0)),
        };
        asker.send(&[]);
        asker.answer(|reply| assert!(matches!(reply, Reply::Welcome(_))));
        asker
    }

    /// Sends what the session holds, and `body`.
    fn send(&mut self, body: &[u8]) {
        let request = [self.session.outbox.bytes(), body].concat();
        self.session.outbox.clear();
        self.stream.write_all(&request).unwrap();
    }

    /// Waits for the next answer and looks at it.
    fn answer(&mut self, look: impl FnOnce(&Reply<'_>)) {
        loop {
            if let Some((_, reply)) = self.session.reply().unwrap() {
                return look(&reply);
            }
            let bytes = self.stream.read(self.session.inbox.space()).unwrap();
            assert!(bytes > 0, "closed");
            self.session.inbox.filled(bytes);
        }
    }

    fn produce(&mut self, batch: &[u8], count: u64) {
        for _ in 0..count {
            let Session { outbox, ledger, .. } = &mut self.session;
            let entry = [(self.key, batch.len() as u32)].into_iter();
            outbox.produce(ledger, AckLevel::Written, entry).unwrap();
            self.send(batch);
        }
        for _ in 0..count {
            self.answer(|reply| match reply {
                Reply::Produced(produced) => assert!(produced.entries().all(|e| e.is_ok())),
                other => panic!("{other:?}"),
            });
        }
    }

    /// Fetches the batch that holds this offset, and no other; so many times.
    fn fetch(&mut self, from: u64, batch_bytes: usize, count: u64) {
        let request = FetchRequest {
            partitions: vec![FetchPartition {
                key: self.key,
                from: Offset(from),
                bytes_max: 1,
            }],
            bytes_min: 1,
            wait_max: Duration::from_secs(5),
            bytes_max: 1,
        };
        for _ in 0..count {
            let Session { outbox, ledger, .. } = &mut self.session;
            outbox.fetch(ledger, &request).unwrap();
            self.send(&[]);
        }
        for _ in 0..count {
            self.answer(|reply| match reply {
                Reply::Fetched(fetched) => {
                    let entry = fetched.entries().next().unwrap();
                    assert!(entry.error.is_none() && entry.batches.len() == batch_bytes);
                }
                other => panic!("{other:?}"),
            });
        }
    }
}

/// A consumer of a queue on the asker's topic: acks what it got with the poll that asks for more.
struct Poller {
    asker: Asker,
    polling: Polling,
}

impl Poller {
    fn new(address: SocketAddr, mut asker: Asker, name: &str) -> Self {
        let options = ClientOptions::default();
        let mut client = Client::connect([address.to_string()], options).unwrap();
        let queue = NewQueue {
            name: name.to_owned(),
            topic: TopicRef::Id(asker.key.topic),
            dead_letters: None,
            from_end: false,
            settings: QueueSettings::default(),
        };
        client.create_queue(&queue).unwrap();
        let ask = QueueAsk::Join {
            name: name.to_owned(),
            at_most_once: false,
        };
        let Session { outbox, ledger, .. } = &mut asker.session;
        outbox.queue(ledger, &ask).unwrap();
        asker.send(&[]);
        asker.answer(|reply| assert!(matches!(reply, Reply::Queue(_)), "{reply:?}"));
        let mut polling = Polling::default();
        polling.poll.wait_max = Duration::from_secs(5);
        polling.poll.bytes_max = 1 << 20;
        Self { asker, polling }
    }

    fn poll(&mut self, records: u64) {
        self.polling.delivered_max += records;
        let Session { outbox, ledger, .. } = &mut self.asker.session;
        outbox.poll_queue(ledger, &self.polling).unwrap();
        self.asker.send(&[]);
        let polling = &mut self.polling;
        polling.poll.answers.clear();
        self.asker.answer(|reply| {
            let Reply::QueuePolled(polled) = reply else {
                panic!("{reply:?}")
            };
            assert!(polled.answered().all(|one| one.stale == 0));
            let acks = polled.deliveries().map(|(delivered, _)| QueueAnswer {
                partition: delivered.partition,
                span: delivered.span,
                kind: AnswerKind::Ack,
            });
            polling.poll.answers.extend(acks);
            assert!(!polling.poll.answers.is_empty());
        });
    }
}

/// What a poll costs that acks so many records, and gets as many.
fn poll_cost(address: SocketAddr, records: u64) -> f64 {
    let name = format!("queue-{records}");
    let mut asker = Asker::new(address, &name);
    let batch = batch(records, 100);
    for _ in 0..(WARM_UP + MEASURED + TRACED) / IN_FLIGHT {
        asker.produce(&batch, IN_FLIGHT);
    }
    let mut poller = Poller::new(address, asker, &name);
    measure(&format!("poll {name}"), 1, |_, _| poller.poll(records))
}

/// Allocations of the core for each of the requests that `ask` makes: given the number of the first, and how many to
/// have in flight.
fn measure(what: &str, in_flight: u64, mut ask: impl FnMut(u64, u64)) -> f64 {
    let mut run = |from: u64, count: u64| {
        let firsts = (from..from + count).step_by(in_flight as usize);
        firsts.for_each(|first| ask(first, in_flight));
    };
    run(0, WARM_UP);
    let before = ALLOCATIONS.load(Ordering::SeqCst);
    run(WARM_UP, MEASURED);
    let allocations = ALLOCATIONS.load(Ordering::SeqCst) - before;
    let each = allocations as f64 / MEASURED as f64;
    println!("{what}, {in_flight} in flight: {each:.3} allocations a request");
    if std::env::var_os("MILLRACE_TRACE").is_some() {
        TRACING.store(true, Ordering::SeqCst);
        run(WARM_UP + MEASURED, TRACED);
        TRACING.store(false, Ordering::SeqCst);
        print_traces();
    }
    each
}

/// The places of our own and of glommio that the traced allocations were made for, most frequent first.
fn print_traces() {
    let traces = std::mem::take(&mut *TRACES.lock().unwrap());
    let mut places = std::collections::BTreeMap::new();
    for trace in &traces {
        let names = trace.lines().filter_map(|line| {
            let name = line.trim().split_once(": ")?.1;
            (name.contains("millrace::") || name.contains("glommio::")).then_some(name)
        });
        let place: Vec<&str> = names.take(4).collect();
        *places.entry(place.join(" < ")).or_insert(0u32) += 1;
    }
    let mut places: Vec<_> = places.into_iter().collect();
    places.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    for (place, count) in places {
        println!(
            "  {:.2} a request: {place}",
            f64::from(count) / TRACED as f64
        );
    }
}

fn batch(records: u64, value_bytes: usize) -> Vec<u8> {
    let value = vec![7; value_bytes];
    let mut builder = BatchBuilder::new();
    for _ in 0..records {
        builder.push(TimestampMs(5), None, Some(&value), &[]);
    }
    builder.finish().to_vec()
}

/// What requests with a batch of a shape cost, in allocations each.
struct Cost {
    produce: f64,
    produce_alone: f64,
    fetch: f64,
    fetch_alone: f64,
    fetch_file: f64,
}

fn cost(address: SocketAddr, records: u64, value_bytes: usize) -> Cost {
    let shape = format!("{records}-of-{value_bytes}");
    let mut asker = Asker::new(address, &shape);
    let batch = batch(records, value_bytes);
    let produce = format!("produce {shape}");
    let fetch = format!("fetch {shape}");
    let mut produced =
        |in_flight| measure(&produce, in_flight, |_, count| asker.produce(&batch, count));
    let [produce, produce_alone] = [produced(IN_FLIGHT), produced(1)];
    let mut fetched = |place: &str, first: u64, in_flight| {
        measure(&format!("{fetch} {place}"), in_flight, |number, count| {
            asker.fetch((first + number % 64) * records, batch.len(), count);
        })
    };
    // The last batches are in memory, and are read again and again; of large ones, the first are in files alone.
    let last = 2 * (WARM_UP + MEASURED) - 64;
    let fetch = fetched("at the end", last, IN_FLIGHT);
    let fetch_alone = fetched("at the end", last, 1);
    let fetch_file = fetched("at the beginning", 0, IN_FLIGHT);
    Cost {
        produce,
        produce_alone,
        fetch,
        fetch_alone,
        fetch_file,
    }
}

/// What a core serves Kafka clients with.
fn kafka() -> Kafka {
    Kafka {
        cluster: Cluster::default(),
        auto_create: true,
        partitions: 1,
        settings: TopicSettings {
            ack: AckLevel::Written,
            segment_bytes: 1 << 30,
            segment_ms: 86_400_000,
            ..TopicSettings::default()
        },
        producer_expiration_ms: PRODUCER_EXPIRATION_MS_DEFAULT,
    }
}

/// The same for a Kafka client, with so many requests in flight: a produce, and a fetch from memory.
fn kafka_cost(address: SocketAddr, records: u64, value_bytes: usize) -> (f64, f64) {
    let name = format!("kafka-{records}-of-{value_bytes}");
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    let mut exchange = |requests: &[u8], count: u64| {
        stream.write_all(requests).unwrap();
        for _ in 0..count {
            let mut length = [0; 4];
            stream.read_exact(&mut length).unwrap();
            let mut answer = vec![0; i32::from_be_bytes(length) as usize];
            stream.read_exact(&mut answer).unwrap();
        }
    };
    let mut metadata = 1i32.to_be_bytes().to_vec();
    metadata.extend((name.len() as i16).to_be_bytes());
    metadata.extend(name.as_bytes());
    metadata.push(1);
    exchange(&request(key::METADATA, 4, 0, &metadata), 1);
    let batch = batch(records, value_bytes);
    let produce = request(key::PRODUCE, 7, 1, &wire::produce(&name, 1, &[(0, &batch)]));
    let last = (WARM_UP + MEASURED - 1) * records;
    let fetch = request(
        key::FETCH,
        11,
        2,
        &wire::fetch(11, &name, last as i64, 5_000),
    );
    let mut cost = |what: &str, one: &[u8]| {
        let all = one.repeat(IN_FLIGHT as usize);
        measure(what, IN_FLIGHT, |_, count| exchange(&all, count))
    };
    let produced = cost(&format!("produce {name}"), &produce);
    (produced, cost(&format!("fetch {name}"), &fetch))
}

fn serve_while(data: &Path, act: impl FnOnce(SocketAddr, SocketAddr)) {
    let (ready, at) = channel();
    let stop = Arc::new(AtomicBool::new(false));
    let (data, stopped) = (data.to_path_buf(), Arc::clone(&stop));
    let core = std::thread::spawn(move || {
        uring::run_cores(uring::Options::default(), move |io, mailbox| {
            serve(
                io,
                mailbox,
                data.clone(),
                ready.clone(),
                Arc::clone(&stopped),
            )
        })
    });
    let (address, kafka) = at.recv().unwrap();
    act(address, kafka);
    stop.store(true, Ordering::SeqCst);
    core.join().unwrap().unwrap();
}

#[test]
fn allocations_do_not_grow_with_the_records() {
    let name = format!("allocation-{}", std::process::id());
    let data = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&data).unwrap();
    serve_while(&data, |address, kafka| {
        let small = cost(address, 1, 100);
        let large = cost(address, 1, 107_000);
        let many = cost(address, 1_000, 100);
        for (what, one, thousand, bound) in [
            (
                "produce",
                large.produce,
                many.produce,
                1_000.0 * PER_RECORD_MAX,
            ),
            ("fetch", large.fetch, many.fetch, 1_000.0 * PER_RECORD_MAX),
            (
                "fetch from files",
                large.fetch_file,
                many.fetch_file,
                1_000.0 * PER_RECORD_MAX,
            ),
            (
                "produce alone",
                large.produce_alone,
                many.produce_alone,
                ALONE_MAX,
            ),
            (
                "fetch alone",
                large.fetch_alone,
                many.fetch_alone,
                ALONE_MAX,
            ),
        ] {
            assert!(
                thousand < one + NOISE,
                "{what}: {one} for one record, {thousand} for 1,000"
            );
            assert!(thousand < bound, "{what}: {thousand} for 1,000 records");
        }
        assert!(small.produce < SMALL_MAX, "produce: {}", small.produce);
        assert!(small.fetch < SMALL_MAX, "fetch: {}", small.fetch);
        let (one, thousand) = (poll_cost(address, 1), poll_cost(address, 1_000));
        assert!(
            thousand < one + NOISE && thousand < ALONE_MAX,
            "poll: {one} for one record, {thousand} for 1,000"
        );
        for (records, bound) in [(1, SMALL_MAX), (1_000, 1_000.0 * PER_RECORD_MAX)] {
            let (produce, fetch) = kafka_cost(kafka, records, 100);
            assert!(produce < bound, "Kafka's produce: {produce}");
            assert!(fetch < SMALL_MAX, "Kafka's fetch: {fetch}");
        }
    });
    std::fs::remove_dir_all(&data).unwrap();
}
