//! Looking at one partition: what recovery says of it, then every batch, every index, every padding.

use crate::base::limits::BLOCK_BYTES;
use crate::base::{Offset, PartitionKey};
use crate::io::Io;
use crate::log::index::{self, End, Entry};
use crate::log::recovery::partition::{Found, FoundSegment, Rebuild};
use crate::log::recovery::record::Placed;
use crate::log::segment::read_index_file;
use crate::log::verify::finding::{Kind, Remedy};
use crate::log::verify::segment::{Bytes, Gap, Known, Piece, Walked, walk};
use crate::log::verify::{Checking, Place};
use crate::log::{LogError, paths};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// What lies in a partition's directory: its segments, by their base offsets, with their lengths.
pub(crate) type Segments = BTreeMap<Offset, u64>;

/// Looks at the partition `key`, of which the journals hold `records`.
pub(super) async fn check<I: Io>(
    check: &mut Checking<'_, I>,
    key: PartitionKey,
    records: Vec<Placed>,
    any_damaged: bool,
) -> Result<(), LogError> {
    let dir = paths::partition(check.data, key);
    let starts = records.iter().map(|placed| placed.record.log_start);
    let log_start = starts.max().unwrap_or(Offset(0));
    let segments = list_segments(check, key, log_start).await?;
    check.report.partitions.push(key);
    check.report.segments += segments.len() as u64;
    let rebuild = Rebuild {
        io: check.io,
        dir: dir.clone(),
        key,
    };
    let noted = rebuild.noted_damage().await?.is_some();
    let reason = match rebuild.run(records, any_damaged).await {
        Ok(None) => {
            let what = "what is left of a partition that was deleted; the next start removes it";
            let place = Place::at(&dir).partition(key);
            check.find(Kind::Deleted, place, what, Remedy::None);
            return Ok(());
        }
        Ok(Some(partition)) => {
            let cut_bytes = partition.cut_bytes();
            match partition.found {
                Ok(found) => return check_sound(check, key, &segments, &found, cut_bytes).await,
                Err(reason) => reason,
            }
        }
        Err(error) => error.to_string(),
    };
    let place = match noted {
        true => Place::at(&dir.join(crate::log::recovery::files::DAMAGE_NOTE)),
        false => Place::at(&dir),
    };
    check_refused(check, key, (&segments, log_start), place, &reason).await
}

async fn list_segments<I: Io>(
    check: &mut Checking<'_, I>,
    key: PartitionKey,
    log_start: Offset,
) -> Result<Segments, LogError> {
    let dir = paths::partition(check.data, key);
    let (mut segments, mut indexes) = (Segments::new(), Vec::new());
    for item in check.list(&dir).await? {
        let path = dir.join(&item.name);
        let base = |suffix| item.name.strip_suffix(suffix)?.parse().ok().map(Offset);
        if item.name.ends_with(".tmp") {
            check.temporary(&path);
        } else if let Some(base) = base(".log") {
            segments.insert(base, item.bytes);
        } else if let Some(base) = base(".idx") {
            indexes.push((base, path));
        } else if item.name != crate::log::recovery::files::DAMAGE_NOTE {
            check.unknown(&path);
        }
    }
    for (base, path) in indexes {
        // Below the start it is what is left of a trim, and goes with the next start.
        if !segments.contains_key(&base) && base >= log_start {
            let place = Place::at(&path).partition(key);
            let what = "an index without its segment";
            check.find(Kind::Index, place, what, Remedy::Remove);
        }
    }
    Ok(segments)
}

/// A partition that a start would serve.
async fn check_sound<I: Io>(
    check: &mut Checking<'_, I>,
    key: PartitionKey,
    files: &Segments,
    found: &Found,
    cut_bytes: u64,
) -> Result<(), LogError> {
    let first = found
        .segments
        .first()
        .map_or(found.log_start, |first| first.base);
    let mut expected = first.min(found.log_start);
    for (number, segment) in found.segments.iter().enumerate() {
        if segment.base != expected {
            gap_before(check, key, expected, segment.base);
        }
        expected = segment.end.next_offset;
        let is_last = number + 1 == found.segments.len();
        let tail = match is_last && !found.last_is_sealed {
            true => Some((found.tail_pos, found.tail.clone())),
            false => None,
        };
        let length = files.get(&segment.base).copied().unwrap_or(0);
        check_segment(check, key, segment, tail, length).await?;
    }
    if cut_bytes > 0
        && let Some(last) = found.segments.last()
    {
        let what =
            format!("{cut_bytes} bytes that were never acknowledged; the next start cuts them");
        let place = place(check, key, last.base).position(last.end.pos);
        let place = place.offset(last.end.next_offset);
        check.find(Kind::Unacknowledged, place, what, Remedy::None);
    }
    Ok(())
}

/// One segment that recovery has taken for sound. `tail`: from where on it lies in the journal, and those bytes.
async fn check_segment<I: Io>(
    check: &mut Checking<'_, I>,
    key: PartitionKey,
    segment: &FoundSegment,
    tail: Option<Piece>,
    length: u64,
) -> Result<(), LogError> {
    let padded = segment.end.pos.next_multiple_of(BLOCK_BYTES as u64);
    let file_end = tail.as_ref().map_or(padded, |(pos, _)| *pos);
    if length < file_end {
        let what = format!("the file has {length} bytes, {file_end} were written");
        let place = place(check, key, segment.base).position(length);
        check.find(Kind::SegmentShort, place, what, Remedy::Repair(None));
    }
    let (mut entries, end) = check_index(check, key, segment.base, tail.is_none()).await?;
    // Nor does a start look at what an index holds from before a cut.
    let is_whole = end.is_some_and(|end| end.next_offset == segment.end.next_offset);
    let end = segment.end;
    entries.retain(|entry| is_whole || entry.pos < end.pos && entry.offset < end.next_offset);
    let path = paths::segment(&paths::partition(check.data, key), segment.base);
    let mut bytes = Bytes::new(check.io, &path, file_end, tail.as_slice()).await?;
    let known = Known {
        pos: Some(segment.end.pos),
        offset: Some(segment.end.next_offset),
        boundaries: &entries,
        ..Known::default()
    };
    let mut index = IndexWalk::new(&entries);
    let watch = &mut *check.watch;
    let walked = walk(
        &mut bytes,
        segment.base,
        &known,
        |batch, pos, max_before| {
            index.pass(batch.base_offset(), pos, max_before);
            watch.batch(key, batch);
        },
    )
    .await;
    watch.read(length);
    count(check, &walked);
    tell_gaps(check, key, segment.base, &walked);
    tell_unreadable(check, key, segment.base, &bytes);
    if walked.gaps.is_empty() {
        tell_end(check, key, segment, &walked, tail.is_none());
        if let Some(bad) = index.end() {
            let place = index_place(check, key, segment.base).offset(bad.offset);
            let what = format!("no batch of offset {} begins at {}", bad.offset, bad.pos);
            check.find(Kind::IndexDisagrees, place, what, Remedy::Remove);
        }
        if tail.is_none() && bytes.here().iter().any(|byte| *byte != 0) {
            let place = place(check, key, segment.base).position(segment.end.pos);
            let what = "the padding behind the last batch is not zero: look at the disk";
            check.find(Kind::Padding, place, what, Remedy::Look);
        }
    }
    bytes.close().await;
    Ok(())
}

/// The walk ended without a gap: does it end where the index or the journal says?
fn tell_end<I: Io>(
    check: &mut Checking<'_, I>,
    key: PartitionKey,
    segment: &FoundSegment,
    walked: &Walked,
    is_sealed: bool,
) {
    if walked.end == segment.end {
        return;
    }
    let (found, said) = (walked.end, segment.end);
    let what = format!(
        "its batches end at {} with offset {} and timestamp {}; {} says {}, {}, {}",
        found.pos,
        found.next_offset,
        found.max_timestamp,
        if is_sealed {
            "its index"
        } else {
            "the journal"
        },
        said.pos,
        said.next_offset,
        said.max_timestamp
    );
    let (kind, remedy) = match is_sealed {
        true => (Kind::IndexDisagrees, Remedy::Remove),
        false => (Kind::Batch, Remedy::Repair(Some(found.next_offset))),
    };
    let place = place(check, key, segment.base).position(found.pos);
    check.find(kind, place.offset(found.next_offset), what, remedy);
}

/// A partition that a start refuses: where its segments are sound and where they are not, as far as they tell alone.
async fn check_refused<I: Io>(
    check: &mut Checking<'_, I>,
    key: PartitionKey,
    (files, log_start): (&Segments, Offset),
    place: Place,
    reason: &str,
) -> Result<(), LogError> {
    let bases: Vec<Offset> = files.keys().copied().collect();
    let mut end = log_start;
    for (number, base) in bases.iter().enumerate() {
        if *base > end && number == 0 {
            gap_before(check, key, end, *base);
        }
        let (entries, _) = check_index(check, key, *base, false).await?;
        let path = paths::segment(&paths::partition(check.data, key), *base);
        let mut bytes = Bytes::of_file(check.io, &path, &[]).await?;
        let known = Known {
            pos: None,
            offset: bases.get(number + 1).copied(),
            boundaries: &entries,
            ..Known::default()
        };
        let watch = &mut *check.watch;
        let each = |batch: &crate::base::RecordBatch<'_>, _, _| watch.batch(key, batch);
        let mut walked = walk(&mut bytes, *base, &known, each).await;
        watch.read(files[base]);
        count(check, &walked);
        // Behind the last sound batch of the last segment may lie what the journal holds.
        walked.gaps.retain(|gap| gap.until.is_some());
        tell_gaps(check, key, *base, &walked);
        tell_unreadable(check, key, *base, &bytes);
        end = walked.end.next_offset;
        bytes.close().await;
    }
    let what = format!("{reason}; its files hold records up to offset {end}");
    let place = place.partition(key).offset(end);
    check.find(Kind::PartitionRefused, place, what, Remedy::Repair(None));
    Ok(())
}

/// Looks at an index by itself; returns the entries that a start would trust.
async fn check_index<I: Io>(
    check: &mut Checking<'_, I>,
    key: PartitionKey,
    base: Offset,
    is_sealed: bool,
) -> Result<(Vec<Entry>, Option<End>), LogError> {
    let place = index_place(check, key, base);
    let dir = paths::partition(check.data, key);
    let bytes = match read_index_file(check.io, &dir, base).await {
        Ok(bytes) => bytes,
        Err(error) => {
            check.find(Kind::Index, place, error.to_string(), Remedy::Remove);
            return Ok((Vec::new(), None));
        }
    };
    for number in index::bad_blocks(key, base, &bytes) {
        let what = "its block fails its checksum or is another's; the next start rebuilds it";
        let place = place.clone().position((number * BLOCK_BYTES) as u64);
        check.find(Kind::Index, place, what, Remedy::Remove);
    }
    let (entries, end) = index::decode(key, base, &bytes);
    if is_sealed && end.is_none() {
        let what = "it does not reach the end of its segment; the next start walks the rest";
        check.find(Kind::IndexBehind, place, what, Remedy::None);
    }
    Ok((entries, end))
}

/// Holds the entries of an index against the batches, both in the order of their positions.
struct IndexWalk<'a> {
    left: &'a [Entry],
    bad: Option<Entry>,
}

impl<'a> IndexWalk<'a> {
    fn new(entries: &'a [Entry]) -> Self {
        let (left, bad) = (entries, None);
        Self { left, bad }
    }

    fn pass(&mut self, offset: Offset, pos: u64, max_before: i64) {
        while let Some((first, rest)) = self.left.split_first()
            && first.pos <= pos
        {
            let expected = Entry {
                offset,
                pos,
                max_before,
            };
            if *first != expected {
                self.bad.get_or_insert(*first);
            }
            self.left = rest;
        }
    }

    /// The first entry that no batch agreed with.
    fn end(&self) -> Option<Entry> {
        self.bad.or(self.left.first().copied())
    }
}

fn count<I: Io>(check: &mut Checking<'_, I>, walked: &Walked) {
    check.report.batches += walked.batches;
    check.report.records += walked.records;
    let gaps = walked
        .gaps
        .iter()
        .filter(|gap| gap.until_pos <= walked.end.pos);
    let lost: u64 = gaps.map(|gap| gap.until_pos - gap.from_pos).sum();
    check.report.bytes += walked.end.pos - lost;
}

fn tell_gaps<I: Io>(check: &mut Checking<'_, I>, key: PartitionKey, base: Offset, walked: &Walked) {
    for gap in &walked.gaps {
        let place = place(check, key, base).position(gap.from_pos);
        let what = format!("{}: {}", gap.reason, extent(gap));
        let remedy = Remedy::Repair(Some(gap.from));
        check.find(Kind::Batch, place.offset(gap.from), what, remedy);
    }
}

fn extent(gap: &Gap) -> String {
    let bytes = gap.until_pos - gap.from_pos;
    match gap.until {
        Some(until) => format!(
            "{} offsets ({} to {}) in {bytes} bytes",
            until.0 - gap.from.0,
            gap.from,
            until.0.saturating_sub(1)
        ),
        None => format!("nothing sound from offset {} on", gap.from),
    }
}

fn tell_unreadable<I: Io>(
    check: &mut Checking<'_, I>,
    key: PartitionKey,
    base: Offset,
    bytes: &Bytes<'_, crate::io::still::Still<I>>,
) {
    for (pos, error) in &bytes.unreadable {
        let place = place(check, key, base).position(*pos);
        let what = format!("the disk does not give this block: {error}");
        check.find(Kind::Unreadable, place, what, Remedy::Repair(None));
    }
}

fn gap_before<I: Io>(check: &mut Checking<'_, I>, key: PartitionKey, from: Offset, base: Offset) {
    let place = place(check, key, base).offset(from);
    let what = format!("no file holds offsets {from} to {}", base.0 - 1);
    check.find(Kind::SegmentGap, place, what, Remedy::Repair(Some(from)));
}

fn place<I: Io>(check: &Checking<'_, I>, key: PartitionKey, base: Offset) -> Place {
    let path = paths::segment(&paths::partition(check.data, key), base);
    Place::at(&path).partition(key)
}

fn index_place<I: Io>(check: &Checking<'_, I>, key: PartitionKey, base: Offset) -> Place {
    let path: PathBuf = paths::index(&paths::partition(check.data, key), base);
    Place::at(&path).partition(key)
}
