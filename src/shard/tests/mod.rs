//! Shards over the real log on the simulated machine. The helpers let one task speak to every core's engine: in the
//! simulation all cores are one thread, and only the mailboxes between them are what a real one has.

mod alter;
mod crash;
mod fetches;
mod found;
mod groups;
mod numbered;
mod queues;
mod restart;
mod retention;
mod stages;
mod topics;
mod trim;

use crate::base::record::{BatchBuilder, records};
use crate::base::{AckLevel, NodeId, Offset, PartitionKey, PartitionNo, RecordBatch, TimestampMs};
use crate::engine::{
    CoreAddress, Engine, EngineError, FetchPartition, FetchRequest, NewTopic, Produced, TopicInfo,
    TopicSettings,
};
use crate::io::sim::{Outcome, Sim, SimIo};
use crate::io::{Io, Signal};
use crate::log::gather;
use crate::log::{Options as LogOptions, recover};
use crate::shard::{Options, Shard, Share, StartError, StartReport, share};
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

const DATA: &str = "/data";

/// All cores of a broker, as a test holds them.
struct Broker {
    io: SimIo,
    shards: Vec<Shard<SimIo>>,
    reports: Vec<StartReport>,
}

/// What the mains of the cores share in one run.
#[derive(Default)]
struct Meeting {
    started: RefCell<Vec<(u16, Shard<SimIo>, StartReport)>>,
    over: Cell<bool>,
    changed: Signal,
}

/// What the tests' brokers leave free of the disk.
const DISK_RESERVE_BYTES: u64 = 1 << 20;

fn shares(sim: &Sim, cores: u16) -> (LogOptions, Vec<Share>) {
    let recovered = sim
        .run(|io| async move { recover(&io, Path::new(DATA)).await.expect("recovers") })
        .done()
        .remove(0);
    let mut log = LogOptions::new(DATA.into(), NodeId(7), recovered.epoch);
    log.journal_file_bytes = 256 << 10;
    log.hot_bytes_max = 128 << 10;
    log.disk_reserve_bytes = DISK_RESERVE_BYTES;
    (log, share(recovered, cores))
}

/// How long the tests' brokers remember silent producers.
const PRODUCER_EXPIRATION: Duration = Duration::from_secs(3_600);

fn options(log: &LogOptions, cores: u16, io: &SimIo) -> Options {
    Options {
        cores,
        address: CoreAddress {
            core: io.core(),
            host: "test".to_owned(),
            port: 9_000 + io.core().0,
        },
        log: log.clone(),
        producer_expiration: PRODUCER_EXPIRATION,
    }
}

/// Starts `cores` cores on what is on the disk, runs `program` on core 0 while all serve, stops them.
fn run<T, F>(
    sim: &Sim,
    cores: u16,
    program: impl FnOnce(Broker) -> F + 'static,
) -> Outcome<Option<T>>
where
    T: 'static,
    F: Future<Output = T> + 'static,
{
    run_after(sim, cores, || (), program)
}

/// The same, with something done between recovery and the start of the cores.
fn run_after<T, F>(
    sim: &Sim,
    cores: u16,
    between: impl FnOnce(),
    program: impl FnOnce(Broker) -> F + 'static,
) -> Outcome<Option<T>>
where
    T: 'static,
    F: Future<Output = T> + 'static,
{
    let (log, shares) = shares(sim, cores);
    between();
    let shares = RefCell::new(shares.into_iter().map(Some).collect::<Vec<_>>());
    let meeting = Rc::new(Meeting::default());
    let program = Rc::new(Cell::new(Some(program)));
    sim.run_cores(cores, |io: SimIo, mailbox| {
        let share = shares.borrow_mut()[usize::from(io.core().0)].take();
        let (share, options) = (share.expect("one each"), options(&log, cores, &io));
        let (meeting, program) = (Rc::clone(&meeting), Rc::clone(&program));
        async move {
            let started = Shard::start(io.clone(), mailbox, options, share).await;
            let (shard, report) = started.expect("starts");
            meeting.join(&io, shard.clone(), report);
            let value = if io.core().0 == 0 {
                let broker = meeting.all(io, cores).await;
                let program = program.take().expect("core 0 runs it once");
                let value = program(broker).await;
                meeting.end();
                Some(value)
            } else {
                meeting.ended().await;
                None
            };
            shard.stop().await.expect("stops cleanly");
            value
        }
    })
}

/// Runs a program that must end well; returns its value.
fn run_well<T, F>(sim: &Sim, cores: u16, program: impl FnOnce(Broker) -> F + 'static) -> T
where
    T: 'static,
    F: Future<Output = T> + 'static,
{
    let values = run(sim, cores, program).done();
    values.into_iter().flatten().next().expect("core 0's")
}

/// Starts cores that must not start; returns what each says.
fn refusals(sim: &Sim, cores: u16) -> Vec<StartError> {
    let (log, shares) = shares(sim, cores);
    let shares = RefCell::new(shares.into_iter().map(Some).collect::<Vec<_>>());
    let outcome = sim.run_cores(cores, |io: SimIo, mailbox| {
        let share = shares.borrow_mut()[usize::from(io.core().0)].take();
        let (share, options) = (share.expect("one each"), options(&log, cores, &io));
        async move {
            match Shard::start(io, mailbox, options, share).await {
                Ok(_) => panic!("a core started"),
                Err(error) => error,
            }
        }
    });
    outcome.done()
}

impl Meeting {
    fn join(&self, io: &SimIo, shard: Shard<SimIo>, report: StartReport) {
        let mut started = self.started.borrow_mut();
        started.push((io.core().0, shard, report));
        self.changed.notify();
    }

    async fn all(&self, io: SimIo, cores: u16) -> Broker {
        loop {
            let changed = self.changed.wait();
            if self.started.borrow().len() == usize::from(cores) {
                break;
            }
            changed.await;
        }
        let mut started = self.started.take();
        started.sort_by_key(|one| one.0);
        let (shards, reports) = started.into_iter().map(|one| (one.1, one.2)).unzip();
        Broker {
            io,
            shards,
            reports,
        }
    }

    fn end(&self) {
        self.over.set(true);
        self.changed.notify();
    }

    async fn ended(&self) {
        loop {
            let changed = self.changed.wait();
            if self.over.get() {
                return;
            }
            changed.await;
        }
    }
}

fn new_topic(name: &str, partitions: u32, ack: AckLevel) -> NewTopic {
    NewTopic {
        name: name.to_owned(),
        partitions,
        settings: TopicSettings {
            ack,
            segment_bytes: 64 << 10,
            segment_ms: 60_000,
            ..TopicSettings::default()
        },
    }
}

fn key(topic: &TopicInfo, partition: u32) -> PartitionKey {
    PartitionKey::new(topic.id, PartitionNo(partition))
}

/// One batch whose records carry these numbers, at these many milliseconds.
fn batch(values: &[u64]) -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    for value in values {
        let time = TimestampMs(*value as i64);
        builder.push(time, None, Some(&value.to_le_bytes()), &[]);
    }
    builder.finish().to_vec()
}

fn fetch_one(key: PartitionKey, from: Offset, bytes_max: u32) -> FetchRequest {
    FetchRequest {
        partitions: vec![FetchPartition {
            key,
            from,
            bytes_max,
        }],
        bytes_min: 0,
        wait_max: Duration::ZERO,
        bytes_max,
    }
}

impl Broker {
    fn shard(&self, core: u16) -> &Shard<SimIo> {
        &self.shards[usize::from(core)]
    }

    async fn produce(
        &self,
        core: u16,
        key: PartitionKey,
        level: AckLevel,
        values: &[u64],
    ) -> Result<Produced, EngineError> {
        let shard = self.shard(core);
        shard
            .produced(shard.produce(key, level, &batch(values)))
            .await
    }

    /// The numbers that can be read from `from` on by a fetch, at least one batch if any.
    async fn read(
        &self,
        core: u16,
        key: PartitionKey,
        from: Offset,
        bytes_max: u32,
    ) -> Result<Vec<u64>, EngineError> {
        let mut reply = Vec::new();
        let request = fetch_one(key, from, bytes_max);
        self.shard(core).fetch(&request, &mut reply).await;
        let fetched = reply.remove(0);
        if let Some(error) = fetched.error {
            return Err(error);
        }
        let bytes = gather(&self.io, &fetched.body).await.expect("readable");
        Ok(values_of(&bytes, from))
    }

    /// All numbers of a partition, fetched in small steps.
    async fn read_all(&self, core: u16, key: PartitionKey) -> Vec<u64> {
        let mut all = Vec::new();
        loop {
            let from = Offset(all.len() as u64);
            let more = self.read(core, key, from, 2_000).await.expect("serves");
            if more.is_empty() {
                return all;
            }
            all.extend(more);
        }
    }
}

/// The numbers of the records at or behind `from`; the offsets must be dense.
fn values_of(mut bytes: &[u8], from: Offset) -> Vec<u64> {
    let (mut values, mut next) = (Vec::new(), from.0);
    while !bytes.is_empty() {
        let batch = RecordBatch::parse(bytes).expect("whole batches");
        batch.check().expect("sound batches");
        for record in records(&batch) {
            let record = record.expect("sound records");
            let offset = batch.base_offset().0 + record.offset_delta as u64;
            if offset >= from.0 {
                assert_eq!(offset, next);
                next += 1;
                let value = record.value.expect("has one");
                values.push(u64::from_le_bytes(value.try_into().expect("a number")));
            }
        }
        bytes = &bytes[batch.bytes().len()..];
    }
    values
}
