//! Static members (KIP-345): a process that comes back under its instance's name takes over what the one before it was
//! assigned, and nobody else notices.

use crate::base::group::{GroupError, GroupReply, JoinGroup};
use crate::group::Ticket;
use crate::group::join::member_id;
use crate::group::member::Waiting;
use crate::group::state::{Group, Phase, Step};

impl Group {
    /// The instance of this join is taken: the newcomer stands for it from now on, under a new id, and whoever uses the
    /// old one is fenced.
    pub(super) fn replace_static(&mut self, ticket: Ticket, join: &JoinGroup, step: &mut Step<'_>) {
        let instance = join.identity.instance.as_ref();
        let instance = instance.expect("the caller looked it up").clone();
        let old = self.statics[&instance].clone();
        let new = member_id(&instance, step.now.chance);
        let mut member = self.members.remove(&old).expect("statics name members");
        match std::mem::replace(&mut member.waiting, Waiting::Nothing) {
            Waiting::Join(waiting) => step.refuse_join(waiting, GroupError::FencedInstance),
            Waiting::Sync(waiting) => step.refuse_sync(waiting, GroupError::FencedInstance),
            Waiting::Nothing => {}
        }
        member.update(join, step.now_ms());
        member.client.clone_from(&join.client);
        member.host.clone_from(&join.host);
        self.members.insert(new.clone(), member);
        self.statics.insert(instance, new.clone());
        let old_leader = self.leader.clone();
        if self.is_leader(&old) {
            self.leader = Some(new.clone());
        }
        let is_stable = matches!(self.phase, Phase::Stable { .. });
        if is_stable && self.choose_protocol() == self.protocol {
            return self.welcome_back(ticket, &new, old_leader, step);
        }
        self.member_mut(&new).waiting = Waiting::Join(ticket);
        self.rebalance(step);
    }

    /// Answers with the generation that there is. A returning leader must not assign anew, because a stable group would
    /// not hear of it: it is told so, or, if it is too old for that, that somebody else leads.
    fn welcome_back(
        &mut self,
        ticket: Ticket,
        id: &str,
        old_leader: Option<String>,
        step: &mut Step<'_>,
    ) {
        let mut joined = self.joined(id);
        if self.member_mut(id).can_skip_assignment {
            joined.skip_assignment = self.is_leader(id);
        } else {
            joined.leader = old_leader.unwrap_or_default();
            joined.members.clear();
        }
        step.reply(ticket, GroupReply::Joined(Ok(joined)));
    }
}
