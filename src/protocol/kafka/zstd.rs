//! Fetches of clients that do not know zstd (before version 10, KIP-110): what of a partition's batches they may have.
//!
//! ```text
//!   bytes  │ zstd, below the offset asked for │ plain │ gzip │ zstd │ plain │
//!          └──────── left out ────────────────┴── sent ──────┴── for the next fetch, which is refused
//! ```

use crate::base::Offset;
use crate::base::batch::{HEADER_BYTES, Header, LENGTH_PREFIX_BYTES};
use zerocopy::FromBytes;

/// The first version of a client that knows zstd.
pub const ZSTD_FETCH_FROM: i16 = 10;
/// The same for those who produce.
pub const ZSTD_PRODUCE_FROM: i16 = 7;

const ZSTD: i16 = 4;
const COMPRESSION_MASK: i16 = 7;

/// Whether attributes say that a batch is compressed by zstd.
pub fn is_zstd(attributes: i16) -> bool {
    attributes & COMPRESSION_MASK == ZSTD
}

/// Looks at the headers of whole stored batches as their bytes stream by, in pieces of any size.
#[derive(Clone, Copy, Debug)]
pub struct ZstdWatch {
    from: Offset,
    /// The header of the batch that began, as far as it came.
    head: [u8; HEADER_BYTES],
    head_bytes: usize,
    /// Bytes to be passed over before the next header.
    skip: usize,
    /// Bytes seen.
    pos: u64,
    /// Where what may be sent begins, and where it ends.
    begin: u64,
    end: Option<u64>,
    /// A batch that may be sent holds an offset that was asked for.
    is_worth: bool,
}

impl ZstdWatch {
    /// Nothing was seen yet; offsets below `from` were not asked for.
    pub fn new(from: Offset) -> Self {
        Self {
            from,
            head: [0; HEADER_BYTES],
            head_bytes: 0,
            skip: 0,
            pos: 0,
            begin: 0,
            end: None,
            is_worth: false,
        }
    }

    /// Sees the next bytes. False: the rest does not matter.
    pub fn feed(&mut self, mut piece: &[u8]) -> bool {
        while !piece.is_empty() && self.end.is_none() {
            if self.skip > 0 {
                let skipped = self.skip.min(piece.len());
                piece = &piece[skipped..];
                self.skip -= skipped;
                self.pos += skipped as u64;
                continue;
            }
            let taken = (HEADER_BYTES - self.head_bytes).min(piece.len());
            let (front, rest) = piece.split_at(taken);
            self.head[self.head_bytes..][..taken].copy_from_slice(front);
            self.head_bytes += taken;
            self.pos += taken as u64;
            piece = rest;
            if self.head_bytes == HEADER_BYTES {
                self.judge();
            }
        }
        self.end.is_none()
    }

    fn judge(&mut self) {
        let header = Header::ref_from_bytes(&self.head).expect("its size is the header's");
        let batch_bytes = header.batch_length.get() as i64 + LENGTH_PREFIX_BYTES as i64;
        // Stored batches are longer than their header: anything else was refused, or is told as damage elsewhere.
        self.skip = usize::try_from(batch_bytes).map_or(0, |all| all.saturating_sub(HEADER_BYTES));
        self.head_bytes = 0;
        let delta = i64::from(header.last_offset_delta.get());
        let last = header.base_offset.get().wrapping_add(delta);
        let is_asked = last as u64 >= self.from.0;
        match (is_zstd(header.attributes.get()), is_asked) {
            (false, is_asked) => self.is_worth |= is_asked,
            (true, true) => self.end = Some(self.pos - HEADER_BYTES as u64),
            (true, false) => self.begin = self.pos + self.skip as u64,
        }
    }

    /// The part of `bytes` that may be sent; none if the first batch asked for may not. A part without that would have the
    /// client ask for the same again, for ever.
    pub fn part(&self, bytes: u64) -> Option<(u64, u64)> {
        match self.end {
            Some(_) if !self.is_worth => None,
            end => Some((self.begin.min(bytes), end.unwrap_or(bytes))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::TimestampMs;
    use crate::base::record::BatchBuilder;

    /// Batches of two records, by codec.
    fn batches(codecs: &[i16]) -> (Vec<u8>, u64) {
        let (mut bytes, mut one) = (Vec::new(), 0);
        for (number, codec) in (0i64..).zip(codecs) {
            let mut builder = BatchBuilder::new();
            for _ in 0..2 {
                builder.push(TimestampMs(1), None, Some(b"value"), &[]);
            }
            let mut batch = builder.finish().to_vec();
            batch[..8].copy_from_slice(&(2 * number).to_be_bytes());
            batch[22] = *codec as u8;
            one = batch.len() as u64;
            bytes.extend(batch);
        }
        (bytes, one)
    }

    fn part(codecs: &[i16], from: u64, step: usize) -> Option<(u64, u64)> {
        let (bytes, one) = batches(codecs);
        let mut watch = ZstdWatch::new(Offset(from));
        for piece in bytes.chunks(step) {
            if !watch.feed(piece) {
                break;
            }
        }
        let (begin, end) = watch.part(bytes.len() as u64)?;
        assert!(begin % one == 0 && end % one == 0, "whole batches");
        Some((begin / one, end / one))
    }

    #[test]
    fn what_stands_before_the_first_zstd_that_was_asked_for_may_be_sent() {
        for step in 1..200 {
            assert_eq!(part(&[0, 1, 2, 3], 0, step), Some((0, 4)));
            assert_eq!(part(&[0, 1, 4, 0], 0, step), Some((0, 2)));
            assert_eq!(part(&[4, 0], 0, step), None);
            assert_eq!(
                part(&[4, 0], 1, step),
                None,
                "its second record is asked for"
            );
            assert_eq!(part(&[4, 0, 4], 2, step), Some((1, 2)));
            assert_eq!(part(&[0, 4, 4], 4, step), None);
            assert_eq!(
                part(&[0, 0, 4], 4, step),
                None,
                "what is left was not asked for"
            );
        }
    }

    #[test]
    fn bytes_that_are_no_batches_end_it_or_are_passed_over() {
        for byte in 0..=u8::MAX {
            let mut watch = ZstdWatch::new(Offset(0));
            watch.feed(&[byte; 1_000]);
            let _ = watch.part(1_000);
        }
    }
}
