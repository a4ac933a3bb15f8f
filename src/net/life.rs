//! The life of a connection: its deadlines, and who may end it.
//!
//! A read is never raced against a timer (a dropped read may have eaten bytes). So a deadline is a number here, one
//! task per core looks at all of them every second, and an overdue connection is *doomed*: its writer drops whatever
//! it does and shuts the socket down, which ends the read.

use crate::io::{Io, Monotonic, Signal};
use crate::net::pool::Pool;
use crate::net::stats::Counters;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

/// How often deadlines are looked at: they are late by up to this.
const TICK: Duration = Duration::from_secs(1);

/// What the two halves of a connection and the core's watch share.
#[derive(Debug, Default)]
pub(super) struct Life {
    /// By when the peer must have sent what it owes: its hello, or the rest of a frame.
    read_by: Cell<Option<Monotonic>>,
    /// The same if others wait for the memory that it holds.
    pressed_by: Cell<Option<Monotonic>>,
    /// By when the peer must have taken what is being sent.
    write_by: Cell<Option<Monotonic>>,
    /// No new request is taken; what was taken is answered.
    closing: Cell<bool>,
    /// Nothing is answered any more.
    doomed: Cell<bool>,
    changed: Signal,
}

impl Life {
    pub(super) fn read_by(&self, deadline: Option<Monotonic>) {
        self.read_by.set(deadline);
    }

    pub(super) fn pressed_by(&self, deadline: Option<Monotonic>) {
        self.pressed_by.set(deadline);
    }

    pub(super) fn write_by(&self, deadline: Option<Monotonic>) {
        self.write_by.set(deadline);
    }

    /// Asks the connection to end once what it has taken is answered.
    pub(super) fn close(&self) {
        self.closing.set(true);
        self.changed.notify();
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing.get()
    }

    /// Ends the connection now.
    pub(super) fn doom(&self) {
        self.doomed.set(true);
        self.close();
    }

    /// Waits until the connection is to end, one way or the other.
    pub(super) async fn closing(&self) {
        self.until(|life| life.closing.get()).await;
    }

    /// Waits until the connection is to end now.
    pub(super) async fn doomed(&self) {
        self.until(|life| life.doomed.get()).await;
    }

    async fn until(&self, condition: impl Fn(&Self) -> bool) {
        loop {
            let changed = self.changed.wait();
            if condition(self) {
                return;
            }
            changed.await;
        }
    }

    fn is_overdue(&self, now: Monotonic, is_short: bool) -> bool {
        let overdue = |deadline: Option<Monotonic>| deadline.is_some_and(|by| by < now);
        overdue(self.read_by.get())
            || overdue(self.write_by.get())
            || (is_short && overdue(self.pressed_by.get()))
    }
}

/// All connections of a core.
#[derive(Debug, Default)]
pub(super) struct Connections {
    lives: RefCell<BTreeMap<u64, Rc<Life>>>,
    next_id: Cell<u64>,
    left: Signal,
}

/// A place among the [`Connections`], until dropped.
#[derive(Debug)]
pub(super) struct Place {
    connections: Rc<Connections>,
    id: u64,
    life: Rc<Life>,
}

impl Connections {
    pub(super) fn len(&self) -> usize {
        self.lives.borrow().len()
    }

    pub(super) fn enter(self: &Rc<Self>) -> Place {
        let id = self.next_id.get();
        self.next_id.set(id + 1);
        let life = Rc::new(Life::default());
        self.lives.borrow_mut().insert(id, Rc::clone(&life));
        Place {
            connections: Rc::clone(self),
            id,
            life,
        }
    }

    /// Calls `act` for each. It must not drop a [`Place`].
    pub(super) fn for_each(&self, act: impl FnMut(&Rc<Life>)) {
        self.lives.borrow().values().for_each(act);
    }

    /// Waits until none is left.
    pub(super) async fn emptied(&self) {
        loop {
            let left = self.left.wait();
            if self.lives.borrow().is_empty() {
                return;
            }
            left.await;
        }
    }
}

impl Place {
    pub(super) fn life(&self) -> &Rc<Life> {
        &self.life
    }

    /// How many places are taken.
    pub(super) fn count(&self) -> usize {
        self.connections.len()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.lives.borrow_mut().remove(&self.id);
        self.connections.left.notify();
    }
}

/// Dooms what is overdue, every second, for as long as the core runs.
pub(super) async fn watch<I: Io>(
    io: I,
    connections: Rc<Connections>,
    counters: Rc<Counters>,
    pool: Rc<Pool>,
) {
    loop {
        io.sleep(TICK).await;
        let (now, is_short) = (io.now(), pool.budget().is_short());
        connections.for_each(|life| {
            if life.is_overdue(now, is_short) && !life.doomed.get() {
                counters.overdue();
                life.doom();
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_lite::future::{block_on, poll_once};

    #[test]
    fn overdue_means_past_either_deadline() {
        let life = Life::default();
        let overdue = |at, is_short| life.is_overdue(Monotonic(at), is_short);
        assert!(!overdue(u64::MAX, true));
        life.read_by(Some(Monotonic(10)));
        assert!(!overdue(10, false) && overdue(11, false));
        life.read_by(None);
        life.write_by(Some(Monotonic(20)));
        assert!(overdue(21, false));
        life.write_by(None);
        life.pressed_by(Some(Monotonic(30)));
        assert!(!overdue(31, false) && overdue(31, true));
    }

    #[test]
    fn the_doomed_are_closing_too_and_leave_their_place() {
        let connections = Rc::new(Connections::default());
        let place = connections.enter();
        assert!(block_on(poll_once(place.life().doomed())).is_none());
        connections.for_each(|life| life.doom());
        assert!(place.life().is_closing());
        assert!(block_on(poll_once(place.life().doomed())).is_some());
        assert!(block_on(poll_once(connections.emptied())).is_none());
        drop(place);
        assert!(block_on(poll_once(connections.emptied())).is_some());
    }
}
