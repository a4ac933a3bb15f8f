//! Goal: what a topic has kept long enough goes by itself, also where nobody writes any more and where the disk is full, and
//! what it still has to keep stays. Method: small programs on a broker of two cores, with a wall clock that is moved.

use super::*;
use crate::engine::{AlterTopic, PartitionInfo, TopicChange, TopicRef};

const HOUR_MS: u64 = 3_600_000;
/// Longer than any partition waits to be looked at, and for a segment that was sealed to be at rest.
const SOON: Duration = Duration::from_secs(45);

impl Broker {
    /// Appends as many records as told, of the time that it is, in batches of 100 that take some 2 KB.
    async fn fill(&self, key: PartitionKey, batches: u64) -> Result<(), EngineError> {
        let now = self.io.wall_ms() as u64;
        for _ in 0..batches {
            let values: Vec<u64> = (now..now + 100).collect();
            self.produce(0, key, AckLevel::Written, &values).await?;
        }
        Ok(())
    }

    async fn state(&self, topic: &TopicInfo, partition: usize) -> PartitionInfo {
        let described = self.shard(1).describe_topic(TopicRef::Id(topic.id)).await;
        described.expect("serves").1.remove(partition)
    }
}

fn retaining(name: &str, ms: u64, bytes: u64) -> NewTopic {
    let mut made = new_topic(name, 2, AckLevel::Written);
    made.settings.retention_ms = ms;
    made.settings.retention_bytes = bytes;
    made
}

#[test]
fn records_go_when_they_are_old_also_where_nobody_writes() {
    let sim = Sim::new(1);
    let clock = sim.clone();
    let topic = run_well(&sim, 2, |broker| async move {
        let made = retaining("t", HOUR_MS, crate::base::KEEP_ALL);
        let topic = broker.shard(0).create_topic(made).await.expect("made");
        let (busy, idle) = (key(&topic, 0), key(&topic, 1));
        for key in [busy, idle] {
            broker.fill(key, 100).await.expect("taken");
        }
        broker.io.sleep(SOON).await;
        for partition in 0..2 {
            let state = broker.state(&topic, partition).await;
            assert_eq!(
                (state.log_start, state.high_watermark),
                (Offset(0), Offset(10_000))
            );
        }
        clock.jump_wall(HOUR_MS as i64);
        broker.fill(busy, 1).await.expect("taken");
        broker.io.sleep(SOON).await;
        let state = broker.state(&topic, 1).await;
        assert_eq!(
            (state.log_start, state.high_watermark),
            (Offset(10_000), Offset(10_000))
        );
        assert_eq!((state.bytes, state.segments), (0, 1), "its files are gone");
        // The last segment of the busy one holds old records and young ones.
        let state = broker.state(&topic, 0).await;
        assert!(
            state.log_start > Offset(5_000) && state.log_start < Offset(10_000),
            "{state:?}"
        );
        let kept = broker.read(1, busy, Offset(10_000), 5_000).await;
        assert_eq!(kept.expect("serves").len(), 100);
        // A clock that goes back gives nothing up.
        clock.jump_wall(-30 * 24 * HOUR_MS as i64);
        broker.io.sleep(SOON).await;
        assert_eq!(broker.state(&topic, 0).await.log_start, state.log_start);
        topic
    });
    run_well(&sim, 1, move |broker| async move {
        let state = broker.shard(0).describe_topic(TopicRef::Id(topic.id)).await;
        let (_, states) = state.expect("serves");
        assert_eq!(states[1].log_start, Offset(10_000), "after a restart, too");
    });
}

#[test]
fn the_oldest_records_go_when_there_are_more_than_are_kept() {
    run_well(&Sim::new(2), 2, |broker| async move {
        let topic = broker
            .shard(0)
            .create_topic(new_topic("t", 2, AckLevel::Written));
        let topic = topic.await.expect("made");
        for partition in 0..2 {
            broker
                .fill(key(&topic, partition), 200)
                .await
                .expect("taken");
        }
        broker.io.sleep(SOON).await;
        let before = broker.state(&topic, 0).await;
        assert!(
            before.log_start == Offset(0) && before.bytes > 300_000,
            "{before:?}"
        );
        let limit = 150_000;
        let change = AlterTopic {
            topic: TopicRef::Id(topic.id),
            change: TopicChange {
                retention_bytes: Some(limit),
                ..TopicChange::NONE
            },
            is_trial: false,
        };
        broker.shard(1).alter_topic(change).await.expect("altered");
        broker.io.sleep(SOON).await;
        for partition in 0..2 {
            let state = broker.state(&topic, partition).await;
            let segment = topic.settings.segment_bytes;
            assert!((limit..limit + segment).contains(&state.bytes), "{state:?}");
            assert!(state.log_start > Offset(0) && state.high_watermark == Offset(20_000));
        }
    });
}

#[test]
fn a_full_disk_is_emptied_and_takes_records_again() {
    let sim = Sim::new(3);
    let disk = sim.disk();
    run_well(&sim, 2, |broker| async move {
        let made = retaining("t", crate::base::KEEP_ALL, 128 << 10);
        let topic = broker.shard(0).create_topic(made).await.expect("made");
        let key = key(&topic, 0);
        broker.fill(key, 20).await.expect("taken");
        broker.io.sleep(SOON).await;
        disk.set_capacity(disk.used() + DISK_RESERVE_BYTES + (512 << 10));
        // The broker has looked at it.
        broker.io.sleep(Duration::from_secs(2)).await;
        let (mut taken, mut refused) = (0, 0);
        while taken < 600 {
            match broker.fill(key, 1).await {
                Ok(()) => taken += 1,
                Err(EngineError::DiskFull) => {
                    refused += 1;
                    broker.io.sleep(Duration::from_secs(1)).await;
                }
                Err(other) => panic!("{other}"),
            }
        }
        assert!(refused > 0, "it was full");
        broker.io.sleep(SOON).await;
        let state = broker.state(&topic, 0).await;
        assert!(
            state.bytes < 300_000 && state.log_start > Offset(50_000),
            "{state:?}"
        );
        assert_eq!(
            state.high_watermark,
            Offset(62_000),
            "and nothing of it was lost"
        );
    });
}
