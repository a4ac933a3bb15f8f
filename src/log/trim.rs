//! Trimming a partition: giving up its beginning.
//!
//! ```text
//!   trim ──> start asked ──> next cycle: a journal record that says so ──> durable ──> start moves, whole segments go
//! ```
//! Every journal record of a partition carries its log start, so that it is carried from file to file with the rest. Readers
//! are told only once that is durable: what was told never goes back. A segment goes when all of it lies below the start, it
//! is sealed, nothing writes to its files any more, and a durable record names a later one, for a start follows the journal to
//! the last segment that it names. A reader that holds its file reads on: an unlinked file lives as long as it is open. A
//! crash in between leaves segments that the next start removes.

use crate::base::Offset;
use crate::base::planted::{Bug, planted};
use crate::io::Io;
use crate::log::core::Core;
use crate::log::partition::Partition;
use crate::log::segment::Segment;
use crate::log::{LogError, paths, sync};
use std::io::ErrorKind;
use std::rc::Rc;

/// See [`crate::log::PartitionLog::trim`].
pub(crate) async fn trim<I: Io>(
    core: &Rc<Core<I>>,
    partition: &Rc<Partition<I>>,
    before: Offset,
) -> Result<(), LogError> {
    if core.stopping.get() || partition.deleting.get() {
        let reason = "the log is stopping, or the partition was deleted";
        return Err(LogError::Failed(reason.to_string()));
    }
    if before > partition.start_asked.get() {
        partition.start_asked.set(before);
        partition.trim.set(true);
        core.mark_dirty(partition);
    }
    if before > partition.start.get() && !planted(Bug::TrimEarly) {
        sync::wait_durable(core, || !partition.trim.get() || partition.deleting.get()).await?;
    }
    // Another one may have gone further meanwhile.
    partition.start.set(before.max(partition.start.get()));
    partition.progress.notify();
    remove_below(core, partition).await
}

/// Removes the segments that hold nothing from the log's start on.
pub(crate) async fn remove_below<I: Io>(
    core: &Core<I>,
    partition: &Rc<Partition<I>>,
) -> Result<(), LogError> {
    let mut is_changed = false;
    while let Some(segment) = take_first_below(core, partition) {
        for path in [
            paths::index(&segment.dir, segment.base),
            paths::segment(&segment.dir, segment.base),
        ] {
            match core.io.remove_file(&path).await {
                // A segment whose index was never written; a partition that was deleted meanwhile.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                removed => removed.map_err(LogError::io("remove", &path))?,
            }
        }
        is_changed = true;
    }
    if is_changed && !partition.deleting.get() {
        let dir = &partition.dir;
        core.io.sync_dir(dir).await.map_err(LogError::sync(dir))?;
    }
    Ok(())
}

/// The first segment, if it may go; from here on nobody finds it.
fn take_first_below<I: Io>(core: &Core<I>, partition: &Rc<Partition<I>>) -> Option<Rc<Segment<I>>> {
    let mut segments = partition.segments.borrow_mut();
    let [first, second, ..] = &segments[..] else {
        return None;
    };
    let may_go = second.base <= partition.start.get() && first.is_at_rest.get();
    if !may_go || partition.deleting.get() {
        return None;
    }
    let (named, sequence) = partition.named.get();
    if named < second.base && !planted(Bug::RemoveNamed) {
        // Nothing was appended since the roll. A record without bytes will do; the next upkeep comes back.
        partition.trim.set(true);
        core.mark_dirty(partition);
        return None;
    }
    let is_durable = core.durable_bound.get() > sequence || planted(Bug::RemoveNamed);
    is_durable.then(|| segments.remove(0))
}
