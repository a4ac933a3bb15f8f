//! A core-local signal: tasks wait until somebody says that something changed, then look again.
//!
//! ```text
//! loop { if condition() { break }  signal.wait().await }
//! ```
//! Nothing is lost: a wait that was made before a notify is ready after it, because one core runs one task at a time
//! and `wait` notes the generation when it is called.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// Waiters and the count of notifications. Clones are the same signal. Allocates only while its list of waiters grows;
/// a wait that is dropped leaves the list, so a signal that is rarely notified does not collect those who gave up.
#[derive(Clone, Debug, Default)]
pub struct Signal {
    state: Rc<State>,
}

#[derive(Debug, Default)]
struct State {
    generation: Cell<u64>,
    waiters: RefCell<Vec<Waiter>>,
    next_id: Cell<u64>,
}

#[derive(Debug)]
struct Waiter {
    id: u64,
    waker: Waker,
}

impl Signal {
    /// A signal that nobody waits for.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes every wait that exists ready.
    pub fn notify(&self) {
        self.state.generation.set(self.state.generation.get() + 1);
        let mut waiters = self.state.waiters.borrow_mut();
        for waiter in waiters.drain(..) {
            waiter.waker.wake();
        }
    }

    /// Ready after the next [`Signal::notify`].
    pub fn wait(&self) -> Wait {
        Wait {
            seen: self.state.generation.get(),
            id: None,
            state: Rc::clone(&self.state),
        }
    }
}

/// See [`Signal::wait`].
#[derive(Debug)]
pub struct Wait {
    seen: u64,
    /// In the list of waiters, once polled.
    id: Option<u64>,
    state: Rc<State>,
}

impl Future for Wait {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.state.generation.get() != self.seen {
            return Poll::Ready(());
        }
        let id = self.id.unwrap_or_else(|| self.state.draw_id());
        self.id = Some(id);
        let mut waiters = self.state.waiters.borrow_mut();
        match waiters.iter_mut().find(|waiter| waiter.id == id) {
            Some(waiter) => waiter.waker.clone_from(context.waker()),
            None => waiters.push(Waiter {
                id,
                waker: context.waker().clone(),
            }),
        }
        Poll::Pending
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        let Some(id) = self.id else {
            return;
        };
        if self.state.generation.get() == self.seen {
            // Taken out first: dropping a waker may drop its task, and with it another wait for this signal.
            let waiter = self.state.take_waiter(id);
            drop(waiter);
        }
    }
}

impl State {
    fn draw_id(&self) -> u64 {
        let id = self.next_id.get();
        self.next_id.set(id + 1);
        id
    }

    fn take_waiter(&self, id: u64) -> Option<Waiter> {
        let mut waiters = self.waiters.borrow_mut();
        let index = waiters.iter().position(|waiter| waiter.id == id)?;
        Some(waiters.remove(index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_lite::future::{block_on, poll_once, zip};

    #[test]
    fn a_notify_before_the_first_poll_is_not_lost() {
        let signal = Signal::new();
        let wait = signal.wait();
        signal.notify();
        block_on(wait);
    }

    #[test]
    fn all_waiters_wake_and_later_waits_do_not() {
        let signal = Signal::new();
        let (a, b, other) = (signal.wait(), signal.wait(), signal.clone());
        block_on(zip(zip(a, b), async move { other.notify() }));
        assert!(block_on(poll_once(signal.wait())).is_none());
    }

    #[test]
    fn a_dropped_wait_leaves_the_list() {
        let signal = Signal::new();
        let mut kept = signal.wait();
        assert!(block_on(poll_once(&mut kept)).is_none());
        for _ in 0..100 {
            assert!(block_on(poll_once(signal.wait())).is_none());
        }
        assert_eq!(signal.state.waiters.borrow().len(), 1);
        signal.notify();
        assert!(block_on(poll_once(&mut kept)).is_some());
        assert!(signal.state.waiters.borrow().is_empty());
    }
}
