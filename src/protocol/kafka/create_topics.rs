//! CreateTopics. A setting that is not honoured is refused by its name.

use crate::base::{TopicChange, TopicSettings};
use crate::engine::{EngineError, NewTopic, TopicInfo};
use crate::protocol::kafka::describe_configs;
use crate::protocol::kafka::error;
use crate::protocol::kafka::metadata::Cluster;
use crate::protocol::kafka::topic_settings::{self, Refusal};
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

/// The topic that a request wants; `partitions` and `settings` are what it gets unasked.
pub fn wanted(
    asked: &CreatableTopic,
    cluster: &Cluster,
    partitions: u32,
    settings: TopicSettings,
) -> Result<NewTopic, Refusal> {
    if !matches!(asked.replication_factor, -1 | 1) {
        let line = "a single node keeps one replica: ask for a replication factor of 1";
        return Err((error::INVALID_REPLICATION_FACTOR, line.to_owned()));
    }
    let partitions = match asked.num_partitions {
        _ if !asked.assignments.is_empty() => assigned(asked, cluster)?,
        -1 => partitions,
        count => u32::try_from(count)
            .ok()
            .filter(|count| *count > 0)
            .ok_or_else(|| {
                let line = format!("a topic has at least one partition, not {count}");
                (error::INVALID_PARTITIONS, line)
            })?,
    };
    let mut change = TopicChange::default();
    for config in &asked.configs {
        let value = config.value.as_deref().unwrap_or_default();
        topic_settings::find(&config.name)?.set(&mut change, value)?;
    }
    Ok(NewTopic {
        name: asked.name.clone(),
        partitions,
        settings: change.applied_to(settings),
    })
}

/// How many partitions a request assigns to brokers.
fn assigned(asked: &CreatableTopic, cluster: &Cluster) -> Result<u32, Refusal> {
    let mut numbers: Vec<i32> = Vec::with_capacity(asked.assignments.len());
    for assignment in &asked.assignments {
        if !cluster.will_hold(&assignment.broker_ids) {
            return Err(not_there(&assignment.broker_ids));
        }
        numbers.push(assignment.partition_index);
    }
    numbers.sort_unstable();
    let count = numbers.len() as i32;
    if !numbers.into_iter().eq(0..count) || !matches!(asked.num_partitions, -1 | 0) {
        let line = "assigned partitions count from 0, each once, and no count stands beside them";
        return Err((error::INVALID_REPLICA_ASSIGNMENT, line.to_owned()));
    }
    Ok(count as u32)
}

/// The refusal of a partition that is wanted on these brokers.
pub fn not_there(broker_ids: &[i32]) -> Refusal {
    let line = format!(
        "a partition cannot be put on {broker_ids:?}: this node decides where one lies, leave the assignment out"
    );
    (error::INVALID_REPLICA_ASSIGNMENT, line)
}

/// The answer for a topic that was made, or would be. `unasked` is what a topic gets that says nothing.
pub fn created(
    wanted: &NewTopic,
    made: Option<&TopicInfo>,
    unasked: &TopicSettings,
) -> CreatedTopic {
    let configs = describe_configs::of_topic(&wanted.settings, unasked).into_iter();
    let configs = configs.map(|config| CreatedConfig {
        name: config.name,
        value: config.value,
        read_only: config.read_only,
        config_source: config.config_source,
        is_sensitive: false,
    });
    CreatedTopic {
        name: wanted.name.clone(),
        topic_id: made.map_or(0, |info| info.id.0),
        num_partitions: wanted.partitions as i32,
        replication_factor: 1,
        configs: Some(configs.collect()),
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

/// Why a topic that a request names twice is not made.
pub fn twice() -> Refusal {
    let line = "the request names this topic more than once";
    (error::INVALID_REQUEST, line.to_owned())
}

/// The engine's refusal of a create.
pub fn refusal(error: &EngineError) -> Refusal {
    let code = match error {
        EngineError::InvalidRequest(_) => error::INVALID_TOPIC,
        other => error::code(other),
    };
    (code, error.to_string())
}
