//! One partition of the log: its segments and frontiers, and the handle that the shard holds.

use crate::base::batch::{LEADER_EPOCH, STAMP_BYTES_MAX, stamp, stamp_append_time};
use crate::base::{AckLevel, Offset, PartitionKey, RecordBatch, TimestampMs};
use crate::io::{Io, Signal};
use crate::log::SegmentSettings;
use crate::log::core::Core;
use crate::log::error::{AppendError, LogError};
use crate::log::index::{End, Entry};
use crate::log::locate::Boundary;
use crate::log::roll;
use crate::log::scrub::Spot;
use crate::log::segment::Segment;
use crate::log::trim;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::path::PathBuf;
use std::rc::Rc;

/// How many batch boundaries near the tail are kept to be found at once.
const RECENT_MAX: usize = 128;

/// How far a partition has come. `synced <= written <= appended`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frontiers {
    /// The first offset that can be read.
    pub start: Offset,
    /// After the last appended record.
    pub appended: Offset,
    /// Everything below survives the death of the process.
    pub written: Offset,
    /// Everything below survives the loss of power.
    pub synced: Offset,
}

pub(crate) struct Partition<I: Io> {
    pub(crate) key: PartitionKey,
    pub(crate) dir: PathBuf,
    pub(crate) settings: Cell<SegmentSettings>,
    /// Sorted by base offset; the last is the one that is appended to.
    pub(crate) segments: RefCell<Vec<Rc<Segment<I>>>>,
    /// Sealed segments whose last bytes no cycle has taken yet, oldest first.
    pub(crate) sealing: RefCell<VecDeque<Rc<Segment<I>>>>,
    /// Nothing below can be read; every journal record of it is durable. The second: what the next records will say.
    pub(crate) start: Cell<Offset>,
    pub(crate) start_asked: Cell<Offset>,
    pub(crate) appended: Cell<Offset>,
    pub(crate) written: Cell<Offset>,
    pub(crate) synced: Cell<Offset>,
    /// Appended bytes that no cycle has taken.
    pub(crate) pending_bytes: Cell<usize>,
    /// A pending batch asks to be synced.
    pub(crate) wants_sync: Cell<bool>,
    /// It is in the core's list of dirty partitions.
    pub(crate) dirty: Cell<bool>,
    /// It is in the core's list of unsynced partitions.
    pub(crate) unsynced: Cell<bool>,
    /// Its next take must carry it into the active journal file.
    pub(crate) carry: Cell<bool>,
    /// It is new: its first record tells recovery that it exists, before anything is appended.
    pub(crate) announce: Cell<bool>,
    /// It was trimmed, and no record says so yet.
    pub(crate) trim: Cell<bool>,
    /// The last segment that journal records name, and the sequence of the first entry that does.
    pub(crate) named: Cell<(Offset, u64)>,
    /// It is being deleted; the second: its journal record was taken.
    pub(crate) deleting: Cell<bool>,
    pub(crate) delete_taken: Cell<bool>,
    /// Batch boundaries near the tail, oldest first.
    pub(crate) recent: RefCell<VecDeque<Boundary>>,
    /// What is known to be damaged, by segment.
    spots: RefCell<Vec<Spot>>,
    pub(crate) progress: Signal,
}

impl<I: Io> Partition<I> {
    pub(crate) fn new(
        key: PartitionKey,
        dir: PathBuf,
        settings: SegmentSettings,
        segments: Vec<Rc<Segment<I>>>,
        start: Offset,
    ) -> Rc<Self> {
        let end = segments
            .last()
            .expect("a partition has a segment")
            .end
            .get();
        let base = segments[segments.len() - 1].base;
        let partition = Self {
            key,
            dir,
            settings: Cell::new(settings),
            segments: RefCell::new(segments),
            sealing: RefCell::default(),
            start: Cell::new(start),
            start_asked: Cell::new(start),
            appended: Cell::new(end.next_offset),
            written: Cell::new(end.next_offset),
            synced: Cell::new(end.next_offset),
            pending_bytes: Cell::new(0),
            wants_sync: Cell::new(false),
            dirty: Cell::new(false),
            unsynced: Cell::new(false),
            carry: Cell::new(false),
            announce: Cell::new(false),
            trim: Cell::new(false),
            // By the journals that recovery read, or by the first record: nothing is removed before that is durable.
            named: Cell::new((base, 0)),
            deleting: Cell::new(false),
            delete_taken: Cell::new(false),
            recent: RefCell::default(),
            spots: RefCell::default(),
            progress: Signal::new(),
        };
        partition.note_boundary(base, end);
        Rc::new(partition)
    }

    /// The segment that is appended to.
    pub(crate) fn active(&self) -> Rc<Segment<I>> {
        Rc::clone(
            self.segments
                .borrow()
                .last()
                .expect("a partition has a segment"),
        )
    }

    /// Keeps the end of `segment` as a boundary that readers will ask for.
    pub(crate) fn note_boundary(&self, segment: Offset, end: End) {
        let mut recent = self.recent.borrow_mut();
        if recent.len() == RECENT_MAX {
            recent.pop_front();
        }
        recent.push_back(Boundary {
            segment,
            offset: end.next_offset,
            pos: end.pos,
        });
    }

    /// Notes damage. False: it was known.
    pub(crate) fn note_spot(&self, spot: Spot) -> bool {
        let mut spots = self.spots.borrow_mut();
        let is_known = spots.iter().any(|known| known.until == spot.until);
        if !is_known {
            spots.push(spot);
        }
        !is_known
    }

    /// Whether the segment still belongs to it.
    pub(crate) fn holds(&self, base: Offset) -> bool {
        let segments = self.segments.borrow();
        segments
            .binary_search_by_key(&base, |segment| segment.base)
            .is_ok()
    }

    /// One setter for each frontier keeps their order.
    pub(crate) fn advance_written(&self, to: Offset) {
        assert!(to >= self.written.get() && to <= self.appended.get());
        self.written.set(to);
    }

    pub(crate) fn advance_synced(&self, to: Offset) {
        assert!(to >= self.synced.get() && to <= self.written.get());
        self.synced.set(to);
    }
}

/// Which of the disk's space an append may use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Draw {
    /// What is above the reserve.
    Free,
    /// The reserve too: for records that let space be freed.
    Reserve,
}

/// A segment of a partition, from outside.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SegmentInfo {
    /// The offset after its last record.
    pub next_offset: Offset,
    /// Bytes of record batches in it.
    pub bytes: u64,
    /// The newest timestamp of its records, if any has one.
    pub newest: Option<TimestampMs>,
}

/// The handle to one partition. Clones are the same partition; belongs to its core.
pub struct PartitionLog<I: Io> {
    pub(crate) core: Rc<Core<I>>,
    pub(crate) partition: Rc<Partition<I>>,
}

impl<I: Io> Clone for PartitionLog<I> {
    fn clone(&self) -> Self {
        Self {
            core: Rc::clone(&self.core),
            partition: Rc::clone(&self.partition),
        }
    }
}

impl<I: Io> PartitionLog<I> {
    /// Which partition it is.
    pub fn key(&self) -> PartitionKey {
        self.partition.key
    }

    /// Changes when segments are sealed.
    pub fn set_settings(&self, settings: SegmentSettings) {
        self.partition.settings.set(settings);
    }

    /// Gives up everything below `before`, which must be written already. When this returns, that is durable, nothing below
    /// can be read, and segments that hold nothing else are gone. Never goes back: less than before is nothing to do.
    pub async fn trim(&self, before: Offset) -> Result<(), LogError> {
        assert!(before <= self.partition.written.get());
        trim::trim(&self.core, &self.partition, before).await
    }

    /// Copies a checked batch behind the last one, stamped with its offset and leader epoch, and asks for it to be
    /// written (and synced, if `level` says so). Returns the offset after it; see [`PartitionLog::frontiers`] for how
    /// far it got.
    pub fn append(&self, batch: &RecordBatch<'_>, level: AckLevel) -> Result<Offset, AppendError> {
        self.append_drawing(batch, level, Draw::Free, None)
    }

    /// The same, drawing on the disk's reserve if there is need, and with a time that all its records get.
    pub fn append_drawing(
        &self,
        batch: &RecordBatch<'_>,
        level: AckLevel,
        draw: Draw,
        time: Option<TimestampMs>,
    ) -> Result<Offset, AppendError> {
        let partition = &self.partition;
        if let Some(refusal) = self.core.refusal(draw) {
            return Err(refusal);
        }
        if partition.deleting.get() {
            return Err(AppendError::Stopping);
        }
        let bytes = batch.bytes();
        roll::roll_if_due(&self.core, partition, bytes.len());
        let segment = partition.active();
        let base = partition.appended.get();
        let (front, rest) = bytes.split_first_chunk().expect("a header is longer");
        let mut stamped: [u8; STAMP_BYTES_MAX] = *front;
        stamp(&mut stamped, base, LEADER_EPOCH);
        if let Some(time) = time {
            stamp_append_time(&mut stamped, rest, time);
        }
        let mut tail = segment.tail.borrow_mut();
        let pos = tail.append(&self.core.io, bytes, &stamped);
        drop(tail);
        let before = segment.end.get();
        assert!(pos == before.pos);
        let next = base.plus(u64::from(batch.offsets_taken()));
        let entry = Entry {
            offset: base,
            pos,
            max_before: before.max_timestamp,
        };
        segment.index.borrow_mut().note(entry);
        segment.end.set(End {
            pos: pos + bytes.len() as u64,
            next_offset: next,
            max_timestamp: before
                .max_timestamp
                .max(time.unwrap_or(batch.max_timestamp()).0),
        });
        if segment.first_append.get().is_none() {
            segment.first_append.set(Some(self.core.now()));
        }
        partition.appended.set(next);
        self.note_pending(bytes.len(), level);
        roll::grow_if_due(&self.core, &segment);
        Ok(next)
    }

    fn note_pending(&self, bytes: usize, level: AckLevel) {
        let partition = &self.partition;
        if self.core.pending.get() == 0 {
            self.core.meter.began_to_wait(self.core.now());
        }
        partition
            .pending_bytes
            .set(partition.pending_bytes.get() + bytes);
        self.core.pending.set(self.core.pending.get() + bytes);
        self.core.unwritten.set(self.core.unwritten.get() + bytes);
        if level == AckLevel::Synced {
            partition.wants_sync.set(true);
        }
        self.core.mark_dirty(partition);
    }

    /// Where a read from `from` on must end because what follows was found damaged, and why: at `from` itself if that is
    /// in doubt.
    pub fn doubted_from(&self, from: Offset) -> Option<(Offset, String)> {
        let spots = self.partition.spots.borrow();
        let behind = spots.iter().filter(|spot| from < spot.until);
        let first = behind.min_by_key(|spot| spot.from)?;
        Some((first.from.max(from), first.what.clone()))
    }

    /// How far the partition has come.
    pub fn frontiers(&self) -> Frontiers {
        let partition = &self.partition;
        Frontiers {
            start: partition.start.get(),
            appended: partition.appended.get(),
            written: partition.written.get(),
            synced: partition.synced.get(),
        }
    }

    /// Notified whenever the frontiers move or the storage fails.
    pub fn progress(&self) -> &Signal {
        &self.partition.progress
    }

    /// Why nothing will be acknowledged any more, if so.
    pub fn failed(&self) -> Option<String> {
        self.core.failed.borrow().clone()
    }

    /// Whether a write or sync has failed, without the reason.
    pub fn has_failed(&self) -> bool {
        self.core.failed.borrow().is_some()
    }

    /// Bytes of record batches held.
    pub fn bytes(&self) -> u64 {
        self.partition
            .segments
            .borrow()
            .iter()
            .map(|segment| segment.end.get().pos)
            .sum()
    }

    /// How many segments there are.
    pub fn segments(&self) -> u32 {
        self.partition.segments.borrow().len() as u32
    }

    /// Shows each segment to `look`, oldest first; the last one is the active one.
    pub fn each_segment(&self, mut look: impl FnMut(SegmentInfo)) {
        for segment in &*self.partition.segments.borrow() {
            let end = segment.end.get();
            look(SegmentInfo {
                next_offset: end.next_offset,
                bytes: end.pos,
                newest: (end.max_timestamp >= 0).then_some(TimestampMs(end.max_timestamp)),
            });
        }
    }

    /// Seals the active segment if there is anything in it, so that it can be trimmed away as a whole.
    pub fn seal(&self) {
        if !self.core.stopping.get() && !self.partition.deleting.get() {
            roll::roll_now(&self.core, &self.partition);
        }
    }
}
