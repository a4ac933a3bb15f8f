//! ListOffsets: the first, the last, or the one that a time stands for.

use crate::base::batch::LEADER_EPOCH;
use crate::base::{Offset, TimestampMs};
use crate::engine::{EngineError, OffsetQuery};
use crate::protocol::kafka::error;
use crate::protocol::kafka::wire::message;

message! {
    /// Of which partitions.
    pub struct ListOffsetsRequest {
        replica_id: i32 [0] = -1,
        isolation_level: i8 [2],
        topics: Vec<ListOffsetsTopic> [0],
        timeout_ms: i32 [10],
    }
}

message! {
    /// Of which partitions of a topic.
    pub struct ListOffsetsTopic {
        name: String [0],
        partitions: Vec<ListOffsetsPartition> [0],
    }
}

message! {
    /// Which offset of a partition: a time, or one of the negative numbers that stand for something else.
    pub struct ListOffsetsPartition {
        partition_index: i32 [0],
        current_leader_epoch: i32 [4] = -1,
        timestamp: i64 [0],
    }
}

message! {
    /// The answer.
    pub struct ListOffsetsResponse {
        throttle_time_ms: i32 [2],
        topics: Vec<ListOffsetsTopicResponse> [0],
    }
}

message! {
    /// For one topic.
    pub struct ListOffsetsTopicResponse {
        name: String [0],
        partitions: Vec<ListOffsetsPartitionResponse> [0],
    }
}

message! {
    /// For one partition.
    pub struct ListOffsetsPartitionResponse {
        partition_index: i32 [0],
        error_code: i16 [0],
        timestamp: i64 [1] = -1,
        offset: i64 [1] = -1,
        leader_epoch: i32 [4] = -1,
    }
}

/// What a timestamp of a request asks for. `None`: something that the served versions do not have.
pub fn query(timestamp: i64) -> Option<OffsetQuery> {
    match timestamp {
        -1 => Some(OffsetQuery::Latest),
        -2 => Some(OffsetQuery::Earliest),
        0.. => Some(OffsetQuery::AtTime(TimestampMs(timestamp))),
        _ => None,
    }
}

/// The answer for one partition.
pub fn partition(
    partition_index: i32,
    query: Option<OffsetQuery>,
    found: Result<(Offset, Option<TimestampMs>), EngineError>,
) -> ListOffsetsPartitionResponse {
    let mut answer = ListOffsetsPartitionResponse {
        partition_index,
        ..ListOffsetsPartitionResponse::default()
    };
    match (found, query) {
        (Err(refusal), _) => answer.error_code = error::code(&refusal),
        // No record is as young: an offset would be read as one that is.
        (Ok((_, None)), Some(OffsetQuery::AtTime(_)) | None) => {}
        (Ok((offset, timestamp)), _) => {
            answer.offset = offset.0 as i64;
            answer.timestamp = timestamp.map_or(-1, |time| time.0);
            answer.leader_epoch = LEADER_EPOCH;
        }
    }
    answer
}
