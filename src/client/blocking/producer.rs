//! Sends records in batches, several requests in flight, and tells what became of each batch.

use super::connection::Connection;
use super::{Dialer, random};
use crate::base::limits::{BATCH_BYTES_MAX, FRAME_BODY_BYTES_MAX, REQUEST_PARTITIONS_MAX};
use crate::base::record::RecordHeader;
use crate::base::{AckLevel, CoreId, Offset, PartitionKey, PartitionNo, TimestampMs};
use crate::client::ClientError;
use crate::client::batcher::{Batch, Batcher, Outgoing};
use crate::client::partitioner::{Partitioner, Target};
use crate::client::session::Session;
use crate::io::Monotonic;
use crate::protocol::native::{ErrorCode, Refusal, Reply, TopicInfo};
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant, SystemTime};

/// How a producer behaves.
#[derive(Clone, Copy, Debug)]
pub struct ProducerOptions {
    /// The level that records are acknowledged at; `None`: the topic's own.
    pub level: Option<AckLevel>,
    /// How long a record waits for others to share its batch, seen whenever the producer is called.
    pub linger: Duration,
    /// How large a batch grows, in bytes.
    pub batch_bytes: usize,
    /// How many requests may be in flight to one core.
    pub in_flight_max: usize,
    /// How often a batch is sent again that was refused for a reason that passes, and so is not stored. With more than
    /// one request in flight it may end up behind batches that were sent after it.
    pub retries: u32,
    /// How often a batch is sent again whose outcome is unknown: more than 0 may store records twice.
    pub retries_unknown: u32,
}

impl Default for ProducerOptions {
    fn default() -> Self {
        Self {
            level: None,
            linger: Duration::from_millis(5),
            batch_bytes: 256 << 10,
            in_flight_max: 8,
            retries: 10,
            retries_unknown: 0,
        }
    }
}

/// What became of the records of one batch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Delivery {
    /// The partition.
    pub partition: u32,
    /// The sequence of the first record, as [`Producer::send`] returned it; the others follow it.
    pub first_sequence: u64,
    /// How many records.
    pub count: u32,
    /// What is known.
    pub outcome: Outcome,
}

/// What is known about records that were sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Acknowledged at the producer's level; the first record has this offset, the others follow it.
    Acked(Offset),
    /// Certainly not stored.
    Failed(String),
    /// Perhaps stored: the connection was lost, or the broker's storage failed, before the answer.
    Unknown(String),
}

/// Records by outcome, since the producer was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Totals {
    /// Acknowledged.
    pub acked: u64,
    /// Certainly not stored.
    pub failed: u64,
    /// Perhaps stored.
    pub unknown: u64,
}

/// A producer for one topic. Nothing happens between its calls: a program that pauses for longer than the linger calls
/// [`Producer::poll`], one that ends calls [`Producer::flush`]. What was not flushed when it is dropped is lost, and so
/// are the answers that were not awaited.
pub struct Producer {
    dialer: Dialer,
    topic: TopicInfo,
    level: AckLevel,
    options: ProducerOptions,
    partitioner: Partitioner,
    batcher: Batcher,
    lanes: BTreeMap<CoreId, Lane>,
    again: Vec<Batch>,
    delivered: Box<dyn FnMut(&Delivery) + Send>,
    totals: Totals,
    began: Instant,
}

/// The way to one core.
#[derive(Default)]
struct Lane {
    connection: Option<Connection>,
    in_flight: VecDeque<Vec<Batch>>,
}

impl Producer {
    pub(super) fn new(
        dialer: Dialer,
        topic: TopicInfo,
        options: ProducerOptions,
        delivered: Box<dyn FnMut(&Delivery) + Send>,
    ) -> Self {
        assert!(options.in_flight_max > 0);
        Self {
            level: options.level.unwrap_or(topic.settings.ack),
            partitioner: Partitioner::new(topic.partitions, random()),
            batcher: Batcher::new(topic.partitions, options.batch_bytes),
            lanes: BTreeMap::new(),
            again: Vec::new(),
            totals: Totals::default(),
            began: Instant::now(),
            dialer,
            topic,
            options,
            delivered,
        }
    }

    /// Takes a record: to a partition, by its key, or anywhere. Returns the partition and the record's sequence in it,
    /// which a later [`Delivery`] answers for. Blocks while too many requests are in flight. Without a timestamp it gets
    /// the present time.
    pub fn send(
        &mut self,
        target: Target<'_>,
        timestamp: Option<TimestampMs>,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[RecordHeader<'_>],
    ) -> Result<(u32, u64), ClientError> {
        let record = Outgoing {
            timestamp: timestamp.unwrap_or_else(wall_clock),
            key,
            value,
            headers,
        };
        let bytes = record.bytes_max();
        if bytes + crate::base::batch::HEADER_BYTES > BATCH_BYTES_MAX {
            let limit = BATCH_BYTES_MAX;
            return Err(ClientError::RecordTooLarge { bytes, limit });
        }
        let mut partition = self.choose(target)?;
        if self.batcher.is_full_for(partition, bytes) {
            let batch = self.batcher.take(partition);
            self.dispatch(batch.into_iter().collect());
            self.partitioner.sent(partition);
            partition = self.choose(target)?;
        }
        let now = self.now();
        let sequence = self.batcher.push(now, partition, &record);
        if self.batcher.due(now, self.options.linger).is_some() {
            self.send_due(now, self.options.linger);
        }
        self.resend();
        Ok((partition, sequence))
    }

    /// Sends what has lingered long enough and takes in the answers that are there. Does not wait for answers unless too
    /// many requests are in flight.
    pub fn poll(&mut self) {
        self.send_due(self.now(), self.options.linger);
        let cores: Vec<CoreId> = self.lanes.keys().copied().collect();
        for core in cores {
            while self.answer_is_there(core) {
                self.receive(core);
            }
        }
        self.resend();
    }

    /// Sends everything and waits until it is known what became of it: each record is in the totals then.
    pub fn flush(&mut self) -> Totals {
        self.send_due(self.now(), Duration::ZERO);
        while self.in_flight() > 0 || !self.again.is_empty() {
            let cores: Vec<CoreId> = self.lanes.keys().copied().collect();
            for core in cores {
                while !self.lane(core).in_flight.is_empty() {
                    self.receive(core);
                }
            }
            self.resend();
        }
        self.totals
    }

    /// Records by outcome so far.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// The topic, as it was when the producer was made.
    pub fn topic(&self) -> &TopicInfo {
        &self.topic
    }

    fn in_flight(&self) -> usize {
        self.lanes.values().map(|lane| lane.in_flight.len()).sum()
    }

    fn choose(&self, target: Target<'_>) -> Result<u32, ClientError> {
        self.partitioner.choose(target).ok_or_else(|| {
            let Target::Partition(partition) = target else {
                unreachable!("keys and sticky choices are within the topic")
            };
            ClientError::NoPartition {
                topic: self.topic.name.clone(),
                partition,
                partitions: self.topic.partitions,
            }
        })
    }

    fn lane(&mut self, core: CoreId) -> &mut Lane {
        self.lanes.entry(core).or_default()
    }

    /// Sends every batch that has been open for `linger`, those of one core together.
    fn send_due(&mut self, now: Monotonic, linger: Duration) {
        let mut due = Vec::new();
        while let Some(partition) = self.batcher.due(now, linger) {
            due.extend(self.batcher.take(partition));
            self.partitioner.sent(partition);
        }
        self.dispatch(due);
    }

    /// Sends batches that were refused or lost, after a pause.
    fn resend(&mut self) {
        if self.again.is_empty() {
            return;
        }
        let tries = self.again.iter().map(|batch| batch.tries).max();
        let mut backoff = self.dialer.backoff();
        let waits = (0..tries.unwrap_or(0)).map_while(|_| backoff.wait());
        std::thread::sleep(waits.last().unwrap_or(self.dialer.backoff.longest));
        let batches = std::mem::take(&mut self.again);
        self.dispatch(batches);
    }

    /// Groups batches by core and sends each group in as few requests as their limits allow.
    fn dispatch(&mut self, batches: Vec<Batch>) {
        let mut groups: BTreeMap<CoreId, Vec<Batch>> = BTreeMap::new();
        for batch in batches {
            let owner = self.topic.owners[batch.partition as usize];
            groups.entry(owner).or_default().push(batch);
        }
        for (core, group) in groups {
            let mut request = Vec::new();
            let mut bytes = 0;
            for batch in group {
                let full = bytes + batch.builder.len() > FRAME_BODY_BYTES_MAX;
                if full || request.len() == REQUEST_PARTITIONS_MAX {
                    self.request(core, std::mem::take(&mut request));
                    bytes = 0;
                }
                bytes += batch.builder.len();
                request.push(batch);
            }
            self.request(core, request);
        }
    }

    /// Sends one request, once there is room for it.
    fn request(&mut self, core: CoreId, mut batches: Vec<Batch>) {
        while self.lane(core).in_flight.len() >= self.options.in_flight_max {
            self.receive(core);
        }
        if let Err(error) = self.connect(core) {
            let why = error.to_string();
            return self.settle_all(batches, &Outcome::Failed(why));
        }
        let (topic, level) = (self.topic.id, self.level);
        let lane = self.lane(core);
        let connection = lane.connection.as_mut().expect("connected above");
        let entries = batches.iter().map(|batch| {
            let key = PartitionKey::new(topic, PartitionNo(batch.partition));
            (key, batch.builder.len() as u32)
        });
        let Session { outbox, ledger, .. } = connection.session();
        outbox
            .produce(ledger, level, entries)
            .expect("batches are counted before they are grouped");
        let sealed = batches.iter_mut().map(|batch| batch.builder.finish());
        let bodies: Vec<&[u8]> = sealed.collect();
        let sent = connection.send(&bodies);
        lane.in_flight.push_back(batches);
        if let Err(error) = sent {
            self.lose(core, &error);
        }
    }

    fn connect(&mut self, core: CoreId) -> Result<(), ClientError> {
        if self.lane(core).connection.is_some() {
            return Ok(());
        }
        let address = self.dialer.cluster.address(core);
        let mut backoff = self.dialer.backoff();
        loop {
            let error = match self
                .dialer
                .open(&address)
                .or_else(|_| self.dialer.open_any())
            {
                Ok(connection) => {
                    self.lane(core).connection = Some(connection);
                    return Ok(());
                }
                Err(error) => error,
            };
            match backoff.wait() {
                Some(wait) if error.is_transient() => std::thread::sleep(wait),
                _ => return Err(error),
            }
        }
    }

    fn answer_is_there(&mut self, core: CoreId) -> bool {
        let lane = self.lane(core);
        if lane.in_flight.is_empty() {
            return false;
        }
        let ready = lane.connection.as_mut().map(Connection::is_ready);
        match ready {
            Some(Ok(ready)) => ready,
            Some(Err(error)) => {
                self.lose(core, &error);
                false
            }
            None => false,
        }
    }

    /// Waits for the answer to the oldest request to a core.
    fn receive(&mut self, core: CoreId) {
        let lane = self.lane(core);
        let connection = lane.connection.as_mut().expect("in flight on it");
        let outcomes: Vec<Result<Offset, Refusal>> = match connection.receive() {
            Ok((_, Reply::Produced(produced))) => produced
                .entries()
                .map(|entry| entry.map(|at| at.base_offset))
                .collect(),
            Ok((_, Reply::Refused(refusal))) => {
                let count = lane.in_flight.front().map_or(0, Vec::len);
                vec![Err(refusal); count]
            }
            Ok(_) => unreachable!("the session holds replies against requests"),
            Err(error) => return self.lose(core, &error),
        };
        let batches = lane.in_flight.pop_front().expect("it was answered");
        for (batch, outcome) in batches.into_iter().zip(outcomes) {
            match outcome {
                Ok(offset) => self.settle(batch, Outcome::Acked(offset)),
                Err(refusal) => self.refused(batch, refusal),
            }
        }
    }

    fn refused(&mut self, mut batch: Batch, refusal: Refusal) {
        let passes = refusal.code.is_transient();
        if passes && batch.tries < self.options.retries {
            batch.tries += 1;
            return self.again.push(batch);
        }
        match refusal.code {
            ErrorCode::StorageFailed | ErrorCode::Other(_) => {
                self.unknown(batch, &refusal.message);
            }
            _ => self.settle(batch, Outcome::Failed(refusal.message)),
        }
    }

    /// The connection is gone, and with it what is known about everything in flight on it.
    fn lose(&mut self, core: CoreId, error: &ClientError) {
        let why = error.to_string();
        let lane = self.lane(core);
        lane.connection = None;
        for batch in std::mem::take(&mut lane.in_flight).into_iter().flatten() {
            self.unknown(batch, &why);
        }
    }

    fn unknown(&mut self, mut batch: Batch, why: &str) {
        if batch.tries < self.options.retries_unknown {
            batch.tries += 1;
            return self.again.push(batch);
        }
        self.settle(batch, Outcome::Unknown(why.to_owned()));
    }

    fn settle_all(&mut self, batches: Vec<Batch>, outcome: &Outcome) {
        for batch in batches {
            self.settle(batch, outcome.clone());
        }
    }

    fn settle(&mut self, batch: Batch, outcome: Outcome) {
        let count = batch.builder.count();
        let total = match outcome {
            Outcome::Acked(_) => &mut self.totals.acked,
            Outcome::Failed(_) => &mut self.totals.failed,
            Outcome::Unknown(_) => &mut self.totals.unknown,
        };
        *total += u64::from(count);
        let delivery = Delivery {
            partition: batch.partition,
            first_sequence: batch.first_sequence,
            count,
            outcome,
        };
        self.batcher.recycle(batch.builder);
        (self.delivered)(&delivery);
    }

    fn now(&self) -> Monotonic {
        Monotonic(self.began.elapsed().as_nanos() as u64)
    }
}

fn wall_clock() -> TimestampMs {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    TimestampMs(since.map_or(0, |since| since.as_millis() as i64))
}
