//! AlterConfigs and IncrementalAlterConfigs: what becomes of the settings of topics. The first sets everything, what it
//! does not name to what a topic gets unasked; the second only what it names.

use crate::base::{TopicChange, TopicSettings};
use crate::protocol::kafka::describe_configs;
use crate::protocol::kafka::error;
use crate::protocol::kafka::topic_settings::{Kind, Refusal, find};
use crate::protocol::kafka::wire::message;

message! {
    /// What resources are to be set to.
    pub struct AlterConfigsRequest {
        resources: Vec<AlterConfigsResource> [0],
        validate_only: bool [0],
    }
}

message! {
    /// All of one resource.
    pub struct AlterConfigsResource {
        resource_type: i8 [0],
        resource_name: String [0],
        configs: Vec<AlterableConfig> [0],
    }
}

message! {
    /// A setting.
    pub struct AlterableConfig {
        name: String [0],
        value: Option<String> [0],
    }
}

message! {
    /// What is to become of settings of resources.
    pub struct IncrementalAlterConfigsRequest {
        resources: Vec<IncrementalResource> [0],
        validate_only: bool [0],
    }
}

message! {
    /// Of one resource.
    pub struct IncrementalResource {
        resource_type: i8 [0],
        resource_name: String [0],
        configs: Vec<IncrementalConfig> [0],
    }
}

message! {
    /// Of one setting.
    pub struct IncrementalConfig {
        name: String [0],
        config_operation: i8 [0],
        value: Option<String> [0],
    }
}

message! {
    /// The answer to both.
    pub struct AlterConfigsResponse {
        throttle_time_ms: i32 [0],
        responses: Vec<AlteredResource> [0],
    }
}

message! {
    /// For one resource.
    pub struct AlteredResource {
        error_code: i16 [0],
        error_message: Option<String> [0],
        resource_type: i8 [0],
        resource_name: String [0],
    }
}

/// What may be done to a setting.
const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

/// What is asked of one resource.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Asked {
    /// Of which type it is.
    pub resource_type: i8,
    /// Its name.
    pub resource_name: String,
    /// The change, if it can be one of a topic.
    pub change: Result<TopicChange, Refusal>,
}

impl AlterConfigsRequest {
    /// The changes; `unasked` is what a topic gets that says nothing.
    pub fn asked(self, unasked: &TopicSettings) -> Vec<Asked> {
        let one = |resource: AlterConfigsResource| {
            let set = |config: &AlterableConfig| (config.name.clone(), SET, config.value.clone());
            let operations: Vec<_> = resource.configs.iter().map(set).collect();
            let all = TopicChange::to(*unasked);
            Asked {
                change: change(resource.resource_type, all, &operations, unasked),
                resource_type: resource.resource_type,
                resource_name: resource.resource_name,
            }
        };
        self.resources.into_iter().map(one).collect()
    }
}

impl IncrementalAlterConfigsRequest {
    /// The changes; `unasked` is what a topic gets that says nothing.
    pub fn asked(self, unasked: &TopicSettings) -> Vec<Asked> {
        let one = |resource: IncrementalResource| {
            let each = |config: &IncrementalConfig| {
                let (name, value) = (config.name.clone(), config.value.clone());
                (name, config.config_operation, value)
            };
            let operations: Vec<_> = resource.configs.iter().map(each).collect();
            let none = TopicChange::default();
            Asked {
                change: change(resource.resource_type, none, &operations, unasked),
                resource_type: resource.resource_type,
                resource_name: resource.resource_name,
            }
        };
        self.resources.into_iter().map(one).collect()
    }
}

type Operation = (String, i8, Option<String>);

fn change(
    resource_type: i8,
    mut change: TopicChange,
    operations: &[Operation],
    unasked: &TopicSettings,
) -> Result<TopicChange, Refusal> {
    if resource_type != describe_configs::TOPIC {
        let line =
            "only the settings of topics can be changed: a broker's are flags of `millrace serve`";
        return Err((error::INVALID_REQUEST, line.to_owned()));
    }
    for (number, (name, operation, value)) in operations.iter().enumerate() {
        let setting = find(name)?;
        if operations[..number]
            .iter()
            .any(|(before, ..)| before == name)
        {
            let line = format!("{name} is named twice");
            return Err((error::INVALID_REQUEST, line));
        }
        let is_list = setting.kind == Kind::List;
        match (*operation, value.as_deref()) {
            (DELETE, _) => setting.set(&mut change, &setting.value(unasked))?,
            (SET, Some(value)) => setting.set(&mut change, value)?,
            // A list has one thing in it, which is there and stays.
            (APPEND, Some(value)) if is_list => setting.set(&mut change, value)?,
            (SUBTRACT, Some(value)) if is_list && value != setting.value(unasked) => {}
            (SET | APPEND | SUBTRACT, _) => {
                let line =
                    format!("{name}: neither a value to be set nor one of a list that can go");
                return Err((error::INVALID_CONFIG, line));
            }
            (other, _) => {
                let line = format!("{name}: no operation has the number {other}");
                return Err((error::INVALID_REQUEST, line));
            }
        }
    }
    Ok(change)
}

/// The answer for one resource.
pub fn altered(
    resource_type: i8,
    resource_name: String,
    outcome: Result<(), Refusal>,
) -> AlteredResource {
    let (error_code, error_message) = match outcome {
        Ok(()) => (error::NONE, None),
        Err((code, line)) => (code, Some(line)),
    };
    AlteredResource {
        error_code,
        error_message,
        resource_type,
        resource_name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn incremental(configs: &[(&str, i8, Option<&str>)]) -> Result<TopicChange, Refusal> {
        let operations: Vec<Operation> = configs
            .iter()
            .map(|(name, operation, value)| {
                ((*name).to_owned(), *operation, value.map(str::to_owned))
            })
            .collect();
        let unasked = TopicSettings::default();
        let none = TopicChange::default();
        change(describe_configs::TOPIC, none, &operations, &unasked)
    }

    #[test]
    fn only_what_is_named_is_changed() {
        let asked = [
            ("segment.ms", SET, Some("5000")),
            ("max.message.bytes", DELETE, None),
            ("cleanup.policy", APPEND, Some("delete")),
            ("cleanup.policy.x", SUBTRACT, Some("compact")),
        ];
        let expected = TopicChange {
            segment_ms: Some(5_000),
            batch_bytes_max: Some(TopicSettings::default().batch_bytes_max),
            ..TopicChange::default()
        };
        assert_eq!(incremental(&asked[..3]), Ok(expected));
        for wrong in [
            &asked[3..],
            &[("segment.ms", SET, None)],
            &[("segment.ms", APPEND, Some("1"))],
            &[("cleanup.policy", SUBTRACT, Some("delete"))],
            &[("segment.ms", 9, Some("1"))],
            &[
                ("segment.ms", SET, Some("1000")),
                ("segment.ms", DELETE, None),
            ],
        ] {
            let (_, line) = incremental(wrong).expect_err("refused");
            assert!(line.contains(wrong[0].0), "{line}");
        }
    }

    #[test]
    fn what_is_not_named_is_set_to_what_it_is_unasked() {
        let unasked = TopicSettings {
            segment_ms: 77_000,
            ..TopicSettings::default()
        };
        let request = AlterConfigsRequest {
            resources: vec![
                AlterConfigsResource {
                    resource_type: describe_configs::TOPIC,
                    resource_name: "t".to_owned(),
                    configs: vec![AlterableConfig {
                        name: "max.message.bytes".to_owned(),
                        value: Some("100".to_owned()),
                    }],
                },
                AlterConfigsResource {
                    resource_type: describe_configs::BROKER,
                    ..AlterConfigsResource::default()
                },
            ],
            validate_only: false,
        };
        let asked = request.asked(&unasked);
        let expected = TopicSettings {
            batch_bytes_max: 100,
            ..unasked
        };
        assert_eq!(asked[0].change, Ok(TopicChange::to(expected)));
        let refused = asked[1].change.as_ref().expect_err("no topic");
        assert_eq!(refused.0, error::INVALID_REQUEST);
    }
}
