//! Waking the cores from outside: at once when one of them has failed, and every so often, whatever they wait for.
//!
//! Decided: the executor of glommio 0.9 may sleep while tasks are runnable (`core` tells how), and what ends such a sleep
//! must not be one of those tasks. Timers within the core were, five of them: once `millrace verify` slept for ten minutes
//! on a crowded machine, with no timer left, until a debugger touched it. They also end before a core's last operations do.
//! A wake-up from another thread goes through the core's eventfd and its queue of foreign wakers: the sleeping ring sees
//! it every time. A core at work pays a push to that queue, one that sleeps a write and a poll of its root.

use std::io::Result;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::thread::JoinHandle;
use std::time::Duration;

/// The longest that runnable tasks can be slept over.
const ROUSE_EVERY: Duration = Duration::from_millis(500);

/// Reaches the root tasks of all cores. The lock is taken when a core starts and when it ends, and by whoever wakes; a
/// core that runs looks at the flag alone.
pub(super) struct Alarm {
    raised: AtomicBool,
    sleepers: Mutex<Vec<Option<Waker>>>,
}

impl Alarm {
    pub(super) fn new(cores: usize) -> Self {
        Self {
            raised: AtomicBool::new(false),
            sleepers: Mutex::new(vec![None; cores]),
        }
    }

    fn sleepers(&self) -> MutexGuard<'_, Vec<Option<Waker>>> {
        self.sleepers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a core has failed.
    pub(super) fn is_raised(&self) -> bool {
        self.raised.load(Ordering::Acquire)
    }

    /// Has `waker` woken when the alarm is raised, and by the [`Rouser`].
    pub(super) fn enlist(&self, core: usize, waker: &Waker) {
        self.sleepers()[core] = Some(waker.clone());
    }

    /// Takes the core's waker back: it must be dropped on the core that it belongs to.
    pub(super) fn leave(&self, core: usize) {
        let _ = self.sleepers()[core].take();
    }

    /// A core has failed: all others are to end.
    pub(super) fn raise(&self) {
        let sleepers = self.sleepers();
        self.raised.store(true, Ordering::Release);
        wake(&sleepers);
    }
}

fn wake(sleepers: &[Option<Waker>]) {
    sleepers.iter().flatten().for_each(Waker::wake_by_ref);
}

/// The thread that wakes every core every [`ROUSE_EVERY`], until this is dropped.
pub(super) struct Rouser {
    until: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Rouser {
    pub(super) fn start(name: &str, alarm: &Arc<Alarm>) -> Result<Self> {
        let (until, ended) = channel();
        let alarm = Arc::clone(alarm);
        let thread = std::thread::Builder::new()
            .name(format!("{name}-rouse"))
            .spawn(move || rouse(&alarm, &ended))?;
        Ok(Self {
            until: Some(until),
            thread: Some(thread),
        })
    }
}

fn rouse(alarm: &Alarm, ended: &Receiver<()>) {
    while ended.recv_timeout(ROUSE_EVERY) == Err(RecvTimeoutError::Timeout) {
        wake(&alarm.sleepers());
    }
}

impl Drop for Rouser {
    fn drop(&mut self) {
        drop(self.until.take());
        // It cannot panic.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}
