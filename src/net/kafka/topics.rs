//! Topics for Kafka clients: telling of them, and making and deleting them.

use crate::engine::{DeleteTopic, Engine, EngineError, NewTopic, TopicInfo, TopicRef};
use crate::net::kafka::Kafka;
use crate::protocol::kafka::create_topics::{
    self, CreatableTopic, CreateTopicsRequest, CreateTopicsResponse, CreatedTopic,
};
use crate::protocol::kafka::delete_topics::{self, DeleteTopicsRequest, DeleteTopicsResponse};
use crate::protocol::kafka::metadata::{self, MetadataRequest, MetadataResponse};
use std::collections::BTreeMap;

pub(super) async fn metadata<E: Engine>(
    engine: &E,
    kafka: &Kafka,
    request: &MetadataRequest,
    version: i16,
) -> MetadataResponse {
    let asked = request.asked(version);
    let mut found = engine.topics(asked.as_deref());
    if kafka.auto_create && request.allow_auto_topic_creation {
        for (topic, found) in asked.iter().flatten().zip(&mut found) {
            if let (TopicRef::Name(name), Err(EngineError::UnknownTopic(_))) = (topic, &found) {
                *found = make(engine, kafka, name).await;
            }
        }
    }
    metadata::answer(&kafka.cluster, asked.as_deref(), &found)
}

/// Makes a topic because somebody asked for it.
async fn make<E: Engine>(engine: &E, kafka: &Kafka, name: &str) -> Result<TopicInfo, EngineError> {
    let topic = NewTopic {
        name: name.to_owned(),
        partitions: kafka.partitions,
        settings: kafka.settings,
    };
    match engine.create_topic(topic).await {
        // Somebody else asked for it at the same time.
        Err(EngineError::TopicExists(_)) => find(engine, name),
        made => made,
    }
}

pub(super) fn find<E: Engine>(engine: &E, name: &str) -> Result<TopicInfo, EngineError> {
    let asked = [TopicRef::Name(name.to_owned())];
    let found = engine.topics(Some(&asked)).pop();
    found.unwrap_or_else(|| Err(EngineError::UnknownTopic(name.to_owned())))
}

pub(super) async fn create<E: Engine>(
    engine: &E,
    kafka: &Kafka,
    request: CreateTopicsRequest,
) -> CreateTopicsResponse {
    let mut names = BTreeMap::new();
    for asked in &request.topics {
        *names.entry(asked.name.as_str()).or_insert(0) += 1;
    }
    let mut topics = Vec::with_capacity(request.topics.len());
    for asked in &request.topics {
        if names[asked.name.as_str()] > 1 {
            topics.push(create_topics::refused(&asked.name, create_topics::twice()));
            continue;
        }
        topics.push(create_one(engine, kafka, asked, request.validate_only).await);
    }
    CreateTopicsResponse {
        topics,
        ..CreateTopicsResponse::default()
    }
}

async fn create_one<E: Engine>(
    engine: &E,
    kafka: &Kafka,
    asked: &CreatableTopic,
    validate_only: bool,
) -> CreatedTopic {
    let name = &asked.name;
    let wanted =
        match create_topics::wanted(asked, &kafka.cluster, kafka.partitions, kafka.settings) {
            Ok(wanted) => wanted,
            Err(refusal) => return create_topics::refused(name, refusal),
        };
    if validate_only {
        return match engine.check_topic(&wanted) {
            Ok(()) => create_topics::created(&wanted, None, &kafka.settings),
            Err(error) => create_topics::refused(name, create_topics::refusal(&error)),
        };
    }
    match engine.create_topic(wanted.clone()).await {
        Ok(made) => create_topics::created(&wanted, Some(&made), &kafka.settings),
        Err(error) => create_topics::refused(name, create_topics::refusal(&error)),
    }
}

pub(super) async fn delete<E: Engine>(
    engine: &E,
    request: &DeleteTopicsRequest,
) -> DeleteTopicsResponse {
    let mut responses = Vec::new();
    for topic in request.asked() {
        let asked = topic.clone();
        let outcome = engine.delete_topic(DeleteTopic { topic }).await;
        responses.push(delete_topics::deleted(&asked, outcome));
    }
    DeleteTopicsResponse {
        responses,
        ..DeleteTopicsResponse::default()
    }
}
