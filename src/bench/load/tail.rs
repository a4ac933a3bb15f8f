//! A connection that reads what producers send, as it comes: one fetch over its partitions, which waits at the broker.

use super::ends::lost;
use super::read::{FETCH_BYTES, mean_message_bytes, step};
use super::shift::{Link, Shift};
use super::{LoadError, Shared};
use crate::base::{Offset, PartitionKey, RecordBatch};
use crate::bench::batches::read_stamp;
use crate::client::{FetchPartition, FetchRequest};
use crate::io::{Io, Monotonic};
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How long a fetch waits at the broker: as long as the end of the load may go unseen.
const WAIT_MAX: Duration = Duration::from_millis(100);

pub(super) fn start(shift: Rc<Shift>, link: Link) {
    let io = shift.io.clone();
    io.spawn(async move {
        match follow_tail(&shift, link).await {
            Ok(()) => shift.leave(),
            Err(cause) => shift.fail(cause),
        }
    });
}

async fn follow_tail(shift: &Shift, mut link: Link) -> Result<(), LoadError> {
    let address = link.job.address;
    let partitions = link.job.keys.iter().map(|key| FetchPartition {
        key: *key,
        from: Offset(0),
        bytes_max: FETCH_BYTES,
    });
    let mut request = FetchRequest {
        partitions: partitions.collect(),
        bytes_min: 1,
        wait_max: WAIT_MAX,
        bytes_max: FETCH_BYTES,
    };
    while !is_over(&shift.shared) {
        let asked = link.sender.fetch(&request).await;
        asked.map_err(|cause| lost(address, cause))?;
        let mut at = None;
        let took = link.receiver.fetched(&link.job.keys, |place, batches| {
            // When the first of them is looked at, all of them have come.
            let at = *at.get_or_insert_with(|| shift.io.now());
            let from = &mut request.partitions[place].from;
            take(shift, link.job.keys[place], from, batches, at)
        });
        took.await?;
    }
    Ok(())
}

/// Every acked batch has been delivered, and no more will be acked.
pub(super) fn is_over(shared: &Shared) -> bool {
    shared.producers_left.load(Ordering::Acquire) == 0 && shared.undelivered() == 0
}

fn take(
    shift: &Shift,
    key: PartitionKey,
    from: &mut Offset,
    mut rest: &[u8],
    at: Monotonic,
) -> Result<(), LoadError> {
    let mut is_first = true;
    while !rest.is_empty() {
        let damaged = |cause| LoadError::Damaged {
            key,
            at: *from,
            cause,
        };
        let batch = RecordBatch::parse(rest).map_err(damaged)?;
        batch.check_crc().map_err(damaged)?;
        *from = step(key, *from, &batch, is_first)?;
        deliver(shift, &batch, at)?;
        is_first = false;
        rest = &rest[batch.bytes().len()..];
    }
    Ok(())
}

fn deliver(shift: &Shift, batch: &RecordBatch<'_>, at: Monotonic) -> Result<(), LoadError> {
    let messages = u64::from(batch.count());
    let payload_bytes = (messages as f64 * mean_message_bytes(shift)) as u64;
    let due = read_stamp(batch).expect("the checksum is right and the producer wrote it");
    shift
        .tally
        .borrow_mut()
        .deliver(due, at, messages, payload_bytes);
    let shared = &shift.shared;
    shared.messages.fetch_add(messages, Ordering::Relaxed);
    shared.delivered_batches.fetch_add(1, Ordering::Relaxed);
    Ok(())
}
