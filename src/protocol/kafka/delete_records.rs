//! DeleteRecords: partitions give up their beginnings.

use crate::base::Offset;
use crate::engine::EngineError;
use crate::protocol::kafka::error;
use crate::protocol::kafka::wire::message;

message! {
    /// What is to go.
    pub struct DeleteRecordsRequest {
        topics: Vec<DeleteRecordsTopic> [0],
        timeout_ms: i32 [0],
    }
}

message! {
    /// Of one topic.
    pub struct DeleteRecordsTopic {
        name: String [0],
        partitions: Vec<DeleteRecordsPartition> [0],
    }
}

message! {
    /// Everything below an offset; -1: all that can be read.
    pub struct DeleteRecordsPartition {
        partition_index: i32 [0],
        offset: i64 [0],
    }
}

message! {
    /// The answer.
    pub struct DeleteRecordsResponse {
        throttle_time_ms: i32 [0],
        topics: Vec<DeleteRecordsTopicResult> [0],
    }
}

message! {
    /// For one topic.
    pub struct DeleteRecordsTopicResult {
        name: String [0],
        partitions: Vec<DeleteRecordsPartitionResult> [0],
    }
}

message! {
    /// For one partition: the first offset that can be read now.
    pub struct DeleteRecordsPartitionResult {
        partition_index: i32 [0],
        low_watermark: i64 [0] = -1,
        error_code: i16 [0],
    }
}

impl DeleteRecordsPartition {
    /// The first offset that is to be kept: none where all that can be read is to go. The error: no such offset.
    pub fn before(&self) -> Result<Option<Offset>, EngineError> {
        match self.offset {
            -1 => Ok(None),
            offset => match u64::try_from(offset) {
                Ok(offset) => Ok(Some(Offset(offset))),
                Err(_) => Err(EngineError::OffsetOutOfRange {
                    asked: Offset(offset as u64),
                    log_start: Offset(0),
                    high_watermark: Offset(0),
                }),
            },
        }
    }
}

/// The answer for one partition.
pub fn deleted(
    partition_index: i32,
    outcome: Result<Offset, EngineError>,
) -> DeleteRecordsPartitionResult {
    let (low_watermark, error_code) = match outcome {
        Ok(start) => (start.0 as i64, error::NONE),
        Err(refusal) => (-1, error::code(&refusal)),
    };
    DeleteRecordsPartitionResult {
        partition_index,
        low_watermark,
        error_code,
    }
}
