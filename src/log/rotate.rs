//! The journal's rotation: when the active file is full, what has to leave it before it can go, and the next one.
//!
//! ```text
//!   full file: retiring            active file                                spare
//!   │ entries │ entries │ ─carry─> │ carries, entries ... │ kept for carries │  │ zeros │
//! ```
//! A partition is carried when an entry of a later file holds all of it that is in no segment, which is less than a block.
//! The full file goes, and becomes the next spare, once every partition has been carried.
//!
//! Invariant: the active file always has room for whoever was not carried yet. Otherwise it could be full of others' bytes
//! while it waits for the full one to go, and that one for room in it, and nothing would be written ever again. So a file
//! is as large as all partitions need ([`file_bytes`]), and what is kept for them nobody else gets ([`Room`]).

use crate::base::limits::BLOCK_BYTES;
use crate::base::planted::{Bug, planted};
use crate::io::Io;
use crate::log::core::{Core, Retiring};
use crate::log::journal::entry::FileId;
use crate::log::journal::files::{self, FILL_BYTES, FIRST_ENTRY, JournalFile};
use crate::log::partition::Partition;
use crate::log::{LogError, Options, paths, roll, sync};
use std::rc::Rc;

/// Indexes so many entries behind are written when a journal file is full: a MiB of batches is soon walked over.
const INDEX_ENTRIES_BEHIND: usize = 16;
/// What a carry takes of a file at most: an entry of its own with less than a block of the partition.
const CARRY_BYTES: u64 = 2 * BLOCK_BYTES as u64;

/// What the next entry may take of the active file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Room {
    /// So many bytes, whole blocks.
    pub(crate) bytes: usize,
    /// Only for partitions that have to be carried.
    pub(crate) is_for_carries: bool,
}

/// The size of a file for so many partitions: as configured, or as many times that as they need. With twice as many it
/// would still do, so that it need not grow with each of them.
pub(crate) fn file_bytes(options: &Options, partitions: usize) -> u64 {
    let configured = options.journal_file_bytes;
    if bytes_needed(options, partitions) <= configured {
        return configured;
    }
    let roomy = bytes_needed(options, 2 * partitions);
    roomy.next_multiple_of(configured.max(FILL_BYTES as u64))
}

/// The size that a file must have so that all partitions can be carried into it, and something else be written.
fn bytes_needed(options: &Options, partitions: usize) -> u64 {
    if planted(Bug::KeepNoRoom) {
        return 0;
    }
    FIRST_ENTRY + partitions as u64 * CARRY_BYTES + 2 * options.entry_bytes_max() as u64
}

/// Room for the next entry. Goes over to the spare file if the active one is full. None: there is no file to write to yet.
pub(crate) fn room<I: Io>(core: &Rc<Core<I>>) -> Option<Room> {
    let journal = &core.journal;
    let largest = core.options.entry_bytes_max() as u64;
    let left = journal.active.borrow().bytes - journal.position.get();
    let uncarried = journal
        .retiring
        .borrow()
        .as_ref()
        .map_or(0, |r| r.uncarried);
    let kept = match planted(Bug::KeepNoRoom) {
        true => 0,
        false => uncarried as u64 * CARRY_BYTES,
    };
    let room = |bytes: u64, is_for_carries| Room {
        bytes: bytes as usize,
        is_for_carries,
    };
    if left >= largest + kept {
        return Some(room(largest, false));
    }
    if kept > 0 && left >= CARRY_BYTES {
        return Some(room(largest.min(left), true));
    }
    let spare = journal.spare.borrow_mut().take()?;
    if spare.bytes < bytes_needed(&core.options, core.partitions.borrow().len()) {
        // It was made when there were fewer.
        spawn_spare(core, Some(spare));
        return None;
    }
    let old = journal.active.replace(spare);
    journal.position.set(FIRST_ENTRY);
    carry_all(core, old);
    let indexed = Rc::clone(core);
    core.io
        .spawn(async move { roll::write_indexes_behind(&indexed, INDEX_ENTRIES_BEHIND).await });
    Some(room(largest, false))
}

/// Every partition has to leave the full file: its next take starts at a block boundary and holds all of its tail.
fn carry_all<I: Io>(core: &Core<I>, old: Rc<JournalFile<I>>) {
    let partitions: Vec<Rc<Partition<I>>> =
        core.partitions.borrow().values().map(Rc::clone).collect();
    let mut uncarried = 0;
    for partition in partitions
        .iter()
        .filter(|partition| !partition.delete_taken.get())
        .skip(usize::from(planted(Bug::CarryNotAll)))
    {
        partition.carry.set(true);
        core.mark_dirty(partition);
        uncarried += 1;
    }
    let sequence = core.journal.sequence.get();
    let carried_below = (uncarried == 0).then_some(sequence);
    *core.journal.retiring.borrow_mut() = Some(Retiring {
        file: old,
        uncarried,
        carried_below,
    });
    if uncarried == 0 {
        core.want_sync(sequence);
    }
}

/// Has the next spare file made, from `old` if there is one. A failure is final.
pub(crate) fn spawn_spare<I: Io>(core: &Rc<Core<I>>, old: Option<Rc<JournalFile<I>>>) {
    let core = Rc::clone(core);
    core.io.clone().spawn(async move {
        if let Err(error) = prepare_spare(&core, old).await {
            sync::fail_unless_over(&core, &error);
        }
    });
}

/// Makes a spare journal file, from `old` if there is one. When it returns, `old` is no journal file any more: it would be
/// taken for one at the next start, and the entries between it and those that came later for lost.
async fn prepare_spare<I: Io>(
    core: &Core<I>,
    mut old: Option<Rc<JournalFile<I>>>,
) -> Result<(), LogError> {
    loop {
        match make_spare(core, old.take()).await {
            Err(error) if roll::is_full(&error) && !core.is_over() => {
                roll::wait_for_space(core).await;
            }
            made => return made,
        }
    }
}

async fn make_spare<I: Io>(
    core: &Core<I>,
    old: Option<Rc<JournalFile<I>>>,
) -> Result<(), LogError> {
    let number = core.journal.next_number.get();
    core.journal.next_number.set(number + 1);
    let id = file_id(core, number);
    let dir = paths::journal(&core.options.data, core.io.core());
    let mut left = Vec::from(files::names(&dir, number));
    left.extend(old.as_ref().map(|old| old.path.clone()));
    let partitions = core.partitions.borrow().len();
    let bytes = file_bytes(&core.options, partitions);
    let made = match old.map(Rc::try_unwrap) {
        Some(Ok(old)) if old.bytes >= bytes_needed(&core.options, partitions) => {
            files::recycle(&core.io, &dir, id, old).await
        }
        Some(old) => {
            // Too small by now. A cycle holds its file until it is acknowledged, which all of the old one's are; were it
            // otherwise, it goes, too.
            let path = old.map_or_else(|shared| shared.path.clone(), |old| old.path);
            files::discard(&core.io, &dir, &[path]).await?;
            files::create(&core.io, &dir, id, bytes).await
        }
        None => files::create(&core.io, &dir, id, bytes).await,
    };
    if made.as_ref().is_err_and(roll::is_full) {
        files::discard(&core.io, &dir, &left).await?;
    }
    let file = made?;
    *core.journal.spare.borrow_mut() = Some(Rc::new(file));
    core.work.notify();
    Ok(())
}

/// The identity of this core's journal file `number`.
fn file_id<I: Io>(core: &Core<I>, number: u64) -> FileId {
    FileId {
        node: core.options.node,
        core: core.io.core(),
        epoch: core.options.epoch,
        number,
        generation: core.io.random(),
    }
}
