//! One core: its tasks, the operations it has in flight, and calls that must leave it because they block.
//!
//! ```text
//!  spawn ──> tasks (id -> cell with the future) <── stop() takes the futures out and drops them
//!              ^ polled through a Runner that glommio holds; glommio itself would leak a sleeping task at the end
//!  Unbroken: begun ──> in_flight + 1 ── ready ──> in_flight - 1
//!                         └─ dropped ──> adopted by a task of its own, buffers and all, until it is ready
//! ```
//! Decided: the executor of glommio 0.9 may go to sleep with runnable tasks: when its preemption timer fires before the
//! first of them ran (the thread was off the CPU for that long), it neither runs them nor counts the timer as an event.
//! Then only another event wakes it: seen as a hang of two cores that wait for each other, every few runs with a timer of
//! 1 ms on a crowded machine. So every core has a pulse ([`Core::start_pulse`]) that bounds that sleep. The pulse may be
//! what became runnable and was not run: then no timer is left, and only somebody outside can end the sleep; `alarm` does.

use super::entropy::{self, Chance};
use crate::base::CoreId;
use crate::io::Signal;
use glommio::TaskQueueHandle;
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::io::{Error, Result};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

/// The pulse of a core at work and of one at rest.
const PULSE_MIN: Duration = Duration::from_millis(10);
const PULSE_MAX: Duration = Duration::from_millis(160);

type Local<T> = Pin<Box<dyn Future<Output = T>>>;

/// The state of one core.
pub(crate) struct Core {
    id: CoreId,
    boot_id: u128,
    chance: RefCell<Chance>,
    tasks: RefCell<BTreeMap<u64, Rc<TaskCell>>>,
    tasks_started: Cell<u64>,
    /// How often a task was polled: whether the core is at work.
    polls: Rc<Cell<u64>>,
    in_flight: Cell<usize>,
    landed: Signal,
    stopping: Cell<bool>,
    failure: RefCell<Option<String>>,
    root: RefCell<Option<Waker>>,
    /// Devices whose IOPOLL support has been found out on this core; see `file`.
    pub(super) devices_probed: RefCell<Vec<u64>>,
}

type TaskCell = RefCell<Option<Local<()>>>;

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Core")
            .field("id", &self.id)
            .field("tasks", &self.tasks.borrow().len())
            .field("in_flight", &self.in_flight.get())
            .finish_non_exhaustive()
    }
}

impl Core {
    pub(super) fn new(id: CoreId) -> Result<Rc<Self>> {
        Ok(Rc::new(Self {
            id,
            boot_id: entropy::boot_id()?,
            chance: RefCell::new(Chance::open()?),
            tasks: RefCell::default(),
            tasks_started: Cell::new(0),
            polls: Rc::default(),
            in_flight: Cell::new(0),
            landed: Signal::new(),
            stopping: Cell::new(false),
            failure: RefCell::default(),
            root: RefCell::default(),
            devices_probed: RefCell::default(),
        }))
    }

    pub(super) fn id(&self) -> CoreId {
        self.id
    }

    pub(super) fn boot_id(&self) -> u128 {
        self.boot_id
    }

    pub(super) fn random(&self) -> u64 {
        self.chance.borrow_mut().next_u64()
    }

    /// Starts a task; it is first polled after the caller has yielded. On a core that stops it is dropped unpolled.
    pub(super) fn spawn(self: &Rc<Self>, task: impl Future<Output = ()> + 'static) {
        if self.stopping.get() {
            return;
        }
        let id = self.tasks_started.get();
        self.tasks_started.set(id + 1);
        let cell: Rc<TaskCell> = Rc::new(RefCell::new(Some(Box::pin(task))));
        self.tasks.borrow_mut().insert(id, Rc::clone(&cell));
        start(Runner {
            core: Rc::downgrade(self),
            id,
            cell,
            polls: Rc::clone(&self.polls),
        });
    }

    /// See the top: a timer that never lets the executor sleep for long. It slows down while nothing else runs.
    pub(super) fn start_pulse(self: &Rc<Self>) {
        let polls = Rc::clone(&self.polls);
        self.spawn(async move {
            let mut pulse = PULSE_MIN;
            loop {
                let before = polls.get();
                glommio::timer::sleep(pulse).await;
                // One poll was our own.
                let is_at_work = polls.get() > before + 1;
                pulse = if is_at_work {
                    PULSE_MIN
                } else {
                    PULSE_MAX.min(pulse * 2)
                };
            }
        });
    }

    /// Runs `work` on a thread that may block. A panic there is an error here.
    pub(super) fn blocking<T: Send + 'static>(
        self: &Rc<Self>,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Unbroken<Result<T>> {
        Unbroken::new(self, async move {
            glommio::executor()
                .spawn_blocking(move || catch_unwind(AssertUnwindSafe(work)))
                .await
                .unwrap_or_else(|panic| Err(Error::other(panic_text(&*panic))))
        })
    }

    /// Notes a panic of a task; the root future returns it. The first one counts.
    pub(super) fn fail(&self, text: String) {
        self.failure.borrow_mut().get_or_insert(text);
        if let Some(root) = self.root.borrow().as_ref() {
            root.wake_by_ref();
        }
    }

    /// What [`Core::fail`] noted. Otherwise the caller is woken when it does.
    pub(super) fn poll_failure(&self, context: &Context<'_>) -> Option<String> {
        let mut root = self.root.borrow_mut();
        if !root
            .as_ref()
            .is_some_and(|waker| waker.will_wake(context.waker()))
        {
            *root = Some(context.waker().clone());
        }
        self.failure.borrow_mut().take()
    }

    /// Drops every task, then waits for what is in flight, then lets the ring take the last closes and cancellations.
    pub(super) async fn stop(&self) {
        self.stopping.set(true);
        self.root.borrow_mut().take();
        loop {
            let Some((_, cell)) = self.tasks.borrow_mut().pop_first() else {
                break;
            };
            let task = cell.borrow_mut().take();
            // A destructor that panics must not keep the others from running.
            let _ = catch_unwind(AssertUnwindSafe(|| drop(task)));
        }
        loop {
            let landed = self.landed.wait();
            if self.in_flight.get() == 0 {
                break;
            }
            landed.await;
        }
        // A file that was dropped is closed when the ring is next entered: a timer makes that happen.
        glommio::timer::sleep(Duration::from_micros(1)).await;
    }

    fn take_off(&self) {
        self.in_flight.set(self.in_flight.get() + 1);
    }

    fn land(&self) {
        self.in_flight.set(self.in_flight.get() - 1);
        if self.in_flight.get() == 0 {
            self.landed.notify();
        }
    }
}

/// Hands a task to glommio, to be polled later: its `spawn_local` would poll it at once, in the middle of the caller.
fn start(task: impl Future<Output = ()> + 'static) {
    glommio::spawn_local_into(task, TaskQueueHandle::default())
        .expect("the default queue exists as long as its executor")
        .detach();
}

/// What glommio polls for a task of ours.
struct Runner {
    core: Weak<Core>,
    id: u64,
    cell: Rc<TaskCell>,
    polls: Rc<Cell<u64>>,
}

impl Future for Runner {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.polls.set(self.polls.get() + 1);
        let mut slot = self.cell.borrow_mut();
        let Some(task) = slot.as_mut() else {
            return Poll::Ready(());
        };
        let outcome = catch_unwind(AssertUnwindSafe(|| task.as_mut().poll(context)));
        let failure = match outcome {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(())) => None,
            Err(panic) => Some(panic_text(&*panic)),
        };
        let task = slot.take();
        drop(slot);
        let dropped = catch_unwind(AssertUnwindSafe(|| drop(task)));
        if let Some(core) = self.core.upgrade() {
            core.tasks.borrow_mut().remove(&self.id);
            let failure = failure.or(dropped.err().map(|panic| panic_text(&*panic)));
            if let Some(text) = failure {
                core.fail(text);
            }
        }
        Poll::Ready(())
    }
}

/// An operation that, once begun, runs to its end whoever drops it. It owns what the kernel looks at (buffer, file).
/// One allocation: it stands beside a disk access or a thread switch.
#[must_use]
pub(crate) struct Unbroken<T: 'static> {
    core: Rc<Core>,
    work: Option<Local<T>>,
    begun: bool,
}

impl<T: 'static> Unbroken<T> {
    pub(super) fn new(core: &Rc<Core>, work: impl Future<Output = T> + 'static) -> Self {
        Self {
            core: Rc::clone(core),
            work: Some(Box::pin(work)),
            begun: false,
        }
    }
}

impl<T: 'static> Future for Unbroken<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        if !self.begun {
            self.begun = true;
            self.core.take_off();
        }
        let work = self.work.as_mut().expect("not polled after it was ready");
        let output = ready!(work.as_mut().poll(context));
        self.work = None;
        self.core.land();
        Poll::Ready(output)
    }
}

impl<T: 'static> Drop for Unbroken<T> {
    fn drop(&mut self) {
        let Some(work) = self.work.take().filter(|_| self.begun) else {
            return;
        };
        let core = Rc::clone(&self.core);
        if std::thread::panicking() {
            // The executor may be gone. Leaking keeps the buffer from being reused under the kernel's hands.
            std::mem::forget(work);
            core.land();
            return;
        }
        start(async move {
            work.await;
            core.land();
        });
    }
}

/// The message of a panic, as far as it has one.
pub(super) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("panicked: {}", text.unwrap_or("no message"))
}
