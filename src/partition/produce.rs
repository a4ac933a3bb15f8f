//! What a produce must look like before any of it is appended.

use crate::base::batch::{APPEND_TIME, CONTROL};
use crate::base::limits::TIMESTAMP_SPAN_MS_MAX;
use crate::base::record::records;
use crate::base::{BatchError, RecordBatch, TimestampMs, TopicSettings};
use crate::partition::Numbered;
use thiserror::Error;

/// Attribute bit of batches inside a transaction.
const TRANSACTIONAL: i16 = 0x10;

/// Why a produce is refused.
#[derive(Error, Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProduceRefusal {
    /// No batch at all.
    #[error("a produce carries at least one record batch")]
    Empty,
    /// A batch of a producer that numbers its records is one of several: which of them were taken before could not be told.
    #[error("a batch of a numbered producer comes alone")]
    Numbered,
    /// A batch is larger than its topic takes.
    #[error("a batch of {bytes} bytes, the topic takes {bytes_max}")]
    TooLarge {
        /// Of the batch.
        bytes: usize,
        /// The topic's limit.
        bytes_max: u32,
    },
    /// A record's timestamp is too far from the broker's time for its topic.
    #[error("timestamp {timestamp} is too far from {now}")]
    Timestamp {
        /// Which record of its batch; unknown in a compressed one.
        record: Option<u32>,
        /// Its timestamp.
        timestamp: TimestampMs,
        /// The broker's time.
        now: TimestampMs,
    },
    /// A batch is not fit to be stored.
    #[error(transparent)]
    Batch(#[from] BatchError),
}

/// One or more record batches, back to back, of which every one was checked whole: header, checksum, counts.
#[derive(Clone, Copy, Debug)]
pub struct CheckedBatches<'a> {
    bytes: &'a [u8],
    batches: u32,
    records: u64,
    /// Of the largest batch.
    largest_bytes: usize,
    numbered: Option<Numbered>,
}

impl<'a> CheckedBatches<'a> {
    /// Checks every batch in `bytes`, to the last byte. One pass; nothing is copied.
    pub fn check(bytes: &'a [u8]) -> Result<Self, ProduceRefusal> {
        let (mut rest, mut batches, mut records) = (bytes, 0, 0);
        let (mut numbered, mut largest_bytes) = (None, 0);
        while !rest.is_empty() {
            let batch = RecordBatch::parse(rest)?;
            check_producible(&batch)?;
            batch.check()?;
            numbered = numbered.or(Numbered::of(&batch));
            batches += 1;
            records += u64::from(batch.count());
            largest_bytes = largest_bytes.max(batch.bytes().len());
            rest = &rest[batch.bytes().len()..];
        }
        if batches == 0 {
            return Err(ProduceRefusal::Empty);
        }
        if batches > 1 && numbered.is_some() {
            return Err(ProduceRefusal::Numbered);
        }
        Ok(Self {
            bytes,
            batches,
            records,
            largest_bytes,
            numbered,
        })
    }

    /// Holds the batches against what their topic is set to. `now` is the broker's time, and matters only if
    /// [`TopicSettings::needs_time`].
    pub fn admit(&self, settings: &TopicSettings, now: TimestampMs) -> Result<(), ProduceRefusal> {
        let (bytes, bytes_max) = (self.largest_bytes, settings.batch_bytes_max);
        if bytes > bytes_max as usize {
            return Err(ProduceRefusal::TooLarge { bytes, bytes_max });
        }
        if settings.limits_timestamps() {
            for batch in self.iter() {
                check_timestamps(&batch, settings, now)?;
            }
        }
        Ok(())
    }

    /// The batches, in order.
    pub fn iter(&self) -> impl Iterator<Item = RecordBatch<'a>> + use<'a> {
        let mut rest = self.bytes;
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let batch = RecordBatch::parse(rest).expect("checked when the view was made");
            rest = &rest[batch.bytes().len()..];
            Some(batch)
        })
    }

    /// Their bytes in all.
    pub fn bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// How many batches.
    pub fn batches(&self) -> u32 {
        self.batches
    }

    /// What the only batch says about its producer, if he numbers his records.
    pub fn numbered(&self) -> Option<Numbered> {
        self.numbered
    }

    /// How many records.
    pub fn records(&self) -> u64 {
        self.records
    }
}

/// What a stored batch may be and a produced one may not: holes between its offsets (only compaction makes them; a
/// producer could eat 2^31 offsets with one record), a transaction's marker, part of a transaction, which nobody here
/// would ever commit, or one with the time of an append, which is the broker's to give.
fn check_producible(batch: &RecordBatch<'_>) -> Result<(), BatchError> {
    if batch.offsets_taken() != batch.count() {
        return Err(BatchError::Counts(
            "a produced batch takes one offset for each record",
        ));
    }
    let has_id = batch.header().producer_id.get() >= 0;
    if has_id && Numbered::of(batch).is_none() {
        return Err(BatchError::Counts(
            "a producer with an id has an epoch and numbers its records",
        ));
    }
    let attributes = batch.header().attributes.get();
    if attributes & (CONTROL | TRANSACTIONAL | APPEND_TIME) != 0 {
        return Err(BatchError::Attributes(attributes));
    }
    Ok(())
}

/// Looks at every record of a batch; of a compressed one at what its header says of the first and the youngest, since
/// nothing is decompressed on a core.
fn check_timestamps(
    batch: &RecordBatch<'_>,
    settings: &TopicSettings,
    now: TimestampMs,
) -> Result<(), ProduceRefusal> {
    let check =
        |record: Option<u32>, timestamp: TimestampMs| match is_near(timestamp, settings, now) {
            true => Ok(()),
            false => Err(ProduceRefusal::Timestamp {
                record,
                timestamp,
                now,
            }),
        };
    if batch.is_compressed() {
        check(Some(0), batch.base_timestamp())?;
        return check(None, batch.max_timestamp());
    }
    for (number, record) in (0..).zip(records(batch)) {
        let record = record.map_err(|_| BatchError::Counts("a record's inner lengths"))?;
        check(Some(number), record.timestamp)?;
    }
    Ok(())
}

/// A record without a timestamp, which is -1, is near.
fn is_near(timestamp: TimestampMs, settings: &TopicSettings, now: TimestampMs) -> bool {
    let (distance, limit) = match timestamp < now {
        true => (
            now.0.abs_diff(timestamp.0),
            settings.timestamp_before_ms_max,
        ),
        false => (timestamp.0.abs_diff(now.0), settings.timestamp_after_ms_max),
    };
    timestamp.0 == -1 || distance <= limit || limit == TIMESTAMP_SPAN_MS_MAX
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::TimestampMs;
    use crate::base::TimestampType;
    use crate::base::batch::CRC_START;
    use crate::base::checksum::crc32c;
    use crate::base::record::BatchBuilder;

    fn batch(records: usize) -> Vec<u8> {
        let mut builder = BatchBuilder::new();
        for i in 0..records {
            builder.push(TimestampMs(i as i64), None, Some(b"value"), &[]);
        }
        builder.finish().to_vec()
    }

    fn reseal(bytes: &mut [u8]) {
        let crc = crc32c(&bytes[CRC_START..]);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    }

    #[test]
    fn several_batches_are_counted_and_come_back() {
        let bytes = [batch(3), batch(1), batch(7)].concat();
        let checked = CheckedBatches::check(&bytes).expect("built by us");
        assert_eq!((checked.batches(), checked.records()), (3, 11));
        assert_eq!(checked.bytes(), bytes.len() as u64);
        let counts: Vec<u32> = checked.iter().map(|batch| batch.count()).collect();
        assert_eq!(counts, [3, 1, 7]);
    }

    #[test]
    fn one_bad_batch_refuses_all() {
        let first = batch(3);
        let bytes = [first.clone(), batch(2)].concat();
        for cut in 0..bytes.len() {
            let whole = cut == first.len();
            assert_eq!(CheckedBatches::check(&bytes[..cut]).is_ok(), whole, "{cut}");
        }
        let mut bad = bytes.clone();
        *bad.last_mut().expect("not empty") ^= 1;
        assert!(matches!(
            CheckedBatches::check(&bad),
            Err(ProduceRefusal::Batch(BatchError::Crc { .. }))
        ));
        assert_eq!(
            CheckedBatches::check(&[]).err(),
            Some(ProduceRefusal::Empty)
        );
    }

    #[test]
    fn holes_markers_and_transactions_are_refused() {
        let mut holes = batch(2);
        holes[23..27].copy_from_slice(&5i32.to_be_bytes());
        reseal(&mut holes);
        let mut control = batch(2);
        control[22] |= 0x20;
        reseal(&mut control);
        let mut transactional = batch(2);
        transactional[22] |= 0x10;
        reseal(&mut transactional);
        for bad in [holes, control, transactional] {
            RecordBatch::parse(&bad)
                .and_then(|batch| batch.check())
                .expect("fit to be stored");
            assert!(CheckedBatches::check(&bad).is_err());
        }
    }

    #[test]
    fn timestamps_are_held_against_the_brokers_time() {
        let bytes = batch(11);
        let batches = CheckedBatches::check(&bytes).expect("built by us");
        let limits = |before, after| TopicSettings {
            timestamp_before_ms_max: before,
            timestamp_after_ms_max: after,
            ..TopicSettings::default()
        };
        let admitted = |settings, now| batches.admit(&settings, TimestampMs(now));
        let refused = |record: u32, now| {
            Err(ProduceRefusal::Timestamp {
                record: Some(record),
                timestamp: TimestampMs(i64::from(record)),
                now: TimestampMs(now),
            })
        };
        // The records are of 0 to 10 ms.
        assert_eq!(admitted(limits(5, 5), 5), Ok(()));
        assert_eq!(admitted(limits(4, 5), 5), refused(0, 5));
        assert_eq!(admitted(limits(5, 3), 5), refused(9, 5));
        assert_eq!(admitted(limits(5, u64::MAX >> 1), i64::MIN), Ok(()));
        assert_eq!(admitted(limits(u64::MAX >> 1, 0), i64::MAX), Ok(()));
        let append = TopicSettings {
            timestamp_type: TimestampType::Append,
            ..limits(0, 0)
        };
        assert_eq!(admitted(append, 5), Ok(()), "they do not stay");
        let mut builder = BatchBuilder::new();
        builder.push(TimestampMs(-1), None, None, &[]);
        let bytes = builder.finish().to_vec();
        let without = CheckedBatches::check(&bytes).expect("built by us");
        assert_eq!(without.admit(&limits(0, 0), TimestampMs(1_000)), Ok(()));
    }

    #[test]
    fn a_compressed_batch_is_held_to_what_its_header_says() {
        let mut bytes = batch(11);
        bytes[22] |= 4;
        let crc = crc32c(&bytes[CRC_START..]);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        let batches = CheckedBatches::check(&bytes).expect("its records are not looked at");
        let admitted = |before, after| {
            let settings = TopicSettings {
                timestamp_before_ms_max: before,
                timestamp_after_ms_max: after,
                ..TopicSettings::default()
            };
            batches.admit(&settings, TimestampMs(5))
        };
        assert_eq!(admitted(5, 5), Ok(()));
        let refused = |record, timestamp| {
            Err(ProduceRefusal::Timestamp {
                record,
                timestamp: TimestampMs(timestamp),
                now: TimestampMs(5),
            })
        };
        assert_eq!(admitted(4, 5), refused(Some(0), 0));
        assert_eq!(admitted(5, 4), refused(None, 10));
    }

    #[test]
    fn a_batch_as_large_as_the_topic_takes_is_taken() {
        let bytes = [batch(3), batch(300), batch(5)].concat();
        let batches = CheckedBatches::check(&bytes).expect("built by us");
        let largest = batch(300).len();
        let admitted = |bytes_max: usize| {
            let settings = TopicSettings {
                batch_bytes_max: bytes_max as u32,
                ..TopicSettings::default()
            };
            batches.admit(&settings, TimestampMs(0))
        };
        assert_eq!(admitted(largest), Ok(()));
        let refusal = ProduceRefusal::TooLarge {
            bytes: largest,
            bytes_max: largest as u32 - 1,
        };
        assert_eq!(admitted(largest - 1), Err(refusal));
    }
}
