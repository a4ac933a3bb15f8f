//! Goal: a consumer at the tail is shown a record only once it has reached its topic's level, and so no read is ever
//! taken back; and what was acked at that level is there for everybody at once.
//!
//! Method: the real binary. Consumers follow two topics while producers write with weaker acks than the topics' levels
//! (`none` to a topic of level `written`, `written` to one of level `synced`), and the broker is killed with SIGKILL
//! under them, again and again: what a consumer has seen must be what the restarted broker has, at the same offsets.
//! (That a record of a `synced` topic also survives a power cut before it is shown, the simulated disk tests.) Then one
//! record at a time: once it is acked, its offset can be read, on another connection, without waiting.
#![allow(clippy::unwrap_used, reason = "a test may panic; the line says where")]

mod process;

use millrace::base::prng::Prng;
use millrace::base::{AckLevel, Offset, PartitionNo};
use millrace::client::Target;
use millrace::client::blocking::{Client, ConsumerOptions, ProducerOptions, StartAt};
use millrace::protocol::native::{NewTopic, OffsetQuery, TopicSettings};
use process::{Broker, Directory, cpus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const KILLS: u64 = 6;
const ACKED: u64 = 400;
/// Topics by name, their level, and the level that is asked for.
const TOPICS: [(&str, AckLevel, AckLevel); 2] = [
    ("written", AckLevel::Written, AckLevel::None),
    ("synced", AckLevel::Synced, AckLevel::Written),
];

fn create(client: &mut Client, name: &str, ack: AckLevel) {
    let settings = TopicSettings {
        ack,
        segment_bytes: 1 << 20,
        segment_ms: 86_400_000,
        ..TopicSettings::default()
    };
    let topic = NewTopic {
        name: name.to_owned(),
        partitions: 1,
        settings,
    };
    client.create_topic(&topic).unwrap();
}

/// Writes until `killed`. Each record begins with its own random name.
fn write(mut client: Client, topic: &str, level: AckLevel, seed: u64, killed: &AtomicBool) {
    let mut prng = Prng::new(seed);
    let options = ProducerOptions {
        level: Some(level),
        linger: Duration::from_micros(200),
        batch_bytes: [1, 2_000, 100_000][prng.below(3) as usize],
        retries: 0,
        ..ProducerOptions::default()
    };
    let mut producer = client.producer(topic, options, |_| ()).unwrap();
    while !killed.load(Ordering::SeqCst) {
        for _ in 0..prng.below(200) {
            let mut value = prng.next_u64().to_le_bytes().to_vec();
            value.resize(8 + prng.below(2_000) as usize, 7);
            let target = Target::Partition(0);
            producer
                .send(target, None, None, Some(&value), &[])
                .unwrap();
        }
        producer.poll();
        std::thread::sleep(Duration::from_millis(1));
    }
    producer.flush();
}

fn consumer_options(from: usize) -> ConsumerOptions {
    ConsumerOptions {
        start: StartAt::Offset(Offset(from as u64)),
        ..ConsumerOptions::default()
    }
}

/// Follows the topic from offset `from` until the broker is gone; the values seen, in order.
fn follow(mut client: Client, topic: &str, from: usize) -> Vec<Vec<u8>> {
    let mut seen = Vec::new();
    let mut consumer = client
        .consumer(topic, None, consumer_options(from))
        .unwrap();
    while let Ok(records) = consumer.poll(Duration::from_secs(5)) {
        for record in records {
            let record = record.unwrap();
            assert_eq!(record.offset.0, (from + seen.len()) as u64, "{topic}");
            seen.push(record.value.unwrap().to_vec());
        }
    }
    seen
}

/// What there is from offset `from` on.
fn read(client: &mut Client, topic: &str, from: usize) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let mut consumer = client
        .consumer(topic, None, consumer_options(from))
        .unwrap();
    while !consumer.is_caught_up() {
        for record in consumer.poll(Duration::from_secs(5)).unwrap() {
            found.push(record.unwrap().value.unwrap().to_vec());
        }
    }
    found
}

/// Producers and consumers on all topics until the broker is killed; what each consumer saw.
fn watch_until_killed(broker: Broker, from: [usize; 2], prng: &mut Prng) -> Vec<Vec<Vec<u8>>> {
    let killed = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let mut followers = Vec::new();
        for ((topic, _, level), from) in TOPICS.into_iter().zip(from) {
            let (writer, follower) = (broker.client(), broker.client());
            let (seed, killed) = (prng.next_u64(), &killed);
            scope.spawn(move || write(writer, topic, level, seed, killed));
            followers.push(scope.spawn(move || follow(follower, topic, from)));
        }
        std::thread::sleep(Duration::from_millis(50 + prng.below(150)));
        broker.kill();
        killed.store(true, Ordering::SeqCst);
        followers.into_iter().map(|f| f.join().unwrap()).collect()
    })
}

#[test]
fn what_was_seen_is_never_taken_back() {
    let seed = std::env::var("MILLRACE_SEED").map_or(11, |seed| seed.parse().unwrap());
    println!("MILLRACE_SEED={seed}");
    let (data, cores) = (Directory::new("tail-seen"), cpus(1));
    let mut prng = Prng::new(seed);
    let mut broker = Broker::start(data.path(), &cores);
    for (name, ack, _) in TOPICS {
        create(&mut broker.client(), name, ack);
    }
    let (mut ends, mut total, mut unseen) = ([0; 2], [0; 2], 0);
    for _ in 0..KILLS {
        let seen = watch_until_killed(broker, ends, &mut prng);
        broker = Broker::start(data.path(), &cores);
        let mut client = broker.client();
        for (index, (topic, ..)) in TOPICS.into_iter().enumerate() {
            let (seen, found) = (&seen[index], read(&mut client, topic, ends[index]));
            assert!(found.len() >= seen.len(), "{topic}: the end was taken back");
            assert!(
                found.starts_with(seen),
                "{topic}: other records than were seen"
            );
            total[index] += seen.len();
            unseen += found.len() - seen.len();
            ends[index] += found.len();
        }
    }
    println!("seen {total:?}, stored and not seen before the kill {unseen}");
    assert!(
        total.iter().all(|seen| *seen > 100),
        "hardly anything was seen: {total:?}"
    );
}

#[test]
fn what_was_acked_at_its_level_can_be_read_at_once() {
    let data = Directory::new("tail-acked");
    let broker = Broker::start(data.path(), &cpus(1));
    let mut client = broker.client();
    create(&mut client, "acked", AckLevel::Synced);
    let topic = client.topic("acked").unwrap();
    let options = ProducerOptions {
        retries: 0,
        ..ProducerOptions::default()
    };
    let mut producer = client.producer("acked", options, |_| ()).unwrap();
    let latest = [(PartitionNo(0), OffsetQuery::Latest)];
    for number in 0..ACKED {
        // Not before it was sent, and from the ack on.
        let before = client.list_offsets(&topic, &latest).unwrap();
        assert_eq!(before[0].0, Offset(number));
        let value = number.to_le_bytes();
        let target = Target::Partition(0);
        producer
            .send(target, None, None, Some(&value), &[])
            .unwrap();
        assert_eq!(producer.flush().acked, number + 1);
        let after = client.list_offsets(&topic, &latest).unwrap();
        assert_eq!(after[0].0, Offset(number + 1));
    }
    let found = read(&mut client, "acked", 0);
    let sent: Vec<_> = (0..ACKED).map(|n| n.to_le_bytes().to_vec()).collect();
    assert_eq!(found, sent);
    let (status, said) = broker.stop();
    assert!(status.success(), "{said:#?}");
}
