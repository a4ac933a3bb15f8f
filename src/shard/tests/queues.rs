//! Goal: a queue hands out each record to one consumer, over all cores; what becomes of it whatever dies when is in `crashes`.

mod crashes;

use super::*;
use crate::base::queue::{Counts, Nack, QueueSettings, Span};
use crate::base::record::Record;
use crate::engine::{
    AlterTopic, AnswerKind, DeleteTopic, Delivered, NewQueue, QueueAnswer, QueuePoll, QueuePolled,
    TopicChange, TopicRef,
};
use crate::shard::Consumer;
use std::collections::{BTreeMap, BTreeSet};

const QUEUE: &str = "work-queue";

fn new_queue(settings: QueueSettings, dead_letters: Option<&str>) -> NewQueue {
    NewQueue {
        name: QUEUE.to_owned(),
        topic: TopicRef::Name("work".to_owned()),
        dead_letters: dead_letters.map(|name| TopicRef::Name(name.to_owned())),
        from_end: false,
        settings,
    }
}

fn short() -> QueueSettings {
    QueueSettings {
        lease_ms: 500,
        deliveries_max: Some(2),
        ..QueueSettings::default()
    }
}

/// Nobody looks into the records of such a queue.
fn plain() -> QueueSettings {
    QueueSettings {
        reads_headers: false,
        ..QueueSettings::default()
    }
}

fn answer(of: &Delivered, kind: AnswerKind) -> QueueAnswer {
    QueueAnswer {
        partition: of.partition,
        span: of.span,
        kind,
    }
}

/// What a record begins with.
fn number(record: &Record<'_>) -> u64 {
    let value = record.value.expect("has one");
    let first = value.first_chunk().expect("a number and padding");
    u64::from_le_bytes(*first)
}

/// Each delivered record: its number, and how often it was delivered.
fn numbers(reply: &QueuePolled) -> Vec<(u64, u32)> {
    let (mut all, mut at) = (Vec::new(), 0);
    for delivered in &reply.deliveries {
        let until = at + delivered.bytes as usize;
        let mut bytes = &reply.batches[at..until];
        while !bytes.is_empty() {
            let batch = RecordBatch::parse(bytes).expect("whole batches");
            batch.check().expect("sound batches");
            for record in records(&batch) {
                let record = record.expect("sound records");
                let offset = batch.base_offset().0 + record.offset_delta as u64;
                if (delivered.span.from.0..delivered.span.until.0).contains(&offset) {
                    all.push((number(&record), delivered.span.deliveries));
                }
            }
            bytes = &bytes[batch.bytes().len()..];
        }
        at = until;
    }
    assert_eq!(at, reply.batches.len());
    all
}

impl Broker {
    async fn poll(
        &self,
        consumer: &Consumer<SimIo>,
        answers: Vec<QueueAnswer>,
        credit: u32,
    ) -> Result<QueuePolled, EngineError> {
        let poll = QueuePoll {
            answers,
            credit,
            wait_max: Duration::from_millis(100),
            bytes_max: 1 << 20,
        };
        let mut reply = QueuePolled::default();
        let hurried = std::future::pending();
        let polled = self
            .shard(0)
            .poll_queue(consumer, &poll, hurried, &mut reply);
        polled.await.map(|()| reply)
    }

    fn consumers(&self) -> Vec<Consumer<SimIo>> {
        let join = |shard: &Shard<SimIo>| shard.join_queue(QUEUE, false).expect("joins");
        self.shards.iter().map(join).collect()
    }

    /// Everything that is to be had, acked; by how often it was delivered.
    async fn drain(&self) -> BTreeMap<u64, u32> {
        let mut all = BTreeMap::new();
        for consumer in self.consumers() {
            loop {
                let reply = self.poll(&consumer, Vec::new(), 10).await.expect("serves");
                if reply.deliveries.is_empty() {
                    break;
                }
                for (value, deliveries) in numbers(&reply) {
                    assert_eq!(all.insert(value, deliveries), None, "twice at a time");
                }
                let acks = reply.deliveries.iter();
                let acks = acks.map(|one| answer(one, AnswerKind::Ack)).collect();
                let reply = self.poll(&consumer, acks, 0).await.expect("serves");
                assert!(reply.answered.iter().all(|one| one.stale == 0));
            }
        }
        all
    }

    async fn counts(&self) -> Vec<Counts> {
        let described = self.shard(0).describe_queue(QUEUE.to_owned()).await;
        let (_, states) = described.expect("lives");
        let counts = states
            .into_iter()
            .map(|state| state.counts.expect("serves"));
        counts.collect()
    }

    /// Waits until nothing is on its way to the dead letters.
    async fn settle(&self) {
        for _ in 0..200 {
            if self.counts().await.iter().all(|counts| counts.dying == 0) {
                return;
            }
            self.io.sleep(Duration::from_millis(50)).await;
        }
        panic!("the dead letters are not written");
    }

    async fn create_work(&self, partitions: u32, ack: AckLevel) -> (TopicInfo, TopicInfo) {
        let work = self
            .shard(0)
            .create_topic(new_topic("work", partitions, ack));
        let work = work.await.expect("made");
        let dead = self.shard(1).create_topic(new_topic("dead", 1, ack)).await;
        (work, dead.expect("made"))
    }

    /// The numbers of the dead letters, each once.
    async fn dead(&self) -> BTreeSet<u64> {
        let topics = self
            .shard(0)
            .topics(Some(&[TopicRef::Name("dead".to_owned())]));
        let Ok(topic) = &topics[0] else {
            return BTreeSet::new();
        };
        let all = read_letters(self, key(topic, 0), |record| number(&record)).await;
        let once: BTreeSet<u64> = all.iter().copied().collect();
        assert_eq!(
            once.len(),
            all.len(),
            "a dead letter was written twice: {all:?}"
        );
        once
    }
}

#[test]
fn records_of_all_partitions_are_handed_out_and_settled() {
    let sim = Sim::new(11);
    run_well(&sim, 2, |broker| async move {
        let (work, _) = broker.create_work(3, AckLevel::Written).await;
        let made = broker
            .shard(1)
            .create_queue(new_queue(short(), Some("dead")));
        let made = made.await.expect("made");
        assert_eq!(
            (made.topic.as_str(), made.dead_letters.as_deref()),
            ("work", Some("dead"))
        );
        assert_eq!(made.owners, work.owners);
        let again = broker.shard(0).create_queue(new_queue(short(), None)).await;
        assert_eq!(again, Err(EngineError::QueueExists(QUEUE.to_owned())));
        for partition in 0..3 {
            let values: Vec<u64> = (0..10).map(|no| u64::from(partition) * 10 + no).collect();
            let produced = broker.produce(0, key(&work, partition), AckLevel::Written, &values);
            produced.await.expect("taken");
        }
        let consumers = broker.consumers();
        let reply = broker
            .poll(&consumers[0], Vec::new(), 4)
            .await
            .expect("serves");
        assert_eq!(numbers(&reply).len(), 4);
        // Of a batch of ten, only what was handed out comes along.
        assert!(reply.batches.len() < 4 * 70, "{}", reply.batches.len());
        let acks = reply
            .deliveries
            .iter()
            .map(|one| answer(one, AnswerKind::Ack));
        let acks: Vec<QueueAnswer> = acks.collect();
        let reply = broker
            .poll(&consumers[0], acks.clone(), 0)
            .await
            .expect("serves");
        let taken: u64 = reply.answered.iter().map(|one| one.taken).sum();
        assert_eq!(taken, 4);
        let reply = broker.poll(&consumers[0], acks, 0).await.expect("serves");
        assert!(
            reply.answered.iter().all(|one| one.taken == 0),
            "acked twice"
        );
        drop(consumers);
        assert_eq!(broker.drain().await.len(), 26);
        let settled: u64 = broker
            .counts()
            .await
            .iter()
            .map(|one| one.totals.acked)
            .sum();
        assert_eq!(settled, 30);
        let topic = TopicRef::Name("work".to_owned());
        let refused = broker
            .shard(0)
            .delete_topic(DeleteTopic {
                topic: topic.clone(),
            })
            .await;
        assert!(matches!(refused, Err(EngineError::TopicInUse(_))));
        broker
            .shard(1)
            .delete_queue(QUEUE.to_owned())
            .await
            .expect("deleted");
        let gone = broker.shard(0).join_queue(QUEUE, false).err();
        assert_eq!(gone, Some(EngineError::UnknownQueue(QUEUE.to_owned())));
        broker
            .shard(0)
            .delete_topic(DeleteTopic { topic })
            .await
            .expect("deleted");
    });
    run_well(&sim, 1, |broker| async move {
        assert!(
            broker
                .reports
                .iter()
                .all(|report| *report == StartReport::default())
        );
    });
}

/// Goal: a consumer that is gone, or silent, holds nobody up; what is tried too often or refused is moved, with its cause.
#[test]
fn leases_end_and_the_dead_are_moved() {
    let sim = Sim::new(12);
    run_well(&sim, 2, |broker| async move {
        let (work, dead) = broker.create_work(1, AckLevel::Synced).await;
        let made = broker
            .shard(0)
            .create_queue(new_queue(short(), Some("dead")));
        made.await.expect("made");
        let core = work.owners[0].0;
        let produced = broker.produce(0, key(&work, 0), AckLevel::Synced, &[1, 2, 3]);
        produced.await.expect("taken");
        let join = || broker.shard(core).join_queue(QUEUE, false).expect("joins");
        let (first, second) = (join(), join());
        let reply = broker.poll(&first, Vec::new(), 10).await.expect("serves");
        assert_eq!(numbers(&reply), [(1, 1), (2, 1), (3, 1)]);
        let of = reply.deliveries[0];
        let one = |from, until, kind| QueueAnswer {
            partition: of.partition,
            span: Span {
                from: Offset(from),
                until: Offset(until),
                deliveries: 1,
            },
            kind,
        };
        let answers = vec![
            one(0, 1, AnswerKind::Nack(Nack::Reject)),
            one(1, 2, AnswerKind::Extend { lease_ms: 60_000 }),
        ];
        broker.poll(&first, answers, 0).await.expect("serves");
        // The lease of 3 ends, that of 2 does not.
        broker.io.sleep(Duration::from_millis(501)).await;
        let reply = broker.poll(&second, Vec::new(), 10).await.expect("serves");
        assert_eq!(numbers(&reply), [(3, 2)]);
        drop(first);
        let more = broker.poll(&second, Vec::new(), 10).await.expect("serves");
        assert_eq!(numbers(&more), [(2, 2)], "who is gone gives back at once");
        drop(second);
        broker.settle().await;
        assert_eq!(broker.dead().await, BTreeSet::from([1, 2, 3]));
        let counts = broker.counts().await;
        assert_eq!((counts[0].totals.dead, counts[0].floor), (3, Offset(3)));
        let letters = headers(&broker, key(&dead, 0)).await;
        assert_eq!(letters.len(), 3);
        assert_eq!(letters[0]["millrace-cause"], "rejected");
        assert_eq!(letters[0]["millrace-offset"], "0");
        assert_eq!(letters[0]["millrace-topic"], "work");
        assert!(
            letters[1..]
                .iter()
                .all(|one| one["millrace-cause"] == "max-deliveries")
        );
        assert!(
            letters[1..]
                .iter()
                .all(|one| one["millrace-deliveries"] == "2")
        );
    });
}

async fn headers(broker: &Broker, key: PartitionKey) -> Vec<BTreeMap<String, String>> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
    let headers = |record: Record<'_>| {
        let headers = record.headers();
        let told = headers.map(|(name, value)| (text(name), text(value.expect("ours have one"))));
        told.collect()
    };
    read_letters(broker, key, headers).await
}

/// Every record of a partition, as `read` takes it.
async fn read_letters<T>(
    broker: &Broker,
    key: PartitionKey,
    read: impl Fn(Record<'_>) -> T,
) -> Vec<T> {
    let (mut all, mut from) = (Vec::new(), Offset(0));
    loop {
        let mut reply = Vec::new();
        let request = fetch_one(key, from, 1 << 20);
        broker.shard(0).fetch(&request, &mut reply).await;
        let bytes = gather(&broker.io, &reply[0].body).await.expect("readable");
        if bytes.is_empty() {
            return all;
        }
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let batch = RecordBatch::parse(rest).expect("whole batches");
            if batch.base_offset() >= from {
                all.extend(records(&batch).map(|record| read(record.expect("sound"))));
            }
            from = from.max(batch.next_offset());
            rest = &rest[batch.bytes().len()..];
        }
    }
}

/// Goal: a consumer that waits is woken by what comes: records, time, others that give back; and by whoever hurries it.
#[test]
fn a_poll_waits_for_what_comes() {
    let sim = Sim::new(13);
    run_well(&sim, 2, |broker| async move {
        let (work, _) = broker.create_work(2, AckLevel::Written).await;
        let made = broker.shard(0).create_queue(new_queue(plain(), None));
        made.await.expect("made");
        let broker = Rc::new(broker);
        let consumers = broker.consumers();
        for (partition, owner) in (0..2).zip(work.owners.clone()) {
            let (producer, work) = (Rc::clone(&broker), work.clone());
            broker.io.clone().spawn(async move {
                producer.io.sleep(Duration::from_millis(20)).await;
                let (value, to) = ([u64::from(partition)], key(&work, partition));
                let produced = producer.produce(0, to, AckLevel::Written, &value);
                produced.await.expect("taken");
            });
            let began = broker.io.now();
            let consumer = &consumers[usize::from(owner.0)];
            let reply = broker.poll(consumer, Vec::new(), 5).await.expect("serves");
            assert_eq!(numbers(&reply), [(u64::from(partition), 1)]);
            let waited = broker.io.now().since(began);
            assert!(waited < Duration::from_millis(40), "{waited:?}");
        }
        let poll = QueuePoll {
            credit: 1,
            wait_max: Duration::from_secs(60),
            bytes_max: 1,
            ..QueuePoll::default()
        };
        let mut reply = QueuePolled::default();
        let hurry = broker.io.sleep(Duration::from_millis(5));
        let began = broker.io.now();
        let polled = broker
            .shard(0)
            .poll_queue(&consumers[0], &poll, hurry, &mut reply);
        polled.await.expect("serves");
        assert!(reply.deliveries.is_empty());
        assert!(broker.io.now().since(began) < Duration::from_millis(10));
    });
}

/// Goal: a topic that gets more partitions gives them to its queues, and to the consumers that are there.
#[test]
fn new_partitions_belong_to_the_queue() {
    let sim = Sim::new(14);
    run_well(&sim, 2, |broker| async move {
        broker.create_work(1, AckLevel::Written).await;
        let made = broker.shard(0).create_queue(new_queue(plain(), None));
        made.await.expect("made");
        let consumers = broker.consumers();
        let change = AlterTopic {
            topic: TopicRef::Name("work".to_owned()),
            change: TopicChange {
                partitions: Some(4),
                ..TopicChange::NONE
            },
            is_trial: false,
        };
        let work = broker.shard(1).alter_topic(change).await.expect("altered");
        for partition in 0..4 {
            let values = [u64::from(partition)];
            let produced = broker.produce(0, key(&work, partition), AckLevel::Written, &values);
            produced.await.expect("taken");
        }
        let mut seen = BTreeSet::new();
        for consumer in &consumers {
            for _ in 0..2 {
                let reply = broker.poll(consumer, Vec::new(), 9).await.expect("serves");
                seen.extend(numbers(&reply).into_iter().map(|(value, _)| value));
            }
        }
        assert_eq!(seen, BTreeSet::from([0, 1, 2, 3]));
        assert_eq!(broker.counts().await.len(), 4);
    });
}

/// Goal: the journal of a ledger stays in proportion to what it must keep.
#[test]
fn a_journal_lets_go_of_what_was_settled() {
    let sim = Sim::new(15);
    run_well(&sim, 1, |broker| async move {
        let work = broker
            .shard(0)
            .create_topic(new_topic("work", 1, AckLevel::Written));
        let work = work.await.expect("made");
        let made = broker
            .shard(0)
            .create_queue(new_queue(QueueSettings::default(), None));
        made.await.expect("made");
        let consumer = broker.consumers().remove(0);
        let mut acks = Vec::new();
        for round in 0..3_000 {
            let value = [round];
            let produced = broker.produce(0, key(&work, 0), AckLevel::Written, &value);
            produced.await.expect("taken");
            let reply = broker.poll(&consumer, acks, 1).await.expect("serves");
            let delivered = reply.deliveries.iter();
            acks = delivered.map(|one| answer(one, AnswerKind::Ack)).collect();
        }
    });
    let journals = sim.disk().list_files().into_iter();
    let topics = Path::new(DATA).join("topics");
    let ours = journals.filter(|path| path.starts_with(&topics));
    let segments = ours.filter(|path| path.extension().is_some_and(|end| end == "log"));
    // The catalog, the topic, and of the journal no more than its last segments.
    let count = segments.count();
    assert!(count <= 10, "{count} segments");
    sim.disk().kill();
    run_well(&sim, 1, |broker| async move {
        assert_eq!(broker.drain().await, BTreeMap::from([(2_999, 2)]));
    });
}

/// Goal: a queue is where its topic's partitions are, on any number of cores, and what it knew is there after each restart.
#[test]
fn a_queue_goes_on_on_other_numbers_of_cores() {
    let sim = Sim::new(16);
    run_well(&sim, 2, |broker| async move {
        let (work, _) = broker.create_work(5, AckLevel::Written).await;
        let made = broker
            .shard(0)
            .create_queue(new_queue(QueueSettings::default(), None));
        made.await.expect("made");
        for partition in 0..5 {
            let values: Vec<u64> = (0..8).map(|no| u64::from(partition) * 10 + no).collect();
            let produced = broker.produce(0, key(&work, partition), AckLevel::Synced, &values);
            produced.await.expect("taken");
        }
    });
    let mut left: BTreeSet<u64> = (0..50).filter(|value| value % 10 < 8).collect();
    for (round, cores) in [1u16, 3, 2, 4].into_iter().enumerate() {
        let expected = left.clone();
        let acked = run_well(&sim, cores, move |broker| async move {
            assert!(
                broker
                    .reports
                    .iter()
                    .all(|report| *report == StartReport::default())
            );
            let mut acked = BTreeSet::new();
            for consumer in broker.consumers() {
                let reply = broker.poll(&consumer, Vec::new(), 3).await.expect("serves");
                let values = numbers(&reply).into_iter().map(|(value, _)| value);
                let values: Vec<u64> = values.collect();
                assert!(
                    values.iter().all(|value| expected.contains(value)),
                    "round {round}"
                );
                let acks = reply.deliveries.iter();
                let acks = acks.map(|one| answer(one, AnswerKind::Ack)).collect();
                broker.poll(&consumer, acks, 0).await.expect("serves");
                acked.extend(values);
            }
            acked
        });
        assert!(!acked.is_empty());
        left.retain(|value| !acked.contains(value));
        sim.disk().kill();
    }
    let rest = run_well(&sim, 2, |broker| async move { broker.drain().await });
    assert_eq!(rest.into_keys().collect::<BTreeSet<_>>(), left);
}
