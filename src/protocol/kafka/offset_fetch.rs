//! OffsetFetch: where groups go on. One group before version 8, several from then on.

use crate::base::group::Committed;
use crate::protocol::kafka::wire::message;

message! {
    /// Of which partitions of which groups.
    pub struct OffsetFetchRequest {
        group_id: String [0, 7],
        topics: Option<Vec<OffsetFetchTopic>> [0, 7],
        groups: Vec<OffsetFetchGroup> [8],
        require_stable: bool [7],
    }
}

message! {
    /// Of which partitions of a group; all that have one, where there is no list.
    pub struct OffsetFetchGroup {
        group_id: String [8],
        member_id: Option<String> [9],
        member_epoch: i32 [9] = -1,
        topics: Option<Vec<OffsetFetchTopic>> [8],
    }
}

message! {
    /// Of which partitions of a topic.
    pub struct OffsetFetchTopic {
        name: String [0],
        partition_indexes: Vec<i32> [0],
    }
}

message! {
    /// The answer.
    pub struct OffsetFetchResponse {
        throttle_time_ms: i32 [3],
        topics: Vec<OffsetFetchResponseTopic> [0, 7],
        error_code: i16 [2, 7],
        groups: Vec<OffsetFetchResponseGroup> [8],
    }
}

message! {
    /// For a group.
    pub struct OffsetFetchResponseGroup {
        group_id: String [8],
        topics: Vec<OffsetFetchResponseTopic> [8],
        error_code: i16 [8],
    }
}

message! {
    /// For a topic.
    pub struct OffsetFetchResponseTopic {
        name: String [0],
        partitions: Vec<OffsetFetchResponsePartition> [0],
    }
}

message! {
    /// For a partition.
    pub struct OffsetFetchResponsePartition {
        partition_index: i32 [0],
        committed_offset: i64 [0] = -1,
        committed_leader_epoch: i32 [5] = -1,
        metadata: Option<String> [0] = Some(String::new()),
        error_code: i16 [0],
    }
}

impl OffsetFetchRequest {
    /// The groups that are asked about.
    pub fn groups(self, version: i16) -> Vec<OffsetFetchGroup> {
        if version >= 8 {
            return self.groups;
        }
        vec![OffsetFetchGroup {
            group_id: self.group_id,
            topics: self.topics,
            ..OffsetFetchGroup::default()
        }]
    }
}

/// The answer about these groups.
pub fn answer(mut groups: Vec<OffsetFetchResponseGroup>, version: i16) -> OffsetFetchResponse {
    if version >= 8 {
        return OffsetFetchResponse {
            groups,
            ..OffsetFetchResponse::default()
        };
    }
    let one = groups.pop().unwrap_or_default();
    OffsetFetchResponse {
        topics: one.topics,
        error_code: one.error_code,
        ..OffsetFetchResponse::default()
    }
}

/// The answer for a partition; nothing committed is an offset of -1.
pub fn partition(
    partition_index: i32,
    committed: Option<Committed>,
    error_code: i16,
) -> OffsetFetchResponsePartition {
    let told = OffsetFetchResponsePartition {
        partition_index,
        error_code,
        ..OffsetFetchResponsePartition::default()
    };
    match committed {
        None => told,
        Some(committed) => OffsetFetchResponsePartition {
            committed_offset: committed.offset.0 as i64,
            committed_leader_epoch: committed.leader_epoch,
            metadata: Some(committed.metadata),
            ..told
        },
    }
}
