//! Changing topics for administrators who speak Kafka.

use crate::base::{PartitionKey, PartitionNo};
use crate::engine::{AlterTopic, Engine, EngineError, TopicChange, TopicRef};
use crate::net::kafka::{Kafka, topics};
use crate::protocol::kafka::alter_configs::{self, AlterConfigsResponse, Asked};
use crate::protocol::kafka::create_partitions::{
    self, CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopic,
};
use crate::protocol::kafka::delete_records::{
    self, DeleteRecordsRequest, DeleteRecordsResponse, DeleteRecordsTopicResult,
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
    kafka: &Kafka,
    request: CreatePartitionsRequest,
) -> CreatePartitionsResponse {
    let mut results = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let outcome = widen(engine, kafka, &topic, request.validate_only).await;
        results.push(create_partitions::created(topic.name, outcome));
    }
    CreatePartitionsResponse {
        results,
        ..CreatePartitionsResponse::default()
    }
}

async fn widen<E: Engine>(
    engine: &E,
    kafka: &Kafka,
    topic: &CreatePartitionsTopic,
    is_trial: bool,
) -> Result<(), Refusal> {
    let info = topics::find(engine, &topic.name).map_err(refusal)?;
    let change = TopicChange {
        partitions: Some(topic.wanted(&info, &kafka.cluster)?),
        ..TopicChange::default()
    };
    alter(engine, &topic.name, change, is_trial).await
}

pub(super) async fn delete_records<E: Engine>(
    engine: &E,
    request: DeleteRecordsRequest,
) -> DeleteRecordsResponse {
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let id = engine.topic_id(&topic.name);
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for asked in &topic.partitions {
            let outcome = match (id, asked.before()) {
                (None, _) => Err(EngineError::UnknownTopic(topic.name.clone())),
                (_, Err(refusal)) => Err(refusal),
                (Some(id), Ok(before)) => {
                    let number = PartitionNo(asked.partition_index as u32);
                    engine.trim(PartitionKey::new(id, number), before).await
                }
            };
            let number = asked.partition_index;
            partitions.push(delete_records::deleted(number, outcome));
        }
        let name = topic.name;
        topics.push(DeleteRecordsTopicResult { name, partitions });
    }
    DeleteRecordsResponse {
        topics,
        ..DeleteRecordsResponse::default()
    }
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
