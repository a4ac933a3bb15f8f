//! CreatePartitions: more partitions for topics that live.

use crate::engine::TopicInfo;
use crate::protocol::kafka::create_topics::not_there;
use crate::protocol::kafka::error;
use crate::protocol::kafka::metadata::Cluster;
use crate::protocol::kafka::topic_settings::Refusal;
use crate::protocol::kafka::wire::message;

message! {
    /// Topics to be widened.
    pub struct CreatePartitionsRequest {
        topics: Vec<CreatePartitionsTopic> [0],
        timeout_ms: i32 [0],
        validate_only: bool [0],
    }
}

message! {
    /// One of them, and how many partitions it is to have in all.
    pub struct CreatePartitionsTopic {
        name: String [0],
        count: i32 [0],
        assignments: Option<Vec<CreatePartitionsAssignment>> [0],
    }
}

message! {
    /// Where a client wants a partition.
    pub struct CreatePartitionsAssignment {
        broker_ids: Vec<i32> [0],
    }
}

message! {
    /// The answer.
    pub struct CreatePartitionsResponse {
        throttle_time_ms: i32 [0],
        results: Vec<CreatePartitionsResult> [0],
    }
}

message! {
    /// For one topic.
    pub struct CreatePartitionsResult {
        name: String [0],
        error_code: i16 [0],
        error_message: Option<String> [0],
    }
}

impl CreatePartitionsTopic {
    /// How many partitions the topic, which is as `info` says, is to have.
    pub fn wanted(&self, info: &TopicInfo, cluster: &Cluster) -> Result<u32, Refusal> {
        let assigned = self.assignments.iter().flatten();
        for CreatePartitionsAssignment { broker_ids } in assigned {
            if !cluster.will_hold(broker_ids) {
                return Err(not_there(broker_ids));
            }
        }
        let more = i64::from(self.count) - i64::from(info.partitions);
        let is_odd = |all: &Vec<_>| all.len() as i64 != more;
        if more > 0 && self.assignments.as_ref().is_some_and(is_odd) {
            let line = format!("{more} partitions more, and another number assigned");
            return Err((error::INVALID_REPLICA_ASSIGNMENT, line));
        }
        let wanted = u32::try_from(self.count).ok();
        wanted
            .filter(|count| *count > info.partitions)
            .ok_or_else(|| {
                let line = format!(
                    "topic {} has {} partitions: it can get more, not {}",
                    self.name, info.partitions, self.count
                );
                (error::INVALID_PARTITIONS, line)
            })
    }
}

/// The answer for one topic.
pub fn created(name: String, outcome: Result<(), Refusal>) -> CreatePartitionsResult {
    let (error_code, error_message) = match outcome {
        Ok(()) => (error::NONE, None),
        Err((code, line)) => (code, Some(line)),
    };
    CreatePartitionsResult {
        name,
        error_code,
        error_message,
    }
}
