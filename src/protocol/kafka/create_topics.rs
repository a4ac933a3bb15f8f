//! CreateTopics. A setting that is not honoured is refused by its name.

use crate::engine::{EngineError, NewTopic, TopicInfo, TopicSettings};
use crate::protocol::kafka::error;
use crate::protocol::kafka::wire::message;

message! {
    /// Topics to be made.
    pub struct CreateTopicsRequest {
        topics: Vec<CreatableTopic> [0],
        timeout_ms: i32 [0],
        validate_only: bool [1],
    }
}

message! {
    /// One of them.
    pub struct CreatableTopic {
        name: String [0],
        num_partitions: i32 [0],
        replication_factor: i16 [0],
        assignments: Vec<CreatableAssignment> [0],
        configs: Vec<CreatableConfig> [0],
    }
}

message! {
    /// Where a client wants a partition.
    pub struct CreatableAssignment {
        partition_index: i32 [0],
        broker_ids: Vec<i32> [0],
    }
}

message! {
    /// A setting.
    pub struct CreatableConfig {
        name: String [0],
        value: Option<String> [0],
    }
}

message! {
    /// The answer.
    pub struct CreateTopicsResponse {
        throttle_time_ms: i32 [2],
        topics: Vec<CreatedTopic> [0],
    }
}

message! {
    /// For one topic.
    pub struct CreatedTopic {
        name: String [0],
        topic_id: u128 [7],
        error_code: i16 [0],
        error_message: Option<String> [1],
        num_partitions: i32 [5] = -1,
        replication_factor: i16 [5] = -1,
        configs: Option<Vec<CreatedConfig>> [5] = Some(Vec::new()),
    }
}

message! {
    /// A setting of a topic that was made.
    pub struct CreatedConfig {
        name: String [0],
        value: Option<String> [0],
        read_only: bool [0],
        config_source: i8 [0],
        is_sensitive: bool [0],
    }
}

/// A code and a line for a person.
pub type Refusal = (i16, String);

/// The topic that a request wants; `partitions` and `settings` are what it gets unasked.
pub fn wanted(
    asked: &CreatableTopic,
    partitions: u32,
    mut settings: TopicSettings,
) -> Result<NewTopic, Refusal> {
    if !asked.assignments.is_empty() {
        let line = "partitions lie where their number says: leave the assignment out";
        return Err((error::INVALID_REPLICA_ASSIGNMENT, line.to_owned()));
    }
    if !matches!(asked.replication_factor, -1 | 1) {
        let line = "a single node keeps one replica: ask for a replication factor of 1";
        return Err((error::INVALID_REPLICATION_FACTOR, line.to_owned()));
    }
    let partitions = match asked.num_partitions {
        -1 => partitions,
        count => u32::try_from(count)
            .ok()
            .filter(|count| *count > 0)
            .ok_or_else(|| {
                let line = format!("a topic has at least one partition, not {count}");
                (error::INVALID_PARTITIONS, line)
            })?,
    };
    for config in &asked.configs {
        let value = config.value.as_deref().unwrap_or_default();
        set(&mut settings, &config.name, value)?;
    }
    Ok(NewTopic {
        name: asked.name.clone(),
        partitions,
        settings,
    })
}

fn set(settings: &mut TopicSettings, name: &str, value: &str) -> Result<(), Refusal> {
    let number = || {
        let line = format!("{name} must be a number, not {value:?}");
        value
            .parse::<u64>()
            .map_err(|_| (error::INVALID_CONFIG, line))
    };
    match (name, value) {
        ("segment.bytes", _) => settings.segment_bytes = number()?,
        ("segment.ms", _) => settings.segment_ms = number()?,
        // What is so anyway.
        ("cleanup.policy", "delete")
        | ("compression.type", "producer")
        | ("message.timestamp.type", "CreateTime")
        | ("min.insync.replicas", "1")
        | ("retention.ms" | "retention.bytes", "-1") => {}
        _ => {
            let line = format!("the setting {name}={value} is not supported: leave it out");
            return Err((error::INVALID_CONFIG, line));
        }
    }
    Ok(())
}

/// The answer for a topic that was made, or would be.
pub fn created(name: &str, partitions: u32, made: Option<&TopicInfo>) -> CreatedTopic {
    CreatedTopic {
        name: name.to_owned(),
        topic_id: made.map_or(0, |info| info.id.0),
        num_partitions: partitions as i32,
        replication_factor: 1,
        ..CreatedTopic::default()
    }
}

/// The answer for one that was refused.
pub fn refused(name: &str, (error_code, line): Refusal) -> CreatedTopic {
    CreatedTopic {
        name: name.to_owned(),
        error_code,
        error_message: Some(line),
        ..CreatedTopic::default()
    }
}

/// The engine's refusal of a create.
pub fn refusal(error: &EngineError) -> Refusal {
    let code = match error {
        EngineError::InvalidRequest(line) if line.contains("partitions") => {
            error::INVALID_PARTITIONS
        }
        EngineError::InvalidRequest(line) if line.contains("segment_") => error::INVALID_CONFIG,
        EngineError::InvalidRequest(_) => error::INVALID_TOPIC,
        other => error::code(other),
    };
    (code, error.to_string())
}
