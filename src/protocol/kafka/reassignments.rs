//! ListPartitionReassignments: partitions of a single node never move, so there are none.

use crate::protocol::kafka::wire::message;

message! {
    /// Of which partitions; all, where there is no list.
    pub struct ReassignmentsRequest {
        timeout_ms: i32 [0],
        topics: Option<Vec<ReassignmentsTopic>> [0],
    }
}

message! {
    /// Of which partitions of a topic.
    pub struct ReassignmentsTopic {
        name: String [0],
        partition_indexes: Vec<i32> [0],
    }
}

message! {
    /// The answer. The list of topics is always empty, so what is in it does not matter.
    pub struct ReassignmentsResponse {
        throttle_time_ms: i32 [0],
        error_code: i16 [0],
        error_message: Option<String> [0],
        topics: Vec<i8> [0],
    }
}
