//! Stored record batches checked as their bytes stream by, in pieces of any size: what the disk gives back is what was
//! stored, batch after batch without a gap. Memory is one header, whatever the batches' size.

use crate::base::Offset;
use crate::base::batch::{
    BatchError, CRC_START, HEADER_BYTES, Header, LEADER_EPOCH, RecordBatch, batch_bytes,
};
use crate::base::checksum::Crc32c;
use thiserror::Error;
use zerocopy::FromBytes;

/// Checks batches of one segment in order.
///
/// ```text
///   feed(piece) feed(piece) ...      at():  the end of the last batch that is good (and where the next one begins)
///   ├─batch─┼──batch──┼─ba|tch──     is_between():  nothing of a further batch was fed
/// ```
#[derive(Debug)]
pub struct BatchStream {
    /// Bytes of whole good batches, and the offset that follows them.
    good: (u64, Offset),
    /// The header of the batch that began and is not complete.
    head: [u8; HEADER_BYTES],
    head_bytes: usize,
    /// Of that batch, once its header is complete: bytes still to come, the checksum so far.
    left: usize,
    crc: Crc32c,
    /// Bytes of it in all, and the offset after it.
    batch: (u64, Offset),
    damage: Option<Damage>,
}

/// Why a stored batch is not what was stored.
#[derive(Error, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Damage {
    /// Its bytes contradict themselves.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// The broker's stamp is not in the checksum, and is not ours.
    #[error("leader epoch {0} where {LEADER_EPOCH} was stamped")]
    Epoch(i32),
    /// A good batch that does not belong here.
    #[error("a batch of offset {found} where {expected} belongs")]
    Misplaced {
        /// The offset that follows the batch before.
        expected: Offset,
        /// Its base offset.
        found: Offset,
    },
}

impl BatchStream {
    /// A stream that begins at position `pos` of its segment, where the batch of `offset` begins.
    pub fn new(pos: u64, offset: Offset) -> Self {
        Self {
            good: (pos, offset),
            head: [0; HEADER_BYTES],
            head_bytes: 0,
            left: 0,
            crc: Crc32c::default(),
            batch: (0, offset),
            damage: None,
        }
    }

    /// The position after the last good batch and the offset that follows it.
    pub fn at(&self) -> (u64, Offset) {
        self.good
    }

    /// What is wrong with the batch at [`BatchStream::at`]. Final: what comes behind it is not looked at.
    pub fn damage(&self) -> Option<Damage> {
        self.damage
    }

    /// Whether the bytes fed so far end where a batch ends.
    pub fn is_between(&self) -> bool {
        self.damage.is_none() && self.head_bytes == 0
    }

    /// The bytes that come next. False: there is damage, more bytes are useless.
    pub fn feed(&mut self, mut piece: &[u8]) -> bool {
        while !piece.is_empty() && self.damage.is_none() {
            let taken = match self.head_bytes {
                0 if piece.len() >= HEADER_BYTES => self.whole_or_begin(piece),
                HEADER_BYTES => Ok(self.body(piece)),
                _ => self.header(piece),
            };
            match taken {
                Ok(bytes) => piece = &piece[bytes..],
                Err(damage) => self.damage = Some(damage),
            }
        }
        self.damage.is_none()
    }

    /// At the beginning of a batch, its header at hand: mostly all of it is.
    fn whole_or_begin(&mut self, piece: &[u8]) -> Result<usize, Damage> {
        match RecordBatch::parse(piece) {
            Ok(batch) => {
                self.expect(batch.header())?;
                batch.check_crc()?;
                let bytes = batch.bytes().len();
                self.good = (self.good.0 + bytes as u64, batch.next_offset());
                Ok(bytes)
            }
            Err(BatchError::Truncated { .. }) => self.header(piece),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes bytes of a header; begins the batch when it is complete.
    fn header(&mut self, piece: &[u8]) -> Result<usize, Damage> {
        let taken = piece.len().min(HEADER_BYTES - self.head_bytes);
        self.head[self.head_bytes..self.head_bytes + taken].copy_from_slice(&piece[..taken]);
        self.head_bytes += taken;
        if self.head_bytes < HEADER_BYTES {
            return Ok(taken);
        }
        let header = Header::ref_from_bytes(&self.head).expect("its size is the header's");
        let bytes = batch_bytes(header)?;
        let base = Offset(header.base_offset.get() as u64);
        let next = base
            .0
            .wrapping_add(header.last_offset_delta.get() as u64 + 1);
        self.batch = (bytes as u64, Offset(next));
        self.left = bytes - HEADER_BYTES;
        self.expect(header)?;
        self.crc = Crc32c::default();
        self.crc.update(&self.head[CRC_START..]);
        if self.left == 0 {
            self.end()?;
        }
        Ok(taken)
    }

    /// Takes bytes of a batch whose header is complete.
    fn body(&mut self, piece: &[u8]) -> usize {
        let taken = piece.len().min(self.left);
        self.crc.update(&piece[..taken]);
        self.left -= taken;
        if self.left == 0
            && let Err(damage) = self.end()
        {
            self.damage = Some(damage);
        }
        taken
    }

    fn end(&mut self) -> Result<(), Damage> {
        let header = Header::ref_from_bytes(&self.head).expect("its size is the header's");
        let (stated, found) = (header.crc.get(), self.crc.value());
        if stated != found {
            return Err(BatchError::Crc { stated, found }.into());
        }
        self.good = (self.good.0 + self.batch.0, self.batch.1);
        self.head_bytes = 0;
        Ok(())
    }

    /// Whether the broker's stamp, which no checksum covers, is the one that belongs here.
    fn expect(&self, header: &Header) -> Result<(), Damage> {
        let (expected, found) = (self.good.1, Offset(header.base_offset.get() as u64));
        let epoch = header.leader_epoch.get();
        if found != expected {
            return Err(Damage::Misplaced { expected, found });
        }
        if epoch != LEADER_EPOCH {
            return Err(Damage::Epoch(epoch));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::TimestampMs;
    use crate::base::batch::stamp;
    use crate::base::prng::Prng;
    use crate::base::record::BatchBuilder;

    /// Batches from offset 40 on, back to back, and where each ends.
    fn stored() -> (Vec<u8>, Vec<(u64, Offset)>) {
        let (mut bytes, mut ends, mut offset) = (Vec::new(), Vec::new(), Offset(40));
        for (records, size) in [(1, 0), (3, 50), (1, 9_000), (40, 100), (2, 1)] {
            let mut builder = BatchBuilder::new();
            for number in 0..records {
                let value = vec![number as u8; size];
                builder.push(TimestampMs(7), None, Some(&value), &[]);
            }
            let batch = builder.finish();
            let from = bytes.len();
            bytes.extend_from_slice(batch);
            stamp(&mut bytes[from..], offset, 0);
            offset = offset.plus(records);
            ends.push((bytes.len() as u64, offset));
        }
        (bytes, ends)
    }

    fn fed(bytes: &[u8], step: usize) -> BatchStream {
        let mut stream = BatchStream::new(0, Offset(40));
        for piece in bytes.chunks(step) {
            if !stream.feed(piece) {
                break;
            }
        }
        stream
    }

    #[test]
    fn whole_batches_are_good_in_pieces_of_any_size() {
        let (bytes, ends) = stored();
        for step in [1, 7, 60, 61, 62, 100, 4_096, 1 << 20] {
            let stream = fed(&bytes, step);
            assert!(stream.is_between(), "pieces of {step}");
            assert_eq!(Some(&stream.at()), ends.last());
        }
    }

    #[test]
    fn a_cut_is_no_damage_and_not_an_end_either() {
        let (bytes, ends) = stored();
        for cut in 0..bytes.len() {
            for step in [13, 1 << 20] {
                let stream = fed(&bytes[..cut], step);
                assert_eq!(stream.damage(), None);
                let before = ends.iter().rev().find(|(end, _)| *end <= cut as u64);
                assert_eq!(stream.at(), *before.unwrap_or(&(0, Offset(40))));
                assert_eq!(stream.is_between(), stream.at().0 == cut as u64);
            }
        }
    }

    #[test]
    fn any_changed_byte_is_damage_of_its_batch() {
        let (bytes, ends) = stored();
        let mut prng = Prng::new(5);
        for at in 0..bytes.len() {
            let mut wrong = bytes.clone();
            wrong[at] ^= 1 << prng.below(8);
            let begins = ends.iter().rev().find(|(end, _)| *end <= at as u64);
            let begins = *begins.unwrap_or(&(0, Offset(40)));
            for step in [1 + prng.below(200) as usize, 1 << 20] {
                let stream = fed(&wrong, step);
                // A longer length may wait for bytes that never come: then the end is not where a batch ends.
                assert!(!stream.is_between(), "byte {at} in pieces of {step}");
                assert_eq!(stream.at(), begins, "byte {at}");
            }
        }
    }

    #[test]
    fn a_good_batch_in_the_wrong_place_is_damage() {
        let (bytes, ends) = stored();
        let mut stream = BatchStream::new(0, Offset(40));
        assert!(!stream.feed(&bytes[ends[0].0 as usize..]));
        let (expected, found) = (Offset(40), Offset(41));
        assert_eq!(stream.damage(), Some(Damage::Misplaced { expected, found }));
    }
}
