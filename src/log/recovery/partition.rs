//! Rebuilding one partition from its records, its segment files and their indexes.

use crate::base::checksum::crc32;
use crate::base::limits::{BATCH_BYTES_MAX, BLOCK_BYTES};
use crate::base::planted::{Bug, planted};
use crate::base::{Offset, PartitionKey};
use crate::io::Io;
use crate::log::index::{self, End, Entry, Index};
use crate::log::journal::entry::Record;
use crate::log::recovery::record::Placed;
use crate::log::recovery::walk::Walk;
use crate::log::segment::read_index_file;
use crate::log::{LogError, delete, paths};
use std::io::ErrorKind;
use std::path::PathBuf;

const BLOCK: u64 = BLOCK_BYTES as u64;

/// One partition as recovery found it; to be handed to the core that owns it.
#[derive(Clone, Debug)]
pub struct RecoveredPartition {
    /// Which.
    pub key: PartitionKey,
    pub(crate) found: Result<Found, String>,
    cut_bytes: u64,
}

/// A sound partition.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// The first offset that is still held; the first segment may begin before it.
    pub(crate) log_start: Offset,
    /// All but the last are sealed.
    pub(crate) segments: Vec<FoundSegment>,
    /// What follows the last segment's file: from this position, these bytes.
    pub(crate) tail_pos: u64,
    pub(crate) tail: Vec<u8>,
    /// The last segment got its padded end already: appends need a new one.
    pub(crate) last_is_sealed: bool,
}

/// One segment.
#[derive(Clone, Debug)]
pub(crate) struct FoundSegment {
    pub(crate) base: Offset,
    pub(crate) entries: Vec<Entry>,
    pub(crate) end: End,
}

impl RecoveredPartition {
    /// Why it must be refused, if so. Its bytes are kept.
    pub fn damage(&self) -> Option<&str> {
        self.found.as_ref().err().map(String::as_str)
    }

    /// Bytes of record batches.
    pub fn bytes(&self) -> u64 {
        let segments = self.found.as_ref().map_or(&[][..], |found| &found.segments);
        segments.iter().map(|segment| segment.end.pos).sum()
    }

    /// Unacknowledged bytes that were cut.
    pub(crate) fn cut_bytes(&self) -> u64 {
        self.cut_bytes
    }

    pub(crate) fn damaged(key: PartitionKey, reason: String) -> Self {
        Self {
            key,
            found: Err(reason),
            cut_bytes: 0,
        }
    }
}

/// Why a rebuild ends early.
pub(crate) enum Stop {
    /// The bytes say so: the partition is refused.
    Damage(String),
    /// The disk would not say.
    Log(LogError),
}

impl From<LogError> for Stop {
    fn from(error: LogError) -> Self {
        Self::Log(error)
    }
}

/// What the records add up to.
struct Promise {
    last: Record,
    /// The segment's file holds all bytes below.
    file_end: u64,
    /// Inline pieces behind `file_end`, in order; later ones win.
    pieces: Vec<Placed>,
    /// Batch boundaries of the last segment that records name, in order.
    boundaries: Vec<Entry>,
    /// Bytes of a segment that no frontier shows to be synced: accepted on the strength of their checksum, or, after the
    /// death of the process alone, because they had been written.
    to_sync: bool,
    cut_bytes: u64,
}

/// One partition being rebuilt.
pub(crate) struct Rebuild<'a, I: Io> {
    pub(crate) io: &'a I,
    pub(crate) dir: PathBuf,
    pub(crate) key: PartitionKey,
}

impl<I: Io> Rebuild<'_, I> {
    /// `None`: it was deleted, and what was left of it is gone now.
    pub(crate) async fn run(
        &self,
        records: Vec<Placed>,
        any_damaged: bool,
    ) -> Result<Option<RecoveredPartition>, LogError> {
        if let Some(reason) = self.noted_damage().await? {
            return Ok(Some(RecoveredPartition::damaged(self.key, reason)));
        }
        match self.rebuild(records, any_damaged).await {
            Ok(None) => {
                let topic = self.dir.parent().expect("a partition lies in its topic");
                delete::remove_files(self.io, &self.dir, topic).await?;
                Ok(None)
            }
            Ok(Some((found, cut_bytes))) => Ok(Some(RecoveredPartition {
                key: self.key,
                found: Ok(found),
                cut_bytes,
            })),
            Err(Stop::Damage(reason)) => {
                self.note_damage(&reason).await?;
                Ok(Some(RecoveredPartition::damaged(self.key, reason)))
            }
            Err(Stop::Log(error)) => Err(error),
        }
    }

    async fn rebuild(
        &self,
        records: Vec<Placed>,
        any_damaged: bool,
    ) -> Result<Option<(Found, u64)>, Stop> {
        let bases = self.segment_files().await?;
        if records.is_empty() {
            return self
                .without_records(&bases, any_damaged)
                .await
                .map(|found| Some((found, 0)));
        }
        // The last record of a partition, and the only one that counts: of those before it the files may be gone.
        if records.iter().any(|placed| placed.record.deleted) {
            return Ok(None);
        }
        let promise = self.follow_trimmed(&records).await?;
        if promise.to_sync {
            self.sync_segment(promise.last.segment).await?;
        }
        let found = self.assemble(&bases, &promise).await?;
        Ok(Some((found, promise.cut_bytes)))
    }

    /// A directory that no journal knows: a partition that was just made, or one that nothing is known about.
    async fn without_records(&self, bases: &[Offset], any_damaged: bool) -> Result<Found, Stop> {
        let unknown = "no journal holds a record of it";
        if any_damaged {
            return Err(Stop::Damage(format!(
                "{unknown}, and acknowledged journal entries are lost"
            )));
        }
        match bases {
            [] => {}
            [Offset(0)] => {
                let first = self.read(Offset(0), 0, BLOCK).await?;
                if first.iter().any(|byte| *byte != 0) {
                    return Err(Stop::Damage(format!(
                        "{unknown}, but its segment holds data"
                    )));
                }
                self.remove_segment(Offset(0)).await?;
            }
            _ => {
                return Err(Stop::Damage(format!(
                    "{unknown}, but it has several segments"
                )));
            }
        }
        // Whoever made the directory may have died before its name and its topic's were durable.
        if !planted(Bug::ForgetNames) {
            self.sync_names().await?;
        }
        Ok(Found {
            log_start: Offset(0),
            segments: Vec::new(),
            tail_pos: 0,
            tail: Vec::new(),
            last_is_sealed: true,
        })
    }

    /// Follows the records. Those of segments that were trimmed away are taken at their word, for their files may be gone: but
    /// only if the record that says so is trusted in the end. If not, no file is gone either, since none goes before that is
    /// durable.
    async fn follow_trimmed(&self, records: &[Placed]) -> Result<Promise, Stop> {
        let starts = records.iter().map(|placed| placed.record.log_start);
        let start = starts.max().unwrap_or(Offset(0));
        let bases = records.iter().map(|placed| placed.record.segment);
        let floor = bases
            .filter(|base| *base <= start && !planted(Bug::FollowTrimmed))
            .max();
        let promise = self.follow(records, floor.unwrap_or(Offset(0))).await?;
        match promise.last.log_start < start {
            true => self.follow(records, Offset(0)).await,
            false => Ok(promise),
        }
    }

    /// Follows the records from the first on, as far as they are trusted; those of segments below `floor` are.
    async fn follow(&self, records: &[Placed], floor: Offset) -> Result<Promise, Stop> {
        let mut records = records.iter().cloned();
        let first = records.next().expect("the caller looked");
        if !first.record.start().is_multiple_of(BLOCK) {
            return Err(Stop::Damage(
                "the journal begins in the middle of a block of it".into(),
            ));
        }
        // Where the journal begins, what came before was durable; of a new partition that is nothing.
        let before = Record {
            end_pos: first.record.start(),
            next_offset: first.record.segment,
            ..first.record
        };
        let mut promise = Promise {
            last: before,
            file_end: first.record.start(),
            pieces: Vec::new(),
            boundaries: Vec::new(),
            to_sync: false,
            cut_bytes: 0,
        };
        let mut next = Some(first);
        let mut accepted = false;
        while let Some(placed) = next {
            if placed.record.segment < floor {
                promise.last = placed.record;
            } else if !self.accept(&mut promise, placed).await? {
                break;
            }
            accepted = true;
            next = records.next();
        }
        if !accepted && before.end_pos > 0 {
            return Err(Stop::Damage(
                "the journal's first record of it is not there".into(),
            ));
        }
        Ok(promise)
    }

    /// Takes one more record, if what it promises is there. False: it is not, and was not acknowledged.
    async fn accept(&self, promise: &mut Promise, placed: Placed) -> Result<bool, Stop> {
        let record = placed.record;
        let same = record.segment == promise.last.segment;
        let follows = record.segment == promise.last.next_offset && record.start() == 0;
        let whole = if same {
            record.start() <= promise.last.end_pos
        } else {
            follows
        };
        let there = whole && (placed.acknowledged || self.direct_is_there(&record).await?);
        if !there {
            // Behind a lost entry that was acknowledged, bytes that are missing before this record were in that entry.
            if placed.acknowledged || (placed.behind_damage && !whole) {
                let at = record.start();
                return Err(Stop::Damage(format!(
                    "an acknowledged journal entry cannot be read; it may hold records from offset {} on (segment {} position {}), next known position {at}",
                    promise.last.next_offset, promise.last.segment, promise.last.end_pos
                )));
            }
            promise.cut_bytes = record.end_pos.saturating_sub(promise.last.end_pos);
            return Ok(false);
        }
        if !same {
            if promise.to_sync {
                self.sync_segment(promise.last.segment).await?;
            }
            promise.pieces.clear();
            promise.boundaries.clear();
            promise.file_end = 0;
        }
        if record.direct_bytes > 0 {
            promise.file_end = record.direct_pos + u64::from(record.direct_bytes);
            promise.pieces.clear();
            promise.to_sync |= !placed.durable && !planted(Bug::TrustUnsynced);
        }
        promise.last = record;
        promise.boundaries.push(Entry {
            offset: record.next_offset,
            pos: record.end_pos,
            max_before: record.max_timestamp,
        });
        if record.inline_bytes > 0 {
            promise.pieces.push(placed);
        }
        Ok(true)
    }

    /// Whether a record's direct blocks are in the segment, by their checksum.
    async fn direct_is_there(&self, record: &Record) -> Result<bool, Stop> {
        if record.direct_bytes == 0 || planted(Bug::TrustTornDirect) {
            return Ok(true);
        }
        let bytes = u64::from(record.direct_bytes);
        match self.read(record.segment, record.direct_pos, bytes).await {
            Ok(read) => Ok(read.len() as u64 == bytes && crc32(&read) == record.direct_crc),
            Err(Stop::Log(LogError::Io { source, .. })) if source.kind() == ErrorKind::NotFound => {
                Ok(false)
            }
            Err(other) => Err(other),
        }
    }

    async fn assemble(&self, bases: &[Offset], promise: &Promise) -> Result<Found, Stop> {
        let last = &promise.last;
        let mut kept: Vec<Offset> = bases
            .iter()
            .copied()
            .filter(|base| *base <= last.segment)
            .collect();
        for base in bases.iter().filter(|base| **base > last.segment) {
            self.remove_segment(*base).await?;
        }
        if kept.last() != Some(&last.segment) {
            return Err(Stop::Damage(format!(
                "segment file {} is missing",
                last.segment
            )));
        }
        let start = last.log_start;
        if start > last.next_offset {
            let end = last.next_offset;
            let reason =
                format!("the journal says that it begins at offset {start}, and it ends at {end}");
            return Err(Stop::Damage(reason));
        }
        // Only a trim removes a log's beginning.
        match kept.iter().rposition(|base| *base <= start) {
            Some(first) => {
                kept.drain(..first);
                if start > Offset(0) {
                    self.remove_below(kept[0]).await?;
                }
            }
            None if planted(Bug::MissingSegmentIsAbsence) => {}
            None => {
                let reason = format!("the segment file that holds offset {start} is missing");
                return Err(Stop::Damage(reason));
            }
        }
        let mut segments = Vec::with_capacity(kept.len());
        for pair in kept.windows(2) {
            segments.push(self.sealed_segment(pair[0], pair[1]).await?);
        }
        let last_is_sealed = last.end_pos < promise.file_end;
        let tail_pos = promise.file_end.min(last.end_pos.next_multiple_of(BLOCK));
        let tail = if last_is_sealed {
            Vec::new()
        } else {
            self.tail(promise).await?
        };
        segments.push(self.last_segment(promise).await?);
        Ok(Found {
            log_start: last.log_start,
            segments,
            tail_pos,
            tail,
            last_is_sealed,
        })
    }

    /// The bytes behind the file's, out of the journal.
    async fn tail(&self, promise: &Promise) -> Result<Vec<u8>, Stop> {
        let mut tail = vec![0; (promise.last.end_pos - promise.file_end) as usize];
        let mut covered = promise.file_end;
        for piece in &promise.pieces {
            let bytes = piece.record.inline_bytes as usize;
            let at = piece.record.inline_pos.checked_sub(promise.file_end);
            let (Some(at), true) = (at, piece.record.inline_pos <= covered) else {
                return Err(Stop::Damage("journal records of it leave a gap".into()));
            };
            let read = self.read_journal(piece, bytes).await?;
            let at = at as usize;
            let Some(into) = tail.get_mut(at..at + bytes) else {
                return Err(Stop::Damage(
                    "journal records of it run past its end".into(),
                ));
            };
            into.copy_from_slice(&read);
            covered = covered.max(piece.record.inline_pos + bytes as u64);
        }
        if covered == promise.last.end_pos {
            Ok(tail)
        } else {
            Err(Stop::Damage(
                "journal records of it end before it does".into(),
            ))
        }
    }

    async fn read_journal(&self, piece: &Placed, bytes: usize) -> Result<Vec<u8>, Stop> {
        let source = self
            .io
            .open_source(&piece.file)
            .await
            .map_err(LogError::io("open", &piece.file))?;
        let read = self.io.read_source(&source, piece.inline_at, bytes).await;
        let read = read.map_err(LogError::io("read", &piece.file))?;
        assert!(read.len() == bytes, "the scan read these bytes");
        Ok(read)
    }

    /// A segment that another follows: its index if that is whole, else a walk over all of it.
    async fn sealed_segment(&self, base: Offset, next: Offset) -> Result<FoundSegment, Stop> {
        let bytes = self.index_bytes(base).await?;
        if let (entries, Some(end)) = index::decode(self.key, base, &bytes)
            && end.next_offset == next
        {
            return Ok(FoundSegment { base, entries, end });
        }
        let start = End {
            pos: 0,
            next_offset: base,
            max_timestamp: i64::MIN,
        };
        let mut walk = Walk::new(Index::default(), start);
        self.walk(base, &mut walk, u64::MAX, Some(next)).await?;
        if walk.end.next_offset != next {
            return Err(Stop::Damage(format!(
                "segment {base} ends at offset {}, the next one begins at {next}",
                walk.end.next_offset
            )));
        }
        Ok(FoundSegment {
            base,
            entries: walk.index.entries().to_vec(),
            end: walk.end,
        })
    }

    /// The last segment: its index as far as it goes, a walk over what neither it nor the journal knows, and then the
    /// boundaries that the journal's records name. What those promise is not walked: it was acknowledged, or its
    /// checksum was compared, and a start should not take longer the more was written.
    async fn last_segment(&self, promise: &Promise) -> Result<FoundSegment, Stop> {
        let last = &promise.last;
        let base = last.segment;
        let bytes = self.index_bytes(base).await?;
        let (mut entries, _) = index::decode(self.key, base, &bytes);
        entries.retain(|entry| entry.pos < last.end_pos && entry.offset < last.next_offset);
        let start = match entries.last() {
            Some(entry) => End {
                pos: entry.pos,
                next_offset: entry.offset,
                max_timestamp: entry.max_before,
            },
            None => End {
                pos: 0,
                next_offset: base,
                max_timestamp: i64::MIN,
            },
        };
        let mut walk = Walk::new(Index::from_entries(entries), start);
        let first = promise
            .boundaries
            .first()
            .map_or(last.end_pos, |first| first.pos);
        let until = first.min(promise.file_end).max(start.pos);
        self.walk(base, &mut walk, until, None).await?;
        let behind = |entry: &&Entry| entry.pos >= walk.end.pos && entry.pos < last.end_pos;
        for entry in promise.boundaries.iter().filter(behind) {
            walk.index.note(*entry);
        }
        let end = End {
            pos: last.end_pos,
            next_offset: last.next_offset,
            max_timestamp: last.max_timestamp,
        };
        Ok(FoundSegment {
            base,
            entries: walk.index.entries().to_vec(),
            end,
        })
    }

    async fn index_bytes(&self, base: Offset) -> Result<Vec<u8>, Stop> {
        let read = read_index_file(self.io, &self.dir, base).await;
        Ok(read.map_err(LogError::io("read index of", paths::index(&self.dir, base)))?)
    }

    /// Walks the batches of the file from where `walk` stands, as far as they are whole below position `until` (or up
    /// to offset `until_offset`).
    async fn walk(
        &self,
        base: Offset,
        walk: &mut Walk,
        until: u64,
        until_offset: Option<Offset>,
    ) -> Result<(), Stop> {
        const STEP: u64 = 1 << 20;
        let mut window: Vec<u8> = Vec::new();
        let mut window_end = walk.end.pos - walk.end.pos % BLOCK;
        let mut skip = (walk.end.pos % BLOCK) as usize;
        while walk.end.pos < until && Some(walk.end.next_offset) != until_offset {
            let more = STEP.min(until.saturating_sub(window_end));
            let more = match more {
                0 => Vec::new(),
                more => self.read(base, window_end, more).await?,
            };
            if more.is_empty() || window.len() > 2 * BATCH_BYTES_MAX {
                break;
            }
            window_end += more.len() as u64;
            window.extend_from_slice(&more);
            skip = skip.min(window.len());
            let walked = walk.over(&window[skip..], until, until_offset);
            let done = walked.map_err(|error| {
                Stop::Damage(format!("segment {base} at {}: {error}", walk.end.pos))
            })?;
            window.drain(..skip + done);
            skip = 0;
        }
        Ok(())
    }
}
