//! Histories of a log: commands, deaths and starts, held against a model that is a list of values.
//!
//! The model knows for each partition what was appended and how far it was acknowledged. After a death the log must have
//! at least what the acknowledgements promise (written: a kill; synced: a power cut) and at most what was appended, with
//! the bytes that were appended; after a clean stop all of it; after a delete none.

use crate::store::{Started, append, batch, key, reached, read, start, walk};
use arbitrary::Arbitrary;
use millrace::base::{AckLevel, Offset, TimestampMs};
use millrace::io::Io;
use millrace::io::sim::{Sim, SimDisk, SimIo};
use millrace::log::{LogError, PartitionLog, ReadError, SegmentSettings};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

const PARTITIONS: usize = 3;
const LIVES_MAX: usize = 6;
const STEPS_MAX: usize = 40;
/// What one history appends at most.
const BYTES_MAX: usize = 1 << 20;

/// A history: lives of the process, each with an end.
#[derive(Arbitrary, Clone, Debug)]
pub struct History {
    seed: u8,
    lives: Vec<Life>,
}

/// One life of the process.
#[derive(Arbitrary, Clone, Debug)]
struct Life {
    steps: Vec<Step>,
    /// The end comes at this effect of the disk, if the steps last so long.
    early: Option<u8>,
    end: End,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum End {
    Stop,
    Kill,
    PowerCut,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Level {
    None,
    Written,
    Synced,
}

#[derive(Arbitrary, Clone, Debug)]
enum Step {
    Append {
        to: u8,
        count: u8,
        size: Size,
        level: Level,
    },
    /// Waits until all that was appended has reached a level.
    Reach {
        of: u8,
        level: Level,
    },
    Read {
        of: u8,
        from: u16,
        until: u16,
        bytes: u16,
    },
    FindTime {
        of: u8,
        time: u16,
    },
    /// From now on, segments are sealed at so many KiB.
    Segments {
        of: u8,
        kib: u8,
    },
    Delete {
        of: u8,
    },
    Sleep {
        ms: u16,
    },
}

/// How large a value is.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Size {
    Tiny,
    Small,
    Block,
    Large,
    Direct,
}

impl Size {
    fn bytes(self) -> usize {
        match self {
            Self::Tiny => 0,
            Self::Small => 300,
            Self::Block => 4_096,
            Self::Large => 30_000,
            Self::Direct => 90_000,
        }
    }
}

impl Level {
    fn level(self) -> AckLevel {
        match self {
            Self::None => AckLevel::None,
            Self::Written => AckLevel::Written,
            Self::Synced => AckLevel::Synced,
        }
    }
}

/// What one partition must have.
#[derive(Clone, Debug, Default)]
struct Expected {
    /// Which partition this is now: a deleted one is never used again.
    number: u32,
    /// Of the record at each offset: the life that appended it, and the length of its value.
    records: Vec<(u32, usize)>,
    written: u64,
    synced: u64,
}

/// The model.
#[derive(Debug, Default)]
struct Model {
    partitions: Vec<Expected>,
    /// Deleted, and the delete was answered.
    gone: Vec<u32>,
    life: u32,
    appended_bytes: usize,
    next_number: u32,
}

type Shared = Rc<RefCell<Model>>;

/// Runs a history. Panics where the log and the model differ.
pub fn run(history: &History) {
    let seed = u64::from(history.seed);
    let disk = SimDisk::new(seed);
    let model = Model {
        partitions: (0..PARTITIONS as u32)
            .map(|number| Expected {
                number,
                ..Expected::default()
            })
            .collect(),
        next_number: PARTITIONS as u32,
        ..Model::default()
    };
    let model = Rc::new(RefCell::new(model));
    let rest = Life {
        steps: Vec::new(),
        early: None,
        end: End::Stop,
    };
    // Two more lives than were asked for: one that checks the last end, and one after a clean stop.
    let lives = history.lives.iter().take(LIVES_MAX);
    for life in lives.cloned().chain([rest.clone(), rest]) {
        live(seed, &disk, &model, life);
    }
}

fn live(seed: u64, disk: &SimDisk, model: &Shared, life: Life) {
    let sim = Sim::with_disk(seed, disk.clone());
    if let Some(effect) = life.early {
        disk.crash_at(u64::from(effect));
    }
    model.borrow_mut().life += 1;
    let (world, shared, end) = (sim.clone(), Rc::clone(model), life.end);
    let is_stop = matches!(end, End::Stop);
    let outcome = sim.run(move |io| async move {
        let started = start(&io).await.expect("no fault was planned");
        check_start(&io, &started, &shared).await;
        for step in life.steps.into_iter().take(STEPS_MAX) {
            take(&io, &started, &shared, step).await;
        }
        if is_stop {
            started.log.stop().await.expect("stops");
            shared.borrow_mut().stopped();
        } else {
            world.crash();
            io.yield_now().await;
        }
    });
    let crashed = outcome.is_crashed();
    if !crashed {
        outcome.done();
    }
    match end {
        End::PowerCut => {
            disk.power_cut();
            model.borrow_mut().lose_power();
        }
        End::Stop | End::Kill => disk.kill(),
    }
}

impl Model {
    /// All that was appended is durable.
    fn stopped(&mut self) {
        for partition in &mut self.partitions {
            partition.written = partition.records.len() as u64;
            partition.synced = partition.written;
        }
    }

    fn lose_power(&mut self) {
        for partition in &mut self.partitions {
            partition.written = partition.synced;
        }
    }

    fn note(&mut self, number: u32, partition: &PartitionLog<SimIo>) {
        let frontiers = partition.frontiers();
        if let Some(found) = self.partitions.iter_mut().find(|p| p.number == number) {
            found.written = found.written.max(frontiers.written.0);
            found.synced = found.synced.max(frontiers.synced.0);
        }
    }
}

/// What the value of a record is.
fn value(life: u32, offset: u64, bytes: usize) -> Vec<u8> {
    let mut value = offset.to_le_bytes().to_vec();
    value.extend(life.to_le_bytes());
    value.extend((0..bytes).map(|at| (offset as usize * 31 + life as usize * 7 + at) as u8));
    value
}

fn settings(kib: u8) -> SegmentSettings {
    SegmentSettings {
        segment_bytes: (1 + u64::from(kib)) << 10,
        segment_ms: u64::MAX,
    }
}

async fn open(started: &Started, number: u32) -> PartitionLog<SimIo> {
    let opened = started.log.open(key(number), settings(63)).await;
    opened.unwrap_or_else(|error| panic!("partition {number}: {error}"))
}

/// A start after the death of the last life, or after its stop.
async fn check_start(io: &SimIo, started: &Started, shared: &Shared) {
    let report = &started.report;
    assert!(report.damaged.is_empty(), "{report:?}");
    let gone = shared.borrow().gone.clone();
    for number in gone {
        assert!(!started.keys.contains(&key(number)), "{number} came back");
    }
    for index in 0..PARTITIONS {
        let expected = shared.borrow().partitions[index].clone();
        let partition = open(started, expected.number).await;
        let found = partition.frontiers().appended;
        let (least, most) = (expected.written, expected.records.len() as u64);
        assert!(
            (least..=most).contains(&found.0),
            "partition {}: {found} is outside {least} to {most}",
            expected.number
        );
        let mut model = shared.borrow_mut();
        let kept = &mut model.partitions[index];
        kept.records.truncate(found.0 as usize);
        (kept.written, kept.synced) = (found.0, found.0);
        drop(model);
        check_range(io, shared, index, &partition, (0, found.0), 20_000).await;
    }
}

/// Reads `[from, until)` in steps and compares it with the model.
async fn check_range(
    io: &SimIo,
    shared: &Shared,
    index: usize,
    partition: &PartitionLog<SimIo>,
    (from, until): (u64, u64),
    step: u64,
) {
    let (mut next, until) = (Offset(from), Offset(until));
    let records = shared.borrow().partitions[index].records.clone();
    while next < until {
        let bytes = read(io, partition, next, until, step)
            .await
            .expect("readable");
        let walked = walk(&bytes, next, until, |offset, found| {
            let (life, bytes) = records[offset as usize];
            assert_eq!(found, value(life, offset, bytes), "record {offset}");
        });
        let walked = walked.unwrap_or_else(|wrong| panic!("read from {next}: {wrong}"));
        assert!(walked > next, "a read below the end brings something");
        next = walked;
    }
}

async fn take(io: &SimIo, started: &Started, shared: &Shared, step: Step) {
    let chosen = |of: u8| usize::from(of) % PARTITIONS;
    let number = |index: usize| shared.borrow().partitions[index].number;
    match step {
        Step::Append {
            to,
            count,
            size,
            level,
        } => {
            let partition = open(started, number(chosen(to))).await;
            append_some(io, &partition, shared, chosen(to), (count, size, level));
        }
        Step::Reach { of, level } => {
            let number = number(chosen(of));
            let partition = open(started, number).await;
            ask(&partition, level, shared, chosen(of)).await;
            shared.borrow_mut().note(number, &partition);
        }
        Step::Read {
            of,
            from,
            until,
            bytes,
        } => {
            let partition = open(started, number(chosen(of))).await;
            let range = (u64::from(from), u64::from(until));
            read_some(io, &partition, shared, chosen(of), range, bytes).await;
        }
        Step::FindTime { of, time } => {
            let partition = open(started, number(chosen(of))).await;
            let end = partition.frontiers().written;
            let time = TimestampMs(i64::from(time));
            let found = partition.find_time(time, end).await.expect("readable");
            let wanted = (time.0 < end.0 as i64).then_some((Offset(time.0 as u64), time));
            assert_eq!(found, wanted);
        }
        Step::Segments { of, kib } => {
            let partition = open(started, number(chosen(of))).await;
            partition.set_settings(settings(kib));
        }
        Step::Delete { of } => delete(started, shared, chosen(of)).await,
        Step::Sleep { ms } => io.sleep(Duration::from_millis(u64::from(ms % 3_000))).await,
    }
}

/// Waiting for `synced` needs somebody who asks for it: one record more.
async fn ask(partition: &PartitionLog<SimIo>, level: Level, shared: &Shared, index: usize) {
    if shared.borrow().appended_bytes > 2 * BYTES_MAX {
        return;
    }
    let appended = append_one(partition, shared, index, 1, 0, level.level());
    reached(partition, appended, level.level()).await;
}

fn append_some(
    io: &SimIo,
    partition: &PartitionLog<SimIo>,
    shared: &Shared,
    index: usize,
    (count, size, level): (u8, Size, Level),
) {
    let count = 1 + u64::from(count % 8);
    let bytes = size.bytes();
    if shared.borrow().appended_bytes + bytes * count as usize > BYTES_MAX {
        return;
    }
    let next = append_one(partition, shared, index, count, bytes, level.level());
    // Whatever is acknowledged at any time counts, asked for or not.
    let number = shared.borrow().partitions[index].number;
    let (watched, noted) = (partition.clone(), Rc::clone(shared));
    io.spawn(async move {
        reached(&watched, next, AckLevel::Written).await;
        noted.borrow_mut().note(number, &watched);
    });
}

fn append_one(
    partition: &PartitionLog<SimIo>,
    shared: &Shared,
    index: usize,
    count: u64,
    bytes: usize,
    level: AckLevel,
) -> Offset {
    let mut model = shared.borrow_mut();
    let life = model.life;
    let records = &mut model.partitions[index].records;
    let first = records.len() as u64;
    records.extend((0..count).map(|_| (life, bytes)));
    model.appended_bytes += (bytes + 100) * count as usize;
    let batch = batch(first, count, |offset| value(life, offset, bytes));
    let next = append(partition, &batch, level).expect("taken");
    assert_eq!(next, Offset(first + count));
    next
}

async fn read_some(
    io: &SimIo,
    partition: &PartitionLog<SimIo>,
    shared: &Shared,
    index: usize,
    (from, until): (u64, u64),
    bytes: u16,
) {
    let appended = partition.frontiers().appended;
    let outside = read(io, partition, appended.plus(1 + from), appended, 1).await;
    assert_eq!(outside, Err(ReadError::OutOfRange));
    if appended.0 > 0 {
        // An end has to be a boundary of batches: the frontiers are.
        let until = match until % 3 {
            0 => partition.frontiers().synced.0,
            1 => partition.frontiers().written.0,
            _ => appended.0,
        };
        let from = from % appended.0;
        if from < until {
            let step = u64::from(bytes).max(1);
            check_range(io, shared, index, partition, (from, until), step).await;
        }
    }
}

async fn delete(started: &Started, shared: &Shared, index: usize) {
    let old = {
        let mut model = shared.borrow_mut();
        let fresh = Expected {
            number: model.next_number,
            ..Expected::default()
        };
        model.next_number += 1;
        std::mem::replace(&mut model.partitions[index], fresh).number
    };
    match started.log.delete(key(old)).await {
        Ok(()) => shared.borrow_mut().gone.push(old),
        Err(error @ LogError::Failed(_)) => panic!("{error}"),
        Err(error) => panic!("no delete: {error}"),
    }
}
