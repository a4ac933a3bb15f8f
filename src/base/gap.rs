//! What stands in a log for offsets whose records are lost: a control batch that takes them and holds no record of a
//! producer. Readers of the format skip control batches, so they see that offsets jump and nothing else; everything that
//! walks a log finds sound batches without a gap.
//!
//! Its only record has the key `00 00 6d 72` (version 0, a type that Kafka does not define) and the value `lost`.

use crate::base::batch::{CONTROL, CRC_START, HEADER_BYTES, Header, stamp};
use crate::base::checksum::crc32c;
use crate::base::record::BatchBuilder;
use crate::base::{Offset, TimestampMs};
use zerocopy::FromBytes;
use zerocopy::byteorder::big_endian::{I16, I32, U32};

const KEY: [u8; 4] = [0, 0, 0x6d, 0x72];
const VALUE: &[u8] = b"lost";
/// No time: as Kafka writes it.
const TIMESTAMP: TimestampMs = TimestampMs(-1);
/// The most offsets that one batch can take.
const OFFSETS_MAX: u64 = i32::MAX as u64;

/// The batches, back to back, that take the offsets `[from, until)`, stamped with `leader_epoch`.
pub fn markers(mut from: Offset, until: Offset, leader_epoch: i32) -> Vec<u8> {
    let mut all = Vec::new();
    while from < until {
        let count = (until.0 - from.0).min(OFFSETS_MAX);
        all.extend(marker(from, count, leader_epoch));
        from = from.plus(count);
    }
    all
}

fn marker(from: Offset, count: u64, leader_epoch: i32) -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    builder.push(TIMESTAMP, Some(&KEY), Some(VALUE), &[]);
    let mut bytes = builder.finish().to_vec();
    let header =
        Header::mut_from_bytes(&mut bytes[..HEADER_BYTES]).expect("its size is the header's");
    header.attributes = I16::new(CONTROL);
    header.last_offset_delta = I32::new((count - 1) as i32);
    let crc = crc32c(&bytes[CRC_START..]);
    let header =
        Header::mut_from_bytes(&mut bytes[..HEADER_BYTES]).expect("its size is the header's");
    header.crc = U32::new(crc);
    stamp(&mut bytes, from, leader_epoch);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::RecordBatch;

    #[test]
    fn markers_are_sound_control_batches_over_exactly_the_offsets() {
        for (from, until, count) in [
            (0, 1, 1),
            (7, 9, 1),
            (5, 5, 0),
            (3, 3 + OFFSETS_MAX, 1),
            (1 << 40, (1 << 40) + 2 * OFFSETS_MAX + 1, 3),
        ] {
            let bytes = markers(Offset(from), Offset(until), 0);
            let (mut rest, mut next, mut batches) = (&bytes[..], Offset(from), 0);
            while !rest.is_empty() {
                let batch = RecordBatch::parse(rest).expect("whole");
                batch.check().expect("sound");
                assert!(batch.is_control() && batch.base_offset() == next);
                assert_eq!(batch.max_timestamp(), TIMESTAMP);
                (next, batches) = (batch.next_offset(), batches + 1);
                rest = &rest[batch.bytes().len()..];
            }
            assert_eq!((next, batches), (Offset(until), count));
        }
    }
}
