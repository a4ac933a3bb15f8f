//! Committed offsets: who may, what is kept, how they go.

use super::*;
use crate::base::limits::OFFSET_METADATA_BYTES_MAX;

const WEEK_MS: u64 = 7 * 86_400_000;

impl Rig {
    fn commit(&mut self, id: &str, generation: i32, offsets: &[(u32, u64)]) -> Ticket {
        let offsets = offsets.iter();
        self.ask(GroupRequest::Commit {
            group: GROUP.to_owned(),
            identity: identity(id),
            generation: Generation(generation),
            offsets: offsets
                .map(|(no, offset)| (partition(*no), committed(*offset)))
                .collect(),
        })
    }

    fn results(&mut self, ticket: Ticket) -> Option<Vec<Result<(), GroupError>>> {
        match self.replies.remove(&ticket)? {
            GroupReply::Committed(results) => Some(results),
            other => panic!("{other:?}"),
        }
    }

    /// Offsets by partition number.
    fn offsets(&mut self, partitions: Option<&[u32]>) -> Vec<(u32, u64)> {
        let asked = partitions.map(|nos| nos.iter().map(|no| partition(*no)).collect());
        let ticket = self.ask(GroupRequest::FetchOffsets {
            group: GROUP.to_owned(),
            partitions: asked,
        });
        let Some(GroupReply::Offsets(offsets)) = self.replies.remove(&ticket) else {
            panic!("answered at once");
        };
        let plain = |(key, value): (PartitionKey, Committed)| (key.partition.0, value.offset.0);
        offsets.into_iter().map(plain).collect()
    }
}

#[test]
fn a_commit_counts_and_is_answered_once_it_is_stored() {
    let mut rig = Rig::new();
    let ticket = rig.commit("", -1, &[(0, 5), (3, 7)]);
    assert_eq!(rig.results(ticket), None);
    assert_eq!(rig.offsets(None), []);
    rig.store(Ok(()));
    assert_eq!(rig.results(ticket), Some(vec![Ok(()), Ok(())]));
    assert_eq!(rig.offsets(None), [(0, 5), (3, 7)]);
    assert_eq!(rig.offsets(Some(&[3, 4])), [(3, 7)]);
    let failed = rig.commit("", -1, &[(0, 6)]);
    rig.store(Err("disk".to_owned()));
    let not_stored = Err(GroupError::NotStored("disk".to_owned()));
    assert_eq!(rig.results(failed), Some(vec![not_stored]));
    assert_eq!(rig.offsets(Some(&[0])), [(0, 5)]);
}

/// Goal: the table of who may commit in which state.
#[test]
fn who_may_commit() {
    let mut rig = Rig::new();
    let refused = |rig: &mut Rig, id: &str, generation: i32, error: GroupError| {
        let ticket = rig.commit(id, generation, &[(0, 1)]);
        assert_eq!(rig.results(ticket), Some(vec![Err(error)]));
    };
    refused(&mut rig, "who", 1, GroupError::IllegalGeneration);
    assert_eq!(rig.state(), None);
    let joined = rig.stable(2);
    let id = joined[0].member.clone();
    refused(&mut rig, "", -1, GroupError::UnknownMember);
    refused(&mut rig, "who", 1, GroupError::UnknownMember);
    refused(&mut rig, &id, 0, GroupError::IllegalGeneration);
    refused(&mut rig, &id, -1, GroupError::IllegalGeneration);
    // What was read before a rebalance is still committed while it goes on, and not once the parts are given anew.
    rig.commit(&id, 1, &[(0, 1)]);
    rig.ask(GroupRequest::Join(again(&joined[0])));
    rig.commit(&id, 1, &[(0, 2)]);
    rig.store(Ok(()));
    assert_eq!(rig.offsets(None), [(0, 2)]);
    rig.ask(GroupRequest::Join(again(&joined[1])));
    refused(&mut rig, &id, 1, GroupError::IllegalGeneration);
    refused(&mut rig, &id, 2, GroupError::Rebalancing);
    rig.leave(&[identity(&id), identity(&joined[1].member)]);
    refused(&mut rig, &id, 2, GroupError::UnknownMember);
    rig.commit("", -1, &[(0, 9)]);
    rig.store(Ok(()));
    assert_eq!(rig.offsets(None), [(0, 9)]);
}

#[test]
fn metadata_is_kept_and_bounded() {
    let mut rig = Rig::new();
    let with = |bytes: usize| Committed {
        metadata: "m".repeat(bytes),
        leader_epoch: 4,
        ..committed(1)
    };
    let ticket = rig.ask(GroupRequest::Commit {
        group: GROUP.to_owned(),
        identity: Identity::default(),
        generation: Generation::NONE,
        offsets: vec![
            (partition(0), with(OFFSET_METADATA_BYTES_MAX)),
            (partition(1), with(OFFSET_METADATA_BYTES_MAX + 1)),
        ],
    });
    rig.store(Ok(()));
    let expected = vec![Ok(()), Err(GroupError::MetadataTooLarge)];
    assert_eq!(rig.results(ticket), Some(expected));
    let ticket = rig.ask(GroupRequest::FetchOffsets {
        group: GROUP.to_owned(),
        partitions: None,
    });
    let stored = Committed {
        at: rig.now.wall,
        ..with(OFFSET_METADATA_BYTES_MAX)
    };
    let offsets = GroupReply::Offsets(vec![(partition(0), stored)]);
    assert_eq!(rig.replies.remove(&ticket), Some(offsets));
}

#[test]
fn commits_keep_a_member_alive() {
    let mut rig = Rig::new();
    let joined = rig.stable(1);
    for offset in 0..5 {
        rig.pass(u64::from(SESSION_MS) - 1);
        rig.commit(&joined[0].member, 1, &[(0, offset)]);
    }
    assert_eq!(rig.heartbeat(&joined[0].member, 1), Ok(()));
}

#[test]
fn a_group_in_use_is_not_deleted_and_one_that_is_not_leaves_nothing() {
    let mut rig = Rig::new();
    let group = || GROUP.to_owned();
    let delete = |rig: &mut Rig| {
        let ticket = rig.ask(GroupRequest::Delete { group: group() });
        rig.store(Ok(()));
        rig.replies.remove(&ticket)
    };
    let refused = |error| Some(GroupReply::Deleted(Err(error)));
    assert_eq!(delete(&mut rig), refused(GroupError::NotFound));
    let joined = rig.stable(1);
    rig.commit(&joined[0].member, 1, &[(0, 1), (1, 1)]);
    rig.store(Ok(()));
    assert_eq!(delete(&mut rig), refused(GroupError::NotEmpty));
    rig.leave(&[identity(&joined[0].member)]);
    rig.commit("", -1, &[(2, 1)]);
    let ticket = rig.ask(GroupRequest::Delete { group: group() });
    let in_flight = rig.replies.remove(&ticket);
    assert_eq!(
        in_flight,
        refused(GroupError::NotEmpty),
        "a commit is on its way"
    );
    rig.store(Ok(()));
    let ticket = rig.ask(GroupRequest::DeleteOffsets {
        group: group(),
        partitions: vec![partition(0), partition(7)],
        unwanted_in: None,
    });
    rig.store(Ok(()));
    let gone = Some(GroupReply::OffsetsDeleted(Ok(())));
    assert_eq!(rig.replies.remove(&ticket), gone);
    assert_eq!(rig.offsets(None), [(1, 1), (2, 1)]);
    assert_eq!(delete(&mut rig), Some(GroupReply::Deleted(Ok(()))));
    assert_eq!(rig.state(), None);
}

#[test]
fn offsets_that_no_member_of_a_generation_wants_are_deleted_in_that_generation() {
    let mut rig = Rig::new();
    let joined = rig.stable(1);
    rig.commit(&joined[0].member, 1, &[(0, 1), (1, 1)]);
    rig.store(Ok(()));
    let mut delete = |unwanted_in: Option<i32>| {
        let ticket = rig.ask(GroupRequest::DeleteOffsets {
            group: GROUP.to_owned(),
            partitions: vec![partition(0)],
            unwanted_in: unwanted_in.map(Generation),
        });
        rig.store(Ok(()));
        (rig.replies.remove(&ticket), rig.offsets(None))
    };
    let both = vec![(0, 1), (1, 1)];
    let told = |result| Some(GroupReply::OffsetsDeleted(result));
    let (reply, left) = delete(None);
    assert_eq!(
        (reply, left),
        (told(Err(GroupError::NotEmpty)), both.clone())
    );
    for other in [0, 2] {
        let (reply, left) = delete(Some(other));
        let moved_on = told(Err(GroupError::IllegalGeneration));
        assert_eq!(
            (reply, left),
            (moved_on, both.clone()),
            "generation {other}"
        );
    }
    assert_eq!(delete(Some(1)), (told(Ok(())), vec![(1, 1)]));
}

#[test]
fn offsets_of_a_group_without_members_grow_old_and_others_do_not() {
    let mut rig = Rig::new();
    let joined = rig.stable(1);
    rig.commit(&joined[0].member, 1, &[(0, 1)]);
    rig.store(Ok(()));
    for _ in 0..2 * WEEK_MS / u64::from(SESSION_MS - 1) {
        rig.pass(u64::from(SESSION_MS - 1));
        assert_eq!(rig.heartbeat(&joined[0].member, 1), Ok(()));
    }
    assert!(rig.stores.is_empty(), "it has a member");
    rig.leave(&[identity(&joined[0].member)]);
    rig.pass(WEEK_MS / 2);
    rig.commit("", -1, &[(1, 2)]);
    rig.store(Ok(()));
    rig.pass(WEEK_MS / 2 + 1_200_000);
    rig.store(Ok(()));
    assert_eq!(rig.offsets(None), [(1, 2)]);
    rig.pass(WEEK_MS / 2 + 1_200_000);
    rig.store(Ok(()));
    assert_eq!(rig.offsets(None), []);
    rig.pass(1_200_000);
    assert_eq!(rig.state(), None);
    assert_eq!(rig.coordinator.next_deadline(), None);
}

#[test]
fn offsets_go_with_their_topic() {
    let mut rig = Rig::new();
    rig.commit("", -1, &[(0, 1), (1, 1)]);
    rig.store(Ok(()));
    let mut out = Vec::new();
    rig.coordinator.forget_topic(TopicId(8), &mut out);
    assert_eq!(out, []);
    rig.coordinator.forget_topic(TopicId(9), &mut out);
    rig.take(out);
    rig.store(Ok(()));
    assert_eq!(rig.offsets(None), []);
}
