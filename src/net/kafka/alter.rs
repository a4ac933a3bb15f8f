//! Changing topics for administrators who speak Kafka.

use crate::engine::{AlterTopic, Engine, EngineError, TopicChange, TopicRef};
use crate::net::kafka::topics;
use crate::protocol::kafka::alter_configs::{self, AlterConfigsResponse, Asked};
use crate::protocol::kafka::create_partitions::{
    self, CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopic,
};
use crate::protocol::kafka::error;
use crate::protocol::kafka::topic_settings::Refusal;

pub(super) async fn configs<E: Engine>(
    engine: &E,
    asked: Vec<Asked>,
    is_trial: bool,
) -> AlterConfigsResponse {
    let mut responses = Vec::with_capacity(asked.len());
    for one in asked {
        let outcome = match one.change {
            Ok(change) => alter(engine, &one.resource_name, change, is_trial).await,
            Err(refusal) => Err(refusal),
        };
        let (kind, name) = (one.resource_type, one.resource_name);
        responses.push(alter_configs::altered(kind, name, outcome));
    }
    AlterConfigsResponse {
        responses,
        ..AlterConfigsResponse::default()
    }
}

pub(super) async fn partitions<E: Engine>(
    engine: &E,
    request: CreatePartitionsRequest,
) -> CreatePartitionsResponse {
    let mut results = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let outcome = widen(engine, &topic, request.validate_only).await;
        results.push(create_partitions::created(topic.name, outcome));
    }
    CreatePartitionsResponse {
        results,
        ..CreatePartitionsResponse::default()
    }
}

async fn widen<E: Engine>(
    engine: &E,
    topic: &CreatePartitionsTopic,
    is_trial: bool,
) -> Result<(), Refusal> {
    let info = topics::find(engine, &topic.name).map_err(refusal)?;
    let change = TopicChange {
        partitions: Some(topic.wanted(&info)?),
        ..TopicChange::default()
    };
    alter(engine, &topic.name, change, is_trial).await
}

async fn alter<E: Engine>(
    engine: &E,
    topic: &str,
    change: TopicChange,
    is_trial: bool,
) -> Result<(), Refusal> {
    let asked = AlterTopic {
        topic: TopicRef::Name(topic.to_owned()),
        change,
        is_trial,
    };
    engine.alter_topic(asked).await.map(drop).map_err(refusal)
}

fn refusal(error: EngineError) -> Refusal {
    (error::code(&error), error.to_string())
}
