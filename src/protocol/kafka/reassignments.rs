//! Moving partitions between brokers, and electing their leaders: on a single node none moves, and each leads what it has. What
//! is asked for and is so already is answered with success, or with Kafka's word for it; anything else is refused.

use crate::protocol::kafka::error;
use crate::protocol::kafka::wire::message;

message! {
    /// ListPartitionReassignments. Of which partitions; all, where there is no list.
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

message! {
    /// AlterPartitionReassignments: partitions that are to move.
    pub struct ReassignRequest {
        timeout_ms: i32 [0],
        allow_replication_factor_change: bool [1] = true,
        topics: Vec<ReassignTopic> [0],
    }
}

message! {
    /// Of a topic.
    pub struct ReassignTopic {
        name: String [0],
        partitions: Vec<ReassignPartition> [0],
    }
}

message! {
    /// One partition, and where to; `None`: a move that is under way is to end.
    pub struct ReassignPartition {
        partition_index: i32 [0],
        replicas: Option<Vec<i32>> [0],
    }
}

message! {
    /// The answer.
    pub struct ReassignResponse {
        throttle_time_ms: i32 [0],
        allow_replication_factor_change: bool [1] = true,
        error_code: i16 [0],
        error_message: Option<String> [0],
        responses: Vec<ReassignedTopic> [0],
    }
}

message! {
    /// For one topic.
    pub struct ReassignedTopic {
        name: String [0],
        partitions: Vec<OutcomePartition> [0],
    }
}

message! {
    /// ElectLeaders: of which partitions; all, where there is no list.
    pub struct ElectRequest {
        election_type: i8 [1],
        topic_partitions: Option<Vec<ElectTopic>> [0],
        timeout_ms: i32 [0],
    }
}

message! {
    /// Of which partitions of a topic.
    pub struct ElectTopic {
        topic: String [0],
        partitions: Vec<i32> [0],
    }
}

message! {
    /// The answer.
    pub struct ElectResponse {
        throttle_time_ms: i32 [0],
        error_code: i16 [1],
        replica_election_results: Vec<ElectedTopic> [0],
    }
}

message! {
    /// For one topic.
    pub struct ElectedTopic {
        topic: String [0],
        partition_result: Vec<OutcomePartition> [0],
    }
}

message! {
    /// What became of a partition.
    pub struct OutcomePartition {
        partition_index: i32 [0],
        error_code: i16 [0],
        error_message: Option<String> [0],
    }
}

fn outcome(partition_index: i32, error_code: i16, line: &str) -> OutcomePartition {
    OutcomePartition {
        partition_index,
        error_code,
        error_message: (error_code != error::NONE).then(|| line.to_owned()),
    }
}

/// What becomes of a move. `leader` is the broker that has the partition, if there is one.
pub fn reassigned(asked: &ReassignPartition, leader: Option<i32>) -> OutcomePartition {
    let (code, line) = match (leader, &asked.replicas) {
        (None, _) => (
            error::UNKNOWN_TOPIC_OR_PARTITION,
            "there is no such partition",
        ),
        (_, None) => (
            error::NO_REASSIGNMENT_IN_PROGRESS,
            "nothing moves on a single node",
        ),
        (Some(leader), Some(wanted)) if *wanted == [leader] => (error::NONE, ""),
        _ => (
            error::INVALID_REPLICA_ASSIGNMENT,
            "a partition stays where it lies",
        ),
    };
    outcome(asked.partition_index, code, line)
}

/// What becomes of an election of a partition that there is, or is not.
pub fn elected(partition: i32, is_there: bool) -> OutcomePartition {
    let (code, line) = match is_there {
        true => (error::ELECTION_NOT_NEEDED, "the only replica leads"),
        false => (
            error::UNKNOWN_TOPIC_OR_PARTITION,
            "there is no such partition",
        ),
    };
    outcome(partition, code, line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_so_already_is_granted_and_nothing_moves() {
        let moved = |replicas: Option<&[i32]>, leader| {
            let asked = ReassignPartition {
                partition_index: 3,
                replicas: replicas.map(<[i32]>::to_vec),
            };
            reassigned(&asked, leader).error_code
        };
        assert_eq!(moved(Some(&[1]), Some(1)), error::NONE);
        assert_eq!(moved(None, Some(1)), error::NO_REASSIGNMENT_IN_PROGRESS);
        for wanted in [&[][..], &[0], &[1, 0]] {
            assert_eq!(
                moved(Some(wanted), Some(1)),
                error::INVALID_REPLICA_ASSIGNMENT
            );
        }
        assert_eq!(moved(Some(&[1]), None), error::UNKNOWN_TOPIC_OR_PARTITION);
        assert_eq!(elected(0, true).error_code, error::ELECTION_NOT_NEEDED);
        assert_eq!(
            elected(0, false).error_code,
            error::UNKNOWN_TOPIC_OR_PARTITION
        );
    }
}
