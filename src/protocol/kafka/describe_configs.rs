//! DescribeConfigs: every setting that means something here, with where it comes from and what it would be unasked.

use crate::base::TopicSettings;
use crate::protocol::kafka::topic_settings::{Kind, SETTINGS, Setting};
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

fn config(name: &str, value: String, kind: Kind, config_source: i8) -> DescribedConfig {
    DescribedConfig {
        name: name.to_owned(),
        value: Some(value),
        config_source,
        config_type: kind as i8,
        ..DescribedConfig::default()
    }
}

/// The settings of a topic; `unasked` is what a topic gets that says nothing.
pub fn of_topic(settings: &TopicSettings, unasked: &TopicSettings) -> Vec<DescribedConfig> {
    let one = |setting| of_setting(setting, settings, unasked);
    SETTINGS.iter().map(one).collect()
}

fn of_setting(
    setting: &Setting,
    settings: &TopicSettings,
    unasked: &TopicSettings,
) -> DescribedConfig {
    let (value, default) = (setting.value(settings), setting.value(unasked));
    let synonym = |name: &str, value: &str, source| ConfigSynonym {
        name: name.to_owned(),
        value: Some(value.to_owned()),
        source,
    };
    let mut synonyms = Vec::new();
    let mut source = DEFAULT;
    if value != default {
        source = OF_TOPIC;
        synonyms.push(synonym(setting.name, &value, OF_TOPIC));
    }
    synonyms.push(synonym(setting.broker_name, &default, DEFAULT));
    DescribedConfig {
        read_only: setting.is_fixed(),
        synonyms,
        documentation: Some(setting.help.to_owned()),
        ..config(setting.name, value, setting.kind, source)
    }
}

/// The settings of a broker: flags of its command line, and what topics get that say nothing. `listener` is where clients are
/// told that it listens.
pub fn of_broker(
    listener: &str,
    auto_create: bool,
    partitions: u32,
    producer_expiration_ms: u64,
    unasked: &TopicSettings,
) -> Vec<DescribedConfig> {
    let set = |name, value, kind| config(name, value, kind, OF_BROKER);
    let auto_create = auto_create.to_string();
    let listener = format!("PLAINTEXT://{listener}");
    let mut all = vec![
        set("advertised.listeners", listener, Kind::String),
        set("auto.create.topics.enable", auto_create, Kind::Boolean),
        config(
            "default.replication.factor",
            "1".to_owned(),
            Kind::Int,
            DEFAULT,
        ),
        set("num.partitions", partitions.to_string(), Kind::Int),
        set(
            "producer.id.expiration.ms",
            producer_expiration_ms.to_string(),
            Kind::Int,
        ),
    ];
    let of_topics = SETTINGS.iter().map(|setting| {
        let value = setting.value(unasked);
        config(setting.broker_name, value, setting.kind, DEFAULT)
    });
    all.extend(of_topics);
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

/// The answer for one resource: `found` are all its settings, or a code and a line that say why there are none.
pub fn described(
    request: &DescribeConfigsRequest,
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
            for config in &mut configs {
                if !request.include_synonyms {
                    config.synonyms.clear();
                }
                if !request.include_documentation {
                    config.documentation = None;
                }
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
