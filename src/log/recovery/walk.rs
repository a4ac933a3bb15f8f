//! A walk over stored batches: each must follow the one before, and be whole.

use crate::base::batch::LEADER_EPOCH;
use crate::base::batch::LENGTH_PREFIX_BYTES;
use crate::base::{BatchError, Offset, RecordBatch};
use crate::log::index::{End, Entry, Index};

/// A walk over stored batches: each must follow the one before.
pub(crate) struct Walk {
    pub(crate) index: Index,
    pub(crate) end: End,
}

impl Walk {
    pub(crate) fn new(index: Index, end: End) -> Self {
        Self { index, end }
    }

    /// Takes the whole batches at the front of `bytes`. Returns how many bytes they are.
    pub(crate) fn over(
        &mut self,
        bytes: &[u8],
        until: u64,
        until_offset: Option<Offset>,
    ) -> Result<usize, String> {
        let mut at = 0;
        while self.end.pos < until && Some(self.end.next_offset) != until_offset {
            match self.step(&bytes[at..])? {
                Step::Over(batch) => at += batch.bytes().len(),
                Step::Short(_) => break,
            }
        }
        Ok(at)
    }

    /// Takes the batch at the front of `bytes`, if all of it is there.
    pub(crate) fn step<'a>(&mut self, bytes: &'a [u8]) -> Result<Step<'a>, String> {
        let batch = match RecordBatch::parse(bytes) {
            Ok(batch) => batch,
            Err(BatchError::Truncated { needed, .. }) => return Ok(Step::Short(needed)),
            Err(error) => return Err(error.to_string()),
        };
        batch.check_crc().map_err(|error| error.to_string())?;
        if batch.base_offset() != self.end.next_offset {
            let (found, wanted) = (batch.base_offset(), self.end.next_offset);
            return Err(format!(
                "batch of offset {found} where {wanted} should follow"
            ));
        }
        let epoch = batch.header().leader_epoch.get();
        if epoch != LEADER_EPOCH {
            // Outside the checksum, like the offset: both were stamped by us.
            return Err(format!("leader epoch {epoch}, {LEADER_EPOCH} was stamped"));
        }
        self.index.note(Entry {
            offset: self.end.next_offset,
            pos: self.end.pos,
            max_before: self.end.max_timestamp,
        });
        let length = batch.bytes().len();
        assert!(length > LENGTH_PREFIX_BYTES);
        self.end = End {
            pos: self.end.pos + length as u64,
            next_offset: batch.next_offset(),
            max_timestamp: self.end.max_timestamp.max(batch.max_timestamp().0),
        };
        Ok(Step::Over(batch))
    }
}

/// What lies at the front of some bytes.
pub(crate) enum Step<'a> {
    /// A sound batch that follows the one before.
    Over(RecordBatch<'a>),
    /// Too little to tell: at least so many bytes are needed.
    Short(usize),
}
