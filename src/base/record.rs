//! Records inside a batch: a builder that clients fill, and a reader that hops over what it does not need.

use crate::base::batch::{CRC_START, HEADER_BYTES, Header, LENGTH_PREFIX_BYTES, MAGIC};
use crate::base::checksum::crc32c;
use crate::base::{RecordBatch, TimestampMs, varint};
use zerocopy::IntoBytes;
use zerocopy::byteorder::big_endian::{I16, I32, I64, U32};

/// A header of a record: a key and an optional value.
pub type RecordHeader<'a> = (&'a [u8], Option<&'a [u8]>);

/// Builds one uncompressed record batch in a buffer that is kept between batches.
///
/// The buffer is as long as its memory and `len` says how much of it is the batch: a record is written into a slice that
/// was cut once, not by appends that each look at the capacity (100 B records: 13 ns each instead of 23).
#[derive(Debug)]
pub struct BatchBuilder {
    bytes: Vec<u8>,
    len: usize,
    count: u32,
    base_timestamp: TimestampMs,
    max_timestamp: TimestampMs,
}

impl Default for BatchBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl BatchBuilder {
    /// An empty builder.
    pub fn new() -> Self {
        Self {
            bytes: vec![0; HEADER_BYTES],
            len: HEADER_BYTES,
            count: 0,
            base_timestamp: TimestampMs(0),
            max_timestamp: TimestampMs(i64::MIN),
        }
    }

    /// Appends a record. `None` and an empty slice differ: a null key or value against an empty one.
    pub fn push(
        &mut self,
        timestamp: TimestampMs,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[RecordHeader<'_>],
    ) {
        if self.count == 0 {
            self.base_timestamp = timestamp;
            self.max_timestamp = timestamp;
        }
        self.max_timestamp = self.max_timestamp.max(timestamp);
        let timestamp_delta = timestamp.0.wrapping_sub(self.base_timestamp.0);
        let offset_delta = i64::from(self.count);
        let body = 1
            + varint::len(timestamp_delta)
            + varint::len(offset_delta)
            + optional_len(key)
            + optional_len(value)
            + varint::len(headers.len() as i64)
            + headers
                .iter()
                .map(|(name, value)| optional_len(Some(name)) + optional_len(*value))
                .sum::<usize>();
        let mut out = Slots {
            rest: self.grow(varint::len(body as i64) + body),
        };
        out.varint(body as i64);
        out.varint(0);
        out.varint(timestamp_delta);
        out.varint(offset_delta);
        out.optional(key);
        out.optional(value);
        out.varint(headers.len() as i64);
        for (name, value) in headers {
            out.optional(Some(name));
            out.optional(*value);
        }
        debug_assert!(out.rest.is_empty(), "the length was summed up right");
        self.count += 1;
    }

    /// How many records it holds.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// How many bytes the batch has so far, header included.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no record was pushed.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Seals the header and returns the whole batch. At least one record must have been pushed; call
    /// [`BatchBuilder::clear`] before the next batch.
    pub fn finish(&mut self) -> &[u8] {
        assert!(self.count > 0, "a batch holds at least one record");
        let header = Header {
            base_offset: I64::new(0),
            batch_length: I32::new((self.len - LENGTH_PREFIX_BYTES) as i32),
            leader_epoch: I32::new(-1),
            magic: MAGIC,
            crc: U32::new(0),
            attributes: I16::new(0),
            last_offset_delta: I32::new(self.count as i32 - 1),
            base_timestamp: I64::new(self.base_timestamp.0),
            max_timestamp: I64::new(self.max_timestamp.0),
            producer_id: I64::new(-1),
            producer_epoch: I16::new(-1),
            base_sequence: I32::new(-1),
            records_count: I32::new(self.count as i32),
        };
        self.bytes[..HEADER_BYTES].copy_from_slice(header.as_bytes());
        let crc = crc32c(&self.bytes[CRC_START..self.len]);
        self.bytes[17..CRC_START].copy_from_slice(&crc.to_be_bytes());
        &self.bytes[..self.len]
    }

    /// Forgets the records and keeps the buffer.
    pub fn clear(&mut self) {
        self.len = HEADER_BYTES;
        self.count = 0;
        self.max_timestamp = TimestampMs(i64::MIN);
    }

    /// The next `bytes` of the batch, to be written.
    #[inline]
    fn grow(&mut self, bytes: usize) -> &mut [u8] {
        let start = self.len;
        self.len += bytes;
        if self.bytes.len() < self.len {
            self.bytes.resize(self.len.next_power_of_two(), 0);
        }
        &mut self.bytes[start..self.len]
    }
}

/// One record of an uncompressed batch, borrowed from it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Record<'a> {
    /// Position in the batch, added to its base offset.
    pub offset_delta: i64,
    /// Absolute timestamp: the producer's, or that of the batch's append if the batch says so.
    pub timestamp: TimestampMs,
    /// Key, if any.
    pub key: Option<&'a [u8]>,
    /// Value, if any.
    pub value: Option<&'a [u8]>,
    /// Count of headers and their bytes, for [`headers`].
    headers: (i64, &'a [u8]),
}

impl<'a> Record<'a> {
    /// The record's headers. Stops at the first that is malformed.
    pub fn headers(&self) -> impl Iterator<Item = RecordHeader<'a>> + use<'a> {
        let (count, mut rest) = self.headers;
        (0..count).map_while(move |_| {
            let name = read_optional(&mut rest)??;
            let value = read_optional(&mut rest)?;
            Some((name, value))
        })
    }
}

/// The records of an uncompressed batch, in order. A record that cannot be read ends the iteration with `Err`.
pub fn records<'a>(
    batch: &RecordBatch<'a>,
) -> impl Iterator<Item = Result<Record<'a>, MalformedRecord>> + use<'a> {
    let mut rest = batch.records();
    let (base, append_time) = (batch.base_timestamp(), batch.append_time());
    let mut left = if batch.is_compressed() {
        0
    } else {
        batch.count()
    };
    std::iter::from_fn(move || {
        if left == 0 {
            return None;
        }
        left -= 1;
        let mut record = read_record(&mut rest, base);
        match (&mut record, append_time) {
            (Some(record), Some(time)) => record.timestamp = time,
            (Some(_), None) => {}
            (None, _) => left = 0,
        }
        Some(record.ok_or(MalformedRecord))
    })
}

/// A record's inner lengths do not fit its bytes.
#[derive(thiserror::Error, Clone, Copy, PartialEq, Eq, Debug)]
#[error("malformed record inside a batch")]
pub struct MalformedRecord;

fn read_record<'a>(rest: &mut &'a [u8], base: TimestampMs) -> Option<Record<'a>> {
    let length = usize::try_from(read_varint(rest)?).ok()?;
    let mut body = rest.get(..length)?;
    *rest = &rest[length..];
    body = body.get(1..)?;
    let timestamp = TimestampMs(base.0.wrapping_add(read_varint(&mut body)?));
    let offset_delta = read_varint(&mut body)?;
    let key = read_optional(&mut body)?;
    let value = read_optional(&mut body)?;
    let count = read_varint(&mut body)?;
    Some(Record {
        offset_delta,
        timestamp,
        key,
        value,
        headers: (count, body),
    })
}

fn read_varint(rest: &mut &[u8]) -> Option<i64> {
    let (value, took) = varint::read(rest)?;
    *rest = &rest[took..];
    Some(value)
}

/// `Some(None)` is a null, `None` is malformed.
fn read_optional<'a>(rest: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    let length = read_varint(rest)?;
    if length == -1 {
        return Some(None);
    }
    let length = usize::try_from(length).ok()?;
    let bytes = rest.get(..length)?;
    *rest = &rest[length..];
    Some(Some(bytes))
}

#[inline]
fn optional_len(bytes: Option<&[u8]>) -> usize {
    bytes.map_or(1, |bytes| varint::len(bytes.len() as i64) + bytes.len())
}

/// Bytes that wait to be written, front first; exactly as many as the record takes.
struct Slots<'a> {
    rest: &'a mut [u8],
}

impl Slots<'_> {
    #[inline]
    fn varint(&mut self, value: i64) {
        let took = varint::put(value, self.rest);
        self.skip(took);
    }

    #[inline]
    fn optional(&mut self, bytes: Option<&[u8]>) {
        match bytes {
            None => self.varint(-1),
            Some(bytes) => {
                self.varint(bytes.len() as i64);
                self.rest[..bytes.len()].copy_from_slice(bytes);
                self.skip(bytes.len());
            }
        }
    }

    #[inline]
    fn skip(&mut self, bytes: usize) {
        self.rest = &mut std::mem::take(&mut self.rest)[bytes..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_back_as_they_went_in() {
        let mut builder = BatchBuilder::new();
        let headers: [RecordHeader<'_>; 2] = [(b"a", Some(b"1")), (b"b", None)];
        builder.push(TimestampMs(10), None, Some(b""), &[]);
        builder.push(TimestampMs(7), Some(b""), None, &headers);
        builder.push(TimestampMs(12), Some(b"k"), Some(&[0xff; 300]), &[]);
        let bytes = builder.finish().to_vec();
        let batch = RecordBatch::parse(&bytes).expect("built by us");
        let all: Vec<_> = records(&batch).map(|r| r.expect("built by us")).collect();
        assert_eq!(
            all.iter().map(|r| r.offset_delta).collect::<Vec<_>>(),
            [0, 1, 2]
        );
        assert_eq!(
            all.iter().map(|r| r.timestamp.0).collect::<Vec<_>>(),
            [10, 7, 12]
        );
        assert_eq!((all[0].key, all[0].value), (None, Some(&b""[..])));
        assert_eq!((all[1].key, all[1].value), (Some(&b""[..]), None));
        assert_eq!(all[1].headers().collect::<Vec<_>>(), headers);
        assert_eq!(all[2].value.map(<[u8]>::len), Some(300));
        assert_eq!(batch.max_timestamp(), TimestampMs(12));
        builder.clear();
        assert!(builder.is_empty() && builder.len() == HEADER_BYTES);
    }

    #[test]
    fn inner_lengths_that_lie_end_in_an_error_not_a_panic() {
        let mut builder = BatchBuilder::new();
        builder.push(
            TimestampMs(0),
            Some(b"key"),
            Some(b"value"),
            &[(b"h", Some(b"v"))],
        );
        let bytes = builder.finish().to_vec();
        for index in HEADER_BYTES..bytes.len() {
            for byte in [0x00, 0x01, 0x7f, 0x80, 0xff] {
                let mut bad = bytes.clone();
                bad[index] = byte;
                let Ok(batch) = RecordBatch::parse(&bad) else {
                    continue;
                };
                for record in records(&batch).flatten() {
                    assert!(record.headers().count() <= 1);
                }
            }
        }
    }
}
