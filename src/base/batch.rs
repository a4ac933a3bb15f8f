//! The Kafka record batch, version 2 ("magic 2"), as a checked view over bytes. Source: Kafka protocol guide,
//! "Record Batch"; KIP-98.
//!
//! ```text
//! byte  0        8        12       16  17    21        23           27            35
//!       | base   | batch  | leader |mag| crc |attribut.| last offset| base        | max
//!       | offset | length | epoch  |   |     |         | delta      | timestamp   | timestamp
//!       i64      i32      i32      i8  u32   i16       i32          i64           i64
//! byte  43         51        53         57       61
//!       | producer | producer| base     | records| records ...
//!       | id       | epoch   | sequence | count  |
//!       i64        i16       i32        i32
//! ```
//! All big-endian. `batch length` counts from byte 12. `crc` is the CRC-32C of everything from byte 21 on, so the
//! broker may stamp the base offset and the leader epoch without touching it.

use crate::base::checksum::{Crc32c, crc32c};
use crate::base::limits::BATCH_BYTES_MAX;
use crate::base::planted::{Bug, planted};
use crate::base::{Offset, TimestampMs, varint};
use thiserror::Error;
use zerocopy::byteorder::big_endian::{I16, I32, I64, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes of the fixed header.
pub const HEADER_BYTES: usize = 61;
/// Bytes before the point from which `batch length` counts.
pub const LENGTH_PREFIX_BYTES: usize = 12;
/// Where the checksummed part begins.
pub const CRC_START: usize = 21;
/// The only format version that is stored.
pub const MAGIC: i8 = 2;

/// The leader epoch that a single node stamps.
pub const LEADER_EPOCH: i32 = 0;

/// Attribute bit of batches that hold no record of a producer.
pub const CONTROL: i16 = 0x20;
/// Attribute bit of batches whose records are as old as their append: `max timestamp` is the time of all of them.
pub const APPEND_TIME: i16 = 0x08;
/// How far into a batch its broker may write: up to the end of `max timestamp`.
pub const STAMP_BYTES_MAX: usize = 43;
const COMPRESSION_MASK: i16 = 0x07;
const COMPRESSION_LAST: i16 = 4;

/// The fixed header, as it lies in memory.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
pub struct Header {
    /// Offset of the first record; stamped by the broker.
    pub base_offset: I64,
    /// Bytes from `leader_epoch` to the end of the batch.
    pub batch_length: I32,
    /// Stamped by the broker.
    pub leader_epoch: I32,
    /// Format version, always 2.
    pub magic: i8,
    /// CRC-32C from `attributes` to the end.
    pub crc: U32,
    /// Bits 0-2 compression, 3 timestamp type, 4 transactional, 5 control, 6 delete horizon.
    pub attributes: I16,
    /// Offset of the last record minus the base offset.
    pub last_offset_delta: I32,
    /// Timestamp of the first record, milliseconds since 1970.
    pub base_timestamp: I64,
    /// The largest timestamp.
    pub max_timestamp: I64,
    /// Idempotent producer, or -1.
    pub producer_id: I64,
    /// Its epoch, or -1.
    pub producer_epoch: I16,
    /// Sequence of the first record, or -1.
    pub base_sequence: I32,
    /// How many records follow.
    pub records_count: I32,
}
const _: () = assert!(size_of::<Header>() == HEADER_BYTES);

/// Why bytes are not a record batch that we take.
#[derive(Error, Clone, Copy, PartialEq, Eq, Debug)]
pub enum BatchError {
    /// The bytes end before the batch does: `needed` in all (at least).
    #[error("batch is cut short: {have} bytes of {needed}")]
    Truncated {
        /// Bytes at hand.
        have: usize,
        /// Bytes that the batch needs.
        needed: usize,
    },
    /// Not magic 2.
    #[error("record batch magic {0}, only 2 is stored")]
    Magic(i8),
    /// A length below the header's or above the limit.
    #[error("record batch length {0} is outside {HEADER_BYTES} to {BATCH_BYTES_MAX} bytes")]
    Length(i64),
    /// Counts that contradict each other or the bytes.
    #[error("record batch counts do not agree: {0}")]
    Counts(&'static str),
    /// The checksum does not match.
    #[error("record batch checksum is {found:08x}, its header says {stated:08x}")]
    Crc {
        /// What the header states.
        stated: u32,
        /// What the bytes give.
        found: u32,
    },
    /// Attributes that no version defines.
    #[error("record batch attributes {0:#06x} are not understood")]
    Attributes(i16),
}

/// One whole record batch whose header is consistent. Accessors cannot fail.
#[derive(Clone, Copy, Debug)]
pub struct RecordBatch<'a> {
    header: &'a Header,
    bytes: &'a [u8],
}

impl<'a> RecordBatch<'a> {
    /// Reads the batch at the front of `bytes` and checks its header: magic, length, counts, attributes. Neither the
    /// checksum nor the records are looked at; see [`RecordBatch::check`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, BatchError> {
        let Ok((header, _)) = Header::ref_from_prefix(bytes) else {
            return Err(BatchError::Truncated {
                have: bytes.len(),
                needed: HEADER_BYTES,
            });
        };
        let total = total_bytes(header)?;
        if bytes.len() < total {
            return Err(BatchError::Truncated {
                have: bytes.len(),
                needed: total,
            });
        }
        check_counts(header)?;
        Ok(Self {
            header,
            bytes: &bytes[..total],
        })
    }

    /// Checks what only the whole of the bytes can tell: the CRC-32C, and for an uncompressed batch that exactly the
    /// stated number of records fills it.
    pub fn check(&self) -> Result<(), BatchError> {
        self.check_crc()?;
        if self.is_compressed() {
            Ok(())
        } else {
            check_records(self.records(), self.count())
        }
    }

    /// Checks the CRC-32C alone.
    pub fn check_crc(&self) -> Result<(), BatchError> {
        let found = crc32c(&self.bytes[CRC_START..]);
        let stated = self.header.crc.get();
        if found == stated || planted(Bug::AcceptBadBatch) {
            Ok(())
        } else {
            Err(BatchError::Crc { stated, found })
        }
    }

    /// All bytes of the batch.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The bytes behind the header: records, or their compressed form.
    pub fn records(&self) -> &'a [u8] {
        &self.bytes[HEADER_BYTES..]
    }

    /// The header.
    pub fn header(&self) -> &'a Header {
        self.header
    }

    /// Offset of the first record. Meaningful in stored batches; producers send anything.
    pub fn base_offset(&self) -> Offset {
        Offset(self.header.base_offset.get() as u64)
    }

    /// The offset after the last record.
    pub fn next_offset(&self) -> Offset {
        Offset(
            self.base_offset()
                .0
                .wrapping_add(u64::from(self.offsets_taken())),
        )
    }

    /// How many offsets the batch takes (equal to the count of records unless it was compacted).
    pub fn offsets_taken(&self) -> u32 {
        self.header.last_offset_delta.get() as u32 + 1
    }

    /// How many records it holds.
    pub fn count(&self) -> u32 {
        self.header.records_count.get() as u32
    }

    /// The largest timestamp of its records.
    pub fn max_timestamp(&self) -> TimestampMs {
        TimestampMs(self.header.max_timestamp.get())
    }

    /// The timestamp that record deltas count from.
    pub fn base_timestamp(&self) -> TimestampMs {
        TimestampMs(self.header.base_timestamp.get())
    }

    /// The time of all its records, if the broker gave them one.
    pub fn append_time(&self) -> Option<TimestampMs> {
        let has_one = self.header.attributes.get() & APPEND_TIME != 0;
        has_one.then(|| self.max_timestamp())
    }

    /// Whether it is for brokers and readers of the log, and holds no record of a producer.
    pub fn is_control(&self) -> bool {
        self.header.attributes.get() & CONTROL != 0
    }

    /// Whether the records are compressed.
    pub fn is_compressed(&self) -> bool {
        self.header.attributes.get() & COMPRESSION_MASK != 0
    }
}

/// Writes what the broker decides into a batch at the front of `bytes`: its base offset and leader epoch. Both lie
/// outside the checksum. `bytes` must hold at least the first 16 bytes of a batch.
pub fn stamp(bytes: &mut [u8], base_offset: Offset, leader_epoch: i32) {
    bytes[0..8].copy_from_slice(&base_offset.0.to_be_bytes());
    bytes[12..16].copy_from_slice(&leader_epoch.to_be_bytes());
}

/// Gives all records of a batch the time of their append: an attribute, the largest timestamp, and the checksum, which
/// covers both. `front` are the batch's first bytes, `rest` those behind them. Nothing is decompressed.
pub fn stamp_append_time(front: &mut [u8; STAMP_BYTES_MAX], rest: &[u8], time: TimestampMs) {
    let attributes = i16::from_be_bytes([front[21], front[22]]) | APPEND_TIME;
    front[21..23].copy_from_slice(&attributes.to_be_bytes());
    front[35..43].copy_from_slice(&time.0.to_be_bytes());
    let mut crc = Crc32c::default();
    crc.update(&front[CRC_START..]);
    crc.update(rest);
    front[17..21].copy_from_slice(&crc.value().to_be_bytes());
}

/// How many bytes the batch with this header has, itself included, if all that a header can tell is consistent.
pub fn batch_bytes(header: &Header) -> Result<usize, BatchError> {
    let total = total_bytes(header)?;
    check_counts(header)?;
    Ok(total)
}

fn total_bytes(header: &Header) -> Result<usize, BatchError> {
    if header.magic != MAGIC {
        return Err(BatchError::Magic(header.magic));
    }
    let total = i64::from(header.batch_length.get()) + LENGTH_PREFIX_BYTES as i64;
    if total < HEADER_BYTES as i64 || total > BATCH_BYTES_MAX as i64 {
        return Err(BatchError::Length(total));
    }
    Ok(total as usize)
}

fn check_counts(header: &Header) -> Result<(), BatchError> {
    let (count, delta) = (header.records_count.get(), header.last_offset_delta.get());
    if count < 1 {
        return Err(BatchError::Counts("no records"));
    }
    if delta == i32::MAX || delta < count - 1 {
        return Err(BatchError::Counts(
            "last offset delta below the count of records",
        ));
    }
    let attributes = header.attributes.get();
    if attributes & COMPRESSION_MASK > COMPRESSION_LAST {
        return Err(BatchError::Attributes(attributes));
    }
    Ok(())
}

/// Hops over the records by their lengths: about two nanoseconds each, and no field of a record is trusted before its
/// own length was.
fn check_records(mut bytes: &[u8], count: u32) -> Result<(), BatchError> {
    for _ in 0..count {
        let Some((length, prefix)) = varint::read(bytes) else {
            return Err(BatchError::Counts("fewer records than stated"));
        };
        let Some(end) = usize::try_from(length)
            .ok()
            .and_then(|n| n.checked_add(prefix))
        else {
            return Err(BatchError::Counts("a record of negative length"));
        };
        if end > bytes.len() {
            return Err(BatchError::Counts(
                "a record runs past the end of its batch",
            ));
        }
        bytes = &bytes[end..];
    }
    if bytes.is_empty() {
        Ok(())
    } else {
        Err(BatchError::Counts("bytes after the last record"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::record::BatchBuilder;

    fn sample() -> Vec<u8> {
        let mut builder = BatchBuilder::new();
        for i in 0..20u8 {
            builder.push(
                TimestampMs(1_000 + i64::from(i)),
                Some(&[i]),
                Some(&vec![i; usize::from(i) * 9]),
                &[],
            );
        }
        builder.finish().to_vec()
    }

    #[test]
    fn a_built_batch_checks() {
        let bytes = sample();
        let batch = RecordBatch::parse(&bytes).expect("built by us");
        batch.check().expect("built by us");
        assert_eq!((batch.count(), batch.offsets_taken()), (20, 20));
        assert_eq!(
            (batch.base_timestamp(), batch.max_timestamp()),
            (TimestampMs(1_000), TimestampMs(1_019))
        );
    }

    #[test]
    fn every_truncation_is_refused() {
        let bytes = sample();
        for cut in 0..bytes.len() {
            assert!(
                matches!(
                    RecordBatch::parse(&bytes[..cut]),
                    Err(BatchError::Truncated { .. })
                ),
                "cut at {cut}"
            );
        }
    }

    #[test]
    fn every_flipped_bit_behind_the_stamp_is_noticed() {
        let bytes = sample();
        for index in (8..12).chain(16..bytes.len()) {
            for bit in 0..8 {
                let mut bad = bytes.clone();
                bad[index] ^= 1 << bit;
                let verdict = RecordBatch::parse(&bad).and_then(|batch| batch.check());
                assert!(verdict.is_err(), "byte {index} bit {bit}");
            }
        }
    }

    #[test]
    fn stamping_leaves_the_checksum_alone() {
        let mut bytes = sample();
        stamp(&mut bytes, Offset(77), 5);
        let batch = RecordBatch::parse(&bytes).expect("still whole");
        batch.check().expect("stamp is outside the checksum");
        assert_eq!(
            (batch.base_offset(), batch.next_offset()),
            (Offset(77), Offset(97))
        );
    }

    #[test]
    fn the_time_of_an_append_is_that_of_every_record() {
        let mut bytes = sample();
        let (front, rest) = bytes.split_first_chunk_mut().expect("longer than that");
        stamp_append_time(front, rest, TimestampMs(77));
        let batch = RecordBatch::parse(&bytes).expect("still whole");
        batch.check().expect("the checksum was made anew");
        assert_eq!(batch.append_time(), Some(TimestampMs(77)));
        let times: Vec<_> = crate::base::record::records(&batch)
            .map(|record| record.expect("still whole").timestamp.0)
            .collect();
        assert_eq!(times, [77; 20]);
    }

    #[test]
    fn counts_are_held_against_the_bytes() {
        let bytes = sample();
        let reseal = |bytes: &mut Vec<u8>| {
            let crc = crc32c(&bytes[CRC_START..]);
            bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        };
        for (count, delta) in [
            (19i32, 19i32),
            (21, 20),
            (0, 0),
            (-1, 5),
            (20, 18),
            (20, i32::MAX),
        ] {
            let mut bad = bytes.clone();
            bad[57..61].copy_from_slice(&count.to_be_bytes());
            bad[23..27].copy_from_slice(&delta.to_be_bytes());
            reseal(&mut bad);
            let verdict = RecordBatch::parse(&bad).and_then(|batch| batch.check());
            assert!(
                matches!(verdict, Err(BatchError::Counts(_))),
                "{count} {delta}"
            );
        }
    }
}
