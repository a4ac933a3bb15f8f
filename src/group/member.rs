//! A member of a group.

use crate::base::group::{Identity, JoinGroup, JoinedMember};
use crate::base::limits::GROUP_MEMBER_OVERHEAD_BYTES;
use crate::base::planted::{Bug, planted};
use crate::group::Ticket;
use bytes::Bytes;

/// What a member waits for. Who waits is not silent: its session does not run out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Waiting {
    Nothing,
    Join(Ticket),
    Sync(Ticket),
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Member {
    pub(super) instance: Option<String>,
    pub(super) client: String,
    pub(super) host: String,
    pub(super) session_ms: u64,
    pub(super) rebalance_ms: u64,
    pub(super) protocols: Vec<(String, Bytes)>,
    pub(super) can_skip_assignment: bool,
    /// Which came first: the eldest inherits the lead.
    pub(super) came: u64,
    pub(super) assignment: Bytes,
    pub(super) waiting: Waiting,
    /// It has asked for its assignment in this generation.
    pub(super) has_synced: bool,
    /// Silent until then, it is dead.
    pub(super) session_until_ms: u64,
}

impl Member {
    pub(super) fn new(join: &JoinGroup, came: u64, now_ms: u64) -> Self {
        let mut member = Self {
            instance: join.identity.instance.clone(),
            client: join.client.clone(),
            host: join.host.clone(),
            session_ms: 0,
            rebalance_ms: 0,
            protocols: Vec::new(),
            can_skip_assignment: false,
            came,
            assignment: Bytes::new(),
            waiting: Waiting::Nothing,
            has_synced: false,
            session_until_ms: 0,
        };
        member.update(join, now_ms);
        member
    }

    /// Takes over what a join says.
    pub(super) fn update(&mut self, join: &JoinGroup, now_ms: u64) {
        self.session_ms = u64::from(join.session_ms);
        self.rebalance_ms = u64::from(join.rebalance_ms);
        self.protocols.clone_from(&join.protocols);
        self.can_skip_assignment = join.can_skip_assignment;
        self.is_alive(now_ms);
    }

    /// It was heard of.
    pub(super) fn is_alive(&mut self, now_ms: u64) {
        let patience = if planted(Bug::KeepSilentMember) {
            100
        } else {
            1
        };
        self.session_until_ms = now_ms + patience * self.session_ms;
    }

    pub(super) fn knows(&self, protocol: &str) -> bool {
        self.protocols.iter().any(|(name, _)| name == protocol)
    }

    /// What it says under a protocol.
    pub(super) fn metadata(&self, protocol: &str) -> Bytes {
        let said = self.protocols.iter().find(|(name, _)| name == protocol);
        said.map_or_else(Bytes::new, |(_, metadata)| metadata.clone())
    }

    pub(super) fn as_joined(&self, id: &str, protocol: &str) -> JoinedMember {
        JoinedMember {
            identity: self.identity(id),
            metadata: self.metadata(protocol),
        }
    }

    pub(super) fn identity(&self, id: &str) -> Identity {
        Identity {
            member: id.to_owned(),
            instance: self.instance.clone(),
        }
    }

    /// What it takes of the group's limit.
    pub(super) fn bytes(&self) -> usize {
        GROUP_MEMBER_OVERHEAD_BYTES + protocols_bytes(&self.protocols) + self.assignment.len()
    }
}

pub(super) fn protocols_bytes(protocols: &[(String, Bytes)]) -> usize {
    protocols
        .iter()
        .map(|(name, metadata)| size_of::<(String, Bytes)>() + name.len() + metadata.len())
        .sum()
}
