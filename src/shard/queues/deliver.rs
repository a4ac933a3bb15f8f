//! Reading the records of a delivery out of their topic.

use crate::base::slice::slice;
use crate::base::{Body, Offset, RecordBatch};
use crate::engine::{EngineError, FetchPartition, FetchedPartition};
use crate::io::Io;
use crate::log::{Portion, gather};
use crate::queue::Span;
use crate::shard::core::Core;
use crate::shard::hosted::Hosted;

/// Less than this is not read at a time: small batches come together.
const READ_BYTES_MIN: u64 = 16 << 10;

/// Whole batches from the one that holds `from` on, about `bytes_max` bytes but at least one; none at the end of what can
/// be read.
pub(super) async fn read<I: Io>(
    core: &Core<I>,
    source: &Hosted<I>,
    from: Offset,
    bytes_max: u32,
) -> Result<Vec<u8>, EngineError> {
    let asked = FetchPartition {
        key: source.key(),
        from,
        bytes_max,
    };
    let mut fetched = FetchedPartition {
        key: asked.key,
        error: None,
        high_watermark: Offset(0),
        log_start: Offset(0),
        body: Body::default(),
    };
    let portion = Portion {
        bytes_max: u64::from(bytes_max),
        at_least_a_batch: true,
    };
    source.read(&asked, portion, &mut fetched).await;
    if let Some(error) = fetched.error {
        return Err(error);
    }
    let bytes = gather(&core.io, &fetched.body).await;
    bytes.map_err(|error| EngineError::StorageFailed(error.to_string()))
}

/// What was read of a span.
#[derive(Debug, Default)]
pub(super) struct Served {
    /// Everything of the span below is in the bytes, or is no record.
    pub(super) until: Offset,
    /// Offsets of it that are no records.
    pub(super) absent: Vec<(Offset, Offset)>,
}

/// Appends the records of a span to `out`, as batches, until there are about `bytes_max` bytes of them: a batch that belongs
/// to it as a whole as it is, of another one its part. Of a compressed batch there are no parts: it comes whole.
pub(super) async fn append<I: Io>(
    core: &Core<I>,
    source: &Hosted<I>,
    span: &Span,
    bytes_max: usize,
    out: &mut Vec<u8>,
) -> Result<Served, EngineError> {
    let begin = out.len();
    let mut served = Served {
        until: span.from,
        absent: Vec::new(),
    };
    while served.until < span.until && (out.len() - begin < bytes_max || out.len() == begin) {
        let estimate = source.log().bytes_between(served.until, span.until);
        let left = bytes_max.saturating_sub(out.len() - begin) as u64;
        let wanted = estimate.max(READ_BYTES_MIN).min(left.max(1)) as u32;
        let bytes = read(core, source, served.until, wanted).await?;
        if bytes.is_empty() {
            return Err(EngineError::Damaged(format!(
                "{} has nothing at offset {}",
                source.key(),
                served.until
            )));
        }
        take(&bytes, span, &mut served, out)?;
    }
    Ok(served)
}

/// Takes what belongs to the span out of whole batches.
fn take(
    mut bytes: &[u8],
    span: &Span,
    served: &mut Served,
    out: &mut Vec<u8>,
) -> Result<(), EngineError> {
    while !bytes.is_empty() && served.until < span.until {
        let batch = RecordBatch::parse(bytes);
        let batch = batch.map_err(|error| EngineError::Damaged(error.to_string()))?;
        bytes = &bytes[batch.bytes().len()..];
        if batch.next_offset() <= served.until {
            continue;
        }
        let begin = batch.base_offset().min(span.until);
        if served.until < begin {
            served.absent.push((served.until, begin));
            served.until = begin;
        }
        let end = batch.next_offset().min(span.until);
        if batch.is_control() {
            served.absent.push((served.until, end));
        } else if batch.is_compressed()
            || batch.base_offset() >= span.from && batch.next_offset() <= span.until
        {
            out.extend_from_slice(batch.bytes());
        } else {
            let cut = slice(&batch, served.until, end, out);
            cut.map_err(|error| EngineError::Damaged(error.to_string()))?;
        }
        served.until = end;
    }
    Ok(())
}
