//! DescribeConfigs: every setting that means something here, with where it comes from. None can be changed yet.

use crate::base::limits::{BATCH_BYTES_MAX, SEGMENT_BYTES_DEFAULT, SEGMENT_MS_DEFAULT};
use crate::engine::TopicSettings;
use crate::protocol::kafka::wire::message;

message! {
    /// Of which resources.
    pub struct DescribeConfigsRequest {
        resources: Vec<ConfigResource> [0],
        include_synonyms: bool [1],
        include_documentation: bool [3],
    }
}

message! {
    /// Which settings of a topic or a broker; all, where there is no list.
    pub struct ConfigResource {
        resource_type: i8 [0],
        resource_name: String [0],
        configuration_keys: Option<Vec<String>> [0],
    }
}

message! {
    /// The answer.
    pub struct DescribeConfigsResponse {
        throttle_time_ms: i32 [0],
        results: Vec<DescribedResource> [0],
    }
}

message! {
    /// For one resource.
    pub struct DescribedResource {
        error_code: i16 [0],
        error_message: Option<String> [0],
        resource_type: i8 [0],
        resource_name: String [0],
        configs: Vec<DescribedConfig> [0],
    }
}

message! {
    /// One setting.
    pub struct DescribedConfig {
        name: String [0],
        value: Option<String> [0],
        read_only: bool [0] = true,
        config_source: i8 [1] = DEFAULT,
        is_sensitive: bool [0],
        synonyms: Vec<ConfigSynonym> [1],
        config_type: i8 [3],
        documentation: Option<String> [3],
    }
}

message! {
    /// Where else a setting is set.
    pub struct ConfigSynonym {
        name: String [0],
        value: Option<String> [0],
        source: i8 [0],
    }
}

/// The type of a resource: a topic.
pub const TOPIC: i8 = 2;
/// The type of a resource: a broker.
pub const BROKER: i8 = 4;

/// Where a setting comes from: the topic itself, the command line, nobody.
const OF_TOPIC: i8 = 1;
const OF_BROKER: i8 = 4;
const DEFAULT: i8 = 5;

const BOOLEAN: i8 = 1;
const STRING: i8 = 2;
const INT: i8 = 3;
const LONG: i8 = 5;
const LIST: i8 = 7;

fn config(name: &str, value: String, config_type: i8, config_source: i8) -> DescribedConfig {
    DescribedConfig {
        name: name.to_owned(),
        value: Some(value),
        config_source,
        config_type,
        ..DescribedConfig::default()
    }
}

fn fixed(name: &str, value: &str, config_type: i8) -> DescribedConfig {
    config(name, value.to_owned(), config_type, DEFAULT)
}

/// The settings of a topic.
pub fn of_topic(settings: &TopicSettings) -> Vec<DescribedConfig> {
    let number = |name, value: u64, default, config_type| {
        let source = if value == default { DEFAULT } else { OF_TOPIC };
        config(name, value.to_string(), config_type, source)
    };
    let (bytes, ms) = (settings.segment_bytes, settings.segment_ms);
    vec![
        fixed("cleanup.policy", "delete", LIST),
        fixed("compression.type", "producer", STRING),
        fixed("max.message.bytes", &BATCH_BYTES_MAX.to_string(), INT),
        fixed("message.timestamp.type", "CreateTime", STRING),
        fixed("min.insync.replicas", "1", INT),
        fixed("retention.bytes", "-1", LONG),
        fixed("retention.ms", "-1", LONG),
        number("segment.bytes", bytes, SEGMENT_BYTES_DEFAULT, LONG),
        number("segment.ms", ms, SEGMENT_MS_DEFAULT, LONG),
    ]
}

/// The settings of a broker.
pub fn of_broker(auto_create: bool, partitions: u32) -> Vec<DescribedConfig> {
    let set = |name, value, config_type| config(name, value, config_type, OF_BROKER);
    vec![
        set(
            "auto.create.topics.enable",
            auto_create.to_string(),
            BOOLEAN,
        ),
        fixed("default.replication.factor", "1", INT),
        fixed("log.cleanup.policy", "delete", LIST),
        fixed(
            "log.segment.bytes",
            &SEGMENT_BYTES_DEFAULT.to_string(),
            LONG,
        ),
        fixed("message.max.bytes", &BATCH_BYTES_MAX.to_string(), INT),
        set("num.partitions", partitions.to_string(), INT),
    ]
}

/// The answer for one resource: `found` are all its settings, or a code and a line that say why there are none.
pub fn described(
    asked: &ConfigResource,
    found: Result<Vec<DescribedConfig>, (i16, String)>,
) -> DescribedResource {
    let mut answer = DescribedResource {
        resource_type: asked.resource_type,
        resource_name: asked.resource_name.clone(),
        ..DescribedResource::default()
    };
    match found {
        Ok(mut configs) => {
            if let Some(keys) = &asked.configuration_keys {
                configs.retain(|config| keys.contains(&config.name));
            }
            answer.configs = configs;
        }
        Err((error_code, line)) => {
            answer.error_code = error_code;
            answer.error_message = Some(line);
        }
    }
    answer
}
