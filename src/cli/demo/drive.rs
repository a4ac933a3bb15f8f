//! The demo's client: lines in, one at a time and then as many as go; all lines out; clocks around each.

use crate::base::AckLevel;
use crate::base::limits::{SEGMENT_BYTES_DEFAULT, SEGMENT_MS_DEFAULT};
use crate::cli::broker;
use crate::cli::demo::feed::{Feed, LineDigest};
use crate::cli::demo::latency::Latency;
use crate::cli::demo::report::{Flow, Measured};
use crate::cli::exit::{Exit, Failure};
use crate::cli::interrupt::Interrupt;
use crate::cli::values::Endpoint;
use crate::client::Target;
use crate::client::blocking::{
    Client, ConsumerOptions, Delivery, Outcome, Producer, ProducerOptions, StartAt,
};
use crate::engine::{NewTopic, TopicSettings};
use indicatif::{ProgressBar, ProgressStyle};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

const TOPIC: &str = "demo";
/// How large the client's batches grow.
pub const BATCH_BYTES: usize = 128 << 10;
/// How many of them wait for their acks at once.
pub const IN_FLIGHT_MAX: usize = 8;
/// How much one fetch asks for.
const FETCH_BYTES: u32 = 4 << 20;
/// Lines that are sent one at a time before the rest, unless the time is up before.
const SINGLE_LINES: u64 = 5_000;
const SINGLE_TIME: Duration = Duration::from_secs(2);
/// One line in so many is timed while all are sent: often enough for several in each batch.
pub const SAMPLE_EVERY: u64 = 64;
/// One line in so many looks for answers, the clock and interrupts.
const LOOK_EVERY: u64 = 256;
const POLL: Duration = Duration::from_millis(100);
/// A broker that gives nothing for so long has lost the rest.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// One run against a broker.
pub struct Drive<'a> {
    endpoint: &'a Endpoint,
    interrupt: &'a Interrupt,
    bytes: u64,
    acks: Acks,
}

impl<'a> Drive<'a> {
    /// Against this broker; `bytes` of lines are expected.
    pub fn new(endpoint: &'a Endpoint, interrupt: &'a Interrupt, bytes: u64) -> Self {
        Self {
            endpoint,
            interrupt,
            bytes,
            acks: Acks::default(),
        }
    }

    /// Ingests all lines of the feed and reads them back.
    pub fn run(&self, mut feed: Feed) -> Result<Measured, Failure> {
        let mut client = broker::connect(self.endpoint)?;
        client.create_topic(&NewTopic {
            name: TOPIC.to_owned(),
            partitions: 1,
            settings: TopicSettings {
                ack: AckLevel::Written,
                segment_bytes: SEGMENT_BYTES_DEFAULT,
                segment_ms: SEGMENT_MS_DEFAULT,
                ..TopicSettings::default()
            },
        })?;
        // A batch that is sent again could overtake another: no retries, so that order is a part of what is compared.
        let options = ProducerOptions {
            level: Some(AckLevel::Written),
            batch_bytes: BATCH_BYTES,
            in_flight_max: IN_FLIGHT_MAX,
            retries: 0,
            ..ProducerOptions::default()
        };
        let acks = self.acks.clone();
        let mut producer = client.producer(TOPIC, options, move |told| acks.take(told))?;
        let mut digest = LineDigest::default();
        let alone = self.one_at_a_time(&mut feed, &mut producer, &mut digest)?;
        let produced = self.all_at_once(&mut feed, &mut producer, &mut digest)?;
        drop(producer);
        let (consumed, digest_out) = self.read_back(&mut client, digest.lines)?;
        let loaded = self.acks.state().latency.clone();
        Ok(Measured {
            alone,
            loaded,
            produced,
            consumed,
            digest_in: digest,
            digest_out,
        })
    }

    fn one_at_a_time(
        &self,
        feed: &mut Feed,
        producer: &mut Producer,
        digest: &mut LineDigest,
    ) -> Result<Latency, Failure> {
        let mut latency = Latency::new();
        let began = Instant::now();
        while digest.lines < SINGLE_LINES && began.elapsed() < SINGLE_TIME {
            let Some(line) = feed.next_line()? else {
                break;
            };
            digest.take(line);
            let sent = Instant::now();
            producer.send(Target::Partition(0), None, None, Some(line), &[])?;
            producer.flush();
            latency.record(sent.elapsed());
            self.check()?;
        }
        Ok(latency)
    }

    fn all_at_once(
        &self,
        feed: &mut Feed,
        producer: &mut Producer,
        digest: &mut LineDigest,
    ) -> Result<Flow, Failure> {
        let (lines, bytes) = (digest.lines, digest.bytes);
        let progress = bar("in", self.bytes);
        let began = Instant::now();
        while let Some(line) = feed.next_line()? {
            digest.take(line);
            let sampled = digest.lines.is_multiple_of(SAMPLE_EVERY).then(Instant::now);
            let (_, sequence) = producer.send(Target::Partition(0), None, None, Some(line), &[])?;
            if let Some(at) = sampled {
                self.acks.expect(sequence, at);
            }
            if digest.lines.is_multiple_of(LOOK_EVERY) {
                producer.poll();
                progress.set_position(digest.bytes);
                self.check()?;
            }
        }
        producer.flush();
        let time = began.elapsed();
        progress.finish_and_clear();
        self.check()?;
        Ok(Flow {
            lines: digest.lines - lines,
            bytes: digest.bytes - bytes,
            time,
        })
    }

    /// Reads until as many lines came back as went in, and sees whether there are more.
    fn read_back(&self, client: &mut Client, lines: u64) -> Result<(Flow, LineDigest), Failure> {
        let options = ConsumerOptions {
            start: StartAt::Earliest,
            bytes_max: FETCH_BYTES,
            ..ConsumerOptions::default()
        };
        let progress = bar("out", self.bytes);
        let mut digest = LineDigest::default();
        let began = Instant::now();
        let mut consumer = client.consumer(TOPIC, None, options)?;
        let (mut last, mut time) = (Instant::now(), Duration::ZERO);
        while digest.lines < lines || !consumer.is_caught_up() {
            let before = digest.lines;
            for record in consumer.poll(POLL)? {
                digest.take(record?.value.unwrap_or_default());
            }
            if digest.lines > before {
                last = Instant::now();
                time = last - began;
            } else if last.elapsed() > SILENCE_MAX {
                let line = format!("only {} of {lines} lines came back", digest.lines);
                return Err(Failure::new(Exit::Failed, line));
            }
            progress.set_position(digest.bytes);
            self.check()?;
        }
        progress.finish_and_clear();
        let flow = Flow {
            lines: digest.lines,
            bytes: digest.bytes,
            time,
        };
        Ok((flow, digest))
    }

    /// Whether to go on: nobody interrupts, and no line was refused.
    fn check(&self) -> Result<(), Failure> {
        if self.interrupt.is_asked() {
            return Err(self.interrupt.failure());
        }
        match &self.acks.state().refused {
            None => Ok(()),
            Some(why) => Err(Failure::new(
                Exit::Failed,
                format!("a batch was not acked: {why}"),
            )),
        }
    }
}

/// Shown on a terminal only.
fn bar(name: &'static str, bytes: u64) -> ProgressBar {
    let template = "{msg:>3} {bar:30} {bytes}/{total_bytes} {binary_bytes_per_sec} {eta}";
    let style = ProgressStyle::with_template(template).expect("the template above is valid");
    ProgressBar::new(bytes).with_style(style).with_message(name)
}

/// Lines that wait for their acks, and how long those before them waited. The producer tells from inside its calls, so
/// the lock is never contended.
#[derive(Clone, Default)]
struct Acks(Arc<Mutex<AckState>>);

#[derive(Default)]
struct AckState {
    waiting: VecDeque<(u64, Instant)>,
    latency: Latency,
    refused: Option<String>,
}

impl Acks {
    fn state(&self) -> MutexGuard<'_, AckState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The line of this sequence was handed over at `at`.
    fn expect(&self, sequence: u64, at: Instant) {
        self.state().waiting.push_back((sequence, at));
    }

    fn take(&self, told: &Delivery) {
        let mut state = self.state();
        match &told.outcome {
            Outcome::Acked(_) => state.acked(told.first_sequence + u64::from(told.count)),
            Outcome::Failed(why) | Outcome::Unknown(why) => {
                state.refused.get_or_insert_with(|| why.clone());
            }
        }
    }
}

impl AckState {
    /// Every line below `end` is acked: batches of one partition are answered in their order.
    fn acked(&mut self, end: u64) {
        let now = Instant::now();
        while let Some((sequence, at)) = self.waiting.front()
            && *sequence < end
        {
            self.latency.record(now - *at);
            self.waiting.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Offset;

    #[test]
    fn a_batch_answers_for_the_lines_in_it_and_a_refusal_is_kept() {
        let acks = Acks::default();
        let told = |first_sequence, count, outcome| Delivery {
            partition: 0,
            first_sequence,
            count,
            outcome,
        };
        for sequence in [0, 64, 128] {
            acks.expect(sequence, Instant::now());
        }
        acks.take(&told(0, 64, Outcome::Acked(Offset(0))));
        assert_eq!(acks.state().latency.count(), 1);
        acks.take(&told(64, 65, Outcome::Acked(Offset(64))));
        assert_eq!(acks.state().latency.count(), 3);
        assert!(acks.state().waiting.is_empty() && acks.state().refused.is_none());
        acks.take(&told(129, 1, Outcome::Failed("full".to_owned())));
        acks.take(&told(130, 1, Outcome::Unknown("lost".to_owned())));
        assert_eq!(acks.state().refused.as_deref(), Some("full"));
    }
}
