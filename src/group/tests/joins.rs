//! Joining: the dance for an id, the first wait, who is refused, who leads, which protocol is chosen.

use super::*;
use crate::base::limits::{GROUP_BYTES_MAX, GROUP_MEMBERS_MAX, GROUP_NAME_BYTES_MAX};

#[test]
fn a_first_join_is_given_an_id_and_leaves_no_member() {
    let mut rig = Rig::new();
    let ticket = rig.ask(GroupRequest::Join(dynamic(1)));
    let Some(Err(GroupError::MemberIdRequired(id))) = rig.joined(ticket) else {
        panic!("an id is required");
    };
    assert!(id.starts_with("client-1-"), "{id}");
    assert_eq!(rig.state(), Some(GroupState::Empty));
    rig.pass(u64::from(SESSION_MS));
    assert_eq!(rig.state(), None, "nobody came with the id");
    let ticket = rig.ask(GroupRequest::Join(JoinGroup {
        identity: identity(&id),
        ..dynamic(1)
    }));
    assert_eq!(rig.joined(ticket), Some(Err(GroupError::UnknownMember)));
    assert_eq!(rig.state(), None);
    assert_eq!(rig.coordinator.next_deadline(), None);
}

#[test]
fn an_old_client_joins_without_the_dance() {
    let mut rig = Rig::new();
    let ticket = rig.ask(GroupRequest::Join(JoinGroup {
        takes_member_id: false,
        ..dynamic(1)
    }));
    assert_eq!(rig.joined(ticket), None, "it waits for others");
    rig.pass(500);
    let joined = rig.joined(ticket).expect("answered").expect("joined");
    assert_eq!(
        (joined.generation, &joined.leader),
        (Generation(1), &joined.member)
    );
    assert_eq!(joined.members.len(), 1);
}

/// Goal: a fleet that starts together is one rebalance. Method: members that come 400 ms apart, the wait being 500.
#[test]
fn the_first_rebalance_waits_for_who_comes_behind() {
    let mut rig = Rig::new();
    let mut tickets = Vec::new();
    for no in 0..4 {
        tickets.push(rig.join(dynamic(no)));
        rig.pass(400);
    }
    rig.pass(1_000);
    let mut leaders = 0;
    for ticket in tickets {
        let joined = rig.joined(ticket).expect("answered").expect("joined");
        assert_eq!(joined.generation, Generation(1));
        if joined.member == joined.leader {
            assert_eq!(joined.members.len(), 4);
            leaders += 1;
        } else {
            assert!(joined.members.is_empty());
        }
    }
    assert_eq!(leaders, 1);
}

#[test]
fn what_no_group_could_serve_is_refused_and_makes_none() {
    let with = |change: fn(&mut JoinGroup)| {
        let mut join = dynamic(0);
        change(&mut join);
        join
    };
    for (join, error) in [
        (with(|join| join.group.clear()), GroupError::InvalidName),
        (
            with(|join| join.group = "g".repeat(GROUP_NAME_BYTES_MAX + 1)),
            GroupError::InvalidName,
        ),
        (
            with(|join| join.session_ms = 999),
            GroupError::InvalidSession,
        ),
        (
            with(|join| join.session_ms = 1_800_001),
            GroupError::InvalidSession,
        ),
        (
            with(|join| join.protocols.clear()),
            GroupError::InconsistentProtocol,
        ),
        (
            with(|join| join.protocol_type.clear()),
            GroupError::InconsistentProtocol,
        ),
        (
            with(|join| join.identity.member = "who".to_owned()),
            GroupError::UnknownMember,
        ),
        (
            with(|join| join.protocols[0].1 = vec![0; GROUP_BYTES_MAX].into()),
            GroupError::Full,
        ),
    ] {
        let mut rig = Rig::new();
        let ticket = rig.ask(GroupRequest::Join(join));
        assert_eq!(rig.joined(ticket), Some(Err(error)));
        assert!(rig.coordinator.list().is_empty());
    }
}

#[test]
fn a_group_takes_so_many_members_and_no_more() {
    let mut rig = Rig::new();
    for no in 0..GROUP_MEMBERS_MAX {
        let ticket = rig.join(dynamic(no));
        assert_eq!(rig.joined(ticket), None);
    }
    let ticket = rig.ask(GroupRequest::Join(dynamic(0)));
    assert_eq!(rig.joined(ticket), Some(Err(GroupError::Full)));
}

#[test]
fn who_shares_no_protocol_is_refused_and_disturbs_nobody() {
    let mut rig = Rig::new();
    let joined = rig.stable(2);
    let said = Bytes::from_static(b"topics");
    for join in [
        JoinGroup {
            protocol_type: "connect".to_owned(),
            ..dynamic(2)
        },
        JoinGroup {
            protocols: vec![("sticky".to_owned(), said)],
            ..dynamic(2)
        },
    ] {
        let ticket = rig.ask(GroupRequest::Join(join));
        let refused = Some(Err(GroupError::InconsistentProtocol));
        assert_eq!(rig.joined(ticket), refused);
        assert_eq!(rig.heartbeat(&joined[0].member, 1), Ok(()));
    }
}

/// Goal: the protocol is one that all know, and the one that most prefer.
#[test]
fn the_protocol_is_voted_for() {
    let mut rig = Rig::new();
    let lists: [&[&str]; 4] = [
        &["range", "sticky", "own"],
        &["sticky", "range"],
        &["new", "sticky", "range"],
        &["range", "sticky"],
    ];
    let protocols = |names: &[&str]| {
        let named = names.iter().map(|name| ((*name).to_owned(), Bytes::new()));
        named.collect::<Vec<_>>()
    };
    for (count, expected) in [(1, "range"), (2, "range"), (3, "sticky"), (4, "range")] {
        let mut tickets = Vec::new();
        for names in &lists[..count] {
            tickets.push(rig.join(JoinGroup {
                protocols: protocols(names),
                ..dynamic(0)
            }));
        }
        rig.pass(5_000);
        let joined: Vec<_> = tickets
            .into_iter()
            .map(|ticket| rig.joined(ticket))
            .collect();
        let members: Vec<_> = joined
            .into_iter()
            .map(|joined| joined.expect("answered").expect("joined"))
            .collect();
        assert!(
            members.iter().all(|member| member.protocol == expected),
            "{count}"
        );
        let all: Vec<_> = members.iter().map(|one| identity(&one.member)).collect();
        rig.leave(&all);
    }
}

#[test]
fn a_member_that_did_not_hear_its_answer_gets_it_again() {
    let mut rig = Rig::new();
    let tickets = [rig.join(dynamic(0)), rig.join(dynamic(1))];
    rig.pass(2_000);
    let joined = tickets.map(|ticket| rig.joined(ticket).expect("answered").expect("joined"));
    for one in &joined {
        let ticket = rig.ask(GroupRequest::Join(again(one)));
        assert_eq!(rig.joined(ticket), Some(Ok(one.clone())));
    }
    rig.settle(&joined);
    let ticket = rig.ask(GroupRequest::Join(again(&joined[1])));
    assert_eq!(rig.joined(ticket), Some(Ok(joined[1].clone())));
    assert_eq!(rig.state(), Some(GroupState::Stable));
}

/// Goal: each of the three reasons to join again makes a new generation: the leader asks, a member says something else,
/// and somebody new comes.
#[test]
fn reasons_to_rebalance() {
    let says_more = |joined: &Joined| JoinGroup {
        protocols: vec![("range".to_owned(), Bytes::from_static(b"more topics"))],
        ..again(joined)
    };
    for reason in 0..3 {
        let mut rig = Rig::new();
        let joined = rig.stable(2);
        let first = match reason {
            0 => rig.ask(GroupRequest::Join(again(&joined[0]))),
            1 => rig.ask(GroupRequest::Join(says_more(&joined[1]))),
            _ => rig.join(dynamic(2)),
        };
        assert_eq!(rig.joined(first), None);
        assert_eq!(rig.state(), Some(GroupState::PreparingRebalance));
        for member in &joined {
            let alive = rig.heartbeat(&member.member, 1);
            assert_eq!(alive, Err(GroupError::Rebalancing), "{reason}");
        }
        for (at, member) in joined.iter().enumerate() {
            if at != reason {
                rig.ask(GroupRequest::Join(again(member)));
            }
        }
        let next = rig.joined(first).expect("answered").expect("joined");
        let (generation, leader) = (next.generation, &next.leader);
        assert_eq!((generation, leader), (Generation(2), &joined[0].member));
        assert_eq!(rig.state(), Some(GroupState::CompletingRebalance));
    }
}

#[test]
fn of_a_member_that_asks_twice_one_question_waits() {
    let mut rig = Rig::new();
    let joined = rig.stable(2);
    let [first, second] = [0, 0].map(|no| rig.ask(GroupRequest::Join(again(&joined[no]))));
    assert_eq!(rig.joined(first), Some(Err(GroupError::Rebalancing)));
    assert_eq!(rig.joined(second), None);
    rig.ask(GroupRequest::Join(again(&joined[1])));
    assert!(rig.joined(second).expect("answered").is_ok());
}

#[test]
fn who_does_not_join_again_in_time_is_out() {
    let mut rig = Rig::new();
    let joined = rig.stable(3);
    let ticket = rig.ask(GroupRequest::Join(again(&joined[0])));
    // The others live, and do not join: sessions alone would never end this.
    for _ in 0..REBALANCE_MS / 5_000 {
        rig.pass(5_000);
        let answers = joined[1..].iter().map(|one| rig.heartbeat(&one.member, 1));
        for answer in answers.collect::<Vec<_>>() {
            assert!(matches!(
                answer,
                Err(GroupError::Rebalancing | GroupError::UnknownMember)
            ));
        }
    }
    let next = rig.joined(ticket).expect("answered").expect("joined");
    assert_eq!((next.generation, next.members.len()), (Generation(2), 1));
}
