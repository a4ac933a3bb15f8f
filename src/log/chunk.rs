//! A sealed chunk of the tail: whole blocks that are, or will be, in the segment file, shared by the disk write and
//! by readers.

use crate::io::Io;
use std::rc::Rc;

/// A shared piece of the hot tail. Cloning shares it; the memory is freed with the last clone.
pub struct Chunk<I: Io>(pub(crate) Rc<I::Buffer>);

impl<I: Io> Clone for Chunk<I> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<I: Io> AsRef<[u8]> for Chunk<I> {
    fn as_ref(&self) -> &[u8] {
        (*self.0).as_ref()
    }
}
