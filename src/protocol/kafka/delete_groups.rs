//! DeleteGroups, and OffsetDelete, which deletes some of a group's offsets.

use crate::protocol::kafka::wire::message;

message! {
    /// Which groups.
    pub struct DeleteGroupsRequest {
        groups_names: Vec<String> [0],
    }
}

message! {
    /// The answer.
    pub struct DeleteGroupsResponse {
        throttle_time_ms: i32 [0],
        results: Vec<DeletableGroupResult> [0],
    }
}

message! {
    /// What became of a group.
    pub struct DeletableGroupResult {
        group_id: String [0],
        error_code: i16 [0],
    }
}

message! {
    /// Which offsets.
    pub struct OffsetDeleteRequest {
        group_id: String [0],
        topics: Vec<OffsetDeleteRequestTopic> [0],
    }
}

message! {
    /// Which of a topic.
    pub struct OffsetDeleteRequestTopic {
        name: String [0],
        partitions: Vec<i32> [0],
    }
}

message! {
    /// The answer.
    pub struct OffsetDeleteResponse {
        error_code: i16 [0],
        throttle_time_ms: i32 [0],
        topics: Vec<OffsetDeleteResponseTopic> [0],
    }
}

message! {
    /// For a topic.
    pub struct OffsetDeleteResponseTopic {
        name: String [0],
        partitions: Vec<OffsetDeleteResponsePartition> [0],
    }
}

message! {
    /// For a partition.
    pub struct OffsetDeleteResponsePartition {
        partition_index: i32 [0],
        error_code: i16 [0],
    }
}
