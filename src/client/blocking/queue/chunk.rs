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
