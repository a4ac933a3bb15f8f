//! What is asked of the broker while the disk records, and what became of it.
//!
//! Several producers write to topics at `synced` and at `written`, in small and in large batches, to partitions of
//! their own and to shared ones; another one makes topics, fills them and deletes them. Each answer is noted with the
//! moment of the disk at which it had been heard.

use crate::disk::Clock;
use millrace::base::prng::Prng;
use millrace::base::{AckLevel, Offset};
use millrace::client::Target;
use millrace::client::backoff::BackoffOptions;
use millrace::client::blocking::{
    Client, ClientOptions, Delivery, Outcome, Producer, ProducerOptions,
};
use millrace::protocol::native::{NewTopic, TopicRef, TopicSettings};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The smallest that a topic may ask for, so that segments are sealed.
const SEGMENT_BYTES: u64 = 1 << 20;
/// How much one producer sends at most, so that a state is soon read.
const PRODUCER_BYTES_MAX: u64 = 3 << 20;

/// A moment: which life of the broker, and the position in the disk's log of that life.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Moment {
    pub(crate) life: usize,
    pub(crate) at: usize,
}

/// What is known of one record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fate {
    Open,
    Acked(Offset, Moment),
    Failed,
    Unknown,
}

/// What one producer sent to one partition.
#[derive(Clone, Debug)]
pub(crate) struct Lane {
    pub(crate) topic: u32,
    pub(crate) partition: u32,
    pub(crate) producer: u32,
    pub(crate) level: AckLevel,
    pub(crate) fates: Vec<Fate>,
}

/// One making of a topic. Another one may have the same name later.
#[derive(Clone, Debug)]
pub(crate) struct Topic {
    pub(crate) name: String,
    pub(crate) partitions: u32,
    pub(crate) asked: Moment,
    pub(crate) made: Option<Moment>,
    pub(crate) removal_asked: Option<Moment>,
    pub(crate) removed: Option<Moment>,
}

/// All that clients know. A topic's number is its place.
#[derive(Clone, Default, Debug)]
pub(crate) struct Known {
    pub(crate) topics: Vec<Topic>,
    pub(crate) lanes: Vec<Lane>,
}

/// Which record it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Name {
    pub(crate) topic: u32,
    pub(crate) partition: u32,
    pub(crate) producer: u32,
    pub(crate) sequence: u32,
}

impl Name {
    /// The bytes of a record follow from its name, so that every byte can be checked.
    pub(crate) fn value(self, large: bool) -> Vec<u8> {
        let words = [self.topic, self.partition, self.producer, self.sequence];
        let mut prng = Prng::new(words.iter().fold(0, |seed, word| {
            (seed ^ u64::from(*word)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        }));
        let bytes = match (prng.below(100), large) {
            (0..70, false) => prng.below(200),
            (_, false) | (0..70, true) => prng.below(4_000),
            (_, true) => 4_000 + prng.below(60_000),
        };
        let mut value = Vec::with_capacity(20 + bytes as usize + 8);
        value.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        value.extend(u32::from(large).to_le_bytes());
        for _ in 0..bytes / 8 {
            value.extend(prng.next_u64().to_le_bytes());
        }
        value
    }

    /// Whose bytes these are, if they are exactly what somebody sent.
    pub(crate) fn of(value: &[u8]) -> Option<Self> {
        let (words, _) = value.split_first_chunk::<20>()?;
        let word = |index: usize| u32::from_le_bytes(words[index * 4..][..4].try_into().unwrap());
        let name = Self {
            topic: word(0),
            partition: word(1),
            producer: word(2),
            sequence: word(3),
        };
        (name.value(word(4) != 0) == value).then_some(name)
    }
}

/// What clients need: where the broker is, and the disk's time.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) addresses: Vec<String>,
    pub(crate) clock: Clock,
    pub(crate) life: usize,
}

impl Place {
    pub(crate) fn now(&self) -> Moment {
        Moment {
            life: self.life,
            at: self.clock.now(),
        }
    }

    /// Without retries: what a broker that is gone did not answer is unknown.
    pub(crate) fn client(&self) -> Result<Client, String> {
        let options = ClientOptions {
            backoff: BackoffOptions {
                tries: 0,
                ..BackoffOptions::default()
            },
            ..ClientOptions::default()
        };
        Client::connect(self.addresses.clone(), options).map_err(|error| format!("dial: {error}"))
    }
}

/// One producer of one topic: into which of its partitions, and how.
pub(crate) struct Sender {
    pub(crate) topic: u32,
    pub(crate) name: String,
    pub(crate) producer: u32,
    pub(crate) partitions: Vec<u32>,
    pub(crate) level: AckLevel,
    pub(crate) batch_bytes: usize,
    pub(crate) in_flight_max: usize,
    pub(crate) large: bool,
}

/// A sender at work.
pub(crate) struct Sending {
    sender: Sender,
    producer: Producer,
    lanes: Arc<Mutex<Vec<Lane>>>,
}

impl Sender {
    fn drawn(topic: (u32, &str), producer: u32, partitions: &[u32], prng: &mut Prng) -> Self {
        Self {
            topic: topic.0,
            name: topic.1.to_owned(),
            producer,
            partitions: partitions.to_vec(),
            level: AckLevel::Synced,
            batch_bytes: [1, 4 << 10, 32 << 10, 256 << 10][prng.below(4) as usize],
            in_flight_max: 1 + prng.below(8) as usize,
            large: prng.chance(1, 4),
        }
    }

    pub(crate) fn begin(self, place: &Place) -> Result<Sending, String> {
        let options = ProducerOptions {
            level: Some(self.level),
            linger: Duration::from_millis(1),
            batch_bytes: self.batch_bytes,
            in_flight_max: self.in_flight_max,
            retries: 0,
            retries_unknown: 0,
        };
        let lane = |partition: &u32| Lane {
            topic: self.topic,
            partition: *partition,
            producer: self.producer,
            level: self.level,
            fates: Vec::new(),
        };
        let lanes: Vec<Lane> = self.partitions.iter().map(lane).collect();
        let lanes = Arc::new(Mutex::new(lanes));
        let (told, at) = (Arc::clone(&lanes), place.clone());
        let producer = place
            .client()?
            .producer(&self.name, options, move |delivery| {
                note(&mut told.lock().unwrap(), delivery, at.now());
            })
            .map_err(|error| format!("producer of {}: {error}", self.name))?;
        Ok(Sending {
            sender: self,
            producer,
            lanes,
        })
    }
}

fn note(lanes: &mut [Lane], delivery: &Delivery, now: Moment) {
    let lane = lanes.iter_mut().find(|l| l.partition == delivery.partition);
    let lane = lane.expect("an answer to what was sent");
    for index in 0..delivery.count {
        let fate = &mut lane.fates[(delivery.first_sequence + u64::from(index)) as usize];
        assert_eq!(*fate, Fate::Open, "told twice");
        *fate = match &delivery.outcome {
            Outcome::Acked(base) => Fate::Acked(Offset(base.0 + u64::from(index)), now),
            Outcome::Failed(_) => Fate::Failed,
            Outcome::Unknown(_) => Fate::Unknown,
        };
    }
}

impl Sending {
    /// Sends one record to its partition number `choice`, and tells how many bytes that were.
    pub(crate) fn send(&mut self, choice: usize) -> Result<u64, String> {
        let partition = self.sender.partitions[choice];
        let name = {
            let lane = &mut self.lanes.lock().unwrap()[choice];
            lane.fates.push(Fate::Open);
            Name {
                topic: lane.topic,
                partition,
                producer: lane.producer,
                sequence: lane.fates.len() as u32 - 1,
            }
        };
        let value = name.value(self.sender.large);
        let target = Target::Partition(partition);
        let sent = self.producer.send(target, None, None, Some(&value), &[]);
        sent.map_err(|error| format!("send: {error}"))?;
        Ok(value.len() as u64)
    }

    /// Waits for all answers.
    pub(crate) fn end(mut self) -> Vec<Lane> {
        self.producer.flush();
        drop(self.producer);
        Arc::into_inner(self.lanes).unwrap().into_inner().unwrap()
    }

    /// Sends at most `bytes_per_second` until the end.
    fn run(mut self, mut prng: Prng, bytes_per_second: u64, end: &AtomicBool) -> Vec<Lane> {
        let (began, mut bytes) = (Instant::now(), 0);
        while !end.load(Ordering::SeqCst) && bytes < PRODUCER_BYTES_MAX {
            let allowed = bytes_per_second * began.elapsed().as_millis() as u64 / 1_000;
            if bytes > allowed {
                self.producer.poll();
                std::thread::sleep(Duration::from_micros(500));
                continue;
            }
            let choice = prng.below(self.sender.partitions.len() as u64) as usize;
            bytes += self
                .send(choice)
                .expect("only what is too large is refused");
        }
        self.end()
    }
}

/// Makes the topics and loads the broker for `time`. `hook` is called in the middle of it.
pub(crate) fn run(
    place: &Place,
    time: Duration,
    prng: &mut Prng,
    hook: impl FnOnce(),
) -> Result<Known, String> {
    let mut known = Known::default();
    let mut admin = place.client()?;
    known.make(place, &mut admin, "synced", 5, AckLevel::Synced)?;
    known.make(place, &mut admin, "written", 3, AckLevel::Written)?;
    let (synced, written) = ((0, "synced"), (1, "written"));
    let mut senders = vec![
        Sender::drawn(synced, 0, &[0, 3], prng),
        Sender::drawn(synced, 1, &[1, 3, 4], prng),
        Sender::drawn(synced, 2, &[2, 4], prng),
        Sender::drawn(written, 3, &[0, 1], prng),
        Sender::drawn(written, 4, &[1, 2], prng),
    ];
    senders[3].level = AckLevel::Written;
    let end = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let mut threads = Vec::new();
        for sender in senders {
            let sending = sender.begin(place)?;
            let (prng, end) = (Prng::new(prng.next_u64()), &end);
            let rate = [256 << 10, 1 << 20, 6 << 20][prng.clone().below(3) as usize];
            threads.push(scope.spawn(move || sending.run(prng, rate, end)));
        }
        let (known, end, brief) = (&mut known, &end, Prng::new(prng.next_u64()));
        let topics = scope.spawn(move || {
            let made = come_and_go(place, &mut admin, brief, end, known);
            (known, made)
        });
        std::thread::sleep(time / 2);
        hook();
        std::thread::sleep(time / 2);
        end.store(true, Ordering::SeqCst);
        let (known, _) = topics.join().expect("it notes its errors");
        for thread in threads {
            known
                .lanes
                .extend(thread.join().expect("no answer is told twice"));
        }
        Ok::<(), String>(())
    })?;
    Ok(known)
}

/// Makes topics of two names, fills them, deletes them. Ends at the first error, which a broker that fails gives.
fn come_and_go(
    place: &Place,
    admin: &mut Client,
    mut prng: Prng,
    end: &AtomicBool,
    known: &mut Known,
) -> Result<(), String> {
    let mut there = [None, None];
    let mut producer = 1_000;
    while !end.load(Ordering::SeqCst) {
        let slot = prng.below(2) as usize;
        let name = format!("brief-{slot}");
        if let Some(topic) = there[slot].take() {
            known.remove(place, admin, topic)?;
            continue;
        }
        let partitions = 1 + prng.below(2) as u32;
        let topic = known.make(place, admin, &name, partitions, AckLevel::Synced)?;
        there[slot] = Some(topic);
        producer += 1;
        let all: Vec<u32> = (0..partitions).collect();
        let sender = Sender::drawn((topic, &name), producer, &all, &mut prng);
        let mut sending = sender.begin(place)?;
        for _ in 0..prng.below(40) {
            sending.send(prng.below(u64::from(partitions)) as usize)?;
        }
        known.lanes.extend(sending.end());
    }
    Ok(())
}

impl Known {
    fn make(
        &mut self,
        place: &Place,
        admin: &mut Client,
        name: &str,
        partitions: u32,
        ack: AckLevel,
    ) -> Result<u32, String> {
        let number = self.topics.len();
        self.topics.push(Topic {
            name: name.to_owned(),
            partitions,
            asked: place.now(),
            made: None,
            removal_asked: None,
            removed: None,
        });
        let settings = TopicSettings {
            ack,
            segment_bytes: SEGMENT_BYTES,
            segment_ms: 86_400_000,
            ..TopicSettings::default()
        };
        let topic = NewTopic {
            name: name.to_owned(),
            partitions,
            settings,
        };
        let made = admin.create_topic(&topic);
        made.map_err(|error| format!("make {name}: {error}"))?;
        self.topics[number].made = Some(place.now());
        Ok(number as u32)
    }

    fn remove(&mut self, place: &Place, admin: &mut Client, number: u32) -> Result<(), String> {
        let topic = &mut self.topics[number as usize];
        topic.removal_asked = Some(place.now());
        let removed = admin.delete_topic(&TopicRef::Name(topic.name.clone()));
        removed.map_err(|error| format!("delete {}: {error}", topic.name))?;
        topic.removed = Some(place.now());
        Ok(())
    }
}
