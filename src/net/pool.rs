//! What the connections of a core lend to each other: a buffer is needed while there is something in it, so a connection
//! that waits holds none.
//!
//! The one given back last is lent first: it is the one that the CPU's cache still knows.

use crate::base::limits::{
    RECEIVE_BUFFER_BYTES_MAX, RECEIVE_BUFFER_BYTES_MIN, RECEIVE_SPARE_BYTES_MAX,
};
use crate::net::budget::Budget;
use crate::net::kafka::Hot;
use crate::protocol::native::ReplyWriter;
use std::cell::{Cell, RefCell, RefMut};

/// Receive buffers are of the smallest size times a power of two, or of the largest.
const SIZES: usize = size_index(RECEIVE_BUFFER_BYTES_MAX) + 1;
/// Buffers of encoded replies that are kept, and the largest that is: most replies are small, metadata is not.
const SPARE_REPLIES_MAX: usize = 64;
const SPARE_REPLY_BYTES_MAX: usize = 128 << 10;
/// Requests of Kafka clients that are kept, and the largest that is.
const SPARE_HOTS_MAX: usize = 256;
const SPARE_HOT_BYTES_MAX: usize = 16 << 10;
/// What a buffer of replies begins with.
const REPLY_BYTES: usize = 4 << 10;

/// See the module.
pub(super) struct Pool {
    /// By size; their bytes are in `spare_bytes`.
    receive: [RefCell<Vec<Vec<u8>>>; SIZES],
    spare_bytes: Cell<usize>,
    replies: RefCell<Vec<Vec<u8>>>,
    writer: RefCell<ReplyWriter>,
    /// Answered requests of Kafka clients, to be filled again.
    hots: RefCell<Vec<Hot>>,
    /// What lent receive buffers are larger than the smallest.
    budget: Budget,
}

const fn size_index(bytes: usize) -> usize {
    bytes
        .div_ceil(RECEIVE_BUFFER_BYTES_MIN)
        .next_power_of_two()
        .ilog2() as usize
}

impl Pool {
    pub(super) fn new() -> Self {
        Self::with_budget(Budget::default())
    }

    pub(super) fn with_budget(budget: Budget) -> Self {
        Self {
            receive: [const { RefCell::new(Vec::new()) }; SIZES],
            spare_bytes: Cell::new(0),
            replies: RefCell::default(),
            hots: RefCell::default(),
            writer: RefCell::new(ReplyWriter::new()),
            budget,
        }
    }

    pub(super) fn budget(&self) -> &Budget {
        &self.budget
    }

    /// A receive buffer of exactly `bytes`; what was received into it before is still there.
    pub(super) fn lend(&self, bytes: usize) -> Vec<u8> {
        let spare = self.receive[size_index(bytes)].borrow_mut().pop();
        let Some(spare) = spare else {
            return vec![0; bytes];
        };
        assert!(spare.len() == bytes, "a buffer of another size");
        self.spare_bytes.set(self.spare_bytes.get() - bytes);
        spare
    }

    /// Takes a receive buffer back. Beyond the limit it goes to the allocator.
    pub(super) fn give_back(&self, buffer: Vec<u8>) {
        let bytes = self.spare_bytes.get() + buffer.len();
        if bytes <= RECEIVE_SPARE_BYTES_MAX {
            self.spare_bytes.set(bytes);
            let sizes = &self.receive[size_index(buffer.len())];
            sizes.borrow_mut().push(buffer);
        }
    }

    /// An empty buffer for encoded replies.
    pub(super) fn lend_replies(&self) -> Vec<u8> {
        let spare = self.replies.borrow_mut().pop();
        spare.unwrap_or_else(|| Vec::with_capacity(REPLY_BYTES))
    }

    /// Takes it back; what is in it was sent.
    pub(super) fn give_back_replies(&self, mut buffer: Vec<u8>) {
        let mut replies = self.replies.borrow_mut();
        if replies.len() < SPARE_REPLIES_MAX && buffer.capacity() <= SPARE_REPLY_BYTES_MAX {
            buffer.clear();
            replies.push(buffer);
        }
    }

    /// What holds a produce or a fetch of a Kafka client.
    pub(super) fn lend_hot(&self) -> Hot {
        self.hots.borrow_mut().pop().unwrap_or_default()
    }

    /// Takes one back that was answered.
    pub(super) fn give_back_hot(&self, mut hot: Hot) {
        let mut hots = self.hots.borrow_mut();
        if hots.len() < SPARE_HOTS_MAX && hot.held_bytes() <= SPARE_HOT_BYTES_MAX {
            hot.clear();
            hots.push(hot);
        }
    }

    /// The writer of replies; not to be held across an await.
    pub(super) fn writer(&self) -> RefMut<'_, ReplyWriter> {
        self.writer.borrow_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_lent_again_at_its_size_only() {
        let pool = Pool::new();
        let sizes = [
            RECEIVE_BUFFER_BYTES_MIN,
            2 * RECEIVE_BUFFER_BYTES_MIN,
            RECEIVE_BUFFER_BYTES_MIN * 1_024,
            RECEIVE_BUFFER_BYTES_MAX,
        ];
        for bytes in sizes {
            let mut buffer = pool.lend(bytes);
            assert_eq!(buffer.len(), bytes);
            buffer[bytes - 1] = 7;
            pool.give_back(buffer);
            for other in sizes.into_iter().filter(|other| *other != bytes) {
                assert!(pool.lend(other).iter().all(|byte| *byte == 0));
            }
            let again = pool.lend(bytes)[bytes - 1];
            let kept = bytes <= RECEIVE_SPARE_BYTES_MAX;
            assert_eq!(again, if kept { 7 } else { 0 });
        }
        assert_eq!(pool.spare_bytes.get(), 0);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let pool = Pool::new();
        for _ in 0..2 * RECEIVE_SPARE_BYTES_MAX / RECEIVE_BUFFER_BYTES_MIN {
            pool.give_back(vec![0; RECEIVE_BUFFER_BYTES_MIN]);
            pool.give_back_replies(Vec::with_capacity(100));
        }
        pool.give_back_replies(Vec::with_capacity(SPARE_REPLY_BYTES_MAX + 1));
        assert_eq!(pool.spare_bytes.get(), RECEIVE_SPARE_BYTES_MAX);
        assert_eq!(pool.replies.borrow().len(), SPARE_REPLIES_MAX);
    }
}
