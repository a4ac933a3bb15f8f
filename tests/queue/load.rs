//! A load on a queue: producers, consumers that fail at random, consumers that are processes, and deaths; then the account.
//!
//! ```text
//!   round: broker ── producer, consumers (threads), a consumer (process, killed) ── SIGKILL of the broker
//!   last:  broker ── consumers until the queue is empty ── the account
//! ```
//! A message's number under which it is delivered only grows. So what was acked, and known to be, under one number must not
//! be delivered under a higher one.

use crate::process::{Broker, Directory, cpus};
use millrace::base::prng::Prng;
use millrace::base::queue::{QueueSettings, Retry};
use millrace::client::backoff::BackoffOptions;
use millrace::client::blocking::{
    Client, ClientOptions, ConsumerOptions, Outcome, ProducerOptions, QueueOptions, Receipt,
};
use millrace::client::{ClientError, NewQueue, NewTopic, Target, TopicRef, TopicSettings};
use std::collections::{BTreeMap, BTreeSet};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const PARTITIONS: u32 = 4;
const DELIVERIES_MAX: u32 = 4;
const QUEUE: &str = "jobs";
/// The longest that a queue may take to get empty once nobody dies any more, for each million of messages, and at least.
const DRAIN: Duration = Duration::from_secs(600);

pub(crate) struct Load {
    pub(crate) messages: u64,
    pub(crate) consumers: u64,
    /// Of the broker; in each round a consumer that is a process is killed, too.
    pub(crate) kills: u64,
    pub(crate) seed: u64,
}

/// What was done.
#[derive(Default, Debug)]
pub(crate) struct Done {
    /// Stored, whether their producer knows it or not.
    pub(crate) messages: u64,
    pub(crate) deliveries: u64,
    pub(crate) acked: u64,
    pub(crate) failed: u64,
    pub(crate) dead: u64,
    pub(crate) killed: u64,
}

/// What all clients have seen, by the id of a message.
#[derive(Default)]
struct Seen {
    /// Stored for certain, and perhaps.
    produced: BTreeSet<u64>,
    unknown: BTreeSet<u64>,
    /// The numbers under which it was delivered.
    delivered: BTreeMap<u64, BTreeSet<u32>>,
    /// The number under which it was acked, known for certain.
    acked: BTreeMap<u64, u32>,
    problems: Vec<String>,
    failed: u64,
}

type Shared = Arc<Mutex<Seen>>;

impl Seen {
    fn deliver(&mut self, id: u64, deliveries: u32) {
        if !self.delivered.entry(id).or_default().insert(deliveries) {
            let line = format!("{id} was delivered twice as number {deliveries}");
            self.problems.push(line);
        }
        if deliveries > DELIVERIES_MAX {
            self.problems.push(format!("{id}: delivery {deliveries}"));
        }
    }
}

/// A client that finds out at once that a broker is gone.
fn client(addresses: &[String]) -> Result<Client, ClientError> {
    let options = ClientOptions {
        backoff: BackoffOptions {
            tries: 0,
            ..BackoffOptions::default()
        },
        ..ClientOptions::default()
    };
    Client::connect(addresses.to_vec(), options)
}

pub(crate) fn run(load: &Load) -> Done {
    let directory = Directory::new(&format!("queue-load-{}", load.messages));
    let seen = Shared::default();
    let mut prng = Prng::new(load.seed);
    let rounds = load.kills + 1;
    let mut sent = 0;
    let mut done = Done::default();
    for round in 0..rounds {
        let broker = Broker::start(directory.path(), &cpus(2));
        if round == 0 {
            make(&broker);
        }
        let until = sent + (load.messages - sent) / (rounds - round);
        let is_last = round + 1 == rounds;
        let (next, killed) = round_of(load, &broker, sent..until, is_last, &seen, &mut prng);
        sent = next;
        done.killed += killed;
        if is_last {
            account(&broker, &seen.lock().unwrap(), &mut done);
            let (status, said) = broker.stop();
            assert!(status.success(), "{said:?}");
        } else {
            broker.kill();
            done.killed += 1;
        }
    }
    done
}

fn make(broker: &Broker) {
    let mut client = client(&broker.addresses()).unwrap();
    for (name, partitions) in [("work", PARTITIONS), ("dead", 2)] {
        let topic = NewTopic {
            name: name.to_owned(),
            partitions,
            settings: TopicSettings::default(),
        };
        client.create_topic(&topic).unwrap();
    }
    let topic = |name: &str| TopicRef::Name(name.to_owned());
    let queue = NewQueue {
        name: QUEUE.to_owned(),
        topic: topic("work"),
        dead_letters: Some(topic("dead")),
        from_end: false,
        settings: QueueSettings {
            lease_ms: 5_000,
            deliveries_max: Some(DELIVERIES_MAX),
            retry: Retry::Schedule(vec![0, 20]),
            has_dead_letters: true,
            ..QueueSettings::default()
        },
    };
    client.create_queue(&queue).unwrap();
}

/// Everybody works until the broker is to die, or, in the last round, until the queue is empty. Returns the first id that was
/// not sent, and how many consumers were killed.
fn round_of(
    load: &Load,
    broker: &Broker,
    ids: std::ops::Range<u64>,
    is_last: bool,
    seen: &Shared,
    prng: &mut Prng,
) -> (u64, u64) {
    let over = Arc::new(AtomicBool::new(false));
    let addresses = broker.addresses();
    let mut threads = Vec::new();
    let (before, share) = (
        seen.lock().unwrap().produced.len() as u64,
        ids.end - ids.start,
    );
    let (at, shared) = (addresses.clone(), Arc::clone(seen));
    let producer = std::thread::spawn(move || produce(&at, ids, &shared));
    for _ in 0..load.consumers {
        let (at, shared, over) = (addresses.clone(), Arc::clone(seen), Arc::clone(&over));
        let seed = prng.next_u64();
        threads.push(std::thread::spawn(move || {
            consume(&at, seed, &shared, &over)
        }));
    }
    let victim = Process::start(&addresses);
    if is_last {
        let next = producer.join().unwrap();
        let killed = victim.kill(seen);
        drain(&addresses, load.messages, seen);
        over.store(true, Ordering::SeqCst);
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
        return (next, killed);
    }
    // In the middle of the round: of its messages some are there by then, and in the hands of somebody.
    let goal = before + share / 4 + prng.below(share / 2 + 1);
    let until = Instant::now() + DRAIN;
    while (seen.lock().unwrap().produced.len() as u64) < goal {
        assert!(Instant::now() < until, "the producer does not get on");
        std::thread::sleep(Duration::from_millis(2));
    }
    let killed = victim.kill(seen);
    std::thread::sleep(Duration::from_millis(prng.below(300)));
    let pid = rustix::process::Pid::from_raw(broker.pid() as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    over.store(true, Ordering::SeqCst);
    let next = producer.join().unwrap();
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
    (next, killed)
}

/// Sends messages, by turns to each partition, until all are sent or one is not acked. Returns the first id that was not sent.
fn produce(addresses: &[String], ids: std::ops::Range<u64>, seen: &Shared) -> u64 {
    let Ok(mut client) = client(addresses) else {
        return ids.start;
    };
    let options = ProducerOptions {
        batch_bytes: 4 << 10,
        linger: Duration::from_millis(1),
        retries: 0,
        ..ProducerOptions::default()
    };
    let (first, shared) = (ids.start, Arc::clone(seen));
    let partitions = u64::from(PARTITIONS);
    let producer = client.producer("work", options, move |delivery| {
        let mut seen = shared.lock().unwrap();
        for no in 0..u64::from(delivery.count) {
            let turn = delivery.first_sequence + no;
            let id = first + turn * partitions + u64::from(delivery.partition);
            match &delivery.outcome {
                Outcome::Acked(_) => seen.produced.insert(id),
                Outcome::Unknown(_) => seen.unknown.insert(id),
                Outcome::Failed(_) => false,
            };
        }
    });
    let Ok(mut producer) = producer else {
        return ids.start;
    };
    let mut next = ids.start;
    for id in ids {
        next = id + 1;
        let target = Target::Partition(((id - first) % partitions) as u32);
        let value = id.to_string();
        if producer
            .send(target, None, Some(b"k"), Some(value.as_bytes()), &[])
            .is_err()
        {
            break;
        }
        let totals = producer.totals();
        if totals.failed + totals.unknown > 0 {
            break;
        }
    }
    producer.flush();
    next
}

/// Consumes until it is over, however often a consumer comes to its end: a disk that others keep busy may answer too late.
fn consume(addresses: &[String], seed: u64, seen: &Shared, over: &AtomicBool) {
    let mut prng = Prng::new(seed);
    while !over.load(Ordering::SeqCst) {
        consume_once(addresses, &mut prng, seen, over);
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Takes, acks most, gives some back, refuses few, and answers for a few when their lease has ended.
fn consume_once(addresses: &[String], prng: &mut Prng, seen: &Shared, over: &AtomicBool) {
    let Ok(mut client) = client(addresses) else {
        return;
    };
    let options = QueueOptions {
        prefetch: 1 + prng.below(200) as u32,
        ..QueueOptions::default()
    };
    let Ok(mut consumer) = client.queue_consumer(QUEUE, options) else {
        return;
    };
    let answerer = consumer.answerer();
    let mut acks: Vec<(u64, Receipt)> = Vec::new();
    let mut late: Vec<(Instant, Receipt)> = Vec::new();
    while !over.load(Ordering::SeqCst) {
        let before = consumer.settled();
        let Ok(delivered) = consumer.poll(Duration::from_millis(50)) else {
            return;
        };
        for one in delivered {
            let one = one.unwrap();
            let id: u64 = std::str::from_utf8(one.record.value.unwrap())
                .unwrap()
                .parse()
                .unwrap();
            let mut seen = seen.lock().unwrap();
            seen.deliver(id, one.receipt.deliveries);
            match prng.below(100) {
                0..3 => answerer.retry(one.receipt),
                3..5 => answerer.retry_after(one.receipt, 10),
                5 => answerer.reject(one.receipt),
                6 => {
                    answerer.extend(one.receipt, 100);
                    late.push((Instant::now(), one.receipt));
                }
                _ => {
                    answerer.ack(one.receipt);
                    acks.push((id, one.receipt));
                    continue;
                }
            }
            seen.failed += 1;
        }
        // What is known to be acked is told apart from what may be: all of them, or nobody knows which.
        late.retain(|(since, receipt)| {
            let is_due = since.elapsed() > Duration::from_millis(150);
            if is_due {
                answerer.ack(*receipt);
            }
            !is_due
        });
        let Ok(after) = consumer.flush() else {
            return;
        };
        let is_clean = (before.stale, before.lost) == (after.stale, after.lost);
        let mut seen = seen.lock().unwrap();
        for (id, receipt) in acks.drain(..).filter(|_| is_clean) {
            seen.acked.insert(id, receipt.deliveries);
        }
    }
}

/// A consumer that is a process of its own and prints what it is delivered.
struct Process {
    child: Child,
}

impl Process {
    fn start(addresses: &[String]) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_millrace"))
            .args(["queue", "consume", QUEUE, "--format", "%v %d\\n"])
            .env("MILLRACE_SERVER", &addresses[0])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { child }
    }

    /// SIGKILL; then what it has printed counts as delivered. What it has acked nobody knows.
    fn kill(mut self, seen: &Shared) -> u64 {
        let mut out = self.child.stdout.take().unwrap();
        let reader = std::thread::spawn(move || {
            let mut text = String::new();
            std::io::Read::read_to_string(&mut out, &mut text).map(|_| text)
        });
        std::thread::sleep(Duration::from_millis(100));
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let text = reader.join().unwrap().unwrap();
        let mut seen = seen.lock().unwrap();
        // The last line may be half a one.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        for line in whole.lines() {
            let (id, deliveries) = line.split_once(' ').unwrap();
            seen.deliver(id.parse().unwrap(), deliveries.parse().unwrap());
        }
        1
    }
}

/// Where the records of the queue are, summed up.
fn counts(client: &mut Client) -> millrace::base::queue::Counts {
    let states = client.describe_queue(QUEUE).unwrap();
    let mut sum = millrace::base::queue::Counts::default();
    for state in states.partitions {
        let one = state.counts.unwrap();
        sum.ready += one.ready;
        sum.leased += one.leased;
        sum.delayed += one.delayed;
        sum.blocked += one.blocked;
        sum.dying += one.dying;
        sum.totals.acked += one.totals.acked;
        sum.totals.dead += one.totals.dead;
        let all = one.ready + one.leased + one.delayed + one.blocked + one.dying;
        let covered = one.visible.0 - one.begin.0;
        assert_eq!(all + one.totals.settled(), covered, "{one:?}");
    }
    sum
}

fn drain(addresses: &[String], messages: u64, seen: &Shared) {
    let mut client = client(addresses).unwrap();
    let until = Instant::now() + DRAIN.max(Duration::from_millis(messages));
    loop {
        let counts = counts(&mut client);
        let left = counts.ready + counts.leased + counts.delayed + counts.blocked + counts.dying;
        if left == 0 {
            return;
        }
        assert!(Instant::now() < until, "{counts:?}");
        assert_eq!(seen.lock().unwrap().problems, Vec::<String>::new());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Every message is acked or dead, once.
fn account(broker: &Broker, seen: &Seen, done: &mut Done) {
    let mut client = client(&broker.addresses()).unwrap();
    let counts = counts(&mut client);
    let stored: BTreeSet<u64> = ids(&mut client, "work").into_iter().collect();
    let letters = ids(&mut client, "dead");
    let dead: BTreeSet<u64> = letters.iter().copied().collect();
    assert_eq!(seen.problems, Vec::<String>::new());
    assert_eq!(dead.len(), letters.len(), "a dead letter twice");
    assert_eq!(counts.totals.dead, dead.len() as u64);
    assert_eq!(
        counts.totals.acked + counts.totals.dead,
        stored.len() as u64
    );
    for id in &seen.produced {
        assert!(stored.contains(id), "{id} was stored and is not there");
    }
    for id in &stored {
        assert!(
            seen.produced.contains(id) || seen.unknown.contains(id),
            "{id} was never sent"
        );
        assert!(
            dead.contains(id) || seen.delivered.contains_key(id),
            "{id} is acked, and nobody had it"
        );
    }
    for (id, acked) in &seen.acked {
        assert!(!dead.contains(id), "{id} was acked and is dead");
        let last = seen.delivered[id].last().unwrap();
        assert!(
            last <= acked,
            "{id} was acked as number {acked}, and came again as {last}"
        );
    }
    let deliveries = seen.delivered.values().map(|numbers| numbers.len() as u64);
    done.deliveries = deliveries.sum();
    done.messages = stored.len() as u64;
    done.acked = counts.totals.acked;
    done.dead = counts.totals.dead;
    done.failed = seen.failed;
    assert!(
        done.dead > 0 && done.failed > 0 && !seen.acked.is_empty(),
        "{done:?}"
    );
}

/// The ids of all messages of a topic, as often as they are there.
fn ids(client: &mut Client, topic: &str) -> Vec<u64> {
    let mut consumer = client
        .consumer(topic, None, ConsumerOptions::default())
        .unwrap();
    let mut all = Vec::new();
    while !consumer.is_caught_up() {
        for record in consumer.poll(Duration::from_secs(5)).unwrap() {
            let value = record.unwrap().value.unwrap().to_vec();
            all.push(String::from_utf8(value).unwrap().parse().unwrap());
        }
    }
    all
}
