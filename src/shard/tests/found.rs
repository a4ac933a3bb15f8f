//! What the simulation of the whole broker (`tests/simulation.rs`) has found, each as the smallest program that shows it.

use super::*;
use crate::engine::{DeleteTopic, TopicRef};
use crate::io::sim::{EffectKind, Fault, SimDisk};
use crate::log::LogError;
use futures_lite::future::zip;

/// Numbers for a batch that goes straight to its segment.
const LARGE: std::ops::Range<u64> = 0..9_000;

/// Starts `cores` cores, runs `program`, and crashes when it has ended.
fn run_and_crash<F: Future<Output = ()> + 'static>(
    sim: &Sim,
    cores: u16,
    program: impl FnOnce(Broker) -> F + 'static,
) {
    let crash = sim.clone();
    let ended = run::<(), _>(sim, cores, move |broker| async move {
        let io = broker.io.clone();
        program(broker).await;
        crash.crash();
        io.sleep(Duration::from_secs(1)).await;
    });
    assert!(ended.is_crashed());
}

/// A topic of `partitions` partitions at `ack`, made by a life that then stops.
fn with_topic(sim: &Sim, partitions: u32, ack: AckLevel) -> TopicInfo {
    run_well(sim, 1, move |broker| async move {
        let made = broker
            .shard(0)
            .create_topic(new_topic("t", partitions, ack));
        made.await.expect("made")
    })
}

/// A kill in the middle of the making of a topic leaves directories whose names were never synced. The next life served
/// their partitions, and a power cut then took them with all that was promised.
#[test]
fn a_topic_that_a_kill_left_half_made_outlives_a_power_cut() {
    let mut crashes = 0;
    for effect in 0.. {
        let sim = Sim::new(effect);
        with_topic(&sim, 1, AckLevel::Written);
        let plan = sim.disk();
        let crash = move || plan.crash_at(effect);
        let ended = run_after(&sim, 2, crash, |broker| async move {
            let made = broker
                .shard(1)
                .create_topic(new_topic("u", 3, AckLevel::Written));
            made.await.expect("made");
        });
        sim.disk().kill();
        if !ended.is_crashed() {
            break;
        }
        crashes += 1;
        run_and_crash(&sim, 2, |broker| async move {
            for topic in broker.shard(0).topics(None).into_iter().flatten() {
                for partition in 0..topic.partitions {
                    let produced =
                        broker.produce(0, key(&topic, partition), AckLevel::Synced, &[7]);
                    produced.await.expect("taken");
                }
            }
        });
        sim.disk().power_cut();
        run_well(&sim, 2, |broker| async move {
            for topic in broker.shard(0).topics(None).into_iter().flatten() {
                for partition in 0..topic.partitions {
                    assert_eq!(broker.read_all(1, key(&topic, partition)).await, [7]);
                }
            }
        });
    }
    assert!(crashes > 20, "only {crashes} effects");
}

/// After a kill, what was written is taken for acknowledged; but it was not synced, the journal that told of it went, and
/// a power cut took blocks that readers had seen.
#[test]
fn blocks_that_were_written_and_outlived_a_kill_outlive_a_power_cut() {
    for seed in 0..30 {
        let sim = Sim::new(seed);
        let topic = with_topic(&sim, 1, AckLevel::Written);
        let told = topic.clone();
        run_and_crash(&sim, 1, |broker| async move {
            let values: Vec<u64> = LARGE.collect();
            for values in [&values[..], &[1, 2, 3]] {
                let produced = broker.produce(0, key(&told, 0), AckLevel::Written, values);
                produced.await.expect("written");
            }
        });
        sim.disk().kill();
        run_and_crash(&sim, 1, |_| async {});
        sim.disk().power_cut();
        run_well(&sim, 1, move |broker| async move {
            let values = broker.read_all(0, key(&topic, 0)).await;
            assert_eq!(values.len() as u64, LARGE.end + 3, "seed {seed}");
        });
    }
}

/// The record of a delete named the frontier of the moment in which it was taken, though writes were in flight: when
/// they had moved the frontier, the core came down.
#[test]
fn a_topic_is_deleted_while_writes_to_it_are_in_flight() {
    for seed in 0..60 {
        let sim = Sim::new(seed);
        let topic = with_topic(&sim, 1, AckLevel::Written);
        run_well(&sim, 1, move |broker| async move {
            let writes = async {
                for value in 0..4 {
                    // It is taken, or it is not: the topic goes.
                    let _ = broker
                        .produce(0, key(&topic, 0), AckLevel::Written, &[value])
                        .await;
                }
            };
            let delete = async {
                broker.io.sleep(Duration::from_micros(seed * 5)).await;
                let topic = TopicRef::Id(topic.id);
                let deleted = broker.shard(0).delete_topic(DeleteTopic { topic });
                deleted.await.expect("deleted");
            };
            zip(writes, delete).await;
        });
    }
}

fn remove_partition(sim: &Sim, topic: &TopicInfo) {
    let dir = Path::new(DATA).join(format!("topics/{}/0", topic.id));
    sim.run(|io| async move {
        for entry in io.list_dir(&dir).await.expect("there") {
            let removed = io.remove_file(&dir.join(entry.name)).await;
            removed.expect("there");
        }
        io.remove_dir(&dir).await.expect("empty");
    })
    .done();
}

/// A partition whose directory is gone was refused once: its journal went aside, and the next start made it empty.
#[test]
fn a_missing_partition_stays_refused_until_it_is_deleted() {
    let sim = Sim::new(1);
    let topic = with_topic(&sim, 1, AckLevel::Synced);
    let told = topic.clone();
    run_well(&sim, 1, |broker| async move {
        let produced = broker.produce(0, key(&told, 0), AckLevel::Synced, &[1, 2, 3]);
        produced.await.expect("synced");
    });
    remove_partition(&sim, &topic);
    for cores in [1, 2, 1] {
        run_well(&sim, cores, |broker| async move {
            let told = broker.reports.iter().map(|report| report.damaged.len());
            assert_eq!(told.sum::<usize>(), 1, "{:?}", broker.reports);
        });
    }
    run_well(&sim, 1, move |broker| async move {
        let topic = TopicRef::Id(topic.id);
        let deleted = broker.shard(0).delete_topic(DeleteTopic { topic });
        deleted.await.expect("deleted");
    });
}

/// A lost journal entry that was acknowledged is damage, also for a partition whose next record was not acknowledged yet:
/// that record used to be cut, and what had been lost before it went in silence.
#[test]
fn a_lost_entry_is_damage_though_the_next_one_was_the_last() {
    for seed in 0..40 {
        let sim = Sim::new(seed);
        let topic = with_topic(&sim, 2, AckLevel::Synced);
        // On the core without the catalog, which would keep all from starting.
        let mut keys = (0..2).map(|partition| key(&topic, partition));
        let key = keys.find(|key| key.core(2).0 == 1).expect("one of two");
        let disk = sim.disk();
        run_and_crash(&sim, 2, move |broker| async move {
            for value in 0..3 {
                if value == 1 {
                    disk.fail_next(EffectKind::Write, 0, Fault::Lost);
                }
                let values = [value];
                let produced = broker.produce(0, key, AckLevel::Synced, &values);
                produced.await.expect("acked");
            }
        });
        assert_eq!(sim.disk().fired().len(), 1);
        sim.disk().power_cut();
        run_well(&sim, 2, move |broker| async move {
            let damaged = broker.reports[1].damaged.iter().map(|one| one.0);
            assert!(damaged.eq([key]), "seed {seed}: {:?}", broker.reports);
        });
    }
}

fn journal_files(disk: &SimDisk) -> Vec<std::path::PathBuf> {
    let mut files = disk.list_files();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "wal"));
    files
}

/// The header of a recycled journal file that was never written left the header of its last use: all entries behind it
/// looked like somebody else's, and were cut.
#[test]
fn a_journal_file_with_the_header_of_another_is_refused() {
    let sim = Sim::new(2);
    with_topic(&sim, 1, AckLevel::Synced);
    let files = journal_files(&sim.disk());
    assert!(files.len() >= 2, "{files:?}");
    let other = sim.disk().read_file(&files[0]).expect("listed");
    assert!(sim.disk().corrupt(&files[1], 0, &other[..4096]));
    let recovered = sim
        .run(|io| async move { recover(&io, Path::new(DATA)).await })
        .done()
        .remove(0);
    let error = recovered.expect_err("its header lies");
    assert!(matches!(error, LogError::Journal { .. }), "{error}");
    assert!(error.to_string().contains("is that of file"), "{error}");
}

/// A write that went astray to the first place of a journal was taken for the journal's first entry: whatever lay behind
/// it was older, and forgotten.
#[test]
fn a_journal_that_begins_with_its_last_entry_is_refused() {
    let sim = Sim::new(3);
    let topic = with_topic(&sim, 1, AckLevel::Synced);
    run_and_crash(&sim, 1, move |broker| async move {
        for value in 0..3 {
            let values = [value];
            let produced = broker.produce(0, key(&topic, 0), AckLevel::Synced, &values);
            produced.await.expect("acked");
        }
    });
    let path = journal_files(&sim.disk()).remove(0);
    let bytes = sim.disk().read_file(&path).expect("listed");
    let blocks: Vec<&[u8]> = bytes.chunks(4096).collect();
    let last = blocks
        .iter()
        .rposition(|block| block.iter().any(|byte| *byte != 0));
    let last = last.expect("entries");
    assert!(last > 2, "{last}");
    assert!(sim.disk().corrupt(&path, 4096, blocks[last]));
    let recovered = sim
        .run(|io| async move { recover(&io, Path::new(DATA)).await })
        .done()
        .remove(0);
    let error = recovered.expect_err("an entry is out of its place");
    assert!(error.to_string().contains("lies behind entry"), "{error}");
}
