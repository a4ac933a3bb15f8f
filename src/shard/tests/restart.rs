//! Goal: what was acked is there after a restart, on any number of cores, and what is wrong with the disk is told and
//! not repaired by guessing.

use super::*;
use crate::base::prng::Prng;
use crate::catalog::CATALOG_KEY;
use crate::engine::{DeleteTopic, TopicRef};
use std::collections::BTreeMap;
use std::path::PathBuf;

type Model = BTreeMap<PartitionKey, Vec<u64>>;

/// Goal: no record is lost or moved by a change of the number of cores. Method: seeded produces through random cores
/// at random levels against lists of numbers; restarts with 1, 2, 1 and 3 cores, clean and by kill.
#[test]
fn every_record_survives_restarts_on_other_numbers_of_cores() {
    for seed in 0..6 {
        let sim = Sim::new(seed);
        let mut model = Model::new();
        let mut prng = Prng::new(seed);
        for (round, cores) in [1u16, 2, 1, 3, 2].into_iter().enumerate() {
            let (known, mut dice) = (model.clone(), prng.clone());
            prng.next_u64();
            model = run_well(&sim, cores, move |broker| async move {
                assert!(
                    broker
                        .reports
                        .iter()
                        .all(|report| *report == StartReport::default()),
                    "{:?}",
                    broker.reports
                );
                check(&broker, &known).await;
                fill(&broker, known, &mut dice, round).await
            });
            if prng.chance(1, 2) {
                sim.disk().kill();
            }
        }
    }
}

async fn check(broker: &Broker, model: &Model) {
    for (key, values) in model {
        for core in 0..broker.shards.len() as u16 {
            assert_eq!(broker.read_all(core, *key).await, *values);
        }
    }
}

async fn fill(broker: &Broker, mut model: Model, dice: &mut Prng, round: usize) -> Model {
    let cores = broker.shards.len() as u64;
    let ack = [AckLevel::Written, AckLevel::Synced][dice.below(2) as usize];
    let made = broker
        .shard(0)
        .create_topic(new_topic(&format!("t{round}"), 3, ack));
    let topic = made.await.expect("made");
    for partition in 0..3 {
        model.insert(key(&topic, partition), Vec::new());
    }
    let keys: Vec<PartitionKey> = model.keys().copied().collect();
    for _ in 0..60 {
        let key = keys[dice.below(keys.len() as u64) as usize];
        let values: Vec<u64> = (0..1 + dice.below(200))
            .map(|_| dice.next_u64() >> 1)
            .collect();
        let level = [AckLevel::Written, AckLevel::Synced][dice.below(2) as usize];
        let core = dice.below(cores) as u16;
        let produced = broker
            .produce(core, key, level, &values)
            .await
            .expect("taken");
        let stored = model.get_mut(&key).expect("known");
        assert_eq!(produced.base_offset, Offset(stored.len() as u64));
        stored.extend(values);
    }
    // A produce is acked at the level asked for; readers wait for the topic's.
    for (key, values) in &model {
        while broker.read_all(0, *key).await.len() < values.len() {
            broker.io.sleep(Duration::from_millis(10)).await;
        }
    }
    model
}

fn partition_dir(key: PartitionKey) -> PathBuf {
    Path::new(DATA).join(format!("topics/{}/{}", key.topic, key.partition))
}

fn files_below(sim: &Sim, dir: &Path) -> Vec<PathBuf> {
    let mut files = sim.disk().list_files();
    files.retain(|path| path.starts_with(dir));
    files
}

/// Makes topic `t` of `partitions` partitions with two records of 3 KiB in each.
fn prepare(sim: &Sim, partitions: u32) -> TopicInfo {
    run_well(sim, 1, move |broker| async move {
        let made = broker
            .shard(0)
            .create_topic(new_topic("t", partitions, AckLevel::Synced));
        let topic = made.await.expect("made");
        for partition in 0..partitions {
            for value in 0..2 {
                let values = [value; 300];
                let produced = broker.produce(0, key(&topic, partition), AckLevel::Synced, &values);
                produced.await.expect("taken");
            }
        }
        topic
    })
}

fn remove_all(sim: &Sim, files: Vec<PathBuf>) {
    sim.run(|io| async move {
        for path in files {
            io.remove_file(&path).await.expect("removable");
            let parent = path.parent().expect("has one");
            io.sync_dir(parent).await.expect("syncs");
        }
    })
    .done();
}

#[test]
fn partitions_without_a_catalog_keep_the_broker_from_starting() {
    for (without_journal, expected) in [(false, "catalog is damaged"), (true, "no catalog")] {
        let sim = Sim::new(8);
        prepare(&sim, 2);
        let dir = partition_dir(CATALOG_KEY);
        remove_all(&sim, files_below(&sim, &dir));
        if without_journal {
            let journal = Path::new(DATA).join("journal");
            remove_all(&sim, files_below(&sim, &journal));
        }
        sim.run(|io| async move {
            io.remove_dir(&dir).await.expect("empty");
            let topic = dir.parent().expect("has one");
            io.remove_dir(topic).await.expect("empty");
        })
        .done();
        let mut segments = sim.disk().list_files();
        segments.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
        assert_eq!(segments.len(), 2);
        for error in refusals(&sim, 2) {
            assert!(error.to_string().contains(expected), "{error}");
        }
        let left = sim.disk().list_files();
        // Without its journal, a segment that was never filled holds nothing, and goes.
        assert!(without_journal || segments.iter().all(|path| left.contains(path)));
    }
}

#[test]
fn a_damaged_catalog_keeps_the_broker_from_starting() {
    let sim = Sim::new(9);
    prepare(&sim, 2);
    let files = files_below(&sim, &partition_dir(CATALOG_KEY));
    // Of the last start nothing is in the segment yet: a second start carries it there.
    run_well(&sim, 2, |_| async {});
    let mut hit = 0;
    for file in files
        .iter()
        .chain(&files_below(&sim, &Path::new(DATA).join("journal")))
    {
        let bytes = sim.disk().read_file(file).expect("listed");
        // The topic's name, wherever a copy of the record is.
        let record = b"\x01t";
        let at = bytes.windows(2).position(|window| window == record);
        if let Some(at) = at {
            sim.disk().corrupt(file, at as u64, b"\x01u");
            hit += 1;
        }
    }
    assert!(hit > 0, "no copy of the catalog's record was found");
    let (log, _) = shares(&sim, 1);
    assert_eq!(log.node, NodeId(7));
    for error in refusals(&sim, 2) {
        let text = error.to_string();
        assert!(
            text.contains("damaged") || text.contains("catalog"),
            "{text}"
        );
    }
}

#[test]
fn what_the_catalog_does_not_know_is_kept_and_told() {
    let sim = Sim::new(10);
    let topic = prepare(&sim, 1);
    let stranger = partition_dir(PartitionKey::new(
        crate::base::TopicId(77 << 64),
        PartitionNo(0),
    ));
    let copied = partition_dir(key(&topic, 0));
    let (from, to) = (files_below(&sim, &copied), stranger.clone());
    let contents: Vec<_> = from
        .iter()
        .map(|path| (path.clone(), sim.disk().read_file(path).expect("listed")))
        .collect();
    sim.run(move |io| async move {
        io.create_dir_all(&to).await.expect("made");
        for (path, bytes) in contents {
            use crate::io::{AlignedBuffer, File, OpenMode};
            let name = path.file_name().expect("has one");
            let file = io
                .open(&to.join(name), OpenMode::CreateNew)
                .await
                .expect("made");
            let whole = bytes.len().next_multiple_of(4096);
            if whole > 0 {
                let mut buffer = io.buffer(whole);
                buffer.as_mut().fill(0);
                buffer.as_mut()[..bytes.len()].copy_from_slice(&bytes);
                buffer.truncate(whole);
                file.write_at(Rc::new(buffer), 0).await.expect("written");
            }
            file.sync().await.expect("synced");
        }
        io.sync_dir(&to).await.expect("synced");
    })
    .done();
    let count = files_below(&sim, &stranger).len();
    assert!(count > 0);
    run_well(&sim, 1, move |broker| async move {
        let unknown = &broker.reports[0].unknown;
        assert_eq!(unknown.len(), 1, "{:?}", broker.reports);
        assert_eq!(broker.shard(0).topics(None).len(), 1);
        assert_eq!(broker.read_all(0, key(&topic, 0)).await.len(), 600);
    });
    assert!(!files_below(&sim, &stranger).is_empty(), "it was removed");
}

#[test]
fn a_damaged_partition_is_refused_alone() {
    let sim = Sim::new(11);
    let topic = prepare(&sim, 3);
    // Fill a segment and roll it over, so that there is something sealed to be damaged.
    let grown = topic.clone();
    run_well(&sim, 1, move |broker| async move {
        for round in 0..40u64 {
            let values: Vec<u64> = (0..300).map(|i| round * 300 + i).collect();
            let produced = broker.produce(0, key(&grown, 1), AckLevel::Synced, &values);
            produced.await.expect("taken");
        }
    });
    let mut files = files_below(&sim, &partition_dir(key(&topic, 1)));
    files.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    assert!(files.len() > 2, "{files:?}");
    remove_all(&sim, vec![files[1].clone()]);
    sim.disk().kill();
    run_well(&sim, 2, move |broker| async move {
        let told: Vec<_> = broker
            .reports
            .iter()
            .flat_map(|report| &report.damaged)
            .collect();
        assert_eq!(told.len(), 1, "{:?}", broker.reports);
        assert_eq!(told[0].0, key(&topic, 1));
        for core in 0..2 {
            for partition in [0, 2] {
                let values = broker.read_all(core, key(&topic, partition)).await;
                assert_eq!(values.len(), 600);
            }
            let damaged = key(&topic, 1);
            let read = broker.read(core, damaged, Offset(0), 100).await;
            assert!(matches!(read, Err(EngineError::Damaged(_))), "{read:?}");
            let produced = broker.produce(core, damaged, AckLevel::Written, &[1]).await;
            assert!(
                matches!(produced, Err(EngineError::Damaged(_))),
                "{produced:?}"
            );
        }
        let delete = DeleteTopic {
            topic: TopicRef::Id(topic.id),
        };
        broker
            .shard(1)
            .delete_topic(delete)
            .await
            .expect("a damaged one can be deleted");
    });
    run_well(&sim, 2, |broker| async move {
        assert!(broker.shard(0).topics(None).is_empty());
        let quiet = broker
            .reports
            .iter()
            .all(|report| *report == StartReport::default());
        assert!(quiet, "{:?}", broker.reports);
    });
}
