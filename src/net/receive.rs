//! The receive buffer of a connection: one large receive brings many frames.
//!
//! ```text
//!   0        taken            filled              len
//!   | gone   | frames to come  | room for the next |
//! ```
//! It grows by doubling and only when it is full, never to what a length field claims: a peer that announces 16 MiB
//! and sends nothing costs the smallest buffer. It shrinks back when the receives have been small for a while. While
//! nothing is in it and nothing comes, it is back in the core's pool, and the connection remembers its size. What it has
//! grown by is granted by a budget that all connections of the core share.

use crate::base::limits::{RECEIVE_BUFFER_BYTES_MAX, RECEIVE_BUFFER_BYTES_MIN};
use crate::net::budget::Grant;
use crate::net::pool::Pool;
use std::rc::Rc;

/// So many receives in a row that a half as large buffer would have held shrink it.
const SMALL_RECEIVES: u32 = 64;

pub(super) struct Receive {
    /// Empty: there is none now.
    bytes: Vec<u8>,
    /// How large the next one is to be.
    size: usize,
    taken: usize,
    filled: usize,
    small_receives: u32,
    grant: Grant,
    pool: Rc<Pool>,
}

impl Receive {
    pub(super) fn new(pool: Rc<Pool>) -> Self {
        Self {
            bytes: Vec::new(),
            size: RECEIVE_BUFFER_BYTES_MIN,
            taken: 0,
            filled: 0,
            small_receives: 0,
            grant: Grant::default(),
            pool,
        }
    }

    /// What was received and not yet taken.
    pub(super) fn pending(&self) -> &[u8] {
        &self.bytes[self.taken..self.filled]
    }

    /// Whether it holds more memory than the smallest buffer.
    pub(super) fn is_grown(&self) -> bool {
        self.bytes.len() > RECEIVE_BUFFER_BYTES_MIN
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
        if self.filled > 0 && self.filled == self.bytes.len() {
            self.grow().await;
        } else if self.filled == 0 && self.small_receives >= SMALL_RECEIVES {
            self.shrink();
        }
    }

    /// Where the next receive goes. Never empty after [`Receive::make_room`].
    pub(super) fn space(&mut self) -> &mut [u8] {
        if self.bytes.is_empty() {
            self.borrow();
        }
        &mut self.bytes[self.filled..]
    }

    /// Nothing comes now: gives the buffer back until [`Receive::space`], unless something is in it.
    pub(super) fn rest(&mut self) {
        if self.taken == self.filled && !self.bytes.is_empty() {
            (self.taken, self.filled) = (0, 0);
            self.give_back();
        }
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
        let budget = self.pool.budget();
        let granted = grown - RECEIVE_BUFFER_BYTES_MIN;
        budget.grow(&mut self.grant, granted).await;
        let mut larger = self.pool.lend(grown);
        larger[..self.filled].copy_from_slice(&self.bytes[..self.filled]);
        self.pool
            .give_back(std::mem::replace(&mut self.bytes, larger));
        self.size = grown;
        self.small_receives = 0;
    }

    fn shrink(&mut self) {
        self.small_receives = 0;
        self.rest();
        if self.size > RECEIVE_BUFFER_BYTES_MIN {
            // The largest is no power of two.
            self.size = self.size.next_power_of_two() / 2;
        }
    }

    /// Takes a buffer out of the pool: of the size that it last had, or of the smallest if the budget has no more.
    fn borrow(&mut self) {
        let grown = self.size - RECEIVE_BUFFER_BYTES_MIN;
        if !self.pool.budget().try_grow(&mut self.grant, grown) {
            self.size = RECEIVE_BUFFER_BYTES_MIN;
        }
        self.bytes = self.pool.lend(self.size);
    }

    fn give_back(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        self.pool.budget().give_back(&mut self.grant);
        self.pool.give_back(bytes);
    }
}

impl Drop for Receive {
    fn drop(&mut self) {
        if !self.bytes.is_empty() {
            self.give_back();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::budget::Budget;
    use futures_lite::future::{block_on, poll_once};

    fn receive(buffer: &mut Receive, bytes: &[u8]) {
        buffer.space()[..bytes.len()].copy_from_slice(bytes);
        buffer.received(bytes.len());
    }

    #[test]
    fn pending_bytes_stay_in_order_while_it_grows() {
        let pool = Rc::new(Pool::new());
        let mut buffer = Receive::new(Rc::clone(&pool));
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
        assert!(pool.budget().used() >= 4 * RECEIVE_BUFFER_BYTES_MIN);
        drop(buffer);
        assert_eq!(pool.budget().used(), 0);
    }

    #[test]
    fn small_receives_shrink_it_back() {
        let pool = Rc::new(Pool::new());
        let mut buffer = Receive::new(Rc::clone(&pool));
        receive(&mut buffer, &[7; RECEIVE_BUFFER_BYTES_MIN]);
        block_on(buffer.make_room());
        assert_eq!(pool.budget().used(), RECEIVE_BUFFER_BYTES_MIN);
        buffer.take(RECEIVE_BUFFER_BYTES_MIN);
        for _ in 0..=SMALL_RECEIVES {
            block_on(buffer.make_room());
            receive(&mut buffer, b"small");
            buffer.take(5);
        }
        assert_eq!(pool.budget().used(), 0);
    }

    #[test]
    fn a_connection_that_waits_holds_nothing_and_gets_its_size_again() {
        let pool = Rc::new(Pool::new());
        let mut buffer = Receive::new(Rc::clone(&pool));
        receive(&mut buffer, &[7; RECEIVE_BUFFER_BYTES_MIN]);
        buffer.take(RECEIVE_BUFFER_BYTES_MIN - 1);
        buffer.rest();
        assert_eq!(buffer.pending(), [7], "a part of a frame stays");
        let grown = RECEIVE_BUFFER_BYTES_MIN - 1;
        block_on(buffer.make_room());
        receive(&mut buffer, &vec![8; grown]);
        block_on(buffer.make_room());
        assert_eq!(pool.budget().used(), RECEIVE_BUFFER_BYTES_MIN);
        buffer.take(RECEIVE_BUFFER_BYTES_MIN);
        buffer.rest();
        assert_eq!((buffer.bytes.len(), pool.budget().used()), (0, 0));
        assert!(buffer.pending().is_empty());
        assert_eq!(buffer.space().len(), 2 * RECEIVE_BUFFER_BYTES_MIN);
        buffer.rest();
        let mut others = Vec::new();
        while others.last().is_none_or(|(_, granted)| *granted) {
            let mut grant = Grant::default();
            let granted = pool.budget().try_grow(&mut grant, RECEIVE_BUFFER_BYTES_MIN);
            others.push((grant, granted));
        }
        assert_eq!(buffer.space().len(), RECEIVE_BUFFER_BYTES_MIN);
    }

    #[test]
    fn growing_waits_for_the_budget() {
        let pool = Rc::new(Pool::with_budget(Budget::new(4 * RECEIVE_BUFFER_BYTES_MIN)));
        let receives = || {
            let mut buffer = Receive::new(Rc::clone(&pool));
            receive(&mut buffer, &[7; RECEIVE_BUFFER_BYTES_MIN]);
            buffer
        };
        // Four share, the fifth has the reserve.
        let mut grown: Vec<_> = (0..5).map(|_| receives()).collect();
        for buffer in &mut grown {
            block_on(buffer.make_room());
            assert!(buffer.is_grown());
        }
        let mut last = receives();
        let mut waiting = Box::pin(last.make_room());
        assert!(block_on(poll_once(&mut waiting)).is_none());
        assert!(pool.budget().is_short());
        grown.pop();
        assert!(block_on(poll_once(&mut waiting)).is_some());
    }
}
