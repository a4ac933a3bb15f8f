//! The tail of one segment in memory: the open chunk that appends are copied into, and the sealed chunks before it.
//!
//! ```text
//!  segment   0 ............ mem_start ........................ open.pos .... promised_end ... end
//!            [ file only   ][ sealed: written | writing | new ][ open chunk: promised | pending   ]
//! ```
//! Sealed chunks are whole blocks and contiguous up to the open chunk, which starts on a block boundary. `promised_end`
//! is how far journal entries (taken, maybe still in flight) cover the segment.

use crate::base::limits::{BLOCK_BYTES, CHUNK_BYTES_MAX, CHUNK_BYTES_MIN};
use crate::io::{AlignedBuffer, Io};
use std::collections::VecDeque;
use std::rc::Rc;

const BLOCK: usize = BLOCK_BYTES;
/// A chunk that fills within so many cycles fills fast.
const FAST_TAKES_MAX: u32 = 8;
/// The largest chunk of a partition whose chunks fill slowly.
const SLOW_CHUNK_BYTES_MAX: usize = 64 << 10;
const _: () =
    assert!(CHUNK_BYTES_MIN <= SLOW_CHUNK_BYTES_MAX && SLOW_CHUNK_BYTES_MAX <= CHUNK_BYTES_MAX);

/// Where a sealed chunk is on its way to the file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    New,
    Writing,
    Written,
    Evictable,
}

struct Sealed<I: Io> {
    pos: u64,
    buffer: Rc<I::Buffer>,
    bytes: usize,
    state: State,
}

struct Open<I: Io> {
    buffer: I::Buffer,
    bytes: usize,
    capacity: usize,
}

/// See the module's words.
pub(crate) struct Tail<I: Io> {
    sealed: VecDeque<Sealed<I>>,
    open: Option<Open<I>>,
    open_pos: u64,
    promised_end: u64,
    chunk_bytes: usize,
    /// How often something was taken of the open chunk: whether it fills fast.
    takes: u32,
    new_chunks: usize,
}

/// A chunk to be written to its place in the segment file.
pub(crate) struct DirectWrite<I: Io> {
    pub(crate) pos: u64,
    pub(crate) buffer: Rc<I::Buffer>,
    pub(crate) bytes: usize,
}

/// How a tail is to be taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct How {
    /// All that is not in the file is taken again, from the last block boundary on.
    pub(crate) force: bool,
    /// From this many pending bytes on, whole blocks go straight to the file.
    pub(crate) direct_bytes_min: usize,
}

/// What one cycle takes of a tail. `direct` is contiguous and whole blocks; the inline bytes follow in the open chunk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Taken {
    pub(crate) direct_pos: u64,
    pub(crate) direct_bytes: u64,
    pub(crate) direct_crc: u32,
    pub(crate) inline_pos: u64,
    pub(crate) inline_bytes: usize,
}

impl<I: Io> Tail<I> {
    /// A tail whose segment holds `pos` bytes in its file, a whole number of blocks.
    pub(crate) fn new(pos: u64) -> Self {
        assert!(pos.is_multiple_of(BLOCK as u64));
        Self {
            sealed: VecDeque::new(),
            open: None,
            open_pos: pos,
            promised_end: pos,
            chunk_bytes: CHUNK_BYTES_MIN,
            takes: 0,
            new_chunks: 0,
        }
    }

    /// The position after the last appended byte.
    pub(crate) fn end(&self) -> u64 {
        self.open_pos + self.open_bytes() as u64
    }

    /// The first position that is in memory.
    pub(crate) fn mem_start(&self) -> u64 {
        self.sealed.front().map_or(self.open_pos, |chunk| chunk.pos)
    }

    /// Whether something was appended that no journal entry covers.
    pub(crate) fn is_pending(&self) -> bool {
        self.promised_end < self.end()
    }

    /// Whether sealed chunks wait for their direct write.
    pub(crate) fn has_new_chunks(&self) -> bool {
        self.new_chunks > 0
    }

    /// Copies `bytes`, the front of it replaced by `stamped`, behind the end. Returns where they begin.
    pub(crate) fn append(&mut self, io: &I, mut bytes: &[u8], stamped: &[u8]) -> u64 {
        let pos = self.end();
        self.copy_in(io, stamped);
        bytes = &bytes[stamped.len()..];
        self.copy_in(io, bytes);
        pos
    }

    fn copy_in(&mut self, io: &I, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self
                .open
                .as_ref()
                .is_some_and(|open| open.bytes == open.capacity)
            {
                let takes = self.takes;
                self.seal_whole(io);
                self.adapt_to_rate(takes);
            }
            let capacity = self.chunk_bytes;
            let open = self.open.get_or_insert_with(|| Open {
                buffer: io.buffer(capacity),
                bytes: 0,
                capacity,
            });
            let count = bytes.len().min(open.capacity - open.bytes);
            let (now, later) = bytes.split_at(count);
            open.buffer.as_mut()[open.bytes..open.bytes + count].copy_from_slice(now);
            open.bytes += count;
            bytes = later;
        }
    }

    /// A chunk is full. One that filled within a few cycles is followed by a larger one; one that took many need not be
    /// large: a thousand slow partitions with a MiB each would hold a GiB for nothing.
    fn adapt_to_rate(&mut self, takes: u32) {
        let fast = takes <= FAST_TAKES_MAX || self.chunk_bytes < SLOW_CHUNK_BYTES_MAX;
        self.chunk_bytes = if fast {
            (self.chunk_bytes * 2).min(CHUNK_BYTES_MAX)
        } else {
            (self.chunk_bytes / 2).max(SLOW_CHUNK_BYTES_MAX)
        };
    }

    /// Seals the whole blocks of the open chunk; what is left of it starts a new one.
    fn seal_whole(&mut self, io: &I) {
        let Some(mut open) = self.open.take() else {
            return;
        };
        let whole = open.bytes - open.bytes % BLOCK;
        if whole == 0 {
            self.open = Some(open);
            return;
        }
        let rest = open.bytes - whole;
        if rest > 0 {
            let capacity = self.chunk_bytes;
            let mut buffer = io.buffer(capacity);
            buffer.as_mut()[..rest].copy_from_slice(&open.buffer.as_ref()[whole..open.bytes]);
            self.open = Some(Open::<I> {
                buffer,
                bytes: rest,
                capacity,
            });
        }
        open.buffer.truncate(whole);
        self.push_sealed(open.buffer, whole);
    }

    fn push_sealed(&mut self, buffer: I::Buffer, bytes: usize) {
        let pos = self.open_pos;
        self.sealed.push_back(Sealed {
            pos,
            buffer: Rc::new(buffer),
            bytes,
            state: State::New,
        });
        self.new_chunks += 1;
        self.takes = 0;
        self.open_pos += bytes as u64;
    }

    /// The segment gets no more appends: pads the partial block with zeros and seals it. The end stays where it was
    /// for the caller, who has noted it; the tail's own end is now the padded one.
    pub(crate) fn finish(&mut self, io: &I) {
        self.seal_whole(io);
        let Some(mut open) = self.open.take() else {
            return;
        };
        if open.bytes > 0 {
            open.buffer.as_mut()[open.bytes..BLOCK].fill(0);
            open.buffer.truncate(BLOCK);
            self.push_sealed(open.buffer, BLOCK);
        }
    }

    /// Whether a take now would send whole blocks to the file.
    fn wants_direct(&self, how: How) -> bool {
        let whole = self.open_bytes() >= BLOCK;
        let pending = self.end() - self.promised_end;
        self.new_chunks > 0 || (whole && (how.force || pending >= how.direct_bytes_min as u64))
    }

    /// The most inline bytes that a take may need.
    pub(crate) fn inline_need(&self, how: How) -> usize {
        if self.wants_direct(how) || how.force {
            self.open_bytes() % BLOCK
        } else {
            (self.end() - self.promised_end.min(self.end())) as usize
        }
    }

    /// Takes everything pending: whole blocks into `writes` where that is worth it, the rest to be copied inline from
    /// [`Tail::inline`].
    pub(crate) fn take(&mut self, io: &I, how: How, writes: &mut Vec<DirectWrite<I>>) -> Taken {
        let start = self.promised_end.min(self.end());
        let direct = self.wants_direct(how);
        let mut taken = Taken {
            direct_pos: self.open_pos,
            direct_bytes: 0,
            direct_crc: 0,
            inline_pos: start,
            inline_bytes: 0,
        };
        if direct {
            self.adapt();
            self.seal_whole(io);
            self.take_new(&mut taken, writes);
        }
        if direct || how.force {
            taken.inline_pos = self.open_pos;
        }
        taken.inline_bytes = (self.end() - taken.inline_pos) as usize;
        self.promised_end = self.end();
        self.takes = self.takes.saturating_add(1);
        taken
    }

    /// Small takes from a large chunk: the next chunk may be smaller.
    fn adapt(&mut self) {
        if self.open_bytes() * 4 < self.chunk_bytes && self.new_chunks == 0 {
            self.chunk_bytes = (self.chunk_bytes / 2).max(CHUNK_BYTES_MIN);
        }
    }

    fn take_new(&mut self, taken: &mut Taken, writes: &mut Vec<DirectWrite<I>>) {
        let mut crc = crc32fast::Hasher::new();
        let first = self.sealed.len() - self.new_chunks;
        for chunk in self.sealed.range_mut(first..) {
            assert!(chunk.state == State::New);
            chunk.state = State::Writing;
            taken.direct_pos = taken.direct_pos.min(chunk.pos);
            taken.direct_bytes += chunk.bytes as u64;
            crc.update(&(*chunk.buffer).as_ref()[..chunk.bytes]);
            let buffer = Rc::clone(&chunk.buffer);
            writes.push(DirectWrite {
                pos: chunk.pos,
                buffer,
                bytes: chunk.bytes,
            });
        }
        self.new_chunks = 0;
        taken.direct_crc = crc.finalize();
        assert!(taken.direct_pos + taken.direct_bytes == self.open_pos);
    }

    /// The inline bytes of a take, right after it.
    pub(crate) fn inline(&self, taken: &Taken) -> &[u8] {
        let Some(open) = &self.open else { return &[] };
        let from = (taken.inline_pos - self.open_pos) as usize;
        &open.buffer.as_ref()[from..from + taken.inline_bytes]
    }

    /// The chunk at `pos` has been written in full.
    pub(crate) fn written(&mut self, pos: u64) {
        let index = self.sealed.partition_point(|chunk| chunk.pos < pos);
        let chunk = &mut self.sealed[index];
        assert!(chunk.pos == pos && chunk.state == State::Writing);
        chunk.state = State::Written;
    }

    /// The memory of the chunk at `pos` is wanted back. It goes once all before it have gone, so that what is in
    /// memory stays one run up to the end.
    pub(crate) fn evict(&mut self, pos: u64) {
        let index = self.sealed.partition_point(|chunk| chunk.pos < pos);
        if let Some(chunk) = self.sealed.get_mut(index)
            && chunk.pos == pos
        {
            assert!(chunk.state == State::Written);
            chunk.state = State::Evictable;
        }
        while self
            .sealed
            .front()
            .is_some_and(|chunk| chunk.state == State::Evictable)
        {
            self.sealed.pop_front();
        }
    }

    /// Calls `each` with the pieces of `[from, until)` in memory, in order: sealed chunks as shared buffers, the open
    /// chunk as bytes.
    pub(crate) fn pieces(&self, from: u64, until: u64, mut each: impl FnMut(Piece<'_, I>)) {
        assert!(from >= self.mem_start() && from <= until && until <= self.end());
        let first = self
            .sealed
            .partition_point(|chunk| chunk.pos + chunk.bytes as u64 <= from);
        for chunk in self.sealed.range(first..) {
            if chunk.pos >= until {
                return;
            }
            let begin = from.saturating_sub(chunk.pos) as usize;
            let end = chunk.bytes.min((until - chunk.pos) as usize);
            each(Piece::Sealed(&chunk.buffer, begin, end));
        }
        if let Some(open) = &self.open
            && until > self.open_pos
        {
            let begin = from.saturating_sub(self.open_pos) as usize;
            each(Piece::Open(
                &open.buffer.as_ref()[begin..(until - self.open_pos) as usize],
            ));
        }
    }

    fn open_bytes(&self) -> usize {
        self.open.as_ref().map_or(0, |open| open.bytes)
    }
}

/// A piece of the tail in memory.
pub(crate) enum Piece<'a, I: Io> {
    /// `buffer[from..until]`.
    Sealed(&'a Rc<I::Buffer>, usize, usize),
    /// Bytes of the open chunk, to be copied.
    Open(&'a [u8]),
}
