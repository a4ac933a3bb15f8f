//! Finding records by their time. Goal: the answer is the record that a look at all of them would find, whatever the order of
//! times, the compression, the segment, the trim and the end. Method: seeded batches against a list of all records.

use crate::base::batch::{CRC_START, HEADER_BYTES, LENGTH_PREFIX_BYTES};
use crate::base::checksum::crc32c;
use crate::base::prng::Prng;
use crate::base::record::BatchBuilder;
use crate::base::{AckLevel, Offset, RecordBatch, TimestampMs};
use crate::io::Io;
use crate::io::sim::Sim;
use crate::log::tests::steps::{key, reached, start};
use crate::log::{Draw, PartitionLog, SegmentSettings};
use std::path::Path;

/// Some index entries a segment.
const SETTINGS: SegmentSettings = SegmentSettings {
    segment_bytes: 300_000,
    segment_ms: u64::MAX,
};

/// A batch of records of those times; compressed by zstd if asked.
fn batch(times: &[i64], bytes: usize, is_packed: bool) -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    let mut value = vec![0; bytes];
    for time in times {
        // What does not compress well, so that such batches fill segments too.
        let mut prng = Prng::new(*time as u64);
        value.fill_with(|| prng.next_u64() as u8);
        builder.push(TimestampMs(*time), None, Some(&value), &[]);
    }
    let mut bytes = builder.finish().to_vec();
    if is_packed {
        let packed = zstd::encode_all(&bytes[HEADER_BYTES..], 1).expect("memory");
        bytes.truncate(HEADER_BYTES);
        bytes.extend(packed);
        let length = (bytes.len() - LENGTH_PREFIX_BYTES) as i32;
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        bytes[22] = 4;
        let crc = crc32c(&bytes[CRC_START..]);
        bytes[17..CRC_START].copy_from_slice(&crc.to_be_bytes());
    }
    bytes
}

/// Times that mostly grow, at random, fall, or are all the same.
fn time(prng: &mut Prng, mode: u64, number: i64) -> i64 {
    let noise = prng.below(40) as i64;
    1_000
        + match mode {
            0 => number + noise,
            1 => noise,
            2 => -number / 4 + noise,
            _ => 0,
        }
}

/// Appends `batches` batches; notes the time of each record and the boundaries.
async fn fill<I: Io>(
    partition: &PartitionLog<I>,
    prng: &mut Prng,
    batches: u64,
    (times, ends): (&mut Vec<i64>, &mut Vec<u64>),
) {
    let mode = prng.below(4);
    for _ in 0..batches {
        let count = 1 + prng.below(8);
        let new: Vec<i64> = (0..count)
            .map(|number| time(prng, mode, (times.len() as u64 + number) as i64))
            .collect();
        let bytes = batch(&new, prng.below(1_500) as usize, prng.chance(1, 3));
        let batch = RecordBatch::parse(&bytes).expect("built here");
        let given = prng.chance(1, 6).then(|| TimestampMs(new[0]));
        let next = partition
            .append_drawing(&batch, AckLevel::Written, Draw::Free, given)
            .expect("taken");
        times.extend(new.iter().map(|time| given.map_or(*time, |given| given.0)));
        ends.push(next.0);
    }
    let end = Offset(times.len() as u64);
    assert!(reached(partition, end, AckLevel::Written).await);
}

/// Holds both searches against a look at all records, with every third boundary for an end.
async fn check<I: Io>(partition: &PartitionLog<I>, prng: &mut Prng, times: &[i64], ends: &[u64]) {
    let start = partition.frontiers().start.0;
    for until in ends.iter().copied().skip(prng.below(3) as usize).step_by(3) {
        let all = (0..until).zip(times).filter(|(offset, _)| *offset >= start);
        let wanted = times[prng.below(times.len() as u64) as usize] + prng.below(3) as i64 - 1;
        let found = partition
            .find_time(TimestampMs(wanted), Offset(until))
            .await;
        let first = all.clone().find(|(_, time)| **time >= wanted);
        let told = |found: Option<(Offset, TimestampMs)>| found.map(|(at, time)| (at.0, time.0));
        let plain = |found: Option<(u64, &i64)>| found.map(|(at, time)| (at, *time));
        assert_eq!(
            told(found.expect("readable")),
            plain(first),
            "{wanted} in {start}..{until}"
        );
        let youngest = all.reduce(|best, one| if one.1 > best.1 { one } else { best });
        let found = partition.find_youngest(Offset(until)).await;
        assert_eq!(
            told(found.expect("readable")),
            plain(youngest),
            "{start}..{until}"
        );
    }
}

async fn life<I: Io>(io: I, data: &Path, seed: u64) {
    let mut prng = Prng::new(seed);
    let (mut times, mut ends) = (Vec::new(), Vec::new());
    for life in 0..3 {
        let (log, _) = start(&io, data).await.expect("starts");
        let partition = log.open(key(0), SETTINGS).await.expect("opens");
        if life == 0 {
            let none = partition.find_youngest(Offset(0)).await;
            assert_eq!(none, Ok(None), "nothing is there");
        }
        fill(&partition, &mut prng, 120, (&mut times, &mut ends)).await;
        check(&partition, &mut prng, &times, &ends).await;
        let begin = partition.frontiers().start.0;
        let before = begin + prng.below((times.len() as u64 - begin) / 2 + 1);
        partition.trim(Offset(before)).await.expect("trimmed");
        check(&partition, &mut prng, &times, &ends).await;
        log.stop().await.expect("stops");
    }
}

#[test]
fn searches_find_what_a_look_at_all_records_does() {
    for seed in 0..6 {
        Sim::new(seed)
            .run(move |io| async move { life(io, Path::new("/data"), seed).await })
            .done();
    }
}

#[test]
fn searches_on_uring() {
    super::on_uring(|io, data| async move { life(io, &data, 99).await });
}
