//! What is left of a partition: every segment walked to its end, with what the journals hold over what its file holds,
//! read in the way in which the least is missing.

use crate::base::{Offset, PartitionKey};
use crate::io::Io;
use crate::log::repair::evidence::{self, Evidence};
use crate::log::segment::read_index_file;
use crate::log::verify::segment::{Bytes, Known, Piece, Walked, walk};
use crate::log::{LogError, index, paths};
use std::path::Path;

/// All of it.
pub(super) struct Left {
    /// In the order of their base offsets.
    pub(super) segments: Vec<LeftSegment>,
    /// The offset after the last record that the journals know of.
    pub(super) promised: Option<Offset>,
    /// Below, the partition was trimmed.
    pub(super) log_start: Offset,
    /// The journals say that the partition was deleted.
    pub(super) is_deleted: bool,
}

/// One segment.
pub(super) struct LeftSegment {
    pub(super) base: Offset,
    pub(super) file_bytes: u64,
    pub(super) over: Vec<Piece>,
    pub(super) walked: Walked,
}

impl LeftSegment {
    /// How many offsets its sound batches take.
    fn sound_offsets(&self) -> u64 {
        let end = self.walked.end.next_offset;
        let inside = self
            .walked
            .gaps
            .iter()
            .filter_map(|gap| Some((gap.from, gap.until?)));
        let lost = inside
            .filter(|(_, until)| *until <= end)
            .map(|(from, until)| until.0 - from.0);
        end.0 - self.base.0 - lost.sum::<u64>()
    }
}

/// Reads all of the partition.
pub(super) async fn read<I: Io>(io: &I, data: &Path, key: PartitionKey) -> Result<Left, LogError> {
    let evidence = evidence::gather(io, data, key).await?;
    let dir = paths::partition(data, key);
    let mut bases = Vec::new();
    for item in io
        .list_dir(&dir)
        .await
        .map_err(LogError::io("list", &dir))?
    {
        let base = item.name.strip_suffix(".log");
        if let Some(base) = base.and_then(|base| base.parse().ok()) {
            bases.push((Offset(base), item.bytes));
        }
    }
    bases.sort_unstable();
    let log_start = evidence.log_start();
    if let Some(first) = bases.iter().rposition(|(base, _)| *base <= log_start) {
        // What is left of trimmed segments: the next start removes it.
        bases.drain(..first);
    }
    let mut segments = Vec::new();
    for (number, (base, file_bytes)) in bases.iter().enumerate() {
        let next = bases.get(number + 1).map(|(next, _)| *next);
        segments.push(read_segment(io, &dir, key, (*base, *file_bytes, next), &evidence).await?);
    }
    let last = evidence.last();
    Ok(Left {
        segments,
        log_start,
        promised: last.map(|record| record.next_offset),
        is_deleted: last.is_some_and(|record| record.deleted),
    })
}

/// The file alone or with the journals' bytes over it, with the index's word or without: whichever has the fewest
/// offsets missing. An index may lie, and a segment that was repaired before is not what the journals remember.
async fn read_segment<I: Io>(
    io: &I,
    dir: &Path,
    key: PartitionKey,
    (base, file_bytes, next): (Offset, u64, Option<Offset>),
    evidence: &Evidence,
) -> Result<LeftSegment, LogError> {
    let pieces = evidence.pieces(io, base).await?;
    let read = read_index_file(io, dir, base).await;
    let read = read.map_err(LogError::io("read index of", paths::segment(dir, base)))?;
    let (entries, _) = index::decode(key, base, &read);
    let last = evidence.last().filter(|record| record.segment == base);
    let mut best: Option<LeftSegment> = None;
    for over in [Vec::new(), pieces] {
        for boundaries in [&entries[..], &[]] {
            let known = Known {
                offset: next,
                may_end_at: next
                    .is_none()
                    .then(|| last.map(|record| record.end_pos))
                    .flatten(),
                boundaries,
                ..Known::default()
            };
            let mut walked = walk_with(io, dir, base, &over, &known).await?;
            // Behind the last sound batch of the last segment: nothing that could be told.
            walked.gaps.retain(|gap| gap.until.is_some());
            let (base, over) = (base, over.clone());
            let this = LeftSegment {
                base,
                file_bytes,
                over,
                walked,
            };
            let is_better = |best: &LeftSegment| this.sound_offsets() > best.sound_offsets();
            if best.as_ref().is_none_or(is_better) {
                best = Some(this);
            }
        }
    }
    Ok(best.expect("four ways were tried"))
}

async fn walk_with<I: Io>(
    io: &I,
    dir: &Path,
    base: Offset,
    over: &[Piece],
    known: &Known<'_>,
) -> Result<Walked, LogError> {
    let mut bytes = Bytes::of_file(io, &paths::segment(dir, base), over).await?;
    let walked = walk(&mut bytes, base, known, |_, _, _| {}).await;
    bytes.close().await;
    Ok(walked)
}
