//! Goal: a fetch answers when it should, with what it may. Method: readers that wait, against producers that come
//! later; time is the simulation's.

use super::*;
use crate::base::prng::Prng;

/// A fetch of several partitions from the given offsets.
fn request(topic: &TopicInfo, from: &[u64], bytes_min: u32, wait_ms: u64) -> FetchRequest {
    let partitions = from.iter().enumerate().map(|(no, from)| FetchPartition {
        key: key(topic, no as u32),
        from: Offset(*from),
        bytes_max: 1 << 20,
    });
    FetchRequest {
        partitions: partitions.collect(),
        bytes_min,
        wait_max: Duration::from_millis(wait_ms),
        bytes_max: 1 << 20,
    }
}

/// Fetches on `core`; returns the bytes of each partition, and how many milliseconds it took.
async fn timed(broker: &Broker, core: u16, request: &FetchRequest) -> (Vec<u64>, u64) {
    let began = broker.io.now();
    let mut reply = Vec::new();
    broker.shard(core).fetch(request, &mut reply).await;
    assert!(reply.iter().all(|one| one.error.is_none()));
    let took = broker.io.now().since(began).as_millis() as u64;
    (reply.iter().map(|one| one.body.bytes).collect(), took)
}

fn produce_later(broker: &Broker, key: PartitionKey, after_ms: u64, values: u64) {
    let (io, shard) = (broker.io.clone(), broker.shard(0).clone());
    broker.io.spawn(async move {
        io.sleep(Duration::from_millis(after_ms)).await;
        let values: Vec<u64> = (0..values).collect();
        let ticket = shard.produce(key, AckLevel::Written, &batch(&values));
        shard.produced(ticket).await.expect("taken");
    });
}

#[test]
fn a_waiting_fetch_wakes_when_records_come_and_only_then() {
    for core in 0..2 {
        run_well(&Sim::new(5), 2, move |broker| async move {
            let made = broker
                .shard(0)
                .create_topic(new_topic("t", 3, AckLevel::Written));
            let topic = made.await.expect("made");
            for partition in 0..3 {
                let mut from = [0; 3];
                from[..partition].fill(1);
                produce_later(&broker, key(&topic, partition as u32), 300, 1);
                let request = request(&topic, &from, 1, 10_000);
                let (bytes, took) = timed(&broker, core, &request).await;
                assert!(bytes[partition] > 0);
                assert_eq!(bytes.iter().filter(|bytes| **bytes > 0).count(), 1);
                assert!((300..400).contains(&took), "{took} ms");
            }
            let (bytes, took) = timed(&broker, core, &request(&topic, &[1; 3], 1, 700)).await;
            assert_eq!(bytes, [0; 3]);
            assert!((700..800).contains(&took), "{took} ms");
            let (_, took) = timed(&broker, core, &request(&topic, &[1; 3], 0, 700)).await;
            assert!(took < 100, "{took} ms");
        });
    }
}

/// Goal: a minimum over several cores is reached by their sum. Method: many small batches in random order; the fetch
/// must answer soon after the batch that made up the sum, not before it, and not at the end of its wait.
#[test]
fn a_minimum_counts_over_all_cores() {
    let one = batch(&[0]).len() as u32;
    for seed in 0..20 {
        run_well(&Sim::new(seed), 3, move |broker| async move {
            let made = broker
                .shard(0)
                .create_topic(new_topic("t", 3, AckLevel::Written));
            let topic = made.await.expect("made");
            let mut prng = Prng::new(seed);
            let wanted = 1 + prng.below(9);
            for number in 1..=12 {
                let partition = prng.below(3) as u32;
                produce_later(&broker, key(&topic, partition), number * 100, 1);
            }
            let request = request(&topic, &[0; 3], one * wanted as u32, 5_000);
            let (bytes, took) = timed(&broker, prng.below(3) as u16, &request).await;
            assert!(bytes.iter().sum::<u64>() >= u64::from(one) * wanted);
            let due = wanted * 100;
            assert!((due..due + 90).contains(&took), "{took} ms, due at {due}");
        });
    }
}

#[test]
fn an_answer_keeps_to_its_bytes_but_never_to_less_than_a_batch() {
    run_well(&Sim::new(6), 2, |broker| async move {
        let made = broker
            .shard(0)
            .create_topic(new_topic("t", 2, AckLevel::Written));
        let topic = made.await.expect("made");
        let values: Vec<u64> = (0..100).collect();
        let size = batch(&values).len() as u64;
        for partition in 0..2 {
            for _ in 0..10 {
                let key = key(&topic, partition);
                broker
                    .produce(0, key, AckLevel::Written, &values)
                    .await
                    .expect("taken");
            }
        }
        for core in 0..2 {
            let mut request = request(&topic, &[0, 0], 0, 0);
            let (all, _) = timed(&broker, core, &request).await;
            assert_eq!(all, [size * 10; 2]);
            request.bytes_max = 1;
            let (one, _) = timed(&broker, core, &request).await;
            assert_eq!(one.iter().sum::<u64>(), size);
            request.bytes_max = (size * 12) as u32;
            let (some, _) = timed(&broker, core, &request).await;
            let some = some.iter().sum::<u64>();
            assert!((size * 11..=size * 12).contains(&some), "{some}");
            request.bytes_max = (size + 1) as u32;
            let (one, _) = timed(&broker, core, &request).await;
            assert_eq!(
                one.iter().sum::<u64>(),
                size,
                "of one partition, not of each"
            );
            request.bytes_max = 1 << 20;
            request.partitions[0].bytes_max = (size * 2) as u32;
            let (some, _) = timed(&broker, core, &request).await;
            assert!(some[0] <= size * 2 && some[1] == size * 10);
        }
    });
}

/// Goal: no read is ever taken back. Method: at every step of the simulation between an append and its ack, a reader
/// looks; if it sees the record, the ticket must be settled already.
#[test]
fn a_record_is_visible_only_once_it_is_acked_at_its_level() {
    let mut looked_before_ack = 0;
    for seed in 0..40 {
        looked_before_ack += run_well(&Sim::new(seed), 1, move |broker| async move {
            let ack = [AckLevel::Written, AckLevel::Synced][seed as usize % 2];
            let made = broker.shard(0).create_topic(new_topic("t", 1, ack));
            let topic = made.await.expect("made");
            let (shard, key) = (broker.shard(0), key(&topic, 0));
            let mut early = 0;
            for number in 0..20u64 {
                let level = [AckLevel::Written, AckLevel::Synced][(number + seed) as usize % 2];
                let ticket = shard.produce(key, level, &batch(&[number]));
                loop {
                    let values = broker.read(0, key, Offset(number), 1_000).await;
                    let is_visible = !values.expect("in range").is_empty();
                    let is_settled = shard.is_settled(&ticket);
                    assert!(is_settled || !is_visible, "seed {seed} record {number}");
                    if is_visible {
                        break;
                    }
                    early += u64::from(!is_settled);
                    broker.io.sleep(Duration::from_micros(20)).await;
                }
                shard.produced(ticket).await.expect("taken");
            }
            early
        });
    }
    assert!(looked_before_ack > 100, "the test never looked in between");
}

#[test]
fn a_stopping_core_answers_what_waits_and_takes_nothing() {
    let waited = Rc::new(Cell::new(None));
    let told = Rc::clone(&waited);
    run_well(&Sim::new(7), 2, move |broker| async move {
        let made = broker
            .shard(0)
            .create_topic(new_topic("t", 2, AckLevel::Written));
        let topic = made.await.expect("made");
        let key = key(&topic, 0);
        let (io, shard) = (broker.io.clone(), broker.shard(0).clone());
        broker.io.spawn(async move {
            let began = io.now();
            let mut reply = Vec::new();
            shard
                .fetch(&request(&topic, &[0, 0], 1, 30_000), &mut reply)
                .await;
            told.set(Some(io.now().since(began)));
        });
        broker.io.sleep(Duration::from_millis(50)).await;
        let shard = broker.shard(0).clone();
        broker.io.clone().spawn(async move {
            loop {
                let ticket = shard.produce(key, AckLevel::Written, &batch(&[1]));
                if shard.produced(ticket).await == Err(EngineError::Stopping) {
                    return;
                }
                broker.io.sleep(Duration::from_millis(1)).await;
            }
        });
    });
    let waited = waited.get().expect("answered before the end");
    assert!(waited < Duration::from_secs(1), "{waited:?}");
}
