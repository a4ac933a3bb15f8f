//! A thread that keeps one connection's fetches going, one chunk ahead of whoever consumes them.
//!
//! ```text
//!   fetcher thread                                             consumer
//!   fetch, check every batch ──Chunk (buffer, spans)──> queue ──> records, borrowed from the buffer
//!          ^──────────────────── spare buffers <──────────────────┘
//! ```
//! Checking here puts the checksums on another core than the consumer's own work, and lets the consumer trust what it
//! is handed.

use super::Dialer;
use super::connection::Connection;
use crate::base::limits::FETCH_BYTES_MAX;
use crate::base::unpack::unpack;
use crate::base::{Offset, PartitionKey, PartitionNo, RecordBatch};
use crate::client::ClientError;
use crate::client::backoff::Backoff;
use crate::client::session::Session;
use crate::protocol::native::{FetchPartition, FetchRequest, FetchedReply, Reply, TopicInfo};
use std::net::{Shutdown, TcpStream};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What one fetch brings is unpacked so far, and one batch further.
const UNPACKED_CHUNK_BYTES: usize = 32 << 20;
const _: () = assert!(UNPACKED_CHUNK_BYTES > FETCH_BYTES_MAX);

/// How soon a stop is noticed while waiting to try again.
const STOP_CHECK: Duration = Duration::from_millis(20);

/// Record batches of one partition inside one of a chunk's buffers, all checked and none compressed.
#[derive(Clone, Debug)]
pub(super) struct Span {
    pub(super) partition: u32,
    /// Records below this were not asked for.
    pub(super) from: Offset,
    /// The offset after the last record of the span.
    pub(super) next: Offset,
    pub(super) high_watermark: Offset,
    /// Where in the buffer; may be empty.
    pub(super) bytes: Range<usize>,
    /// Whether that is the buffer of what was compressed.
    pub(super) is_unpacked: bool,
}

/// What one fetch brought.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    pub(super) buffer: Vec<u8>,
    /// Of partitions that had a compressed batch: all their batches, uncompressed.
    pub(super) unpacked: Vec<u8>,
    pub(super) spans: Vec<Span>,
}

/// What a fetcher hands over: its number, and a chunk or why it ended.
pub(super) type Handed = (usize, Result<Chunk, ClientError>);

/// What the consumer holds of a fetcher, to stop it while it waits.
#[derive(Clone, Default)]
pub(super) struct Stop {
    stopping: Arc<AtomicBool>,
    socket: Arc<Mutex<Option<TcpStream>>>,
}

impl Stop {
    /// Ends the fetcher: a wait for data returns at once.
    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        if let Some(socket) = self.socket().as_ref() {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    fn socket(&self) -> std::sync::MutexGuard<'_, Option<TcpStream>> {
        self.socket.lock().expect("nothing under it panics")
    }
}

/// Everything a fetcher needs; runs on its own thread.
pub(super) struct Fetcher {
    pub(super) number: usize,
    pub(super) dialer: Dialer,
    pub(super) address: String,
    pub(super) topic: Arc<TopicInfo>,
    /// What is asked next. It begins without a wait, so that a consumer at the end of its partitions learns at once
    /// that it is.
    pub(super) request: FetchRequest,
    /// How long the broker may hold a fetch from the second on.
    pub(super) wait_max: Duration,
    pub(super) chunks: SyncSender<Handed>,
    pub(super) spares: Receiver<Chunk>,
    pub(super) stop: Stop,
}

impl Fetcher {
    /// A request from the given starts.
    pub(super) fn request(
        topic: &TopicInfo,
        starts: &[(u32, Offset)],
        bytes_max: u32,
    ) -> FetchRequest {
        let wanted = |(partition, from): &(u32, Offset)| FetchPartition {
            key: PartitionKey::new(topic.id, PartitionNo(*partition)),
            from: *from,
            bytes_max,
        };
        FetchRequest {
            partitions: starts.iter().map(wanted).collect(),
            bytes_min: 1,
            wait_max: Duration::ZERO,
            bytes_max,
        }
    }

    /// Fetches until it is stopped, nobody takes its chunks, or something is wrong that waiting does not mend.
    pub(super) fn run(mut self) {
        let mut backoff = self.dialer.backoff();
        let mut connection = None;
        let mut told = Vec::new();
        while !self.stop.is_stopping() {
            match self.fetch(&mut connection, &mut told) {
                Ok(None) => backoff.reset(),
                Ok(Some(chunk)) => {
                    backoff.reset();
                    if self.chunks.send((self.number, Ok(chunk))).is_err() {
                        return;
                    }
                }
                Err(error) => {
                    connection = None;
                    if !self.pause(&error, &mut backoff) {
                        let _ = self.chunks.send((self.number, Err(error)));
                        return;
                    }
                }
            }
        }
    }

    /// Waits before the next try; false: there is none.
    fn pause(&self, error: &ClientError, backoff: &mut Backoff) -> bool {
        if self.stop.is_stopping() {
            return true;
        }
        let Some(wait) = backoff.wait().filter(|_| error.is_transient()) else {
            return false;
        };
        let mut left = wait;
        while !left.is_zero() && !self.stop.is_stopping() {
            let step = left.min(STOP_CHECK);
            std::thread::sleep(step);
            left -= step;
        }
        true
    }

    /// One fetch; `None` where it brought nothing that the consumer does not know. `told` are the high watermarks that
    /// it does.
    fn fetch(
        &mut self,
        connection: &mut Option<Connection>,
        told: &mut Vec<(u32, Offset)>,
    ) -> Result<Option<Chunk>, ClientError> {
        let open = match connection {
            Some(open) => open,
            None => connection.insert(self.connect()?),
        };
        let Session { outbox, ledger, .. } = open.session();
        outbox.fetch(ledger, &self.request)?;
        open.send(&[])?;
        let mut chunk = self.spares.try_recv().unwrap_or_default();
        chunk.spans.clear();
        chunk.unpacked.clear();
        let body_bytes = match open.receive()?.1 {
            Reply::Fetched(fetched) => take(&self.topic, &mut self.request, &fetched, &mut chunk)?,
            Reply::Refused(refusal) => return Err(refusal.into()),
            _ => unreachable!("the session holds replies against requests"),
        };
        let end = open.session().inbox.swap(&mut chunk.buffer);
        for span in chunk.spans.iter_mut().filter(|span| !span.is_unpacked) {
            let body = end - body_bytes;
            span.bytes = body + span.bytes.start..body + span.bytes.end;
        }
        // The broker fills partitions in the order asked: turn it, so that none starves behind the others.
        self.request.partitions.rotate_left(1);
        self.request.wait_max = self.wait_max;
        let news = note_news(told, &chunk.spans);
        Ok((news || body_bytes > 0).then_some(chunk))
    }

    fn connect(&self) -> Result<Connection, ClientError> {
        let opened = self.dialer.open(&self.address);
        let mut connection = opened.or_else(|_| self.dialer.open_any())?;
        connection.set_timeout(self.dialer.timeout + self.wait_max)?;
        let lost = |error: std::io::Error| ClientError::Lost {
            address: self.address.clone(),
            cause: error.to_string(),
        };
        *self.stop.socket() = Some(connection.socket().map_err(lost)?);
        if self.stop.is_stopping() {
            // The stop may have come before there was a socket to shut down.
            return Err(lost(std::io::ErrorKind::Interrupted.into()));
        }
        Ok(connection)
    }
}

/// Checks a reply, unpacks what is compressed, moves the request's offsets behind what it brought, and notes the spans,
/// counted from the first byte of the body, or of what is unpacked. Returns the body's bytes.
fn take(
    topic: &TopicInfo,
    request: &mut FetchRequest,
    fetched: &FetchedReply<'_>,
    chunk: &mut Chunk,
) -> Result<usize, ClientError> {
    let mut at = 0;
    let mut nexts = Vec::with_capacity(request.partitions.len());
    for (asked, entry) in request.partitions.iter().zip(fetched.entries()) {
        if let Some(refusal) = entry.error {
            return Err(refusal.into());
        }
        let partition = asked.key.partition.0;
        let taken = check(
            topic,
            partition,
            asked.from,
            entry.batches,
            &mut chunk.unpacked,
        )?;
        nexts.push(taken.next);
        let is_unpacked = taken.unpacked.is_some();
        chunk.spans.push(Span {
            partition,
            from: asked.from,
            next: taken.next,
            high_watermark: entry.high_watermark,
            bytes: taken.unpacked.unwrap_or(at..at + entry.batches.len()),
            is_unpacked,
        });
        at += entry.batches.len();
    }
    for (asked, next) in request.partitions.iter_mut().zip(nexts) {
        asked.from = next;
    }
    Ok(at)
}

/// What came of one partition's batches.
struct Taken {
    /// The offset after the last of them, never below the one asked for.
    next: Offset,
    /// Where they are, uncompressed, if one of them was not.
    unpacked: Option<Range<usize>>,
}

/// Checks every batch of `bytes`. From the first compressed one on they go into `unpacked`, those before it, too; where
/// that is full, what remains is left to be fetched again.
fn check(
    topic: &TopicInfo,
    partition: u32,
    from: Offset,
    bytes: &[u8],
    unpacked: &mut Vec<u8>,
) -> Result<Taken, ClientError> {
    let (mut next, mut at, begin) = (from, 0, unpacked.len());
    let mut is_packed = false;
    while at < bytes.len() {
        let parsed = RecordBatch::parse(&bytes[at..]);
        let batch = parsed.and_then(|batch| batch.check().map(|()| batch));
        let batch = batch.map_err(|error| ClientError::Damaged {
            topic: topic.name.clone(),
            partition,
            offset: next,
            cause: error.to_string(),
        })?;
        if batch.is_compressed() && !is_packed {
            is_packed = true;
            unpacked.extend_from_slice(&bytes[..at]);
        }
        if is_packed {
            // The first of the reply is always taken, or nothing would ever go on.
            if unpacked.len() >= UNPACKED_CHUNK_BYTES {
                break;
            }
            unpack(&batch, unpacked).map_err(|error| ClientError::Compressed {
                topic: topic.name.clone(),
                partition,
                offset: batch.base_offset(),
                cause: error.to_string(),
            })?;
        }
        next = next.max(batch.next_offset());
        at += batch.bytes().len();
    }
    Ok(Taken {
        next,
        unpacked: is_packed.then_some(begin..unpacked.len()),
    })
}

/// Whether a high watermark is one that was not told yet.
fn note_news(told: &mut Vec<(u32, Offset)>, spans: &[Span]) -> bool {
    let mut news = false;
    for span in spans {
        match told.binary_search_by_key(&span.partition, |(partition, _)| *partition) {
            Ok(index) => {
                news |= told[index].1 != span.high_watermark;
                told[index].1 = span.high_watermark;
            }
            Err(index) => {
                news = true;
                told.insert(index, (span.partition, span.high_watermark));
            }
        }
    }
    news
}
