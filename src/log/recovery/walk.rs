//! A walk over stored batches: each must follow the one before, and be whole.

use crate::base::batch::LENGTH_PREFIX_BYTES;
use crate::base::{BatchError, Offset, RecordBatch};
use crate::log::index::{End, Entry, Index};

/// A walk over stored batches: each must follow the one before.
pub(super) struct Walk {
    pub(super) index: Index,
    pub(super) end: End,
}

impl Walk {
    pub(super) fn new(index: Index, end: End) -> Self {
        Self { index, end }
    }

    /// Takes the whole batches at the front of `bytes`. Returns how many bytes they are.
    pub(super) fn over(
        &mut self,
        bytes: &[u8],
        until: u64,
        until_offset: Option<Offset>,
    ) -> Result<usize, String> {
        let mut at = 0;
        while self.end.pos < until && Some(self.end.next_offset) != until_offset {
            let batch = match RecordBatch::parse(&bytes[at..]) {
                Ok(batch) => batch,
                Err(BatchError::Truncated { .. }) => break,
                Err(error) => return Err(error.to_string()),
            };
            batch.check_crc().map_err(|error| error.to_string())?;
            if batch.base_offset() != self.end.next_offset {
                let (found, wanted) = (batch.base_offset(), self.end.next_offset);
                return Err(format!(
                    "batch of offset {found} where {wanted} should follow"
                ));
            }
            self.index.note(Entry {
                offset: self.end.next_offset,
                pos: self.end.pos,
                max_before: self.end.max_timestamp,
            });
            let length = batch.bytes().len();
            assert!(length > LENGTH_PREFIX_BYTES);
            at += length;
            self.end = End {
                pos: self.end.pos + length as u64,
                next_offset: batch.next_offset(),
                max_timestamp: self.end.max_timestamp.max(batch.max_timestamp().0),
            };
        }
        Ok(at)
    }
}
