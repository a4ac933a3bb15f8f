//! Gathers a topic's records into one open batch per partition, and says which are due. Decides only; time is handed in.
//!
//! A record's sequence is its number among those given to its partition by this producer, from 0: batches answer for
//! ranges of it.

use crate::base::TimestampMs;
use crate::base::limits::BATCH_BYTES_MAX;
use crate::base::record::{BatchBuilder, RecordHeader};
use crate::io::Monotonic;
use std::collections::VecDeque;
use std::time::Duration;

/// What the framing of one record takes at most: six varints and an attribute byte.
const RECORD_OVERHEAD_BYTES: usize = 6 * 10 + 1;

/// One record to be sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outgoing<'a> {
    /// When it happened.
    pub timestamp: TimestampMs,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value.
    pub value: Option<&'a [u8]>,
    /// Its headers.
    pub headers: &'a [RecordHeader<'a>],
}

impl Outgoing<'_> {
    /// At most so many bytes in a batch.
    pub(super) fn bytes_max(&self) -> usize {
        let optional = |bytes: Option<&[u8]>| bytes.map_or(0, <[u8]>::len);
        let headers: usize = self
            .headers
            .iter()
            .map(|(name, value)| name.len() + optional(*value) + 20)
            .sum();
        RECORD_OVERHEAD_BYTES + optional(self.key) + optional(self.value) + headers
    }
}

/// A batch that is full or due.
#[derive(Debug)]
pub(super) struct Batch {
    /// Where it goes.
    pub partition: u32,
    /// The sequence of its first record.
    pub first_sequence: u64,
    /// How often it was sent and refused or lost.
    pub tries: u32,
    /// Its records.
    pub builder: BatchBuilder,
}

struct Open {
    builder: Option<BatchBuilder>,
    since: Monotonic,
    first_sequence: u64,
    next_sequence: u64,
}

/// The open batches of a topic.
pub(super) struct Batcher {
    partitions: Vec<Open>,
    /// Partitions with an open batch, oldest first.
    open: VecDeque<u32>,
    free: Vec<BatchBuilder>,
    batch_bytes: usize,
}

impl Batcher {
    /// For a topic of that many partitions. A batch is full when the next record would take it past `batch_bytes`; a
    /// larger record has a batch to itself.
    pub(super) fn new(partitions: u32, batch_bytes: usize) -> Self {
        let open = |_| Open {
            builder: None,
            since: Monotonic::default(),
            first_sequence: 0,
            next_sequence: 0,
        };
        Self {
            partitions: (0..partitions).map(open).collect(),
            open: VecDeque::new(),
            free: Vec::new(),
            batch_bytes: batch_bytes.min(BATCH_BYTES_MAX),
        }
    }

    /// Whether the open batch of `partition` must be taken before a record of `bytes` is pushed.
    #[inline]
    pub(super) fn is_full_for(&self, partition: u32, bytes: usize) -> bool {
        let open = &self.partitions[partition as usize].builder;
        open.as_ref()
            .is_some_and(|builder| builder.len() + bytes > self.batch_bytes)
    }

    /// Appends a record and returns its sequence.
    #[inline]
    pub(super) fn push(&mut self, now: Monotonic, partition: u32, record: &Outgoing<'_>) -> u64 {
        let open = &mut self.partitions[partition as usize];
        if open.builder.is_none() {
            open.builder = Some(self.free.pop().unwrap_or_default());
            open.since = now;
            open.first_sequence = open.next_sequence;
            self.open.push_back(partition);
        }
        let builder = open.builder.as_mut().expect("opened above");
        builder.push(record.timestamp, record.key, record.value, record.headers);
        open.next_sequence += 1;
        open.next_sequence - 1
    }

    /// Takes the open batch of a partition, if there is one.
    pub(super) fn take(&mut self, partition: u32) -> Option<Batch> {
        let open = &mut self.partitions[partition as usize];
        let builder = open.builder.take()?;
        self.open.retain(|other| *other != partition);
        Some(Batch {
            partition,
            first_sequence: open.first_sequence,
            tries: 0,
            builder,
        })
    }

    /// The partition whose open batch is the oldest, if it has been open for `linger`.
    pub(super) fn due(&self, now: Monotonic, linger: Duration) -> Option<u32> {
        let oldest = *self.open.front()?;
        let since = self.partitions[oldest as usize].since;
        (now.since(since) >= linger).then_some(oldest)
    }

    /// Gives a batch's memory back.
    pub(super) fn recycle(&mut self, mut builder: BatchBuilder) {
        builder.clear();
        self.free.push(builder);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(value: &[u8]) -> Outgoing<'_> {
        Outgoing {
            timestamp: TimestampMs(1),
            key: None,
            value: Some(value),
            headers: &[],
        }
    }

    #[test]
    fn batches_fill_come_due_in_order_and_count_their_records() {
        let mut batcher = Batcher::new(3, 1_000);
        let (linger, at) = (Duration::from_nanos(10), Monotonic);
        assert_eq!(batcher.due(at(99), linger), None);
        assert_eq!(batcher.push(at(5), 1, &record(b"a")), 0);
        assert_eq!(batcher.push(at(7), 0, &record(b"b")), 0);
        assert_eq!(batcher.push(at(9), 1, &record(b"c")), 1);
        assert_eq!(batcher.due(at(14), linger), None);
        assert_eq!(batcher.due(at(15), linger), Some(1));
        let batch = batcher.take(1).expect("open");
        assert_eq!((batch.first_sequence, batch.builder.count()), (0, 2));
        assert!(batcher.take(1).is_none());
        assert_eq!(batcher.due(at(15), linger), None);
        assert_eq!(batcher.due(at(17), linger), Some(0));
        batcher.recycle(batch.builder);
        assert_eq!(batcher.push(at(20), 1, &record(b"d")), 2);
        let batch = batcher.take(1).expect("open");
        assert_eq!((batch.first_sequence, batch.builder.count()), (2, 1));
    }

    #[test]
    fn what_a_record_takes_is_never_underestimated() {
        let headers: [RecordHeader<'_>; 2] = [(b"name", Some(b"value")), (b"x", None)];
        for bytes in [0, 1, 63, 64, 8_191, 8_192, 2_000_000] {
            let value = vec![7; bytes];
            let outgoing = Outgoing {
                key: Some(&value),
                headers: &headers,
                ..record(&value)
            };
            let mut batcher = Batcher::new(1, 1);
            batcher.push(Monotonic(0), 0, &outgoing);
            let len = batcher.take(0).expect("open").builder.len();
            assert!(len - crate::base::batch::HEADER_BYTES <= outgoing.bytes_max());
        }
    }

    #[test]
    fn a_batch_is_full_before_it_passes_its_size() {
        let mut batcher = Batcher::new(1, 500);
        let record = record(&[1; 100]);
        let mut count = 0;
        while !batcher.is_full_for(0, record.bytes_max()) {
            batcher.push(Monotonic(0), 0, &record);
            count += 1;
        }
        let batch = batcher.take(0).expect("open");
        assert!(count >= 2 && batch.builder.len() <= 500);
        assert!(
            !batcher.is_full_for(0, usize::MAX / 2),
            "an empty one takes anything"
        );
    }
}
