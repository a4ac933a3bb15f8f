//! The sync loop: one sync covers all that was written before it began, however many wait; and what becomes possible
//! when things are durable.

use crate::base::planted::{Bug, planted};
use crate::io::{File, Io, Signal};
use crate::log::core::{Core, Unsynced};
use crate::log::{FLUSH_INTERVAL, LogError};
use crate::log::{roll, rotate, trim};
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// Runs until the log is stopped or has failed.
pub(crate) async fn sync_loop<I: Io>(core: Rc<Core<I>>) {
    while !core.is_over() {
        let wait = core.sync_work.wait();
        let moved = core.moved.wait();
        if core.sync_wanted.get() <= core.durable_bound.get() {
            wait.await;
            continue;
        }
        if core.written_bound.get() == core.durable_bound.get() {
            // What is wanted is still being written.
            moved.await;
            continue;
        }
        if let Err(reason) = sync_once(&core).await {
            return core.fail(reason);
        }
        retire_if_free(&core);
        core.moved.notify();
    }
}

/// Makes durable what is written now.
async fn sync_once<I: Io>(core: &Rc<Core<I>>) -> Result<(), String> {
    let (target, began) = (core.written_bound.get(), core.now());
    let unsynced: Unsynced<I> = core.unsynced.take();
    let mut goals = Vec::with_capacity(unsynced.partitions.len());
    for partition in &unsynced.partitions {
        partition.unsynced.set(false);
        goals.push(partition.written.get());
    }
    for segment in &unsynced.segments {
        segment.touched.set(false);
    }
    sync_files(core, &unsynced).await?;
    // Something else has failed meanwhile: from there on nothing is promised, whatever this sync has reached.
    if let Some(reason) = &*core.failed.borrow()
        && !planted(Bug::AckAfterFailure)
    {
        return Err(reason.clone());
    }
    core.meter.synced(began, core.now());
    core.durable_bound.set(target);
    for (partition, goal) in unsynced.partitions.iter().zip(goals) {
        partition.advance_synced(goal);
        partition.progress.notify();
    }
    Ok(())
}

/// Syncs segments and journal files side by side: the file system commits once for those that wait together.
async fn sync_files<I: Io>(core: &Rc<Core<I>>, unsynced: &Unsynced<I>) -> Result<(), String> {
    if planted(Bug::SkipFlush) {
        return Ok(());
    }
    let done = Rc::new(Done::default());
    for segment in &unsynced.segments {
        // A segment without a file was closed, and synced before that.
        if let Some(file) = segment.file.borrow().as_ref().map(Rc::clone) {
            let name = format!("{} segment {}", segment.key, segment.base);
            done.left.set(done.left.get() + 1);
            core.meter.count(|stats| stats.segment_flushes += 1);
            let done = Rc::clone(&done);
            core.io
                .spawn(async move { done.note(&name, file.sync().await) });
        }
    }
    for file in &unsynced.files {
        core.meter.count(|stats| stats.journal_flushes += 1);
        let mut synced = file.file.sync().await;
        if synced.is_err() && planted(Bug::RetrySync) {
            synced = file.file.sync().await;
        }
        synced.map_err(|error| format!("sync {}: {error}", file.path.display()))?;
    }
    while done.left.get() > 0 {
        done.moved.wait().await;
    }
    done.error.take().map_or(Ok(()), Err)
}

/// Syncs under way and what became of them.
#[derive(Default)]
struct Done {
    left: Cell<usize>,
    error: RefCell<Option<String>>,
    moved: Signal,
}

impl Done {
    fn note(&self, name: &str, result: std::io::Result<()>) {
        self.left.set(self.left.get() - 1);
        if let Err(error) = result {
            *self.error.borrow_mut() = Some(format!("sync {name}: {error}"));
        }
        self.moved.notify();
    }
}

/// Waits until what a cycle takes is durable; `is_taken` tells that one has taken it.
pub(crate) async fn wait_durable<I: Io>(
    core: &Core<I>,
    is_taken: impl Fn() -> bool,
) -> Result<(), LogError> {
    let mut bound = None;
    loop {
        if let Some(reason) = &*core.failed.borrow() {
            return Err(LogError::Failed(reason.clone()));
        }
        if bound.is_none() && is_taken() {
            bound = Some(core.journal.sequence.get());
        }
        if bound.is_some_and(|bound| core.durable_bound.get() >= bound) {
            return Ok(());
        }
        if let Some(bound) = bound {
            core.want_sync(bound);
        }
        core.moved.wait().await;
    }
}

/// The retiring journal file is free once all partitions were carried out of it durably: it becomes the next spare.
pub(crate) fn retire_if_free<I: Io>(core: &Rc<Core<I>>) {
    let durable = core.durable_bound.get();
    let mut retiring = core.journal.retiring.borrow_mut();
    let free = retiring.as_ref().is_some_and(|r| {
        let bound = r.carried_below;
        bound.is_some_and(|bound| bound <= durable || planted(Bug::RecycleEarly))
    });
    let Some(old) = (if free { retiring.take() } else { None }) else {
        return;
    };
    drop(retiring);
    rotate::spawn_spare(core, Some(old.file));
}

/// A failure of upkeep: final, unless the log is over anyway.
pub(crate) fn fail_unless_over<I: Io>(core: &Core<I>, error: &LogError) {
    if !core.is_over() {
        core.fail(error.to_string());
    }
}

/// Once a second: syncs what nobody waits for, seals old segments.
pub(crate) async fn upkeep_loop<I: Io>(core: Rc<Core<I>>) {
    while !core.is_over() {
        core.io.sleep(FLUSH_INTERVAL).await;
        if core.is_over() {
            return;
        }
        core.want_sync(core.written_bound.get());
        let partitions: Vec<_> = core.partitions.borrow().values().map(Rc::clone).collect();
        for partition in &partitions {
            if !core.stopping.get() && !partition.deleting.get() {
                roll::roll_if_due(&core, partition, 0);
            }
            // What could not go when it was trimmed: a segment that was still being written.
            if let Err(error) = trim::remove_below(&core, partition).await {
                core.tell(partition.key, error.to_string());
            }
        }
    }
}
