//! ingest: the real binary on CPU 0, a load over loopback on CPU 1: produce, then catch up by fetch.
//!
//! Sketch, per 1000 records of 100 B (about 107 KB) on the server: one receive of the bytes (kernel copy, 107 KB at
//! 6.5 GB/s: 16 us), CRC-32C (107 KB at 50 GB/s: 2 us), a hop over 1000 records (2 us), one copy into the append chunk
//! (10 us), CRC-32 of the direct blocks (5 us), its share of one direct write of up to 1 MiB and one 4 KiB entry (20 us),
//! one small send. About 55 us, so some 18 M records/s on one core. A fetch from memory is one copy into the socket
//! (16 us per 107 KB), from the file one sendfile (9 us).
//!
//! `cargo bench --bench ingest -- [--smoke] [--dir DIR] [--seconds N] [--only NAME]`. On a machine with one CPU, both
//! run on it and the figures say little.

use hdrhistogram::Histogram;
use millrace::base::record::BatchBuilder;
use millrace::base::{
    AckLevel, Offset, PartitionKey, PartitionNo, RecordBatch, TimestampMs, TopicId,
};
use millrace::client::driver::{Receiver, Sender, connect};
use millrace::engine::{FetchPartition, FetchRequest, NewTopic, TopicSettings};
use millrace::io::uring::{self, Uring};
use millrace::io::{Io, Monotonic, Signal};
use millrace::protocol::native::Reply;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::time::Duration;

/// One row of the report.
#[derive(Clone, Copy)]
struct Workload {
    name: &'static str,
    level: AckLevel,
    record_bytes: usize,
    records: u64,
    connections: usize,
    in_flight: usize,
    partitions: u32,
}

const WORKLOADS: &[Workload] = &[
    row(
        "written 100 B x 1000, 1 x 1",
        AckLevel::Written,
        100,
        1_000,
        1,
        1,
    ),
    row(
        "written 100 B x 1000, 8 x 4",
        AckLevel::Written,
        100,
        1_000,
        8,
        4,
    ),
    row(
        "synced  100 B x 1000, 8 x 4",
        AckLevel::Synced,
        100,
        1_000,
        8,
        4,
    ),
    row(
        "written 1000 B x 1000, 4 x 4",
        AckLevel::Written,
        1_000,
        1_000,
        4,
        4,
    ),
    row(
        "written 100 B x 1, 1 x 64",
        AckLevel::Written,
        100,
        1,
        1,
        64,
    ),
    row("synced  100 B x 1, 1 x 1", AckLevel::Synced, 100, 1, 1, 1),
];

const fn row(
    name: &'static str,
    level: AckLevel,
    record_bytes: usize,
    records: u64,
    connections: usize,
    in_flight: usize,
) -> Workload {
    Workload {
        name,
        level,
        record_bytes,
        records,
        connections,
        in_flight,
        partitions: connections as u32,
    }
}

/// What one run gave.
#[derive(Default)]
struct Result {
    produced: u64,
    seconds: f64,
    p50_us: u64,
    p99_us: u64,
    max_us: u64,
    fetched: u64,
    fetch_seconds: f64,
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let value = |name: &str| {
        args.iter()
            .position(|a| a == name)
            .and_then(|at| args.get(at + 1))
    };
    let smoke = args.iter().any(|arg| arg == "--smoke");
    let seconds: f64 = value("--seconds").map_or(if smoke { 0.2 } else { 3.0 }, |n| {
        n.parse().expect("a number")
    });
    let root =
        value("--dir").map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
    let only = value("--only").cloned();
    for workload in WORKLOADS {
        if only
            .as_ref()
            .is_some_and(|only| !workload.name.contains(only.as_str()))
        {
            continue;
        }
        for run in 0..if smoke { 1 } else { 3 } {
            let broker = Broker::start(&root);
            let before = broker.cpu_seconds();
            let (address, pid) = (broker.address, broker.child.id());
            let options = uring::Options {
                cpus: vec![load_cpu()],
                ..Default::default()
            };
            let load = *workload;
            let ran = uring::run_cores::<(), _, _, _>(options, move |io, _| {
                load_core(io, address, load, seconds, pid)
            });
            let (result, produce_cpu) = ran.expect("the load runs").remove(0);
            let cpu = broker.cpu_seconds();
            let (produced, fetched) = (result.produced as f64, result.fetched as f64);
            if smoke {
                assert!(
                    result.produced > 0 && result.fetched > 0,
                    "{}: nothing happened",
                    workload.name
                );
                println!("{}: ran", workload.name);
                continue;
            }
            println!(
                "{}, run {run}: produce {:.2} M records/s, {:.0} MB/s, p50 {:.3} p99 {:.3} max {:.1} ms, server {:.1} us CPU per 1000 | fetch {:.2} M records/s, server {:.1} us CPU per 1000 | peak RSS {} MiB",
                workload.name,
                produced / result.seconds / 1e6,
                produced * workload.record_bytes as f64 / result.seconds / 1e6,
                result.p50_us as f64 / 1e3,
                result.p99_us as f64 / 1e3,
                result.max_us as f64 / 1e3,
                (produce_cpu - before) * 1e6 / (produced / 1e3),
                fetched / result.fetch_seconds / 1e6,
                (cpu - produce_cpu) * 1e6 / (fetched / 1e3),
                broker.peak_rss_mib(),
            );
        }
    }
}

fn load_cpu() -> Option<usize> {
    std::thread::available_parallelism()
        .is_ok_and(|cpus| cpus.get() > 1)
        .then_some(1)
}

async fn load_core(
    io: Uring,
    address: SocketAddr,
    load: Workload,
    seconds: f64,
    pid: u32,
) -> (Result, f64) {
    let topic = create(&io, address, load).await;
    let mut result = produce(&io, address, load, topic, seconds).await;
    let produce_cpu = process_cpu_seconds(pid);
    fetch(&io, address, load, topic, &mut result).await;
    (result, produce_cpu)
}

async fn create(io: &Uring, address: SocketAddr, load: Workload) -> TopicId {
    let (mut sender, mut receiver, _) = connect(io, address, 1).await.expect("connects");
    let settings = TopicSettings {
        ack: AckLevel::Written,
        segment_bytes: 256 << 20,
        segment_ms: 1 << 40,
    };
    let topic = NewTopic {
        name: "load".into(),
        partitions: load.partitions,
        settings,
    };
    sender
        .ask(&[], |outbox, ledger| outbox.create_topic(ledger, &topic))
        .await
        .expect("asks");
    match receiver.next().await.expect("answers") {
        (_, Reply::TopicCreated(info)) => info.id,
        (_, other) => panic!("not created: {other:?}"),
    }
}

/// What the connections of a produce run share.
struct Run {
    io: Uring,
    load: Workload,
    end: Monotonic,
    batch: Vec<u8>,
    times: RefCell<Histogram<u64>>,
    produced: Cell<u64>,
    left: Cell<usize>,
    done: Signal,
}

/// When the requests in flight on one connection were sent, oldest first; and that no more will be.
#[derive(Default)]
struct InFlight {
    sent: RefCell<VecDeque<Monotonic>>,
    ended: Cell<bool>,
}

async fn produce(
    io: &Uring,
    address: SocketAddr,
    load: Workload,
    topic: TopicId,
    seconds: f64,
) -> Result {
    let begin = io.now();
    let run = Rc::new(Run {
        io: io.clone(),
        load,
        end: begin.plus(Duration::from_secs_f64(seconds)),
        batch: batch(&load),
        times: RefCell::new(Histogram::new(3).expect("3 digits")),
        produced: Cell::new(0),
        left: Cell::new(load.connections),
        done: Signal::new(),
    });
    for number in 0..load.connections {
        let key = PartitionKey::new(topic, PartitionNo(number as u32));
        let connected = connect(io, address, load.in_flight).await;
        let (sender, receiver, _) = connected.expect("connects");
        let in_flight = Rc::new(InFlight::default());
        io.spawn(send(Rc::clone(&run), sender, key, Rc::clone(&in_flight)));
        io.spawn(receive(Rc::clone(&run), receiver, in_flight));
    }
    while run.left.get() > 0 {
        run.done.wait().await;
    }
    let times = run.times.borrow();
    Result {
        produced: run.produced.get(),
        seconds: io.now().since(begin).as_secs_f64(),
        p50_us: times.value_at_quantile(0.5),
        p99_us: times.value_at_quantile(0.99),
        max_us: times.max(),
        ..Result::default()
    }
}

async fn send(run: Rc<Run>, mut sender: Sender<Uring>, key: PartitionKey, in_flight: Rc<InFlight>) {
    while run.io.now() < run.end {
        sender.room().await.expect("open");
        in_flight.sent.borrow_mut().push_back(run.io.now());
        let sent = sender.produce(run.load.level, key, &run.batch).await;
        sent.expect("sends");
    }
    in_flight.ended.set(true);
    while sender.in_flight() > 0 {
        run.io.sleep(Duration::from_millis(1)).await;
    }
    sender.stop();
}

async fn receive(run: Rc<Run>, mut receiver: Receiver<Uring>, in_flight: Rc<InFlight>) {
    while let Ok((_, reply)) = receiver.next().await {
        let Reply::Produced(reply) = reply else {
            panic!("not produced: {reply:?}")
        };
        assert!(reply.entries().all(|entry| entry.is_ok()), "{reply:?}");
        let sent = in_flight.sent.borrow_mut().pop_front();
        let micros = run.io.now().since(sent.expect("sent before")).as_micros();
        run.times.borrow_mut().record(micros as u64).expect("fits");
        run.produced.set(run.produced.get() + run.load.records);
        if in_flight.ended.get() && in_flight.sent.borrow().is_empty() {
            break;
        }
    }
    run.left.set(run.left.get() - 1);
    run.done.notify();
}

/// Reads everything back over one connection per partition, 1 MiB at a time, checking that batches follow each other.
async fn fetch(
    io: &Uring,
    address: SocketAddr,
    load: Workload,
    topic: TopicId,
    result: &mut Result,
) {
    let left = Rc::new(Cell::new(load.partitions));
    let (done, fetched) = (Signal::new(), Rc::new(Cell::new(0u64)));
    let begin = io.now();
    for number in 0..load.partitions {
        let key = PartitionKey::new(topic, PartitionNo(number));
        let (mut sender, mut receiver, _) = connect(io, address, 1).await.expect("connects");
        let (left, done, fetched) = (Rc::clone(&left), done.clone(), Rc::clone(&fetched));
        io.spawn(async move {
            let mut next = Offset(0);
            loop {
                let partition = FetchPartition {
                    key,
                    from: next,
                    bytes_max: 1 << 20,
                };
                let request = FetchRequest {
                    partitions: vec![partition],
                    bytes_max: 1 << 20,
                    ..Default::default()
                };
                sender
                    .ask(&[], |outbox, ledger| outbox.fetch(ledger, &request))
                    .await
                    .expect("asks");
                let (_, reply) = receiver.next().await.expect("answers");
                let Reply::Fetched(reply) = reply else {
                    panic!("not fetched: {reply:?}")
                };
                let entry = reply.entries().next().expect("one partition");
                assert_eq!(entry.error, None, "readable");
                let body = entry.batches;
                if body.is_empty() {
                    break;
                }
                next = follow(next, body, &fetched);
            }
            left.set(left.get() - 1);
            done.notify();
        });
    }
    while left.get() > 0 {
        done.wait().await;
    }
    result.fetched = fetched.get();
    result.fetch_seconds = io.now().since(begin).as_secs_f64();
    assert_eq!(result.fetched, result.produced, "all of it comes back");
}

fn follow(mut next: Offset, mut body: &[u8], fetched: &Cell<u64>) -> Offset {
    while !body.is_empty() {
        let batch = RecordBatch::parse(body).expect("whole batches");
        body = &body[batch.bytes().len()..];
        if batch.base_offset() >= next {
            assert_eq!(batch.base_offset(), next, "no gap");
            fetched.set(fetched.get() + u64::from(batch.count()));
            next = batch.next_offset();
        }
    }
    next
}

fn batch(load: &Workload) -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    for record in 0..load.records {
        builder.push(
            TimestampMs(record as i64),
            None,
            Some(&vec![b'x'; load.record_bytes]),
            &[],
        );
    }
    builder.finish().to_vec()
}

/// A broker of its own, in a directory of its own; both go when it is dropped.
struct Broker {
    child: Child,
    data: PathBuf,
    address: SocketAddr,
}

impl Broker {
    fn start(root: &Path) -> Self {
        let data = root.join(format!("millrace-ingest-{}", std::process::id()));
        let mut child = Command::new(env!("CARGO_BIN_EXE_millrace"))
            .args(["serve", "--cores", "0", "--listen", "127.0.0.1:0", "--data"])
            .arg(&data)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let address = lines
            .by_ref()
            .map_while(|line| line.ok())
            .find_map(|line| line.split_whitespace().next()?.parse::<SocketAddr>().ok());
        let address = address.expect("the broker says where it listens");
        std::thread::spawn(move || lines.count());
        Self {
            child,
            data,
            address,
        }
    }

    fn cpu_seconds(&self) -> f64 {
        process_cpu_seconds(self.child.id())
    }

    fn peak_rss_mib(&self) -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("alive");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .expect("has one");
        line.trim()
            .trim_end_matches(" kB")
            .parse::<u64>()
            .expect("a number")
            / 1024
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.child.kill().expect("ours");
        self.child.wait().expect("ours");
        let _ = std::fs::remove_dir_all(&self.data);
    }
}

/// User and system time of a process, kernel workers of its rings included.
fn process_cpu_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("alive");
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .expect("has a name")
        .split_whitespace()
        .collect();
    let ticks = |at: usize| fields[at].parse::<f64>().expect("ticks");
    (ticks(11) + ticks(12)) / 100.0
}
