//! The rules of names, counts and settings.

use crate::base::limits::{
    BATCH_BYTES_MAX, NODE_PARTITIONS_MAX, QUEUES_MAX, SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN,
    SEGMENT_MS_MAX, SEGMENT_MS_MIN, TIMESTAMP_SPAN_MS_MAX, TOPIC_NAME_BYTES_MAX,
    TOPIC_PARTITIONS_MAX, TOPICS_MAX,
};
use crate::base::queue::QueueSettingError;
use crate::base::{AckLevel, TopicSettings};
use thiserror::Error;

/// Names that begin so are ours.
const RESERVED: &str = "__";

/// Why a change is not decided. `Display` is one line for a person.
#[derive(Error, Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// Empty, too long, or one that a path would take for itself.
    #[error(
        "the name of a topic or queue must be 1 to {TOPIC_NAME_BYTES_MAX} of [A-Za-z0-9._-], and neither \".\" nor \"..\""
    )]
    Name,
    /// Begins with two underscores.
    #[error("names that begin with {RESERVED:?} are reserved")]
    ReservedName,
    /// None, or too many.
    #[error("a topic has 1 to {TOPIC_PARTITIONS_MAX} partitions, not {0}")]
    Partitions(u32),
    /// A level that promises nothing cannot be a topic's.
    #[error("a topic's ack level is written or synced")]
    Level,
    /// Outside its limits.
    #[error("segment_bytes must be {SEGMENT_BYTES_MIN} to {SEGMENT_BYTES_MAX}, not {0}")]
    SegmentBytes(u64),
    /// Outside its limits.
    #[error("segment_ms must be {SEGMENT_MS_MIN} to {SEGMENT_MS_MAX}, not {0}")]
    SegmentMs(u64),
    /// Outside its limits.
    #[error("batch_bytes_max must be 1 to {BATCH_BYTES_MAX}, not {0}")]
    BatchBytes(u32),
    /// Outside its limits.
    #[error("a timestamp's distance must be 0 to {TIMESTAMP_SPAN_MS_MAX} ms, not {0}")]
    TimestampSpan(u64),
    /// Records would have to move.
    #[error("a topic of {have} partitions cannot be cut to {asked}: their records would be lost")]
    FewerPartitions {
        /// How many there are.
        have: u32,
        /// How many were asked for.
        asked: u32,
    },
    /// The name is taken.
    #[error("topic {0} exists already")]
    Exists(String),
    /// No such topic.
    #[error("unknown topic {0}")]
    Unknown(String),
    /// The node is full.
    #[error("a node holds at most {TOPICS_MAX} topics")]
    TooManyTopics,
    /// The name is taken.
    #[error("queue {0} exists already")]
    QueueExists(String),
    /// No such queue.
    #[error("unknown queue {0}")]
    UnknownQueue(String),
    /// A queue takes its records from the topic, or brings its dead ones there.
    #[error("topic {topic} is used by the queue {queue}: delete that first")]
    InUse {
        /// The topic.
        topic: String,
        /// One of the queues.
        queue: String,
    },
    /// What was dead would come back.
    #[error("the dead letters of a queue cannot go into the topic that it takes its records from")]
    DeadLettersCircle,
    /// Outside its limits.
    #[error(transparent)]
    QueueSetting(QueueSettingError),
    /// The node is full.
    #[error("a node holds at most {QUEUES_MAX} queues")]
    TooManyQueues,
    /// The node is full.
    #[error("a node holds at most {NODE_PARTITIONS_MAX} partitions: this topic would make it {0}")]
    TooManyPartitions(u64),
}

/// Checks a name: 1 to 249 of `[A-Za-z0-9._-]`, neither `.` nor `..`, not beginning with `__`.
pub fn check_name(name: &str) -> Result<(), Refusal> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if name.is_empty()
        || name.len() > TOPIC_NAME_BYTES_MAX
        || !name.bytes().all(legal)
        || name == "."
        || name == ".."
    {
        return Err(Refusal::Name);
    }
    if name.starts_with(RESERVED) {
        return Err(Refusal::ReservedName);
    }
    Ok(())
}

/// Checks a topic's count of partitions.
pub fn check_partitions(partitions: u32) -> Result<(), Refusal> {
    if (1..=TOPIC_PARTITIONS_MAX).contains(&partitions) {
        Ok(())
    } else {
        Err(Refusal::Partitions(partitions))
    }
}

/// Checks a topic's settings.
pub fn check_settings(settings: &TopicSettings) -> Result<(), Refusal> {
    if settings.ack == AckLevel::None {
        return Err(Refusal::Level);
    }
    if !(SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&settings.segment_bytes) {
        return Err(Refusal::SegmentBytes(settings.segment_bytes));
    }
    if !(SEGMENT_MS_MIN..=SEGMENT_MS_MAX).contains(&settings.segment_ms) {
        return Err(Refusal::SegmentMs(settings.segment_ms));
    }
    if !(1..=BATCH_BYTES_MAX as u32).contains(&settings.batch_bytes_max) {
        return Err(Refusal::BatchBytes(settings.batch_bytes_max));
    }
    let spans = [
        settings.timestamp_before_ms_max,
        settings.timestamp_after_ms_max,
    ];
    if let Some(span) = spans.iter().find(|span| **span > TIMESTAMP_SPAN_MS_MAX) {
        return Err(Refusal::TimestampSpan(*span));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_at_the_edges_of_the_rules() {
        let longest = "a".repeat(TOPIC_NAME_BYTES_MAX);
        for good in ["a", "A.b_c-9", "...", "_one", &longest] {
            assert_eq!(check_name(good), Ok(()), "{good}");
        }
        let too_long = "a".repeat(TOPIC_NAME_BYTES_MAX + 1);
        for bad in ["", ".", "..", "a/b", "a b", "ä", "a\0", &too_long] {
            assert_eq!(check_name(bad), Err(Refusal::Name), "{bad}");
        }
        assert_eq!(check_name("__groups"), Err(Refusal::ReservedName));
    }
}
