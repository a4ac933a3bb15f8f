//! Counting what runs, and one at a time.

use crate::io::Signal;
use std::cell::Cell;
use std::rc::Rc;

/// Counts the tasks that must end before the log may stop. Closed, it lets nobody in.
#[derive(Clone, Debug, Default)]
pub(super) struct Gate {
    state: Rc<GateState>,
}

#[derive(Debug, Default)]
struct GateState {
    inside: Cell<usize>,
    closed: Cell<bool>,
    left: Signal,
}

/// One inside a [`Gate`], until dropped.
#[derive(Debug)]
pub(super) struct Pass(Gate);

impl Gate {
    /// Lets one in, unless the gate is closed.
    pub(super) fn enter(&self) -> Option<Pass> {
        if self.state.closed.get() {
            return None;
        }
        self.state.inside.set(self.state.inside.get() + 1);
        Some(Pass(self.clone()))
    }

    /// Lets nobody in from now on.
    pub(super) fn close(&self) {
        self.state.closed.set(true);
    }

    /// Waits until nobody is inside.
    pub(super) async fn emptied(&self) {
        loop {
            let left = self.state.left.wait();
            if self.state.inside.get() == 0 {
                return;
            }
            left.await;
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let state = &self.0.state;
        state.inside.set(state.inside.get() - 1);
        state.left.notify();
    }
}

/// Lets one task at a time through: changes of the catalog are decided one after the other.
#[derive(Clone, Debug, Default)]
pub(super) struct Turn {
    state: Rc<TurnState>,
}

#[derive(Debug, Default)]
struct TurnState {
    taken: Cell<bool>,
    freed: Signal,
}

/// The turn, until dropped.
#[derive(Debug)]
pub(super) struct Taken(Turn);

impl Turn {
    /// Waits until nobody else has the turn.
    pub(super) async fn take(&self) -> Taken {
        loop {
            let freed = self.state.freed.wait();
            if !self.state.taken.replace(true) {
                return Taken(self.clone());
            }
            freed.await;
        }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.0.state.taken.set(false);
        self.0.state.freed.notify();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_lite::future::{block_on, poll_once};

    #[test]
    fn a_closed_gate_empties() {
        let gate = Gate::default();
        let pass = gate.enter().expect("open");
        gate.close();
        assert!(gate.enter().is_none());
        assert!(block_on(poll_once(gate.emptied())).is_none());
        drop(pass);
        assert!(block_on(poll_once(gate.emptied())).is_some());
    }

    #[test]
    fn one_turn_at_a_time() {
        let turn = Turn::default();
        let taken = block_on(turn.take());
        let mut second = Box::pin(turn.take());
        assert!(block_on(poll_once(&mut second)).is_none());
        drop(taken);
        assert!(block_on(poll_once(&mut second)).is_some());
    }
}
