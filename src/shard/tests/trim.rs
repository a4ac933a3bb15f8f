//! Goal: a partition gives up its beginning from any core, its readers are told, and it stays so. Method: small programs on a
//! broker of two cores; a crash at every effect of one of them.

use super::*;
use crate::engine::{OffsetQuery, TopicRef};
use crate::shard::tests::crash::crash_everywhere;

impl Broker {
    async fn trim(
        &self,
        core: u16,
        key: PartitionKey,
        before: Option<u64>,
    ) -> Result<Offset, EngineError> {
        self.shard(core).trim(key, before.map(Offset)).await
    }

    /// The first offset that can be read, as `core` tells it.
    async fn earliest(&self, core: u16, key: PartitionKey) -> Offset {
        let found = self.shard(core).list_offset(key, OffsetQuery::Earliest);
        found.await.expect("serves").0
    }
}

#[test]
fn what_lies_below_a_trim_is_gone_for_every_reader() {
    let sim = Sim::new(1);
    let topic = run_well(&sim, 2, |broker| async move {
        let made = new_topic("t", 2, AckLevel::Written);
        let topic = broker.shard(0).create_topic(made).await.expect("made");
        for (core, partition) in [(0, 0), (0, 1)] {
            let key = key(&topic, partition);
            let values: Vec<u64> = (100..130).collect();
            for level in [AckLevel::Written, AckLevel::Synced] {
                let produced = broker.produce(core, key, level, &values);
                produced.await.expect("taken");
            }
        }
        for core in 0..2 {
            let key = key(&topic, 1);
            let before = 10 + u64::from(core);
            let start = Offset(before);
            assert_eq!(broker.trim(core, key, Some(before)).await, Ok(start));
            assert_eq!(
                broker.trim(1 - core, key, Some(3)).await,
                Ok(start),
                "never back"
            );
            for reader in 0..2 {
                assert_eq!(broker.earliest(reader, key).await, start);
                let below = broker.read(reader, key, Offset(before - 1), 2_000).await;
                assert!(
                    matches!(below, Err(EngineError::OffsetOutOfRange { log_start, .. }) if log_start == start)
                );
                let values = broker
                    .read(reader, key, start, 2_000)
                    .await
                    .expect("serves");
                assert_eq!(values[0], 100 + before);
                let young = OffsetQuery::AtTime(TimestampMs(0));
                let found = broker.shard(reader).list_offset(key, young).await;
                assert_eq!(found, Ok((start, Some(TimestampMs(100 + before as i64)))));
            }
            let past = broker.trim(core, key, Some(61)).await;
            assert!(matches!(past, Err(EngineError::OffsetOutOfRange { .. })));
            let unknown = broker.trim(core, super::key(&topic, 7), None).await;
            assert_eq!(unknown, Err(EngineError::UnknownPartition(7)));
        }
        assert_eq!(
            broker.trim(1, key(&topic, 0), None).await,
            Ok(Offset(60)),
            "all"
        );
        assert_eq!(broker.earliest(1, key(&topic, 0)).await, Offset(60));
        topic
    });
    run_well(&sim, 1, move |broker| async move {
        assert_eq!(broker.earliest(0, key(&topic, 0)).await, Offset(60));
        assert_eq!(broker.earliest(0, key(&topic, 1)).await, Offset(11));
        let produced = broker
            .produce(0, key(&topic, 0), AckLevel::Synced, &[1])
            .await;
        let produced = produced.expect("taken");
        assert_eq!(
            (produced.base_offset, produced.log_start),
            (Offset(60), Offset(60))
        );
        let (_, states) = broker
            .shard(0)
            .describe_topic(TopicRef::Id(topic.id))
            .await
            .expect("serves");
        assert_eq!(
            (states[0].log_start, states[1].log_start),
            (Offset(60), Offset(11))
        );
    });
}

/// A reader who waits at an offset that is trimmed away under him is told, and does not wait for ever.
#[test]
fn a_reader_who_waits_is_told_of_a_trim() {
    run_well(&Sim::new(2), 2, |broker| async move {
        let made = new_topic("t", 2, AckLevel::Written);
        let topic = broker.shard(0).create_topic(made).await.expect("made");
        for partition in 0..2 {
            let key = key(&topic, partition);
            let produced = broker.produce(0, key, AckLevel::Written, &[1, 2, 3]);
            produced.await.expect("taken");
            let (shard, told) = (broker.shard(0).clone(), Rc::new(RefCell::new(None)));
            let (noted, mut request) = (Rc::clone(&told), fetch_one(key, Offset(1), 1 << 20));
            (request.bytes_min, request.wait_max) = (1 << 20, Duration::from_secs(30));
            broker.io.spawn(async move {
                let mut reply = Vec::new();
                shard.fetch(&request, &mut reply).await;
                *noted.borrow_mut() = Some(reply.remove(0).error);
            });
            broker.io.sleep(Duration::from_millis(5)).await;
            assert!(told.borrow().is_none(), "it waits");
            broker.trim(1, key, None).await.expect("trims");
            broker.io.sleep(Duration::from_millis(5)).await;
            let told = told.borrow().clone();
            assert!(
                matches!(told, Some(Some(EngineError::OffsetOutOfRange { .. }))),
                "{told:?}"
            );
        }
    });
}

/// What was trimmed, by partition: answered, and asked for.
type Ledger = Rc<RefCell<[(u64, u64); 2]>>;

async fn program(broker: Broker, ledger: Ledger) {
    let made = new_topic("t", 2, AckLevel::Written);
    let topic = broker.shard(0).create_topic(made).await.expect("made");
    for round in 0..8u64 {
        let (partition, values) = (round as usize % 2, (0..10).collect::<Vec<u64>>());
        let key = key(&topic, partition as u32);
        let produced = broker.produce((round / 2 % 2) as u16, key, AckLevel::Written, &values);
        let end = produced.await.expect("taken").base_offset.0 + 10;
        let before = end - round % 7;
        ledger.borrow_mut()[partition].1 = before;
        let start = broker
            .trim((round % 2) as u16, key, Some(before))
            .await
            .expect("trims");
        assert_eq!(start, Offset(before));
        ledger.borrow_mut()[partition].0 = before;
    }
}

fn never_back(die: impl Fn(&crate::io::sim::SimDisk)) {
    let crashes = crash_everywhere(die, program, |sim, told: [(u64, u64); 2]| {
        run_well(sim, 2, move |broker| async move {
            let Some(Ok(topic)) = broker.shard(0).topics(None).pop() else {
                assert_eq!(told, [(0, 0); 2]);
                return;
            };
            for (partition, (answered, asked)) in (0..).zip(told) {
                let key = key(&topic, partition);
                let start = broker.earliest(1, key).await.0;
                let is_kept = (answered..=asked).contains(&start);
                assert!(is_kept, "{answered} {start} {asked}");
                let produced = broker.produce(0, key, AckLevel::Synced, &[5]);
                produced.await.expect("it goes on");
            }
        });
    });
    assert!(crashes > 40, "only {crashes} effects");
}

#[test]
fn a_trim_that_was_answered_survives_a_kill_at_any_effect() {
    never_back(crate::io::sim::SimDisk::kill);
}

#[test]
fn a_trim_that_was_answered_survives_a_power_cut_at_any_effect() {
    never_back(crate::io::sim::SimDisk::power_cut);
}
