//! One group: what it holds, and the small questions about it.

use crate::base::PartitionKey;
use crate::base::group::{
    Committed, Generation, GroupError, GroupReply, GroupState, Identity, Joined,
};
use crate::base::planted::{Bug, planted};
use crate::group::member::{Member, Waiting};
use crate::group::{Effect, Moment, Options, Ticket};
use std::collections::BTreeMap;

/// How far a group is, with what belongs to that.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    Empty,
    /// Until all have joined, or this time.
    Preparing {
        until_ms: u64,
        first: Option<FirstRebalance>,
    },
    /// Until the leader has assigned; whoever has not asked for its part by then is gone.
    Completing {
        until_ms: u64,
    },
    /// The same bound for who has not asked yet.
    Stable {
        until_ms: Option<u64>,
    },
}

/// The first rebalance of an empty group waits for more members to come, whoever is there already.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct FirstRebalance {
    /// How much longer it may wait after its present wait.
    pub(super) left_ms: u64,
    /// Somebody came during the present wait.
    pub(super) has_grown: bool,
}

#[derive(Debug)]
pub(super) struct Group {
    pub(super) phase: Phase,
    pub(super) generation: Generation,
    /// Empty for a group that never had a member.
    pub(super) protocol_type: String,
    /// Chosen for this generation; empty while there is none.
    pub(super) protocol: String,
    pub(super) leader: Option<String>,
    pub(super) members: BTreeMap<String, Member>,
    /// Which member stands for a static instance.
    pub(super) statics: BTreeMap<String, String>,
    /// Ids that were given out and not used yet, and until when they may be.
    pub(super) announced: BTreeMap<String, u64>,
    pub(super) came: u64,
    pub(super) offsets: BTreeMap<PartitionKey, Committed>,
    /// Sets of records on their way to the log.
    pub(super) storing: u32,
    /// Since when it has had no members; at the start of the broker if it was so then.
    pub(super) empty_since: Option<Moment>,
    /// When it was last looked at for what became old.
    pub(super) looked_ms: u64,
    /// What its members take, as it was counted last.
    pub(super) bytes: usize,
}

/// One step of the machine: when it is taken and where its effects go.
pub(super) struct Step<'a> {
    pub(super) now: &'a Moment,
    pub(super) options: &'a Options,
    pub(super) out: &'a mut Vec<Effect>,
}

impl Step<'_> {
    pub(super) fn now_ms(&self) -> u64 {
        self.now.monotonic_ms
    }

    pub(super) fn reply(&mut self, ticket: Ticket, reply: GroupReply) {
        self.out.push(Effect::Reply(ticket, reply));
    }

    pub(super) fn refuse_join(&mut self, ticket: Ticket, error: GroupError) {
        self.reply(ticket, GroupReply::Joined(Err(error)));
    }

    pub(super) fn refuse_sync(&mut self, ticket: Ticket, error: GroupError) {
        self.reply(ticket, GroupReply::Synced(Err(error)));
    }
}

impl Group {
    pub(super) fn new(now: &Moment) -> Self {
        Self {
            phase: Phase::Empty,
            generation: Generation(0),
            protocol_type: String::new(),
            protocol: String::new(),
            leader: None,
            members: BTreeMap::new(),
            statics: BTreeMap::new(),
            announced: BTreeMap::new(),
            came: 0,
            offsets: BTreeMap::new(),
            storing: 0,
            empty_since: Some(*now),
            looked_ms: now.monotonic_ms,
            bytes: 0,
        }
    }

    pub(super) fn state(&self) -> GroupState {
        match self.phase {
            Phase::Empty => GroupState::Empty,
            Phase::Preparing { .. } => GroupState::PreparingRebalance,
            Phase::Completing { .. } => GroupState::CompletingRebalance,
            Phase::Stable { .. } => GroupState::Stable,
        }
    }

    /// Whether this is a member, and the one that stands for its instance.
    pub(super) fn check_member(&self, identity: &Identity) -> Result<(), GroupError> {
        if let Some(instance) = &identity.instance {
            match self.statics.get(instance) {
                None => return Err(GroupError::UnknownMember),
                Some(current)
                    if *current != identity.member && !planted(Bug::IgnoreFencedInstance) =>
                {
                    return Err(GroupError::FencedInstance);
                }
                Some(_) => {}
            }
        }
        match self.members.contains_key(&identity.member) {
            true => Ok(()),
            false => Err(GroupError::UnknownMember),
        }
    }

    /// The same, and of this generation.
    pub(super) fn check_current(
        &self,
        identity: &Identity,
        generation: Generation,
    ) -> Result<(), GroupError> {
        self.check_member(identity)?;
        match generation == self.generation || planted(Bug::AnyGeneration) {
            true => Ok(()),
            false => Err(GroupError::IllegalGeneration),
        }
    }

    /// A member that was checked before.
    pub(super) fn member_mut(&mut self, id: &str) -> &mut Member {
        self.members.get_mut(id).expect("checked: it is a member")
    }

    pub(super) fn is_leader(&self, id: &str) -> bool {
        self.leader.as_deref() == Some(id)
    }

    pub(super) fn is_waiting_for_joins(&self) -> bool {
        matches!(self.phase, Phase::Preparing { .. })
    }

    /// How long a rebalance waits: as long as the most patient member allows.
    pub(super) fn rebalance_ms(&self) -> u64 {
        let longest = self.members.values().map(|member| member.rebalance_ms);
        longest.max().unwrap_or(0)
    }

    /// What the answer to a join says about this generation.
    pub(super) fn joined(&self, id: &str) -> Joined {
        let members = match self.is_leader(id) {
            true => self.members_by_age(),
            false => Vec::new(),
        };
        Joined {
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader: self.leader.clone().unwrap_or_default(),
            member: id.to_owned(),
            members: members
                .into_iter()
                .map(|(id, member)| member.as_joined(id, &self.protocol))
                .collect(),
            skip_assignment: false,
        }
    }

    pub(super) fn members_by_age(&self) -> Vec<(&String, &Member)> {
        let mut members: Vec<_> = self.members.iter().collect();
        members.sort_by_key(|(_, member)| member.came);
        members
    }

    /// Counts anew what its members take; returns what it was before.
    pub(super) fn measure(&mut self) -> usize {
        let bytes = self.members.values().map(Member::bytes).sum();
        std::mem::replace(&mut self.bytes, bytes)
    }

    /// Whether nothing of it is worth keeping.
    pub(super) fn is_bare(&self) -> bool {
        self.phase == Phase::Empty
            && self.announced.is_empty()
            && self.offsets.is_empty()
            && self.storing == 0
    }

    /// When time alone will change something.
    pub(super) fn next_deadline(&self, options: &Options) -> Option<u64> {
        let phase = match self.phase {
            Phase::Empty => Some(self.looked_ms + options.idle_check_ms),
            Phase::Preparing { until_ms, .. } | Phase::Completing { until_ms } => Some(until_ms),
            Phase::Stable { until_ms } => until_ms,
        };
        let silent = |member: &&Member| member.waiting == Waiting::Nothing;
        let sessions = self.members.values().filter(silent);
        phase
            .into_iter()
            .chain(sessions.map(|member| member.session_until_ms))
            .chain(self.announced.values().copied())
            .min()
    }
}
