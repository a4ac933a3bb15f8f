//! A data directory as the log leaves it, edits of it, and what must be true whatever was edited.
//!
//! The edits are blind; afterwards the checksums of journals, indexes and batches can be made right again, so that what
//! lies behind them is reached. Two directories are edited: one after a clean stop, one after a kill.

use crate::store::{SMALL, append, batch, key, reached, read, start, walk};
use arbitrary::Arbitrary;
use millrace::base::limits::BLOCK_BYTES;
use millrace::base::{AckLevel, Offset, PartitionKey};
use millrace::io::sim::{DiskSnapshot, Sim, SimDisk, SimIo};
use millrace::io::{File, Io, OpenMode};
use millrace::log::{PartitionLog, untrusted};
use std::path::{Path, PathBuf};
use std::rc::Rc;

const PARTITIONS: u32 = 3;
const EDITS_MAX: usize = 16;

/// A directory and what is done to it.
#[derive(Arbitrary, Clone, Debug)]
pub struct Damage {
    /// The one after a kill; else the one after a clean stop.
    killed: bool,
    /// Make the checksums right afterwards.
    seal: bool,
    edits: Vec<Edit>,
}

/// One edit. Files are chosen by number, positions within what the file used.
#[derive(Arbitrary, Clone, Debug)]
enum Edit {
    Write {
        file: u8,
        at: u32,
        bytes: [u8; 8],
        count: u8,
    },
    Zero {
        file: u8,
        block: u16,
        blocks: u8,
    },
    Copy {
        from: (u8, u16),
        to: (u8, u16),
    },
    SetLen {
        file: u8,
        bytes: u32,
    },
    Remove {
        file: u8,
    },
    Rename {
        file: u8,
        name: u16,
    },
}

/// A directory to be edited.
pub struct Image {
    snapshot: DiskSnapshot,
    files: Vec<UsedFile>,
}

/// A file, and how much of it is not zeros.
struct UsedFile {
    path: PathBuf,
    used: u64,
}

/// The directories: after a clean stop, after a kill.
pub fn images() -> [Image; 2] {
    [image(false), image(true)]
}

fn image(killed: bool) -> Image {
    let disk = SimDisk::new(1);
    let sim = Sim::with_disk(1, disk.clone());
    let world = sim.clone();
    let end = sim.run(move |io| async move {
        fill(&io).await;
        let started = start(&io).await.expect("starts");
        for number in 0..PARTITIONS {
            let partition = started.log.open(key(number), SMALL).await.expect("opens");
            let first = partition.frontiers().appended.0;
            let next = append(&partition, &batch(first, 2, value), AckLevel::Written);
            reached(&partition, next.expect("taken"), AckLevel::Written).await;
        }
        if killed {
            world.crash();
            io.yield_now().await;
        }
        started.log.stop().await.expect("stops");
    });
    assert_eq!(end.is_crashed(), killed);
    disk.kill();
    let paths = disk.list_files();
    let files = paths.into_iter().map(|path| {
        let bytes = disk.read_file(&path).expect("listed");
        let used = bytes.iter().rposition(|byte| *byte != 0);
        UsedFile {
            used: used.map_or(1, |last| last as u64 + 1),
            path,
        }
    });
    Image {
        files: files.collect(),
        snapshot: disk.snapshot(),
    }
}

/// Some segments, with direct writes and inline ones.
async fn fill(io: &SimIo) {
    let started = start(io).await.expect("starts");
    for round in 0..6 {
        for number in 0..PARTITIONS {
            let partition = started.log.open(key(number), SMALL).await.expect("opens");
            let count = if round == 3 {
                40
            } else {
                1 + u64::from(number)
            };
            let first = partition.frontiers().appended.0;
            let next = append(&partition, &batch(first, count, value), AckLevel::Synced);
            reached(&partition, next.expect("taken"), AckLevel::Synced).await;
        }
    }
    started.log.stop().await.expect("stops");
}

fn value(offset: u64) -> Vec<u8> {
    vec![offset as u8; 2_000]
}

/// Edits a directory and looks at what a start makes of it.
pub fn look_at(images: &[Image; 2], damage: &Damage) {
    let image = &images[usize::from(damage.killed)];
    let disk = SimDisk::new(2);
    disk.restore(&image.snapshot);
    let sim = Sim::with_disk(2, disk.clone());
    let edits: Vec<Edit> = damage.edits.iter().take(EDITS_MAX).cloned().collect();
    let paths: Vec<PathBuf> = image.files.iter().map(|file| file.path.clone()).collect();
    write_bytes(&disk, &image.files, &edits);
    sim.run(|io| async move {
        for edit in &edits {
            change_names(&io, &paths, edit).await;
        }
    })
    .done();
    if damage.seal {
        seal(&disk);
    }
    look_twice(&sim, !damage.seal);
}

/// Looks at what a start makes of a directory whose journal is this one file.
pub fn look_at_journal(images: &[Image; 2], journal: &[u8]) {
    let image = &images[1];
    let disk = SimDisk::new(2);
    disk.restore(&image.snapshot);
    let sim = Sim::with_disk(2, disk.clone());
    let paths: Vec<PathBuf> = image.files.iter().map(|file| file.path.clone()).collect();
    let journal = journal.to_vec();
    sim.run(|io| async move {
        for path in paths
            .iter()
            .filter(|path| path.starts_with("/data/journal"))
        {
            io.remove_file(path).await.expect("listed");
        }
        let path = Path::new("/data/journal/0/0000000000000001.wal");
        let file = io.open(path, OpenMode::CreateNew).await.expect("free");
        let blocks = journal.len().div_ceil(BLOCK_BYTES).max(1);
        let mut buffer = io.buffer(blocks * BLOCK_BYTES);
        buffer.as_mut().fill(0);
        buffer.as_mut()[..journal.len()].copy_from_slice(&journal);
        file.write_at(Rc::new(buffer), 0)
            .await
            .expect("no fault is planned");
        file.set_len(journal.len() as u64)
            .await
            .expect("no fault is planned");
    })
    .done();
    look_twice(&sim, false);
}

/// A clean stop and a start lose nothing that was acknowledged: whoever served once goes on. Where checksums were `true`
/// to what had been written, that is: what was made up by the fuzzer may be found out later, and is then refused.
fn look_twice(sim: &Sim, is_true: bool) {
    let first = sim.run(|io| look(io)).done().remove(0);
    if let Some((before, _)) = first {
        let again = sim.run(|io| look(io)).done().remove(0);
        let (after, refused) = again.expect("a directory that served is not refused as a whole");
        for (key, end) in before {
            let found = after.iter().find(|(other, _)| *other == key);
            let is_kept = found.is_some_and(|(_, next)| *next >= end);
            let is_refused = !is_true && refused.contains(&key);
            assert!(
                is_kept || is_refused,
                "{key} lost what it had: {found:?} of {end}"
            );
        }
    }
}

fn write_bytes(disk: &SimDisk, files: &[UsedFile], edits: &[Edit]) {
    let chosen = |number: u8| &files[usize::from(number) % files.len()];
    let at_block = |file: &UsedFile, block: u16| {
        let blocks = file.used.div_ceil(BLOCK_BYTES as u64);
        u64::from(block) % blocks * BLOCK_BYTES as u64
    };
    for edit in edits {
        match edit {
            Edit::Write {
                file,
                at,
                bytes,
                count,
            } => {
                let file = chosen(*file);
                let bytes = &bytes[..1 + usize::from(*count) % 8];
                disk.corrupt(&file.path, u64::from(*at) % file.used, bytes);
            }
            Edit::Zero {
                file,
                block,
                blocks,
            } => {
                let file = chosen(*file);
                let bytes = vec![0; (1 + usize::from(*blocks) % 4) * BLOCK_BYTES];
                disk.corrupt(&file.path, at_block(file, *block), &bytes);
            }
            Edit::Copy { from, to } => {
                let (source, target) = (chosen(from.0), chosen(to.0));
                let bytes = disk.read_file(&source.path).expect("no file has gone yet");
                let at = at_block(source, from.1) as usize;
                let end = bytes.len().min(at + BLOCK_BYTES);
                disk.corrupt(&target.path, at_block(target, to.1), &bytes[at..end]);
            }
            Edit::SetLen { .. } | Edit::Remove { .. } | Edit::Rename { .. } => {}
        }
    }
}

/// An edit of a file that is gone by now does nothing.
async fn change_names(io: &SimIo, paths: &[PathBuf], edit: &Edit) {
    let chosen = |number: u8| &paths[usize::from(number) % paths.len()];
    match edit {
        Edit::SetLen { file, bytes } => {
            if let Ok(file) = io.open(chosen(*file), OpenMode::Existing).await {
                // Whole blocks, as a file system would leave them, and some more than there were.
                let blocks = u64::from(*bytes) % 64;
                let _ = file.set_len(blocks * BLOCK_BYTES as u64).await;
            }
        }
        Edit::Remove { file } => {
            let _ = io.remove_file(chosen(*file)).await;
        }
        Edit::Rename { file, name } => {
            let path = chosen(*file);
            let extension = path
                .extension()
                .map_or("", |name| name.to_str().unwrap_or(""));
            let name = match path.starts_with("/data/journal") {
                true => format!("{name:016x}.{extension}"),
                false if *name == u16::MAX => format!("{:020}.{extension}", u64::MAX),
                false => format!("{:020}.{extension}", name % 100),
            };
            let _ = io.rename(path, &path.with_file_name(name)).await;
        }
        Edit::Write { .. } | Edit::Zero { .. } | Edit::Copy { .. } => {}
    }
}

/// Makes the checksums of all files right for what they hold.
fn seal(disk: &SimDisk) {
    for path in disk.list_files() {
        let before = disk.read_file(&path).expect("listed");
        let mut bytes = before.clone();
        match path.extension().and_then(|name| name.to_str()) {
            Some("wal") => untrusted::seal_journal(&mut bytes),
            Some("idx") => untrusted::seal_index(&mut bytes),
            Some("log") => untrusted::seal_segment(&mut bytes),
            _ if path.ends_with("clean") => untrusted::seal_journal(&mut bytes),
            _ => {}
        }
        let blocks = bytes.chunks(BLOCK_BYTES).zip(before.chunks(BLOCK_BYTES));
        for (number, (block, _)) in blocks.enumerate().filter(|(_, (now, was))| now != was) {
            disk.corrupt(&path, (number * BLOCK_BYTES) as u64, block);
        }
    }
}

/// What a start served, the partitions and how far each went, and which it refused.
type Looked = (Vec<(PartitionKey, Offset)>, Vec<PartitionKey>);

/// Starts, reads all that is served, appends to it, stops. `None`: the start was refused, in words.
async fn look(io: SimIo) -> Option<Looked> {
    let started = match start(&io).await {
        Ok(started) => started,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return None;
        }
    };
    assert!(!started.report.lines().is_empty());
    let damaged = started.report.damaged.iter();
    let refused: Vec<PartitionKey> = damaged.map(|(key, _)| *key).collect();
    let mut served = Vec::new();
    for key in started.keys.iter().copied() {
        let opened = started.log.open(key, SMALL).await;
        assert_eq!(
            opened.is_err(),
            refused.contains(&key),
            "{key}: served and refused"
        );
        if let Ok(partition) = opened {
            served.push((key, use_up(&io, &partition).await));
        }
    }
    started.log.stop().await.expect("stops");
    Some((served, refused))
}

/// Reads all of a partition, and adds to it. Where it ends then.
async fn use_up(io: &SimIo, partition: &PartitionLog<SimIo>) -> Offset {
    let frontiers = partition.frontiers();
    assert_eq!(
        frontiers.appended, frontiers.synced,
        "what was found is durable"
    );
    for step in [1, 1 << 20] {
        read_all(io, partition, step).await;
    }
    let end = frontiers.appended;
    let next = append(partition, &batch(end.0, 2, value), AckLevel::Synced);
    let next = next.expect("a partition that serves takes records");
    reached(partition, next, AckLevel::Synced).await;
    let bytes = read(io, partition, end, next, 1 << 20).await;
    let walked = walk(&bytes.expect("just written"), end, next, |_, _| ());
    assert_eq!(walked, Ok(next), "what was just written");
    next
}

/// Reads a partition in steps. What the log refuses to serve, it says; a client's check finds the rest, which is why
/// batches whose checksums were made right for other bytes pass.
async fn read_all(io: &SimIo, partition: &PartitionLog<SimIo>, step: u64) {
    let frontiers = partition.frontiers();
    let mut next = frontiers.start;
    while next < frontiers.appended {
        let read = read(io, partition, next, frontiers.appended, step).await;
        let Ok(bytes) = read else { return };
        let Ok(walked) = walk(&bytes, next, frontiers.appended, |_, _| ()) else {
            return;
        };
        if walked <= next {
            return;
        }
        next = walked;
    }
}
