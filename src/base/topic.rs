//! What a topic is set to, and changes of it.

use crate::base::AckLevel;
use crate::base::limits::{
    BATCH_BYTES_MAX, SEGMENT_BYTES_DEFAULT, SEGMENT_MS_DEFAULT, TIMESTAMP_SPAN_MS_MAX,
};

/// Whose clock the timestamps of a topic's records are of.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum TimestampType {
    /// The producer's: batches keep what they came with.
    #[default]
    Create,
    /// The broker's: every record of a batch is as old as its append.
    Append,
}

impl TimestampType {
    /// The number that stands for it on disk and on the wire.
    pub fn code(self) -> u8 {
        match self {
            Self::Create => 0,
            Self::Append => 1,
        }
    }

    /// What a number stands for.
    pub fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Create),
            1 => Some(Self::Append),
            _ => None,
        }
    }

    /// Its name, as Kafka writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Create => "CreateTime",
            Self::Append => "LogAppendTime",
        }
    }

    /// What a name of Kafka's stands for.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Create, Self::Append]
            .into_iter()
            .find(|one| one.name() == name)
    }
}

/// What a topic is set to. The default is what it gets unasked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TopicSettings {
    /// The level that records must reach before anybody may read them; also the level of acks unless a producer asks
    /// otherwise. `Written` or `Synced`.
    pub ack: AckLevel,
    /// A segment is sealed when it would grow past this many bytes.
    pub segment_bytes: u64,
    /// A segment is sealed when its first record is this old, in milliseconds.
    pub segment_ms: u64,
    /// The largest record batch that is taken, in bytes, header included.
    pub batch_bytes_max: u32,
    /// Whose clock the records' timestamps are of.
    pub timestamp_type: TimestampType,
    /// How far a producer's timestamp may lie before the broker's time, in milliseconds.
    pub timestamp_before_ms_max: u64,
    /// How far it may lie after it.
    pub timestamp_after_ms_max: u64,
    /// Records this much older than the broker's time are given up, in milliseconds; [`KEEP_ALL`]: never for their age.
    pub retention_ms: u64,
    /// The oldest records of a partition are given up as long as this many bytes of it stay; [`KEEP_ALL`]: never for size.
    pub retention_bytes: u64,
}

/// The retention that gives up nothing.
pub const KEEP_ALL: u64 = u64::MAX;

impl Default for TopicSettings {
    fn default() -> Self {
        Self {
            ack: AckLevel::Written,
            segment_bytes: SEGMENT_BYTES_DEFAULT,
            segment_ms: SEGMENT_MS_DEFAULT,
            batch_bytes_max: BATCH_BYTES_MAX as u32,
            timestamp_type: TimestampType::Create,
            timestamp_before_ms_max: TIMESTAMP_SPAN_MS_MAX,
            timestamp_after_ms_max: TIMESTAMP_SPAN_MS_MAX,
            retention_ms: KEEP_ALL,
            retention_bytes: KEEP_ALL,
        }
    }
}

impl TopicSettings {
    /// Whether records may be given up for their age or for how many they are.
    pub fn limits_retention(&self) -> bool {
        self.retention_ms != KEEP_ALL || self.retention_bytes != KEEP_ALL
    }

    /// Whether an append has to know what time it is.
    pub fn needs_time(&self) -> bool {
        self.timestamp_type == TimestampType::Append || self.limits_timestamps()
    }

    /// Whether a producer's timestamp may be refused.
    pub fn limits_timestamps(&self) -> bool {
        let is_limited = |span| span < TIMESTAMP_SPAN_MS_MAX;
        self.timestamp_type == TimestampType::Create
            && (is_limited(self.timestamp_before_ms_max) || is_limited(self.timestamp_after_ms_max))
    }
}

/// A change of a topic: what is `None` stays.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[allow(
    missing_docs,
    reason = "each is the field of that name of the topic or its settings"
)]
pub struct TopicChange {
    pub partitions: Option<u32>,
    pub ack: Option<AckLevel>,
    pub segment_bytes: Option<u64>,
    pub segment_ms: Option<u64>,
    pub batch_bytes_max: Option<u32>,
    pub timestamp_type: Option<TimestampType>,
    pub timestamp_before_ms_max: Option<u64>,
    pub timestamp_after_ms_max: Option<u64>,
    pub retention_ms: Option<u64>,
    pub retention_bytes: Option<u64>,
}

impl TopicChange {
    /// The change that changes nothing.
    pub const NONE: Self = Self {
        partitions: None,
        ack: None,
        segment_bytes: None,
        segment_ms: None,
        batch_bytes_max: None,
        timestamp_type: None,
        timestamp_before_ms_max: None,
        timestamp_after_ms_max: None,
        retention_ms: None,
        retention_bytes: None,
    };

    /// The change that makes all settings what `settings` says.
    pub fn to(settings: TopicSettings) -> Self {
        Self {
            partitions: None,
            ack: Some(settings.ack),
            segment_bytes: Some(settings.segment_bytes),
            segment_ms: Some(settings.segment_ms),
            batch_bytes_max: Some(settings.batch_bytes_max),
            timestamp_type: Some(settings.timestamp_type),
            timestamp_before_ms_max: Some(settings.timestamp_before_ms_max),
            timestamp_after_ms_max: Some(settings.timestamp_after_ms_max),
            retention_ms: Some(settings.retention_ms),
            retention_bytes: Some(settings.retention_bytes),
        }
    }

    /// What `settings` become by it.
    pub fn applied_to(&self, settings: TopicSettings) -> TopicSettings {
        TopicSettings {
            ack: self.ack.unwrap_or(settings.ack),
            segment_bytes: self.segment_bytes.unwrap_or(settings.segment_bytes),
            segment_ms: self.segment_ms.unwrap_or(settings.segment_ms),
            batch_bytes_max: self.batch_bytes_max.unwrap_or(settings.batch_bytes_max),
            timestamp_type: self.timestamp_type.unwrap_or(settings.timestamp_type),
            timestamp_before_ms_max: self
                .timestamp_before_ms_max
                .unwrap_or(settings.timestamp_before_ms_max),
            timestamp_after_ms_max: self
                .timestamp_after_ms_max
                .unwrap_or(settings.timestamp_after_ms_max),
            retention_ms: self.retention_ms.unwrap_or(settings.retention_ms),
            retention_bytes: self.retention_bytes.unwrap_or(settings.retention_bytes),
        }
    }
}
