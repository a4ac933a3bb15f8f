//! Members over time: silence, leaving, assignments, static instances.

use super::*;

#[test]
fn a_silent_member_is_dropped_and_the_others_rebalance() {
    let mut rig = Rig::new();
    let joined = rig.stable(3);
    rig.pass(u64::from(SESSION_MS) - 1);
    assert_eq!(rig.heartbeat(&joined[0].member, 1), Ok(()));
    assert_eq!(rig.heartbeat(&joined[1].member, 1), Ok(()));
    rig.pass(1);
    let alive = rig.heartbeat(&joined[0].member, 1);
    assert_eq!(alive, Err(GroupError::Rebalancing));
    let silent = rig.heartbeat(&joined[2].member, 1);
    assert_eq!(silent, Err(GroupError::UnknownMember));
    let tickets = [0, 1].map(|no| rig.ask(GroupRequest::Join(again(&joined[no]))));
    let next = tickets.map(|ticket| rig.joined(ticket).expect("answered").expect("joined"));
    assert_eq!(next[0].members.len(), 2);
    rig.settle(&next);
}

/// Goal: the table of what a member is told by whose generation and in which state.
#[test]
fn heartbeats_by_state_and_generation() {
    let mut rig = Rig::new();
    assert_eq!(rig.heartbeat("nobody", 1), Err(GroupError::UnknownMember));
    let ticket = rig.join(dynamic(0));
    rig.pass(1_000);
    let joined = rig.joined(ticket).expect("answered").expect("joined");
    let id = &joined.member;
    assert_eq!(rig.state(), Some(GroupState::CompletingRebalance));
    assert_eq!(rig.heartbeat(id, 1), Ok(()));
    rig.settle(std::slice::from_ref(&joined));
    assert_eq!(rig.heartbeat(id, 1), Ok(()));
    for generation in [-1, 0, 2] {
        let alive = rig.heartbeat(id, generation);
        assert_eq!(alive, Err(GroupError::IllegalGeneration));
    }
    assert_eq!(rig.heartbeat("nobody", 1), Err(GroupError::UnknownMember));
    rig.join(dynamic(1));
    assert_eq!(rig.heartbeat(id, 1), Err(GroupError::Rebalancing));
}

#[test]
fn leaving_by_id_by_instance_and_by_mistake() {
    let mut rig = Rig::new();
    let dynamic = rig.stable(2);
    let ticket = rig.ask(GroupRequest::Join(static_member("s1")));
    for one in &dynamic {
        rig.ask(GroupRequest::Join(again(one)));
    }
    let fixed = rig.joined(ticket).expect("answered").expect("joined");
    let left = rig.leave(&[
        identity(&dynamic[0].member),
        identity("nobody"),
        instance("", "s1"),
        instance("", "s1"),
        instance(&fixed.member, "s2"),
        identity(""),
    ]);
    let unknown = Err(GroupError::UnknownMember);
    assert_eq!(
        left,
        [
            Ok(()),
            unknown.clone(),
            Ok(()),
            unknown.clone(),
            unknown.clone(),
            unknown
        ]
    );
    assert_eq!(rig.leave(&[identity(&dynamic[1].member)]), [Ok(())]);
    assert_eq!(rig.state(), Some(GroupState::Empty));
    rig.pass(600_000);
    assert_eq!(rig.state(), None, "an empty group without offsets goes");
}

#[test]
fn an_id_that_was_given_out_can_be_given_back() {
    let mut rig = Rig::new();
    let joined = rig.stable(1);
    let ticket = rig.ask(GroupRequest::Join(dynamic(1)));
    let Some(Err(GroupError::MemberIdRequired(id))) = rig.joined(ticket) else {
        panic!("an id is required");
    };
    // A rebalance waits for whoever holds an id.
    let ticket = rig.ask(GroupRequest::Join(again(&joined[0])));
    assert_eq!(rig.joined(ticket), None);
    assert_eq!(rig.leave(&[identity(&id)]), [Ok(())]);
    assert!(rig.joined(ticket).expect("answered").is_ok());
}

#[test]
fn the_eldest_inherits_the_lead() {
    let mut rig = Rig::new();
    let joined = rig.stable(3);
    assert_eq!(rig.leave(&[identity(&joined[0].member)]), [Ok(())]);
    let tickets = [1, 2].map(|no| rig.ask(GroupRequest::Join(again(&joined[no]))));
    for ticket in tickets {
        let next = rig.joined(ticket).expect("answered").expect("joined");
        assert!(joined[1..].iter().any(|one| one.member == next.leader));
        assert_eq!(next.members.is_empty(), next.member != next.leader);
    }
}

/// Goal: the table of what a sync is answered.
#[test]
fn syncs_by_state_and_what_they_say() {
    let mut rig = Rig::new();
    let joined = rig.stable(2);
    let sync = |rig: &mut Rig, change: &dyn Fn(&mut SyncGroup)| {
        let mut sync = SyncGroup {
            group: GROUP.to_owned(),
            identity: identity(&joined[1].member),
            generation: Generation(1),
            protocol_type: Some("consumer".to_owned()),
            protocol: Some("range".to_owned()),
            assignments: Vec::new(),
        };
        change(&mut sync);
        let ticket = rig.ask(GroupRequest::Sync(sync));
        rig.synced(ticket).expect("answered at once")
    };
    let stable = sync(&mut rig, &|_| {}).expect("stable");
    assert_eq!(stable.assignment, joined[1].member.as_bytes());
    type Change = &'static dyn Fn(&mut SyncGroup);
    let refused: [(Change, GroupError); 5] = [
        (
            &|sync| sync.group = "other".to_owned(),
            GroupError::UnknownMember,
        ),
        (
            &|sync| sync.identity.member = "who".to_owned(),
            GroupError::UnknownMember,
        ),
        (
            &|sync| sync.generation = Generation(0),
            GroupError::IllegalGeneration,
        ),
        (
            &|sync| sync.protocol = Some("sticky".to_owned()),
            GroupError::InconsistentProtocol,
        ),
        (
            &|sync| sync.protocol_type = Some("connect".to_owned()),
            GroupError::InconsistentProtocol,
        ),
    ];
    for (change, error) in refused {
        assert_eq!(sync(&mut rig, change), Err(error));
    }
    rig.join(dynamic(2));
    let preparing = sync(&mut rig, &|_| {});
    assert_eq!(preparing, Err(GroupError::Rebalancing));
}

#[test]
fn a_leader_that_dies_before_it_assigns_frees_those_who_wait() {
    let mut rig = Rig::new();
    let tickets = [rig.join(dynamic(0)), rig.join(dynamic(1))];
    rig.pass(2_000);
    let mut joined = tickets.map(|ticket| rig.joined(ticket).expect("answered").expect("joined"));
    joined.sort_by_key(|one| one.member != one.leader);
    let waiting = rig.sync(&joined[1], &[]);
    rig.pass(u64::from(SESSION_MS));
    assert_eq!(rig.synced(waiting), Some(Err(GroupError::Rebalancing)));
    let ticket = rig.ask(GroupRequest::Join(again(&joined[1])));
    let next = rig.joined(ticket).expect("answered").expect("joined");
    assert_eq!((&next.leader, next.members.len()), (&joined[1].member, 1));
    assert_eq!(next.generation, Generation(2));
}

/// Goal: a member that lives and never asks for its part does not hold up the group for ever.
#[test]
fn who_never_syncs_is_out() {
    let mut rig = Rig::new();
    let tickets = [rig.join(dynamic(0)), rig.join(dynamic(1))];
    rig.pass(2_000);
    let mut joined = tickets.map(|ticket| rig.joined(ticket).expect("answered").expect("joined"));
    joined.sort_by_key(|one| one.member != one.leader);
    let ticket = rig.sync(&joined[0], &[]);
    assert!(rig.synced(ticket).expect("answered").is_ok());
    for _ in 0..=REBALANCE_MS / 5_000 {
        rig.pass(5_000);
        let _ = rig.heartbeat(&joined[0].member, 1);
        let _ = rig.heartbeat(&joined[1].member, 1);
    }
    let lazy = rig.heartbeat(&joined[1].member, 1);
    assert_eq!(lazy, Err(GroupError::UnknownMember));
    let alive = rig.heartbeat(&joined[0].member, 1);
    assert_eq!(alive, Err(GroupError::Rebalancing));
}

#[test]
fn a_static_member_comes_back_without_a_rebalance_and_fences_the_old_one() {
    for can_skip_assignment in [false, true] {
        let mut rig = Rig::new();
        let names = ["a", "b"];
        let tickets = names.map(|name| rig.join(static_member(name)));
        rig.pass(2_000);
        let joined = tickets.map(|ticket| rig.joined(ticket).expect("answered").expect("joined"));
        rig.settle(&joined);
        let ticket = rig.ask(GroupRequest::Join(JoinGroup {
            can_skip_assignment,
            ..static_member("a")
        }));
        let back = rig.joined(ticket).expect("answered").expect("joined");
        assert_ne!(back.member, joined[0].member);
        assert_eq!(back.generation, Generation(1));
        assert_eq!(back.skip_assignment, can_skip_assignment);
        // One that cannot skip is not told that it leads: it would assign, and nobody would hear of it.
        assert_eq!(back.leader == back.member, can_skip_assignment);
        assert_eq!(back.members.len(), if can_skip_assignment { 2 } else { 0 });
        let ticket = rig.sync(&back, &[]);
        let part = rig.synced(ticket).expect("answered").expect("synced");
        assert_eq!(part.assignment, joined[0].member.as_bytes());
        let old = rig.ask(GroupRequest::Heartbeat {
            group: GROUP.to_owned(),
            identity: instance(&joined[0].member, "a"),
            generation: Generation(1),
        });
        let fenced = Some(GroupReply::Alive(Err(GroupError::FencedInstance)));
        assert_eq!(rig.replies.remove(&old), fenced);
        assert_eq!(rig.state(), Some(GroupState::Stable));
    }
}

#[test]
fn a_static_member_that_is_away_stays_in_the_next_generation() {
    let mut rig = Rig::new();
    let tickets = ["a", "b"].map(|name| {
        rig.join(JoinGroup {
            session_ms: 300_000,
            ..static_member(name)
        })
    });
    rig.pass(2_000);
    let joined = tickets.map(|ticket| rig.joined(ticket).expect("answered").expect("joined"));
    rig.settle(&joined);
    let ticket = rig.join(dynamic(0));
    rig.pass(u64::from(REBALANCE_MS));
    let next = rig.joined(ticket).expect("answered").expect("joined");
    assert_eq!((next.members.len(), &next.leader), (3, &next.member));
}

#[test]
fn two_that_wait_under_one_instance_leave_one() {
    let mut rig = Rig::new();
    let first = rig.join(static_member("a"));
    let second = rig.join(static_member("a"));
    assert_eq!(rig.joined(first), Some(Err(GroupError::FencedInstance)));
    rig.pass(1_000);
    let joined = rig.joined(second).expect("answered").expect("joined");
    assert_eq!(joined.members.len(), 1);
}

#[test]
fn a_description_tells_members_and_parts_once_they_are_stable() {
    let mut rig = Rig::new();
    let describe = |rig: &mut Rig| {
        let group = GROUP.to_owned();
        let ticket = rig.ask(GroupRequest::Describe { group });
        match rig.replies.remove(&ticket) {
            Some(GroupReply::Described(described)) => described,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(describe(&mut rig), None);
    let joined = rig.stable(2);
    let stable = describe(&mut rig).expect("there is one");
    assert_eq!(stable.protocol, "range");
    assert_eq!(stable.members.len(), 2);
    for member in &stable.members {
        assert_eq!(member.assignment, member.identity.member.as_bytes());
        assert_eq!(member.metadata, Bytes::from_static(b"topics"));
    }
    rig.ask(GroupRequest::Join(again(&joined[0])));
    let preparing = describe(&mut rig).expect("there is one");
    assert_eq!(preparing.listing.state, GroupState::PreparingRebalance);
    // What they said last counts until the next generation.
    assert_eq!(preparing.protocol, "range");
    for member in &preparing.members {
        assert_eq!(member.metadata, Bytes::from_static(b"topics"));
    }
}
