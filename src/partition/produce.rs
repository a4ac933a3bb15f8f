//! What a produce must look like before any of it is appended.

use crate::base::batch::CONTROL;
use crate::base::{BatchError, RecordBatch};
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
    numbered: Option<Numbered>,
}

impl<'a> CheckedBatches<'a> {
    /// Checks every batch in `bytes`, to the last byte. One pass; nothing is copied.
    pub fn check(bytes: &'a [u8]) -> Result<Self, ProduceRefusal> {
        let (mut rest, mut batches, mut records) = (bytes, 0, 0);
        let mut numbered = None;
        while !rest.is_empty() {
            let batch = RecordBatch::parse(rest)?;
            check_producible(&batch)?;
            batch.check()?;
            numbered = numbered.or(Numbered::of(&batch));
            batches += 1;
            records += u64::from(batch.count());
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
            numbered,
        })
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
/// producer could eat 2^31 offsets with one record), a transaction's marker, or part of a transaction, which nobody
/// here would ever commit.
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
    if attributes & (CONTROL | TRANSACTIONAL) != 0 {
        return Err(BatchError::Attributes(attributes));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::TimestampMs;
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
}
