//! Consumer groups for tools that speak the native protocol.

use crate::base::TimestampMs;
use crate::base::group::{
    Committed, Generation, GroupDescription, GroupError, GroupListing, Identity,
};
use crate::base::{Offset, PartitionKey};
use crate::engine::{Engine, EngineError, GroupReply, GroupRequest};
use crate::protocol::native::{GroupAsk, ReplyWriter};
use std::result::Result;

/// What is to be told, before it is cut into a page.
pub(super) enum Told {
    Groups(Vec<GroupListing>),
    Group(Box<GroupDescription>, u32, Vec<(PartitionKey, Committed)>),
    Committed,
    Deleted,
}

pub(super) async fn ask<E: Engine>(engine: &E, ask: GroupAsk) -> Result<Told, EngineError> {
    match ask {
        GroupAsk::List { after } => {
            let mut groups = engine.groups().await?;
            groups.retain(|group| Some(&group.group) > after.as_ref());
            Ok(Told::Groups(groups))
        }
        GroupAsk::Describe { group, first } => describe(engine, group, first).await,
        GroupAsk::Commit { group, offsets } => commit(engine, group, offsets).await,
        GroupAsk::Delete { group } => {
            let request = GroupRequest::Delete {
                group: group.clone(),
            };
            match engine.group(request).await? {
                GroupReply::Deleted(deleted) => deleted
                    .map(|()| Told::Deleted)
                    .map_err(|error| refusal(&group, error)),
                other => unreachable!("a delete was answered with {other:?}"),
            }
        }
    }
}

impl Told {
    pub(super) fn write(&self, correlation: u32, writer: &mut ReplyWriter, out: &mut Vec<u8>) {
        match self {
            Self::Groups(groups) => writer.groups_listed(correlation, groups, out),
            Self::Group(group, first, offsets) => {
                writer.group_described(correlation, group, *first, offsets, out);
            }
            Self::Committed => writer.offsets_committed(correlation, out),
            Self::Deleted => writer.group_deleted(correlation, out),
        }
    }
}

async fn describe<E: Engine>(engine: &E, group: String, first: u32) -> Result<Told, EngineError> {
    let request = GroupRequest::Describe {
        group: group.clone(),
    };
    let described = match engine.group(request).await? {
        GroupReply::Described(described) => described,
        other => unreachable!("a describe was answered with {other:?}"),
    };
    let described = described.ok_or_else(|| refusal(&group, GroupError::NotFound))?;
    let request = GroupRequest::FetchOffsets {
        group,
        partitions: None,
    };
    match engine.group(request).await? {
        GroupReply::Offsets(offsets) => Ok(Told::Group(described, first, offsets)),
        other => unreachable!("a fetch of offsets was answered with {other:?}"),
    }
}

async fn commit<E: Engine>(
    engine: &E,
    group: String,
    offsets: Vec<(PartitionKey, Offset)>,
) -> Result<Told, EngineError> {
    let offsets = offsets.into_iter().map(|(key, offset)| {
        let committed = Committed {
            offset,
            leader_epoch: -1,
            metadata: String::new(),
            at: TimestampMs(0),
        };
        (key, committed)
    });
    let request = GroupRequest::Commit {
        group: group.clone(),
        identity: Identity::default(),
        generation: Generation::NONE,
        offsets: offsets.collect(),
    };
    let results = match engine.group(request).await? {
        GroupReply::Committed(results) => results,
        other => unreachable!("a commit was answered with {other:?}"),
    };
    match results.into_iter().find_map(Result::err) {
        None => Ok(Told::Committed),
        // That is how a coordinator refuses who is no member of a group that has some.
        Some(GroupError::UnknownMember | GroupError::IllegalGeneration) => {
            Err(refusal(&group, GroupError::NotEmpty))
        }
        Some(error) => Err(refusal(&group, error)),
    }
}

fn refusal(group: &str, error: GroupError) -> EngineError {
    match error {
        GroupError::NotStored(reason) => EngineError::StorageFailed(reason),
        GroupError::NotFound => EngineError::InvalidRequest(format!("no group {group}")),
        GroupError::NotEmpty => EngineError::InvalidRequest(format!(
            "group {group} has members, or commits on their way: stop its consumers first"
        )),
        other => EngineError::InvalidRequest(format!("group {group}: {other}")),
    }
}
