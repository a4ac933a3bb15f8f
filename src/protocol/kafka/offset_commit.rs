//! OffsetCommit: where a group goes on.

use crate::base::group::Committed;
use crate::base::{Offset, TimestampMs};
use crate::protocol::kafka::wire::message;

message! {
    /// Which offsets, by whom.
    pub struct OffsetCommitRequest {
        group_id: String [0],
        generation_id: i32 [1] = -1,
        member_id: String [1],
        group_instance_id: Option<String> [7],
        retention_time_ms: i64 [2, 4] = -1,
        topics: Vec<OffsetCommitRequestTopic> [0],
    }
}

message! {
    /// Of a topic.
    pub struct OffsetCommitRequestTopic {
        name: String [0],
        partitions: Vec<OffsetCommitRequestPartition> [0],
    }
}

message! {
    /// Of a partition.
    pub struct OffsetCommitRequestPartition {
        partition_index: i32 [0],
        committed_offset: i64 [0],
        committed_leader_epoch: i32 [6] = -1,
        committed_metadata: Option<String> [0],
    }
}

message! {
    /// The answer.
    pub struct OffsetCommitResponse {
        throttle_time_ms: i32 [3],
        topics: Vec<OffsetCommitResponseTopic> [0],
    }
}

message! {
    /// For a topic.
    pub struct OffsetCommitResponseTopic {
        name: String [0],
        partitions: Vec<OffsetCommitResponsePartition> [0],
    }
}

message! {
    /// For a partition.
    pub struct OffsetCommitResponsePartition {
        partition_index: i32 [0],
        error_code: i16 [0],
    }
}

impl OffsetCommitRequestPartition {
    /// What is to be kept. `None`: no offset that a record can have.
    pub fn committed(self) -> Option<Committed> {
        Some(Committed {
            offset: Offset(u64::try_from(self.committed_offset).ok()?),
            leader_epoch: self.committed_leader_epoch,
            metadata: self.committed_metadata.unwrap_or_default(),
            at: TimestampMs(0),
        })
    }
}
