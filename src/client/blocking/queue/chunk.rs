//! What one reply brought, and its records.

use super::{QueueRecord, Receipt};
use crate::base::record::records;
use crate::base::unpack::unpack;
use crate::base::{Offset, RecordBatch};
use crate::client::ClientError;
use crate::client::blocking::consumer::Record;
use crate::protocol::native::Delivered;
use std::ops::Range;

/// What is handed out in one go is unpacked so far, and one batch further.
const UNPACKED_BYTES: usize = 32 << 20;

/// Deliveries of one lane as they came.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) lane: u16,
    pub(super) epoch: u64,
    pub(super) buffer: Vec<u8>,
    pub(super) deliveries: Vec<(Delivered, Range<usize>)>,
    /// The delivery that is opened next, and where in it.
    at: (usize, usize),
    /// Records of it that were counted.
    counted: u64,
}

/// A part of a chunk that is handed out: checked, and unpacked.
#[derive(Debug, Default)]
pub(super) struct Portion {
    unpacked: Vec<u8>,
    parts: Vec<Part>,
}

#[derive(Debug)]
enum Part {
    /// One batch of this delivery, and where it lies.
    Batch {
        delivery: usize,
        bytes: Range<usize>,
        is_unpacked: bool,
    },
    /// The rest of this delivery cannot be read: from where on, whether it is compressed, and why.
    Bad(usize, Offset, bool, String),
}

impl Portion {
    pub(super) fn clear(&mut self) {
        self.unpacked.clear();
        self.parts.clear();
    }
}

impl Chunk {
    pub(super) fn new(lane: u16, epoch: u64) -> Self {
        Self {
            lane,
            epoch,
            buffer: Vec::new(),
            deliveries: Vec::new(),
            at: (0, 0),
            counted: 0,
        }
    }

    pub(super) fn push(&mut self, delivered: Delivered, batches: &[u8]) {
        let begin = self.buffer.len();
        self.buffer.extend_from_slice(batches);
        self.deliveries.push((delivered, begin..self.buffer.len()));
    }

    /// Whether all of it was opened.
    pub(super) fn is_used_up(&self) -> bool {
        self.at.0 == self.deliveries.len()
    }

    /// Opens the next portion. Returns how many offsets nobody has to answer for: those without a record, and, if it is all
    /// acked already, all.
    pub(super) fn open(&mut self, is_acked: bool, portion: &mut Portion) -> u64 {
        let mut done = 0;
        while let Some((delivered, bytes)) = self.deliveries.get(self.at.0) {
            if portion.unpacked.len() >= UNPACKED_BYTES {
                break;
            }
            let (begin, end) = (bytes.start + self.at.1, bytes.end);
            let batches = &self.buffer[begin..end];
            let opened = (!batches.is_empty())
                .then(|| open_batch(batches, delivered, &mut portion.unpacked));
            match opened {
                Some(Ok(opened)) => {
                    portion.parts.push(Part::Batch {
                        delivery: self.at.0,
                        bytes: opened
                            .unpacked
                            .clone()
                            .unwrap_or(begin..begin + opened.bytes),
                        is_unpacked: opened.unpacked.is_some(),
                    });
                    self.counted += opened.count;
                    self.at.1 += opened.bytes;
                    continue;
                }
                None => {
                    let offsets = delivered.span.until.0 - delivered.span.from.0;
                    done += match is_acked {
                        true => offsets,
                        false => offsets.saturating_sub(self.counted),
                    };
                }
                Some(Err((at, is_compressed, cause))) => {
                    let bad = Part::Bad(self.at.0, at, is_compressed, cause);
                    portion.parts.push(bad);
                }
            }
            self.at = (self.at.0 + 1, 0);
            self.counted = 0;
        }
        done
    }

    /// The records of an opened portion. Nothing is copied or allocated but the text of an error.
    pub(super) fn records<'a>(
        &'a self,
        topic: &'a str,
        portion: &'a Portion,
    ) -> impl Iterator<Item = Result<QueueRecord<'a>, ClientError>> + use<'a> {
        portion.parts.iter().flat_map(move |part| {
            let (bad, good) = match part {
                Part::Bad(delivery, at, is_compressed, cause) => {
                    let partition = self.deliveries[*delivery].0.partition.0;
                    let topic = topic.to_owned();
                    let error = unreadable(topic, partition, *at, *is_compressed, cause.clone());
                    (Some(Err(error)), None)
                }
                Part::Batch {
                    delivery,
                    bytes,
                    is_unpacked,
                } => {
                    let buffer = match is_unpacked {
                        true => &portion.unpacked,
                        false => &self.buffer,
                    };
                    let delivered = &self.deliveries[*delivery].0;
                    let batch = &buffer[bytes.clone()];
                    (None, Some(self.batch(topic, delivered, batch)))
                }
            };
            bad.into_iter().chain(good.into_iter().flatten())
        })
    }

    fn batch<'a>(
        &'a self,
        topic: &'a str,
        delivered: &'a Delivered,
        bytes: &'a [u8],
    ) -> impl Iterator<Item = Result<QueueRecord<'a>, ClientError>> + use<'a> {
        let batch = RecordBatch::parse(bytes).expect("it was parsed when it was opened");
        let base = batch.base_offset();
        let partition = delivered.partition.0;
        let span = delivered.span;
        records(&batch).filter_map(move |inner| {
            let inner = match inner {
                Ok(inner) => inner,
                Err(error) => {
                    let cause = error.to_string();
                    let topic = topic.to_owned();
                    return Some(Err(unreadable(topic, partition, base, false, cause)));
                }
            };
            let offset = Offset(base.0.wrapping_add(inner.offset_delta as u64));
            (span.from..span.until).contains(&offset).then(|| {
                Ok(QueueRecord {
                    record: Record::new(topic, partition, offset, inner),
                    first: delivered.first,
                    receipt: Receipt {
                        partition,
                        offset,
                        deliveries: span.deliveries,
                        lane: self.lane,
                        epoch: self.epoch,
                    },
                })
            })
        })
    }
}

/// One batch of a delivery.
struct Opened {
    /// How long it is as it came.
    bytes: usize,
    /// Where it is unpacked, if it was compressed.
    unpacked: Option<Range<usize>>,
    /// How many of its records are meant.
    count: u64,
}

/// Checks the batch at the front of `bytes`, and unpacks it if it is compressed; else the offset where reading ends, whether
/// it is compressed, and why.
fn open_batch(
    bytes: &[u8],
    delivered: &Delivered,
    unpacked: &mut Vec<u8>,
) -> Result<Opened, (Offset, bool, String)> {
    let span = delivered.span;
    let parsed = RecordBatch::parse(bytes);
    let batch = parsed.and_then(|batch| batch.check().map(|()| batch));
    let batch = batch.map_err(|error| (span.from, false, error.to_string()))?;
    let begin = unpacked.len();
    if batch.is_compressed() {
        let done = unpack(&batch, unpacked);
        done.map_err(|error| (batch.base_offset(), true, error.to_string()))?;
    }
    let is_whole = span.from <= batch.base_offset()
        && batch.next_offset() <= span.until
        && batch.count() == batch.offsets_taken();
    let count = match is_whole {
        true => u64::from(batch.count()),
        false => {
            let plain = match batch.is_compressed() {
                true => RecordBatch::parse(&unpacked[begin..])
                    .map_err(|error| (batch.base_offset(), true, error.to_string()))?,
                false => batch,
            };
            let base = plain.base_offset().0;
            let meant = records(&plain).flatten().filter(|record| {
                let offset = Offset(base.wrapping_add(record.offset_delta as u64));
                (span.from..span.until).contains(&offset)
            });
            meant.count() as u64
        }
    };
    Ok(Opened {
        bytes: batch.bytes().len(),
        unpacked: batch.is_compressed().then_some(begin..unpacked.len()),
        count,
    })
}

fn unreadable(
    topic: String,
    partition: u32,
    offset: Offset,
    is_compressed: bool,
    cause: String,
) -> ClientError {
    match is_compressed {
        true => ClientError::Compressed {
            topic,
            partition,
            offset,
            cause,
        },
        false => ClientError::Damaged {
            topic,
            partition,
            offset,
            cause,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::batch::{HEADER_BYTES, stamp};
    use crate::base::checksum::crc32c;
    use crate::base::queue::Span;
    use crate::base::record::BatchBuilder;
    use crate::base::{PartitionNo, TimestampMs};

    /// A batch of so many records from `base` on, each with its offset as its value.
    fn batch(base: u64, count: u64) -> Vec<u8> {
        let mut builder = BatchBuilder::new();
        for offset in base..base + count {
            let value = offset.to_string();
            builder.push(TimestampMs(5), None, Some(value.as_bytes()), &[]);
        }
        let mut bytes = builder.finish().to_vec();
        stamp(&mut bytes, Offset(base), 0);
        bytes
    }

    /// The same, compressed by zstd.
    fn packed(base: u64, count: u64) -> Vec<u8> {
        let plain = batch(base, count);
        let (header, records) = plain.split_at(HEADER_BYTES);
        let records = zstd::encode_all(records, 3).expect("memory");
        let mut bytes = [header, &records].concat();
        let length = (bytes.len() - 12) as i32;
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        bytes[22] = 4;
        let crc = crc32c(&bytes[21..]);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        bytes
    }

    fn delivered(from: u64, until: u64, deliveries: u32) -> Delivered {
        Delivered {
            partition: PartitionNo(3),
            span: Span {
                from: Offset(from),
                until: Offset(until),
                deliveries,
            },
            first: TimestampMs(77),
            bytes: 0,
        }
    }

    fn chunk(deliveries: &[(Delivered, &[u8])]) -> Chunk {
        let mut chunk = Chunk::new(1, 9);
        for (delivered, batches) in deliveries {
            chunk.push(*delivered, batches);
        }
        chunk
    }

    /// Opens the next portion: values with their deliveries, errors, and how many offsets need no answer.
    fn open(chunk: &mut Chunk, is_acked: bool) -> (Vec<(u64, u32)>, Vec<String>, u64) {
        let mut portion = Portion::default();
        let done = chunk.open(is_acked, &mut portion);
        let (mut values, mut errors) = (Vec::new(), Vec::new());
        for record in chunk.records("work", &portion) {
            match record {
                Ok(QueueRecord {
                    record,
                    first,
                    receipt,
                }) => {
                    let value = std::str::from_utf8(record.value.expect("has one"));
                    let value = value.expect("digits").parse().expect("digits");
                    assert_eq!(
                        (record.offset, receipt.offset),
                        (Offset(value), Offset(value))
                    );
                    assert_eq!((record.partition, first), (3, TimestampMs(77)));
                    assert_eq!((receipt.lane, receipt.epoch), (1, 9));
                    values.push((value, receipt.deliveries));
                }
                Err(error) => errors.push(error.to_string()),
            }
        }
        (values, errors, done)
    }

    fn numbered(values: std::ops::Range<u64>, deliveries: u32) -> Vec<(u64, u32)> {
        values.map(|value| (value, deliveries)).collect()
    }

    #[test]
    fn only_the_records_of_the_span_are_handed_out_compressed_or_not() {
        for whole in [batch(10, 10), packed(10, 10)] {
            let mut one = chunk(&[(delivered(12, 15, 2), &whole)]);
            assert_eq!(open(&mut one, false), (numbered(12..15, 2), vec![], 0));
            assert!(one.is_used_up());
        }
        let both = [batch(0, 3), packed(3, 4)].concat();
        let mut two = chunk(&[
            (delivered(0, 7, 1), &both),
            (delivered(8, 9, 4), &batch(8, 1)),
        ]);
        let wanted = [numbered(0..7, 1), numbered(8..9, 4)].concat();
        assert_eq!(open(&mut two, false), (wanted, vec![], 0));
    }

    #[test]
    fn offsets_without_a_record_need_no_answer_nor_does_what_is_acked() {
        let gaps = [batch(1, 2), packed(6, 2)].concat();
        let mut some = chunk(&[(delivered(0, 8, 1), &gaps)]);
        let wanted = [numbered(1..3, 1), numbered(6..8, 1)].concat();
        assert_eq!(open(&mut some, false), (wanted.clone(), vec![], 4));
        let mut acked = chunk(&[(delivered(0, 8, 1), &gaps)]);
        assert_eq!(open(&mut acked, true), (wanted, vec![], 8));
    }

    #[test]
    fn what_cannot_be_read_is_an_error_in_its_place_and_the_next_delivery_follows() {
        let mut bad = batch(2, 2);
        *bad.last_mut().expect("not empty") ^= 1;
        let bytes = [batch(0, 2), bad].concat();
        let mut some = chunk(&[
            (delivered(0, 4, 1), &bytes),
            (delivered(4, 5, 1), &batch(4, 1)),
        ]);
        let (values, errors, done) = open(&mut some, false);
        assert_eq!(values, [numbered(0..2, 1), numbered(4..5, 1)].concat());
        assert!(
            errors.len() == 1 && errors[0].contains("topic work partition 3"),
            "{errors:?}"
        );
        assert_eq!(done, 0, "who cannot read them does not know what they are");
    }

    #[test]
    fn much_that_unpacks_comes_in_portions() {
        let value = vec![0; 7 << 20];
        let large = |base: u64| {
            let mut builder = BatchBuilder::new();
            builder.push(TimestampMs(5), None, Some(&value), &[]);
            let plain = builder.finish().to_vec();
            let (header, records) = plain.split_at(HEADER_BYTES);
            let records = zstd::encode_all(records, 1).expect("memory");
            let mut bytes = [header, &records].concat();
            let length = (bytes.len() - 12) as i32;
            bytes[8..12].copy_from_slice(&length.to_be_bytes());
            bytes[22] = 4;
            let crc = crc32c(&bytes[21..]);
            bytes[17..21].copy_from_slice(&crc.to_be_bytes());
            stamp(&mut bytes, Offset(base), 0);
            bytes
        };
        let all: Vec<u8> = (0..12).flat_map(large).collect();
        let mut chunk = chunk(&[(delivered(0, 12, 1), &all)]);
        let mut counts = Vec::new();
        while !chunk.is_used_up() {
            let mut portion = Portion::default();
            assert_eq!(chunk.open(false, &mut portion), 0);
            assert!(portion.unpacked.len() < UNPACKED_BYTES + (8 << 20));
            let found = chunk
                .records("work", &portion)
                .map(|one| one.expect("good"));
            counts.push(found.count());
        }
        assert_eq!(counts.iter().sum::<usize>(), 12);
        assert!(counts.len() >= 2, "{counts:?}");
    }
}
