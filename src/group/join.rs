//! A member asks to take part in the next generation.

use crate::base::group::{GroupError, GroupReply, JoinGroup};
use crate::base::limits::{GROUP_BYTES_MAX, GROUP_MEMBER_OVERHEAD_BYTES, GROUP_MEMBERS_MAX};
use crate::group::Ticket;
use crate::group::member::{Member, Waiting, protocols_bytes};
use crate::group::state::{Group, Phase, Step};

/// How much of a client's name goes into the ids of its members, in bytes: it is for people.
const NAME_BYTES_MAX: usize = 128;

impl Group {
    pub(super) fn join(&mut self, ticket: Ticket, join: JoinGroup, step: &mut Step<'_>) {
        if !self.shares_a_protocol(&join) {
            return step.refuse_join(ticket, GroupError::InconsistentProtocol);
        }
        if !join.identity.member.is_empty() {
            return self.join_as(ticket, &join, step);
        }
        if let Some(instance) = &join.identity.instance {
            if self.statics.contains_key(instance) {
                return self.replace_static(ticket, &join, step);
            }
            let id = member_id(instance, step.now.chance);
            return self.add(ticket, id, &join, step);
        }
        let id = member_id(&join.client, step.now.chance);
        if !join.takes_member_id {
            return self.add(ticket, id, &join, step);
        }
        // Not a member yet: a client that never hears this answer leaves nothing behind that others would wait for
        // longer than for a session.
        if self.is_full(&join) {
            return step.refuse_join(ticket, GroupError::Full);
        }
        let until_ms = step.now_ms() + u64::from(join.session_ms);
        self.announced.insert(id.clone(), until_ms);
        step.refuse_join(ticket, GroupError::MemberIdRequired(id));
    }

    /// Whether the group could go on with this one: of its kind, and with a way of assigning that all others know.
    fn shares_a_protocol(&self, join: &JoinGroup) -> bool {
        if join.protocol_type.is_empty() || join.protocols.is_empty() {
            return false;
        }
        if self.members.is_empty() {
            return true;
        }
        let instance = &join.identity.instance;
        let is_same = |id: &String, member: &Member| {
            *id == join.identity.member || (instance.is_some() && member.instance == *instance)
        };
        let others: Vec<&Member> = self
            .members
            .iter()
            .filter(|(id, member)| !is_same(id, member))
            .map(|(_, member)| member)
            .collect();
        let mut names = join.protocols.iter().map(|(name, _)| name);
        let known_to_all = names.any(|name| others.iter().all(|other| other.knows(name)));
        known_to_all && (others.is_empty() || join.protocol_type == self.protocol_type)
    }

    fn is_full(&self, join: &JoinGroup) -> bool {
        let bytes = GROUP_MEMBER_OVERHEAD_BYTES + protocols_bytes(&join.protocols);
        self.members.len() + self.announced.len() >= GROUP_MEMBERS_MAX
            || self.bytes + bytes > GROUP_BYTES_MAX
    }

    /// Under an id that it was given before.
    fn join_as(&mut self, ticket: Ticket, join: &JoinGroup, step: &mut Step<'_>) {
        let id = &join.identity.member;
        if self.announced.remove(id).is_some() {
            let instance = join.identity.instance.as_ref();
            if instance.is_some_and(|instance| self.statics.contains_key(instance)) {
                return step.refuse_join(ticket, GroupError::FencedInstance);
            }
            return self.add(ticket, id.clone(), join, step);
        }
        if let Err(error) = self.check_member(&join.identity) {
            return step.refuse_join(ticket, error);
        }
        let is_leader = self.is_leader(id);
        let says_the_same = self.member_mut(id).protocols == join.protocols;
        match self.phase {
            // It did not hear the answer that began this generation.
            Phase::Completing { .. } if says_the_same => self.answer_again(ticket, join, step),
            Phase::Stable { .. } if says_the_same && !is_leader => {
                self.answer_again(ticket, join, step);
            }
            // A leader that joins again wants to assign anew, because the topics have changed.
            _ => {
                if !says_the_same && self.is_too_large(join) {
                    return step.refuse_join(ticket, GroupError::Full);
                }
                self.supersede(id, step);
                let now_ms = step.now_ms();
                let member = self.member_mut(id);
                member.update(join, now_ms);
                member.waiting = Waiting::Join(ticket);
                self.rebalance(step);
            }
        }
    }

    fn is_too_large(&self, join: &JoinGroup) -> bool {
        self.bytes + protocols_bytes(&join.protocols) > GROUP_BYTES_MAX
    }

    fn answer_again(&mut self, ticket: Ticket, join: &JoinGroup, step: &mut Step<'_>) {
        let id = &join.identity.member;
        self.supersede(id, step);
        let now_ms = step.now_ms();
        self.member_mut(id).is_alive(now_ms);
        step.reply(ticket, GroupReply::Joined(Ok(self.joined(id))));
    }

    /// A member that asks again does not wait for what it asked before: its old request is answered, whether anybody
    /// still listens or not.
    pub(super) fn supersede(&mut self, id: &str, step: &mut Step<'_>) {
        let waiting = std::mem::replace(&mut self.member_mut(id).waiting, Waiting::Nothing);
        match waiting {
            Waiting::Join(old) => step.refuse_join(old, GroupError::Rebalancing),
            Waiting::Sync(old) => step.refuse_sync(old, GroupError::Rebalancing),
            Waiting::Nothing => {}
        }
    }

    fn add(&mut self, ticket: Ticket, id: String, join: &JoinGroup, step: &mut Step<'_>) {
        if self.is_full(join) {
            return step.refuse_join(ticket, GroupError::Full);
        }
        if self.members.is_empty() {
            self.protocol_type.clone_from(&join.protocol_type);
        }
        self.came += 1;
        let mut member = Member::new(join, self.came, step.now_ms());
        member.waiting = Waiting::Join(ticket);
        if let Some(instance) = &join.identity.instance {
            self.statics.insert(instance.clone(), id.clone());
        }
        if self.leader.is_none() {
            self.leader = Some(id.clone());
        }
        self.members.insert(id, member);
        if let Phase::Preparing {
            first: Some(first), ..
        } = &mut self.phase
        {
            first.has_grown = true;
        }
        self.rebalance(step);
    }

    /// Goes on after somebody has joined.
    pub(super) fn rebalance(&mut self, step: &mut Step<'_>) {
        match self.phase {
            Phase::Preparing { .. } => self.complete_if_all_joined(step),
            _ => self.begin_rebalance(step),
        }
    }
}

/// A new id for a member: a name for people, and chance.
pub(super) fn member_id(name: &str, chance: u128) -> String {
    let bytes = name.char_indices().map(|(at, char)| at + char.len_utf8());
    let end = bytes.take_while(|end| *end <= NAME_BYTES_MAX).last();
    let hex = format!("{chance:032x}");
    let (a, b, c, d, e) = (
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..],
    );
    format!("{}-{a}-{b}-{c}-{d}-{e}", &name[..end.unwrap_or(0)])
}
