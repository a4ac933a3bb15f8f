//! DeleteTopics, by name or by id.

use crate::base::TopicId;
use crate::engine::{EngineError, TopicRef};
use crate::protocol::kafka::error;
use crate::protocol::kafka::wire::message;

message! {
    /// Topics to be deleted.
    pub struct DeleteTopicsRequest {
        topics: Vec<DeletableTopic> [6],
        topic_names: Vec<String> [0, 5],
        timeout_ms: i32 [0],
    }
}

message! {
    /// One of them.
    pub struct DeletableTopic {
        name: Option<String> [6],
        topic_id: u128 [6],
    }
}

message! {
    /// The answer.
    pub struct DeleteTopicsResponse {
        throttle_time_ms: i32 [1],
        responses: Vec<DeletedTopic> [0],
    }
}

message! {
    /// For one topic.
    pub struct DeletedTopic {
        name: Option<String> [0],
        topic_id: u128 [6],
        error_code: i16 [0],
        error_message: Option<String> [5],
    }
}

impl DeleteTopicsRequest {
    /// What is to be deleted.
    pub fn asked(&self) -> Vec<TopicRef> {
        let named = self
            .topic_names
            .iter()
            .map(|name| TopicRef::Name(name.clone()));
        let either = self.topics.iter().map(|topic| match &topic.name {
            Some(name) => TopicRef::Name(name.clone()),
            None => TopicRef::Id(TopicId(topic.topic_id)),
        });
        named.chain(either).collect()
    }
}

/// The answer for one topic.
pub fn deleted(asked: &TopicRef, outcome: Result<(), EngineError>) -> DeletedTopic {
    let (name, topic_id) = match asked {
        TopicRef::Name(name) => (Some(name.clone()), 0),
        TopicRef::Id(id) => (None, id.0),
    };
    let mut answer = DeletedTopic {
        name,
        topic_id,
        ..DeletedTopic::default()
    };
    if let Err(refusal) = outcome {
        answer.error_code = match (&refusal, asked) {
            (EngineError::UnknownTopic(_), TopicRef::Id(_)) => error::UNKNOWN_TOPIC_ID,
            (refusal, _) => error::code(refusal),
        };
        answer.error_message = Some(refusal.to_string());
    }
    answer
}
