//! A connection that reads partitions from their first offset to their end, again and again: every offset once a pass, in
//! order, none left out.

use super::ends::{Receiver, Sender, lost};
use super::shift::{Link, Shift};
use super::tally::Answered;
use super::{LoadError, Task};
use crate::base::{Offset, PartitionKey, RecordBatch};
use crate::client::{FetchPartition, FetchRequest};
use crate::io::{Io, Monotonic};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::Ordering;

/// What one fetch asks for.
pub(super) const FETCH_BYTES: u32 = 1 << 20;

pub(super) fn start(shift: Rc<Shift>, link: Link) {
    let io = shift.io.clone();
    io.spawn(async move {
        match Pass::new(&shift, link).run().await {
            Ok(()) => shift.leave(),
            Err(cause) => shift.fail(cause),
        }
    });
}

/// Where a connection is in its partitions.
struct Pass<'a> {
    shift: &'a Shift,
    sender: Sender,
    receiver: Receiver,
    address: SocketAddr,
    places: Vec<Place>,
    /// Fetches that wait for their reply, oldest first.
    asked: VecDeque<(usize, Monotonic)>,
    is_beside: bool,
    message_bytes: f64,
}

struct Place {
    request: FetchRequest,
    end: Offset,
}

impl Place {
    fn new(key: PartitionKey, end: Offset) -> Self {
        let partition = FetchPartition {
            key,
            from: Offset(0),
            bytes_max: FETCH_BYTES,
        };
        let request = FetchRequest {
            partitions: vec![partition],
            bytes_max: FETCH_BYTES,
            ..FetchRequest::default()
        };
        Self { request, end }
    }

    fn next(&mut self) -> &mut Offset {
        &mut self.request.partitions[0].from
    }
}

impl<'a> Pass<'a> {
    fn new(shift: &'a Shift, link: Link) -> Self {
        let (end, is_beside) = match link.job.task {
            Task::CatchUp { end } => (end, false),
            Task::Beside { end } => (end, true),
            _ => unreachable!("only readers come here"),
        };
        let keys = link.job.keys.iter();
        let places: Vec<Place> = keys.map(|key| Place::new(*key, end)).collect();
        Self {
            shift,
            sender: link.sender,
            receiver: link.receiver,
            address: link.job.address,
            asked: VecDeque::with_capacity(places.len()),
            places,
            is_beside,
            message_bytes: mean_message_bytes(shift),
        }
    }

    async fn run(&mut self) -> Result<(), LoadError> {
        let depth = self.places.len().min(self.shift.orders.in_flight);
        // With fewer requests in flight than partitions, the others wait for their turn.
        let mut resting: VecDeque<usize> = (depth..self.places.len()).collect();
        for place in 0..depth {
            self.ask(place).await?;
        }
        while !self.asked.is_empty() {
            let place = self.take().await?;
            let is_through = self.turn_page(place);
            if !is_through {
                resting.push_back(place);
            }
            if self.shift.goes_on(self.shift.io.now())
                && let Some(next) = resting.pop_front()
            {
                self.ask(next).await?;
            }
        }
        Ok(())
    }

    async fn ask(&mut self, place: usize) -> Result<(), LoadError> {
        self.asked.push_back((place, self.shift.io.now()));
        let request = &self.places[place].request;
        let asked = self.sender.fetch(request).await;
        asked.map_err(|cause| lost(self.address, cause))
    }

    /// Takes the next reply in; returns the place that it was for.
    async fn take(&mut self) -> Result<usize, LoadError> {
        let (index, sent) = *self.asked.front().expect("each reply was asked for");
        let place = &mut self.places[index];
        let key = place.request.partitions[0].key;
        let from = *place.next();
        let mut next = from;
        let keys = [key];
        let took = self.receiver.fetched(&keys, |_, batches| {
            next = follow(key, from, batches)?;
            Ok(())
        });
        took.await?;
        self.asked.pop_front();
        if next == from {
            let (at, end) = (from, place.end);
            return Err(LoadError::Missing { key, at, end });
        }
        *place.next() = next;
        let request = Answered {
            due: sent,
            sent,
            done: self.shift.io.now(),
        };
        self.count(request, next.0 - from.0);
        Ok(index)
    }

    fn count(&self, request: Answered, messages: u64) {
        let bytes = (messages as f64 * self.message_bytes) as u64;
        let shared = &self.shift.shared;
        if self.is_beside {
            if self.shift.window.holds(request.done) {
                shared.beside_bytes.fetch_add(bytes, Ordering::Relaxed);
            }
            return;
        }
        shared.messages.fetch_add(messages, Ordering::Relaxed);
        self.shift
            .tally
            .borrow_mut()
            .record(request, messages, bytes);
    }

    /// At the end of a partition: from its beginning again, or no more (true).
    fn turn_page(&mut self, place: usize) -> bool {
        let place = &mut self.places[place];
        let end = place.end;
        if *place.next() < end {
            return false;
        }
        *place.next() = Offset(0);
        if self.is_beside {
            self.shift
                .shared
                .beside_passes
                .fetch_add(1, Ordering::Relaxed);
        }
        self.shift.orders.once && !self.is_beside
    }
}

pub(super) fn mean_message_bytes(shift: &Shift) -> f64 {
    let batches = &shift.orders.batches;
    let bytes: u64 = batches.iter().map(|batch| batch.payload_bytes).sum();
    let messages = batches.len() as f64 * f64::from(shift.orders.batch_messages);
    bytes as f64 / messages
}

/// Walks over the batches of `body`, which must follow each other from `next` on; the first may begin before it. Returns
/// the offset after the last. The checksum of the first is checked: all would be a third of the load's work.
fn follow(key: PartitionKey, mut next: Offset, mut body: &[u8]) -> Result<Offset, LoadError> {
    let mut is_first = true;
    while !body.is_empty() {
        let damaged = |cause| LoadError::Damaged {
            key,
            at: next,
            cause,
        };
        let batch = RecordBatch::parse(body).map_err(damaged)?;
        if is_first {
            batch.check_crc().map_err(damaged)?;
        }
        next = step(key, next, &batch, is_first)?;
        is_first = false;
        body = &body[batch.bytes().len()..];
    }
    Ok(next)
}

/// The offset after `batch`, which must begin at `next` or, the first of a body, hold it.
pub(super) fn step(
    key: PartitionKey,
    next: Offset,
    batch: &RecordBatch<'_>,
    is_first: bool,
) -> Result<Offset, LoadError> {
    let found = batch.base_offset();
    let fits = found == next || (is_first && found < next && next < batch.next_offset());
    if fits {
        return Ok(batch.next_offset());
    }
    Err(LoadError::Gap {
        key,
        expected: next,
        found,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::batch::stamp;
    use crate::base::record::BatchBuilder;
    use crate::base::{PartitionNo, TimestampMs, TopicId};

    fn stored(base: u64, records: u32) -> Vec<u8> {
        let mut builder = BatchBuilder::new();
        for _ in 0..records {
            builder.push(TimestampMs(0), None, Some(b"v"), &[]);
        }
        let mut bytes = builder.finish().to_vec();
        stamp(&mut bytes, Offset(base), 0);
        bytes
    }

    fn walk(from: u64, body: &[u8]) -> Result<Offset, LoadError> {
        let key = PartitionKey::new(TopicId(1), PartitionNo(0));
        follow(key, Offset(from), body)
    }

    #[test]
    fn batches_that_follow_each_other_pass_and_a_gap_does_not() {
        let body = [stored(0, 5), stored(5, 2)].concat();
        assert_eq!(walk(0, &body).expect("gapless"), Offset(7));
        assert_eq!(walk(3, &body).expect("inside the first"), Offset(7));
        let gap = [stored(0, 5), stored(6, 2)].concat();
        assert!(matches!(walk(0, &gap), Err(LoadError::Gap { .. })));
        let again = [stored(0, 5), stored(0, 5)].concat();
        assert!(matches!(walk(0, &again), Err(LoadError::Gap { .. })));
        assert!(matches!(walk(5, &stored(0, 5)), Err(LoadError::Gap { .. })));
    }

    #[test]
    fn damaged_bytes_are_told() {
        let mut body = stored(0, 5);
        let last = body.len() - 1;
        body[last] ^= 1;
        assert!(matches!(walk(0, &body), Err(LoadError::Damaged { .. })));
        assert!(matches!(
            walk(0, &body[..last]),
            Err(LoadError::Damaged { .. })
        ));
    }
}
