//! Goal: topics exist on all cores or on none, and requests find their partition from any core. Method: small
//! programs on a broker of two or three cores.

use super::*;
use crate::base::TopicId;
use crate::engine::{DeleteTopic, OffsetQuery, TopicRef};

#[test]
fn a_topic_made_on_one_core_serves_on_all() {
    run_well(&Sim::new(1), 3, |broker| async move {
        let topic = new_topic("orders", 6, AckLevel::Written);
        let topic = broker.shard(2).create_topic(topic).await.expect("made");
        assert_eq!(topic.owners.len(), 6);
        for core in 0..3 {
            let listed = broker.shard(core).topics(None);
            assert_eq!(listed, [Ok(topic.clone())]);
            let cores = broker.shard(core).cores();
            let ports: Vec<u16> = cores.iter().map(|core| core.port).collect();
            assert_eq!(ports, [9_000, 9_001, 9_002]);
            for partition in 0..6 {
                let values: Vec<u64> = (0..10).map(|i| u64::from(core) * 10 + i).collect();
                let level = [AckLevel::None, AckLevel::Written, AckLevel::Synced];
                let level = level[usize::from(core)];
                let produced = broker.produce(core, key(&topic, partition), level, &values);
                let produced = produced.await.expect("taken");
                assert_eq!(produced.base_offset, Offset(u64::from(core) * 10));
            }
        }
        let expected: Vec<u64> = (0..30).collect();
        for core in 0..3 {
            for partition in 0..6 {
                let values = broker.read_all(core, key(&topic, partition)).await;
                assert_eq!(values, expected);
            }
            let named = TopicRef::Name("orders".to_owned());
            let described = broker.shard(core).describe_topic(named).await;
            let (info, partitions) = described.expect("all serve");
            assert_eq!(info, topic);
            let owners: Vec<_> = partitions.iter().map(|one| one.core).collect();
            assert_eq!(owners, topic.owners);
            assert!(
                partitions
                    .iter()
                    .all(|one| one.high_watermark == Offset(30) && one.bytes > 0)
            );
        }
        assert!(broker.shard(0).stats().forwarded > 0);
        assert!(broker.shard(0).stats().served_for_others > 0);
    });
}

#[test]
fn offsets_are_found_from_any_core() {
    run_well(&Sim::new(2), 2, |broker| async move {
        let topic = new_topic("t", 2, AckLevel::Written);
        let topic = broker.shard(0).create_topic(topic).await.expect("made");
        for partition in 0..2 {
            for start in [100, 200, 300] {
                let values: Vec<u64> = (start..start + 10).collect();
                let produced =
                    broker.produce(0, key(&topic, partition), AckLevel::Written, &values);
                produced.await.expect("taken");
            }
            for core in 0..2 {
                for (query, offset, time) in [
                    (OffsetQuery::Earliest, 0, None),
                    (OffsetQuery::Latest, 30, None),
                    (OffsetQuery::AtTime(TimestampMs(204)), 14, Some(204)),
                    (OffsetQuery::AtTime(TimestampMs(250)), 20, Some(300)),
                    (OffsetQuery::AtTime(TimestampMs(900)), 30, None),
                ] {
                    let found = broker
                        .shard(core)
                        .list_offset(key(&topic, partition), query)
                        .await;
                    assert_eq!(found, Ok((Offset(offset), time.map(TimestampMs))));
                }
            }
        }
    });
}

#[test]
fn what_cannot_be_is_refused_and_changes_nothing() {
    run_well(&Sim::new(3), 2, |broker| async move {
        let made = new_topic("t", 2, AckLevel::Written);
        let topic = broker.shard(1).create_topic(made).await.expect("made");
        for core in 0..2 {
            let shard = broker.shard(core);
            let again = shard.create_topic(new_topic("t", 1, AckLevel::Written));
            assert_eq!(again.await, Err(EngineError::TopicExists("t".to_owned())));
            for bad in [
                new_topic("__t", 1, AckLevel::Written),
                new_topic("a/b", 1, AckLevel::Written),
                new_topic("zero", 0, AckLevel::Written),
                new_topic("none", 1, AckLevel::None),
            ] {
                let refused = shard.create_topic(bad).await;
                assert!(matches!(
                    refused,
                    Err(EngineError::InvalidRequest(_)
                        | EngineError::InvalidPartitions(_)
                        | EngineError::InvalidSetting(_))
                ));
            }
            let unknown = PartitionKey::new(TopicId(9), PartitionNo(0));
            for (key, expected) in [
                (unknown, EngineError::UnknownTopic(TopicId(9).to_string())),
                (key(&topic, 2), EngineError::UnknownPartition(2)),
                (
                    crate::catalog::CATALOG_KEY,
                    EngineError::UnknownTopic(TopicId(0).to_string()),
                ),
            ] {
                let produced = broker.produce(core, key, AckLevel::Written, &[1]).await;
                assert_eq!(produced, Err(expected.clone()));
                assert_eq!(broker.read(core, key, Offset(0), 100).await, Err(expected));
            }
            for partition in 0..2 {
                let mut bytes = [batch(&[1]), batch(&[2])].concat();
                *bytes.last_mut().expect("not empty") ^= 1;
                let ticket = shard.produce(key(&topic, partition), AckLevel::Written, &bytes);
                let refused = shard.produced(ticket).await;
                assert!(matches!(refused, Err(EngineError::BadBatch(_))));
                assert!(
                    broker
                        .read_all(core, key(&topic, partition))
                        .await
                        .is_empty()
                );
                let past = broker
                    .read(core, key(&topic, partition), Offset(1), 100)
                    .await;
                assert!(matches!(past, Err(EngineError::OffsetOutOfRange { .. })));
            }
        }
        assert_eq!(broker.shard(0).topics(None).len(), 1);
    });
}

#[test]
fn a_deleted_topic_is_gone_from_all_cores_and_from_the_disk() {
    let sim = Sim::new(4);
    let disk = sim.disk();
    let id = run_well(&sim, 2, move |broker| async move {
        let made = broker
            .shard(0)
            .create_topic(new_topic("t", 4, AckLevel::Synced));
        let topic = made.await.expect("made");
        let kept = broker
            .shard(0)
            .create_topic(new_topic("kept", 2, AckLevel::Written));
        let kept = kept.await.expect("made");
        for partition in 0..4 {
            let key = key(&topic, partition);
            broker
                .produce(0, key, AckLevel::Written, &[1, 2])
                .await
                .expect("taken");
        }
        // Fetches that wait are told, on the core of the partition and on the other.
        let waits: Vec<_> = (0..4)
            .map(|partition| wait_for(&broker, &topic, partition))
            .collect();
        broker.io.sleep(Duration::from_millis(5)).await;
        let delete = DeleteTopic {
            topic: TopicRef::Name("t".to_owned()),
        };
        let deleted = broker.shard(1).delete_topic(delete.clone()).await;
        assert_eq!(deleted, Ok(()));
        for waited in waits {
            let error = waited.outcome().await;
            assert!(
                matches!(error, Some(EngineError::UnknownTopic(_))),
                "{error:?}"
            );
        }
        for core in 0..2 {
            assert_eq!(broker.shard(core).topics(None), [Ok(kept.clone())]);
            let produced = broker
                .produce(core, key(&topic, 1), AckLevel::None, &[3])
                .await;
            assert!(matches!(produced, Err(EngineError::UnknownTopic(_))));
            let again = broker.shard(core).delete_topic(delete.clone()).await;
            assert!(matches!(again, Err(EngineError::UnknownTopic(_))));
        }
        let again = broker
            .shard(1)
            .create_topic(new_topic("t", 1, AckLevel::Written));
        assert_ne!(again.await.expect("the name is free").id, topic.id);
        topic.id
    });
    let files = disk.list_files();
    let left = files
        .iter()
        .filter(|path| path.to_string_lossy().contains(&id.to_string()));
    assert_eq!(left.count(), 0, "{files:?}");
}

/// A fetch that waits in a task of its own.
struct Waited {
    done: Rc<RefCell<Option<Option<EngineError>>>>,
    changed: Signal,
}

impl Waited {
    async fn outcome(self) -> Option<EngineError> {
        loop {
            let changed = self.changed.wait();
            if let Some(outcome) = self.done.borrow_mut().take() {
                return outcome;
            }
            changed.await;
        }
    }
}

fn wait_for(broker: &Broker, topic: &TopicInfo, partition: u32) -> Waited {
    let waited = Waited {
        done: Rc::default(),
        changed: Signal::new(),
    };
    let (done, changed) = (Rc::clone(&waited.done), waited.changed.clone());
    let shard = broker.shard(0).clone();
    let mut request = fetch_one(key(topic, partition), Offset(2), 1_000);
    (request.bytes_min, request.wait_max) = (1, Duration::from_secs(30));
    broker.io.spawn(async move {
        let mut reply = Vec::new();
        shard.fetch(&request, &mut reply).await;
        *done.borrow_mut() = Some(reply.remove(0).error);
        changed.notify();
    });
    waited
}
