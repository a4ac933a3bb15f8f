//! OffsetForLeaderEpoch: where an epoch of a partition's leader ended. A single node has led from the beginning, so the only
//! epoch there is ends where the partition does.

use crate::base::Offset;
use crate::base::batch::LEADER_EPOCH;
use crate::engine::EngineError;
use crate::protocol::kafka::error;
use crate::protocol::kafka::wire::message;

message! {
    /// Of which partitions.
    pub struct LeaderEpochRequest {
        replica_id: i32 [3] = -2,
        topics: Vec<LeaderEpochTopic> [0],
    }
}

message! {
    /// Of which partitions of a topic.
    pub struct LeaderEpochTopic {
        topic: String [0],
        partitions: Vec<LeaderEpochPartition> [0],
    }
}

message! {
    /// Which epoch of a partition.
    pub struct LeaderEpochPartition {
        partition: i32 [0],
        current_leader_epoch: i32 [2] = -1,
        leader_epoch: i32 [0],
    }
}

message! {
    /// The answer.
    pub struct LeaderEpochResponse {
        throttle_time_ms: i32 [2],
        topics: Vec<LeaderEpochTopicResponse> [0],
    }
}

message! {
    /// For one topic.
    pub struct LeaderEpochTopicResponse {
        topic: String [0],
        partitions: Vec<EpochEnd> [0],
    }
}

message! {
    /// For one partition.
    pub struct EpochEnd {
        error_code: i16 [0],
        partition: i32 [0],
        leader_epoch: i32 [1] = -1,
        end_offset: i64 [0] = -1,
    }
}

/// The answer for one partition, which ends at `end`.
pub fn epoch_end(asked: &LeaderEpochPartition, end: Result<Offset, EngineError>) -> EpochEnd {
    let mut answer = EpochEnd {
        partition: asked.partition,
        ..EpochEnd::default()
    };
    match end {
        Err(refusal) => answer.error_code = error::code(&refusal),
        Ok(end) if asked.leader_epoch == LEADER_EPOCH => {
            answer.leader_epoch = LEADER_EPOCH;
            answer.end_offset = end.0 as i64;
        }
        // There never was such an epoch.
        Ok(_) => {}
    }
    answer
}
