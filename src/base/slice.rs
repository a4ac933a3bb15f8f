//! A part of a record batch as a batch of its own.

use crate::base::batch::{CRC_START, HEADER_BYTES, LENGTH_PREFIX_BYTES};
use crate::base::checksum::crc32c;
use crate::base::record::MalformedRecord;
use crate::base::{Offset, RecordBatch, varint};
use zerocopy::IntoBytes;
use zerocopy::byteorder::big_endian::{I32, U32};

/// Appends the records of an uncompressed batch whose offsets are in `from..until` to `out`, as a batch: their bytes are
/// copied as they are, under a header of their own. Its base offset stays that of the whole, and so do its timestamps.
/// Returns how many records that are; of none, nothing is appended.
pub fn slice(
    batch: &RecordBatch<'_>,
    from: Offset,
    until: Offset,
    out: &mut Vec<u8>,
) -> Result<u32, MalformedRecord> {
    assert!(!batch.is_compressed(), "its records cannot be told apart");
    let (all, base) = (batch.records(), batch.base_offset().0);
    let (mut at, mut begin, mut end) = (0, all.len(), 0);
    let (mut count, mut last_delta) = (0, 0);
    for _ in 0..batch.count() {
        let (delta, next) = read_place(all, at).ok_or(MalformedRecord)?;
        let offset = base.checked_add_signed(delta).ok_or(MalformedRecord)?;
        if (from.0..until.0).contains(&offset) {
            begin = begin.min(at);
            end = next;
            count += 1;
            last_delta = i32::try_from(delta).map_err(|_| MalformedRecord)?;
        }
        at = next;
    }
    if count == 0 {
        return Ok(0);
    }
    let records = all.get(begin..end).ok_or(MalformedRecord)?;
    let mut header = *batch.header();
    let bytes = HEADER_BYTES + records.len();
    header.batch_length = I32::new((bytes - LENGTH_PREFIX_BYTES) as i32);
    header.last_offset_delta = I32::new(last_delta);
    header.records_count = I32::new(count as i32);
    let start = out.len();
    out.extend_from_slice(header.as_bytes());
    out.extend_from_slice(records);
    header.crc = U32::new(crc32c(&out[start + CRC_START..]));
    out[start..start + HEADER_BYTES].copy_from_slice(header.as_bytes());
    Ok(count)
}

/// Offset delta of the record at `at`, and where it ends.
fn read_place(all: &[u8], at: usize) -> Option<(i64, usize)> {
    let (length, took) = varint::read(&all[at..])?;
    let begin = at + took;
    let end = begin.checked_add(usize::try_from(length).ok()?)?;
    let body = all.get(begin..end)?;
    // Attributes, then the timestamp, which is passed over.
    let body = body.get(1..)?;
    let (_, took) = varint::read(body)?;
    let (delta, _) = varint::read(&body[took..])?;
    Some((delta, end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::TimestampMs;
    use crate::base::batch::stamp;
    use crate::base::record::{BatchBuilder, records};

    fn batch(values: &[&[u8]]) -> Vec<u8> {
        let mut builder = BatchBuilder::new();
        for (value, no) in values.iter().zip(0..) {
            builder.push(TimestampMs(100 + no), Some(b"k"), Some(value), &[]);
        }
        let mut bytes = builder.finish().to_vec();
        stamp(&mut bytes, Offset(40), 0);
        bytes
    }

    /// Goal: every part holds exactly its records, as they were, and is a batch that every reader takes. Method: all parts
    /// of a batch, also those that begin before it or end behind it.
    #[test]
    fn every_part_holds_its_records_as_they_were() {
        let values: [&[u8]; 5] = [b"a", b"", &[7; 300], b"b", b"c"];
        let bytes = batch(&values);
        let whole = RecordBatch::parse(&bytes).expect("ours");
        for from in 38..48 {
            for until in from..48 {
                let mut out = vec![9];
                let count = slice(&whole, Offset(from), Offset(until), &mut out).expect("sound");
                let inside = from.max(40)..until.clamp(40, 45);
                assert_eq!(u64::from(count), inside.clone().count() as u64);
                if count == 0 {
                    assert_eq!(out, [9]);
                    continue;
                }
                let part = RecordBatch::parse(&out[1..]).expect("a batch");
                part.check().expect("sound");
                assert_eq!(part.next_offset(), Offset(inside.end));
                for (record, offset) in records(&part).zip(inside) {
                    let record = record.expect("sound");
                    let no = offset - 40;
                    assert_eq!(record.offset_delta, no as i64);
                    assert_eq!(record.value, Some(values[no as usize]));
                    assert_eq!(record.timestamp, TimestampMs(100 + no as i64));
                }
            }
        }
    }

    #[test]
    fn inner_lengths_that_lie_end_in_an_error_not_a_panic() {
        let bytes = batch(&[b"value", b"other"]);
        for index in HEADER_BYTES..bytes.len() {
            for byte in [0x00, 0x01, 0x7f, 0x80, 0xff] {
                let mut bad = bytes.clone();
                bad[index] = byte;
                if let Ok(batch) = RecordBatch::parse(&bad) {
                    let _ = slice(&batch, Offset(0), Offset(99), &mut Vec::new());
                }
            }
        }
    }
}
