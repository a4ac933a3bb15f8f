//! Goal: on a full disk the broker refuses produce before its reserve is used, with an error that passes; reads and
//! deletes work, a new topic is refused; when space is back it goes on by itself within 2 s; nothing acked is ever lost.
//!
//! Method: the real binary on a small ext4 of its own (an image on a loop device), two producers as fast as they can, one
//! at `written` and one at `synced`. Each cycle fills the disk until both are refused, in one of three ways: with records
//! alone; with a ballast file that leaves less than the reserve; with one that takes all there is, at a moment when the
//! broker thought otherwise. What was acked is fetched while the disk is full; then a topic or the ballast
//! goes, and the time until the next ack is taken; then everything is held against what the producers were told, record by
//! record. Every sixth cycle the broker is killed while the disk is full, and started again on it. Journal files are small, so that they rotate all the time.
//!
//! The long run, 100 cycles (or as many as MILLRACE_CYCLES says):
//! ```text
//! cargo test --profile campaign --test fulldisk -- --ignored --nocapture
//! ```
//! Needs root, loop devices and mkfs.ext4; without them it says so and skips. Retention on a full disk is tested in
//! `src/shard/tests/retention.rs`.
#![allow(clippy::unwrap_used, reason = "a test may panic; the line says where")]

mod campaign;
mod process;

use campaign::Campaign;
use millrace::base::{AckLevel, Offset};
use millrace::client::Target;
use millrace::client::blocking::{
    Client, ConsumerOptions, Delivery, Outcome, Producer, ProducerOptions, StartAt,
};
use millrace::protocol::native::{NewTopic, TopicRef, TopicSettings};
use process::{Broker, Directory, cpus};
use rustix::fs::{FallocateFlags, fallocate, statvfs};
use rustix::mount::{MountFlags, UnmountFlags};
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const DISK_BYTES: u64 = 256 << 20;
const RESERVE_BYTES: u64 = 48 << 20;
const FLAGS: &[&str] = &["--disk-reserve", "48M", "--journal-file-bytes", "4194304"];
const PARTITIONS: u32 = 4;
const SEGMENT_BYTES: u64 = 4 << 20;
const VALUE_BYTES: usize = 8_000;
/// How soon a broker goes on once there is space: the figure that is promised.
const RESUME_MAX: Duration = Duration::from_secs(2);
/// Far above what anything here takes: only a hang meets it.
const PATIENCE: Duration = Duration::from_secs(60);

/// A small file system on a loop device. Unmounted when dropped; the device goes with the mount.
struct SmallDisk {
    directory: Directory,
}

impl SmallDisk {
    fn new(name: &str) -> Self {
        let directory = Directory::new(name);
        let image = directory.path().join("image");
        File::create(&image).unwrap().set_len(DISK_BYTES).unwrap();
        let image = image.to_str().unwrap();
        said(
            "mkfs.ext4",
            &["-q", "-F", "-m", "0", "-N", "4096", "-J", "size=4", image],
        );
        let device = said("losetup", &["--find", "--show", image]);
        let disk = Self { directory };
        std::fs::create_dir(disk.root()).unwrap();
        let mounted = rustix::mount::mount(&device, disk.root(), "ext4", MountFlags::NOATIME, c"");
        // In use by the mount, or by nobody: in both cases it goes when it can.
        said("losetup", &["--detach", &device]);
        mounted.unwrap();
        disk
    }

    fn root(&self) -> PathBuf {
        self.directory.path().join("mnt")
    }

    fn data(&self) -> PathBuf {
        self.root().join("data")
    }

    fn free_bytes(&self) -> u64 {
        let stat = statvfs(self.root()).unwrap();
        stat.f_bavail * stat.f_frsize
    }

    /// Takes space away until `leave` bytes are free; as much as can be had.
    fn take(&self, leave: u64) -> Ballast {
        let path = self.root().join("ballast");
        let file = File::create(&path).unwrap();
        let mut bytes = 0;
        for step in [8 << 20, 1 << 20, 64 << 10, 4 << 10] {
            while self.free_bytes() >= leave + step
                && fallocate(&file, FallocateFlags::empty(), bytes, step).is_ok()
            {
                bytes += step;
            }
        }
        assert!(bytes > 0, "there was something to take");
        Ballast(path)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let until = Instant::now() + PATIENCE;
        // A killed broker's rings may still hold files for a moment.
        while rustix::mount::unmount(self.root(), UnmountFlags::empty()).is_err() {
            if Instant::now() > until {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// A file that takes space; gives it back when dropped.
struct Ballast(PathBuf);

impl Drop for Ballast {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn said(program: &str, arguments: &[&str]) -> String {
    let out = Command::new(program).args(arguments).output().unwrap();
    assert!(out.status.success(), "{program} {arguments:?}: {out:?}");
    String::from_utf8(out.stdout).unwrap().trim().to_owned()
}

/// Why this machine cannot run it.
fn missing() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("it needs root, for mounts".to_owned());
    }
    if !Path::new("/dev/loop-control").exists() {
        return Some("there is no /dev/loop-control".to_owned());
    }
    let tools = [("mkfs.ext4", "-V"), ("losetup", "--version")];
    let is_there = |(tool, flag): &(&str, &str)| Command::new(tool).arg(flag).output().is_ok();
    let tool = tools.iter().find(|tool| !is_there(tool));
    tool.map(|(tool, _)| format!("there is no {tool}"))
}

/// What is known of one record.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Fate {
    Acked(u64),
    Failed,
}

/// By partition and sequence, as the producers were told.
type Fates = Arc<Mutex<BTreeMap<(u32, u64), Fate>>>;

fn value(partition: u32, sequence: u64) -> Vec<u8> {
    let mut bytes = [u64::from(partition).to_le_bytes(), sequence.to_le_bytes()].concat();
    bytes.resize(VALUE_BYTES, (sequence * 31 + u64::from(partition)) as u8);
    bytes
}

/// One life of a topic: what was sent to it.
struct Filling {
    topic: String,
    fates: Fates,
    stop: AtomicBool,
}

impl Filling {
    fn new(broker: &Broker, topic: &str) -> Self {
        broker
            .client()
            .create_topic(&new_topic(topic, PARTITIONS))
            .unwrap();
        Self {
            topic: topic.to_owned(),
            fates: Fates::default(),
            stop: AtomicBool::new(false),
        }
    }

    /// Sends to two of the partitions until it is stopped, then waits for what is still open.
    fn send(&self, client: Client, level: AckLevel, partitions: [u32; 2]) {
        let refused = Arc::new(AtomicBool::new(false));
        let mut producer = self.producer(client, level, &refused);
        for sequence in 0.. {
            if self.stop.load(Ordering::SeqCst) {
                break;
            }
            for partition in partitions {
                let (target, bytes) = (Target::Partition(partition), value(partition, sequence));
                producer
                    .send(target, None, None, Some(&bytes), &[])
                    .unwrap();
            }
            if refused.swap(false, Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        producer.flush();
    }

    fn producer(&self, mut client: Client, level: AckLevel, refused: &Arc<AtomicBool>) -> Producer {
        let options = ProducerOptions {
            level: Some(level),
            linger: Duration::ZERO,
            batch_bytes: 64 << 10,
            in_flight_max: 8,
            retries: 0,
            retries_unknown: 0,
        };
        let (fates, refused) = (Arc::clone(&self.fates), Arc::clone(refused));
        let told = move |delivery: &Delivery| {
            for index in 0..u64::from(delivery.count) {
                let fate = match &delivery.outcome {
                    Outcome::Acked(base) => Fate::Acked(base.0 + index),
                    Outcome::Failed(reason) => {
                        assert!(reason.contains("disk is full"), "{reason}");
                        refused.store(true, Ordering::SeqCst);
                        Fate::Failed
                    }
                    Outcome::Unknown(reason) => panic!("the broker lives: {reason}"),
                };
                let name = (delivery.partition, delivery.first_sequence + index);
                assert_eq!(fates.lock().unwrap().insert(name, fate), None, "told twice");
            }
        };
        client.producer(&self.topic, options, told).unwrap()
    }

    fn acked(&self) -> u64 {
        let fates = self.fates.lock().unwrap();
        let acked = fates.values().filter(|fate| matches!(fate, Fate::Acked(_)));
        acked.count() as u64
    }

    fn wait_for_acks(&self, count: u64) {
        let began = Instant::now();
        while self.acked() < count {
            assert!(began.elapsed() < PATIENCE, "the producers do not get on");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// What was acked up to now is there; for when producers still wait.
    fn check_acked(&self, broker: &Broker) {
        let known: Vec<_> = self.fates.lock().unwrap().clone().into_iter().collect();
        let mut client = broker.client();
        for partition in 0..PARTITIONS {
            let mut stored = BTreeMap::new();
            read(&mut client, &self.topic, partition, |offset, bytes| {
                stored.insert(offset, u64::from_le_bytes(bytes[8..16].try_into().unwrap()));
            });
            for ((of, sequence), fate) in &known {
                if let (true, Fate::Acked(offset)) = (*of == partition, fate) {
                    assert_eq!(stored.get(offset), Some(sequence), "{partition}@{offset}");
                }
            }
        }
    }

    /// Reads everything and holds it against what the producers were told. Returns how many records were acked.
    fn check(&self, broker: &Broker) -> u64 {
        let fates = self.fates.lock().unwrap();
        let mut client = broker.client();
        for partition in 0..PARTITIONS {
            let mut stored = BTreeMap::new();
            read(&mut client, &self.topic, partition, |offset, bytes| {
                let sequence = u64::from_le_bytes(bytes[8..16].try_into().unwrap());
                assert!(bytes == value(partition, sequence), "{partition}@{offset}");
                assert!(
                    stored.insert(sequence, offset).is_none(),
                    "{sequence} twice"
                );
            });
            let of_partition = fates.range((partition, 0)..(partition + 1, 0));
            for ((_, sequence), fate) in of_partition {
                let found = stored.remove(sequence);
                match fate {
                    Fate::Acked(offset) => {
                        assert_eq!(found, Some(*offset), "{partition}: {sequence}")
                    }
                    Fate::Failed => assert_eq!(found, None, "{partition}: {sequence} was refused"),
                }
            }
            assert_eq!(
                stored,
                BTreeMap::new(),
                "{partition}: nobody was told of these"
            );
        }
        fates
            .values()
            .filter(|fate| matches!(fate, Fate::Acked(_)))
            .count() as u64
    }
}

fn read(client: &mut Client, topic: &str, partition: u32, mut each: impl FnMut(u64, &[u8])) {
    let options = ConsumerOptions {
        start: StartAt::Offset(Offset(0)),
        ..ConsumerOptions::default()
    };
    let mut consumer = client.consumer(topic, Some(&[partition]), options).unwrap();
    let (mut next, began) = (0, Instant::now());
    while !consumer.is_caught_up() {
        assert!(
            began.elapsed() < PATIENCE,
            "{topic}/{partition} ends at {next}"
        );
        for record in consumer.poll(Duration::from_secs(5)).unwrap() {
            let record = record.unwrap();
            assert_eq!(record.offset, Offset(next), "{topic}/{partition}");
            each(next, record.value.unwrap());
            next += 1;
        }
    }
}

/// One record to a topic of its own: whether it was acked, or refused because the disk is full.
fn probe(broker: &Broker) -> bool {
    let outcome = Arc::new(Mutex::new(None));
    let told = Arc::clone(&outcome);
    let options = ProducerOptions {
        retries: 0,
        linger: Duration::ZERO,
        ..ProducerOptions::default()
    };
    let keep = move |delivery: &Delivery| *told.lock().unwrap() = Some(delivery.outcome.clone());
    let mut producer = broker.client().producer("probe", options, keep).unwrap();
    producer
        .send(Target::Partition(0), None, None, Some(b"probe"), &[])
        .unwrap();
    producer.flush();
    match outcome.lock().unwrap().take().unwrap() {
        Outcome::Acked(_) => true,
        Outcome::Failed(reason) => {
            assert!(reason.contains("disk is full"), "{reason}");
            false
        }
        Outcome::Unknown(reason) => panic!("{reason}"),
    }
}

/// How long until a record is acked (or refused), counted from now.
fn until_probe_is(acked: bool, broker: &Broker) -> Duration {
    let began = Instant::now();
    while probe(broker) != acked {
        assert!(
            began.elapsed() < PATIENCE,
            "no record becomes acked={acked}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    began.elapsed()
}

fn start(disk: &SmallDisk, cores: usize) -> Broker {
    let broker = Broker::spawn_with(&disk.data(), &cpus(cores), FLAGS).serving();
    broker.unwrap_or_else(|said| panic!("no start: {said:?}"))
}

/// What fills the disk in a cycle.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Filler {
    Records,
    /// Somebody else takes space while it fills, until so much is left.
    Outside(u64),
}

/// One cycle; returns the broker, how many records were acked, and how long it took to go on.
fn cycle(disk: &SmallDisk, broker: Broker, number: u64) -> (Broker, u64, Duration) {
    let filler = match number % 3 {
        0 => Filler::Records,
        1 => Filler::Outside(RESERVE_BYTES / 4),
        _ => Filler::Outside(0),
    };
    let filling = Filling::new(&broker, &format!("fill-{number}"));
    let resumed = std::thread::scope(|scope| {
        let lanes = [(AckLevel::Written, [0, 1]), (AckLevel::Synced, [2, 3])];
        for (level, partitions) in lanes {
            let (client, filling) = (broker.client(), &filling);
            scope.spawn(move || filling.send(client, level, partitions));
        }
        let resumed = match filler {
            Filler::Records => {
                until_probe_is(false, &broker);
                None
            }
            Filler::Outside(leave) => {
                filling.wait_for_acks(300 + number * 37 % 500);
                let ballast = disk.take(leave);
                until_probe_is(false, &broker);
                filling.check_acked(&broker);
                refuses_topics(&broker);
                drop(ballast);
                Some(until_probe_is(true, &broker))
            }
        };
        filling.stop.store(true, Ordering::SeqCst);
        resumed
    });
    finish(disk, broker, number, &filling, resumed)
}

/// Every record has its outcome: holds them against what is stored, and makes room for the next cycle.
fn finish(
    disk: &SmallDisk,
    mut broker: Broker,
    number: u64,
    filling: &Filling,
    resumed: Option<Duration>,
) -> (Broker, u64, Duration) {
    if resumed.is_none() {
        let free = disk.free_bytes();
        assert!(
            free > RESERVE_BYTES / 2,
            "the reserve was used: {free} bytes are free"
        );
        refuses_topics(&broker);
        if number % 2 == 1 {
            broker.kill();
            broker = start(disk, 1);
        }
    }
    let acked = filling.check(&broker);
    assert!(acked >= 300, "only {acked} records were acked");
    let topic = TopicRef::Name(filling.topic.clone());
    broker.client().delete_topic(&topic).unwrap();
    let after_delete = until_probe_is(true, &broker);
    (broker, acked, resumed.unwrap_or(after_delete))
}

/// Making a topic is refused in words; the list of topics is there.
fn refuses_topics(broker: &Broker) {
    let mut client = broker.client();
    let refused = client.create_topic(&new_topic("late", 1)).unwrap_err();
    assert!(refused.to_string().contains("disk is full"), "{refused}");
    assert_eq!(client.topics().unwrap().0.len(), 2);
}

fn new_topic(name: &str, partitions: u32) -> NewTopic {
    NewTopic {
        name: name.to_owned(),
        partitions,
        settings: TopicSettings {
            ack: AckLevel::Written,
            segment_bytes: SEGMENT_BYTES,
            segment_ms: 86_400_000,
            ..TopicSettings::default()
        },
    }
}

fn cycles(name: &str, count: u64) {
    if let Some(why) = missing() {
        println!("{name}: skipped: {why}");
        return;
    }
    let campaign = Campaign::begin("full-disk", "cycles");
    let disk = SmallDisk::new(name);
    let mut broker = start(&disk, 1);
    broker
        .client()
        .create_topic(&new_topic("probe", 1))
        .unwrap();
    let (mut acked, mut slowest) = (0, Duration::ZERO);
    for number in 0..count {
        let (lives_on, more, took) = cycle(&disk, broker, number);
        (broker, acked, slowest) = (lives_on, acked + more, slowest.max(took));
        println!("cycle {number}: {more} records acked, on again after {took:?}");
        assert!(
            took <= RESUME_MAX,
            "cycle {number}: on again after {took:?}"
        );
    }
    let (status, said) = broker.stop();
    assert!(status.success(), "{said:#?}");
    let data = disk.data();
    let verify = Command::new(env!("CARGO_BIN_EXE_millrace"))
        .arg("verify")
        .arg(&data)
        .output();
    let verify = verify.unwrap();
    assert!(verify.status.success(), "{verify:?}");
    println!("{name}: {count} cycles, {acked} records acked, slowest to go on: {slowest:?}");
    campaign.end(count, count, 0);
}

#[test]
fn a_full_disk_refuses_and_goes_on() {
    cycles("fulldisk", campaign::number("MILLRACE_CYCLES", 1));
}

#[test]
#[ignore = "minutes; the door comment has the command"]
fn a_hundred_full_disks_refuse_and_go_on() {
    cycles("fulldisk-long", campaign::number("MILLRACE_CYCLES", 100));
}
