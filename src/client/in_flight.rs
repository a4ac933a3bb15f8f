//! What was asked on one connection and is not answered yet: shared by the half that asks and the half that is answered,
//! two tasks of one core. Of any protocol that answers in order.

use crate::client::session::Ledger;
use crate::io::Signal;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use thiserror::Error;

/// The connection has ended, in either half.
#[derive(Error, Clone, Copy, PartialEq, Eq, Debug)]
#[error("connection closed with {unanswered} requests unanswered")]
pub struct Closed {
    /// How many requests nobody will answer.
    pub unanswered: usize,
}

/// Knows how many requests wait for their reply.
pub trait Unanswered {
    /// How many.
    fn unanswered(&self) -> usize;
}

impl Unanswered for Ledger {
    fn unanswered(&self) -> usize {
        self.len()
    }
}

impl<T> Unanswered for VecDeque<T> {
    fn unanswered(&self) -> usize {
        self.len()
    }
}

/// The requests in flight, at most so many, and whether the connection has ended.
pub struct InFlight<L> {
    /// What was asked, in order. Never held over an await.
    pub ledger: RefCell<L>,
    answered: Signal,
    most: usize,
    is_closed: Cell<bool>,
}

impl<L: Unanswered> InFlight<L> {
    /// At most `most` at a time, of which there must be one.
    pub fn new(ledger: L, most: usize) -> Self {
        assert!(most > 0, "nothing could be asked");
        Self {
            ledger: RefCell::new(ledger),
            answered: Signal::new(),
            most,
            is_closed: Cell::new(false),
        }
    }

    /// Waits until another request may be in flight.
    pub async fn room(&self) -> Result<(), Closed> {
        loop {
            let changed = self.answered.wait();
            if self.is_closed.get() {
                return Err(self.closed());
            }
            if self.has_room() {
                return Ok(());
            }
            changed.await;
        }
    }

    /// Whether another request may be in flight.
    pub fn has_room(&self) -> bool {
        self.count() < self.most
    }

    /// How many are.
    pub fn count(&self) -> usize {
        self.ledger.borrow().unanswered()
    }

    /// One has been answered, and is off the ledger.
    pub fn note_answer(&self) {
        self.answered.notify();
    }

    /// Ends both halves: who waits for room waits no longer.
    pub fn close(&self) {
        self.is_closed.set(true);
        self.answered.notify();
    }

    /// The end of the connection as an error.
    pub fn closed(&self) -> Closed {
        let unanswered = self.count();
        Closed { unanswered }
    }
}
