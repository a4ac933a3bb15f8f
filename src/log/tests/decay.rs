//! Goal: whatever block of a segment or an index is wrong, nothing wrong is ever served, nothing promised is cut as if it
//! had never been, and every other partition serves on.
//!
//! Method: a log on the simulated disk, everything in it synced, then a clean stop or a kill. Every block of every file of
//! half of the partitions is, one after the other, changed in one bit, zeroed, changed places with another of its file, or
//! overwritten with one of another partition; start, and read every partition to its end. A change inside the records must
//! be told, by a refusal to open or by a failed read, and what was read before it must be right; a change outside
//! of them must not show.
//!
//! The long run, 256 MiB in 256 partitions:
//! ```text
//! cargo test --profile campaign --lib log::tests::decay -- --ignored --nocapture
//! ```

use crate::base::limits::BLOCK_BYTES;
use crate::base::prng::Prng;
use crate::base::{AckLevel, BatchStream, Body, Offset};
use crate::io::Io;
use crate::io::sim::{DiskSnapshot, Sim, SimDisk, SimIo};
use crate::log::tests::campaign::Campaign;
use crate::log::tests::steps::{append, bytes_of, check_batches, key, reached, start};
use crate::log::{Log, LogError, PartitionLog, ReadError, SegmentSettings};
use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;

const DATA: &str = "/data";
const READ_BYTES: u64 = 256 << 10;

const SETTINGS: SegmentSettings = SegmentSettings {
    segment_bytes: 256 << 10,
    segment_ms: u64::MAX,
};

/// How large the log is.
#[derive(Clone, Copy)]
struct Shape {
    partitions: u32,
    partition_bytes: u64,
}

/// What happens to a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Flip,
    Zero,
    SwapInFile,
    FromOther,
}

const KINDS: [Kind; 4] = [Kind::Flip, Kind::Zero, Kind::SwapInFile, Kind::FromOther];

/// How the log came to rest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Rest {
    Clean,
    Killed,
}

/// One file of a partition and its bytes as they should be.
struct Stored {
    path: PathBuf,
    bytes: Vec<u8>,
    /// Up to where it holds records; 0 for an index.
    used: u64,
}

/// The log at rest.
struct Whole {
    disk: SimDisk,
    snapshot: DiskSnapshot,
    /// By partition.
    files: Vec<Vec<Stored>>,
    ends: Vec<Offset>,
}

/// What a run found of one partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Found {
    Whole,
    Told,
}

async fn fill(io: SimIo, shape: Shape, rest: Rest, ends: Rc<RefCell<Vec<Offset>>>) {
    let (log, _) = start(&io, Path::new(DATA)).await.expect("starts");
    let mut rng = Prng::new(17);
    for number in 0..shape.partitions {
        let partition = log.open(key(number), SETTINGS).await.expect("opens");
        while partition.bytes() < shape.partition_bytes {
            let (count, bytes) = match rng.below(10) {
                0 => (1, 20_000 + rng.below(80_000)),
                1..4 => (1 + rng.below(60), rng.below(900)),
                _ => (1 + rng.below(4), rng.below(5_000)),
            };
            let next = append(&partition, count, bytes as usize, AckLevel::Synced);
            if rng.chance(1, 3) {
                assert!(reached(&partition, next, AckLevel::Synced).await);
            }
        }
    }
    // Every partition moves on a little, so that of everything before a later entry says that it was acknowledged.
    for round in 0..2 {
        for number in 0..shape.partitions {
            let partition = log.open(key(number), SETTINGS).await.expect("opens");
            let next = append(&partition, 1, 10 + round, AckLevel::Synced);
            assert!(reached(&partition, next, AckLevel::Synced).await);
            if round == 1 {
                ends.borrow_mut().push(next);
            }
        }
    }
    if rest == Rest::Clean {
        log.stop().await.expect("stops");
    }
}

fn make(shape: Shape, rest: Rest) -> Whole {
    let (disk, ends) = (SimDisk::new(3), Rc::default());
    let noted = Rc::clone(&ends);
    let filled = Sim::with_disk(3, disk.clone()).run(|io| fill(io, shape, rest, noted));
    filled.done();
    disk.kill();
    let snapshot = disk.snapshot();
    let files = (0..shape.partitions)
        .map(|number| files_of(&disk, number))
        .collect();
    Whole {
        disk,
        snapshot,
        files,
        ends: ends.take(),
    }
}

fn files_of(disk: &SimDisk, number: u32) -> Vec<Stored> {
    let dir = crate::log::paths::partition(Path::new(DATA), key(number));
    let paths = disk.list_files().into_iter();
    let stored = paths.filter(|path| path.starts_with(&dir)).map(|path| {
        let bytes = disk.read_file(&path).expect("it was listed");
        let name = path.file_stem().and_then(|name| name.to_str());
        let base = name.and_then(|name| name.parse().ok()).expect("an offset");
        let is_segment = path.extension().is_some_and(|kind| kind == "log");
        let used = if is_segment {
            used(&bytes, Offset(base))
        } else {
            0
        };
        Stored { path, bytes, used }
    });
    stored.collect()
}

/// Where the records of a segment's file end. Of a batch whose end is still in the journal, there are whole blocks.
fn used(bytes: &[u8], base: Offset) -> u64 {
    let mut stream = BatchStream::new(0, base);
    stream.feed(bytes);
    let whole = stream.at().0;
    let last = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0) as u64;
    match last < whole {
        true => whole,
        false => last.next_multiple_of(BLOCK_BYTES as u64),
    }
}

impl Whole {
    /// Block `number`, counted over all files of a partition.
    fn block(&self, partition: usize, mut number: usize) -> Option<(&Stored, usize)> {
        for stored in &self.files[partition] {
            let blocks = stored.bytes.len() / BLOCK_BYTES;
            if number < blocks {
                return Some((stored, number * BLOCK_BYTES));
            }
            number -= blocks;
        }
        None
    }

    fn blocks_max(&self) -> usize {
        let blocks = |files: &Vec<Stored>| files.iter().map(|f| f.bytes.len() / BLOCK_BYTES).sum();
        self.files.iter().map(blocks).max().unwrap_or(0)
    }

    /// Changes a block. Returns whether records were changed; `None` if nothing was.
    fn damage(&self, partition: usize, number: usize, kind: Kind, rng: &mut Prng) -> Option<bool> {
        let (stored, at) = self.block(partition, number)?;
        let was = &stored.bytes[at..at + BLOCK_BYTES];
        let other = BLOCK_BYTES * rng.below((stored.bytes.len() / BLOCK_BYTES) as u64) as usize;
        let new = match kind {
            Kind::Flip => {
                let mut block = was.to_vec();
                block[rng.below(BLOCK_BYTES as u64) as usize] ^= 1 << rng.below(8);
                block
            }
            Kind::Zero => vec![0; BLOCK_BYTES],
            Kind::SwapInFile => stored.bytes[other..other + BLOCK_BYTES].to_vec(),
            Kind::FromOther => {
                let (theirs, at) = self.block((partition + 1) % self.files.len(), number)?;
                theirs.bytes[at..at + BLOCK_BYTES].to_vec()
            }
        };
        let mut changed = self.put(stored, at, &new);
        if kind == Kind::SwapInFile {
            changed = changed.max(self.put(stored, other, was));
        }
        changed
    }

    fn put(&self, stored: &Stored, at: usize, new: &[u8]) -> Option<bool> {
        let was = &stored.bytes[at..at + BLOCK_BYTES];
        assert!(self.disk.corrupt(&stored.path, at as u64, new));
        let mut changed = (0..BLOCK_BYTES).filter(|byte| was[*byte] != new[*byte]);
        let first = changed.next()?;
        Some(((at + first) as u64) < stored.used)
    }
}

/// Reads every partition to its end.
async fn look(io: SimIo, ends: Vec<Offset>) -> Vec<Found> {
    let (log, _) = start(&io, Path::new(DATA)).await.expect("starts");
    let mut found = Vec::new();
    for (number, end) in ends.iter().enumerate() {
        found.push(look_at(&io, &log, number as u32, *end).await);
    }
    found
}

async fn look_at(io: &SimIo, log: &Log<SimIo>, number: u32, end: Offset) -> Found {
    let partition = match log.open(key(number), SETTINGS).await {
        Ok(partition) => partition,
        Err(LogError::Damaged { .. }) => return Found::Told,
        Err(other) => panic!("partition {number}: {other}"),
    };
    assert_eq!(
        partition.frontiers().synced,
        end,
        "partition {number} was cut"
    );
    let mut next = Offset(0);
    while next < end {
        match read(io, &partition, next, end).await {
            Ok(bytes) => next = check_batches(&bytes, next, end),
            Err(ReadError::Damaged(_)) => return Found::Told,
            Err(other) => panic!("partition {number} at {next}: {other}"),
        }
    }
    Found::Whole
}

async fn read(
    io: &SimIo,
    partition: &PartitionLog<SimIo>,
    from: Offset,
    until: Offset,
) -> Result<Vec<u8>, ReadError> {
    let mut body = Body::default();
    partition.read(from, until, READ_BYTES, &mut body).await?;
    Ok(bytes_of(io, &body).await)
}

/// Damages block `number` of every second partition and compares what is told with what was done. Returns how many
/// changes there were, and how many of them had to be told.
fn try_block(whole: &Whole, number: usize, half: usize, kind: Kind) -> (u64, u64) {
    whole.disk.restore(&whole.snapshot);
    let mut rng = Prng::new((number * 8 + half) as u64);
    let done: Vec<Option<bool>> = (0..whole.files.len())
        .map(|partition| {
            if partition % 2 != half {
                return None;
            }
            whole.damage(partition, number, kind, &mut rng)
        })
        .collect();
    if done.iter().all(Option::is_none) {
        return (0, 0);
    }
    let ends = whole.ends.clone();
    let sim = Sim::with_disk(number as u64, whole.disk.clone());
    let found = sim.run(|io| look(io, ends)).done().remove(0);
    for (partition, (done, found)) in done.iter().zip(&found).enumerate() {
        let expected = match done {
            Some(true) => Found::Told,
            Some(false) | None => Found::Whole,
        };
        let file = whole.block(partition, number).map(|(stored, at)| {
            let name = stored.path.display();
            format!("{name} at {at}, records until {}", stored.used)
        });
        assert_eq!(*found, expected, "{kind:?} in {file:?} ({done:?})");
    }
    let told = done.iter().filter(|done| **done == Some(true)).count();
    (done.iter().flatten().count() as u64, told as u64)
}

/// Tries every `stride`-th block with every kind. Returns changes made and changes that had to be told.
fn try_all(shape: Shape, rest: Rest, stride: usize) -> (u64, u64) {
    let whole = make(shape, rest);
    let (mut changes, mut told) = (0, 0);
    for number in (0..whole.blocks_max()).step_by(stride) {
        for (index, kind) in KINDS.into_iter().enumerate() {
            for half in 0..2 {
                let more = try_block(&whole, number + index % stride, half, kind);
                (changes, told) = (changes + more.0, told + more.1);
            }
        }
    }
    (changes, told)
}

/// Both ways of coming to rest, side by side.
fn campaign(name: &'static str, shape: Shape) {
    let campaign = Campaign::begin(name, "blocks");
    let totals = [Rest::Clean, Rest::Killed]
        .map(|rest| std::thread::spawn(move || try_all(shape, rest, 1)))
        .map(|thread| thread.join().expect("every change was told or harmless"));
    let changes = totals.iter().map(|total| total.0).sum();
    let told = totals.iter().map(|total| total.1).sum();
    let blocks = shape.partition_bytes / BLOCK_BYTES as u64 * u64::from(shape.partitions);
    assert!(
        told > 6 * blocks,
        "{told} of {changes} changes in {blocks} blocks"
    );
    campaign.end(changes, told, 0);
}

#[test]
fn a_file_that_is_gone_is_told_or_made_again() {
    let shape = Shape {
        partitions: 3,
        partition_bytes: 600 << 10,
    };
    for rest in [Rest::Clean, Rest::Killed] {
        let whole = make(shape, rest);
        let mut told = 0;
        for stored in &whole.files[1] {
            whole.disk.restore(&whole.snapshot);
            let (path, ends) = (stored.path.clone(), whole.ends.clone());
            let sim = Sim::with_disk(9, whole.disk.clone());
            sim.run(|io| async move { io.remove_file(&path).await.expect("removes") })
                .done();
            let sim = Sim::with_disk(10, whole.disk.clone());
            let found = sim.run(|io| look(io, ends)).done().remove(0);
            let is_segment = stored.path.extension().is_some_and(|kind| kind == "log");
            let expected = if is_segment {
                Found::Told
            } else {
                Found::Whole
            };
            let name = stored.path.display();
            assert_eq!(
                found,
                [Found::Whole, expected, Found::Whole],
                "{rest:?} {name}"
            );
            told += u64::from(is_segment);
        }
        assert!(told > 2, "{told} segments");
    }
}

#[test]
fn damage_in_a_file_is_told_or_harmless_after_a_clean_stop() {
    let shape = Shape {
        partitions: 8,
        partition_bytes: 300 << 10,
    };
    let (changes, told) = try_all(shape, Rest::Clean, 9);
    assert!(changes > 200 && told > 150, "{told} of {changes}");
}

#[test]
fn damage_in_a_file_is_told_or_harmless_after_a_kill() {
    let shape = Shape {
        partitions: 8,
        partition_bytes: 300 << 10,
    };
    let (changes, told) = try_all(shape, Rest::Killed, 9);
    assert!(changes > 200 && told > 150, "{told} of {changes}");
}

#[test]
#[ignore = "a minute; run by .ci/run"]
fn every_block_of_8_mib() {
    let shape = Shape {
        partitions: 16,
        partition_bytes: 512 << 10,
    };
    campaign("damage-8-mib", shape);
}

#[test]
#[ignore = "half an hour; the door comment has the command"]
fn every_block_of_256_mib() {
    let shape = Shape {
        partitions: 256,
        partition_bytes: 1 << 20,
    };
    campaign("damage-256-mib", shape);
}
