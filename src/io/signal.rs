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

/// Waiters and the count of notifications. Clones are the same signal. Allocates only while its list of waiters grows.
#[derive(Clone, Debug, Default)]
pub struct Signal {
    state: Rc<State>,
}

#[derive(Debug, Default)]
struct State {
    generation: Cell<u64>,
    waiters: RefCell<Vec<Waker>>,
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
            waiter.wake();
        }
    }

    /// Ready after the next [`Signal::notify`].
    pub fn wait(&self) -> Wait {
        Wait {
            seen: self.state.generation.get(),
            state: Rc::clone(&self.state),
        }
    }
}

/// See [`Signal::wait`].
#[derive(Debug)]
pub struct Wait {
    seen: u64,
    state: Rc<State>,
}

impl Future for Wait {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.state.generation.get() != self.seen {
            return Poll::Ready(());
        }
        let mut waiters = self.state.waiters.borrow_mut();
        if !waiters
            .iter()
            .any(|waiter| waiter.will_wake(context.waker()))
        {
            waiters.push(context.waker().clone());
        }
        Poll::Pending
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
}
