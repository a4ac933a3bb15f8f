//! Goal: a broker that is killed with SIGKILL at a random moment under load keeps what it promised: after the restart
//! every acked record is there once, at the offset it was acked with, in its producer's order, with equal bytes; what
//! failed is not there, what is unknown is there at most once; offsets have no gap; and the log goes on from there.
//!
//! Method: the real binary, one data directory that lives through all kills. Four producers at level `written`, each
//! into two partitions of its own and one that all share, small and large records, batches, rates and windows by a
//! seed. Each remembers what was acked, what failed, what is unknown. After a seeded time the broker is killed, now and
//! then again in the middle of its recovery. Each cycle reads what is new; at the end comes a clean stop, and
//! everything is read once more. Segments are as small as they may be, so that kills hit rolls too.
//!
//! The campaign, 2,000 kills in half an hour (or as many as MILLRACE_KILLS says; MILLRACE_SEED repeats a seed, though not
//! the kernel's timing), on one core and on two by turns, with a new directory now and then, as one that lived through
//! all of them would hold tens of gigabytes:
//! ```text
//! cargo test --profile campaign --test kill -- --ignored --nocapture
//! ```
#![allow(clippy::unwrap_used, reason = "a test may panic; the line says where")]

mod campaign;
#[allow(dead_code, reason = "each test asks for what it is about")]
mod process;

use campaign::{Campaign, number};
use millrace::base::prng::Prng;
use millrace::base::{AckLevel, Offset};
use millrace::client::Target;
use millrace::client::blocking::{
    Client, ConsumerOptions, Outcome, Producer, ProducerOptions, StartAt,
};
use millrace::protocol::native::{NewTopic, TopicSettings};
use process::{Broker, Directory, Said, cpus};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::time::{Duration, Instant};

const PRODUCERS: u32 = 4;
const OWN: u32 = 2;
const SHARED: u32 = PRODUCERS * OWN;
const PARTITIONS: u32 = SHARED + 1;
const SEGMENT_BYTES: u64 = 1 << 20;
const SEED: u64 = 0x6d69_6c6c;
/// How many kills one data directory lives through.
const KILLS_OF_A_DIRECTORY: u64 = 50;

/// What a producer knows of one record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    Open,
    Acked(u64),
    Failed,
    Unknown,
}

/// What one producer sent to one partition during one cycle: records `first..`, and what it knows of each.
struct Lane {
    producer: u32,
    partition: u32,
    first: u64,
    fates: Vec<Fate>,
    /// How many of them have been passed while reading: the next one to be read is not among them.
    passed: usize,
}

/// Who wrote a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Written {
    producer: u32,
    sequence: u64,
}

/// What must be on disk, by partition and offset.
struct Model {
    logs: Vec<Vec<Written>>,
    /// By producer and partition: the next sequence.
    nexts: BTreeMap<(u32, u32), u64>,
    counts: Counts,
}

#[derive(Default, Debug)]
struct Counts {
    kills: u64,
    kills_in_recovery: u64,
    acked: u64,
    failed: u64,
    unknown: u64,
    unknown_but_stored: u64,
    recoveries_that_cut: u64,
}

/// The bytes of a record follow from its name, so that every byte can be checked.
fn value(partition: u32, written: Written) -> Vec<u8> {
    let Written { producer, sequence } = written;
    let mut bytes = Vec::new();
    bytes.extend(producer.to_le_bytes());
    bytes.extend(partition.to_le_bytes());
    bytes.extend(sequence.to_le_bytes());
    let name = u64::from(producer) << 56 | u64::from(partition) << 48 | sequence;
    let mut prng = Prng::new(name);
    let length = match prng.below(100) {
        0..80 => 16 + prng.below(300),
        80..98 => 300 + prng.below(4_000),
        _ => 4_000 + prng.below(80_000),
    } as usize;
    while bytes.len() < length {
        bytes.extend(prng.next_u64().to_le_bytes());
    }
    bytes
}

/// Who wrote these bytes; fails if they are not exactly what that record was sent with.
fn check_value(partition: u32, offset: u64, bytes: &[u8]) -> Written {
    assert!(bytes.len() >= 16, "{partition}@{offset}: {bytes:?}");
    let written = Written {
        producer: u32::from_le_bytes(bytes[..4].try_into().unwrap()),
        sequence: u64::from_le_bytes(bytes[8..16].try_into().unwrap()),
    };
    let is_equal = bytes == value(partition, written);
    assert!(
        is_equal,
        "{partition}@{offset}: not the bytes of {written:?}"
    );
    written
}

/// How one producer behaves during one cycle.
struct Load {
    producer: u32,
    options: ProducerOptions,
    bytes_per_second: u64,
    prng: Prng,
}

impl Load {
    fn new(producer: u32, seed: u64) -> Self {
        let mut prng = Prng::new(seed ^ u64::from(producer));
        Self {
            producer,
            options: ProducerOptions {
                level: Some(AckLevel::Written),
                linger: Duration::from_millis(prng.below(3)),
                batch_bytes: [1, 4 << 10, 32 << 10, 256 << 10][prng.below(4) as usize],
                in_flight_max: 1 + prng.below(8) as usize,
                retries: 0,
                retries_unknown: 0,
            },
            bytes_per_second: [1 << 20, 8 << 20, 48 << 20][prng.below(3) as usize],
            prng,
        }
    }

    fn lanes(&self, model: &Model) -> Vec<Lane> {
        let own = self.producer * OWN..(self.producer + 1) * OWN;
        own.chain([SHARED])
            .map(|partition| Lane {
                producer: self.producer,
                partition,
                first: model.next(self.producer, partition),
                fates: Vec::new(),
                passed: 0,
            })
            .collect()
    }

    /// Sends until `killed`, and tells what became of everything.
    fn run(
        mut self,
        broker: Client,
        lanes: Vec<Lane>,
        begin: &Barrier,
        killed: &AtomicBool,
    ) -> Vec<Lane> {
        let lanes = Arc::new(Mutex::new(lanes));
        let mut producer = self.producer(broker, &lanes);
        begin.wait();
        let began = Instant::now();
        let mut bytes = 0;
        while !killed.load(Ordering::SeqCst) {
            let allowed = self.bytes_per_second * began.elapsed().as_millis() as u64 / 1_000;
            if bytes > allowed + (64 << 10) {
                producer.poll();
                std::thread::sleep(Duration::from_micros(300));
                continue;
            }
            let choice = self.prng.below(u64::from(OWN) + 1) as usize;
            let (partition, written) = lanes.lock().unwrap()[choice].open_next();
            let value = value(partition, written);
            bytes += value.len() as u64;
            let target = Target::Partition(partition);
            producer
                .send(target, None, None, Some(&value), &[])
                .unwrap();
        }
        producer.flush();
        drop(producer);
        Arc::into_inner(lanes).unwrap().into_inner().unwrap()
    }

    fn producer(&self, mut client: Client, lanes: &Arc<Mutex<Vec<Lane>>>) -> Producer {
        let told = Arc::clone(lanes);
        client
            .producer("kill", self.options, move |delivery| {
                let mut lanes = told.lock().unwrap();
                let lane = lanes.iter_mut().find(|l| l.partition == delivery.partition);
                let lane = lane.unwrap();
                for index in 0..u64::from(delivery.count) {
                    let fate = &mut lane.fates[(delivery.first_sequence + index) as usize];
                    assert_eq!(*fate, Fate::Open, "told twice");
                    *fate = match &delivery.outcome {
                        Outcome::Acked(base) => Fate::Acked(base.0 + index),
                        Outcome::Failed(_) => Fate::Failed,
                        Outcome::Unknown(_) => Fate::Unknown,
                    };
                }
            })
            .unwrap()
    }
}

impl Lane {
    fn open_next(&mut self) -> (u32, Written) {
        let written = Written {
            producer: self.producer,
            sequence: self.first + self.fates.len() as u64,
        };
        self.fates.push(Fate::Open);
        (self.partition, written)
    }

    /// Holds a record that was read at `offset` against what the producer knows.
    fn pass(&mut self, offset: u64, written: Written, counts: &mut Counts) {
        let name = (self.partition, offset, written);
        let index = written.sequence.checked_sub(self.first);
        let index = index.unwrap_or_else(|| panic!("{name:?}: of an earlier cycle")) as usize;
        assert!(index < self.fates.len(), "{name:?}: never sent");
        assert!(index >= self.passed, "{name:?}: twice, or out of order");
        match self.fates[index] {
            Fate::Acked(acked) => assert_eq!(acked, offset, "{name:?}: acked elsewhere"),
            Fate::Failed => panic!("{name:?}: stored although it failed"),
            Fate::Unknown => counts.unknown_but_stored += 1,
            Fate::Open => panic!("{name:?}: nothing was told about it"),
        }
        self.skip_to(index);
        self.passed = index + 1;
    }

    /// Nothing that was acked may be missing before record `index` of the cycle.
    fn skip_to(&self, index: usize) {
        for (at, fate) in self.fates[self.passed..index].iter().enumerate() {
            let sequence = self.first + (self.passed + at) as u64;
            let (producer, partition) = (self.producer, self.partition);
            assert!(
                !matches!(fate, Fate::Acked(_)),
                "lost: producer {producer} partition {partition} record {sequence}: {fate:?}"
            );
        }
    }
}

impl Model {
    fn new() -> Self {
        let logs = (0..PARTITIONS).map(|_| Vec::new()).collect();
        Self {
            logs,
            nexts: BTreeMap::new(),
            counts: Counts::default(),
        }
    }

    /// The first sequence of the next cycle. None is used twice, whatever became of it: so a record that was cut, and
    /// comes back in a later recovery, is known as what it is.
    fn next(&self, producer: u32, partition: u32) -> u64 {
        self.nexts
            .get(&(producer, partition))
            .map_or(0, |next| *next)
    }

    /// Reads what is new in every partition and holds it against what the producers know.
    fn verify(&mut self, broker: &Broker, mut lanes: Vec<Lane>) {
        let mut client = broker.client();
        for partition in 0..PARTITIONS {
            let log = &mut self.logs[partition as usize];
            let counts = &mut self.counts;
            read(&mut client, partition, log.len() as u64, |offset, bytes| {
                let written = check_value(partition, offset, bytes);
                let mut lanes = lanes.iter_mut();
                let lane =
                    lanes.find(|l| l.partition == partition && l.producer == written.producer);
                let lane =
                    lane.unwrap_or_else(|| panic!("{partition}@{offset}: {written:?} is nobody"));
                lane.pass(offset, written, counts);
                log.push(written);
            });
        }
        for lane in &lanes {
            lane.skip_to(lane.fates.len());
            let next = lane.first + lane.fates.len() as u64;
            self.nexts.insert((lane.producer, lane.partition), next);
            for fate in &lane.fates {
                match fate {
                    Fate::Acked(_) => self.counts.acked += 1,
                    Fate::Failed => self.counts.failed += 1,
                    Fate::Unknown => self.counts.unknown += 1,
                    Fate::Open => panic!("a flush leaves nothing open"),
                }
            }
        }
    }

    /// Reads everything from the first offset on.
    fn verify_all(&self, broker: &Broker) {
        let mut client = broker.client();
        for partition in 0..PARTITIONS {
            let mut expected = self.logs[partition as usize].iter();
            read(&mut client, partition, 0, |offset, bytes| {
                let written = check_value(partition, offset, bytes);
                assert_eq!(Some(&written), expected.next(), "{partition}@{offset}");
            });
            assert_eq!(
                expected.next(),
                None,
                "the end of partition {partition} is gone"
            );
        }
    }
}

/// Reads a partition from `from` to its end, checking that no offset is left out.
fn read(client: &mut Client, partition: u32, from: u64, mut each: impl FnMut(u64, &[u8])) {
    let options = ConsumerOptions {
        start: StartAt::Offset(Offset(from)),
        ..ConsumerOptions::default()
    };
    let mut consumer = client
        .consumer("kill", Some(&[partition]), options)
        .unwrap();
    let mut next = from;
    let until = Instant::now() + Duration::from_secs(60);
    while !consumer.is_caught_up() {
        assert!(
            Instant::now() < until,
            "partition {partition} ends at {next}"
        );
        for record in consumer.poll(Duration::from_secs(5)).unwrap() {
            let record = record.unwrap();
            assert_eq!(record.offset, Offset(next), "partition {partition}");
            each(next, record.value.unwrap());
            next += 1;
        }
    }
}

/// One life of the broker, under load until it is killed.
fn live(broker: Broker, model: &Model, prng: &mut Prng) -> (Said, Vec<Lane>) {
    let begin = Barrier::new(PRODUCERS as usize + 1);
    let killed = AtomicBool::new(false);
    let wait = Duration::from_millis(30 + prng.below(220));
    let seed = prng.next_u64();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..PRODUCERS)
            .map(|producer| {
                let (load, client) = (Load::new(producer, seed), broker.client());
                let (lanes, begin, killed) = (load.lanes(model), &begin, &killed);
                scope.spawn(move || load.run(client, lanes, begin, killed))
            })
            .collect();
        begin.wait();
        std::thread::sleep(wait);
        let said = broker.kill();
        killed.store(true, Ordering::SeqCst);
        let lanes = threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap());
        (said, lanes.collect())
    })
}

/// Starts the broker again, at times only after it was killed in the middle of its recovery.
fn restart(data: &Directory, cores: &str, model: &mut Model, prng: &mut Prng) -> Broker {
    while prng.chance(1, 3) {
        let broker = Broker::spawn(data.path(), cores);
        std::thread::sleep(Duration::from_millis(prng.below(120)));
        check_said(&broker.kill(), model);
        model.counts.kills_in_recovery += 1;
    }
    Broker::start(data.path(), cores)
}

/// A kill is no damage, and recovery must not take it for any.
fn check_said(said: &Said, model: &mut Model) {
    for bad in [
        "REFUSED",
        "refused",
        "made empty",
        "in no topic",
        "panicked",
        "rror",
    ] {
        let is_said = said.out.contains(bad) || said.err.contains(bad);
        assert!(!is_said, "{bad:?} in {said:#?}");
    }
    if said.out.contains("\ncut ") {
        model.counts.recoveries_that_cut += 1;
    }
}

fn kill_often(name: &str, cores: usize, kills: u64, seed: u64) -> Counts {
    let data = Directory::new(name);
    let (cores, mut prng) = (cpus(cores), Prng::new(seed));
    let mut model = Model::new();
    println!("{name}: MILLRACE_SEED={seed}, cores {cores}");
    let mut broker = Broker::start(data.path(), &cores);
    let topic = NewTopic {
        name: "kill".to_owned(),
        partitions: PARTITIONS,
        settings: TopicSettings {
            ack: AckLevel::Written,
            segment_bytes: SEGMENT_BYTES,
            segment_ms: 86_400_000,
            ..TopicSettings::default()
        },
    };
    broker.client().create_topic(&topic).unwrap();
    for _ in 0..kills {
        let (said, lanes) = live(broker, &model, &mut prng);
        check_said(&said, &mut model);
        model.counts.kills += 1;
        broker = restart(&data, &cores, &mut model, &mut prng);
        model.verify(&broker, lanes);
    }
    model.verify_all(&broker);
    let (status, said) = broker.stop();
    check_said(&said, &mut model);
    assert!(
        status.success() && said.out.contains("(no clean stop)"),
        "{said:#?}"
    );
    let broker = Broker::start(data.path(), &cores);
    model.verify_all(&broker);
    let said = broker.kill();
    assert!(said.out.contains("(clean stop)"), "{said:#?}");
    println!("{name}: {:?}", model.counts);
    assert!(model.counts.acked > kills, "there was hardly any load");
    model.counts
}

fn seed() -> u64 {
    number("MILLRACE_SEED", SEED)
}

#[test]
fn what_was_acked_survives_kills_on_one_core() {
    kill_often("kill-one", 1, 8, seed());
}

#[test]
fn what_was_acked_survives_kills_on_two_cores() {
    kill_often("kill-two", 2, 4, seed());
}

#[test]
#[ignore = "half an hour; the door comment has the command"]
fn what_was_acked_survives_thousands_of_kills() {
    let campaign = Campaign::begin("kill", "kills");
    let kills: u64 = number("MILLRACE_KILLS", 2_000);
    let (mut done, mut faults, mut failures) = (0, 0, 0);
    for round in 0.. {
        if done >= kills {
            break;
        }
        let kills = KILLS_OF_A_DIRECTORY
            .min(kills - done)
            .min(kills.div_ceil(2));
        let cores = 1 + (round % 2) as usize;
        let ended = std::panic::catch_unwind(|| {
            kill_often("kill-long", cores, kills, seed().wrapping_add(round))
        });
        match ended {
            Ok(counts) => faults += counts.kills + counts.kills_in_recovery,
            Err(_) => failures += 1,
        }
        done += kills;
    }
    campaign.end(done, faults, failures);
    assert_eq!(
        failures, 0,
        "directories with a failure; each is told above"
    );
}
