//! Goal: a producer that numbers its records has each taken once and in order, whatever it sends again and whatever dies in
//! between.

use super::*;
use crate::base::TimestampType;
use crate::base::batch::CRC_START;
use crate::base::checksum::crc32c;
use crate::base::prng::Prng;

/// A batch of `values`, numbered from the first value on.
fn numbered(id: i64, epoch: i16, values: &[u64]) -> Vec<u8> {
    number(batch(values), id, epoch, values[0] as i32)
}

fn number(mut bytes: Vec<u8>, id: i64, epoch: i16, first: i32) -> Vec<u8> {
    bytes[43..51].copy_from_slice(&id.to_be_bytes());
    bytes[51..53].copy_from_slice(&epoch.to_be_bytes());
    bytes[53..57].copy_from_slice(&first.to_be_bytes());
    let crc = crc32c(&bytes[CRC_START..]);
    bytes[17..CRC_START].copy_from_slice(&crc.to_be_bytes());
    bytes
}

async fn send(
    broker: &Broker,
    core: u16,
    key: PartitionKey,
    bytes: &[u8],
) -> Result<Offset, EngineError> {
    let shard = broker.shard(core);
    loop {
        let ticket = shard.produce(key, AckLevel::Written, bytes);
        match shard.produced(ticket).await {
            // The end of the log is being read back.
            Err(EngineError::Overloaded(_)) => broker.io.sleep(Duration::from_millis(5)).await,
            told => return told.map(|produced| produced.base_offset),
        }
    }
}

#[test]
fn what_is_sent_again_is_answered_again_and_gaps_are_refused() {
    let sim = Sim::new(3);
    run_well(&sim, 2, |broker| async move {
        let made = broker
            .shard(0)
            .create_topic(new_topic("t", 2, AckLevel::Written));
        let topic = made.await.expect("made");
        let id = broker.shard(0).new_producer_id();
        for key in [key(&topic, 0), key(&topic, 1)] {
            let sent = |values: &'static [u64]| send_as(&broker, key, id, 0, values);
            assert_eq!(sent(&[0, 1, 2]).await, Ok(Offset(0)));
            assert_eq!(sent(&[3, 4]).await, Ok(Offset(3)));
            assert_eq!(sent(&[0, 1, 2]).await, Ok(Offset(0)));
            let gap = |expected, found| Err(EngineError::OutOfOrder { expected, found });
            assert_eq!(sent(&[6]).await, gap(5, 6));
            assert_eq!(send_as(&broker, key, id, 1, &[5]).await, gap(0, 5));
            assert_eq!(send_as(&broker, key, id, 1, &[0]).await, Ok(Offset(5)));
            let fenced = EngineError::Fenced {
                current: 1,
                found: 0,
            };
            assert_eq!(sent(&[5]).await, Err(fenced));
            assert_eq!(broker.read_all(0, key).await, [0, 1, 2, 3, 4, 0]);
        }
        let key = key(&topic, 0);
        let two = [numbered(id, 1, &[1]), numbered(id, 1, &[2])].concat();
        let refused = send(&broker, 0, key, &two).await;
        assert!(matches!(refused, Err(EngineError::InvalidRequest(_))));
        let refused = send(&broker, 0, key, &numbered(id, -1, &[1])).await;
        assert!(matches!(refused, Err(EngineError::BadBatch(_))));
    });
}

async fn send_as(
    broker: &Broker,
    key: PartitionKey,
    id: i64,
    epoch: i16,
    values: &[u64],
) -> Result<Offset, EngineError> {
    send(broker, 1, key, &numbered(id, epoch, values)).await
}

/// A batch as `numbered` makes it, of records of that time.
fn numbered_at(id: i64, first: u64, time: TimestampMs) -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    builder.push(time, None, Some(&first.to_le_bytes()), &[]);
    number(builder.finish().to_vec(), id, 0, first as i32)
}

/// Goal: a silent producer is forgotten after the time set, by the broker's clock while it runs and by the records' after a
/// restart; but what a killed broker took is known again for ten minutes, whatever the records say. Method: one producer of
/// records of 1970 and one of now, on two partitions.
#[test]
fn a_silent_producer_is_forgotten_in_time_also_by_what_is_stored() {
    let sim = Sim::new(8);
    let minutes = |count: u64| Duration::from_secs(60 * count);
    let made = run_well(&sim, 1, move |broker| async move {
        let shard = broker.shard(0);
        let made = shard.create_topic(new_topic("t", 2, AckLevel::Written));
        let (topic, id) = (made.await.expect("made"), shard.new_producer_id());
        let now = TimestampMs(broker.io.wall_ms());
        for (partition, time) in [(0, TimestampMs(5)), (1, now)] {
            let key = key(&topic, partition);
            let batch = |first| numbered_at(id, first, time);
            assert_eq!(send(&broker, 0, key, &batch(7)).await, Ok(Offset(0)));
            broker.io.sleep(minutes(59)).await;
            assert_eq!(send(&broker, 0, key, &batch(7)).await, Ok(Offset(0)));
            let gap = send(&broker, 0, key, &batch(100)).await;
            assert!(matches!(
                gap,
                Err(EngineError::OutOfOrder { expected: 8, .. })
            ));
            // A duplicate is no sign of life, as in Kafka: nothing was appended.
            broker.io.sleep(minutes(1)).await;
            assert_eq!(send(&broker, 0, key, &batch(100)).await, Ok(Offset(1)));
        }
        (topic, id)
    });
    let (topic, id) = made;
    sim.disk().kill();
    // By the records' times both are forgotten: those of the second are two hours old.
    let topic = run_well(&sim, 1, move |broker| async move {
        for partition in [0, 1] {
            let key = key(&topic, partition);
            let again = numbered_at(id, 100, TimestampMs(5));
            assert_eq!(send(&broker, 0, key, &again).await, Ok(Offset(1)));
            broker.io.sleep(minutes(9)).await;
            assert_eq!(send(&broker, 0, key, &again).await, Ok(Offset(1)));
            broker.io.sleep(minutes(1)).await;
            let time = match partition {
                0 => TimestampMs(5),
                _ => TimestampMs(broker.io.wall_ms()),
            };
            let unseen = numbered_at(id, 500, time);
            assert_eq!(send(&broker, 0, key, &unseen).await, Ok(Offset(2)));
        }
        broker.io.sleep(minutes(30)).await;
        topic
    });
    sim.disk().kill();
    run_well(&sim, 1, move |broker| async move {
        // Records of half an hour ago: that is how long their producer is silent; and of 1970, which counts for fifty minutes.
        let (old, new) = (key(&topic, 0), key(&topic, 1));
        let time = TimestampMs(0);
        let gap = |told: Result<Offset, EngineError>| {
            matches!(told, Err(EngineError::OutOfOrder { expected: 501, .. }))
        };
        let unseen = numbered_at(id, 900, time);
        assert!(gap(send(&broker, 0, old, &unseen).await));
        assert!(gap(send(&broker, 0, new, &unseen).await));
        broker.io.sleep(minutes(15)).await;
        assert_eq!(send(&broker, 0, old, &unseen).await, Ok(Offset(3)));
        assert!(gap(send(&broker, 0, new, &unseen).await));
        broker.io.sleep(minutes(15)).await;
        assert_eq!(send(&broker, 0, new, &unseen).await, Ok(Offset(3)));
    });
}

/// Goal: what is sent again is answered with the time that it got from the broker the first time, also by the next life.
#[test]
fn what_is_sent_again_is_told_the_time_of_its_first_append() {
    let sim = Sim::new(9);
    let appended = run_well(&sim, 1, |broker| async move {
        let shard = broker.shard(0);
        let mut topic = new_topic("t", 1, AckLevel::Written);
        topic.settings.timestamp_type = TimestampType::Append;
        let topic = shard.create_topic(topic).await.expect("made");
        let batch = numbered(shard.new_producer_id(), 0, &[0, 1]);
        let key = key(&topic, 0);
        let ticket = shard.produce(key, AckLevel::Written, &batch);
        let first = shard.produced(ticket).await.expect("taken");
        assert!(first.append_time.is_some_and(|time| time.0 > 1_000_000));
        broker.io.sleep(Duration::from_secs(5)).await;
        let ticket = shard.produce(key, AckLevel::Written, &batch);
        assert_eq!(shard.produced(ticket).await, Ok(first));
        (key, batch, first)
    });
    sim.disk().kill();
    run_well(&sim, 1, move |broker| async move {
        let (key, batch, first) = appended;
        assert_eq!(send(&broker, 0, key, &batch).await, Ok(Offset(0)));
        let shard = broker.shard(0);
        let ticket = shard.produce(key, AckLevel::Written, &batch);
        assert_eq!(shard.produced(ticket).await, Ok(first));
    });
}

/// Goal: of two batches on their way, the second is not taken as the producer's first when the first had to be tried again.
#[test]
fn a_batch_waits_for_the_one_before_it_that_was_refused_for_a_moment() {
    let sim = Sim::new(5);
    let (topic, id) = run_well(&sim, 1, |broker| async move {
        let shard = broker.shard(0);
        let made = shard.create_topic(new_topic("t", 1, AckLevel::Written));
        let topic = made.await.expect("made");
        // The partition is not empty, and does not know the producer.
        let other = shard.new_producer_id();
        let taken = send(&broker, 0, key(&topic, 0), &numbered(other, 0, &[0])).await;
        assert_eq!(taken, Ok(Offset(0)));
        (topic, shard.new_producer_id())
    });
    let key = key(&topic, 0);
    run_well(&sim, 1, move |broker| async move {
        let shard = broker.shard(0);
        let first = shard.produce(key, AckLevel::Written, &numbered(id, 0, &[10, 11]));
        let refused = shard.produced(first).await;
        assert!(
            matches!(refused, Err(EngineError::Overloaded(_))),
            "{refused:?}"
        );
        let too_early = Err(EngineError::OutOfOrder {
            expected: 10,
            found: 12,
        });
        let second = numbered(id, 0, &[12]);
        assert_eq!(send(&broker, 0, key, &second).await, too_early);
        assert_eq!(
            send(&broker, 0, key, &numbered(id, 0, &[10, 11])).await,
            Ok(Offset(1))
        );
        assert_eq!(send(&broker, 0, key, &second).await, Ok(Offset(3)));
        assert_eq!(broker.read_all(0, key).await, [0, 10, 11, 12]);
    });
}

/// Goal: a producer that goes on after its broker died has nothing lost and nothing twice. Method: seeded batches of random
/// length, of which up to five are not known to be taken when the disk is killed; the next life is sent all of those again.
#[test]
fn nothing_is_taken_twice_across_the_death_of_the_broker() {
    for seed in 0..20 {
        let sim = Sim::new(seed);
        let mut prng = Prng::new(seed);
        let topic = run_well(&sim, 1, |broker| async move {
            let made = broker
                .shard(0)
                .create_topic(new_topic("t", 1, AckLevel::Written));
            (made.await.expect("made"), broker.shard(0).new_producer_id())
        });
        let (topic, id) = topic;
        let key = key(&topic, 0);
        let mut batches = Vec::new();
        let mut next = 0;
        for life in 0..4 {
            // What comes again, then what is new.
            let mut sent: Vec<Vec<u64>> = batches.split_off(batches.len().saturating_sub(5));
            for _ in 0..1 + prng.below(12) {
                let until = next + 1 + prng.below(400);
                sent.push((next..until).collect());
                next = until;
            }
            let all = sent.clone();
            let stored = run_well(&sim, 1 + (life % 2), move |broker| async move {
                for values in &sent {
                    let taken = send(&broker, 0, key, &numbered(id, 0, values)).await;
                    assert_eq!(taken, Ok(Offset(values[0])), "seed {seed}");
                }
                broker.read_all(0, key).await
            });
            assert!(stored.into_iter().eq(0..next), "seed {seed}, life {life}");
            batches.extend(all);
            sim.disk().kill();
        }
    }
}
