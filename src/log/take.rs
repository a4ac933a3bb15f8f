//! What one commit cycle takes: walks the dirty partitions, fills the journal entry, collects the direct writes.

use crate::base::Offset;
use crate::base::limits::{BLOCK_BYTES, DIRECT_BYTES_MIN, LONE_DIRECT_BYTES_MIN};
use crate::base::planted::{Bug, planted};
use crate::io::Io;
use crate::log::core::{Core, Cycle, Part};
use crate::log::journal::entry::{EntryHead, EntryWriter, HEADER_BYTES, RECORD_BYTES, Record};
use crate::log::journal::files::truncated;
use crate::log::partition::Partition;
use crate::log::rotate::Room;
use crate::log::segment::Segment;
use crate::log::tail::{DirectWrite, How};
use std::cell::Cell;
use std::rc::Rc;

/// A direct write and the segment it belongs to.
pub(crate) type SegmentWrite<I> = (Rc<Segment<I>>, DirectWrite<I>);

/// A cycle that is ready to be written.
pub(crate) struct Plan<I: Io> {
    pub(crate) cycle: Rc<Cycle<I>>,
    pub(crate) entry: Rc<<I as Io>::Buffer>,
    pub(crate) position: u64,
    pub(crate) directs: Vec<SegmentWrite<I>>,
}

/// What was gathered so far.
struct Gathered<I: Io> {
    direct_bytes_min: usize,
    parts: Vec<Part<I>>,
    directs: Vec<SegmentWrite<I>>,
    scratch: Vec<DirectWrite<I>>,
    bytes: usize,
    wants_sync: bool,
    carried: usize,
}

/// Takes what is pending. `None`: nothing can be taken now.
pub(crate) fn plan<I: Io>(core: &Core<I>, room: Room) -> Option<Plan<I>> {
    let direct_bytes_min = direct_bytes_min(core);
    let needed = entry_bytes_needed(core, direct_bytes_min);
    let mut buffer = core.io.buffer(needed.min(room.bytes));
    let mut gathered = Gathered {
        direct_bytes_min,
        parts: Vec::new(),
        directs: Vec::new(),
        scratch: Vec::new(),
        bytes: 0,
        wants_sync: false,
        carried: 0,
    };
    let journal = &core.journal;
    let file = Rc::clone(&journal.active.borrow());
    let mut writer = EntryWriter::new(buffer.as_mut());
    take_dirty(core, room, &mut writer, &mut gathered);
    if writer.records() == 0 {
        return None;
    }
    core.pending.set(core.pending.get() - gathered.bytes);
    let launched = core.now();
    core.meter.took(launched, core.pending.get() > 0);
    let sequence = journal.sequence.get();
    let head = EntryHead {
        file: file.id,
        sequence,
        durable_bound: match planted(Bug::FrontierAhead) {
            true => sequence + 1,
            false => core.durable_bound.get(),
        },
        written_bound: core.written_bound.get(),
        boot_id: core.io.boot_id(),
        previous_crc: journal.previous_crc.get(),
    };
    let (bytes, crc) = writer.finish(&head);
    let position = journal.position.get();
    assert!(position + bytes as u64 <= file.bytes);
    journal.sequence.set(sequence + 1);
    journal.previous_crc.set(crc);
    journal.position.set(position + bytes as u64);
    note_carried(core, gathered.carried, sequence + 1);
    core.meter.count(|stats| {
        stats.cycles += 1;
        stats.cycle_partitions += gathered.parts.len() as u64;
        stats.journal_bytes += bytes as u64;
        stats.direct_writes += gathered.directs.len() as u64;
        let direct = gathered.directs.iter().map(|(_, write)| write.bytes as u64);
        stats.direct_bytes += direct.sum::<u64>();
    });
    let cycle = Rc::new(Cycle {
        sequence,
        launched,
        left: Cell::new(1 + gathered.directs.len()),
        parts: gathered.parts,
        file,
        bytes: gathered.bytes,
        wants_sync: gathered.wants_sync,
        durable: gathered.wants_sync && gathered.directs.is_empty(),
    });
    let entry = Rc::new(truncated(buffer, bytes));
    Some(Plan {
        cycle,
        entry,
        position,
        directs: gathered.directs,
    })
}

/// See the limits. A lone producer's bytes go inline where an entry has room for them.
fn direct_bytes_min<I: Io>(core: &Core<I>) -> usize {
    let is_lone = core.cycles.borrow().is_empty() && core.pending.get() < LONE_DIRECT_BYTES_MIN;
    let fits = core.options.entry_bytes_max() > LONE_DIRECT_BYTES_MIN + 2 * BLOCK_BYTES;
    if is_lone && fits {
        LONE_DIRECT_BYTES_MIN
    } else {
        DIRECT_BYTES_MIN
    }
}

/// The size of an entry that holds what is pending, within the limit. Not always the limit: memory of a MiB comes from
/// the kernel, which zeroes it, and a small entry is some KiB.
fn entry_bytes_needed<I: Io>(core: &Core<I>, direct_bytes_min: usize) -> usize {
    let bytes_max = core.options.entry_bytes_max();
    let mut bytes = HEADER_BYTES;
    for partition in &*core.dirty.borrow() {
        bytes += entry_share(partition, direct_bytes_min);
        if bytes >= bytes_max {
            return bytes_max;
        }
    }
    bytes.next_multiple_of(BLOCK_BYTES).min(bytes_max)
}

/// What one partition may put into an entry.
fn entry_share<I: Io>(partition: &Partition<I>, direct_bytes_min: usize) -> usize {
    if partition.deleting.get() {
        return RECORD_BYTES;
    }
    let how = how_to_take(partition, direct_bytes_min);
    let share = |segment: &Segment<I>| RECORD_BYTES + segment.tail.borrow().inline_need(how);
    let sealing = partition.sealing.borrow();
    let sealed: usize = sealing.iter().map(|segment| share(segment)).sum();
    sealed + share(&partition.active())
}

fn how_to_take<I: Io>(partition: &Partition<I>, direct_bytes_min: usize) -> How {
    How {
        force: partition.carry.get() || partition.announce.get() || partition.trim.get(),
        direct_bytes_min,
    }
}

/// Visits each dirty partition once; those that could not be taken whole stay in the list, before those that come later.
fn take_dirty<I: Io>(
    core: &Core<I>,
    room: Room,
    writer: &mut EntryWriter<'_>,
    gathered: &mut Gathered<I>,
) {
    let count = core.dirty.borrow().len();
    for _ in 0..count {
        let Some(partition) = core.dirty.borrow_mut().pop_front() else {
            break;
        };
        let may = !room.is_for_carries || partition.carry.get();
        if may && take_partition(core, &partition, writer, gathered) {
            partition.dirty.set(false);
        } else {
            core.dirty.borrow_mut().push_back(partition);
        }
    }
}

/// Takes all of a partition, oldest segment first. False: something had to stay.
fn take_partition<I: Io>(
    core: &Core<I>,
    partition: &Rc<Partition<I>>,
    writer: &mut EntryWriter<'_>,
    gathered: &mut Gathered<I>,
) -> bool {
    if partition.deleting.get() {
        return take_delete(partition, writer, gathered);
    }
    let how = how_to_take(partition, gathered.direct_bytes_min);
    loop {
        let Some(segment) = partition.sealing.borrow().front().map(Rc::clone) else {
            break;
        };
        if !take_segment(core, partition, &segment, how, writer, gathered) {
            return false;
        }
        partition.sealing.borrow_mut().pop_front();
    }
    let active = partition.active();
    let pending = active.tail.borrow().is_pending();
    if (pending || how.force) && !take_segment(core, partition, &active, how, writer, gathered) {
        return false;
    }
    gathered.bytes += partition.pending_bytes.replace(0);
    gathered.wants_sync |= partition.wants_sync.replace(false);
    gathered.carried += usize::from(partition.carry.replace(false));
    gathered.wants_sync |= partition.announce.replace(false);
    gathered.wants_sync |= partition.trim.replace(false);
    true
}

fn take_segment<I: Io>(
    core: &Core<I>,
    partition: &Rc<Partition<I>>,
    segment: &Rc<Segment<I>>,
    how: How,
    writer: &mut EntryWriter<'_>,
    gathered: &mut Gathered<I>,
) -> bool {
    if !segment.can_write() {
        return false;
    }
    let mut tail = segment.tail.borrow_mut();
    let fits = writer
        .room()
        .is_some_and(|room| tail.inline_need(how) <= room);
    if !fits {
        return false;
    }
    let taken = tail.take(&core.io, how, &mut gathered.scratch);
    let end = segment.end.get();
    let record = Record {
        key: partition.key,
        deleted: false,
        segment: segment.base,
        end_pos: end.pos,
        next_offset: end.next_offset,
        direct_pos: taken.direct_pos,
        direct_bytes: taken.direct_bytes as u32,
        direct_crc: taken.direct_crc,
        inline_pos: taken.inline_pos,
        inline_bytes: taken.inline_bytes as u32,
        max_timestamp: end.max_timestamp,
        log_start: log_start(partition),
    };
    writer.push(&record, tail.inline(&taken));
    if segment.base > partition.named.get().0 {
        let sequence = core.journal.sequence.get();
        partition.named.set((segment.base, sequence));
    }
    partition.note_boundary(segment.base, end);
    segment
        .writes
        .set(segment.writes.get() + gathered.scratch.len());
    let direct = !gathered.scratch.is_empty();
    gathered.directs.extend(
        gathered
            .scratch
            .drain(..)
            .map(|write| (Rc::clone(segment), write)),
    );
    gathered.parts.push(Part {
        partition: Rc::clone(partition),
        segment: Rc::clone(segment),
        next_offset: Some(end.next_offset),
        direct,
    });
    true
}

/// What the record says of where the partition begins.
fn log_start<I: Io>(partition: &Partition<I>) -> Offset {
    match planted(Bug::ForgetTrim) {
        true => Offset(0),
        false => partition.start_asked.get(),
    }
}

fn take_delete<I: Io>(
    partition: &Rc<Partition<I>>,
    writer: &mut EntryWriter<'_>,
    gathered: &mut Gathered<I>,
) -> bool {
    if writer.room().is_none() {
        return false;
    }
    let segment = partition.active();
    let record = Record {
        key: partition.key,
        deleted: true,
        segment: segment.base,
        end_pos: 0,
        next_offset: partition.appended.get(),
        direct_pos: 0,
        direct_bytes: 0,
        direct_crc: 0,
        inline_pos: 0,
        inline_bytes: 0,
        max_timestamp: 0,
        log_start: log_start(partition),
    };
    writer.push(&record, &[]);
    partition.delete_taken.set(true);
    gathered.bytes += partition.pending_bytes.replace(0);
    gathered.carried += usize::from(partition.carry.replace(false));
    gathered.wants_sync = true;
    gathered.parts.push(Part {
        partition: Rc::clone(partition),
        segment,
        next_offset: None,
        direct: false,
    });
    true
}

/// Once the last partition has been carried out of the retiring journal file, it is known when it is free.
fn note_carried<I: Io>(core: &Core<I>, carried: usize, bound: u64) {
    if let Some(retiring) = &mut *core.journal.retiring.borrow_mut() {
        retiring.uncarried -= carried;
        if retiring.uncarried == 0 && retiring.carried_below.is_none() {
            retiring.carried_below = Some(bound);
            core.want_sync(bound);
        }
    }
}
