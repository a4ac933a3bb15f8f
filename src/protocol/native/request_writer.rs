//! Requests as the client writes them.

use super::wire::{self, RequestBody};
use super::{MetadataQuery, OffsetEntry, Scratch, VERSIONS, frame};
use crate::base::limits::{FRAME_BODY_BYTES_MAX, FRAME_HEADER_BYTES_MAX, REQUEST_PARTITIONS_MAX};
use crate::base::{AckLevel, Offset, PartitionKey, TimestampType};
use crate::engine::{FetchRequest, NewTopic, OffsetQuery, TopicChange, TopicRef, TopicSettings};
use flatbuffers::{UnionWIPOffset, WIPOffset};
use thiserror::Error;

/// Writes requests; keeps its memory between them. Each method appends one frame to `out`, or leaves `out` as it was.
#[derive(Default)]
pub struct RequestWriter {
    scratch: Scratch,
    produce: Vec<wire::ProduceEntry>,
    fetch: Vec<wire::FetchEntry>,
    offsets: Vec<wire::OffsetEntry>,
}

/// The request would be refused by every broker.
#[derive(Error, Clone, Copy, PartialEq, Eq, Debug)]
#[error("{what} of a request are {have}, allowed are 1 to {limit}")]
pub struct TooLarge {
    /// What is outside its limits.
    pub what: &'static str,
    /// How much there is.
    pub have: usize,
    /// What is allowed.
    pub limit: usize,
}

impl RequestWriter {
    /// A writer with some scratch memory.
    pub fn new() -> Self {
        Self {
            scratch: Scratch::with_capacity(1_024),
            ..Self::default()
        }
    }

    /// The first request of a connection.
    pub fn hello(
        &mut self,
        correlation: u32,
        software: &str,
        software_version: &str,
        out: &mut Vec<u8>,
    ) -> Result<(), TooLarge> {
        let b = &mut self.scratch;
        b.reset();
        let args = wire::HelloArgs {
            version_min: *VERSIONS.start(),
            version_max: *VERSIONS.end(),
            software: Some(b.create_string(software)),
            software_version: Some(b.create_string(software_version)),
        };
        let body = wire::Hello::create(b, &args).as_union_value();
        self.finish(correlation, RequestBody::Hello, body, 0, out)
    }

    /// Asks for cores and topics.
    pub fn metadata(
        &mut self,
        correlation: u32,
        query: &MetadataQuery,
        out: &mut Vec<u8>,
    ) -> Result<(), TooLarge> {
        let b = &mut self.scratch;
        b.reset();
        let (mut topics, mut after_name) = (None, None);
        match query {
            MetadataQuery::All { after } => {
                after_name = after.as_deref().map(|name| b.create_string(name));
            }
            MetadataQuery::Topics(refs) => {
                let refs: Vec<_> = refs.iter().map(|topic| topic_ref(b, topic)).collect();
                topics = Some(b.create_vector(&refs));
            }
        }
        let args = wire::MetadataArgs {
            topics,
            after: after_name,
        };
        let body = wire::Metadata::create(b, &args).as_union_value();
        self.finish(correlation, RequestBody::Metadata, body, 0, out)
    }

    /// Makes a topic.
    pub fn create_topic(
        &mut self,
        correlation: u32,
        topic: &NewTopic,
        out: &mut Vec<u8>,
    ) -> Result<(), TooLarge> {
        let b = &mut self.scratch;
        b.reset();
        let args = wire::CreateTopicArgs {
            name: Some(b.create_string(&topic.name)),
            partitions: topic.partitions,
            settings: Some(settings(b, &topic.settings)),
        };
        let body = wire::CreateTopic::create(b, &args).as_union_value();
        self.finish(correlation, RequestBody::CreateTopic, body, 0, out)
    }

    /// Changes a topic.
    pub fn alter_topic(
        &mut self,
        correlation: u32,
        topic: &TopicRef,
        change: &TopicChange,
        out: &mut Vec<u8>,
    ) -> Result<(), TooLarge> {
        let b = &mut self.scratch;
        b.reset();
        let code = |kind: TimestampType| wire::TimestampType(kind.code());
        let args = wire::TopicChangeArgs {
            partitions: change.partitions,
            ack: change.ack.map(|level| wire::AckLevel(level.code())),
            segment_bytes: change.segment_bytes,
            segment_ms: change.segment_ms,
            batch_bytes_max: change.batch_bytes_max,
            timestamp_type: change.timestamp_type.map(code),
            timestamp_before_ms_max: change.timestamp_before_ms_max,
            timestamp_after_ms_max: change.timestamp_after_ms_max,
            retention_ms: change.retention_ms,
            retention_bytes: change.retention_bytes,
        };
        let change = Some(wire::TopicChange::create(b, &args));
        let topic = Some(topic_ref(b, topic));
        let args = wire::AlterTopicArgs { topic, change };
        let body = wire::AlterTopic::create(b, &args).as_union_value();
        self.finish(correlation, RequestBody::AlterTopic, body, 0, out)
    }

    /// Gives up the records of a partition below `before`, or all that can be read.
    pub fn trim(
        &mut self,
        correlation: u32,
        of: PartitionKey,
        before: Option<Offset>,
        out: &mut Vec<u8>,
    ) -> Result<(), TooLarge> {
        let b = self.begin();
        let args = wire::TrimPartitionArgs {
            topic: Some(&of.topic.into()),
            partition: of.partition.0,
            before: before.map(|offset| offset.0),
        };
        let body = wire::TrimPartition::create(b, &args).as_union_value();
        self.finish(correlation, RequestBody::TrimPartition, body, 0, out)
    }

    /// Deletes a topic.
    pub fn delete_topic(
        &mut self,
        correlation: u32,
        topic: &TopicRef,
        out: &mut Vec<u8>,
    ) -> Result<(), TooLarge> {
        let b = &mut self.scratch;
        b.reset();
        let topic = Some(topic_ref(b, topic));
        let body = wire::DeleteTopic::create(b, &wire::DeleteTopicArgs { topic }).as_union_value();
        self.finish(correlation, RequestBody::DeleteTopic, body, 0, out)
    }

    /// Asks for the state of a topic's partitions from `first` on.
    pub fn describe_topic(
        &mut self,
        correlation: u32,
        topic: &TopicRef,
        first: u32,
        out: &mut Vec<u8>,
    ) -> Result<(), TooLarge> {
        let b = &mut self.scratch;
        b.reset();
        let args = wire::DescribeTopicArgs {
            topic: Some(topic_ref(b, topic)),
            first,
        };
        let body = wire::DescribeTopic::create(b, &args).as_union_value();
        self.finish(correlation, RequestBody::DescribeTopic, body, 0, out)
    }

    /// Asks where the time of the core on the other end goes.
    pub fn stages(&mut self, correlation: u32, out: &mut Vec<u8>) -> Result<(), TooLarge> {
        let b = &mut self.scratch;
        b.reset();
        let body = wire::Stages::create(b, &wire::StagesArgs {}).as_union_value();
        self.finish(correlation, RequestBody::Stages, body, 0, out)
    }

    /// Begins a produce: `entries` are partitions and how many bytes of record batches each gets. The caller puts
    /// those bytes behind the frame, in the same order.
    pub fn produce(
        &mut self,
        correlation: u32,
        level: AckLevel,
        entries: impl Iterator<Item = (PartitionKey, u32)>,
        out: &mut Vec<u8>,
    ) -> Result<(), TooLarge> {
        self.produce.clear();
        let mut body_bytes = 0usize;
        self.produce.extend(entries.map(|(key, bytes)| {
            body_bytes = body_bytes.saturating_add(bytes as usize);
            wire::ProduceEntry::new(&key.topic.into(), key.partition.0, bytes)
        }));
        check("entries", self.produce.len(), REQUEST_PARTITIONS_MAX)?;
        check("bytes", body_bytes, FRAME_BODY_BYTES_MAX)?;
        let b = &mut self.scratch;
        b.reset();
        let args = wire::ProduceArgs {
            level: wire::AckLevel(level.code()),
            entries: Some(b.create_vector(&self.produce)),
        };
        let body = wire::Produce::create(b, &args).as_union_value();
        self.finish(correlation, RequestBody::Produce, body, body_bytes, out)
    }

    /// Asks for record batches.
    pub fn fetch(
        &mut self,
        correlation: u32,
        request: &FetchRequest,
        out: &mut Vec<u8>,
    ) -> Result<(), TooLarge> {
        let asked = request.partitions.iter();
        self.fetch.clear();
        self.fetch.extend(asked.map(|wanted| {
            let (topic, partition) = (wanted.key.topic.into(), wanted.key.partition.0);
            wire::FetchEntry::new(&topic, wanted.from.0, partition, wanted.bytes_max)
        }));
        check("entries", self.fetch.len(), REQUEST_PARTITIONS_MAX)?;
        let b = &mut self.scratch;
        b.reset();
        let args = wire::FetchArgs {
            bytes_min: request.bytes_min,
            bytes_max: request.bytes_max,
            wait_ms: u32::try_from(request.wait_max.as_millis()).unwrap_or(u32::MAX),
            entries: Some(b.create_vector(&self.fetch)),
        };
        let body = wire::Fetch::create(b, &args).as_union_value();
        self.finish(correlation, RequestBody::Fetch, body, 0, out)
    }

    /// Asks for offsets.
    pub fn list_offsets(
        &mut self,
        correlation: u32,
        entries: impl Iterator<Item = OffsetEntry>,
        out: &mut Vec<u8>,
    ) -> Result<(), TooLarge> {
        self.offsets.clear();
        self.offsets
            .extend(entries.map(|entry| offset_entry(&entry)));
        check("entries", self.offsets.len(), REQUEST_PARTITIONS_MAX)?;
        let b = &mut self.scratch;
        b.reset();
        let entries = Some(b.create_vector(&self.offsets));
        let body =
            wire::ListOffsets::create(b, &wire::ListOffsetsArgs { entries }).as_union_value();
        self.finish(correlation, RequestBody::ListOffsets, body, 0, out)
    }

    pub(super) fn begin(&mut self) -> &mut Scratch {
        self.scratch.reset();
        &mut self.scratch
    }

    pub(super) fn finish(
        &mut self,
        correlation: u32,
        body_type: RequestBody,
        body: WIPOffset<UnionWIPOffset>,
        body_bytes: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), TooLarge> {
        let args = wire::RequestArgs {
            body_type,
            body: Some(body),
        };
        let root = wire::Request::create(&mut self.scratch, &args);
        self.scratch.finish_minimal(root);
        let header = self.scratch.finished_data();
        check("bytes of the header", header.len(), FRAME_HEADER_BYTES_MAX)?;
        frame::write(correlation, header, body_bytes, out);
        Ok(())
    }
}

pub(super) fn check(what: &'static str, have: usize, limit: usize) -> Result<(), TooLarge> {
    if (1..=limit).contains(&have) {
        Ok(())
    } else {
        Err(TooLarge { what, have, limit })
    }
}

fn offset_entry(entry: &OffsetEntry) -> wire::OffsetEntry {
    let (kind, time_ms) = match entry.query {
        OffsetQuery::Earliest => (wire::OffsetKind::Earliest, 0),
        OffsetQuery::Latest => (wire::OffsetKind::Latest, 0),
        OffsetQuery::AtTime(time) => (wire::OffsetKind::AtTime, time.0),
        OffsetQuery::Youngest => (wire::OffsetKind::Youngest, 0),
    };
    let topic = entry.key.topic.into();
    wire::OffsetEntry::new(&topic, time_ms, entry.key.partition.0, kind)
}

pub(super) fn topic_ref(b: &mut Scratch, topic: &TopicRef) -> WIPOffset<wire::TopicRef<'static>> {
    match topic {
        TopicRef::Id(id) => {
            let args = wire::TopicRefArgs {
                id: Some(&(*id).into()),
                name: None,
            };
            wire::TopicRef::create(b, &args)
        }
        TopicRef::Name(name) => {
            let name = Some(b.create_string(name));
            wire::TopicRef::create(b, &wire::TopicRefArgs { id: None, name })
        }
    }
}

/// A value that is not what it is unasked.
fn unless<T: PartialEq>(value: T, unasked: T) -> Option<T> {
    (value != unasked).then_some(value)
}

pub(super) fn settings(
    b: &mut Scratch,
    settings: &TopicSettings,
) -> WIPOffset<wire::TopicSettings<'static>> {
    let unasked = TopicSettings::default();
    let args = wire::TopicSettingsArgs {
        ack: wire::AckLevel(settings.ack.code()),
        segment_bytes: settings.segment_bytes,
        segment_ms: settings.segment_ms,
        batch_bytes_max: unless(settings.batch_bytes_max, unasked.batch_bytes_max),
        timestamp_type: unless(settings.timestamp_type, unasked.timestamp_type)
            .map(|kind| wire::TimestampType(kind.code())),
        timestamp_before_ms_max: unless(
            settings.timestamp_before_ms_max,
            unasked.timestamp_before_ms_max,
        ),
        timestamp_after_ms_max: unless(
            settings.timestamp_after_ms_max,
            unasked.timestamp_after_ms_max,
        ),
        retention_ms: unless(settings.retention_ms, unasked.retention_ms),
        retention_bytes: unless(settings.retention_bytes, unasked.retention_bytes),
    };
    wire::TopicSettings::create(b, &args)
}
