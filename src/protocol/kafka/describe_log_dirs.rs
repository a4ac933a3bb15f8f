//! DescribeLogDirs: how many bytes each partition of a broker takes.

use crate::protocol::kafka::wire::message;

message! {
    /// Of which partitions; all, where there is no list.
    pub struct DescribeLogDirsRequest {
        topics: Option<Vec<LogDirTopic>> [0],
    }
}

message! {
    /// Of which partitions of a topic.
    pub struct LogDirTopic {
        topic: String [0],
        partitions: Vec<i32> [0],
    }
}

message! {
    /// The answer.
    pub struct DescribeLogDirsResponse {
        throttle_time_ms: i32 [0],
        error_code: i16 [3],
        results: Vec<LogDir> [0],
    }
}

message! {
    /// A directory: there is one.
    pub struct LogDir {
        error_code: i16 [0],
        log_dir: String [0],
        topics: Vec<DescribedTopic> [0],
        total_bytes: i64 [4] = -1,
        usable_bytes: i64 [4] = -1,
    }
}

message! {
    /// A topic in it.
    pub struct DescribedTopic {
        name: String [0],
        partitions: Vec<DescribedPartition> [0],
    }
}

message! {
    /// A partition in it.
    pub struct DescribedPartition {
        partition_index: i32 [0],
        partition_size: i64 [0],
        offset_lag: i64 [0],
        is_future_key: bool [0],
    }
}

impl DescribeLogDirsRequest {
    /// Whether a partition is asked about.
    pub fn wants(&self, topic: &str, partition: i32) -> bool {
        let names = |one: &LogDirTopic| one.topic == topic && one.partitions.contains(&partition);
        self.topics
            .as_ref()
            .is_none_or(|topics| topics.iter().any(names))
    }
}

/// The answer.
pub fn answer(topics: Vec<DescribedTopic>) -> DescribeLogDirsResponse {
    let directory = LogDir {
        log_dir: "topics".to_owned(),
        topics,
        ..LogDir::default()
    };
    DescribeLogDirsResponse {
        results: vec![directory],
        ..DescribeLogDirsResponse::default()
    }
}
