//! A member asks for its part, says that it lives, or leaves.

use crate::base::group::{Generation, GroupError, GroupReply, Identity, SyncGroup, Synced};
use crate::base::limits::GROUP_BYTES_MAX;
use crate::group::Ticket;
use crate::group::member::Waiting;
use crate::group::state::{Group, Phase, Step};
use bytes::Bytes;
use std::collections::BTreeMap;

impl Group {
    pub(super) fn sync(&mut self, ticket: Ticket, sync: SyncGroup, step: &mut Step<'_>) {
        if let Err(error) = self.check_sync(&sync) {
            return step.refuse_sync(ticket, error);
        }
        let id = &sync.identity.member;
        match self.phase {
            Phase::Completing { until_ms } => {
                self.supersede(id, step);
                let member = self.member_mut(id);
                member.waiting = Waiting::Sync(ticket);
                member.has_synced = true;
                if self.is_leader(id) {
                    self.assign(sync.assignments, step);
                    self.phase = Phase::Stable {
                        until_ms: Some(until_ms),
                    };
                }
            }
            _ => {
                let now_ms = step.now_ms();
                let member = self.member_mut(id);
                member.is_alive(now_ms);
                member.has_synced = true;
                step.reply(ticket, GroupReply::Synced(Ok(self.synced(id))));
            }
        }
    }

    fn check_sync(&self, sync: &SyncGroup) -> Result<(), GroupError> {
        self.check_current(&sync.identity, sync.generation)?;
        let differs =
            |said: &Option<String>, ours: &String| said.as_ref().is_some_and(|said| said != ours);
        if differs(&sync.protocol_type, &self.protocol_type)
            || differs(&sync.protocol, &self.protocol)
        {
            return Err(GroupError::InconsistentProtocol);
        }
        if self.is_waiting_for_joins() {
            return Err(GroupError::Rebalancing);
        }
        let assigned: usize = sync.assignments.iter().map(|(_, part)| part.len()).sum();
        match self.bytes.saturating_add(assigned) > GROUP_BYTES_MAX {
            true => Err(GroupError::TooLarge),
            false => Ok(()),
        }
    }

    /// Gives every member its part, and tells those who wait for it. Who was left out gets an empty one.
    fn assign(&mut self, assignments: Vec<(String, Bytes)>, step: &mut Step<'_>) {
        let mut assignments: BTreeMap<String, Bytes> = assignments.into_iter().collect();
        let mut waited = Vec::new();
        for (id, member) in &mut self.members {
            member.assignment = assignments.remove(id).unwrap_or_default();
            if let Waiting::Sync(ticket) = member.waiting {
                member.waiting = Waiting::Nothing;
                member.is_alive(step.now_ms());
                waited.push((ticket, id.clone()));
            }
        }
        for (ticket, id) in waited {
            step.reply(ticket, GroupReply::Synced(Ok(self.synced(&id))));
        }
    }

    fn synced(&self, id: &str) -> Synced {
        Synced {
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            assignment: self.members[id].assignment.clone(),
        }
    }

    pub(super) fn heartbeat(
        &mut self,
        identity: &Identity,
        generation: Generation,
        now_ms: u64,
    ) -> Result<(), GroupError> {
        self.check_current(identity, generation)?;
        self.member_mut(&identity.member).is_alive(now_ms);
        match self.is_waiting_for_joins() {
            true => Err(GroupError::Rebalancing),
            false => Ok(()),
        }
    }

    pub(super) fn leave(&mut self, who: &Identity, step: &mut Step<'_>) -> Result<(), GroupError> {
        if self.announced.remove(&who.member).is_some() {
            self.complete_if_all_joined(step);
            return Ok(());
        }
        let id = match (who.member.is_empty(), &who.instance) {
            (true, Some(instance)) => {
                let id = self.statics.get(instance).cloned();
                id.ok_or(GroupError::UnknownMember)?
            }
            _ => {
                self.check_member(who)?;
                who.member.clone()
            }
        };
        self.remove_member(&id, step);
        Ok(())
    }
}
