//! The executor: tasks of all cores in one queue. Which of the ready ones runs next is drawn by the caller.
//!
//! Wakers must be `Send`, so they reach the queue through a channel rather than a borrow of it; nothing here ever
//! runs on a second thread.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::task::{Context, Poll, Wake, Waker};

/// Names a task for the whole life of a world.
pub(super) type TaskId = u64;

/// A task's life, as [`Tasks::poll`] left it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Polled {
    /// It waits for something.
    Pending,
    /// It has ended (or had ended before).
    Ended,
}

/// All tasks that have not ended.
pub(super) struct Tasks {
    slots: RefCell<BTreeMap<TaskId, Task>>,
    ready: RefCell<Vec<TaskId>>,
    woken: Receiver<TaskId>,
    wake: Sender<TaskId>,
    next: Cell<TaskId>,
}

struct Task {
    name: String,
    future: Pin<Box<dyn Future<Output = ()>>>,
    waker: Arc<TaskWaker>,
}

struct TaskWaker {
    id: TaskId,
    queued: AtomicBool,
    wake: Sender<TaskId>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        if !self.queued.swap(true, Ordering::Relaxed) {
            // A waker may outlive the world that it woke: then nobody is left to be told.
            let _ = self.wake.send(self.id);
        }
    }
}

impl Tasks {
    pub(super) fn new() -> Self {
        let (wake, woken) = channel();
        Self {
            slots: RefCell::default(),
            ready: RefCell::default(),
            woken,
            wake,
            next: Cell::new(0),
        }
    }

    /// Takes a task in, ready to run for the first time.
    pub(super) fn add(&self, name: String, future: impl Future<Output = ()> + 'static) -> TaskId {
        let id = self.next.replace(self.next.get() + 1);
        let waker = Arc::new(TaskWaker {
            id,
            queued: AtomicBool::new(true),
            wake: self.wake.clone(),
        });
        let task = Task {
            name,
            future: Box::pin(future),
            waker,
        };
        self.slots.borrow_mut().insert(id, task);
        self.ready.borrow_mut().push(id);
        id
    }

    /// How many tasks could run now.
    pub(super) fn ready(&self) -> usize {
        let mut ready = self.ready.borrow_mut();
        ready.extend(self.woken.try_iter());
        ready.len()
    }

    /// Takes the ready task at `index`, below [`Tasks::ready`].
    pub(super) fn pick(&self, index: usize) -> TaskId {
        self.ready.borrow_mut().swap_remove(index)
    }

    /// Runs a task to its next wait. It is out of the table meanwhile, so it may add tasks.
    pub(super) fn poll(&self, id: TaskId) -> Polled {
        let Some(mut task) = self.slots.borrow_mut().remove(&id) else {
            return Polled::Ended;
        };
        task.waker.queued.store(false, Ordering::Relaxed);
        let waker = Waker::from(Arc::clone(&task.waker));
        match task.future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(()) => Polled::Ended,
            Poll::Pending => {
                self.slots.borrow_mut().insert(id, task);
                Polled::Pending
            }
        }
    }

    /// The names of all tasks, oldest first.
    pub(super) fn names(&self) -> Vec<String> {
        let slots = self.slots.borrow();
        slots.values().map(|task| task.name.clone()).collect()
    }

    /// Drops every task. Their destructors run outside any borrow, for they may be anybody's code.
    pub(super) fn clear(&self) {
        while let Some((_, task)) = { self.slots.borrow_mut().pop_first() } {
            drop(task);
        }
        self.ready();
        self.ready.borrow_mut().clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::rc::Rc;

    #[test]
    fn a_task_runs_when_woken_and_only_then() {
        let tasks = Tasks::new();
        let signal = crate::io::Signal::new();
        let runs = Rc::new(Cell::new(0));
        let (wait, count) = (signal.clone(), Rc::clone(&runs));
        let id = tasks.add("one".into(), async move {
            loop {
                count.set(count.get() + 1);
                wait.wait().await;
            }
        });
        assert_eq!((tasks.ready(), tasks.pick(0)), (1, id));
        assert_eq!(tasks.poll(id), Polled::Pending);
        assert_eq!((runs.get(), tasks.ready()), (1, 0));
        signal.notify();
        signal.notify();
        assert_eq!(tasks.ready(), 1, "woken twice, queued once");
        tasks.pick(0);
        assert_eq!((tasks.poll(id), runs.get()), (Polled::Pending, 2));
        assert_eq!(tasks.names(), ["one"]);
        tasks.clear();
        signal.notify();
        assert_eq!((tasks.ready(), tasks.names().len()), (0, 0));
    }
}
