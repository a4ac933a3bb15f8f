//! Damage is never read as absence. Goal: after a clean stop, whatever byte of a journal is wrong, a partition is either
//! refused or whole; none is cut. Method: flip a byte of every block of every journal file and mark, start, compare.

use crate::base::checksum::bytes_for_zero;
use crate::base::limits::BLOCK_BYTES;
use crate::base::record::BatchBuilder;
use crate::base::{AckLevel, Body, Offset, RecordBatch, TimestampMs};
use crate::io::sim::{Sim, SimDisk, SimIo};
use crate::log::journal::entry::{Entry, parse_file_header};
use crate::log::tests::steps::{SMALL, append, bytes_of, check_all, key, reached, start};
use crate::log::tests::verify::verified;
use crate::log::verify::Kind;
use crate::log::{LogError, recover};
use std::path::{Path, PathBuf};

const DATA: &str = "/data";
const PARTITIONS: u32 = 4;
const RECORDS: u64 = 30;

/// How a start on a damaged disk went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Found {
    /// The start was refused as a whole.
    Refused,
    /// So many partitions were refused; the others were whole.
    Damaged(usize),
}

pub(super) async fn fill(io: SimIo) {
    let (log, _) = start(&io, Path::new(DATA)).await.expect("starts");
    for round in 0..RECORDS / 2 {
        for number in 0..PARTITIONS {
            let partition = log.open(key(number), SMALL).await.expect("opens");
            let bytes = if round == 7 { 40_000 } else { 700 };
            let next = append(&partition, 2, bytes, AckLevel::Synced);
            assert!(reached(&partition, next, AckLevel::Synced).await);
        }
    }
    log.stop().await.expect("stops");
}

async fn look(io: SimIo) -> Found {
    let (log, report) = match start(&io, Path::new(DATA)).await {
        Ok(started) => started,
        Err(LogError::Journal { .. }) => return Found::Refused,
        Err(other) => panic!("not a word about the journal: {other}"),
    };
    let damaged: Vec<_> = report.damaged.iter().map(|(key, _)| *key).collect();
    for number in (0..PARTITIONS).filter(|number| !damaged.contains(&key(*number))) {
        let partition = log.open(key(number), SMALL).await.expect("opens");
        let end = partition.frontiers().synced;
        assert_eq!(end, Offset(RECORDS), "partition {number} was cut");
        assert_eq!(
            check_all(&io, &partition, Offset(0), end, 1 << 20).await,
            RECORDS
        );
    }
    for key in &damaged {
        let opened = log.open(*key, SMALL).await;
        assert!(
            matches!(opened, Err(LogError::Damaged { .. })),
            "{key} is served"
        );
    }
    log.stop().await.expect("stops");
    Found::Damaged(damaged.len())
}

fn journals(disk: &SimDisk) -> Vec<(PathBuf, Vec<u8>)> {
    let files = disk.list_files();
    let journals = files
        .into_iter()
        .filter(|path| path.starts_with("/data/journal"));
    journals
        .filter_map(|path| disk.read_file(&path).map(|bytes| (path, bytes)))
        .collect()
}

#[test]
fn a_flipped_byte_in_any_journal_block_is_refused_or_harmless() {
    let disk = SimDisk::new(3);
    Sim::with_disk(3, disk.clone()).run(fill).done();
    let whole = disk.snapshot();
    let mut found = Vec::new();
    for (path, bytes) in journals(&disk) {
        for at in (7..bytes.len()).step_by(BLOCK_BYTES) {
            disk.restore(&whole);
            disk.corrupt(&path, at as u64, &[bytes[at] ^ 0x10]);
            let sim = Sim::with_disk(4, disk.clone());
            let first = sim.run(look).done()[0];
            // Damage stays damage: the journals that told of it are gone by now.
            let second = Sim::with_disk(5, disk.clone()).run(look).done()[0];
            assert_eq!(first, second, "{} at {at}", path.display());
            found.push(first);
        }
    }
    assert!(
        found.contains(&Found::Refused),
        "the mark, or the header of a file that holds nothing"
    );
    assert!(
        found.contains(&Found::Damaged(0)),
        "blocks that are not in use"
    );
    let damaged = found
        .iter()
        .filter(|f| !matches!(f, Found::Damaged(0) | Found::Refused));
    assert!(damaged.count() > 5, "blocks that matter: {found:?}");
}

/// A batch of one record whose CRC-32C is zero.
fn batch_with_crc_zero() -> Vec<u8> {
    let build = |four: [u8; 4]| {
        let mut builder = BatchBuilder::new();
        builder.push(TimestampMs(1), None, Some(&four), &[]);
        builder.finish().to_vec()
    };
    let crc = |batch: &[u8]| u32::from_be_bytes(batch[17..21].try_into().expect("four bytes"));
    let batch = build(bytes_for_zero(|four| crc(&build(four))));
    assert_eq!(crc(&batch), 0);
    batch
}

/// A log that took a checksum of zero for its end lost everything behind such a batch.
#[test]
fn a_batch_whose_checksum_is_zero_is_one_like_any_other() {
    let disk = SimDisk::new(12);
    let batch = batch_with_crc_zero();
    let bytes = batch.clone();
    let sim = Sim::with_disk(12, disk.clone());
    sim.run(move |io| async move {
        let (log, _) = start(&io, Path::new(DATA)).await.expect("starts");
        let partition = log.open(key(0), SMALL).await.expect("opens");
        // Enough for some of them to lie in sealed segments, and for the last to be in the journal only.
        for _ in 0..2_000 {
            let batch = RecordBatch::parse(&bytes).expect("sound");
            let next = partition
                .append(&batch, AckLevel::Synced)
                .expect("accepted");
            if next.0.is_multiple_of(100) {
                assert!(reached(&partition, next, AckLevel::Synced).await);
            }
        }
    })
    .done();
    disk.power_cut();
    let found = Sim::with_disk(13, disk).run(move |io| async move {
        let (log, report) = start(&io, Path::new(DATA)).await.expect("starts");
        assert_eq!(report.damaged, []);
        let partition = log.open(key(0), SMALL).await.expect("opens");
        let end = partition.frontiers().synced;
        let (mut next, mut whole) = (Offset(0), 0);
        while next < end {
            let mut body = Body::default();
            let read = partition.read(next, end, 1 << 20, &mut body);
            read.await.expect("readable");
            for stored in bytes_of(&io, &body).await.chunks(batch.len()) {
                // The offset and the epoch lie outside of the checksum.
                assert_eq!(stored[17..], batch[17..]);
                whole += 1;
                next = Offset(next.0 + 1);
            }
        }
        whole
    });
    assert_eq!(found.done(), [2_000]);
}

/// Whether an entry in these bytes of a journal file is of the use that its header names.
fn has_entries(bytes: &[u8]) -> bool {
    let id = parse_file_header(bytes).expect("a header");
    let blocks = (BLOCK_BYTES..bytes.len()).step_by(BLOCK_BYTES);
    let mut entries = blocks.filter_map(|at| Entry::parse(&bytes[at..]).ok());
    entries.any(|entry| entry.head.file == id)
}

#[test]
fn a_journal_file_is_known_by_its_entries_where_its_header_is_wrong() {
    let disk = SimDisk::new(9);
    Sim::with_disk(9, disk.clone()).run(fill).done();
    let whole = disk.snapshot();
    let mut files = journals(&disk);
    files.retain(|(path, _)| path.extension().is_some_and(|kind| kind == "wal"));
    assert!(files.len() > 1);
    let headers: Vec<Vec<u8>> = files
        .iter()
        .map(|(_, bytes)| bytes[..BLOCK_BYTES].to_vec())
        .collect();
    let mut held = 0;
    for (path, bytes) in &files {
        let mut flipped = bytes[..BLOCK_BYTES].to_vec();
        flipped[100] ^= 4;
        let mut wrong = vec![flipped, vec![0; BLOCK_BYTES]];
        wrong.extend(
            headers
                .iter()
                .filter(|other| **other != bytes[..BLOCK_BYTES])
                .cloned(),
        );
        for header in wrong {
            disk.restore(&whole);
            disk.corrupt(path, 0, &header);
            let told = verified(&disk).findings;
            let found = Sim::with_disk(11, disk.clone()).run(look).done()[0];
            if has_entries(bytes) {
                held += 1;
                assert_eq!(found, Found::Damaged(0), "{}", path.display());
                assert!(
                    told.iter().any(|f| f.kind == Kind::JournalHeader),
                    "{told:?}"
                );
            } else {
                // The header of a later file, on one that holds nothing: as a power cut may leave it.
                assert!(matches!(found, Found::Refused | Found::Damaged(0)));
            }
        }
    }
    assert!(held >= 3, "{held}");
}

#[test]
fn an_unreadable_journal_stops_the_start_and_cuts_nothing() {
    let disk = SimDisk::new(6);
    Sim::with_disk(6, disk.clone()).run(fill).done();
    let whole = disk.snapshot();
    let mut refused = 0;
    for read in 0.. {
        disk.restore(&whole);
        disk.fail_read_at(read);
        let sim = Sim::with_disk(7, disk.clone());
        let failed = sim.run(|io| async move { recover(&io, Path::new(DATA)).await.is_err() });
        let failed = failed.done()[0];
        refused += u64::from(failed);
        assert_eq!(
            Sim::with_disk(8, disk.clone()).run(look).done(),
            [Found::Damaged(0)]
        );
        if disk.reads() < read || read > 2_000 {
            break;
        }
        if !failed && read > 40 {
            break;
        }
    }
    assert!(refused > 10, "reads that failed: {refused}");
}
