//! Clients that mean well and measure: one writes a record every so often, one reads along. A latency counts from when
//! the record was due, so that what could not be sent in time is not forgotten.

use crate::wire;
use millrace::base::record::records;
use millrace::base::{Offset, PartitionKey, RecordBatch};
use millrace::protocol::native::{
    Caps, FetchPartition, FetchRequest, Reply, RequestWriter, Split, TopicInfo, split,
};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often a record is due.
const PERIOD: Duration = Duration::from_millis(2);
/// How long an answer may take at all.
const PATIENCE: Duration = Duration::from_secs(30);

/// Latencies in microseconds since somebody looked.
#[derive(Default)]
pub(crate) struct Seen {
    /// From due to acknowledged.
    pub(crate) acked: Vec<u64>,
    /// From due to read.
    pub(crate) read: Vec<u64>,
}

/// The clients, until dropped.
pub(crate) struct Load {
    seen: Arc<Mutex<Seen>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    pub(crate) fn start(address: SocketAddr, topic: &TopicInfo) -> Self {
        let (seen, stop) = (
            Arc::<Mutex<Seen>>::default(),
            Arc::new(AtomicBool::new(false)),
        );
        let (key, began) = (wire::key(topic), Instant::now());
        let spawn = |run: fn(SocketAddr, PartitionKey, Instant, &Mutex<Seen>, &AtomicBool)| {
            let (seen, stop) = (Arc::clone(&seen), Arc::clone(&stop));
            std::thread::spawn(move || run(address, key, began, &seen, &stop))
        };
        let threads = vec![spawn(write), spawn(read)];
        Self {
            seen,
            stop,
            threads,
        }
    }

    /// What was measured since the last call.
    pub(crate) fn take(&self) -> Seen {
        let failed = self.threads.iter().any(JoinHandle::is_finished);
        assert!(!failed, "a client that means well has failed");
        std::mem::take(&mut *self.seen.lock().unwrap())
    }

    pub(crate) fn end(self) {
        self.stop.store(true, Ordering::SeqCst);
        for thread in self.threads {
            thread.join().unwrap();
        }
    }
}

/// The percentile of some latencies.
pub(crate) fn percentile(latencies: &mut [u64], percent: usize) -> u64 {
    assert!(!latencies.is_empty(), "nothing was measured");
    latencies.sort_unstable();
    latencies[(latencies.len() * percent / 100).min(latencies.len() - 1)]
}

/// One connection that asks and waits.
struct Asking {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Asking {
    fn new(address: SocketAddr) -> Self {
        let stream = wire::connect(address);
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut asking = Self {
            stream,
            received: Vec::new(),
        };
        let mut hello = Vec::new();
        RequestWriter::new()
            .hello(0, "load", "1", &mut hello)
            .unwrap();
        asking.ask(&hello, |reply| assert!(matches!(reply, Reply::Welcome(_))));
        asking
    }

    fn ask<T>(&mut self, request: &[u8], take: impl FnOnce(Reply<'_>) -> T) -> T {
        self.stream.write_all(request).unwrap();
        let mut buffer = [0; 64 << 10];
        loop {
            if let Split::Frame(frame) = split(&self.received, Caps::REPLY).unwrap() {
                let (total, reply) = (frame.total, Reply::decode(frame.header, frame.body));
                let taken = take(reply.unwrap());
                self.received.drain(..total);
                return taken;
            }
            let count = self.stream.read(&mut buffer).unwrap();
            assert!(count > 0, "the broker has closed a good connection");
            self.received.extend_from_slice(&buffer[..count]);
        }
    }
}

fn micros_since(began: Instant, due: u64) -> u64 {
    (began.elapsed().as_micros() as u64).saturating_sub(due)
}

fn write(
    address: SocketAddr,
    key: PartitionKey,
    began: Instant,
    seen: &Mutex<Seen>,
    stop: &AtomicBool,
) {
    let mut asking = Asking::new(address);
    let mut due = began.elapsed();
    while !stop.load(Ordering::SeqCst) {
        due += PERIOD;
        std::thread::sleep(due.saturating_sub(began.elapsed()));
        let due = due.as_micros() as u64;
        let request = wire::produce(key, &wire::batch(&due.to_le_bytes(), 1));
        asking.ask(&request, |reply| {
            let Reply::Produced(produced) = reply else {
                panic!("{reply:?}")
            };
            assert!(produced.entries().all(|entry| entry.is_ok()));
        });
        seen.lock().unwrap().acked.push(micros_since(began, due));
    }
}

fn read(
    address: SocketAddr,
    key: PartitionKey,
    began: Instant,
    seen: &Mutex<Seen>,
    stop: &AtomicBool,
) {
    let mut asking = Asking::new(address);
    let mut next = Offset(0);
    while !stop.load(Ordering::SeqCst) {
        let mut request = Vec::new();
        let wanted = FetchRequest {
            partitions: vec![FetchPartition {
                key,
                from: next,
                bytes_max: 1 << 20,
            }],
            bytes_min: 1,
            wait_max: Duration::from_millis(200),
            bytes_max: 1 << 20,
        };
        RequestWriter::new()
            .fetch(1, &wanted, &mut request)
            .unwrap();
        asking.ask(&request, |reply| {
            let Reply::Fetched(fetched) = reply else {
                panic!("{reply:?}")
            };
            let mut rest = fetched.entries().next().unwrap().batches;
            while !rest.is_empty() {
                let batch = RecordBatch::parse(rest).unwrap();
                batch.check().unwrap();
                rest = &rest[batch.bytes().len()..];
                if batch.next_offset() <= next {
                    continue;
                }
                assert_eq!(batch.base_offset(), next, "no gap");
                next = batch.next_offset();
                for record in records(&batch) {
                    let due = record.unwrap().value.unwrap().try_into().unwrap();
                    let latency = micros_since(began, u64::from_le_bytes(due));
                    seen.lock().unwrap().read.push(latency);
                }
            }
        });
    }
}
