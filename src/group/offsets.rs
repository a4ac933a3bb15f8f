//! Committed offsets: who may commit, what is refused, what becomes old.

use crate::base::group::{Committed, Generation, GroupError, Identity};
use crate::base::limits::OFFSET_METADATA_BYTES_MAX;
use crate::base::{PartitionKey, TopicId};
use crate::group::state::{Group, Phase, Step};

impl Group {
    /// Whether this one may commit now. Outside of any membership only while there are no members: it is how tools
    /// set offsets, and how consumers that assign themselves keep them.
    pub(super) fn check_commit(
        &mut self,
        identity: &Identity,
        generation: Generation,
        now_ms: u64,
    ) -> Result<(), GroupError> {
        if generation < Generation(0) && self.phase == Phase::Empty {
            return Ok(());
        }
        self.check_current(identity, generation)?;
        if matches!(self.phase, Phase::Completing { .. }) {
            return Err(GroupError::Rebalancing);
        }
        self.member_mut(&identity.member).is_alive(now_ms);
        Ok(())
    }

    /// Committed offsets of these partitions, or all.
    pub(super) fn committed(
        &self,
        partitions: Option<&[PartitionKey]>,
    ) -> Vec<(PartitionKey, Committed)> {
        let Some(partitions) = partitions else {
            let all = self.offsets.iter();
            return all.map(|(key, value)| (*key, value.clone())).collect();
        };
        let found = |key: &PartitionKey| Some((*key, self.offsets.get(key)?.clone()));
        partitions.iter().filter_map(found).collect()
    }

    pub(super) fn partitions_of(&self, topic: TopicId) -> Vec<PartitionKey> {
        let keys = self.offsets.keys();
        keys.filter(|key| key.topic == topic).copied().collect()
    }

    /// Of a group without members, what nobody has asked for in a long time. `None`: it is not the time to look.
    pub(super) fn expired(&mut self, step: &Step<'_>) -> Option<Vec<PartitionKey>> {
        let since = self.empty_since?;
        if self.looked_ms + step.options.idle_check_ms > step.now_ms() {
            return None;
        }
        self.looked_ms = step.now_ms();
        let kept_since = step.now.wall.0.saturating_sub(step.options.retention_ms);
        let is_old = |value: &Committed| value.at.max(since.wall).0 <= kept_since;
        let old = self.offsets.iter().filter(|(_, value)| is_old(value));
        Some(old.map(|(key, _)| *key).collect())
    }
}

/// Whether an offset can be kept.
pub(super) fn check_offset(value: &Committed) -> Result<(), GroupError> {
    match value.metadata.len() > OFFSET_METADATA_BYTES_MAX {
        true => Err(GroupError::MetadataTooLarge),
        false => Ok(()),
    }
}
