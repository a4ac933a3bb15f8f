//! The steps that tests are made of, generic over the ground.

use crate::base::record::{BatchBuilder, records};
use crate::base::{
    AckLevel, Body, NodeId, Offset, PartitionKey, PartitionNo, RecordBatch, TimestampMs, TopicId,
};
use crate::io::Io;
use crate::log::{
    Chunk, Log, LogError, Options, PartitionLog, RecoveryReport, SegmentSettings, gather, recover,
    retire_journals,
};
use std::path::Path;

/// The partition of most tests.
pub(super) fn key(partition: u32) -> PartitionKey {
    PartitionKey::new(TopicId(0xabc0), PartitionNo(partition))
}

/// Small segments, so that rolling over is in every test.
pub(super) const SMALL: SegmentSettings = SegmentSettings {
    segment_bytes: 64 << 10,
    segment_ms: u64::MAX,
};

/// A batch of `count` records whose values are derived from `first`, the offset that the first of them will have.
pub(super) fn batch(first: u64, count: u64, bytes: usize) -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    for offset in first..first + count {
        let value = value_of(offset, bytes);
        builder.push(
            TimestampMs(1_000_000 + offset as i64),
            None,
            Some(&value),
            &[],
        );
    }
    builder.finish().to_vec()
}

/// What the record at `offset` holds.
pub(super) fn value_of(offset: u64, bytes: usize) -> Vec<u8> {
    let mut value = offset.to_le_bytes().to_vec();
    value.extend((0..bytes).map(|i| (offset as usize * 31 + i) as u8));
    value
}

/// Recovers and starts a one-core log.
pub(super) async fn start<I: Io>(
    io: &I,
    data: &Path,
) -> Result<(Log<I>, RecoveryReport), LogError> {
    let recovered = recover(io, data).await?;
    let mut options = Options::new(data.to_path_buf(), NodeId(7), recovered.epoch);
    options.journal_file_bytes = 256 << 10;
    options.hot_bytes_max = 128 << 10;
    options.disk_reserve_bytes = 0;
    let log = Log::start(io.clone(), options, recovered.partitions).await?;
    retire_journals(io, &recovered.retired).await?;
    Ok((log, recovered.report))
}

/// Appends one batch behind the last.
pub(super) fn append<I: Io>(
    partition: &PartitionLog<I>,
    count: u64,
    bytes: usize,
    level: AckLevel,
) -> Offset {
    let first = partition.frontiers().appended.0;
    let bytes = batch(first, count, bytes);
    let batch = RecordBatch::parse(&bytes).expect("built by us");
    partition.append(&batch, level).expect("accepted")
}

/// Waits until `offset` has reached `level`. False: the storage failed first.
pub(super) async fn reached<I: Io>(
    partition: &PartitionLog<I>,
    offset: Offset,
    level: AckLevel,
) -> bool {
    loop {
        let wait = partition.progress().wait();
        let frontiers = partition.frontiers();
        let at = if level == AckLevel::Synced {
            frontiers.synced
        } else {
            frontiers.written
        };
        if at >= offset {
            return true;
        }
        if partition.has_failed() {
            return false;
        }
        wait.await;
    }
}

/// The bytes of a body.
pub(super) async fn bytes_of<I: Io>(io: &I, body: &Body<Chunk<I>, I::Source>) -> Vec<u8> {
    let all = gather(io, body)
        .await
        .expect("readable, and within its files");
    assert_eq!(all.len() as u64, body.bytes);
    all
}

/// Reads `[from, until)` in steps of about `step` bytes and checks every batch and record. Returns how many records.
pub(super) async fn check_all<I: Io>(
    io: &I,
    partition: &PartitionLog<I>,
    from: Offset,
    until: Offset,
    step: u64,
) -> u64 {
    let (mut next, mut count) = (from, 0);
    while next < until {
        let mut body = Body::default();
        partition
            .read(next, until, step, &mut body)
            .await
            .expect("readable");
        let bytes = bytes_of(io, &body).await;
        assert!(
            !bytes.is_empty(),
            "a read below the end yields something, at {next}"
        );
        let after = check_batches(&bytes, next, until);
        count += after.0 - next.0;
        next = after;
    }
    count
}

/// Checks every batch and record of what a read from `from` gave: whole, without a gap, with the right bytes, not past
/// `until`. Returns the offset after the last.
pub(super) fn check_batches(bytes: &[u8], from: Offset, until: Offset) -> Offset {
    let (mut rest, mut next) = (bytes, from);
    while !rest.is_empty() {
        let batch = RecordBatch::parse(rest).expect("whole batches");
        batch.check().expect("sound batches");
        rest = &rest[batch.bytes().len()..];
        if batch.next_offset() <= next {
            continue;
        }
        let base = batch.base_offset();
        assert!(base <= next, "no gap: {base} at {next}");
        for record in records(&batch) {
            let record = record.expect("sound records");
            let offset = base.0 + record.offset_delta as u64;
            if offset < next.0 {
                continue;
            }
            assert_eq!(offset, next.0, "every offset has its record");
            let value = record.value.expect("has one");
            let expected = value_of(offset, value.len() - 8);
            assert_eq!(value, expected, "bytes at {offset}");
            next = Offset(offset + 1);
        }
        assert_eq!(next, batch.next_offset(), "as many records as offsets");
    }
    assert!(next <= until, "nothing past what was asked for");
    assert!(
        next > from,
        "a read below the end yields something, at {from}"
    );
    next
}
