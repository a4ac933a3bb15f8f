//! Consumer groups, as tools see them.

use super::{Client, StartAt};
use crate::base::group::{GroupDescription, GroupListing};
use crate::base::limits::{GROUP_OFFSETS_MAX, REQUEST_PARTITIONS_MAX};
use crate::base::{Offset, PartitionKey, TimestampMs};
use crate::client::ClientError;
use crate::protocol::native::{GroupAsk, GroupTold, Reply, TopicInfo};

/// A group and what it has committed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupState {
    /// The group; of its members perhaps not all, and without what they say to each other.
    pub group: GroupDescription,
    /// How many members it has.
    pub member_count: u32,
    /// Offset and time of each commit, by partition.
    pub offsets: Vec<(PartitionKey, Offset, TimestampMs)>,
}

impl Client {
    /// All consumer groups, by name.
    pub fn groups(&mut self) -> Result<Vec<GroupListing>, ClientError> {
        let mut groups: Vec<GroupListing> = Vec::new();
        loop {
            let after = groups.last().map(|group| group.group.clone());
            let GroupTold::Listed(page, more) = self.ask_group(true, &GroupAsk::List { after })?
            else {
                unreachable!("the session holds replies against requests");
            };
            let is_empty = page.is_empty();
            for group in page {
                if groups.last().is_some_and(|last| last.group >= group.group) {
                    return Err(self.odd("groups without order or end"));
                }
                groups.push(group);
            }
            if !more || is_empty {
                return Ok(groups);
            }
        }
    }

    /// A group and what it has committed.
    pub fn describe_group(&mut self, group: &str) -> Result<GroupState, ClientError> {
        let mut offsets = Vec::new();
        loop {
            let ask = GroupAsk::Describe {
                group: group.to_owned(),
                first: offsets.len() as u32,
            };
            let GroupTold::Described(page) = self.ask_group(true, &ask)? else {
                unreachable!("the session holds replies against requests");
            };
            if page.first as usize != offsets.len() || offsets.len() > GROUP_OFFSETS_MAX {
                return Err(self.odd("other offsets than asked for"));
            }
            let is_empty = page.offsets.is_empty();
            offsets.extend(page.offsets);
            if is_empty || offsets.len() >= page.offset_count as usize {
                return Ok(GroupState {
                    group: page.group,
                    member_count: page.member_count,
                    offsets,
                });
            }
        }
    }

    /// Sets committed offsets of a group without members.
    pub fn commit_offsets(
        &mut self,
        group: &str,
        offsets: &[(PartitionKey, Offset)],
    ) -> Result<(), ClientError> {
        for offsets in offsets.chunks(REQUEST_PARTITIONS_MAX) {
            let ask = GroupAsk::Commit {
                group: group.to_owned(),
                offsets: offsets.to_vec(),
            };
            // The same again does no harm.
            self.ask_group(true, &ask)?;
        }
        Ok(())
    }

    /// Deletes a group without members, and its offsets.
    pub fn delete_group(&mut self, group: &str) -> Result<(), ClientError> {
        let group = group.to_owned();
        self.ask_group(false, &GroupAsk::Delete { group }).map(drop)
    }

    /// The offsets that a start stands for in these partitions of a topic.
    pub fn resolve(
        &mut self,
        topic: &TopicInfo,
        partitions: &[u32],
        start: StartAt,
    ) -> Result<Vec<(u32, Offset)>, ClientError> {
        self.starts(topic, partitions, start)
    }

    fn ask_group(&mut self, repeat: bool, ask: &GroupAsk) -> Result<GroupTold, ClientError> {
        self.call(
            repeat,
            |outbox, ledger| outbox.group(ledger, ask),
            |reply| match reply {
                Reply::Group(told) => Some(told),
                _ => None,
            },
        )
    }
}
