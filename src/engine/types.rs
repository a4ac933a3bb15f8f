//! The plain data that crosses the bridge.

use crate::base::{
    Body, CoreId, Counter, Offset, PartitionKey, Stage, TimestampMs, TopicChange, TopicId,
    TopicSettings,
};
use crate::engine::EngineError;
use std::time::Duration;

/// How a client names a topic.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TopicRef {
    /// By its name.
    Name(String),
    /// By its id.
    Id(TopicId),
}

/// A topic to be made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewTopic {
    /// 1-249 of `[A-Za-z0-9._-]`.
    pub name: String,
    /// At least 1.
    pub partitions: u32,
    /// Its settings.
    pub settings: TopicSettings,
}

/// A topic to be deleted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeleteTopic {
    /// Which.
    pub topic: TopicRef,
}

/// A topic to be changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AlterTopic {
    /// Which.
    pub topic: TopicRef,
    /// What becomes of it.
    pub change: TopicChange,
    /// Only say whether it could be done.
    pub is_trial: bool,
}

/// A topic as the catalog has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TopicInfo {
    /// Its identity.
    pub id: TopicId,
    /// Its name.
    pub name: String,
    /// How many partitions it has.
    pub partitions: u32,
    /// Its settings.
    pub settings: TopicSettings,
    /// The core that owns each partition, by partition number.
    pub owners: Vec<CoreId>,
}

/// Where a core listens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CoreAddress {
    /// The core.
    pub core: CoreId,
    /// Host or address as clients should dial it.
    pub host: String,
    /// Port.
    pub port: u16,
}

/// The state of one partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PartitionInfo {
    /// The core that owns it.
    pub core: CoreId,
    /// The first offset that can be read.
    pub log_start: Offset,
    /// The offset after the last record that can be read.
    pub high_watermark: Offset,
    /// The offset that the next record gets.
    pub next_offset: Offset,
    /// Bytes of records.
    pub bytes: u64,
    /// Segments.
    pub segments: u32,
}

/// The answer to a produce.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Produced {
    /// The offset of the first record of the first batch.
    pub base_offset: Offset,
    /// The first offset of the partition at that time.
    pub log_start: Offset,
    /// The timestamp that the broker gave the records, if it gives them one. Not known of a batch that was sent again.
    pub append_time: Option<TimestampMs>,
}

/// What is wanted from one partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FetchPartition {
    /// Which.
    pub key: PartitionKey,
    /// The offset of the first record wanted.
    pub from: Offset,
    /// At most about this many bytes, but always the first batch whole.
    pub bytes_max: u32,
}

/// A fetch over one or more partitions.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FetchRequest {
    /// What is wanted from each.
    pub partitions: Vec<FetchPartition>,
    /// Answer as soon as this many bytes are there …
    pub bytes_min: u32,
    /// … or this time has passed.
    pub wait_max: Duration,
    /// At most about this many bytes in all, but always one batch if there is any.
    pub bytes_max: u32,
}

/// The answer for one partition of a fetch.
#[derive(Clone, Debug)]
pub struct FetchedPartition<C, S> {
    /// Which.
    pub key: PartitionKey,
    /// What went wrong, if anything.
    pub error: Option<EngineError>,
    /// The offset after the last record that can be read.
    pub high_watermark: Offset,
    /// The first offset that can be read.
    pub log_start: Offset,
    /// Whole record batches, except that the first may begin before the offset asked for (skip records below it). All
    /// offsets from the one asked for up to the body's end are there.
    pub body: Body<C, S>,
}

/// Which offset is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OffsetQuery {
    /// The first that can be read.
    Earliest,
    /// The one after the last that can be read.
    Latest,
    /// The first record whose timestamp is at least this; the latest offset, without a timestamp, if there is none.
    AtTime(TimestampMs),
    /// The record with the largest timestamp, and of several the first; the latest offset, without a timestamp, if there is
    /// none.
    Youngest,
}

/// Where the time of one core went, since its start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CoreStages {
    /// The core.
    pub core: CoreId,
    /// How long it has been serving.
    pub uptime: Duration,
    /// The stages that it records, each once, with their histogram in nanoseconds as [`crate::base::stages::encode`]
    /// makes it.
    pub stages: Vec<(Stage, Vec<u8>)>,
    /// What it has counted.
    pub counters: Vec<(Counter, u64)>,
}
