//! The two halves of a connection, over either wire: what the load asks for, and what it takes of the replies.

use super::{Job, LoadError, Wire};
use crate::base::batch::LENGTH_PREFIX_BYTES;
use crate::base::{AckLevel, PartitionKey};
use crate::bench::kafka::admin::said;
use crate::bench::kafka::driver::{self as kafka, KafkaError};
use crate::bench::kafka::wire::{FetchedEntry, Topic};
use crate::client::driver::{self as native, DriveError};
use crate::client::{Delivered, FetchRequest, Polling, QueueAsk, QueueTold, Reply};
use crate::io::uring::Uring;
use crate::protocol::kafka::Malformed;
use std::net::SocketAddr;
use thiserror::Error;

/// Why a connection ended, or could not be made.
#[derive(Error, Debug)]
pub enum LinkError {
    /// Of the native protocol.
    #[error(transparent)]
    Native(#[from] DriveError),
    /// Of Kafka's.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
}

/// The half that asks.
pub(super) enum Sender {
    Native(native::Sender<Uring>),
    Kafka(kafka::Sender<Uring>),
}

/// The half that is answered.
pub(super) struct Receiver {
    address: SocketAddr,
    half: Half,
}

enum Half {
    Native(native::Receiver<Uring>),
    Kafka(kafka::Receiver<Uring>),
}

/// Connects for `job`, and greets.
pub(super) async fn connect(
    io: &Uring,
    wire: Wire,
    job: &Job,
    in_flight: usize,
) -> Result<(Sender, Receiver), LinkError> {
    let address = job.address;
    let (sender, half) = match wire {
        Wire::Native => {
            let (sender, receiver, _) = native::connect(io, address, in_flight).await?;
            (Sender::Native(sender), Half::Native(receiver))
        }
        Wire::Kafka(versions) => {
            let topic = Topic {
                name: job.topic.0.clone(),
                id: job.topic.1,
            };
            let connected = kafka::connect(io, address, in_flight, versions, topic).await?;
            (Sender::Kafka(connected.0), Half::Kafka(connected.1))
        }
    };
    Ok((sender, Receiver { address, half }))
}

impl Sender {
    /// Waits until another request may be in flight.
    pub(super) async fn room(&self) -> Result<(), LinkError> {
        match self {
            Self::Native(sender) => Ok(sender.room().await?),
            Self::Kafka(sender) => Ok(sender.room().await?),
        }
    }

    /// How many requests wait for their reply.
    pub(super) fn in_flight(&self) -> usize {
        match self {
            Self::Native(sender) => sender.in_flight(),
            Self::Kafka(sender) => sender.in_flight(),
        }
    }

    /// Sends one batch from where it lies, once there is room.
    pub(super) async fn produce(
        &mut self,
        ack: AckLevel,
        key: PartitionKey,
        batch: &[u8],
    ) -> Result<(), LinkError> {
        match self {
            Self::Native(sender) => sender.produce(ack, key, batch).await.map(drop)?,
            Self::Kafka(sender) => sender.produce(ack, key, batch).await?,
        }
        Ok(())
    }

    /// Puts a small batch behind what the next flush sends. There must be room.
    pub(super) fn push(
        &mut self,
        ack: AckLevel,
        key: PartitionKey,
        batch: &[u8],
    ) -> Result<(), LinkError> {
        match self {
            Self::Native(sender) => sender
                .push(ack, key, batch)
                .map(drop)
                .map_err(DriveError::from)?,
            Self::Kafka(sender) => sender.push(ack, key, batch),
        }
        Ok(())
    }

    /// Sends what was pushed.
    pub(super) async fn flush(&mut self) -> Result<(), LinkError> {
        match self {
            Self::Native(sender) => Ok(sender.flush().await?),
            Self::Kafka(sender) => Ok(sender.flush().await?),
        }
    }

    /// Asks for record batches, once there is room.
    pub(super) async fn fetch(&mut self, asked: &FetchRequest) -> Result<(), LinkError> {
        match self {
            Self::Native(sender) => sender
                .ask(&[], |outbox, ledger| outbox.fetch(ledger, asked))
                .await
                .map(drop)?,
            Self::Kafka(sender) => sender.fetch(asked).await?,
        }
        Ok(())
    }

    /// Becomes a consumer of a queue.
    pub(super) async fn join(&mut self, queue: &str) -> Result<(), LinkError> {
        let ask = QueueAsk::Join {
            name: queue.to_owned(),
            at_most_once: false,
        };
        match self {
            Self::Native(sender) => sender
                .ask(&[], |outbox, ledger| outbox.queue(ledger, &ask))
                .await
                .map(drop)?,
            Self::Kafka(_) => unreachable!("Kafka's protocol has no queues: settings are checked"),
        }
        Ok(())
    }

    /// Polls the queue.
    pub(super) async fn poll(&mut self, polling: &Polling) -> Result<(), LinkError> {
        match self {
            Self::Native(sender) => sender
                .ask(&[], |outbox, ledger| outbox.poll_queue(ledger, polling))
                .await
                .map(drop)?,
            Self::Kafka(_) => unreachable!("Kafka's protocol has no queues: settings are checked"),
        }
        Ok(())
    }

    /// Ends the connection in both directions.
    pub(super) fn stop(&mut self) {
        match self {
            Self::Native(sender) => sender.stop(),
            Self::Kafka(sender) => sender.stop(),
        }
    }
}

impl Receiver {
    /// Takes the next reply, which must say that a batch for `key` was taken.
    pub(super) async fn produced(&mut self, key: PartitionKey) -> Result<(), LoadError> {
        let address = self.address;
        match &mut self.half {
            Half::Native(receiver) => {
                let received = receiver.next().await;
                let (_, reply) = received.map_err(|cause| lost(address, cause))?;
                taken(&reply, key)
            }
            Half::Kafka(receiver) => {
                let received = receiver.produced().await;
                let (code, words) = received.map_err(|cause| lost(address, cause))?;
                check(key, code, words)
            }
        }
    }

    /// Takes the next reply as that to a join; `key` names the partition that an error is told of.
    pub(super) async fn joined(&mut self, key: PartitionKey) -> Result<(), LoadError> {
        match self.queue_reply().await? {
            Reply::Queue(QueueTold::Joined) => Ok(()),
            Reply::Refused(refusal) => Err(refused(key, refusal.to_string())),
            other => Err(unfit(&other, key)),
        }
    }

    /// Takes the next reply as that to a poll: `take` gets each delivery with its batches.
    pub(super) async fn polled(
        &mut self,
        key: PartitionKey,
        mut take: impl FnMut(Delivered, &[u8]) -> Result<(), LoadError>,
    ) -> Result<(), LoadError> {
        match self.queue_reply().await? {
            Reply::QueuePolled(polled) => {
                if polled.answered().any(|answered| answered.stale > 0) {
                    let line = "an ack came after its lease".to_owned();
                    return Err(refused(key, line));
                }
                let mut deliveries = polled.deliveries();
                deliveries.try_for_each(|(delivered, batches)| take(delivered, batches))
            }
            Reply::Refused(refusal) => Err(refused(key, refusal.to_string())),
            other => Err(unfit(&other, key)),
        }
    }

    async fn queue_reply(&mut self) -> Result<Reply<'_>, LoadError> {
        let address = self.address;
        match &mut self.half {
            Half::Native(receiver) => {
                let received = receiver.next().await;
                received
                    .map(|(_, reply)| reply)
                    .map_err(|cause| lost(address, cause))
            }
            Half::Kafka(_) => unreachable!("Kafka's protocol has no queues: settings are checked"),
        }
    }

    /// Takes the next reply as that to a fetch of `keys`: `take` gets the place of each among them, and its batches.
    pub(super) async fn fetched(
        &mut self,
        keys: &[PartitionKey],
        mut take: impl FnMut(usize, &[u8]) -> Result<(), LoadError>,
    ) -> Result<(), LoadError> {
        let address = self.address;
        match &mut self.half {
            Half::Native(receiver) => {
                let received = receiver.next().await;
                let (_, reply) = received.map_err(|cause| lost(address, cause))?;
                walk(&reply, keys, take)
            }
            Half::Kafka(receiver) => {
                let walked = receiver.fetched(|entry| {
                    let place = place(keys, &entry)?;
                    check(keys[place], entry.code, None)?;
                    Ok(take(place, whole(entry.batches))?)
                });
                match walked.await {
                    Ok(code) => check(keys[0], code, None),
                    Err(Stopped::Load(cause)) => Err(cause),
                    Err(Stopped::Link(cause)) => Err(lost(address, cause)),
                }
            }
        }
    }
}

/// Why a walk over a reply of Kafka's ended early.
enum Stopped {
    Load(LoadError),
    Link(KafkaError),
}

impl From<LoadError> for Stopped {
    fn from(cause: LoadError) -> Self {
        Self::Load(cause)
    }
}

impl From<KafkaError> for Stopped {
    fn from(cause: KafkaError) -> Self {
        Self::Link(cause)
    }
}

impl From<Malformed> for Stopped {
    fn from(cause: Malformed) -> Self {
        Self::Link(cause.into())
    }
}

pub(super) fn lost(address: SocketAddr, cause: impl Into<LinkError>) -> LoadError {
    LoadError::Lost {
        address,
        cause: cause.into(),
    }
}

/// A native produce of one entry is answered with one offset, or a refusal.
fn taken(reply: &Reply<'_>, key: PartitionKey) -> Result<(), LoadError> {
    let Reply::Produced(produced) = reply else {
        return Err(unfit(reply, key));
    };
    for entry in produced.entries() {
        entry.map_err(|refusal| refused(key, refusal.to_string()))?;
    }
    Ok(())
}

fn walk(
    reply: &Reply<'_>,
    keys: &[PartitionKey],
    mut take: impl FnMut(usize, &[u8]) -> Result<(), LoadError>,
) -> Result<(), LoadError> {
    let Reply::Fetched(fetched) = reply else {
        return Err(unfit(reply, keys[0]));
    };
    // The client counts the entries of a reply; they are in the order of the request.
    for (place, (key, entry)) in keys.iter().zip(fetched.entries()).enumerate() {
        if let Some(refusal) = entry.error {
            return Err(refused(*key, refusal.to_string()));
        }
        take(place, entry.batches)?;
    }
    Ok(())
}

/// What of `batches` is whole: a broker may cut the last one at the bytes that were asked for. The first is never cut.
fn whole(batches: &[u8]) -> &[u8] {
    let mut end = 0;
    while let Some(length) = batches[end..].get(8..12) {
        let length = i32::from_be_bytes([length[0], length[1], length[2], length[3]]);
        let next = end as u64 + LENGTH_PREFIX_BYTES as u64 + u64::from(length.max(0) as u32);
        if next > batches.len() as u64 {
            break;
        }
        end = next as usize;
    }
    match end {
        // Left to whoever looks into it, and finds it damaged.
        0 => batches,
        end => &batches[..end],
    }
}

fn place(keys: &[PartitionKey], entry: &FetchedEntry<'_>) -> Result<usize, Malformed> {
    let is_it = |key: &PartitionKey| i64::from(key.partition.0) == i64::from(entry.index);
    let place = keys.iter().position(is_it);
    place.ok_or(Malformed::Field("partition that nobody asked for"))
}

fn check(key: PartitionKey, code: i16, words: Option<&str>) -> Result<(), LoadError> {
    match code {
        0 => Ok(()),
        code => Err(refused(key, format!("Kafka's error {code}{}", said(words)))),
    }
}

fn refused(key: PartitionKey, refusal: String) -> LoadError {
    LoadError::Refused { key, refusal }
}

fn unfit(reply: &Reply<'_>, key: PartitionKey) -> LoadError {
    let answer = format!("{reply:?}");
    LoadError::Unfit { key, answer }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::record::BatchBuilder;
    use crate::base::{PartitionNo, TimestampMs, TopicId};

    #[test]
    fn a_batch_that_is_cut_at_the_end_is_left_for_the_next_fetch() {
        let mut builder = BatchBuilder::new();
        builder.push(TimestampMs(0), None, Some(b"v"), &[]);
        let one = builder.finish().to_vec();
        let two = [one.as_slice(), one.as_slice()].concat();
        assert_eq!(whole(&two), two);
        for cut in one.len()..two.len() {
            assert_eq!(whole(&two[..cut]), one, "{cut}");
        }
        for cut in 0..one.len() {
            assert_eq!(whole(&one[..cut]), &one[..cut], "it is seen to be damaged");
        }
    }

    #[test]
    fn partitions_that_nobody_asked_for_are_no_answer() {
        let key = |number| PartitionKey::new(TopicId(1), PartitionNo(number));
        let entry = |index| FetchedEntry {
            index,
            code: 0,
            batches: &[],
        };
        let keys = [key(4), key(2)];
        assert_eq!(place(&keys, &entry(2)), Ok(1));
        assert!(place(&keys, &entry(3)).is_err());
        assert!(place(&keys, &entry(-1)).is_err());
    }
}
