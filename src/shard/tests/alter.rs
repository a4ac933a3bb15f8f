//! Goal: a changed topic is the same on every core and after a restart, serves all the while, and holds its producers to
//! what it is set to. Method: small programs on a broker of two or three cores.

use super::*;
use crate::base::TimestampType;
use crate::engine::{AlterTopic, OffsetQuery, TopicChange, TopicRef};

const NONE: TopicChange = TopicChange::NONE;

impl Broker {
    async fn alter(&self, core: u16, change: TopicChange) -> Result<TopicInfo, EngineError> {
        let asked = AlterTopic {
            topic: TopicRef::Name("t".to_owned()),
            change,
            is_trial: false,
        };
        self.shard(core).alter_topic(asked).await
    }

    /// A topic "t", changed.
    async fn altered(&self, partitions: u32, change: TopicChange) -> TopicInfo {
        let topic = new_topic("t", partitions, AckLevel::Written);
        self.shard(0).create_topic(topic).await.expect("made");
        self.alter(1, change).await.expect("changed")
    }
}

#[test]
fn a_topic_gets_more_partitions_while_it_serves() {
    let sim = Sim::new(1);
    let wide = run_well(&sim, 3, |broker| async move {
        let made = new_topic("t", 2, AckLevel::Written);
        let made = broker.shard(0).create_topic(made).await.expect("made");
        let first = broker.produce(0, key(&made, 1), AckLevel::Synced, &[1, 2]);
        first.await.expect("taken");
        let wider = TopicChange {
            partitions: Some(7),
            segment_ms: Some(5_000),
            ..NONE
        };
        let trial = AlterTopic {
            topic: TopicRef::Id(made.id),
            change: wider,
            is_trial: true,
        };
        let tried = broker.shard(2).alter_topic(trial).await;
        assert_eq!(tried, Ok(made.clone()), "a trial changes nothing");
        let wide = broker.alter(2, wider).await.expect("changed");
        assert_eq!((wide.id, wide.partitions), (made.id, 7));
        assert_eq!(
            wide.owners[..2],
            made.owners,
            "what lies somewhere stays there"
        );
        for core in 0..3 {
            assert_eq!(broker.shard(core).topics(None), [Ok(wide.clone())]);
            for partition in 2..7 {
                let produced = broker.produce(core, key(&wide, partition), AckLevel::Synced, &[9]);
                let produced = produced.await.expect("taken");
                assert_eq!(produced.base_offset, Offset(u64::from(core)));
            }
            assert_eq!(broker.read_all(core, key(&wide, 1)).await, [1, 2]);
            let fewer = TopicChange {
                partitions: Some(6),
                ..NONE
            };
            let refused = broker.alter(core, fewer).await;
            assert!(matches!(refused, Err(EngineError::InvalidPartitions(_))));
        }
        assert_eq!(broker.alter(0, wider).await, Ok(wide.clone()), "it is so");
        wide
    });
    // As many cores as before, and fewer.
    for cores in [3, 1] {
        let wide = wide.clone();
        run_well(&sim, cores, move |broker| async move {
            let found = broker.shard(0).topics(None).remove(0).expect("there");
            assert_eq!((found.partitions, found.settings), (7, wide.settings));
            assert_eq!(broker.read_all(0, key(&wide, 1)).await, [1, 2]);
            for partition in 2..7 {
                assert_eq!(broker.read_all(0, key(&wide, partition)).await, [9, 9, 9]);
            }
        });
    }
}

#[test]
fn batches_that_are_too_large_are_refused_once_the_topic_says_so() {
    run_well(&Sim::new(2), 2, |broker| async move {
        let (small, large): (Vec<u64>, Vec<u64>) = ((0..5).collect(), (0..500).collect());
        let bytes_max = batch(&small).len() as u32;
        let change = TopicChange {
            batch_bytes_max: Some(bytes_max),
            ..NONE
        };
        let topic = broker.altered(2, change).await;
        for (core, partition) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            let key = key(&topic, partition);
            let refused = broker.produce(core, key, AckLevel::Written, &large).await;
            let bytes = batch(&large).len();
            let expected = EngineError::BatchTooLarge { bytes, bytes_max };
            assert_eq!(refused, Err(expected));
            let taken = broker.produce(core, key, AckLevel::Written, &small).await;
            taken.expect("as large as may be");
        }
        let change = TopicChange {
            batch_bytes_max: Some(1 << 20),
            ..NONE
        };
        broker.alter(0, change).await.expect("changed");
        let taken = broker
            .produce(1, key(&topic, 0), AckLevel::Written, &large)
            .await;
        taken.expect("not too large any more");
    });
}

#[test]
fn the_brokers_time_is_that_of_every_record_if_the_topic_says_so() {
    let sim = Sim::new(3);
    let (topic, time) = run_well(&sim, 2, |broker| async move {
        let change = TopicChange {
            timestamp_type: Some(TimestampType::Append),
            ..NONE
        };
        let topic = broker.altered(2, change).await;
        let mut times = Vec::new();
        for (core, partition) in [(0, 0), (1, 0)] {
            let key = key(&topic, partition);
            let produced = broker
                .produce(core, key, AckLevel::Synced, &[1, 2, 3])
                .await;
            let time = produced.expect("taken").append_time.expect("the broker's");
            assert!(
                time.0 <= broker.io.wall_ms() && time.0 > 1_000_000,
                "{time}"
            );
            times.push(time);
            broker.io.sleep(Duration::from_millis(50)).await;
        }
        assert!(times[0] < times[1]);
        let found = broker
            .shard(1)
            .list_offset(key(&topic, 0), OffsetQuery::AtTime(times[1]));
        assert_eq!(found.await, Ok((Offset(3), Some(times[1]))));
        (topic, times[1])
    });
    sim.disk().power_cut();
    run_well(&sim, 2, move |broker| async move {
        // As it is on the disk: each batch is checked whole.
        let values = broker.read_all(0, key(&topic, 0)).await;
        assert_eq!(values, [1, 2, 3, 1, 2, 3]);
        let found = broker
            .shard(0)
            .list_offset(key(&topic, 0), OffsetQuery::AtTime(time));
        assert_eq!(found.await, Ok((Offset(3), Some(time))));
    });
}

#[test]
fn timestamps_too_far_from_the_brokers_are_refused_by_their_record() {
    run_well(&Sim::new(4), 2, |broker| async move {
        let now = broker.io.wall_ms();
        let change = TopicChange {
            timestamp_before_ms_max: Some(60_000),
            timestamp_after_ms_max: Some(5_000),
            ..NONE
        };
        let topic = broker.altered(1, change).await;
        for core in 0..2 {
            for (ago, is_taken) in [
                (50_000, true),
                (70_000, false),
                (-1_000, true),
                (-9_000, false),
            ] {
                let values = [now, now - ago].map(|time| time as u64);
                let produced = broker.produce(core, key(&topic, 0), AckLevel::Written, &values);
                match produced.await {
                    Ok(_) => assert!(is_taken, "{ago}"),
                    Err(EngineError::InvalidTimestamp { record, .. }) => {
                        assert_eq!((record, is_taken), (Some(1), false), "{ago}");
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
    });
}

/// Goal: what could be read stays readable when the topic asks for more from now on, and what cannot be read yet has to
/// reach it. Method: changes of the level between produces of each level.
#[test]
fn the_level_of_a_topic_changes_under_its_readers() {
    let sim = Sim::new(5);
    run_well(&sim, 2, |broker| async move {
        let topic = broker.altered(1, NONE).await;
        let key = key(&topic, 0);
        let mut expected: Vec<u64> = Vec::new();
        for round in 0..12u64 {
            let level = [AckLevel::None, AckLevel::Written, AckLevel::Synced][round as usize % 3];
            let values = [round, round];
            let produced = broker.produce((round % 2) as u16, key, level, &values);
            produced.await.expect("taken");
            expected.extend(values);
            let before = broker.read_all(0, key).await;
            let change = TopicChange {
                ack: Some([AckLevel::Synced, AckLevel::Written][round as usize % 2]),
                ..NONE
            };
            broker.alter(1, change).await.expect("changed");
            let after = broker.read_all(0, key).await;
            assert!(after.starts_with(&before), "{before:?} became {after:?}");
        }
        broker.io.sleep(Duration::from_secs(3)).await;
        assert_eq!(broker.read_all(1, key).await, expected);
    });
}
