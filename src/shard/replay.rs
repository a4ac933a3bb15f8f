//! Reading the catalog back from its partition.

use crate::base::record::records;
use crate::base::{Body, Offset, Part, RecordBatch};
use crate::catalog::{Catalog, Record};
use crate::io::Io;
use crate::log::{Chunk, PartitionLog};

const READ_BYTES: u64 = 1 << 20;

/// All stored records, applied. Anything that cannot be understood is an error: a topic that was skipped would look
/// like one that never was.
pub(super) async fn replay<I: Io>(io: &I, log: &PartitionLog<I>) -> Result<Catalog, String> {
    let frontiers = log.frontiers();
    let (mut from, until) = (frontiers.start, frontiers.appended);
    let mut catalog = Catalog::new();
    let mut body = Body::default();
    while from < until {
        body.clear();
        log.read(from, until, READ_BYTES, &mut body)
            .await
            .map_err(|error| format!("at offset {from}: {error}"))?;
        let bytes = gather::<I>(io, &body).await?;
        from = apply(&mut catalog, &bytes, from)?;
    }
    Ok(catalog)
}

/// The bytes of a body in one piece.
pub(super) async fn gather<I: Io>(
    io: &I,
    body: &Body<Chunk<I>, I::Source>,
) -> Result<Vec<u8>, String> {
    let mut all = Vec::with_capacity(body.bytes as usize);
    for part in &body.parts {
        match part {
            Part::Memory { chunk, from, until } => {
                all.extend_from_slice(&chunk.as_ref()[*from..*until]);
            }
            Part::Copied { from, until } => all.extend_from_slice(&body.copied[*from..*until]),
            Part::File {
                source,
                position,
                bytes,
            } => {
                let read = io.read_source(source, *position, *bytes as usize).await;
                let read = read.map_err(|error| format!("cannot read: {error}"))?;
                if read.len() as u64 != *bytes {
                    return Err("the file ends too early".to_owned());
                }
                all.extend_from_slice(&read);
            }
        }
    }
    Ok(all)
}

/// Applies the whole batches from `from` on; returns the offset after them.
fn apply(catalog: &mut Catalog, mut bytes: &[u8], from: Offset) -> Result<Offset, String> {
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
        for record in records(&batch) {
            let record = record.map_err(|error| fail(&error))?;
            let value = record
                .value
                .ok_or_else(|| fail(&"a record without value"))?;
            let record = Record::decode(value).map_err(|error| fail(&error))?;
            catalog.apply(&record).map_err(|error| fail(&error))?;
        }
        next = batch.next_offset();
        bytes = &bytes[batch.bytes().len()..];
    }
    if next == from {
        return Err(format!("at offset {from}: nothing to read"));
    }
    Ok(next)
}

#[cfg(test)]
mod tests {
    use super::*;
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
        ] {
            let error = apply(&mut Catalog::new(), &bytes, Offset(0)).expect_err(reason);
            assert!(error.contains(reason), "{error}");
        }
    }
}
