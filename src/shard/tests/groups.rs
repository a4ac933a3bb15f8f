//! Goal: a group is one, whichever core is asked; what it has committed is there after any death, once, on any number of
//! cores; and a partition of ours that is mostly garbage is written anew without a moment in which that is not so.

use super::*;
use crate::base::TopicId;
use crate::base::group::{
    Committed, Generation, GroupError, GroupReply, GroupRequest, GroupState, Identity, JoinGroup,
    SyncGroup,
};
use crate::engine::{DeleteTopic, TopicRef};
use crate::group::{offsets_key, slot_of};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Groups on different cores, whatever their number is.
const GROUPS: [&str; 4] = ["readers", "writers", "billing", "search"];
const TOPIC: TopicId = TopicId(1 << 40);

fn commit(group: &str, topic: TopicId, partition: u32, offset: u64) -> GroupRequest {
    let committed = Committed {
        offset: Offset(offset),
        leader_epoch: 3,
        // Long, so that some commits fill what is compacted.
        metadata: "m".repeat(900),
        at: TimestampMs(0),
    };
    GroupRequest::Commit {
        group: group.to_owned(),
        identity: Identity::default(),
        generation: Generation::NONE,
        offsets: vec![(PartitionKey::new(topic, PartitionNo(partition)), committed)],
    }
}

impl Broker {
    async fn commit(&self, core: u16, group: &str, partition: u32, offset: u64) {
        let request = commit(group, TOPIC, partition, offset);
        let reply = self.shard(core).group(request).await.expect("serves");
        assert_eq!(reply, GroupReply::Committed(vec![Ok(())]));
    }

    async fn offsets(&self, core: u16, group: &str) -> BTreeMap<u32, u64> {
        let request = GroupRequest::FetchOffsets {
            group: group.to_owned(),
            partitions: None,
        };
        match self.shard(core).group(request).await.expect("serves") {
            GroupReply::Offsets(offsets) => offsets
                .into_iter()
                .map(|(key, value)| (key.partition.0, value.offset.0))
                .collect(),
            other => panic!("{other:?}"),
        }
    }

    async fn join(
        &self,
        core: u16,
        member: &str,
    ) -> Result<crate::base::group::Joined, GroupError> {
        let join = JoinGroup {
            group: GROUPS[0].to_owned(),
            identity: Identity {
                member: member.to_owned(),
                instance: None,
            },
            client: format!("on-{core}"),
            host: "127.0.0.1".to_owned(),
            session_ms: 10_000,
            rebalance_ms: 60_000,
            protocol_type: "consumer".to_owned(),
            protocols: vec![("range".to_owned(), Bytes::from_static(b"t"))],
            takes_member_id: false,
            can_skip_assignment: true,
        };
        match self.shard(core).group(GroupRequest::Join(join)).await {
            Ok(GroupReply::Joined(result)) => result,
            other => panic!("{other:?}"),
        }
    }

    async fn sync(&self, core: u16, joined: &crate::base::group::Joined) -> Bytes {
        let members = joined.members.iter().map(|one| &one.identity.member);
        let sync = SyncGroup {
            group: GROUPS[0].to_owned(),
            identity: Identity {
                member: joined.member.clone(),
                instance: None,
            },
            generation: joined.generation,
            protocol_type: None,
            protocol: None,
            assignments: members
                .map(|member| (member.clone(), Bytes::from(member.clone())))
                .collect(),
        };
        match self.shard(core).group(GroupRequest::Sync(sync)).await {
            Ok(GroupReply::Synced(Ok(synced))) => synced.assignment,
            other => panic!("{other:?}"),
        }
    }
}

/// The directories of our own partitions, but for the catalog's, as `topic/partition`.
fn own_partitions(sim: &Sim) -> Vec<(u128, u32)> {
    let topics = Path::new(DATA).join("topics");
    let mut found: Vec<(u128, u32)> = sim
        .disk()
        .list_files()
        .iter()
        .filter_map(|path| {
            let inside: PathBuf = path.strip_prefix(&topics).ok()?.into();
            let mut parts = inside.iter().map(|part| part.to_str().expect("ours"));
            let topic: TopicId = parts.next()?.parse().ok()?;
            let partition = parts.next()?.parse().ok()?;
            (topic.is_own() && topic.0 > 0).then_some((topic.0, partition))
        })
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}

#[test]
fn commits_are_there_after_restarts_on_other_numbers_of_cores() {
    let sim = Sim::new(5);
    for (round, cores) in [2u16, 1, 3, 2].into_iter().enumerate() {
        let round = round as u64;
        run_well(&sim, cores, move |broker| async move {
            let reports = broker.reports.iter();
            assert!(
                reports
                    .clone()
                    .all(|report| *report == StartReport::default())
            );
            for (core, group) in (0..cores).cycle().zip(GROUPS) {
                if round > 0 {
                    let expected = BTreeMap::from([(0, round - 1), (1, 7)]);
                    assert_eq!(broker.offsets(core, group).await, expected);
                }
                broker.commit(core, group, 0, round).await;
                broker.commit(0, group, 1, 7).await;
            }
            let listed = broker.shard(0).groups().await.expect("serves");
            let names: Vec<_> = listed.iter().map(|one| one.group.as_str()).collect();
            assert_eq!(names, ["billing", "readers", "search", "writers"]);
        });
        sim.disk().kill();
    }
}

/// Goal: the partition of a slot stays in proportion to what it must keep, and the old one goes.
#[test]
fn what_was_written_over_goes() {
    let sim = Sim::new(6);
    run_well(&sim, 1, |broker| async move {
        for round in 0..100 {
            broker
                .commit(0, GROUPS[0], round % 3, u64::from(round))
                .await;
        }
    });
    let own = own_partitions(&sim);
    let [(generation, _)] = own[..] else {
        panic!("one partition is left: {own:?}");
    };
    // 100 commits of about 1 KiB, written anew whenever 16 KiB have come.
    assert!((4..10).contains(&generation), "{generation}");
    run_well(&sim, 1, |broker| async move {
        let offsets = broker.offsets(0, GROUPS[0]).await;
        assert_eq!(offsets, BTreeMap::from([(0, 99), (1, 97), (2, 98)]));
    });
}

/// Goal: however many commits share a write, all are answered, and what is read is what a restart will read.
#[test]
fn commits_that_share_a_write_count_in_the_order_of_the_log() {
    let sim = Sim::new(7);
    let before = run_well(&sim, 2, |broker| async move {
        let broker = Rc::new(broker);
        let (left, changed) = (Rc::new(Cell::new(200)), Signal::new());
        for offset in 0..200u64 {
            let (broker, left, changed) = (Rc::clone(&broker), Rc::clone(&left), changed.clone());
            broker.io.clone().spawn(async move {
                let core = (offset % 2) as u16;
                broker.commit(core, GROUPS[0], 0, offset).await;
                left.set(left.get() - 1);
                changed.notify();
            });
        }
        while left.get() > 0 {
            changed.wait().await;
        }
        broker.offsets(0, GROUPS[0]).await
    });
    sim.disk().kill();
    let after = run_well(&sim, 1, |broker| async move {
        broker.offsets(0, GROUPS[0]).await
    });
    assert_eq!(before, after);
}

#[test]
fn members_on_two_cores_are_one_group() {
    let sim = Sim::new(8);
    run_well(&sim, 2, |broker| async move {
        let joins = futures_lite::future::zip(broker.join(0, ""), broker.join(1, ""));
        let (one, other) = joins.await;
        let joined = [one.expect("joined"), other.expect("joined")];
        assert_eq!(joined[0].generation, joined[1].generation);
        assert_eq!(joined[0].leader, joined[1].leader);
        let synced =
            futures_lite::future::zip(broker.sync(0, &joined[0]), broker.sync(1, &joined[1]));
        let (one, other) = synced.await;
        assert_eq!(
            (one, other),
            (
                joined[0].member.clone().into(),
                joined[1].member.clone().into()
            )
        );
        let listed = broker.shard(1).groups().await.expect("serves");
        assert_eq!((listed.len(), listed[0].state), (1, GroupState::Stable));
        // Nobody says a word: their sessions run out by the broker's own clock.
        broker.io.sleep(Duration::from_secs(11)).await;
        let listed = broker.shard(0).groups().await.expect("serves");
        assert_eq!(listed[0].state, GroupState::Empty);
        let unknown = broker.join(1, &joined[0].member).await;
        assert_eq!(unknown, Err(GroupError::UnknownMember));
    });
}

#[test]
fn offsets_go_with_their_topic_for_good() {
    let sim = Sim::new(9);
    let topic = run_well(&sim, 2, |broker| async move {
        let made = broker
            .shard(0)
            .create_topic(new_topic("t", 1, AckLevel::Synced));
        let topic = made.await.expect("made");
        broker.commit(0, GROUPS[0], 5, 1).await;
        let request = commit(GROUPS[0], topic.id, 0, 9);
        let reply = broker.shard(0).group(request).await.expect("serves");
        assert_eq!(reply, GroupReply::Committed(vec![Ok(())]));
        assert_eq!(broker.offsets(1, GROUPS[0]).await.len(), 2);
        let topic = TopicRef::Id(topic.id);
        let deleted = broker.shard(1).delete_topic(DeleteTopic { topic });
        deleted.await.expect("deleted");
        broker.io.sleep(Duration::from_millis(100)).await;
        broker.offsets(1, GROUPS[0]).await
    });
    assert_eq!(topic, BTreeMap::from([(5, 1)]));
    let after = run_well(&sim, 1, |broker| async move {
        broker.offsets(0, GROUPS[0]).await
    });
    assert_eq!(after, topic);
}

/// Goal: a group whose offsets cannot be read is refused, and does not begin anew as if it had none; others are served.
#[test]
fn groups_of_a_damaged_partition_are_refused_and_no_others() {
    let sim = Sim::new(10);
    run_well(&sim, 1, |broker| async move {
        for offset in 0..12 {
            broker.commit(0, GROUPS[0], 0, offset).await;
        }
        broker.commit(0, GROUPS[1], 0, 5).await;
    });
    // The second start carries what was inline in the journal into the segment.
    run_well(&sim, 1, |_| async {});
    let damaged = offsets_key(1, slot_of(GROUPS[0]));
    assert_ne!(slot_of(GROUPS[0]), slot_of(GROUPS[1]));
    let inside = format!("topics/{}/{}", damaged.topic, damaged.partition);
    let dir = Path::new(DATA).join(inside);
    let mut files = sim.disk().list_files();
    files.retain(|path| path.starts_with(&dir) && path.extension().is_some_and(|of| of == "log"));
    assert!(sim.disk().corrupt(&files[0], 200, b"????"));
    for cores in [2, 1] {
        run_well(&sim, cores, move |broker| async move {
            let told: Vec<_> = broker.reports.iter().flat_map(|one| &one.damaged).collect();
            assert_eq!(told.len(), 1, "{:?}", broker.reports);
            assert_eq!(told[0].0, damaged);
            assert!(told[0].1.contains("millrace repair"), "{}", told[0].1);
            for request in [
                commit(GROUPS[0], TOPIC, 0, 99),
                GroupRequest::FetchOffsets {
                    group: GROUPS[0].to_owned(),
                    partitions: None,
                },
            ] {
                let refused = broker.shard(0).group(request).await;
                assert!(
                    matches!(refused, Err(EngineError::Damaged(_))),
                    "{refused:?}"
                );
            }
            let others = broker.offsets(0, GROUPS[1]).await;
            assert_eq!(others, BTreeMap::from([(0, 5)]));
            broker.commit(0, GROUPS[1], 0, 5).await;
        });
        assert!(
            sim.disk().list_files().contains(&files[0]),
            "its bytes are kept"
        );
    }
}

/// What was told to who commits, by partition: answered, begun.
type Told = Rc<RefCell<BTreeMap<u32, (u64, u64)>>>;

/// Goal: no death loses an answered commit or invents one, in a compaction least of all. Method: commits that make a
/// partition be written anew twice, the death one effect later each time; the next start is looked at, and committed to.
fn crash_everywhere(die: impl Fn(&crate::io::sim::SimDisk)) {
    let mut crashes = 0;
    for effect in 0.. {
        let sim = Sim::new(11);
        let (disk, told) = (sim.disk(), Told::default());
        let (kept, plan) = (Rc::clone(&told), disk.clone());
        let crash = move || plan.crash_at(effect);
        let ended = run_after(&sim, 1, crash, move |broker| async move {
            for round in 1..30 {
                let partition = round % 2;
                let offset = u64::from(round);
                kept.borrow_mut().entry(partition).or_default().1 = offset;
                broker.commit(0, GROUPS[0], partition, offset).await;
                kept.borrow_mut().entry(partition).or_default().0 = offset;
            }
        });
        die(&disk);
        if !ended.is_crashed() {
            break;
        }
        crashes += 1;
        let told = told.borrow().clone();
        run_well(&sim, 1, move |broker| async move {
            let damaged = broker
                .reports
                .iter()
                .any(|report| !report.damaged.is_empty() || !report.closed.is_empty());
            assert!(!damaged, "{effect}: {:?}", broker.reports);
            let offsets = broker.offsets(0, GROUPS[0]).await;
            for (partition, (answered, begun)) in told {
                let stored = offsets.get(&partition).copied().unwrap_or(0);
                assert!(
                    (answered..=begun).contains(&stored),
                    "{effect}: {offsets:?}"
                );
            }
            broker.commit(0, GROUPS[0], 2, 1).await;
        });
        assert_eq!(own_partitions(&sim).len(), 1, "{effect}");
    }
    assert!(crashes > 50, "only {crashes} effects");
}

#[test]
fn commits_survive_a_kill_at_any_effect() {
    crash_everywhere(crate::io::sim::SimDisk::kill);
}

#[test]
fn commits_survive_a_power_cut_at_any_effect() {
    crash_everywhere(crate::io::sim::SimDisk::power_cut);
}
