//! One connection to a Kafka broker on one core: two halves, as those of the native driver.
//!
//! A produce is sent with one system call from where its batch lies; nothing is allocated per request after warm-up.

use crate::base::limits::FRAME_BYTES_MAX;
use crate::base::{AckLevel, PartitionKey};
use crate::bench::kafka::wire::{self, FetchedEntry, Topic, index_of};
use crate::bench::kafka::{GREETING, Versions, api, greeting};
use crate::client::FetchRequest;
use crate::client::in_flight::{Closed, InFlight};
use crate::io::{Io, Reader as _, Writer};
use crate::protocol::kafka::api::key;
use crate::protocol::kafka::wire::Reader;
use crate::protocol::kafka::{Malformed, Split, split};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;
use thiserror::Error;

/// How much room there is for one receive, at least.
const RECEIVE_BYTES: usize = 256 << 10;
/// The largest buffer: an answer as large as they get, and a receive.
const BUFFER_BYTES_MAX: usize = FRAME_BYTES_MAX + RECEIVE_BYTES;

/// Why a connection ended.
#[derive(Error, Debug)]
pub enum KafkaError {
    /// The socket failed.
    #[error("connection failed: {0}")]
    Io(#[from] std::io::Error),
    /// The broker closed the connection, or the other half has ended.
    #[error(transparent)]
    Closed(#[from] Closed),
    /// The broker's bytes are no answer to what was asked.
    #[error("the broker's answer cannot be read: {0}")]
    Malformed(#[from] Malformed),
    /// Answers come in order, or the connection is of no use.
    #[error("the broker's answer has the correlation id {found}, not {expected}")]
    OutOfOrder {
        /// Of the oldest request in flight.
        expected: i32,
        /// What came.
        found: i32,
    },
    /// Nothing was in flight.
    #[error("the broker answers what nobody asked")]
    Unasked,
}

/// A request in flight: its API and its version, and what its answer repeats.
#[derive(Clone, Copy, Debug)]
struct Asked {
    key: i16,
    version: i16,
    correlation: i32,
}

type Shared = InFlight<VecDeque<Asked>>;

/// The half that asks.
pub struct Sender<I: Io> {
    writer: I::Writer,
    out: Vec<u8>,
    versions: Versions,
    topic: Topic,
    next: i32,
    shared: Rc<Shared>,
}

/// The half that is answered.
pub struct Receiver<I: Io> {
    reader: I::Reader,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    shared: Rc<Shared>,
}

/// Connects and greets. What is produced and fetched is of `topic`.
pub async fn connect<I: Io>(
    io: &I,
    address: SocketAddr,
    in_flight_max: usize,
    versions: Versions,
    topic: Topic,
) -> Result<(Sender<I>, Receiver<I>), KafkaError> {
    let (reader, writer) = io.connect(address).await?;
    let ledger = VecDeque::with_capacity(in_flight_max);
    let shared = Rc::new(InFlight::new(ledger, in_flight_max));
    let mut sender = Sender::<I> {
        writer,
        out: Vec::new(),
        versions,
        topic,
        next: 0,
        shared: Rc::clone(&shared),
    };
    let mut receiver = Receiver::<I> {
        reader,
        buffer: vec![0; RECEIVE_BYTES],
        start: 0,
        end: 0,
        shared,
    };
    let correlation = sender.note(key::API_VERSIONS, GREETING);
    greeting(correlation, &mut sender.out);
    sender.flush().await?;
    receiver.next(key::API_VERSIONS).await?;
    Ok((sender, receiver))
}

impl<I: Io> Sender<I> {
    /// Waits until another request may be in flight.
    pub async fn room(&self) -> Result<(), KafkaError> {
        Ok(self.shared.room().await?)
    }

    /// How many requests wait for their answer.
    pub fn in_flight(&self) -> usize {
        self.shared.count()
    }

    /// Sends one batch, once there is room. `level` must be one that is answered.
    pub async fn produce(
        &mut self,
        level: AckLevel,
        to: PartitionKey,
        batch: &[u8],
    ) -> Result<(), KafkaError> {
        self.room().await?;
        let tail = self.head(level, to, batch.len());
        self.send(&[batch, tail]).await
    }

    /// Puts a produce with a copy of its batch behind what the next [`Sender::flush`] sends. There must be room for it.
    pub fn push(&mut self, level: AckLevel, to: PartitionKey, batch: &[u8]) {
        assert!(self.shared.has_room(), "ask for room first");
        let tail = self.head(level, to, batch.len());
        self.out.extend_from_slice(batch);
        self.out.extend_from_slice(tail);
    }

    /// Writes the head of a produce; returns its tail.
    fn head(&mut self, level: AckLevel, to: PartitionKey, bytes: usize) -> &'static [u8] {
        assert!(level != AckLevel::None, "acks 0 is never answered");
        let version = self.versions.produce;
        let correlation = self.note(key::PRODUCE, version);
        let about = (level, &self.topic, index_of(to));
        wire::produce_head(version, correlation, about, bytes, &mut self.out);
        wire::produce_tail(api(key::PRODUCE).shape(version))
    }

    /// Sends what was pushed.
    pub async fn flush(&mut self) -> Result<(), KafkaError> {
        self.send(&[]).await
    }

    /// Asks for record batches, once there is room.
    pub async fn fetch(&mut self, asked: &FetchRequest) -> Result<(), KafkaError> {
        self.room().await?;
        let version = self.versions.fetch;
        let correlation = self.note(key::FETCH, version);
        wire::fetch(version, correlation, &self.topic, asked, &mut self.out);
        self.flush().await
    }

    /// Ends the connection in both directions; the receiver's wait returns.
    pub fn stop(&mut self) {
        self.writer.shutdown();
        self.shared.close();
    }

    fn note(&mut self, key: i16, version: i16) -> i32 {
        let correlation = self.next;
        self.next = correlation.wrapping_add(1);
        self.shared.ledger.borrow_mut().push_back(Asked {
            key,
            version,
            correlation,
        });
        correlation
    }

    async fn send(&mut self, behind: &[&[u8]]) -> Result<(), KafkaError> {
        let sent = match behind {
            [batch, []] => self.writer.write_vectored(&[&self.out, batch]).await,
            [batch, tail] => self.writer.write_vectored(&[&self.out, batch, tail]).await,
            _ => self.writer.write_all(&self.out).await,
        };
        self.out.clear();
        if sent.is_err() {
            self.stop();
        }
        Ok(sent?)
    }
}

impl<I: Io> Receiver<I> {
    /// The next answer, as that to a produce: Kafka's code, 0 being success, and the broker's words. Never drop the
    /// future of a receive before it is done: bytes would be lost.
    pub async fn produced(&mut self) -> Result<(i16, Option<&str>), KafkaError> {
        let (version, reader) = self.next(key::PRODUCE).await?;
        Ok(wire::produced(reader, api(key::PRODUCE).shape(version))?)
    }

    /// The next answer, as that to a fetch, partition by partition. Returns the code of the whole.
    pub async fn fetched<E: From<KafkaError> + From<Malformed>>(
        &mut self,
        take: impl FnMut(FetchedEntry<'_>) -> Result<(), E>,
    ) -> Result<i16, E> {
        let (version, reader) = self.next(key::FETCH).await?;
        wire::fetched(reader, api(key::FETCH).shape(version), take)
    }

    /// The body of the next answer, which must be to a request of the API `key`; and its version.
    async fn next(&mut self, key: i16) -> Result<(i16, Reader<'_>), KafkaError> {
        let total = loop {
            match split(&self.buffer[self.start..self.end]) {
                Ok(Split::Frame { total, .. }) => break total,
                Ok(Split::NeedMore) => self.receive().await?,
                Err(cause) => return self.fail(cause.into()),
            }
        };
        let Some(asked) = self.shared.ledger.borrow_mut().pop_front() else {
            return self.fail(KafkaError::Unasked);
        };
        let frame = &self.buffer[self.start..self.start + total];
        self.start += total;
        let read = wire::answer(api(asked.key), asked.version, &frame[4..]);
        let (found, reader) = read.inspect_err(|_| self.shared.close())?;
        if found != asked.correlation || asked.key != key {
            let expected = asked.correlation;
            self.shared.close();
            return Err(KafkaError::OutOfOrder { expected, found });
        }
        self.shared.note_answer();
        Ok((asked.version, reader))
    }

    async fn receive(&mut self) -> Result<(), KafkaError> {
        self.make_room();
        let received = self.reader.read(&mut self.buffer[self.end..]).await;
        match received {
            Ok(0) => {
                self.shared.close();
                Err(self.shared.closed().into())
            }
            Ok(bytes) => {
                self.end += bytes;
                Ok(())
            }
            Err(cause) => self.fail(cause.into()),
        }
    }

    /// Makes room for a receive. No frame is longer than the buffer may become: `split` refuses it.
    fn make_room(&mut self) {
        if self.buffer.len() - self.end >= RECEIVE_BYTES {
            return;
        }
        self.buffer.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        if self.buffer.len() - self.end < RECEIVE_BYTES {
            let grown = (2 * self.buffer.len()).min(BUFFER_BYTES_MAX);
            self.buffer.resize(grown, 0);
        }
    }

    fn fail<T>(&self, cause: KafkaError) -> Result<T, KafkaError> {
        self.shared.close();
        Err(cause)
    }
}

impl<I: Io> Drop for Receiver<I> {
    /// A sender that waits for room must not wait for a receiver that is gone.
    fn drop(&mut self) {
        self.shared.close();
    }
}
