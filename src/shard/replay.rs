//! Reading partitions of our own back: the catalog's, and those of committed offsets.

use crate::base::record::records;
use crate::base::{Body, Offset, RecordBatch};
use crate::catalog::{Catalog, Record};
use crate::io::Io;
use crate::log::{PartitionLog, gather};

const READ_BYTES: u64 = 1 << 20;

/// The catalog from all its records.
pub(super) async fn replay<I: Io>(io: &I, log: &PartitionLog<I>) -> Result<Catalog, String> {
    let mut catalog = Catalog::new();
    let took = read_all(io, log, |found| take(&mut catalog, found)).await;
    took.map(|()| catalog)
}

/// What stands in a partition of our own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Found<'a> {
    /// A record: its key and its value.
    Record(Option<&'a [u8]>, Option<&'a [u8]>),
    /// The place of records that a repair could not keep.
    Lost,
}

/// Shows everything that is stored to `take`. Anything that cannot be understood is an error: what
/// was skipped would look as if it had never been.
pub(super) async fn read_all<I: Io>(
    io: &I,
    log: &PartitionLog<I>,
    mut take: impl FnMut(Found<'_>) -> Result<(), String>,
) -> Result<(), String> {
    let frontiers = log.frontiers();
    let (mut from, until) = (frontiers.start, frontiers.appended);
    let mut body = Body::default();
    while from < until {
        body.clear();
        log.read(from, until, READ_BYTES, &mut body)
            .await
            .map_err(|error| format!("at offset {from}: {error}"))?;
        let bytes = gather(io, &body).await;
        let bytes = bytes.map_err(|error| format!("at offset {from}: {error}"))?;
        from = apply(&bytes, from, &mut take)?;
    }
    Ok(())
}

/// Takes the records of the whole batches from `from` on; returns the offset after them.
fn apply(
    mut bytes: &[u8],
    from: Offset,
    take: &mut impl FnMut(Found<'_>) -> Result<(), String>,
) -> Result<Offset, String> {
    let mut next = from;
    while !bytes.is_empty() {
        let fail = |error: &dyn std::fmt::Display| format!("at offset {next}: {error}");
        let batch = RecordBatch::parse(bytes).map_err(|error| fail(&error))?;
        batch.check().map_err(|error| fail(&error))?;
        if batch.next_offset() <= from {
            // A read may begin earlier than asked.
            bytes = &bytes[batch.bytes().len()..];
            continue;
        }
        if batch.base_offset() != next {
            return Err(fail(&format!("found offset {}", batch.base_offset())));
        }
        if batch.is_control() {
            take(Found::Lost).map_err(|error| fail(&error))?;
        } else {
            for record in records(&batch) {
                let record = record.map_err(|error| fail(&error))?;
                let found = Found::Record(record.key, record.value);
                take(found).map_err(|error| fail(&error))?;
            }
        }
        next = batch.next_offset();
        bytes = &bytes[batch.bytes().len()..];
    }
    if next == from {
        return Err(format!("at offset {from}: nothing to read"));
    }
    Ok(next)
}

/// Each record of the catalog builds on those before it: none may be missing.
fn take(catalog: &mut Catalog, found: Found<'_>) -> Result<(), String> {
    let Found::Record(_, value) = found else {
        return Err("records are lost".to_owned());
    };
    let value = value.ok_or("a record without value")?;
    let record = Record::decode(value).map_err(|error| error.to_string())?;
    let applied = catalog.apply(&record);
    applied.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::gap::markers;
    use crate::base::record::BatchBuilder;
    use crate::base::{TimestampMs, TopicId};

    fn batch(base: u64, values: &[Option<&[u8]>]) -> Vec<u8> {
        let mut builder = BatchBuilder::new();
        for value in values {
            builder.push(TimestampMs(0), None, *value, &[]);
        }
        let mut bytes = builder.finish().to_vec();
        crate::base::batch::stamp(&mut bytes, Offset(base), 0);
        bytes
    }

    #[test]
    fn what_is_not_understood_is_an_error_and_never_skipped() {
        let mut unknown = Vec::new();
        Record::TopicDeleted { id: TopicId(5) }.encode(&mut unknown);
        for (bytes, reason) in [
            (batch(0, &[Some(b"??")]), "bytes where its fields take"),
            (batch(0, &[None]), "without value"),
            (batch(3, &[Some(b"")]), "found offset 3"),
            (batch(0, &[Some(&unknown)]), "did not exist"),
            (Vec::new(), "nothing to read"),
            (markers(Offset(0), Offset(3), 0), "records are lost"),
        ] {
            let mut catalog = Catalog::new();
            let mut take = |found: Found<'_>| take(&mut catalog, found);
            let error = apply(&bytes, Offset(0), &mut take).expect_err(reason);
            assert!(error.contains(reason), "{error}");
        }
    }
}
