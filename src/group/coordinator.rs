//! All groups of one core: finds the group that a request is about, keeps the timers, and what is on its way to the log.

use crate::base::group::{
    Committed, Generation, GroupError, GroupListing, GroupReply, GroupRequest, Identity, JoinGroup,
};
use crate::base::limits::{
    GROUP_BYTES_MAX, GROUP_NAME_BYTES_MAX, GROUP_OFFSETS_MAX, GROUPS_BYTES_MAX, GROUPS_MAX,
};
use crate::base::{PartitionKey, PartitionNo, TopicId};
use crate::group::offsets::check_offset;
use crate::group::state::{Group, Phase, Step};
use crate::group::{Effect, Moment, OffsetRecord, StoreId, Ticket, slot_of};
use std::collections::{BTreeMap, BTreeSet};

/// What holds for all groups. Times in milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options {
    /// The shortest session that a member may ask for.
    pub session_ms_min: u32,
    /// The longest.
    pub session_ms_max: u32,
    /// The longest that a rebalance waits for a member, whatever it asks for.
    pub rebalance_ms_max: u32,
    /// How long the first rebalance of an empty group waits for more members.
    pub first_rebalance_delay_ms: u64,
    /// How long the offsets of a group without members are kept.
    pub retention_ms: i64,
    /// How often a group without members is looked at; if it has no offsets either, it goes.
    pub idle_check_ms: u64,
}

impl Default for Options {
    /// As Kafka has them, but for the first delay, and for a shorter session for those who want one.
    fn default() -> Self {
        Self {
            session_ms_min: 1_000,
            session_ms_max: 1_800_000,
            rebalance_ms_max: 86_400_000,
            first_rebalance_delay_ms: 500,
            retention_ms: 7 * 86_400_000,
            idle_check_ms: 600_000,
        }
    }
}

/// The groups of one core. See the door of this room.
#[derive(Debug)]
pub struct Coordinator {
    options: Options,
    groups: BTreeMap<String, Group>,
    /// When which group is to be looked at: at its next deadline or, where that has moved on, before it.
    timers: BTreeSet<(u64, String)>,
    armed: BTreeMap<String, u64>,
    storing: BTreeMap<StoreId, Storing>,
    last_store: StoreId,
    /// What the members of all groups take.
    bytes: usize,
    /// How many offsets are kept.
    offsets: usize,
}

/// Records on their way to the log.
#[derive(Debug)]
struct Storing {
    group: String,
    changes: Vec<(PartitionKey, Option<Committed>)>,
    answer: Option<(Ticket, GroupReply)>,
}

impl Coordinator {
    /// Without groups.
    pub fn new(options: Options) -> Self {
        Self {
            options,
            groups: BTreeMap::new(),
            timers: BTreeSet::new(),
            armed: BTreeMap::new(),
            storing: BTreeMap::new(),
            last_store: StoreId(0),
            bytes: 0,
            offsets: 0,
        }
    }

    /// Takes a request. Its answer comes as an effect, of this call or of a later one.
    pub fn handle(
        &mut self,
        now: &Moment,
        ticket: Ticket,
        request: GroupRequest,
        out: &mut Vec<Effect>,
    ) {
        match request {
            GroupRequest::Join(join) => self.join(now, ticket, join, out),
            GroupRequest::Sync(sync) => {
                let group = sync.group.clone();
                let known = self.with(&group, now, out, |group, step| {
                    group.sync(ticket, sync, step);
                });
                if known.is_none() {
                    let reply = GroupReply::Synced(Err(GroupError::UnknownMember));
                    out.push(Effect::Reply(ticket, reply));
                }
            }
            GroupRequest::Heartbeat {
                group,
                identity,
                generation,
            } => {
                // Moves a deadline away, so no timer has to be set anew.
                let alive = match self.groups.get_mut(&group) {
                    Some(group) => group.heartbeat(&identity, generation, now.monotonic_ms),
                    None => Err(GroupError::UnknownMember),
                };
                out.push(Effect::Reply(ticket, GroupReply::Alive(alive)));
            }
            GroupRequest::Leave { group, members } => {
                let left = self.leave(now, &group, &members, out);
                out.push(Effect::Reply(ticket, GroupReply::Left(left)));
            }
            GroupRequest::Commit {
                group,
                identity,
                generation,
                offsets,
            } => self.commit(now, ticket, (group, identity, generation), offsets, out),
            other => self.inspect(ticket, other, out),
        }
    }

    /// The requests that no member makes.
    fn inspect(&mut self, ticket: Ticket, request: GroupRequest, out: &mut Vec<Effect>) {
        let reply = match request {
            GroupRequest::FetchOffsets { group, partitions } => {
                let group = self.groups.get(&group);
                let committed = group.map(|group| group.committed(partitions.as_deref()));
                GroupReply::Offsets(committed.unwrap_or_default())
            }
            GroupRequest::Describe { group } => {
                let found = self.groups.get(&group);
                GroupReply::Described(found.map(|found| Box::new(found.describe(&group))))
            }
            GroupRequest::Delete { group } => return self.delete(ticket, group, out),
            GroupRequest::DeleteOffsets {
                group,
                partitions,
                unwanted_in,
            } => return self.delete_offsets(ticket, group, (&partitions, unwanted_in), out),
            _ => unreachable!("`handle` takes the requests of members"),
        };
        out.push(Effect::Reply(ticket, reply));
    }

    /// What time has brought about.
    pub fn tick(&mut self, now: &Moment, out: &mut Vec<Effect>) {
        while let Some((at_ms, _)) = self.timers.first() {
            if *at_ms > now.monotonic_ms {
                return;
            }
            let (_, name) = self.timers.pop_first().expect("looked at just now");
            self.armed.remove(&name);
            let expired = self.with(&name, now, out, |group, step| {
                group.tick(step);
                group.expired(step)
            });
            match expired.flatten() {
                Some(expired) => {
                    self.remove_offsets(&name, expired, None, out);
                    self.forget_if_bare(&name);
                }
                None => self.forget_if_unused(&name),
            }
        }
    }

    /// When [`Coordinator::tick`] is due next, on the clock of [`Moment::monotonic_ms`].
    pub fn next_deadline(&self) -> Option<u64> {
        self.timers.first().map(|(at_ms, _)| *at_ms)
    }

    /// Records are stored, or it is not known whether they are, and why.
    pub fn stored(&mut self, id: StoreId, result: Result<(), String>, out: &mut Vec<Effect>) {
        let storing = self.storing.remove(&id);
        let storing = storing.expect("each set of records is reported once");
        if let Some(group) = self.groups.get_mut(&storing.group) {
            group.storing -= 1;
        }
        if result.is_ok() {
            for (key, value) in storing.changes {
                self.apply(&storing.group, key, value);
            }
        }
        if let Some((ticket, reply)) = storing.answer {
            if matches!(reply, GroupReply::Deleted(_)) && result.is_ok() {
                self.forget_if_bare(&storing.group);
            }
            let reply = match result {
                Ok(()) => reply,
                Err(reason) => not_stored(reply, &reason),
            };
            out.push(Effect::Reply(ticket, reply));
        }
    }

    /// Takes a stored record at a start. In the order of the log, before anything else.
    pub fn restore(&mut self, now: &Moment, record: OffsetRecord) {
        let OffsetRecord::Offset { group, key, value } = record else {
            return;
        };
        if value.is_some() && !self.groups.contains_key(&group) {
            self.groups.insert(group.clone(), Group::new(now));
            self.arm(&group);
        }
        self.apply(&group, key, value);
        self.forget_if_bare(&group);
    }

    /// Everything that one of our partitions has to keep, for it to be written anew.
    pub fn snapshot(&self, slot: PartitionNo) -> Vec<OffsetRecord> {
        let of_slot = |(name, _): &(&String, &Group)| slot_of(name) == slot;
        let groups = self.groups.iter().filter(of_slot);
        let records = groups.flat_map(|(name, group)| {
            group
                .offsets
                .iter()
                .map(|(key, value)| OffsetRecord::Offset {
                    group: name.clone(),
                    key: *key,
                    value: Some(value.clone()),
                })
        });
        records.collect()
    }

    /// A topic was deleted: nobody can go on in it.
    pub fn forget_topic(&mut self, topic: TopicId, out: &mut Vec<Effect>) {
        let concerned = self.groups.iter();
        let concerned = concerned.map(|(name, group)| (name.clone(), group.partitions_of(topic)));
        let concerned: Vec<_> = concerned.filter(|(_, keys)| !keys.is_empty()).collect();
        for (name, keys) in concerned {
            self.remove_offsets(&name, keys, None, out);
        }
    }

    /// All groups.
    pub fn list(&self) -> Vec<GroupListing> {
        let groups = self.groups.iter();
        groups.map(|(name, group)| group.listing(name)).collect()
    }

    fn join(&mut self, now: &Moment, ticket: Ticket, mut join: JoinGroup, out: &mut Vec<Effect>) {
        if let Err(error) = self.check_join(&join) {
            return out.push(Effect::Reply(ticket, GroupReply::Joined(Err(error))));
        }
        join.rebalance_ms = join.rebalance_ms.min(self.options.rebalance_ms_max);
        let name = join.group.clone();
        if !self.groups.contains_key(&name) {
            self.groups.insert(name.clone(), Group::new(now));
        }
        self.with(&name, now, out, |group, step| {
            group.join(ticket, join, step)
        });
        self.forget_if_unused(&name);
    }

    fn check_join(&self, join: &JoinGroup) -> Result<(), GroupError> {
        check_name(&join.group)?;
        let allowed = self.options.session_ms_min..=self.options.session_ms_max;
        if !allowed.contains(&join.session_ms) {
            return Err(GroupError::InvalidSession);
        }
        if !self.groups.contains_key(&join.group) {
            if !join.identity.member.is_empty() {
                return Err(GroupError::UnknownMember);
            }
            if self.groups.len() >= GROUPS_MAX {
                return Err(GroupError::Full);
            }
        }
        match self.bytes + GROUP_BYTES_MAX > GROUPS_BYTES_MAX {
            true => Err(GroupError::Full),
            false => Ok(()),
        }
    }

    fn leave(
        &mut self,
        now: &Moment,
        group: &str,
        members: &[Identity],
        out: &mut Vec<Effect>,
    ) -> Vec<Result<(), GroupError>> {
        let left = self.with(group, now, out, |group, step| {
            let one = |who| group.leave(who, step);
            members.iter().map(one).collect::<Vec<_>>()
        });
        let unknown = || vec![Err(GroupError::UnknownMember); members.len()];
        left.unwrap_or_else(unknown)
    }

    fn commit(
        &mut self,
        now: &Moment,
        ticket: Ticket,
        (name, identity, generation): (String, Identity, Generation),
        offsets: Vec<(PartitionKey, Committed)>,
        out: &mut Vec<Effect>,
    ) {
        if let Err(error) = self.check_commit(now, &name, &identity, generation) {
            let reply = GroupReply::Committed(vec![Err(error); offsets.len()]);
            return out.push(Effect::Reply(ticket, reply));
        }
        let room = GROUP_OFFSETS_MAX.saturating_sub(self.offsets);
        let (mut changes, mut results) = (Vec::new(), Vec::with_capacity(offsets.len()));
        for (key, mut value) in offsets {
            value.at = now.wall;
            let checked = match changes.len() < room {
                true => check_offset(&value),
                false => Err(GroupError::Full),
            };
            if checked.is_ok() {
                changes.push((key, Some(value)));
            }
            results.push(checked);
        }
        let answer = Some((ticket, GroupReply::Committed(results)));
        self.store(&name, changes, answer, out);
        self.forget_if_unused(&name);
    }

    /// Makes the group if who is no member commits to one that does not exist.
    fn check_commit(
        &mut self,
        now: &Moment,
        name: &str,
        identity: &Identity,
        generation: Generation,
    ) -> Result<(), GroupError> {
        check_name(name)?;
        if let Some(group) = self.groups.get_mut(name) {
            return group.check_commit(identity, generation, now.monotonic_ms);
        }
        if generation >= Generation(0) {
            return Err(GroupError::IllegalGeneration);
        }
        if self.groups.len() >= GROUPS_MAX {
            return Err(GroupError::Full);
        }
        self.groups.insert(name.to_owned(), Group::new(now));
        self.arm(name);
        Ok(())
    }

    fn delete(&mut self, ticket: Ticket, name: String, out: &mut Vec<Effect>) {
        let refusal = match self.groups.get(&name) {
            None => Some(GroupError::NotFound),
            Some(group) if is_in_use(group) => Some(GroupError::NotEmpty),
            Some(_) => None,
        };
        let done = GroupReply::Deleted(refusal.clone().map_or(Ok(()), Err));
        if refusal.is_some() {
            return out.push(Effect::Reply(ticket, done));
        }
        let keys = self.groups[&name].offsets.keys().copied().collect();
        self.remove_offsets(&name, keys, Some((ticket, done)), out);
        self.forget_if_bare(&name);
    }

    fn delete_offsets(
        &mut self,
        ticket: Ticket,
        name: String,
        (partitions, unwanted_in): (&[PartitionKey], Option<Generation>),
        out: &mut Vec<Effect>,
    ) {
        let found = match (self.groups.get(&name), unwanted_in) {
            (None, _) => Err(GroupError::NotFound),
            // Its members may want others by now.
            (Some(group), Some(seen)) if group.generation != seen => {
                Err(GroupError::IllegalGeneration)
            }
            (Some(group), None) if is_in_use(group) => Err(GroupError::NotEmpty),
            (Some(group), _) => Ok(group.committed(Some(partitions))),
        };
        let done = GroupReply::OffsetsDeleted(found.clone().map(drop));
        match found {
            Err(_) => out.push(Effect::Reply(ticket, done)),
            Ok(found) => {
                let keys = found.into_iter().map(|(key, _)| key).collect();
                self.remove_offsets(&name, keys, Some((ticket, done)), out);
            }
        }
    }

    fn remove_offsets(
        &mut self,
        name: &str,
        keys: Vec<PartitionKey>,
        answer: Option<(Ticket, GroupReply)>,
        out: &mut Vec<Effect>,
    ) {
        let changes = keys.into_iter().map(|key| (key, None)).collect();
        self.store(name, changes, answer, out);
    }

    /// Has changes stored; answers at once where there are none.
    fn store(
        &mut self,
        name: &str,
        changes: Vec<(PartitionKey, Option<Committed>)>,
        answer: Option<(Ticket, GroupReply)>,
        out: &mut Vec<Effect>,
    ) {
        if changes.is_empty() {
            out.extend(answer.map(|(ticket, reply)| Effect::Reply(ticket, reply)));
            return;
        }
        let group = self.groups.get_mut(name);
        group.expect("changes are of a group that exists").storing += 1;
        self.last_store = StoreId(self.last_store.0 + 1);
        let records = changes.iter().map(|(key, value)| OffsetRecord::Offset {
            group: name.to_owned(),
            key: *key,
            value: value.clone(),
        });
        out.push(Effect::Store {
            id: self.last_store,
            records: records.collect(),
        });
        let storing = Storing {
            group: name.to_owned(),
            changes,
            answer,
        };
        self.storing.insert(self.last_store, storing);
    }

    fn apply(&mut self, name: &str, key: PartitionKey, value: Option<Committed>) {
        let Some(group) = self.groups.get_mut(name) else {
            return;
        };
        let before = group.offsets.len();
        match value {
            Some(value) => drop(group.offsets.insert(key, value)),
            None => drop(group.offsets.remove(&key)),
        }
        self.offsets = self.offsets + group.offsets.len() - before;
    }

    /// Takes a step of one group, if it exists; then counts it and sets its timer.
    fn with<T>(
        &mut self,
        name: &str,
        now: &Moment,
        out: &mut Vec<Effect>,
        act: impl FnOnce(&mut Group, &mut Step<'_>) -> T,
    ) -> Option<T> {
        let group = self.groups.get_mut(name)?;
        let mut step = Step {
            now,
            options: &self.options,
            out,
        };
        let value = act(group, &mut step);
        let before = group.measure();
        self.bytes = self.bytes + group.bytes - before;
        self.arm(name);
        Some(value)
    }

    /// Sets the timer of a group if it is due before the timer that is set.
    fn arm(&mut self, name: &str) {
        let group = self.groups.get(name).expect("the caller has it");
        let Some(next) = group.next_deadline(&self.options) else {
            return;
        };
        let armed = self.armed.get(name).copied();
        if armed.is_some_and(|armed| armed <= next) {
            return;
        }
        if let Some(armed) = armed {
            self.timers.remove(&(armed, name.to_owned()));
        }
        self.armed.insert(name.to_owned(), next);
        self.timers.insert((next, name.to_owned()));
    }

    /// A group that a refused request has made goes at once.
    fn forget_if_unused(&mut self, name: &str) {
        let group = self.groups.get(name);
        if group.is_some_and(|group| group.generation == Generation(0)) {
            self.forget_if_bare(name);
        }
    }

    fn forget_if_bare(&mut self, name: &str) {
        if !self.groups.get(name).is_some_and(Group::is_bare) {
            return;
        }
        let group = self.groups.remove(name).expect("looked at just now");
        self.bytes -= group.bytes;
        if let Some(armed) = self.armed.remove(name) {
            self.timers.remove(&(armed, name.to_owned()));
        }
    }
}

fn check_name(name: &str) -> Result<(), GroupError> {
    match (1..=GROUP_NAME_BYTES_MAX).contains(&name.len()) {
        true => Ok(()),
        false => Err(GroupError::InvalidName),
    }
}

fn is_in_use(group: &Group) -> bool {
    group.phase != Phase::Empty || !group.announced.is_empty() || group.storing > 0
}

/// The same answer where the log has failed.
fn not_stored(reply: GroupReply, reason: &str) -> GroupReply {
    let error = || GroupError::NotStored(reason.to_owned());
    match reply {
        GroupReply::Committed(results) => {
            let failed = results.into_iter();
            GroupReply::Committed(failed.map(|one| one.and(Err(error()))).collect())
        }
        GroupReply::Deleted(_) => GroupReply::Deleted(Err(error())),
        GroupReply::OffsetsDeleted(_) => GroupReply::OffsetsDeleted(Err(error())),
        other => other,
    }
}
