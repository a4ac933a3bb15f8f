//! Sealing segments, starting new ones, growing their files: what an append may set off but never waits for.

use crate::io::Io;
use crate::log::core::Core;
use crate::log::partition::Partition;
use crate::log::segment::{LastBlock, Segment};
use crate::log::space;
use std::rc::Rc;
use std::time::Duration;

/// How long to wait before asking a full disk again.
const RETRY: Duration = Duration::from_millis(500);

/// Seals the active segment if `more` bytes would take it past its size, or if it is too old.
pub(crate) fn roll_if_due<I: Io>(core: &Rc<Core<I>>, partition: &Rc<Partition<I>>, more: usize) {
    let segment = partition.active();
    let settings = partition.settings.get();
    let pos = segment.end.get().pos;
    let too_large = pos + more as u64 > settings.segment_bytes;
    let age = segment
        .first_append
        .get()
        .map(|first| core.now().since(first));
    let too_old = age.is_some_and(|age| age >= Duration::from_millis(settings.segment_ms));
    if pos > 0 && (too_large || too_old) {
        roll(core, partition, &segment);
    }
}

/// Seals the active segment if there is anything in it.
pub(crate) fn roll_now<I: Io>(core: &Rc<Core<I>>, partition: &Rc<Partition<I>>) {
    let segment = partition.active();
    if segment.end.get().pos > 0 {
        roll(core, partition, &segment);
    }
}

fn roll<I: Io>(core: &Rc<Core<I>>, partition: &Rc<Partition<I>>, segment: &Rc<Segment<I>>) {
    segment.sealed.set(true);
    segment.tail.borrow_mut().finish(&core.io);
    partition.sealing.borrow_mut().push_back(Rc::clone(segment));
    let next = Segment::new(partition.key, segment.end.get().next_offset, &partition.dir);
    partition.segments.borrow_mut().push(Rc::clone(&next));
    partition.note_boundary(next.base, next.end.get());
    core.mark_dirty(partition);
    let core = Rc::clone(core);
    let partition = Rc::clone(partition);
    core.io
        .clone()
        .spawn(async move { create_file(&core, &partition, &next).await });
}

/// Makes the new segment's file; while the disk is full, tries again. Until it is there the segment's bytes wait in
/// memory, bounded by the core's limit of unwritten bytes.
async fn create_file<I: Io>(
    core: &Rc<Core<I>>,
    partition: &Rc<Partition<I>>,
    segment: &Rc<Segment<I>>,
) {
    while !core.is_over() && !partition.deleting.get() {
        match segment.create_file(&core.io).await {
            Ok(()) => {
                space::claim(core, segment.allocated.get());
                // More may have been appended meanwhile than the new file has room for.
                grow_if_due(core, segment);
                return core.work.notify();
            }
            Err(error) if is_full(&error) => wait_for_space(core).await,
            Err(_) if partition.deleting.get() => return,
            Err(error) => return core.fail(error.to_string()),
        }
    }
}

/// Starts to make room in the segment's file ahead of its tail.
pub(crate) fn grow_if_due<I: Io>(core: &Rc<Core<I>>, segment: &Rc<Segment<I>>) {
    let ready = segment.file.borrow().is_some() && !segment.growing.get();
    let ahead = core.space.ahead_bytes_max();
    if ready && segment.wanted_allocation(ahead).is_some() {
        segment.growing.set(true);
        let (core, segment) = (Rc::clone(core), Rc::clone(segment));
        core.io
            .clone()
            .spawn(async move { grow(&core, &segment).await });
    }
}

async fn grow<I: Io>(core: &Rc<Core<I>>, segment: &Segment<I>) {
    use crate::io::File;
    while let Some(wanted) = segment.wanted_allocation(core.space.ahead_bytes_max()) {
        let Some(file) = segment.file.borrow().as_ref().map(Rc::clone) else {
            break;
        };
        match file.allocate(wanted).await {
            Ok(()) => {
                let before = segment.allocated.get();
                segment.allocated.set(wanted.max(before));
                space::claim(core, wanted.saturating_sub(before));
                core.work.notify();
            }
            Err(error) if error.raw_os_error() == Some(ENOSPC) => wait_for_space(core).await,
            Err(error) => {
                core.fail(format!(
                    "cannot grow {}/{}: {error}",
                    segment.key, segment.base
                ));
                break;
            }
        }
        if core.is_over() {
            break;
        }
    }
    segment.growing.set(false);
}

/// The system's number for "no space left on device".
pub(crate) const ENOSPC: i32 = 28;

/// The file system has no room. What waits for it is in memory and was not acknowledged: it waits on, but not past the
/// end of a stop.
pub(crate) async fn wait_for_space<I: Io>(core: &Core<I>) {
    core.space.exhaust();
    if core.stopping.get() {
        let unwritten = core.unwritten.get();
        return core.fail(format!(
            "the disk is full and the log was asked to stop: {unwritten} bytes were not written and not acknowledged"
        ));
    }
    core.io.sleep(RETRY).await;
}

/// Whether the file system had no room. Of a sync that said so nobody knows what it dropped: that is another error.
pub(crate) fn is_full(error: &crate::log::LogError) -> bool {
    matches!(error, crate::log::LogError::Io { source, .. } if source.raw_os_error() == Some(ENOSPC))
}

/// A sealed segment has been written: closes its file and completes its index.
pub(crate) fn close_when_written<I: Io>(core: &Rc<Core<I>>, segment: &Rc<Segment<I>>) {
    let done = segment.sealed.get()
        && segment.writes.get() == 0
        && !segment.tail.borrow().has_new_chunks()
        && segment.file.borrow().is_some();
    if !done || segment.closing.replace(true) {
        return;
    }
    let (core, segment) = (Rc::clone(core), Rc::clone(segment));
    core.io.clone().spawn(async move {
        if let Err(error) = segment.close_file().await {
            core.fail(error.to_string());
        } else {
            // Derived, so an error here only costs the next start a walk over the segment.
            let _ = segment.write_index(&core.io, LastBlock::Sealed).await;
            segment.is_at_rest.set(true);
        }
    });
}

/// Writes what every active segment's index has so far, so that the next start finds it instead of walking.
pub(crate) async fn write_indexes<I: Io>(core: &Core<I>) {
    write_indexes_behind(core, 1).await;
}

/// The same for those that are so many entries behind. An entry stands for 64 KiB of the walk, and writing it costs an
/// open, a write and a close: with a thousand small partitions, that would be most of what a full journal costs.
pub(crate) async fn write_indexes_behind<I: Io>(core: &Core<I>, entries_min: usize) {
    let partitions: Vec<_> = core.partitions.borrow().values().map(Rc::clone).collect();
    for partition in partitions {
        let segment = partition.active();
        let made = segment.file.borrow().is_some() && !partition.deleting.get();
        if made && segment.index_entries_behind() >= entries_min {
            let _ = segment.write_index(&core.io, LastBlock::Written).await;
        }
    }
}
