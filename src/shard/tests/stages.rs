//! Goal: what a core tells about its time is about this run. Method: known work on the simulated machine, then the
//! counts, which are exact; no time is asserted but that of the simulation's own order.

use super::*;
use crate::base::stages::{Counter, Stage, decode};
use crate::engine::CoreStages;

fn counted(told: &CoreStages, counter: Counter) -> u64 {
    let mut found = told.counters.iter().filter(|(row, _)| *row == counter);
    let (_, value) = found.next().expect("told");
    assert!(found.next().is_none(), "told once");
    *value
}

/// How often a stage was recorded.
fn times(told: &CoreStages, stage: Stage) -> u64 {
    let mut found = told.stages.iter().filter(|(row, _)| *row == stage);
    let (_, bytes) = found.next().expect("told");
    assert!(found.next().is_none(), "told once");
    decode(bytes).expect("a histogram").len()
}

#[test]
fn flushes_are_per_cycle_and_not_per_partition() {
    const PARTITIONS: u32 = 200;
    run_well(&Sim::new(3), 1, |broker| async move {
        let shard = broker.shard(0);
        let made = shard.create_topic(new_topic("t", PARTITIONS, AckLevel::Synced));
        let topic = made.await.expect("made");
        let before = shard.stages();
        let produce = |no| shard.produce(key(&topic, no), AckLevel::Synced, &batch(&[1]));
        let tickets: Vec<_> = (0..PARTITIONS).map(produce).collect();
        for ticket in tickets {
            shard.produced(ticket).await.expect("taken");
        }
        let after = shard.stages();
        let moved = |counter| counted(&after, counter) - counted(&before, counter);
        assert_eq!(moved(Counter::Cycles), 1);
        assert_eq!(moved(Counter::CyclePartitions), u64::from(PARTITIONS));
        assert_eq!(moved(Counter::Records), u64::from(PARTITIONS));
        // The one entry is written durably: the flush is part of its write.
        assert_eq!(moved(Counter::SyncRounds), 0);
        assert_eq!(moved(Counter::JournalFlushes), 1);
        assert_eq!(moved(Counter::SegmentFlushes), 0);
        for (stage, count) in [
            (Stage::WaitForCommit, 1),
            (Stage::Write, 1),
            (Stage::Sync, 0),
        ] {
            assert_eq!(times(&after, stage) - times(&before, stage), count);
        }
        assert!(after.uptime >= before.uptime);
    });
}

#[test]
fn the_core_that_asks_times_what_it_forwards() {
    run_well(&Sim::new(4), 2, |broker| async move {
        let made = broker
            .shard(0)
            .create_topic(new_topic("t", 2, AckLevel::Written));
        let topic = made.await.expect("made");
        let owner = topic.owners[0].0;
        let other = 1 - owner;
        let before = broker.shard(other).stages();
        for value in 0..16 {
            let (key, ack) = (key(&topic, 0), AckLevel::Written);
            let produced = broker.produce(other, key, ack, &[value]).await;
            produced.expect("taken");
        }
        let after = broker.shard(other).stages();
        assert_eq!(after.core.0, other);
        let forwarded = Counter::ForwardedRequests;
        assert_eq!(counted(&after, forwarded) - counted(&before, forwarded), 16);
        let timed = |told| times(told, Stage::Forwarded);
        assert_eq!(timed(&after) - timed(&before), 2);
        assert_eq!(
            counted(&after, Counter::Records),
            counted(&before, Counter::Records)
        );
    });
}
