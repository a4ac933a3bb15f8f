//! Consumer groups for Kafka clients.

use crate::base::group::{Committed, Generation, GroupError, Identity};
use crate::base::{PartitionKey, PartitionNo, TopicId};
use crate::engine::{Engine, EngineError, GroupReply, GroupRequest, TopicRef};
use crate::net::kafka::Kafka;
use crate::net::kafka::cold::To;
use crate::protocol::kafka::delete_groups::{
    DeletableGroupResult, DeleteGroupsRequest, DeleteGroupsResponse, OffsetDeleteRequest,
    OffsetDeleteResponse, OffsetDeleteResponsePartition, OffsetDeleteResponseTopic, Wanted,
};
use crate::protocol::kafka::describe_groups::{
    self, DescribeGroupsRequest, DescribeGroupsResponse, DescribedGroup,
};
use crate::protocol::kafka::heartbeat::{HeartbeatRequest, HeartbeatResponse};
use crate::protocol::kafka::leave_group::{self, LeaveGroupRequest, LeaveGroupResponse};
use crate::protocol::kafka::list_groups::{self, ListGroupsRequest, ListGroupsResponse};
use crate::protocol::kafka::offset_commit::{
    OffsetCommitRequest, OffsetCommitResponse, OffsetCommitResponsePartition,
    OffsetCommitResponseTopic,
};
use crate::protocol::kafka::offset_fetch::{
    self, OffsetFetchGroup, OffsetFetchResponseGroup, OffsetFetchResponseTopic, OffsetFetchTopic,
};
use crate::protocol::kafka::{error, find_coordinator, group::Group, join_group, sync_group};
use std::collections::BTreeMap;

/// So often a group is looked at whose offsets are to be deleted, while it keeps rebalancing.
const LOOKS_MAX: u32 = 3;

/// Who asks.
pub(super) struct From {
    /// What the client calls itself.
    pub(super) client: String,
    /// Where it comes from, as Kafka writes it.
    pub(super) host: String,
}

pub(super) async fn answer<E: Engine>(
    engine: &E,
    kafka: &Kafka,
    broker: i32,
    request: Group,
    from: From,
    to: To<'_>,
) {
    let version = to.version;
    match request {
        Group::FindCoordinator(request) => {
            let core_of = |group: &str| engine.group_core(group);
            let found = find_coordinator::answer(request, version, &kafka.cluster, core_of);
            to.write(&found);
        }
        Group::Join(request) => {
            let member = request.member_id.clone();
            let asked = join_group::asked(request, version, from.client, from.host);
            let joined = match engine.group(GroupRequest::Join(asked)).await {
                Ok(GroupReply::Joined(joined)) => joined,
                other => Err(unavailable(other)),
            };
            to.write(&join_group::answer(member, joined));
        }
        Group::Sync(request) => {
            let asked = GroupRequest::Sync(sync_group::asked(request));
            let synced = match engine.group(asked).await {
                Ok(GroupReply::Synced(synced)) => synced,
                other => Err(unavailable(other)),
            };
            to.write(&sync_group::answer(synced));
        }
        Group::Heartbeat(request) => to.write(&heartbeat(engine, request).await),
        Group::Leave(request) => to.write(&leave(engine, &request, version).await),
        Group::Commit(request) => to.write(&commit(engine, request).await),
        Group::FetchOffsets(request) => {
            let mut groups = Vec::new();
            for asked in request.groups(version) {
                groups.push(fetch_offsets(engine, asked).await);
            }
            to.write(&offset_fetch::answer(groups, version));
        }
        Group::Describe(request) => to.write(&describe(engine, request, version).await),
        Group::List(request) => to.write(&list(engine, kafka, broker, &request).await),
        Group::Delete(request) => to.write(&delete(engine, request).await),
        Group::DeleteOffsets(request) => to.write(&delete_offsets(engine, request).await),
    }
}

/// What a client hears when the engine does not let the coordinator answer: it looks for the coordinator again.
fn unavailable(reply: Result<GroupReply, EngineError>) -> GroupError {
    match reply {
        Err(refusal) => GroupError::NotStored(refusal.to_string()),
        Ok(other) => unreachable!("a group request was answered with {other:?}"),
    }
}

async fn heartbeat<E: Engine>(engine: &E, request: HeartbeatRequest) -> HeartbeatResponse {
    let asked = GroupRequest::Heartbeat {
        group: request.group_id,
        identity: Identity {
            member: request.member_id,
            instance: request.group_instance_id,
        },
        generation: Generation(request.generation_id),
    };
    let alive = match engine.group(asked).await {
        Ok(GroupReply::Alive(alive)) => alive,
        other => Err(unavailable(other)),
    };
    HeartbeatResponse {
        error_code: error::group_result(&alive),
        ..HeartbeatResponse::default()
    }
}

async fn leave<E: Engine>(
    engine: &E,
    request: &LeaveGroupRequest,
    version: i16,
) -> LeaveGroupResponse {
    let members = request.members(version);
    let asked = GroupRequest::Leave {
        group: request.group_id.clone(),
        members: members.clone(),
    };
    match engine.group(asked).await {
        Ok(GroupReply::Left(left)) => leave_group::answer(members, left, version),
        other => LeaveGroupResponse {
            error_code: error::group_code(&unavailable(other)),
            ..LeaveGroupResponse::default()
        },
    }
}

/// A partition by the names of the wire, if there is one.
fn find<E: Engine>(engine: &E, topic: &str, partitions: &mut Option<(TopicId, u32)>) {
    let asked = [TopicRef::Name(topic.to_owned())];
    let found = engine.topics(Some(&asked)).pop();
    *partitions = found
        .and_then(Result::ok)
        .map(|topic| (topic.id, topic.partitions));
}

fn key(topic: Option<(TopicId, u32)>, index: i32) -> Option<PartitionKey> {
    let (id, partitions) = topic?;
    let no = u32::try_from(index).ok().filter(|no| *no < partitions)?;
    Some(PartitionKey::new(id, PartitionNo(no)))
}

async fn commit<E: Engine>(engine: &E, request: OffsetCommitRequest) -> OffsetCommitResponse {
    let mut offsets = Vec::new();
    let mut topics = Vec::with_capacity(request.topics.len());
    let mut known = None;
    for topic in request.topics {
        find(engine, &topic.name, &mut known);
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for asked in topic.partitions {
            let partition_index = asked.partition_index;
            let error_code = match (key(known, partition_index), asked.committed()) {
                (None, _) => error::UNKNOWN_TOPIC_OR_PARTITION,
                (_, None) => error::INVALID_REQUEST,
                (Some(key), Some(committed)) => {
                    offsets.push((key, committed));
                    error::NONE
                }
            };
            partitions.push(OffsetCommitResponsePartition {
                partition_index,
                error_code,
            });
        }
        let name = topic.name;
        topics.push(OffsetCommitResponseTopic { name, partitions });
    }
    let count = offsets.len();
    let asked = GroupRequest::Commit {
        group: request.group_id,
        identity: Identity {
            member: request.member_id,
            instance: request.group_instance_id,
        },
        generation: Generation(request.generation_id),
        offsets,
    };
    let results = match engine.group(asked).await {
        Ok(GroupReply::Committed(results)) => results,
        other => vec![Err(unavailable(other)); count],
    };
    let mut results = results.iter();
    let partitions = topics.iter_mut().flat_map(|topic| &mut topic.partitions);
    for partition in partitions.filter(|partition| partition.error_code == error::NONE) {
        partition.error_code = results.next().map_or(error::NONE, error::group_result);
    }
    OffsetCommitResponse {
        topics,
        ..OffsetCommitResponse::default()
    }
}

async fn fetch_offsets<E: Engine>(engine: &E, asked: OffsetFetchGroup) -> OffsetFetchResponseGroup {
    let request = GroupRequest::FetchOffsets {
        group: asked.group_id.clone(),
        partitions: None,
    };
    let (found, error_code) = match engine.group(request).await {
        Ok(GroupReply::Offsets(found)) => (found, error::NONE),
        other => (Vec::new(), error::group_code(&unavailable(other))),
    };
    let topics = match asked.topics {
        Some(topics) => named_offsets(engine, topics, found.into_iter().collect(), error_code),
        None => all_offsets(engine, found),
    };
    OffsetFetchResponseGroup {
        group_id: asked.group_id,
        topics,
        error_code,
    }
}

fn named_offsets<E: Engine>(
    engine: &E,
    topics: Vec<OffsetFetchTopic>,
    mut found: BTreeMap<PartitionKey, Committed>,
    error_code: i16,
) -> Vec<OffsetFetchResponseTopic> {
    let mut known = None;
    let mut answers = Vec::with_capacity(topics.len());
    for topic in topics {
        find(engine, &topic.name, &mut known);
        let indexes = topic.partition_indexes.into_iter();
        let partitions = indexes.map(|index| {
            let committed = key(known, index).and_then(|key| found.remove(&key));
            offset_fetch::partition(index, committed, error_code)
        });
        answers.push(OffsetFetchResponseTopic {
            name: topic.name,
            partitions: partitions.collect(),
        });
    }
    answers
}

fn all_offsets<E: Engine>(
    engine: &E,
    found: Vec<(PartitionKey, Committed)>,
) -> Vec<OffsetFetchResponseTopic> {
    let mut by_topic: BTreeMap<TopicId, Vec<_>> = BTreeMap::new();
    for (key, committed) in found {
        let index = key.partition.0 as i32;
        let told = offset_fetch::partition(index, Some(committed), error::NONE);
        by_topic.entry(key.topic).or_default().push(told);
    }
    let ids: Vec<_> = by_topic.keys().copied().map(TopicRef::Id).collect();
    let named = engine.topics(Some(&ids)).into_iter();
    let topics = named.zip(by_topic.into_values());
    topics
        .filter_map(|(topic, partitions)| {
            let name = topic.ok()?.name;
            Some(OffsetFetchResponseTopic { name, partitions })
        })
        .collect()
}

async fn describe<E: Engine>(
    engine: &E,
    request: DescribeGroupsRequest,
    version: i16,
) -> DescribeGroupsResponse {
    let mut groups = Vec::with_capacity(request.groups.len());
    for group_id in request.groups {
        let group = group_id.clone();
        groups.push(match engine.group(GroupRequest::Describe { group }).await {
            Ok(GroupReply::Described(described)) => {
                describe_groups::describe(group_id, described.map(|group| *group), version)
            }
            other => DescribedGroup {
                error_code: error::group_code(&unavailable(other)),
                group_id,
                ..DescribedGroup::default()
            },
        });
    }
    DescribeGroupsResponse {
        groups,
        ..DescribeGroupsResponse::default()
    }
}

/// The groups that `broker` stands for.
async fn list<E: Engine>(
    engine: &E,
    kafka: &Kafka,
    broker: i32,
    request: &ListGroupsRequest,
) -> ListGroupsResponse {
    match engine.groups().await {
        Ok(mut groups) => {
            groups.retain(|one| kafka.cluster.leader(engine.group_core(&one.group)) == broker);
            list_groups::answer(request, groups)
        }
        Err(_) => ListGroupsResponse {
            error_code: error::COORDINATOR_NOT_AVAILABLE,
            ..ListGroupsResponse::default()
        },
    }
}

async fn delete<E: Engine>(engine: &E, request: DeleteGroupsRequest) -> DeleteGroupsResponse {
    let mut results = Vec::with_capacity(request.groups_names.len());
    for group_id in request.groups_names {
        let group = group_id.clone();
        let deleted = match engine.group(GroupRequest::Delete { group }).await {
            Ok(GroupReply::Deleted(deleted)) => deleted,
            other => Err(unavailable(other)),
        };
        results.push(DeletableGroupResult {
            group_id,
            error_code: error::group_result(&deleted),
        });
    }
    DeleteGroupsResponse {
        results,
        ..DeleteGroupsResponse::default()
    }
}

/// Offsets of topics that members want stay. A group that rebalances meanwhile is looked at again.
async fn delete_offsets<E: Engine>(
    engine: &E,
    request: OffsetDeleteRequest,
) -> OffsetDeleteResponse {
    let mut looks = 0;
    loop {
        looks += 1;
        match try_delete_offsets(engine, &request).await {
            Err(GroupError::IllegalGeneration) if looks < LOOKS_MAX => {}
            Ok(topics) => {
                return OffsetDeleteResponse {
                    topics,
                    ..OffsetDeleteResponse::default()
                };
            }
            Err(error) => {
                let error = match error {
                    GroupError::IllegalGeneration => GroupError::Rebalancing,
                    error => error,
                };
                return OffsetDeleteResponse {
                    error_code: error::group_code(&error),
                    ..OffsetDeleteResponse::default()
                };
            }
        }
    }
}

async fn try_delete_offsets<E: Engine>(
    engine: &E,
    request: &OffsetDeleteRequest,
) -> Result<Vec<OffsetDeleteResponseTopic>, GroupError> {
    let group = request.group_id.clone();
    let described = match engine.group(GroupRequest::Describe { group }).await {
        Ok(GroupReply::Described(described)) => described,
        other => return Err(unavailable(other)),
    };
    let (wanted, generation) = match described {
        Some(group) => (Wanted::of(&group), group.generation),
        None => (Wanted::Unsaid, Generation::NONE),
    };
    let (mut known, mut keys) = (None, Vec::new());
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        find(engine, &topic.name, &mut known);
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for &partition_index in &topic.partitions {
            let error_code = match key(known, partition_index) {
                Some(_) if wanted.has(&topic.name) => error::GROUP_SUBSCRIBED_TO_TOPIC,
                Some(key) => {
                    keys.push(key);
                    error::NONE
                }
                None => error::UNKNOWN_TOPIC_OR_PARTITION,
            };
            partitions.push(OffsetDeleteResponsePartition {
                partition_index,
                error_code,
            });
        }
        let name = topic.name.clone();
        topics.push(OffsetDeleteResponseTopic { name, partitions });
    }
    let asked = GroupRequest::DeleteOffsets {
        group: request.group_id.clone(),
        partitions: keys,
        unwanted_in: (wanted != Wanted::Unsaid).then_some(generation),
    };
    match engine.group(asked).await {
        Ok(GroupReply::OffsetsDeleted(deleted)) => deleted.map(|()| topics),
        other => Err(unavailable(other)),
    }
}
