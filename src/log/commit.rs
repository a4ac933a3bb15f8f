//! The commit loop: one cycle after the other, several in flight, acknowledged in order.

use crate::base::planted::{Bug, planted};
use crate::io::Io;
use crate::log::core::{Core, Cycle};
use crate::log::journal::files::{JournalFile, write_shared, write_shared_durably};
use crate::log::rotate::{self, Room};
use crate::log::segment::{LastBlock, Segment};
use crate::log::tail::DirectWrite;
use crate::log::take::{self, Plan};
use crate::log::{roll, sync};
use std::rc::Rc;

/// Runs until the log is stopped or has failed.
pub(crate) async fn commit_loop<I: Io>(core: Rc<Core<I>>) {
    while !core.is_over() {
        let wait = core.work.wait();
        match room(&core).and_then(|room| take::plan(&core, room)) {
            Some(plan) => launch(&core, plan),
            None => wait.await,
        }
    }
}

/// What the next cycle may put into the journal, if one may start.
fn room<I: Io>(core: &Rc<Core<I>>) -> Option<Room> {
    let dirty = !core.dirty.borrow().is_empty();
    (dirty && core.has_cycle_room())
        .then(|| rotate::room(core))
        .flatten()
}

/// Sends the cycle's writes out.
fn launch<I: Io>(core: &Rc<Core<I>>, plan: Plan<I>) {
    core.cycles.borrow_mut().push_back(Rc::clone(&plan.cycle));
    for (segment, write) in plan.directs {
        let (core, cycle) = (Rc::clone(core), Rc::clone(&plan.cycle));
        core.io
            .clone()
            .spawn(async move { write_direct(&core, &cycle, &segment, write).await });
    }
    let (core, cycle, position, entry) = (Rc::clone(core), plan.cycle, plan.position, plan.entry);
    core.io.clone().spawn(async move {
        let file = &cycle.file;
        if planted(Bug::AckEarly) {
            complete_one(&core, &cycle);
        }
        let written = if cycle.durable && !planted(Bug::SkipFlush) {
            core.meter.count(|stats| stats.journal_flushes += 1);
            write_shared_durably::<I>(&file.file, entry, position).await
        } else {
            write_shared::<I>(&file.file, entry, position).await
        };
        match written {
            Ok(()) if planted(Bug::AckEarly) => {}
            Ok(()) => complete_one(&core, &cycle),
            Err(error) => core.fail(format!("write {}: {error}", file.path.display())),
        }
    });
}

async fn write_direct<I: Io>(
    core: &Rc<Core<I>>,
    cycle: &Rc<Cycle<I>>,
    segment: &Rc<Segment<I>>,
    write: DirectWrite<I>,
) {
    let file = segment
        .file
        .borrow()
        .as_ref()
        .map(Rc::clone)
        .expect("taken only with its file open");
    let (pos, bytes) = (write.pos, write.bytes);
    if let Err(error) = write_shared::<I>(&file, write.buffer, pos).await
        && !planted(Bug::IgnoreWriteError)
    {
        return core.fail(format!(
            "write {} segment {}: {error}",
            segment.key, segment.base
        ));
    }
    drop(file);
    segment.tail.borrow_mut().written(pos);
    segment.writes.set(segment.writes.get() - 1);
    core.keep_hot(segment, pos, bytes);
    complete_one(core, cycle);
    // Derived: an error here only costs the next start a longer walk.
    let _ = segment.write_index(&core.io, LastBlock::Left).await;
}

/// One write of `cycle` is done; acknowledges what is complete from the oldest on.
fn complete_one<I: Io>(core: &Rc<Core<I>>, cycle: &Cycle<I>) {
    cycle.left.set(cycle.left.get() - 1);
    if core.failed.borrow().is_some() {
        return;
    }
    let mut acknowledged = None;
    loop {
        let is_done = |cycle: &Rc<Cycle<I>>| cycle.left.get() == 0;
        let done = core.cycles.borrow().front().is_some_and(is_done)
            || planted(Bug::AckOutOfOrder) && core.cycles.borrow().iter().any(is_done);
        if !done {
            break;
        }
        let cycle = core
            .cycles
            .borrow_mut()
            .pop_front()
            .expect("looked at just now");
        acknowledge(core, &cycle);
        let now = *acknowledged.get_or_insert_with(|| core.now());
        core.meter.wrote(cycle.launched, now);
    }
    if acknowledged.is_some() {
        core.work.notify();
        core.moved.notify();
    }
}

fn acknowledge<I: Io>(core: &Rc<Core<I>>, cycle: &Cycle<I>) {
    assert!(cycle.sequence == core.written_bound.get());
    core.written_bound.set(cycle.sequence + 1);
    core.unwritten.set(core.unwritten.get() - cycle.bytes);
    // A durable entry makes its cycle durable only if all before it are: promises are kept in order.
    let durable = cycle.durable && core.durable_bound.get() == cycle.sequence;
    if durable {
        core.durable_bound.set(cycle.sequence + 1);
    } else {
        note_unsynced(core, cycle);
    }
    for part in &cycle.parts {
        if let Some(next_offset) = part.next_offset {
            part.partition.advance_written(next_offset);
            if durable {
                part.partition.advance_synced(next_offset);
            }
        }
        if !planted(Bug::LoseWakeUp) {
            part.partition.progress.notify();
        }
        roll::close_when_written(core, &part.segment);
    }
    if durable {
        sync::retire_if_free(core);
    } else if cycle.wants_sync {
        core.want_sync(cycle.sequence + 1);
    }
}

/// What the next sync has to cover of `cycle`. A durable entry that came before its turn needs none of its own.
fn note_unsynced<I: Io>(core: &Core<I>, cycle: &Cycle<I>) {
    let mut unsynced = core.unsynced.borrow_mut();
    let is_known = |file: &Rc<JournalFile<I>>| Rc::ptr_eq(file, &cycle.file);
    if !cycle.durable && !unsynced.files.iter().any(is_known) {
        unsynced.files.push(Rc::clone(&cycle.file));
    }
    for part in &cycle.parts {
        if !part.partition.unsynced.replace(true) {
            unsynced.partitions.push(Rc::clone(&part.partition));
        }
        if part.direct && !part.segment.touched.replace(true) {
            unsynced.segments.push(Rc::clone(&part.segment));
        }
    }
}
