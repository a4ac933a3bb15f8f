//! Kafka's error codes, and which of them stands for a refusal of the engine.

use crate::base::BatchError;
use crate::base::group::GroupError;
use crate::engine::EngineError;

macro_rules! codes {
    ($($name:ident = $code:literal,)+) => {
        #[allow(missing_docs, reason = "each is Kafka's error of that name")]
        mod codes {
            $(pub const $name: i16 = $code;)+
        }
        pub use codes::*;

        /// What Kafka calls a code, if it is one that is answered here.
        pub fn name(code: i16) -> Option<&'static str> {
            match code {
                $($code => Some(stringify!($name)),)+
                _ => None,
            }
        }
    };
}

codes! {
    NONE = 0,
    OFFSET_OUT_OF_RANGE = 1,
    CORRUPT_MESSAGE = 2,
    UNKNOWN_TOPIC_OR_PARTITION = 3,
    NOT_LEADER_OR_FOLLOWER = 6,
    MESSAGE_TOO_LARGE = 10,
    OFFSET_METADATA_TOO_LARGE = 12,
    COORDINATOR_NOT_AVAILABLE = 15,
    INVALID_TOPIC = 17,
    NOT_ENOUGH_REPLICAS = 19,
    INVALID_REQUIRED_ACKS = 21,
    ILLEGAL_GENERATION = 22,
    INCONSISTENT_GROUP_PROTOCOL = 23,
    INVALID_GROUP_ID = 24,
    UNKNOWN_MEMBER_ID = 25,
    INVALID_SESSION_TIMEOUT = 26,
    REBALANCE_IN_PROGRESS = 27,
    INVALID_TIMESTAMP = 32,
    UNSUPPORTED_VERSION = 35,
    TOPIC_ALREADY_EXISTS = 36,
    INVALID_PARTITIONS = 37,
    INVALID_REPLICATION_FACTOR = 38,
    INVALID_REPLICA_ASSIGNMENT = 39,
    INVALID_CONFIG = 40,
    INVALID_REQUEST = 42,
    POLICY_VIOLATION = 44,
    OUT_OF_ORDER_SEQUENCE_NUMBER = 45,
    INVALID_PRODUCER_EPOCH = 47,
    SECURITY_DISABLED = 54,
    KAFKA_STORAGE_ERROR = 56,
    NON_EMPTY_GROUP = 68,
    GROUP_ID_NOT_FOUND = 69,
    FETCH_SESSION_ID_NOT_FOUND = 70,
    UNSUPPORTED_COMPRESSION_TYPE = 76,
    MEMBER_ID_REQUIRED = 79,
    GROUP_MAX_SIZE_REACHED = 81,
    FENCED_INSTANCE_ID = 82,
    ELECTION_NOT_NEEDED = 84,
    NO_REASSIGNMENT_IN_PROGRESS = 85,
    GROUP_SUBSCRIBED_TO_TOPIC = 86,
    INVALID_RECORD = 87,
    UNKNOWN_TOPIC_ID = 100,
}

/// The code for a refusal, chosen by what Kafka's clients do on it: what may pass is one that they try again on.
pub fn code(error: &EngineError) -> i16 {
    match error {
        EngineError::UnknownTopic(_) | EngineError::UnknownPartition(_) => {
            UNKNOWN_TOPIC_OR_PARTITION
        }
        EngineError::TopicExists(_) => TOPIC_ALREADY_EXISTS,
        // No request of Kafka's names a queue.
        EngineError::InvalidRequest(_)
        | EngineError::UnknownQueue(_)
        | EngineError::QueueExists(_) => INVALID_REQUEST,
        EngineError::TopicInUse(_) => POLICY_VIOLATION,
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
