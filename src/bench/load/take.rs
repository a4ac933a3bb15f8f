//! A consumer of the queue on the topic: it takes messages as producers send them, and acks each lot with the poll that asks
//! for the next.
//!
//! What a poll costs, sketched for 100 messages one by one in their batches (counted, not measured): one request and one reply
//! of 50 B + 40 B a delivery; two records of the queue's journal, for the deliveries and for the acks, in one write of the
//! journal of the core; 16 KiB or so read from the hot tail.

use super::ends::lost;
use super::read::mean_message_bytes;
use super::shift::{Link, Shift};
use super::tail::is_over;
use super::{LoadError, Task};
use crate::base::RecordBatch;
use crate::bench::batches::read_stamp;
use crate::client::{AnswerKind, Delivered, Polling, QueueAnswer};
use crate::io::{Io, Monotonic};
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How long a poll waits at the broker: as long as the end of the load may go unseen.
const WAIT_MAX: Duration = Duration::from_millis(100);
const BYTES_MAX: u32 = 1 << 20;

pub(super) fn start(shift: Rc<Shift>, link: Link) {
    let io = shift.io.clone();
    io.spawn(async move {
        match consume(&shift, link).await {
            Ok(()) => shift.leave(),
            Err(cause) => shift.fail(cause),
        }
    });
}

async fn consume(shift: &Shift, mut link: Link) -> Result<(), LoadError> {
    let address = link.job.address;
    let key = link.job.keys[0];
    let Task::Take { prefetch } = link.job.task else {
        unreachable!("only consumers come here")
    };
    let asked = link.sender.join(&link.job.topic.0).await;
    asked.map_err(|cause| lost(address, cause))?;
    link.receiver.joined(key).await?;
    let mut polling = Polling::default();
    polling.poll.wait_max = WAIT_MAX;
    polling.poll.bytes_max = BYTES_MAX;
    polling.delivered_max = u64::from(prefetch);
    // The last lot is acked before the end: what is counted is whole rounds.
    while !is_over(&shift.shared) || !polling.poll.answers.is_empty() {
        let asked = link.sender.poll(&polling).await;
        asked.map_err(|cause| lost(address, cause))?;
        polling.poll.answers.clear();
        let mut at = None;
        let (answers, more) = (&mut polling.poll.answers, &mut polling.delivered_max);
        let took = link.receiver.polled(key, |delivered, batches| {
            // When the first of them is looked at, all of them have come.
            let at = *at.get_or_insert_with(|| shift.io.now());
            *more += delivered.span.until.0 - delivered.span.from.0;
            answers.push(QueueAnswer {
                partition: delivered.partition,
                span: delivered.span,
                kind: AnswerKind::Ack,
            });
            take(shift, &delivered, batches, at)
        });
        took.await?;
    }
    Ok(())
}

/// Counts the batches of a delivery. Those that were cut for it have no first record, and so no time that is theirs.
fn take(
    shift: &Shift,
    delivered: &Delivered,
    mut rest: &[u8],
    at: Monotonic,
) -> Result<(), LoadError> {
    let whole = u64::from(shift.orders.batch_messages);
    while !rest.is_empty() {
        let damaged = |cause| LoadError::Damaged {
            key: shift.orders.jobs[0].keys[0],
            at: delivered.span.from,
            cause,
        };
        let batch = RecordBatch::parse(rest).map_err(damaged)?;
        batch.check_crc().map_err(damaged)?;
        rest = &rest[batch.bytes().len()..];
        let messages = u64::from(batch.count());
        let bytes = (messages as f64 * mean_message_bytes(shift)) as u64;
        let due = match messages == whole {
            true => read_stamp(&batch),
            false => None,
        };
        let mut tally = shift.tally.borrow_mut();
        match due {
            Some(due) => tally.deliver(due, at, messages, bytes),
            None => tally.deliver_untimed(at, messages, bytes),
        }
        let shared = &shift.shared;
        shared.messages.fetch_add(messages, Ordering::Relaxed);
        // Parts of a batch may go to several consumers; together they are whole ones.
        let before = shared.parts.fetch_add(messages, Ordering::Relaxed);
        let batches = (before + messages) / whole - before / whole;
        shared
            .delivered_batches
            .fetch_add(batches, Ordering::Relaxed);
    }
    Ok(())
}
