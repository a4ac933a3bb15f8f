//! The client that means well: writes ten records, reads them back, over and over.

use crate::wire;
use millrace::client::Target;
use millrace::client::blocking::{Client, ClientOptions, ConsumerOptions, ProducerOptions};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const RECORDS: u64 = 10;
/// How long three rounds may take while the broker is under attack on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Good {
    rounds: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

fn value(number: u64) -> String {
    format!("good {number:08} {}", "x".repeat((number % 97) as usize))
}

impl Good {
    pub(crate) fn start(addresses: &[String]) -> Self {
        let rounds = Arc::new(AtomicU64::new(0));
        let stop = Arc::new(AtomicBool::new(false));
        let (told, stopped) = (Arc::clone(&rounds), Arc::clone(&stop));
        let addresses = addresses.to_vec();
        let thread = std::thread::spawn(move || run(&addresses, &told, &stopped));
        Self {
            rounds,
            stop,
            thread: Some(thread),
        }
    }

    pub(crate) fn rounds(&self) -> u64 {
        self.rounds.load(Ordering::SeqCst)
    }

    pub(crate) fn wait_for(&self, rounds: u64) {
        let until = Instant::now() + PATIENCE;
        while self.rounds() < rounds {
            let lives = self.thread.as_ref().is_some_and(|t| !t.is_finished());
            assert!(lives, "the good client has failed");
            assert!(Instant::now() < until, "the good client is not served");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    pub(crate) fn end(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.take().unwrap().join().unwrap();
    }
}

fn run(addresses: &[String], rounds: &AtomicU64, stop: &AtomicBool) {
    let mut client = Client::connect(addresses, ClientOptions::default()).unwrap();
    let options = ProducerOptions::default();
    let mut producer = client.producer("good", options, |_| ()).unwrap();
    let options = ConsumerOptions::default();
    let mut consumer = client.consumer("good", None, options).unwrap();
    let (mut sent, mut read) = (0, 0);
    while !stop.load(Ordering::SeqCst) {
        for _ in 0..RECORDS {
            let value = value(sent);
            let target = Target::Partition(0);
            producer
                .send(target, None, None, Some(value.as_bytes()), &[])
                .unwrap();
            sent += 1;
        }
        let totals = producer.flush();
        assert_eq!((totals.acked, totals.failed, totals.unknown), (sent, 0, 0));
        while read < sent {
            for record in consumer.poll(PATIENCE).unwrap() {
                let record = record.unwrap();
                assert_eq!(record.offset.0, read);
                assert_eq!(record.value.unwrap(), value(read).as_bytes());
                read += 1;
            }
        }
        rounds.fetch_add(1, Ordering::SeqCst);
    }
}

/// All that was ever sent is there, in order.
pub(crate) fn check_all(client: &mut Client) {
    let mut next = 0;
    wire::read(client, "good", |found| {
        assert_eq!(found, value(next).as_bytes());
        next += 1;
    });
    assert!(next >= RECORDS);
}
