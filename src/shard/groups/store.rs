//! Storing committed offsets: one partition of ours for each slot, one writer for each, and its compaction.
//!
//! ```text
//!  Store, Store, Store ──> queue ──(all that is there)──> append ──> synced ──stored──> answers
//!                            ▲                                          │
//!                            └──── meanwhile more come ─────────────────┘
//!  mostly garbage?  generation g: everything that counts ──synced──> generation g + 1, then g is deleted
//! ```
//! The writer writes, waits, and takes what has come meanwhile: so a slot costs one flush for however many commits, their
//! order is the log's, and between two rounds what is in memory is what is stored, which makes a snapshot simple. A
//! log cannot drop its beginning yet, therefore a compaction goes to a new partition. It is whole once its last record
//! says so: a start that finds one without, deletes it and goes on with the one before it.

use crate::base::planted::{Bug, planted};
use crate::base::record::BatchBuilder;
use crate::base::{AckLevel, PartitionNo, TimestampMs};
use crate::engine::{EngineError, Produced};
use crate::group::{OffsetRecord, StoreId, offsets_key, slot_of};
use crate::io::Io;
use crate::log::{Draw, LogError, SegmentSettings};
use crate::shard::core::Core;
use crate::shard::groups::act;
use crate::shard::hosted::Hosted;
use crate::shard::produce::append_to;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

/// A partition is not compacted below this size, in bytes: it is read back in some milliseconds.
const COMPACT_BYTES_MIN: u64 = if cfg!(test) { 16 << 10 } else { 8 << 20 };
/// A batch of our records is closed when it has so many bytes.
const BATCH_BYTES: usize = if cfg!(test) { 1 << 10 } else { 256 << 10 };

/// A partition of ours, and what is to be written to it.
pub(super) struct Slot<I: Io> {
    pub(super) no: PartitionNo,
    pub(super) place: RefCell<Place<I>>,
    queue: RefCell<VecDeque<(StoreId, Vec<OffsetRecord>)>>,
    is_writing: Cell<bool>,
    /// From this size on, it is worth a look how much of it is garbage.
    look_at_bytes: Cell<u64>,
}

/// Where the records of a slot go.
pub(super) enum Place<I: Io> {
    /// Nowhere yet: no group of this slot has ever committed.
    Absent,
    /// Into this partition, of this generation.
    Open(u32, Rc<Hosted<I>>),
    /// Nowhere: the partition is damaged, and kept.
    Damaged(String),
}

impl<I: Io> Clone for Place<I> {
    fn clone(&self) -> Self {
        match self {
            Self::Absent => Self::Absent,
            Self::Open(generation, hosted) => Self::Open(*generation, Rc::clone(hosted)),
            Self::Damaged(reason) => Self::Damaged(reason.clone()),
        }
    }
}

impl<I: Io> Slot<I> {
    pub(super) fn new(no: PartitionNo, place: Place<I>) -> Rc<Self> {
        Rc::new(Self {
            no,
            place: RefCell::new(place),
            queue: RefCell::default(),
            is_writing: Cell::new(false),
            look_at_bytes: Cell::new(COMPACT_BYTES_MIN),
        })
    }
}

/// Why the groups of a slot cannot be served, if so.
pub(super) fn damage<I: Io>(core: &Core<I>, slot: PartitionNo) -> Option<String> {
    let slots = core.groups.slots.borrow();
    match &*slots.get(&slot)?.place.borrow() {
        Place::Damaged(reason) => Some(reason.clone()),
        Place::Absent | Place::Open(..) => None,
    }
}

/// How the partitions of offsets are cut: they are short, and go as a whole.
pub(super) fn segment_settings() -> SegmentSettings {
    SegmentSettings {
        segment_bytes: crate::base::limits::SEGMENT_BYTES_DEFAULT,
        segment_ms: crate::base::limits::SEGMENT_MS_MAX,
    }
}

/// Puts records behind those of their slot that wait already.
pub(super) fn enqueue<I: Io>(core: &Rc<Core<I>>, id: StoreId, records: Vec<OffsetRecord>) {
    let Some(OffsetRecord::Offset { group, .. }) = records.first() else {
        unreachable!("a coordinator stores offsets, at least one");
    };
    let no = slot_of(group);
    let mut slots = core.groups.slots.borrow_mut();
    let slot = slots
        .entry(no)
        .or_insert_with(|| Slot::new(no, Place::Absent));
    slot.queue.borrow_mut().push_back((id, records));
    if !slot.is_writing.replace(true) {
        let task = write_queued(Rc::clone(core), Rc::clone(slot));
        core.io.spawn(task);
    }
}

/// Writes until nothing is left to be written.
async fn write_queued<I: Io>(core: Rc<Core<I>>, slot: Rc<Slot<I>>) {
    let pass = core.gate.enter();
    loop {
        let waiting = std::mem::take(&mut *slot.queue.borrow_mut());
        if waiting.is_empty() {
            slot.is_writing.set(false);
            return;
        }
        let records = waiting.iter().flat_map(|(_, records)| records);
        let result = match &pass {
            Some(_) => write(&core, &slot, records).await,
            None => Err(EngineError::Stopping.to_string()),
        };
        act(&core, |coordinator, effects| {
            for (id, _) in waiting {
                coordinator.stored(id, result.clone(), effects);
            }
        });
        if pass.is_some() {
            compact_if_worth_it(&core, &slot).await;
        }
    }
}

async fn write<I: Io>(
    core: &Core<I>,
    slot: &Slot<I>,
    records: impl Iterator<Item = &OffsetRecord>,
) -> Result<(), String> {
    let hosted = open_place(core, slot).await?;
    let appended = append(core, &hosted, records).await;
    appended.map_err(|error| error.to_string())
}

/// The partition of a slot; made, where there is none yet.
async fn open_place<I: Io>(core: &Core<I>, slot: &Slot<I>) -> Result<Rc<Hosted<I>>, String> {
    let place = slot.place.borrow().clone();
    match place {
        Place::Open(_, hosted) => Ok(hosted),
        Place::Damaged(reason) => Err(reason),
        Place::Absent => {
            let hosted = make(core, 1, slot.no).await;
            let hosted = hosted.map_err(|error| error.to_string())?;
            *slot.place.borrow_mut() = Place::Open(1, Rc::clone(&hosted));
            Ok(hosted)
        }
    }
}

async fn make<I: Io>(
    core: &Core<I>,
    generation: u32,
    slot: PartitionNo,
) -> Result<Rc<Hosted<I>>, LogError> {
    let key = offsets_key(generation, slot);
    let log = core.log.open(key, segment_settings()).await?;
    Ok(Hosted::new_own(log))
}

/// Appends records; they are synced when this returns. An error may leave some of them behind.
async fn append<I: Io>(
    core: &Core<I>,
    hosted: &Rc<Hosted<I>>,
    records: impl Iterator<Item = &OffsetRecord>,
) -> Result<(), EngineError> {
    let time = TimestampMs(core.io.wall_ms());
    let (mut batch, mut key, mut value) = (BatchBuilder::new(), Vec::new(), Vec::new());
    let mut records = records.peekable();
    let mut last = None;
    // What removes or replaces lets space be freed: it must be possible when there is none.
    let mut draw = Draw::Reserve;
    while let Some(record) = records.next() {
        key.clear();
        value.clear();
        record.encode_key(&mut key);
        let has_value = record.encode_value(&mut value);
        if has_value {
            draw = Draw::Free;
        }
        batch.push(time, Some(&key), has_value.then_some(&value[..]), &[]);
        if batch.len() >= BATCH_BYTES || records.peek().is_none() {
            core.log.room().await;
            let hosted = Rc::clone(hosted);
            let appended = append_to(core, hosted, AckLevel::Synced, draw, batch.finish())?;
            last = Some(appended);
            batch.clear();
            draw = Draw::Reserve;
        }
    }
    match last {
        Some(appended) if !planted(Bug::CommitEarly) => {
            appended.settled().await.map(|_: Produced| ())
        }
        Some(_) => Ok(()),
        None => Ok(()),
    }
}

/// Moves a slot to its next generation when most of what its partition holds has been written over.
async fn compact_if_worth_it<I: Io>(core: &Rc<Core<I>>, slot: &Slot<I>) {
    let Place::Open(generation, old) = slot.place.borrow().clone() else {
        return;
    };
    let bytes = old.log().bytes();
    if bytes < slot.look_at_bytes.get() {
        return;
    }
    let live = core.groups.coordinator.borrow().snapshot(slot.no);
    let live_bytes = stored_bytes(&live);
    slot.look_at_bytes
        .set((2 * live_bytes).max(bytes + COMPACT_BYTES_MIN));
    if bytes < 2 * live_bytes {
        return;
    }
    let Some(next) = generation.checked_add(1) else {
        return;
    };
    if planted(Bug::CompactInPlace) {
        old.mark_deleted();
        drop(core.log.delete(old.key()).await);
    }
    match rewrite(core, slot.no, next, live).await {
        Ok(hosted) => {
            *slot.place.borrow_mut() = Place::Open(next, hosted);
            slot.look_at_bytes.set(2 * live_bytes + COMPACT_BYTES_MIN);
            // If this fails, the next start does it: it finds a whole successor.
            old.mark_deleted();
            drop(core.log.delete(old.key()).await);
        }
        // The old one has everything; the new one is not whole, so a start would delete it if this cannot.
        Err(_) => drop(core.log.delete(offsets_key(next, slot.no)).await),
    }
}

/// Writes everything that counts into a new partition, and that it is whole.
async fn rewrite<I: Io>(
    core: &Core<I>,
    slot: PartitionNo,
    generation: u32,
    mut live: Vec<OffsetRecord>,
) -> Result<Rc<Hosted<I>>, String> {
    let hosted = make(core, generation, slot).await;
    let hosted = hosted.map_err(|error| error.to_string())?;
    let records = live.len() as u64;
    live.push(OffsetRecord::Complete { records });
    let appended = append(core, &hosted, live.iter()).await;
    appended.map(|()| hosted).map_err(|error| error.to_string())
}

/// About what these records take in a log, in bytes.
fn stored_bytes(records: &[OffsetRecord]) -> u64 {
    // Lengths, deltas and attributes of a record.
    const FRAMING_BYTES: u64 = 10;
    let mut bytes = Vec::new();
    let mut all = 0;
    for record in records {
        bytes.clear();
        record.encode_key(&mut bytes);
        record.encode_value(&mut bytes);
        all += bytes.len() as u64 + FRAMING_BYTES;
    }
    all
}
