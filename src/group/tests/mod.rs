//! The coordinator from outside: requests and time in, answers and records out.

mod joins;
mod members;
mod offsets;
mod property;
mod records;

use crate::base::group::{
    Committed, Generation, GroupError, GroupReply, GroupRequest, GroupState, Identity, JoinGroup,
    Joined, SyncGroup, Synced,
};
use crate::base::{Offset, PartitionKey, PartitionNo, TimestampMs, TopicId};
use crate::group::{Coordinator, Effect, Moment, OffsetRecord, Options, StoreId, Ticket};
use bytes::Bytes;
use std::collections::BTreeMap;

const GROUP: &str = "readers";
const SESSION_MS: u32 = 10_000;
const REBALANCE_MS: u32 = 60_000;

/// A coordinator, a clock, and what came out of it.
struct Rig {
    coordinator: Coordinator,
    now: Moment,
    last_ticket: u128,
    replies: BTreeMap<Ticket, GroupReply>,
    stores: Vec<(StoreId, Vec<OffsetRecord>)>,
}

impl Rig {
    fn new() -> Self {
        Self {
            coordinator: Coordinator::new(Options::default()),
            now: Moment {
                monotonic_ms: 1_000,
                wall: TimestampMs(1_700_000_000_000),
                chance: 0,
            },
            last_ticket: 0,
            replies: BTreeMap::new(),
            stores: Vec::new(),
        }
    }

    fn take(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Reply(ticket, reply) => {
                    let before = self.replies.insert(ticket, reply);
                    assert_eq!(before, None, "answered twice");
                }
                Effect::Store { id, records } => self.stores.push((id, records)),
            }
        }
    }

    fn ask(&mut self, request: GroupRequest) -> Ticket {
        self.last_ticket += 1;
        self.now.chance += 1;
        let (ticket, mut out) = (Ticket(self.last_ticket), Vec::new());
        let now = self.now;
        self.coordinator.handle(&now, ticket, request, &mut out);
        self.take(out);
        ticket
    }

    /// Lets time pass, every deadline at its time.
    fn pass(&mut self, ms: u64) {
        let end_ms = self.now.monotonic_ms + ms;
        loop {
            let due = self.coordinator.next_deadline();
            let due = due.filter(|due| *due <= end_ms).unwrap_or(end_ms);
            let due = due.max(self.now.monotonic_ms);
            self.now.wall.0 += (due - self.now.monotonic_ms) as i64;
            self.now.monotonic_ms = due;
            let (mut out, now) = (Vec::new(), self.now);
            self.coordinator.tick(&now, &mut out);
            self.take(out);
            let next = self.coordinator.next_deadline();
            assert!(
                next.is_none_or(|next| next > due),
                "a tick leaves nothing due"
            );
            if due == end_ms {
                return;
            }
        }
    }

    /// Reports everything that is on its way to the log.
    fn store(&mut self, result: Result<(), String>) {
        for (id, _) in std::mem::take(&mut self.stores) {
            let mut out = Vec::new();
            self.coordinator.stored(id, result.clone(), &mut out);
            self.take(out);
        }
    }

    fn joined(&mut self, ticket: Ticket) -> Option<Result<Joined, GroupError>> {
        match self.replies.remove(&ticket)? {
            GroupReply::Joined(result) => Some(result),
            other => panic!("{other:?}"),
        }
    }

    fn synced(&mut self, ticket: Ticket) -> Option<Result<Synced, GroupError>> {
        match self.replies.remove(&ticket)? {
            GroupReply::Synced(result) => Some(result),
            other => panic!("{other:?}"),
        }
    }

    /// Joins, and sets a first join right.
    fn join(&mut self, join: JoinGroup) -> Ticket {
        let ticket = self.ask(GroupRequest::Join(join.clone()));
        match self.replies.get(&ticket) {
            Some(GroupReply::Joined(Err(GroupError::MemberIdRequired(id)))) => {
                let mut join = join;
                join.identity.member.clone_from(id);
                self.replies.remove(&ticket);
                self.ask(GroupRequest::Join(join))
            }
            _ => ticket,
        }
    }

    fn sync(&mut self, joined: &Joined, assignments: &[(&str, &[u8])]) -> Ticket {
        let assignments = assignments.iter();
        self.ask(GroupRequest::Sync(SyncGroup {
            group: GROUP.to_owned(),
            identity: identity(&joined.member),
            generation: joined.generation,
            protocol_type: None,
            protocol: None,
            assignments: assignments
                .map(|(id, part)| ((*id).to_owned(), Bytes::copy_from_slice(part)))
                .collect(),
        }))
    }

    fn heartbeat(&mut self, id: &str, generation: i32) -> Result<(), GroupError> {
        let ticket = self.ask(GroupRequest::Heartbeat {
            group: GROUP.to_owned(),
            identity: identity(id),
            generation: Generation(generation),
        });
        match self.replies.remove(&ticket) {
            Some(GroupReply::Alive(result)) => result,
            other => panic!("{other:?}"),
        }
    }

    fn leave(&mut self, members: &[Identity]) -> Vec<Result<(), GroupError>> {
        let ticket = self.ask(GroupRequest::Leave {
            group: GROUP.to_owned(),
            members: members.to_vec(),
        });
        match self.replies.remove(&ticket) {
            Some(GroupReply::Left(results)) => results,
            other => panic!("{other:?}"),
        }
    }

    fn state(&self) -> Option<GroupState> {
        let listing = self.coordinator.list();
        let listing = listing.into_iter().find(|listing| listing.group == GROUP);
        listing.map(|listing| listing.state)
    }

    /// A stable group of so many members; their answers to the join, the leader's first. Their parts are their ids.
    fn stable(&mut self, members: usize) -> Vec<Joined> {
        let tickets: Vec<_> = (0..members).map(|no| self.join(dynamic(no))).collect();
        self.pass(2_000);
        let mut joined: Vec<Joined> = tickets
            .into_iter()
            .map(|ticket| self.joined(ticket).expect("answered").expect("joined"))
            .collect();
        joined.sort_by_key(|joined| joined.member != joined.leader);
        self.settle(&joined);
        joined
    }

    /// The leader, which comes first, assigns to each its id; everybody syncs.
    fn settle(&mut self, joined: &[Joined]) {
        let ids: Vec<String> = joined.iter().map(|one| one.member.clone()).collect();
        let parts: Vec<_> = ids.iter().map(|id| (id.as_str(), id.as_bytes())).collect();
        for (at, one) in joined.iter().enumerate().rev() {
            let ticket = self.sync(one, if at == 0 { &parts } else { &[] });
            if at > 0 {
                assert_eq!(self.synced(ticket), None, "the leader has not assigned");
            } else {
                let synced = self.synced(ticket).expect("answered").expect("synced");
                assert_eq!(synced.assignment, one.member.as_bytes());
            }
        }
        self.replies.clear();
        assert_eq!(self.state(), Some(GroupState::Stable));
    }
}

fn identity(member: &str) -> Identity {
    Identity {
        member: member.to_owned(),
        instance: None,
    }
}

fn instance(member: &str, instance: &str) -> Identity {
    Identity {
        member: member.to_owned(),
        instance: Some(instance.to_owned()),
    }
}

fn dynamic(no: usize) -> JoinGroup {
    JoinGroup {
        group: GROUP.to_owned(),
        identity: Identity::default(),
        client: format!("client-{no}"),
        host: "127.0.0.1".to_owned(),
        session_ms: SESSION_MS,
        rebalance_ms: REBALANCE_MS,
        protocol_type: "consumer".to_owned(),
        protocols: vec![("range".to_owned(), Bytes::from_static(b"topics"))],
        takes_member_id: true,
        can_skip_assignment: true,
    }
}

fn static_member(name: &str) -> JoinGroup {
    JoinGroup {
        identity: instance("", name),
        ..dynamic(0)
    }
}

/// The join of one that was a member before.
fn again(joined: &Joined) -> JoinGroup {
    JoinGroup {
        identity: identity(&joined.member),
        ..dynamic(0)
    }
}

fn partition(no: u32) -> PartitionKey {
    PartitionKey::new(TopicId(9), PartitionNo(no))
}

fn committed(offset: u64) -> Committed {
    Committed {
        offset: Offset(offset),
        leader_epoch: -1,
        metadata: String::new(),
        at: TimestampMs(0),
    }
}
