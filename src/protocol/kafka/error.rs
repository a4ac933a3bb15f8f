//! Kafka's error codes, and which of them stands for a refusal of the engine.

use crate::base::BatchError;
use crate::base::group::GroupError;
use crate::engine::EngineError;

#[allow(missing_docs, reason = "each is Kafka's error of that name")]
mod codes {
    pub const NONE: i16 = 0;
    pub const OFFSET_OUT_OF_RANGE: i16 = 1;
    pub const CORRUPT_MESSAGE: i16 = 2;
    pub const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
    pub const NOT_LEADER_OR_FOLLOWER: i16 = 6;
    pub const MESSAGE_TOO_LARGE: i16 = 10;
    pub const OFFSET_METADATA_TOO_LARGE: i16 = 12;
    pub const COORDINATOR_NOT_AVAILABLE: i16 = 15;
    pub const INVALID_TOPIC: i16 = 17;
    pub const NOT_ENOUGH_REPLICAS: i16 = 19;
    pub const INVALID_REQUIRED_ACKS: i16 = 21;
    pub const ILLEGAL_GENERATION: i16 = 22;
    pub const INCONSISTENT_GROUP_PROTOCOL: i16 = 23;
    pub const INVALID_GROUP_ID: i16 = 24;
    pub const UNKNOWN_MEMBER_ID: i16 = 25;
    pub const INVALID_SESSION_TIMEOUT: i16 = 26;
    pub const REBALANCE_IN_PROGRESS: i16 = 27;
    pub const INVALID_TIMESTAMP: i16 = 32;
    pub const UNSUPPORTED_VERSION: i16 = 35;
    pub const TOPIC_ALREADY_EXISTS: i16 = 36;
    pub const INVALID_PARTITIONS: i16 = 37;
    pub const INVALID_REPLICATION_FACTOR: i16 = 38;
    pub const INVALID_REPLICA_ASSIGNMENT: i16 = 39;
    pub const INVALID_CONFIG: i16 = 40;
    pub const INVALID_REQUEST: i16 = 42;
    pub const OUT_OF_ORDER_SEQUENCE_NUMBER: i16 = 45;
    pub const INVALID_PRODUCER_EPOCH: i16 = 47;
    pub const SECURITY_DISABLED: i16 = 54;
    pub const KAFKA_STORAGE_ERROR: i16 = 56;
    pub const NON_EMPTY_GROUP: i16 = 68;
    pub const GROUP_ID_NOT_FOUND: i16 = 69;
    pub const FETCH_SESSION_ID_NOT_FOUND: i16 = 70;
    pub const UNSUPPORTED_COMPRESSION_TYPE: i16 = 76;
    pub const MEMBER_ID_REQUIRED: i16 = 79;
    pub const GROUP_MAX_SIZE_REACHED: i16 = 81;
    pub const FENCED_INSTANCE_ID: i16 = 82;
    pub const INVALID_RECORD: i16 = 87;
    pub const UNKNOWN_TOPIC_ID: i16 = 100;
}
pub use codes::*;

/// The code for a refusal, chosen by what Kafka's clients do on it: what may pass is one that they try again on.
pub fn code(error: &EngineError) -> i16 {
    match error {
        EngineError::UnknownTopic(_) | EngineError::UnknownPartition(_) => {
            UNKNOWN_TOPIC_OR_PARTITION
        }
        EngineError::TopicExists(_) => TOPIC_ALREADY_EXISTS,
        EngineError::InvalidRequest(_) => INVALID_REQUEST,
        EngineError::InvalidPartitions(_) => INVALID_PARTITIONS,
        EngineError::InvalidSetting(_) => INVALID_CONFIG,
        EngineError::BadBatch(error) => batch_code(error),
        EngineError::BatchTooLarge { .. } => MESSAGE_TOO_LARGE,
        EngineError::InvalidTimestamp { .. } => INVALID_TIMESTAMP,
        EngineError::OffsetOutOfRange { .. } => OFFSET_OUT_OF_RANGE,
        EngineError::OutOfOrder { .. } => OUT_OF_ORDER_SEQUENCE_NUMBER,
        EngineError::Fenced { .. } => INVALID_PRODUCER_EPOCH,
        // Nothing was appended, and it may pass.
        EngineError::Overloaded(_) => NOT_ENOUGH_REPLICAS,
        EngineError::DiskFull | EngineError::Damaged(_) | EngineError::StorageFailed(_) => {
            KAFKA_STORAGE_ERROR
        }
        // Look for the leader again: by then the broker is back.
        EngineError::Stopping => NOT_LEADER_OR_FOLLOWER,
    }
}

/// The same for a request that names topics by their ids, if `has_ids`.
pub fn code_for(error: &EngineError, has_ids: bool) -> i16 {
    match error {
        EngineError::UnknownTopic(_) if has_ids => UNKNOWN_TOPIC_ID,
        error => code(error),
    }
}

/// The code for a refusal of a group's coordinator.
pub fn group_code(error: &GroupError) -> i16 {
    match error {
        GroupError::InvalidName => INVALID_GROUP_ID,
        GroupError::InvalidSession => INVALID_SESSION_TIMEOUT,
        GroupError::InconsistentProtocol => INCONSISTENT_GROUP_PROTOCOL,
        GroupError::MemberIdRequired(_) => MEMBER_ID_REQUIRED,
        GroupError::UnknownMember => UNKNOWN_MEMBER_ID,
        GroupError::FencedInstance => FENCED_INSTANCE_ID,
        GroupError::IllegalGeneration => ILLEGAL_GENERATION,
        GroupError::Rebalancing => REBALANCE_IN_PROGRESS,
        GroupError::Full => GROUP_MAX_SIZE_REACHED,
        GroupError::TooLarge => MESSAGE_TOO_LARGE,
        GroupError::MetadataTooLarge => OFFSET_METADATA_TOO_LARGE,
        GroupError::NotFound => GROUP_ID_NOT_FOUND,
        GroupError::NotEmpty => NON_EMPTY_GROUP,
        // Clients look for the coordinator again, and try again.
        GroupError::NotStored(_) => COORDINATOR_NOT_AVAILABLE,
    }
}

/// The same for an outcome.
pub fn group_result(result: &Result<(), GroupError>) -> i16 {
    result.as_ref().err().map_or(NONE, group_code)
}

fn batch_code(error: &BatchError) -> i16 {
    match error {
        BatchError::Crc { .. } | BatchError::Truncated { .. } => CORRUPT_MESSAGE,
        BatchError::Length(bytes) if *bytes > 0 => MESSAGE_TOO_LARGE,
        BatchError::Length(_) => CORRUPT_MESSAGE,
        BatchError::Magic(_) | BatchError::Counts(_) | BatchError::Attributes(_) => INVALID_RECORD,
    }
}
