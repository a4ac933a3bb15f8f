//! Replies as the client reads them: a checked view of a header and its body.

use super::request::more_settings;
use super::wire::{self, ReplyBody};
use super::{
    ErrorCode, GroupTold, PolledReply, QueueTold, Refusal, clients, from_uuid, groups, queues,
    verified_root,
};
use crate::base::clients::CoreClients;
use crate::base::{
    AckLevel, CoreId, Counter, NodeId, Offset, Stage, TimestampMs, TopicId,
    limits::{FRAME_HEADER_BYTES_MAX, TOPIC_PARTITIONS_MAX},
};
use crate::engine::{CoreAddress, CoreStages, PartitionInfo, Produced, TopicInfo, TopicSettings};
use flatbuffers::{ForwardsUOffset, Vector};
use std::time::Duration;
use thiserror::Error;

/// What the broker answers. The views borrow from the frame; the rest, off the hot path, owns what it needs.
#[derive(Clone, Debug)]
pub enum Reply<'a> {
    /// The request as a whole was refused.
    Refused(Refusal),
    /// To hello.
    Welcome(Welcome),
    /// To a metadata request.
    Metadata(MetadataPage),
    /// The topic was made.
    TopicCreated(TopicInfo),
    /// The topic was changed.
    TopicAltered(TopicInfo),
    /// The partition was trimmed: the first offset that can be read now.
    PartitionTrimmed(Offset),
    /// The topic was deleted.
    TopicDeleted,
    /// State of some of a topic's partitions.
    TopicDescribed(DescribedPage),
    /// To a produce.
    Produced(ProducedReply<'a>),
    /// To a fetch.
    Fetched(FetchedReply<'a>),
    /// To a request for offsets.
    OffsetsListed(OffsetsReply<'a>),
    /// To a request for stages. What this build does not know is left out; the histograms are unchecked.
    Stages(CoreStages),
    /// To a request for clients.
    Clients(CoreClients),
    /// About consumer groups.
    Group(GroupTold),
    /// About queues.
    Queue(QueueTold),
    /// To a poll of a queue.
    QueuePolled(PolledReply<'a>),
}

/// What the broker is and allows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Welcome {
    /// The version that both speak from now on.
    pub version: u16,
    /// The broker.
    pub node: NodeId,
    /// Its core that answers on this connection.
    pub core: CoreId,
    /// The largest header of a request, in bytes.
    pub header_bytes_max: u32,
    /// The largest body of a request, in bytes.
    pub body_bytes_max: u32,
    /// The largest record batch, in bytes.
    pub batch_bytes_max: u32,
    /// The most entries of a request.
    pub entries_max: u32,
    /// The longest wait of a fetch, in milliseconds.
    pub fetch_wait_ms_max: u32,
}

/// Some of the topics asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MetadataPage {
    /// All cores, by number.
    pub cores: Vec<CoreAddress>,
    /// The topics of this page, in the order asked.
    pub topics: Vec<Result<TopicInfo, Refusal>>,
    /// Whether there are more: ask again for those behind the last one here.
    pub more: bool,
}

/// Some of a topic's partitions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DescribedPage {
    /// The topic.
    pub topic: TopicInfo,
    /// The partition that the first state is of.
    pub first: u32,
    /// The states of `first` and those that follow it.
    pub partitions: Vec<PartitionInfo>,
}

/// Answers to the entries of a produce, in their order.
#[derive(Clone, Copy, Debug)]
pub struct ProducedReply<'a> {
    entries: Vector<'a, wire::ProducedEntry>,
    messages: Messages<'a>,
}

/// Answers to the entries of a fetch, in their order.
#[derive(Clone, Copy, Debug)]
pub struct FetchedReply<'a> {
    entries: Vector<'a, wire::FetchedEntry>,
    messages: Messages<'a>,
    body: &'a [u8],
}

/// What a fetch found in one partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FetchedEntry<'a> {
    /// What went wrong, if anything.
    pub error: Option<Refusal>,
    /// The offset after the last record that can be read.
    pub high_watermark: Offset,
    /// The first offset that can be read.
    pub log_start: Offset,
    /// Record batches, unchecked. The first may begin before the offset asked for.
    pub batches: &'a [u8],
}

/// Answers to the entries of a request for offsets, in their order.
#[derive(Clone, Copy, Debug)]
pub struct OffsetsReply<'a> {
    entries: Vector<'a, wire::ListedEntry>,
    messages: Messages<'a>,
}

/// Why a whole frame is no reply that we understand. The connection must be closed.
#[derive(Error, Clone, PartialEq, Eq, Debug)]
pub enum ReplyError {
    /// The header is not a FlatBuffers root of the schema, or contradicts itself or the body.
    #[error("malformed reply: {0}")]
    Malformed(String),
    /// A kind of reply that this build does not know.
    #[error("unknown kind of reply {0}: the client may be older than the broker")]
    Unknown(u8),
}

pub(super) type Messages<'a> = Option<Vector<'a, ForwardsUOffset<&'a str>>>;

impl<'a> Reply<'a> {
    /// Reads the header and body of a frame. Allocates for what is asked seldom, and for refusals, only.
    pub fn decode(header: &'a [u8], body: &'a [u8]) -> Result<Self, ReplyError> {
        if header.len() > FRAME_HEADER_BYTES_MAX {
            return Err(malformed("header above its limit"));
        }
        let root = verified_root::<wire::Reply<'_>>(header)
            .map_err(|error| ReplyError::Malformed(error.to_string()))?;
        if let Some(fetched) = root.body_as_fetched() {
            return Ok(Self::Fetched(FetchedReply::checked(&fetched, body)?));
        }
        if let Some(polled) = root.body_as_queue_polled() {
            return Ok(Self::QueuePolled(PolledReply::checked(&polled, body)?));
        }
        if let Some(reply) = root.body_as_stages_reply() {
            return Ok(Self::Stages(stages(&reply, body)?));
        }
        if !body.is_empty() {
            return Err(malformed("a body where none belongs"));
        }
        if let Some(produced) = root.body_as_produced() {
            return Ok(Self::Produced(ProducedReply {
                entries: produced.entries(),
                messages: produced.messages(),
            }));
        }
        decode_cold(&root)
    }
}

fn decode_cold<'a>(root: &wire::Reply<'a>) -> Result<Reply<'a>, ReplyError> {
    let missing = || malformed("union without a value");
    Ok(match root.body_type() {
        ReplyBody::Refused => {
            let refused = root.body_as_refused().ok_or_else(missing)?;
            let code = ErrorCode::from_code(refused.error().0)
                .ok_or_else(|| malformed("a refusal without an error"))?;
            Reply::Refused(Refusal::new(code, refused.message()))
        }
        ReplyBody::Welcome => welcome(&root.body_as_welcome().ok_or_else(missing)?),
        ReplyBody::MetadataReply => metadata(&root.body_as_metadata_reply().ok_or_else(missing)?)?,
        ReplyBody::TopicCreated => {
            let created = root.body_as_topic_created().ok_or_else(missing)?;
            Reply::TopicCreated(topic(&created.topic())?)
        }
        ReplyBody::TopicAltered => {
            let altered = root.body_as_topic_altered().ok_or_else(missing)?;
            Reply::TopicAltered(topic(&altered.topic())?)
        }
        ReplyBody::PartitionTrimmed => {
            let trimmed = root.body_as_partition_trimmed().ok_or_else(missing)?;
            Reply::PartitionTrimmed(Offset(trimmed.log_start()))
        }
        ReplyBody::TopicDeleted => Reply::TopicDeleted,
        ReplyBody::TopicDescribed => {
            described(&root.body_as_topic_described().ok_or_else(missing)?)?
        }
        ReplyBody::OffsetsListed => {
            let listed = root.body_as_offsets_listed().ok_or_else(missing)?;
            Reply::OffsetsListed(OffsetsReply {
                entries: listed.entries(),
                messages: listed.messages(),
            })
        }
        ReplyBody::ClientsReply => {
            let told = root.body_as_clients_reply().ok_or_else(missing)?;
            Reply::Clients(clients::decode(&told)?)
        }
        other => match (groups::decode_told(root)?, queues::decode_told(root)?) {
            (Some(told), _) => Reply::Group(told),
            (None, Some(told)) => Reply::Queue(told),
            (None, None) => return Err(ReplyError::Unknown(other.0)),
        },
    })
}

fn welcome(welcome: &wire::Welcome<'_>) -> Reply<'static> {
    Reply::Welcome(Welcome {
        version: welcome.version(),
        node: NodeId(from_uuid(welcome.node())),
        core: CoreId(welcome.core()),
        header_bytes_max: welcome.header_bytes_max(),
        body_bytes_max: welcome.body_bytes_max(),
        batch_bytes_max: welcome.batch_bytes_max(),
        entries_max: welcome.entries_max(),
        fetch_wait_ms_max: welcome.fetch_wait_ms_max(),
    })
}

fn metadata(page: &wire::MetadataReply<'_>) -> Result<Reply<'static>, ReplyError> {
    let cores = page.cores().iter().map(|core| CoreAddress {
        core: CoreId(core.core()),
        host: core.host().to_owned(),
        port: core.port(),
    });
    let topics = page.topics().iter().map(|answer| topic_answer(&answer));
    Ok(Reply::Metadata(MetadataPage {
        cores: cores.collect(),
        topics: topics.collect::<Result<_, _>>()?,
        more: page.more(),
    }))
}

fn topic_answer(answer: &wire::TopicAnswer<'_>) -> Result<Result<TopicInfo, Refusal>, ReplyError> {
    match (ErrorCode::from_code(answer.error().0), answer.topic()) {
        (Some(code), _) => Ok(Err(Refusal::new(code, answer.message()))),
        (None, Some(found)) => Ok(Ok(topic(&found)?)),
        (None, None) => Err(malformed("neither a topic nor an error")),
    }
}

fn described(page: &wire::TopicDescribed<'_>) -> Result<Reply<'static>, ReplyError> {
    let partitions = page.partitions().iter().map(|state| PartitionInfo {
        core: CoreId(state.core()),
        log_start: Offset(state.log_start()),
        high_watermark: Offset(state.high_watermark()),
        next_offset: Offset(state.next_offset()),
        bytes: state.bytes(),
        segments: state.segments(),
    });
    Ok(Reply::TopicDescribed(DescribedPage {
        topic: topic(&page.topic())?,
        first: page.first(),
        partitions: partitions.collect(),
    }))
}

fn topic(topic: &wire::Topic<'_>) -> Result<TopicInfo, ReplyError> {
    let (settings, owners) = (topic.settings(), topic.owners());
    if owners.is_empty() || owners.len() > TOPIC_PARTITIONS_MAX as usize {
        return Err(malformed("no partitions, or more than a topic may have"));
    }
    Ok(TopicInfo {
        id: TopicId(from_uuid(topic.id())),
        name: topic.name().to_owned(),
        partitions: owners.len() as u32,
        settings: TopicSettings {
            ack: AckLevel::from_code(settings.ack().0)
                .ok_or_else(|| malformed("unknown ack level"))?,
            segment_bytes: settings.segment_bytes(),
            segment_ms: settings.segment_ms(),
            ..more_settings(&settings).ok_or_else(|| malformed("unknown type of timestamps"))?
        },
        owners: owners.iter().map(CoreId).collect(),
    })
}

fn stages(reply: &wire::StagesReply<'_>, body: &[u8]) -> Result<CoreStages, ReplyError> {
    let (mut stages, mut rest) = (Vec::new(), body);
    for entry in reply.stages() {
        let (bytes, behind) = rest
            .split_at_checked(entry.bytes() as usize)
            .ok_or_else(|| malformed("histograms do not add up to the body"))?;
        rest = behind;
        if let Some(stage) = Stage::from_code(entry.stage()) {
            stages.push((stage, bytes.to_vec()));
        }
    }
    if !rest.is_empty() {
        return Err(malformed("histograms do not add up to the body"));
    }
    let counters = reply.counters().iter();
    Ok(CoreStages {
        core: CoreId(reply.core()),
        uptime: Duration::from_millis(reply.uptime_ms()),
        stages,
        counters: counters
            .filter_map(|entry| Some((Counter::from_code(entry.counter())?, entry.value())))
            .collect(),
    })
}

pub(super) fn malformed(why: &str) -> ReplyError {
    ReplyError::Malformed(why.to_owned())
}

/// The refusal that an entry names, if it does.
pub(super) fn refusal(
    error: wire::ErrorCode,
    message: u16,
    messages: Messages<'_>,
) -> Option<Refusal> {
    let code = ErrorCode::from_code(error.0)?;
    let text = messages.and_then(|all| {
        let index = usize::from(message).checked_sub(1)?;
        (index < all.len()).then(|| all.get(index))
    });
    Some(Refusal::new(code, text))
}

impl<'a> ProducedReply<'a> {
    /// How many entries there are; the client compares it with what it asked.
    pub fn count(&self) -> usize {
        self.entries.len()
    }

    /// The answers, in order.
    pub fn entries(&self) -> impl Iterator<Item = Result<Produced, Refusal>> + use<'a> {
        let messages = self.messages;
        self.entries.iter().map(move |entry| {
            match refusal(entry.error(), entry.message(), messages) {
                Some(refusal) => Err(refusal),
                None => Ok(Produced {
                    base_offset: Offset(entry.base_offset()),
                    log_start: Offset(entry.log_start()),
                    append_time: None,
                }),
            }
        })
    }
}

impl<'a> FetchedReply<'a> {
    fn checked(fetched: &wire::Fetched<'a>, body: &'a [u8]) -> Result<Self, ReplyError> {
        let entries = fetched.entries();
        let sum: u64 = entries.iter().map(|entry| u64::from(entry.bytes())).sum();
        if sum != body.len() as u64 {
            return Err(malformed("fetched entries do not add up to the body"));
        }
        Ok(Self {
            entries,
            messages: fetched.messages(),
            body,
        })
    }

    /// How many entries there are; the client compares it with what it asked.
    pub fn count(&self) -> usize {
        self.entries.len()
    }

    /// The answers, in order.
    pub fn entries(&self) -> impl Iterator<Item = FetchedEntry<'a>> + use<'a> {
        let (messages, mut rest) = (self.messages, self.body);
        self.entries.iter().map(move |entry| {
            let (batches, behind) = rest.split_at(entry.bytes() as usize);
            rest = behind;
            FetchedEntry {
                error: refusal(entry.error(), entry.message(), messages),
                high_watermark: Offset(entry.high_watermark()),
                log_start: Offset(entry.log_start()),
                batches,
            }
        })
    }
}

impl<'a> OffsetsReply<'a> {
    /// How many entries there are; the client compares it with what it asked.
    pub fn count(&self) -> usize {
        self.entries.len()
    }

    /// The answers, in order: an offset, and the timestamp found where one was searched.
    pub fn entries(
        &self,
    ) -> impl Iterator<Item = Result<(Offset, Option<TimestampMs>), Refusal>> + use<'a> {
        let messages = self.messages;
        self.entries.iter().map(move |entry| {
            match refusal(entry.error(), entry.message(), messages) {
                Some(refusal) => Err(refusal),
                None => {
                    let time = (entry.time_ms() != -1).then(|| TimestampMs(entry.time_ms()));
                    Ok((Offset(entry.offset()), time))
                }
            }
        })
    }
}
