//! Memory as direct I/O wants it: aligned to a block, and full of noise when made, so that code which forgets to zero
//! its padding is found out.

use crate::base::limits::BLOCK_BYTES;
use crate::io::AlignedBuffer;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// What fresh memory holds.
pub(super) const NOISE: u8 = 0xa5;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy)]
#[repr(C, align(4096))]
struct Block([u8; BLOCK_BYTES]);
const _: () = assert!(align_of::<Block>() == BLOCK_BYTES);

/// An aligned buffer of the simulator.
#[derive(Clone)]
pub struct SimBuffer {
    blocks: Vec<Block>,
    bytes: usize,
}

impl SimBuffer {
    /// `bytes` of noise.
    pub(super) fn new(bytes: usize) -> Self {
        Self {
            blocks: vec![Block([NOISE; BLOCK_BYTES]); bytes.div_ceil(BLOCK_BYTES)],
            bytes,
        }
    }
}

impl AsRef<[u8]> for SimBuffer {
    fn as_ref(&self) -> &[u8] {
        &self.blocks.as_slice().as_bytes()[..self.bytes]
    }
}

impl AsMut<[u8]> for SimBuffer {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.blocks.as_mut_slice().as_mut_bytes()[..self.bytes]
    }
}

impl AlignedBuffer for SimBuffer {
    fn truncate(&mut self, bytes: usize) {
        self.bytes = self.bytes.min(bytes);
    }
}

impl std::fmt::Debug for SimBuffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fresh_memory_is_aligned_noise_and_only_shrinks() {
        let mut buffer = SimBuffer::new(2 * BLOCK_BYTES);
        assert!(buffer.as_ref().as_ptr().addr().is_multiple_of(BLOCK_BYTES));
        assert!(buffer.as_ref().iter().all(|byte| *byte == NOISE));
        buffer.as_mut().fill(1);
        buffer.truncate(10);
        buffer.truncate(20);
        assert_eq!(buffer.as_ref(), [1; 10]);
    }
}
