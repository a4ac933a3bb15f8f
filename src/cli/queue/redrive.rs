//! `millrace queue redrive`: dead letters are written to the topic of their queue again, each to the partition that it came
//! from, as it was.
//!
//! ```text
//!   dead letters ─> NAME.redrive, a queue on them ─> whose? this queue's ─> produce, acked ─> ack
//!                                                        another's ────────────────────────> ack: left where it is
//! ```
//! The queue `NAME.redrive` is made by the first redrive and stays: it knows which letters were brought back. A letter is
//! acked only once its message is stored again at its topic's level. So none is lost; a redrive that dies, or whose
//! connection does, between the two writes that message once more when it is run again.

use crate::base::queue::{QueueSettings, Retry};
use crate::base::record::RecordHeader;
use crate::base::{Offset, TimestampMs};
use crate::cli::broker;
use crate::cli::exit::{Exit, Failure};
use crate::cli::interrupt::Interrupt;
use crate::cli::print::{Output, emit, json, note};
use crate::cli::values::Endpoint;
use crate::client::blocking::{
    Client, ConsumerOptions, Outcome, Producer, ProducerOptions, QueueConsumer, QueueOptions,
    QueueRecord, Receipt, StartAt,
};
use crate::client::{ClientError, NewQueue, QueueInfo, Target, TopicRef};
use crate::protocol::native::ErrorCode;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

const POLL: Duration = Duration::from_millis(100);
/// How long a message that is read from its topic may take to come.
const READ_WAIT: Duration = Duration::from_secs(2);
/// How many letters are in hand at a time, and written together.
const PREFETCH: u32 = 1_000;
/// How long one waits whose message cannot be read.
const UNREADABLE_WAIT_MS: u32 = 600_000;
/// How long a letter is leased: longer than it takes to write as many.
const LEASE_MS: u32 = 60_000;
/// What the headers begin with that a dead letter has besides its own.
const OURS: &[u8] = b"millrace-";
/// Of those, the ones that producers set: they stay.
const SET_BY_PRODUCERS: [&[u8]; 2] = [b"millrace-priority", b"millrace-ttl-ms"];

/// The flags of `queue redrive`.
#[derive(clap::Args, Clone, PartialEq, Eq, Debug)]
pub struct RedriveArgs {
    /// The queue whose dead letters are brought back
    pub name: String,
}

#[derive(Serialize, Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Tally {
    /// Written to the topic again, and done with among the dead letters.
    redriven: u64,
    /// Of other queues: left where they are.
    others: u64,
    /// Their messages were not in the letter and cannot be read any more.
    unreadable: u64,
}

pub(super) fn run(args: &RedriveArgs, server: &Endpoint, output: Output) -> Result<(), Failure> {
    let interrupt = Interrupt::watch()?;
    let mut client = broker::connect(server)?;
    let queue = client.queue(&args.name)?;
    let Some(dead_letters) = queue.dead_letters.clone() else {
        let line = format!(
            "queue {} has no dead letters: what is dead only stays in topic {}",
            queue.name, queue.topic
        );
        return Err(Failure::new(Exit::Usage, line));
    };
    let helper = helper(&mut client, &queue, &dead_letters)?;
    let ends = ends(&mut client, &dead_letters)?;
    let mut redrive = Redrive::start(client, &queue, &helper)?;
    let done = redrive.run(&helper, &ends, &interrupt);
    redrive.progress.finish_and_clear();
    let tally = redrive.tally;
    if output == Output::Json {
        emit(&json(&tally))?;
    } else {
        emit(&format!(
            "{} redriven, {} of other queues left, {} unreadable\n",
            tally.redriven, tally.others, tally.unreadable
        ))?;
    }
    done?;
    if tally.unreadable > 0 {
        let line = format!(
            "{} letters stay: their messages were not in them, and topic {} has them no more",
            tally.unreadable, queue.topic
        );
        return Err(Failure::new(Exit::Failed, line));
    }
    if interrupt.is_asked() {
        let line = "interrupted: what was not redriven stays among the dead letters";
        return Err(Failure::new(Exit::Failed, line));
    }
    Ok(())
}

/// The queue on the dead letters that knows what was brought back; made, if there is none.
fn helper(
    client: &mut Client,
    queue: &QueueInfo,
    dead_letters: &str,
) -> Result<QueueInfo, Failure> {
    let name = format!("{}.redrive", queue.name);
    let new = NewQueue {
        name: name.clone(),
        topic: TopicRef::Name(dead_letters.to_owned()),
        dead_letters: None,
        from_end: false,
        settings: QueueSettings {
            lease_ms: LEASE_MS,
            deliveries_max: None,
            retry: Retry::AtOnce,
            key_order: false,
            reads_headers: false,
            has_dead_letters: false,
        },
    };
    let found = match client.queue(&name) {
        Err(ClientError::Refused(refusal)) if refusal.code == ErrorCode::UnknownQueue => {
            client.create_queue(&new)?
        }
        found => found?,
    };
    if found.topic != dead_letters {
        let line = format!(
            "queue {name} is on topic {}, not on the dead letters in {dead_letters}: delete it, or use another name",
            found.topic
        );
        return Err(Failure::new(Exit::Failed, line));
    }
    Ok(found)
}

/// Where the dead letters end now, by partition: what dies from here on is for the next time.
fn ends(client: &mut Client, dead_letters: &str) -> Result<Vec<Offset>, Failure> {
    let topic = TopicRef::Name(dead_letters.to_owned());
    let (_, states) = client.describe_topic(&topic)?;
    Ok(states.iter().map(|state| state.high_watermark).collect())
}

struct Redrive {
    client: Client,
    queue: QueueInfo,
    consumer: QueueConsumer,
    producer: Producer,
    /// Why records were not acked.
    refused: Arc<Mutex<Option<String>>>,
    /// What is to be acked once it is stored.
    written: Vec<Receipt>,
    tally: Tally,
    progress: ProgressBar,
}

impl Redrive {
    fn start(mut client: Client, queue: &QueueInfo, helper: &QueueInfo) -> Result<Self, Failure> {
        let refused: Arc<Mutex<Option<String>>> = Arc::default();
        let told = Arc::clone(&refused);
        let options = ProducerOptions::default();
        let producer = client.producer(&queue.topic, options, move |delivery| {
            if let Outcome::Failed(why) | Outcome::Unknown(why) = &delivery.outcome {
                let mut first = told.lock().unwrap_or_else(PoisonError::into_inner);
                first.get_or_insert_with(|| why.clone());
            }
        })?;
        let states = client.describe_queue(&helper.name)?;
        let ready = states.partitions.iter().flat_map(|state| &state.counts);
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len} letters {eta}");
        let style = style.expect("the template above is valid");
        let progress = ProgressBar::new(ready.map(|counts| counts.ready).sum()).with_style(style);
        let options = QueueOptions {
            prefetch: PREFETCH,
            ..QueueOptions::default()
        };
        Ok(Self {
            consumer: client.queue_consumer(&helper.name, options)?,
            client,
            queue: queue.clone(),
            producer,
            refused,
            written: Vec::new(),
            tally: Tally::default(),
            progress,
        })
    }

    fn run(
        &mut self,
        helper: &QueueInfo,
        ends: &[Offset],
        interrupt: &Interrupt,
    ) -> Result<(), Failure> {
        while !interrupt.is_asked() {
            let mut came = 0;
            let answerer = self.consumer.answerer();
            for delivered in self.consumer.poll(POLL)? {
                let delivered = delivered?;
                let receipt = delivered.receipt;
                // What died since stays in hand until the end, and goes back then.
                if ends.get(receipt.partition as usize) <= Some(&receipt.offset) {
                    continue;
                }
                came += 1;
                match Letter::read(&delivered, &self.queue) {
                    None => {
                        answerer.ack(receipt);
                        self.tally.others += 1;
                    }
                    Some(letter) => {
                        match letter.write(&delivered, &mut self.client, &mut self.producer)? {
                            true => self.written.push(receipt),
                            false => {
                                // Another time: it must not be in the way of the others.
                                answerer.retry_after(receipt, UNREADABLE_WAIT_MS);
                                self.tally.unreadable += 1;
                            }
                        }
                    }
                }
            }
            self.settle()?;
            if came == 0 && !self.consumer.has_more() {
                self.consumer.flush()?;
                if self.is_at_end(helper, ends)? {
                    break;
                }
            }
        }
        let settled = self.consumer.flush()?;
        let again = settled.stale + settled.lost;
        if again > 0 {
            note(&format!(
                "{again} letters were written, and may be written once more by the next redrive"
            ));
        }
        Ok(())
    }

    /// Waits until what was written is stored, then lets go of its letters.
    fn settle(&mut self) -> Result<(), Failure> {
        if self.written.is_empty() {
            return Ok(());
        }
        let totals = self.producer.flush();
        if totals.failed + totals.unknown > 0 {
            let why = self
                .refused
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
            let why = why.unwrap_or_else(|| "the broker did not acknowledge".to_owned());
            let line = format!("{why}; the letters that were not stored stay: redrive again");
            return Err(Failure::new(Exit::Failed, line));
        }
        let answerer = self.consumer.answerer();
        self.tally.redriven += self.written.len() as u64;
        self.written
            .drain(..)
            .for_each(|receipt| answerer.ack(receipt));
        let done = self.tally.redriven + self.tally.others;
        self.progress.set_position(done);
        Ok(())
    }

    /// Whether nothing is left of what was there at the beginning but what cannot be read.
    fn is_at_end(&mut self, helper: &QueueInfo, ends: &[Offset]) -> Result<bool, Failure> {
        let states = self.client.describe_queue(&helper.name)?;
        let mut is_at_end = true;
        for state in states.partitions {
            let counts = state.counts.map_err(ClientError::from)?;
            let end = ends
                .get(state.partition.0 as usize)
                .copied()
                .unwrap_or_default();
            is_at_end &= counts.floor >= end || self.tally.unreadable > 0 && counts.ready == 0;
        }
        Ok(is_at_end)
    }
}

/// What a dead letter says about the message that it was.
struct Letter {
    partition: u32,
    offset: Offset,
    /// The message's own; none: the letter does not hold the message.
    timestamp: Option<TimestampMs>,
}

impl Letter {
    /// Reads the headers that the broker wrote; `None`: it is no letter of this queue.
    fn read(delivered: &QueueRecord<'_>, queue: &QueueInfo) -> Option<Self> {
        let header = |wanted: &str| {
            // Behind its own headers, which may hold those of a letter that was brought back and died again.
            let all = delivered.record.headers();
            let found = all.filter(|(name, _)| *name == wanted.as_bytes()).last();
            std::str::from_utf8(found?.1?).ok().map(str::to_owned)
        };
        let source = header("millrace-source")?;
        let place = source.strip_prefix(&format!("{}/", queue.id))?;
        let (partition, offset) = place.split_once('/')?;
        Some(Self {
            partition: partition.parse().ok()?,
            offset: Offset(offset.parse().ok()?),
            timestamp: header("millrace-timestamp-ms")
                .and_then(|text| text.parse().ok())
                .map(TimestampMs),
        })
    }

    /// Writes the message to where it came from. False: it is not to be had any more.
    fn write(
        &self,
        delivered: &QueueRecord<'_>,
        client: &mut Client,
        producer: &mut Producer,
    ) -> Result<bool, Failure> {
        let target = Target::Partition(self.partition);
        let record = &delivered.record;
        let is_own = |name: &[u8]| !name.starts_with(OURS) || SET_BY_PRODUCERS.contains(&name);
        if let Some(timestamp) = self.timestamp {
            let own = record.headers().filter(|(name, _)| is_own(name));
            let headers: Vec<RecordHeader<'_>> = own.collect();
            producer.send(target, Some(timestamp), record.key, record.value, &headers)?;
            return Ok(true);
        }
        let topic = producer.topic().name.clone();
        let options = ConsumerOptions {
            start: StartAt::Offset(self.offset),
            ..ConsumerOptions::default()
        };
        let mut consumer = client.consumer(&topic, Some(&[self.partition]), options)?;
        let polled = match consumer.poll(READ_WAIT) {
            Err(ClientError::Refused(_)) => return Ok(false),
            polled => polled?,
        };
        for found in polled {
            let found = found?;
            if found.offset == self.offset {
                let headers: Vec<RecordHeader<'_>> = found.headers().collect();
                let timestamp = Some(found.timestamp);
                producer.send(target, timestamp, found.key, found.value, &headers)?;
                return Ok(true);
            }
        }
        Ok(false)
    }
}
