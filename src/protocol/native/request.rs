//! Requests as the broker reads them: a checked view of a header and its body.

use super::wire::{self, RequestBody};
use super::{ErrorCode, GroupAsk, PollQueue, QueueAsk, from_uuid, groups, queues, verified_root};
use crate::base::limits::{
    FETCH_BYTES_MAX, FETCH_WAIT_MS_MAX, FRAME_HEADER_BYTES_MAX, REQUEST_PARTITIONS_MAX,
    TOPIC_NAME_BYTES_MAX,
};
use crate::base::{
    AckLevel, Offset, PartitionKey, PartitionNo, TimestampMs, TimestampType, TopicId,
};
use crate::engine::{
    AlterTopic, DeleteTopic, FetchPartition, FetchRequest, NewTopic, OffsetQuery, TopicChange,
    TopicRef, TopicSettings,
};
use flatbuffers::Vector;
use std::time::Duration;
use thiserror::Error;

/// What a client asks. The views borrow from the frame; the rest, off the hot path, owns what it needs.
#[derive(Clone, Debug)]
pub enum Request<'a> {
    /// The first request of a connection.
    Hello(Hello<'a>),
    /// The cores and topics.
    Metadata(MetadataQuery),
    /// Makes a topic.
    CreateTopic(NewTopic),
    /// Changes a topic.
    AlterTopic(AlterTopic),
    /// Gives up the records of a partition below an offset, or all that can be read.
    Trim {
        /// Which partition.
        of: PartitionKey,
        /// The first offset that is kept.
        before: Option<Offset>,
    },
    /// Deletes a topic.
    DeleteTopic(DeleteTopic),
    /// State of a topic's partitions, from one on.
    DescribeTopic {
        /// Which topic.
        topic: TopicRef,
        /// The first partition wanted.
        first: PartitionNo,
    },
    /// Appends record batches.
    Produce(Produce<'a>),
    /// Reads record batches.
    Fetch(Fetch<'a>),
    /// Asks for offsets.
    ListOffsets(ListOffsets<'a>),
    /// Asks where this core's time goes.
    Stages,
    /// Asks who has asked this core for what.
    Clients {
        /// How many clients are known already.
        first: u32,
    },
    /// About consumer groups.
    Group(GroupAsk),
    /// About queues.
    Queue(QueueAsk),
    /// A consumer of a queue answers, and wants more.
    PollQueue(PollQueue<'a>),
}

/// Who the client is and which versions it speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hello<'a> {
    /// The lowest version.
    pub version_min: u16,
    /// The highest version.
    pub version_max: u16,
    /// Its software's name, may be empty.
    pub software: &'a str,
    /// Its software's version, may be empty.
    pub software_version: &'a str,
}

/// Which topics a metadata request asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MetadataQuery {
    /// All whose names come after this one, or all.
    All {
        /// The last name of the page before.
        after: Option<String>,
    },
    /// These.
    Topics(Vec<TopicRef>),
}

/// Record batches to append: one ack level, one or more partitions, the batches back to back in the body.
#[derive(Clone, Copy, Debug)]
pub struct Produce<'a> {
    level: AckLevel,
    entries: Vector<'a, wire::ProduceEntry>,
    body: &'a [u8],
}

/// What one partition gets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProduceEntry<'a> {
    /// Which.
    pub key: PartitionKey,
    /// One or more record batches back to back, unchecked. Not empty.
    pub batches: &'a [u8],
}

/// What is wanted from which partitions.
#[derive(Clone, Copy, Debug)]
pub struct Fetch<'a> {
    table: wire::Fetch<'a>,
}

/// Offsets to be found.
#[derive(Clone, Copy, Debug)]
pub struct ListOffsets<'a> {
    entries: Vector<'a, wire::OffsetEntry>,
}

/// One offset to be found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OffsetEntry {
    /// Of which partition.
    pub key: PartitionKey,
    /// Which offset.
    pub query: OffsetQuery,
}

/// Why a whole frame is no request that we serve.
#[derive(Error, Clone, PartialEq, Eq, Debug)]
pub enum RequestError {
    /// The header is not a FlatBuffers root of the schema, or contradicts itself. The connection must be closed.
    #[error("malformed request: {0}")]
    Malformed(String),
    /// A kind of request that this build does not know; the connection is fine.
    #[error("unknown kind of request {0}: the broker may be older than the client")]
    Unknown(u8),
    /// More than a request may have; the connection is fine.
    #[error("{what} are above the limit of {limit}")]
    Limit {
        /// What is too much.
        what: &'static str,
        /// What is allowed.
        limit: usize,
    },
}

impl RequestError {
    /// What to answer.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Malformed(_) => ErrorCode::Malformed,
            Self::Unknown(_) => ErrorCode::UnknownRequest,
            Self::Limit { .. } => ErrorCode::LimitExceeded,
        }
    }

    /// Whether the connection must be closed after the answer.
    pub fn is_fatal(&self) -> bool {
        matches!(self, Self::Malformed(_))
    }
}

impl<'a> Request<'a> {
    /// Reads the header and body of a frame. Allocates for metadata and topics only, and no more than their header had
    /// bytes.
    pub fn decode(header: &'a [u8], body: &'a [u8]) -> Result<Self, RequestError> {
        if header.len() > FRAME_HEADER_BYTES_MAX {
            return Err(RequestError::Limit {
                what: "bytes of a header",
                limit: FRAME_HEADER_BYTES_MAX,
            });
        }
        let root = verified_root::<wire::Request<'_>>(header)
            .map_err(|error| RequestError::Malformed(error.to_string()))?;
        if let Some(produce) = root.body_as_produce() {
            return Ok(Self::Produce(Produce::checked(&produce, body)?));
        }
        if !body.is_empty() {
            return Err(malformed("only a produce has a body"));
        }
        if let Some(fetch) = root.body_as_fetch() {
            return Ok(Self::Fetch(Fetch::checked(fetch)?));
        }
        if let Some(poll) = root.body_as_poll_queue() {
            return Ok(Self::PollQueue(PollQueue::checked(poll)?));
        }
        decode_cold(&root)
    }
}

fn decode_cold<'a>(root: &wire::Request<'a>) -> Result<Request<'a>, RequestError> {
    let missing = || malformed("union without a value");
    Ok(match root.body_type() {
        RequestBody::Hello => hello(&root.body_as_hello().ok_or_else(missing)?),
        RequestBody::Metadata => metadata(&root.body_as_metadata().ok_or_else(missing)?)?,
        RequestBody::CreateTopic => {
            create_topic(&root.body_as_create_topic().ok_or_else(missing)?)?
        }
        RequestBody::AlterTopic => alter_topic(&root.body_as_alter_topic().ok_or_else(missing)?)?,
        RequestBody::TrimPartition => {
            let trim = root.body_as_trim_partition().ok_or_else(missing)?;
            Request::Trim {
                of: key(trim.topic(), trim.partition()),
                before: trim.before().map(Offset),
            }
        }
        RequestBody::DeleteTopic => Request::DeleteTopic(DeleteTopic {
            topic: topic_ref(&root.body_as_delete_topic().ok_or_else(missing)?.topic())?,
        }),
        RequestBody::DescribeTopic => {
            let describe = root.body_as_describe_topic().ok_or_else(missing)?;
            Request::DescribeTopic {
                topic: topic_ref(&describe.topic())?,
                first: PartitionNo(describe.first()),
            }
        }
        RequestBody::ListOffsets => {
            let list = root.body_as_list_offsets().ok_or_else(missing)?;
            Request::ListOffsets(ListOffsets::checked(&list)?)
        }
        RequestBody::Stages => Request::Stages,
        RequestBody::Clients => Request::Clients {
            first: root.body_as_clients().ok_or_else(missing)?.first(),
        },
        other => match (groups::decode_ask(root)?, queues::decode_ask(root)?) {
            (Some(ask), _) => Request::Group(ask),
            (None, Some(ask)) => Request::Queue(ask),
            (None, None) => return Err(RequestError::Unknown(other.0)),
        },
    })
}

fn hello<'a>(hello: &wire::Hello<'a>) -> Request<'a> {
    Request::Hello(Hello {
        version_min: hello.version_min(),
        version_max: hello.version_max(),
        software: hello.software().unwrap_or(""),
        software_version: hello.software_version().unwrap_or(""),
    })
}

fn metadata(query: &wire::Metadata<'_>) -> Result<Request<'static>, RequestError> {
    let Some(topics) = query.topics() else {
        let after = query.after().map(str::to_owned);
        return Ok(Request::Metadata(MetadataQuery::All { after }));
    };
    check_entries(topics.len().max(1))?;
    let topics = topics.iter().map(|topic| topic_ref(&topic));
    Ok(Request::Metadata(MetadataQuery::Topics(
        topics.collect::<Result<_, _>>()?,
    )))
}

fn create_topic(create: &wire::CreateTopic<'_>) -> Result<Request<'static>, RequestError> {
    Ok(Request::CreateTopic(NewTopic {
        name: topic_name(create.name())?,
        partitions: create.partitions(),
        settings: topic_settings(&create.settings())?,
    }))
}

fn topic_settings(settings: &wire::TopicSettings<'_>) -> Result<TopicSettings, RequestError> {
    Ok(TopicSettings {
        ack: ack_level(settings.ack())?,
        segment_bytes: settings.segment_bytes(),
        segment_ms: settings.segment_ms(),
        ..more_settings(settings).ok_or_else(|| malformed("unknown type of timestamps"))?
    })
}

/// The settings that not every peer knows of.
pub(super) fn more_settings(settings: &wire::TopicSettings<'_>) -> Option<TopicSettings> {
    let unasked = TopicSettings::default();
    Some(TopicSettings {
        batch_bytes_max: settings
            .batch_bytes_max()
            .unwrap_or(unasked.batch_bytes_max),
        timestamp_type: match settings.timestamp_type() {
            Some(code) => TimestampType::from_code(code.0)?,
            None => unasked.timestamp_type,
        },
        timestamp_before_ms_max: settings
            .timestamp_before_ms_max()
            .unwrap_or(unasked.timestamp_before_ms_max),
        timestamp_after_ms_max: settings
            .timestamp_after_ms_max()
            .unwrap_or(unasked.timestamp_after_ms_max),
        retention_ms: settings.retention_ms().unwrap_or(unasked.retention_ms),
        retention_bytes: settings
            .retention_bytes()
            .unwrap_or(unasked.retention_bytes),
        ..unasked
    })
}

fn alter_topic(alter: &wire::AlterTopic<'_>) -> Result<Request<'static>, RequestError> {
    let change = alter.change();
    let timestamp_type = change.timestamp_type().map(|code| {
        TimestampType::from_code(code.0).ok_or_else(|| malformed("unknown type of timestamps"))
    });
    Ok(Request::AlterTopic(AlterTopic {
        topic: topic_ref(&alter.topic())?,
        change: TopicChange {
            partitions: change.partitions(),
            ack: change.ack().map(ack_level).transpose()?,
            segment_bytes: change.segment_bytes(),
            segment_ms: change.segment_ms(),
            batch_bytes_max: change.batch_bytes_max(),
            timestamp_type: timestamp_type.transpose()?,
            timestamp_before_ms_max: change.timestamp_before_ms_max(),
            timestamp_after_ms_max: change.timestamp_after_ms_max(),
            retention_ms: change.retention_ms(),
            retention_bytes: change.retention_bytes(),
        },
        is_trial: false,
    }))
}

pub(super) fn topic_ref(topic: &wire::TopicRef<'_>) -> Result<TopicRef, RequestError> {
    match (topic.id(), topic.name()) {
        (Some(id), _) => Ok(TopicRef::Id(TopicId(from_uuid(id)))),
        (None, Some(name)) => Ok(TopicRef::Name(topic_name(name)?)),
        (None, None) => Err(malformed("a topic with neither id nor name")),
    }
}

/// The name's characters are the catalog's business; its length is checked here, before it is copied.
fn topic_name(name: &str) -> Result<String, RequestError> {
    if name.len() > TOPIC_NAME_BYTES_MAX {
        return Err(RequestError::Limit {
            what: "bytes of a topic's name",
            limit: TOPIC_NAME_BYTES_MAX,
        });
    }
    Ok(name.to_owned())
}

fn ack_level(level: wire::AckLevel) -> Result<AckLevel, RequestError> {
    AckLevel::from_code(level.0).ok_or_else(|| malformed("unknown ack level"))
}

pub(super) fn check_entries(count: usize) -> Result<(), RequestError> {
    match count {
        0 => Err(malformed("a request without entries")),
        1..=REQUEST_PARTITIONS_MAX => Ok(()),
        _ => Err(RequestError::Limit {
            what: "entries of a request",
            limit: REQUEST_PARTITIONS_MAX,
        }),
    }
}

pub(super) fn malformed(why: &str) -> RequestError {
    RequestError::Malformed(why.to_owned())
}

pub(super) fn key(topic: &wire::Uuid, partition: u32) -> PartitionKey {
    PartitionKey::new(topic.into(), PartitionNo(partition))
}

impl<'a> Produce<'a> {
    fn checked(produce: &wire::Produce<'a>, body: &'a [u8]) -> Result<Self, RequestError> {
        let level = ack_level(produce.level())?;
        let entries = produce.entries();
        check_entries(entries.len())?;
        let mut sum = 0u64;
        for entry in entries {
            if entry.bytes() == 0 {
                return Err(malformed("a produce entry without bytes"));
            }
            sum += u64::from(entry.bytes());
        }
        if sum != body.len() as u64 {
            return Err(malformed("produce entries do not add up to the body"));
        }
        Ok(Self {
            level,
            entries,
            body,
        })
    }

    /// The level that all entries are acknowledged at.
    pub fn level(&self) -> AckLevel {
        self.level
    }

    /// How many entries there are: 1 to `REQUEST_PARTITIONS_MAX`.
    pub fn count(&self) -> usize {
        self.entries.len()
    }

    /// The entries, in order. A partition may come more than once.
    pub fn entries(&self) -> impl Iterator<Item = ProduceEntry<'a>> + use<'a> {
        let mut rest = self.body;
        self.entries.iter().map(move |entry| {
            let (batches, behind) = rest.split_at(entry.bytes() as usize);
            rest = behind;
            ProduceEntry {
                key: key(entry.topic(), entry.partition()),
                batches,
            }
        })
    }
}

impl<'a> Fetch<'a> {
    fn checked(table: wire::Fetch<'a>) -> Result<Self, RequestError> {
        check_entries(table.entries().len())?;
        Ok(Self { table })
    }

    /// How many partitions are asked for: 1 to `REQUEST_PARTITIONS_MAX`.
    pub fn count(&self) -> usize {
        self.table.entries().len()
    }

    /// Writes the request into `request`, whose memory is reused. Sizes and times above our limits are cut to them: a
    /// client that asks for more is content with less.
    pub fn fill(&self, request: &mut FetchRequest) {
        let bytes = |asked: u32| asked.min(FETCH_BYTES_MAX as u32);
        request.bytes_max = bytes(self.table.bytes_max());
        request.bytes_min = self.table.bytes_min().min(request.bytes_max);
        request.wait_max =
            Duration::from_millis(u64::from(self.table.wait_ms()).min(FETCH_WAIT_MS_MAX));
        request.partitions.clear();
        let entries = self.table.entries();
        request
            .partitions
            .extend(entries.iter().map(|entry| FetchPartition {
                key: key(entry.topic(), entry.partition()),
                from: Offset(entry.from()),
                bytes_max: bytes(entry.bytes_max()),
            }));
    }
}

impl<'a> ListOffsets<'a> {
    fn checked(list: &wire::ListOffsets<'a>) -> Result<Self, RequestError> {
        let entries = list.entries();
        check_entries(entries.len())?;
        if entries.iter().any(|entry| offset_query(entry).is_none()) {
            return Err(malformed("unknown kind of offset"));
        }
        Ok(Self { entries })
    }

    /// How many entries there are: 1 to `REQUEST_PARTITIONS_MAX`.
    pub fn count(&self) -> usize {
        self.entries.len()
    }

    /// The entries, in order.
    pub fn entries(&self) -> impl Iterator<Item = OffsetEntry> + use<'a> {
        self.entries.iter().map(|entry| OffsetEntry {
            key: key(entry.topic(), entry.partition()),
            query: offset_query(entry).expect("checked when the request was decoded"),
        })
    }
}

fn offset_query(entry: &wire::OffsetEntry) -> Option<OffsetQuery> {
    match entry.kind() {
        wire::OffsetKind::Earliest => Some(OffsetQuery::Earliest),
        wire::OffsetKind::Latest => Some(OffsetQuery::Latest),
        wire::OffsetKind::Youngest => Some(OffsetQuery::Youngest),
        wire::OffsetKind::AtTime => Some(OffsetQuery::AtTime(TimestampMs(entry.time_ms()))),
        _ => None,
    }
}
