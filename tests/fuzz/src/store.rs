//! The log on the simulated disk, and reading back all that it serves.

use millrace::base::record::{BatchBuilder, records};
use millrace::base::{
    AckLevel, Body, NodeId, Offset, Part, PartitionKey, PartitionNo, RecordBatch, TimestampMs,
    TopicId,
};
use millrace::io::Io;
use millrace::io::sim::{SimIo, SimSource};
use millrace::log::{
    AppendError, Chunk, Log, LogError, Options, PartitionLog, ReadError, RecoveryReport,
    SegmentSettings, recover, retire_journals,
};
use std::path::Path;

/// Where the data lies on the simulated disk.
pub const DATA: &str = "/data";
/// Small segments, so that rolling over is in every history.
pub const SMALL: SegmentSettings = SegmentSettings {
    segment_bytes: 64 << 10,
    segment_ms: u64::MAX,
};
const JOURNAL_FILE_BYTES: u64 = 256 << 10;

/// A log that has been started, and what its start found.
pub struct Started {
    /// The log.
    pub log: Log<SimIo>,
    /// The partitions that were on disk.
    pub keys: Vec<PartitionKey>,
    /// What recovery said.
    pub report: RecoveryReport,
}

/// The partition `number` of the one topic.
pub fn key(number: u32) -> PartitionKey {
    PartitionKey::new(TopicId(0xabc0), PartitionNo(number))
}

/// Recovers what is on disk and starts a log of one core on it.
pub async fn start(io: &SimIo) -> Result<Started, LogError> {
    let recovered = recover(io, Path::new(DATA)).await?;
    let keys = recovered.partitions.iter().map(|found| found.key).collect();
    let mut options = Options::new(DATA.into(), NodeId(7), recovered.epoch);
    options.journal_file_bytes = JOURNAL_FILE_BYTES;
    options.hot_bytes_max = 128 << 10;
    options.disk_reserve_bytes = 0;
    let log = Log::start(io.clone(), options, recovered.partitions).await?;
    retire_journals(io, &recovered.retired).await?;
    Ok(Started {
        log,
        keys,
        report: recovered.report,
    })
}

/// A batch of `count` records; the value of the record at `offset` is `value(offset)`, its time the offset.
pub fn batch(first: u64, count: u64, value: impl Fn(u64) -> Vec<u8>) -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    for offset in first..first + count {
        let time = TimestampMs(offset as i64);
        builder.push(time, None, Some(&value(offset)), &[]);
    }
    builder.finish().to_vec()
}

/// Appends what [`batch`] made.
pub fn append(
    partition: &PartitionLog<SimIo>,
    bytes: &[u8],
    level: AckLevel,
) -> Result<Offset, AppendError> {
    let batch = RecordBatch::parse(bytes).expect("built by us");
    partition.append(&batch, level)
}

/// Waits until `offset` has reached `level`.
pub async fn reached(partition: &PartitionLog<SimIo>, offset: Offset, level: AckLevel) {
    loop {
        let wait = partition.progress().wait();
        let frontiers = partition.frontiers();
        let at = match level {
            AckLevel::None => frontiers.appended,
            AckLevel::Written => frontiers.written,
            AckLevel::Synced => frontiers.synced,
        };
        if at >= offset {
            return;
        }
        assert!(!partition.has_failed(), "{:?}", partition.failed());
        wait.await;
    }
}

/// One read of about `bytes_max` bytes: the bytes of whole batches.
pub async fn read(
    io: &SimIo,
    partition: &PartitionLog<SimIo>,
    from: Offset,
    until: Offset,
    bytes_max: u64,
) -> Result<Vec<u8>, ReadError> {
    let mut body = Body::default();
    partition.read(from, until, bytes_max, &mut body).await?;
    Ok(bytes_of(io, &body).await)
}

/// The bytes of a body. A span that runs past the end of its file is cut short.
async fn bytes_of(io: &SimIo, body: &Body<Chunk<SimIo>, SimSource>) -> Vec<u8> {
    let mut all = Vec::new();
    for part in &body.parts {
        match part {
            Part::Memory { chunk, from, until } => all.extend(&chunk.as_ref()[*from..*until]),
            Part::Copied { from, until } => all.extend(&body.copied[*from..*until]),
            Part::File {
                source,
                position,
                bytes,
            } => {
                let read = io.read_source(source, *position, *bytes as usize).await;
                all.extend(read.expect("no fault is planned"));
            }
        }
    }
    all
}

/// Walks over batches that were read from `from` on: whole, with right checksums, without a gap, nothing past `until`.
/// Calls `each` for every record at or behind `from`, with its offset and value. Returns the offset after the last;
/// the error says what is wrong.
pub fn walk(
    mut bytes: &[u8],
    from: Offset,
    until: Offset,
    mut each: impl FnMut(u64, &[u8]),
) -> Result<Offset, String> {
    let mut next = None;
    while !bytes.is_empty() {
        let batch = RecordBatch::parse(bytes).map_err(|error| error.to_string())?;
        batch.check().map_err(|error| error.to_string())?;
        let base = batch.base_offset();
        if next.is_some_and(|next| next != base) || (next.is_none() && base > from) {
            return Err(format!("a gap before {base}"));
        }
        for record in records(&batch) {
            let record = record.map_err(|_| "a malformed record".to_owned())?;
            let offset = base.0.wrapping_add(record.offset_delta as u64);
            if offset >= from.0 {
                each(offset, record.value.unwrap_or_default());
            }
        }
        next = Some(batch.next_offset());
        bytes = &bytes[batch.bytes().len()..];
    }
    let next = next.unwrap_or(from);
    if next > until {
        return Err(format!("{next} is past {until}"));
    }
    Ok(next)
}
