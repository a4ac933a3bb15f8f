//! Reads a topic's records from where the program wants, and follows it as it grows.

use super::Dialer;
use super::fetcher::{Chunk, Fetcher, Handed, Stop};
use crate::base::limits::{FETCH_BYTES_MAX, REQUEST_PARTITIONS_MAX};
use crate::base::record::{self, RecordHeader};
use crate::base::{CoreId, Offset, RecordBatch, TimestampMs};
use crate::client::ClientError;
use crate::protocol::native::{OffsetQuery, TopicInfo};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// Where a consumer begins, in each of its partitions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StartAt {
    /// The first record that can be read.
    Earliest,
    /// Behind the last: only what is written from now on.
    Latest,
    /// This offset. Outside what the partition holds it is an error.
    Offset(Offset),
    /// The last so many records of each partition, or as many as there are.
    Last(u64),
    /// The first record that is not older.
    Time(TimestampMs),
}

impl StartAt {
    /// The offsets that this stands for, given a way to ask for those of all partitions.
    pub(super) fn resolve<E>(
        self,
        partitions: usize,
        ask: &mut impl FnMut(OffsetQuery) -> Result<Vec<Offset>, E>,
    ) -> Result<Vec<Offset>, E> {
        match self {
            Self::Offset(offset) => Ok(vec![offset; partitions]),
            Self::Earliest => ask(OffsetQuery::Earliest),
            Self::Latest => ask(OffsetQuery::Latest),
            Self::Time(time) => ask(OffsetQuery::AtTime(time)),
            Self::Last(count) => {
                let (earliest, latest) = (ask(OffsetQuery::Earliest)?, ask(OffsetQuery::Latest)?);
                let back =
                    |(first, end): (Offset, Offset)| Offset(end.0.saturating_sub(count)).max(first);
                Ok(earliest.into_iter().zip(latest).map(back).collect())
            }
        }
    }
}

/// How a consumer behaves.
#[derive(Clone, Copy, Debug)]
pub struct ConsumerOptions {
    /// Where it begins.
    pub start: StartAt,
    /// How long the broker holds a fetch that finds nothing. Longer costs nothing but the time to notice a lost broker.
    pub wait_max: Duration,
    /// At most about this many bytes in one fetch, and so in each of the few buffers that a core's records pass through.
    pub bytes_max: u32,
}

impl Default for ConsumerOptions {
    fn default() -> Self {
        Self {
            start: StartAt::Earliest,
            wait_max: Duration::from_secs(1),
            bytes_max: 1 << 20,
        }
    }
}

/// One record, borrowed from the consumer until its next call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Record<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The partition.
    pub partition: u32,
    /// The offset in the partition.
    pub offset: Offset,
    /// When it happened, as the producer said.
    pub timestamp: TimestampMs,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value.
    pub value: Option<&'a [u8]>,
    inner: record::Record<'a>,
}

impl<'a> Record<'a> {
    pub(super) fn new(
        topic: &'a str,
        partition: u32,
        offset: Offset,
        inner: record::Record<'a>,
    ) -> Self {
        Self {
            topic,
            partition,
            offset,
            timestamp: inner.timestamp,
            key: inner.key,
            value: inner.value,
            inner,
        }
    }

    /// Its headers.
    pub fn headers(&self) -> impl Iterator<Item = RecordHeader<'a>> + use<'a> {
        self.inner.headers()
    }
}

/// What is known of one partition.
#[derive(Clone, Copy, Debug)]
struct Progress {
    next: Offset,
    high_watermark: Option<Offset>,
}

/// A consumer of some partitions of a topic. Records of one partition come in order; partitions take turns.
pub struct Consumer {
    topic: Arc<TopicInfo>,
    progress: BTreeMap<u32, Progress>,
    chunks: Option<Receiver<Handed>>,
    fetchers: Vec<Handle>,
    current: Chunk,
    current_of: usize,
}

struct Handle {
    spares: Sender<Chunk>,
    stop: Stop,
    thread: Option<JoinHandle<()>>,
}

impl Consumer {
    pub(super) fn start(
        dialer: &Dialer,
        topic: TopicInfo,
        starts: &[(u32, Offset)],
        options: ConsumerOptions,
    ) -> Self {
        let mut groups: BTreeMap<CoreId, Vec<(u32, Offset)>> = BTreeMap::new();
        for start in starts {
            let owner = topic.owners[start.0 as usize];
            groups.entry(owner).or_default().push(*start);
        }
        let begun = |(partition, next): &(u32, Offset)| {
            let high_watermark = None;
            (
                *partition,
                Progress {
                    next: *next,
                    high_watermark,
                },
            )
        };
        let topic = Arc::new(topic);
        // One chunk waits while one is consumed and one per fetcher is under way: that bounds the memory.
        let (handed, chunks) = sync_channel(1);
        let mut fetchers = Vec::new();
        for (core, group) in &groups {
            for group in group.chunks(REQUEST_PARTITIONS_MAX) {
                let (spares, taken) = channel();
                let stop = Stop::default();
                let bytes_max = options.bytes_max.min(FETCH_BYTES_MAX as u32);
                let fetcher = Fetcher {
                    number: fetchers.len(),
                    dialer: dialer.clone(),
                    address: dialer.cluster.address(*core),
                    request: Fetcher::request(&topic, group, bytes_max),
                    wait_max: options.wait_max,
                    topic: Arc::clone(&topic),
                    chunks: handed.clone(),
                    spares: taken,
                    stop: stop.clone(),
                };
                let thread = Some(std::thread::spawn(move || fetcher.run()));
                fetchers.push(Handle {
                    spares,
                    stop,
                    thread,
                });
            }
        }
        Self {
            topic,
            progress: starts.iter().map(begun).collect(),
            chunks: Some(chunks),
            fetchers,
            current: Chunk::default(),
            current_of: 0,
        }
    }

    /// The next records, as many as one fetch brought; none if `timeout` passed. After a failure of a core's fetches its
    /// partitions bring nothing more; the other cores' do.
    pub fn poll(
        &mut self,
        timeout: Duration,
    ) -> Result<impl Iterator<Item = Result<Record<'_>, ClientError>> + use<'_>, ClientError> {
        self.recycle();
        let chunks = self.chunks.as_ref().expect("taken by drop only");
        match chunks.recv_timeout(timeout) {
            Ok((number, handed)) => {
                self.current = handed?;
                self.current_of = number;
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => std::thread::sleep(timeout),
        }
        for span in &self.current.spans {
            let progress = self.progress.get_mut(&span.partition);
            let progress = progress.expect("only partitions that were asked for come back");
            progress.next = span.next;
            progress.high_watermark = Some(span.high_watermark);
        }
        Ok(records(&self.topic, &self.current))
    }

    /// For each partition the offset after the last record that [`Consumer::poll`] has handed out.
    pub fn positions(&self) -> impl Iterator<Item = (u32, Offset)> + use<'_> {
        self.progress
            .iter()
            .map(|(partition, progress)| (*partition, progress.next))
    }

    /// Whether all that the broker had when it was last heard of has been handed out, in every partition. False before
    /// each of them was heard of.
    pub fn is_caught_up(&self) -> bool {
        self.progress.values().all(|progress| {
            progress
                .high_watermark
                .is_some_and(|end| progress.next >= end)
        })
    }

    /// The topic, as it was when the consumer was made.
    pub fn topic(&self) -> &TopicInfo {
        &self.topic
    }

    fn recycle(&mut self) {
        let chunk = std::mem::take(&mut self.current);
        if chunk.buffer.is_empty() {
            return;
        }
        if let Some(fetcher) = self.fetchers.get(self.current_of) {
            // One that has ended needs no buffer.
            let _ = fetcher.spares.send(chunk);
        }
    }
}

impl Drop for Consumer {
    /// Stops the threads and waits for them: nothing of a consumer outlives it.
    fn drop(&mut self) {
        for fetcher in &self.fetchers {
            fetcher.stop.stop();
        }
        self.chunks = None;
        for fetcher in &mut self.fetchers {
            if let Some(thread) = fetcher.thread.take() {
                let _ = thread.join();
            }
        }
    }
}

/// The records of a chunk. Nothing is copied or allocated but the text of an error.
fn records<'a>(
    topic: &'a TopicInfo,
    chunk: &'a Chunk,
) -> impl Iterator<Item = Result<Record<'a>, ClientError>> + use<'a> {
    chunk.spans.iter().flat_map(move |span| {
        // Offsets pass by in a control batch, such as one that stands for lost records; there is nothing to hand out.
        let buffer = match span.is_unpacked {
            true => &chunk.unpacked,
            false => &chunk.buffer,
        };
        let batches = batches(&buffer[span.bytes.clone()]);
        let batches = batches.filter(|batch| !batch.is_control());
        batches.flat_map(move |batch| {
            let base = batch.base_offset();
            let partition = span.partition;
            record::records(&batch).filter_map(move |inner| match inner {
                Ok(inner) => {
                    let offset = Offset(base.0.wrapping_add(inner.offset_delta as u64));
                    let record = Record::new(&topic.name, partition, offset, inner);
                    (offset >= span.from).then_some(Ok(record))
                }
                Err(error) => Some(Err(ClientError::Damaged {
                    topic: topic.name.clone(),
                    partition,
                    offset: base,
                    cause: error.to_string(),
                })),
            })
        })
    })
}

/// Batches back to back, which the fetcher has checked.
fn batches(mut bytes: &[u8]) -> impl Iterator<Item = RecordBatch<'_>> {
    std::iter::from_fn(move || {
        let batch = RecordBatch::parse(bytes).ok()?;
        bytes = &bytes[batch.bytes().len()..];
        Some(batch)
    })
}
