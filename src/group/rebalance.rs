//! A rebalance from its beginning to the next generation, and what time does to it.

use crate::base::group::{Generation, GroupError, GroupReply};
use crate::group::member::{Member, Waiting};
use crate::group::state::{FirstRebalance, Group, Phase, Step};
use bytes::Bytes;
use std::collections::BTreeMap;

impl Group {
    /// Asks everybody to join again, unless that is so already.
    pub(super) fn begin_rebalance(&mut self, step: &mut Step<'_>) {
        if self.is_waiting_for_joins() {
            return;
        }
        for member in self.members.values_mut() {
            member.assignment = Bytes::new();
            if let Waiting::Sync(ticket) = member.waiting {
                member.waiting = Waiting::Nothing;
                member.is_alive(step.now_ms());
                step.refuse_sync(ticket, GroupError::Rebalancing);
            }
        }
        let rebalance_ms = self.rebalance_ms();
        let delay_ms = step.options.first_rebalance_delay_ms.min(rebalance_ms);
        let is_first = self.phase == Phase::Empty && delay_ms > 0;
        let wait_ms = if is_first { delay_ms } else { rebalance_ms };
        self.empty_since = None;
        self.phase = Phase::Preparing {
            until_ms: step.now_ms() + wait_ms,
            first: is_first.then(|| FirstRebalance {
                left_ms: rebalance_ms - delay_ms,
                has_grown: false,
            }),
        };
        self.complete_if_all_joined(step);
    }

    /// Ends the wait for joins when nobody is missing. Not the first one of a group: more may come.
    pub(super) fn complete_if_all_joined(&mut self, step: &mut Step<'_>) {
        let Phase::Preparing { first: None, .. } = self.phase else {
            return;
        };
        let has_joined = |member: &Member| matches!(member.waiting, Waiting::Join(_));
        if self.announced.is_empty() && self.members.values().all(has_joined) {
            self.complete_joins(step);
        }
    }

    /// Goes on with those who have joined. Static members stay although they have not: that is what they are for.
    fn complete_joins(&mut self, step: &mut Step<'_>) {
        let is_missing = |member: &Member| member.waiting == Waiting::Nothing;
        let gone = |member: &Member| is_missing(member) && member.instance.is_none();
        let gone: Vec<String> = ids_where(&self.members, gone);
        for id in gone {
            self.drop_member(&id, step);
        }
        if self.members.is_empty() {
            self.become_empty(step);
        } else if self.members.values().all(is_missing) {
            // Only static members, none of which is there: their sessions end the wait.
            self.phase = Phase::Preparing {
                until_ms: step.now_ms() + self.rebalance_ms().max(1),
                first: None,
            };
        } else {
            self.begin_generation(step);
        }
    }

    fn become_empty(&mut self, step: &mut Step<'_>) {
        self.generation = next(self.generation);
        self.protocol.clear();
        self.leader = None;
        self.phase = Phase::Empty;
        self.empty_since = Some(*step.now);
        self.looked_ms = step.now_ms();
    }

    fn begin_generation(&mut self, step: &mut Step<'_>) {
        let leads = |id: &String| {
            let member = self.members.get(id);
            member.is_some_and(|member| member.waiting != Waiting::Nothing)
        };
        if !self.leader.as_ref().is_some_and(leads) {
            self.leader = self.eldest(|member| member.waiting != Waiting::Nothing);
        }
        self.generation = next(self.generation);
        self.protocol = self.choose_protocol();
        self.phase = Phase::Completing {
            until_ms: step.now_ms() + self.rebalance_ms().max(1),
        };
        let mut joined = Vec::new();
        for (id, member) in &mut self.members {
            member.has_synced = false;
            if let Waiting::Join(ticket) = member.waiting {
                member.waiting = Waiting::Nothing;
                member.is_alive(step.now_ms());
                joined.push((ticket, id.clone()));
            }
        }
        for (ticket, id) in joined {
            step.reply(ticket, GroupReply::Joined(Ok(self.joined(&id))));
        }
    }

    pub(super) fn eldest(&self, which: impl Fn(&Member) -> bool) -> Option<String> {
        let candidates = self.members.iter().filter(|(_, member)| which(member));
        let eldest = candidates.min_by_key(|(_, member)| member.came);
        eldest.map(|(id, _)| id.clone())
    }

    /// The way of assigning that most members prefer among those that all know; of equals the one that the leader
    /// prefers.
    pub(super) fn choose_protocol(&self) -> String {
        let leader = self.leader.as_ref().and_then(|id| self.members.get(id));
        let leader = leader.expect("a generation has a leader, who is a member");
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for member in self.members.values() {
            let mut known = member.protocols.iter().map(|(name, _)| name.as_str());
            if let Some(first) = known.find(|name| self.all_know(name)) {
                *votes.entry(first).or_default() += 1;
            }
        }
        let most = votes.values().max().copied();
        let mut preferred = leader.protocols.iter().map(|(name, _)| name.as_str());
        let chosen = preferred.find(|name| votes.get(name).copied() == most);
        let chosen = chosen.expect("who joined knows a protocol that all know");
        chosen.to_owned()
    }

    fn all_know(&self, protocol: &str) -> bool {
        self.members.values().all(|member| member.knows(protocol))
    }

    /// Takes a member out, and goes on without it.
    pub(super) fn remove_member(&mut self, id: &str, step: &mut Step<'_>) {
        self.drop_member(id, step);
        match self.phase {
            Phase::Preparing { .. } => self.complete_if_all_joined(step),
            Phase::Completing { .. } | Phase::Stable { .. } => self.begin_rebalance(step),
            Phase::Empty => unreachable!("an empty group has no members"),
        }
    }

    /// Takes a member out. Where it waited for something, it is told that it is none any more.
    fn drop_member(&mut self, id: &str, step: &mut Step<'_>) {
        let member = self.members.remove(id).expect("the caller found it here");
        match member.waiting {
            Waiting::Join(ticket) => step.refuse_join(ticket, GroupError::UnknownMember),
            Waiting::Sync(ticket) => step.refuse_sync(ticket, GroupError::UnknownMember),
            Waiting::Nothing => {}
        }
        if let Some(instance) = member.instance {
            self.statics.remove(&instance);
        }
        if self.is_leader(id) {
            self.leader = self.eldest(|_| true);
        }
    }

    /// What time has brought about.
    pub(super) fn tick(&mut self, step: &mut Step<'_>) {
        let now_ms = step.now_ms();
        self.announced.retain(|_, until_ms| *until_ms > now_ms);
        let is_silent = |member: &Member| {
            member.waiting == Waiting::Nothing && member.session_until_ms <= now_ms
        };
        for id in ids_where(&self.members, is_silent) {
            // Removing one may have answered another, whose session is then a new one.
            if self.members.get(&id).is_some_and(is_silent) {
                self.remove_member(&id, step);
            }
        }
        match self.phase {
            Phase::Preparing { until_ms, first } if until_ms <= now_ms => match first {
                Some(first) if first.has_grown && first.left_ms > 0 => {
                    self.wait_for_more(first, step);
                }
                _ => self.complete_joins(step),
            },
            Phase::Preparing { .. } => self.complete_if_all_joined(step),
            Phase::Completing { until_ms }
            | Phase::Stable {
                until_ms: Some(until_ms),
            } if until_ms <= now_ms => self.drop_unsynced(step),
            Phase::Empty | Phase::Completing { .. } | Phase::Stable { .. } => {}
        }
    }

    fn wait_for_more(&mut self, first: FirstRebalance, step: &mut Step<'_>) {
        let delay_ms = step.options.first_rebalance_delay_ms.min(first.left_ms);
        self.phase = Phase::Preparing {
            until_ms: step.now_ms() + delay_ms,
            first: Some(FirstRebalance {
                left_ms: first.left_ms - delay_ms,
                has_grown: false,
            }),
        };
    }

    /// Those who joined this generation and never asked for their part hold up the others.
    fn drop_unsynced(&mut self, step: &mut Step<'_>) {
        let unsynced = ids_where(&self.members, |member| !member.has_synced);
        if unsynced.is_empty() {
            self.phase = Phase::Stable { until_ms: None };
            return;
        }
        for id in unsynced {
            self.drop_member(&id, step);
        }
        self.begin_rebalance(step);
    }
}

fn ids_where(members: &BTreeMap<String, Member>, which: impl Fn(&Member) -> bool) -> Vec<String> {
    let found = members.iter().filter(|(_, member)| which(member));
    found.map(|(id, _)| id.clone()).collect()
}

fn next(generation: Generation) -> Generation {
    Generation(generation.0.checked_add(1).unwrap_or(1))
}
