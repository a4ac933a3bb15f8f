//! The receive buffer of a connection: one large receive brings many frames.
//!
//! ```text
//!   0        taken            filled              len
//!   | gone   | frames to come  | room for the next |
//! ```
//! It grows by doubling and only when it is full, never to what a length field claims: a peer that announces 16 MiB
//! and sends nothing costs the smallest buffer. It shrinks back when the receives have been small for a while. What it
//! has grown by is taken from a budget that all connections of the core share.

use crate::base::limits::{RECEIVE_BUFFER_BYTES_MAX, RECEIVE_BUFFER_BYTES_MIN};
use crate::net::budget::Budget;
use std::rc::Rc;

/// So many receives in a row that a half as large buffer would have held shrink it.
const SMALL_RECEIVES: u32 = 64;

#[derive(Debug)]
pub(super) struct Receive {
    bytes: Vec<u8>,
    taken: usize,
    filled: usize,
    small_receives: u32,
    budget: Rc<Budget>,
}

impl Receive {
    pub(super) fn new(budget: Rc<Budget>) -> Self {
        Self {
            bytes: vec![0; RECEIVE_BUFFER_BYTES_MIN],
            taken: 0,
            filled: 0,
            small_receives: 0,
            budget,
        }
    }

    /// What was received and not yet taken.
    pub(super) fn pending(&self) -> &[u8] {
        &self.bytes[self.taken..self.filled]
    }

    /// Gives up the first `bytes` of what is pending.
    pub(super) fn take(&mut self, bytes: usize) {
        assert!(bytes <= self.filled - self.taken);
        self.taken += bytes;
    }

    /// Makes room for the next receive: moves what is pending to the front, and grows if that fills the buffer.
    /// Waits while the core's budget is used up.
    pub(super) async fn make_room(&mut self) {
        self.bytes.copy_within(self.taken..self.filled, 0);
        self.filled -= self.taken;
        self.taken = 0;
        if self.filled == self.bytes.len() {
            self.grow().await;
        } else if self.filled == 0 && self.small_receives >= SMALL_RECEIVES {
            self.shrink();
        }
        assert!(self.filled < self.bytes.len());
    }

    /// Where the next receive goes. Never empty after [`Receive::make_room`].
    pub(super) fn space(&mut self) -> &mut [u8] {
        &mut self.bytes[self.filled..]
    }

    /// Notes that `bytes` were received into [`Receive::space`].
    pub(super) fn received(&mut self, bytes: usize) {
        self.filled += bytes;
        assert!(self.filled <= self.bytes.len());
        if self.filled <= self.bytes.len() / 2 {
            self.small_receives = self.small_receives.saturating_add(1);
        } else {
            self.small_receives = 0;
        }
    }

    /// Doubles the buffer, once the budget allows it.
    async fn grow(&mut self) {
        let bytes = self.bytes.len();
        // Frames are bounded, so a full buffer of the largest size holds at least one whole frame, which is taken
        // before this is called.
        assert!(bytes < RECEIVE_BUFFER_BYTES_MAX);
        let grown = (bytes * 2).min(RECEIVE_BUFFER_BYTES_MAX);
        self.budget.take(grown - bytes).await;
        self.bytes.reserve_exact(grown - bytes);
        self.bytes.resize(grown, 0);
        self.small_receives = 0;
    }

    fn shrink(&mut self) {
        self.small_receives = 0;
        let bytes = self.bytes.len();
        let shrunk = (bytes / 2).max(RECEIVE_BUFFER_BYTES_MIN);
        if shrunk < bytes {
            self.bytes.truncate(shrunk);
            self.bytes.shrink_to_fit();
            self.budget.give_back(bytes - shrunk);
        }
    }
}

impl Drop for Receive {
    fn drop(&mut self) {
        let grown = self.bytes.len() - RECEIVE_BUFFER_BYTES_MIN;
        self.budget.give_back(grown);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_lite::future::{block_on, poll_once};

    fn receive(buffer: &mut Receive, bytes: &[u8]) {
        buffer.space()[..bytes.len()].copy_from_slice(bytes);
        buffer.received(bytes.len());
    }

    #[test]
    fn pending_bytes_stay_in_order_while_it_grows() {
        let budget = Rc::new(Budget::new(RECEIVE_BUFFER_BYTES_MAX));
        let mut buffer = Receive::new(Rc::clone(&budget));
        let mut expected = Vec::new();
        let mut next = 0u8;
        while expected.len() < 5 * RECEIVE_BUFFER_BYTES_MIN {
            block_on(buffer.make_room());
            let room = buffer.space().len().min(1_000);
            let bytes: Vec<u8> = (0..room)
                .map(|_| {
                    next = next.wrapping_add(1);
                    next
                })
                .collect();
            receive(&mut buffer, &bytes);
            expected.extend_from_slice(&bytes);
            let took = room / 3;
            buffer.take(took);
            expected.drain(..took);
            assert_eq!(buffer.pending(), expected);
        }
        assert!(budget.used() >= 4 * RECEIVE_BUFFER_BYTES_MIN);
        drop(buffer);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn small_receives_shrink_it_back() {
        let budget = Rc::new(Budget::new(RECEIVE_BUFFER_BYTES_MAX));
        let mut buffer = Receive::new(Rc::clone(&budget));
        receive(&mut buffer, &[7; RECEIVE_BUFFER_BYTES_MIN]);
        block_on(buffer.make_room());
        assert_eq!(budget.used(), RECEIVE_BUFFER_BYTES_MIN);
        buffer.take(RECEIVE_BUFFER_BYTES_MIN);
        for _ in 0..=SMALL_RECEIVES {
            block_on(buffer.make_room());
            receive(&mut buffer, b"small");
            buffer.take(5);
        }
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn growing_waits_for_the_budget() {
        let budget = Rc::new(Budget::new(RECEIVE_BUFFER_BYTES_MIN));
        let mut first = Receive::new(Rc::clone(&budget));
        let mut second = Receive::new(Rc::clone(&budget));
        for buffer in [&mut first, &mut second] {
            receive(buffer, &[7; RECEIVE_BUFFER_BYTES_MIN]);
        }
        block_on(first.make_room());
        let mut waiting = Box::pin(second.make_room());
        assert!(block_on(poll_once(&mut waiting)).is_none());
        drop(first);
        assert!(block_on(poll_once(&mut waiting)).is_some());
    }
}
