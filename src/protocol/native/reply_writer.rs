//! Replies as the broker writes them.

use super::request_writer::settings;
use super::wire::{self, ReplyBody};
use super::{ErrorCode, Scratch, frame, uuid};
use crate::base::limits::{
    BATCH_BYTES_MAX, FETCH_WAIT_MS_MAX, FRAME_BODY_BYTES_MAX, FRAME_HEADER_BYTES_MAX,
    REQUEST_PARTITIONS_MAX, TOPIC_NAME_BYTES_MAX, TOPIC_PARTITIONS_MAX,
};
use crate::base::{CoreId, Counter, NodeId, Offset, Stage, TimestampMs};
use crate::engine::{
    CoreAddress, CoreStages, EngineError, FetchedPartition, PartitionInfo, Produced, TopicInfo,
};
use flatbuffers::{UnionWIPOffset, WIPOffset};
use std::fmt::Write;

/// The most partition states in one page of a description.
pub const PAGE_PARTITIONS_MAX: usize = 512;
const _: () = assert!(
    PAGE_PARTITIONS_MAX * size_of::<wire::PartitionState>() + TOPIC_BYTES_MAX + PAGE_SLACK_BYTES
        <= FRAME_HEADER_BYTES_MAX
);

/// What the largest topic takes of a header: its owners, its name, and its tables.
const TOPIC_BYTES_MAX: usize = 2 * TOPIC_PARTITIONS_MAX as usize + TOPIC_NAME_BYTES_MAX + 256;

/// What the tables around the vectors of a page take at most, the vector of topics itself included.
const PAGE_SLACK_BYTES: usize = 4 << 10;

/// The most topics of one page: each takes three tables of the 1,024 that a header may have, each core one.
const PAGE_TOPICS_MAX: usize = 256;

/// The most bytes of one message; the entries of a reply share what is left of its header.
const MESSAGE_BYTES_MAX: usize = 512;

/// Messages are dropped once a header has this many bytes; the code alone says enough.
const MESSAGES_UNTIL_BYTES: usize = 16 << 10;
/// What messages take of a header that begins with them, without their vector.
pub(super) const MESSAGES_BYTES_MAX: usize = MESSAGES_UNTIL_BYTES + MESSAGE_BYTES_MAX;
const _: () = assert!(
    MESSAGES_BYTES_MAX
        + PAGE_SLACK_BYTES
        + REQUEST_PARTITIONS_MAX * (size_of::<wire::FetchedEntry>() + size_of::<u32>())
        <= FRAME_HEADER_BYTES_MAX
);

type Union = WIPOffset<UnionWIPOffset>;

/// Writes replies; keeps its memory between them. Each method appends one frame to `out`.
#[derive(Default)]
pub struct ReplyWriter {
    scratch: Scratch,
    text: String,
    messages: Vec<WIPOffset<&'static str>>,
    produced: Vec<wire::ProducedEntry>,
    fetched: Vec<wire::FetchedEntry>,
    listed: Vec<wire::ListedEntry>,
}

impl ReplyWriter {
    /// A writer with some scratch memory.
    pub fn new() -> Self {
        Self {
            scratch: Scratch::with_capacity(1_024),
            ..Self::default()
        }
    }

    /// Refuses a request as a whole.
    pub fn refused(&mut self, correlation: u32, code: ErrorCode, message: &str, out: &mut Vec<u8>) {
        self.begin();
        let b = &mut self.scratch;
        let args = wire::RefusedArgs {
            error: code.on_wire(),
            message: Some(b.create_string(cut(message))),
        };
        let body = wire::Refused::create(b, &args).as_union_value();
        self.finish(correlation, ReplyBody::Refused, body, 0, out);
    }

    /// Answers hello: the version chosen, who answers, and this build's limits.
    pub fn welcome(
        &mut self,
        correlation: u32,
        version: u16,
        node: NodeId,
        core: CoreId,
        out: &mut Vec<u8>,
    ) {
        self.begin();
        let args = wire::WelcomeArgs {
            version,
            node: Some(&uuid(node.0)),
            core: core.0,
            header_bytes_max: FRAME_HEADER_BYTES_MAX as u32,
            body_bytes_max: FRAME_BODY_BYTES_MAX as u32,
            batch_bytes_max: BATCH_BYTES_MAX as u32,
            entries_max: REQUEST_PARTITIONS_MAX as u32,
            fetch_wait_ms_max: FETCH_WAIT_MS_MAX as u32,
        };
        let body = wire::Welcome::create(&mut self.scratch, &args).as_union_value();
        self.finish(correlation, ReplyBody::Welcome, body, 0, out);
    }

    /// Answers a metadata request with as many of `topics` as one header holds, and says whether more are left. For a
    /// query of all, hand in those behind its `after`.
    pub fn metadata(
        &mut self,
        correlation: u32,
        cores: &[CoreAddress],
        topics: &[Result<TopicInfo, EngineError>],
        out: &mut Vec<u8>,
    ) {
        self.begin();
        let b = &mut self.scratch;
        let all: Vec<_> = cores.iter().map(|address| core(b, address)).collect();
        let cores = Some(b.create_vector(&all));
        let mut answers = Vec::new();
        for topic in topics.iter().take(PAGE_TOPICS_MAX) {
            let used = self.scratch.unfinished_data().len() + PAGE_SLACK_BYTES;
            let fits = used + TOPIC_BYTES_MAX <= FRAME_HEADER_BYTES_MAX;
            if !fits && !answers.is_empty() {
                break;
            }
            answers.push(self.topic_answer(topic, fits));
        }
        let b = &mut self.scratch;
        let args = wire::MetadataReplyArgs {
            cores,
            topics: Some(b.create_vector(&answers)),
            more: answers.len() < topics.len(),
        };
        let body = wire::MetadataReply::create(b, &args).as_union_value();
        self.finish(correlation, ReplyBody::MetadataReply, body, 0, out);
    }

    /// Answers the making of a topic.
    pub fn topic_created(
        &mut self,
        correlation: u32,
        result: &Result<TopicInfo, EngineError>,
        out: &mut Vec<u8>,
    ) {
        self.with_topic(correlation, result, out, |b, topic| {
            let args = wire::TopicCreatedArgs { topic: Some(topic) };
            let body = wire::TopicCreated::create(b, &args).as_union_value();
            (ReplyBody::TopicCreated, body)
        });
    }

    /// Answers the change of a topic.
    pub fn topic_altered(
        &mut self,
        correlation: u32,
        result: &Result<TopicInfo, EngineError>,
        out: &mut Vec<u8>,
    ) {
        self.with_topic(correlation, result, out, |b, topic| {
            let args = wire::TopicAlteredArgs { topic: Some(topic) };
            let body = wire::TopicAltered::create(b, &args).as_union_value();
            (ReplyBody::TopicAltered, body)
        });
    }

    /// A reply that is a topic, or a refusal.
    fn with_topic(
        &mut self,
        correlation: u32,
        result: &Result<TopicInfo, EngineError>,
        out: &mut Vec<u8>,
        body: impl FnOnce(&mut Scratch, WIPOffset<wire::Topic<'static>>) -> (ReplyBody, Union),
    ) {
        match result {
            Ok(info) => {
                self.begin();
                let topic = topic(&mut self.scratch, info);
                let (kind, body) = body(&mut self.scratch, topic);
                self.finish(correlation, kind, body, 0, out);
            }
            Err(error) => self.engine_refused(correlation, error, out),
        }
    }

    /// Answers the trim of a partition.
    pub fn partition_trimmed(
        &mut self,
        correlation: u32,
        result: &Result<Offset, EngineError>,
        out: &mut Vec<u8>,
    ) {
        let log_start = match result {
            Ok(offset) => offset.0,
            Err(error) => return self.engine_refused(correlation, error, out),
        };
        self.begin();
        let args = wire::PartitionTrimmedArgs { log_start };
        let body = wire::PartitionTrimmed::create(&mut self.scratch, &args).as_union_value();
        self.finish(correlation, ReplyBody::PartitionTrimmed, body, 0, out);
    }

    /// Answers the deletion of a topic.
    pub fn topic_deleted(
        &mut self,
        correlation: u32,
        result: &Result<(), EngineError>,
        out: &mut Vec<u8>,
    ) {
        if let Err(error) = result {
            return self.engine_refused(correlation, error, out);
        }
        self.begin();
        let args = wire::TopicDeletedArgs {};
        let body = wire::TopicDeleted::create(&mut self.scratch, &args).as_union_value();
        self.finish(correlation, ReplyBody::TopicDeleted, body, 0, out);
    }

    /// Answers a description: at most [`PAGE_PARTITIONS_MAX`] of the states, from partition `first` on. `result` holds
    /// the states of all partitions, as the engine gives them.
    pub fn topic_described(
        &mut self,
        correlation: u32,
        result: &Result<(TopicInfo, Vec<PartitionInfo>), EngineError>,
        first: u32,
        out: &mut Vec<u8>,
    ) {
        let (info, all) = match result {
            Ok((info, all)) => (info, all),
            Err(error) => return self.engine_refused(correlation, error, out),
        };
        self.begin();
        let rest = all.get(first as usize..).unwrap_or(&[]);
        let page = rest.iter().take(PAGE_PARTITIONS_MAX).map(partition_state);
        let args = wire::TopicDescribedArgs {
            topic: Some(topic(&mut self.scratch, info)),
            first,
            partitions: Some(self.scratch.create_vector_from_iter(page)),
        };
        let body = wire::TopicDescribed::create(&mut self.scratch, &args).as_union_value();
        self.finish(correlation, ReplyBody::TopicDescribed, body, 0, out);
    }

    /// Answers a produce: one result per entry, in order.
    pub fn produced(
        &mut self,
        correlation: u32,
        results: &[Result<Produced, EngineError>],
        out: &mut Vec<u8>,
    ) {
        self.begin();
        self.produced.clear();
        for result in results {
            let (error, message) = self.note(result.as_ref().err());
            let at = result.as_ref().ok();
            self.produced.push(wire::ProducedEntry::new(
                at.map_or(0, |at| at.base_offset.0),
                at.map_or(0, |at| at.log_start.0),
                error,
                message,
            ));
        }
        let messages = self.messages();
        let args = wire::ProducedArgs {
            entries: Some(self.scratch.create_vector(&self.produced)),
            messages,
        };
        let body = wire::Produced::create(&mut self.scratch, &args).as_union_value();
        self.finish(correlation, ReplyBody::Produced, body, 0, out);
    }

    /// Begins the answer to a fetch: one entry per partition, in order. The caller sends the partitions' bodies behind
    /// it, all parts of each, in order; returned is how many bytes that is. The engine keeps their sum within the
    /// request's limit but for one batch.
    pub fn fetched<C, S>(
        &mut self,
        correlation: u32,
        partitions: &[FetchedPartition<C, S>],
        out: &mut Vec<u8>,
    ) -> usize {
        self.begin();
        self.fetched.clear();
        let mut body_bytes = 0;
        for partition in partitions {
            let (error, message) = self.note(partition.error.as_ref());
            body_bytes += partition.body.bytes as usize;
            self.fetched.push(wire::FetchedEntry::new(
                partition.high_watermark.0,
                partition.log_start.0,
                partition.body.bytes as u32,
                error,
                message,
            ));
        }
        let messages = self.messages();
        let args = wire::FetchedArgs {
            entries: Some(self.scratch.create_vector(&self.fetched)),
            messages,
        };
        let body = wire::Fetched::create(&mut self.scratch, &args).as_union_value();
        self.finish(correlation, ReplyBody::Fetched, body, body_bytes, out);
        body_bytes
    }

    /// Answers a request for offsets: one result per entry, in order.
    pub fn offsets_listed(
        &mut self,
        correlation: u32,
        results: &[Result<(Offset, Option<TimestampMs>), EngineError>],
        out: &mut Vec<u8>,
    ) {
        self.begin();
        self.listed.clear();
        for result in results {
            let (error, message) = self.note(result.as_ref().err());
            let (offset, time) = *result.as_ref().unwrap_or(&(Offset(0), None));
            let time_ms = time.map_or(-1, |time| time.0);
            let entry = wire::ListedEntry::new(offset.0, time_ms, error, message);
            self.listed.push(entry);
        }
        let messages = self.messages();
        let args = wire::OffsetsListedArgs {
            entries: Some(self.scratch.create_vector(&self.listed)),
            messages,
        };
        let body = wire::OffsetsListed::create(&mut self.scratch, &args).as_union_value();
        self.finish(correlation, ReplyBody::OffsetsListed, body, 0, out);
    }

    /// Answers a request for stages, the histograms behind the header included.
    pub fn stages(&mut self, correlation: u32, of: &CoreStages, out: &mut Vec<u8>) {
        self.begin();
        let b = &mut self.scratch;
        let entry = |(stage, bytes): &(Stage, Vec<u8>)| {
            wire::StageEntry::new(bytes.len() as u32, stage.code())
        };
        let count =
            |(counter, value): &(Counter, u64)| wire::CounterEntry::new(*value, counter.code());
        let args = wire::StagesReplyArgs {
            core: of.core.0,
            uptime_ms: of.uptime.as_millis() as u64,
            stages: Some(b.create_vector_from_iter(of.stages.iter().map(entry))),
            counters: Some(b.create_vector_from_iter(of.counters.iter().map(count))),
        };
        let body = wire::StagesReply::create(b, &args).as_union_value();
        let bytes = of.stages.iter().map(|(_, bytes)| bytes.len()).sum();
        self.finish(correlation, ReplyBody::StagesReply, body, bytes, out);
        for (_, histogram) in &of.stages {
            out.extend_from_slice(histogram);
        }
    }

    fn engine_refused(&mut self, correlation: u32, error: &EngineError, out: &mut Vec<u8>) {
        self.refused(correlation, error.into(), &error.to_string(), out);
    }

    pub(super) fn begin(&mut self) -> &mut Scratch {
        self.scratch.reset();
        self.messages.clear();
        &mut self.scratch
    }

    /// The header that was begun.
    pub(super) fn resume(&mut self) -> &mut Scratch {
        &mut self.scratch
    }

    /// Puts an error's message into the header while there is room; the entry's code and the message's position.
    pub(super) fn note(&mut self, error: Option<&EngineError>) -> (wire::ErrorCode, u16) {
        let Some(error) = error else {
            return (wire::ErrorCode::Ok, 0);
        };
        let code = ErrorCode::from(error).on_wire();
        if self.scratch.unfinished_data().len() >= MESSAGES_UNTIL_BYTES {
            return (code, 0);
        }
        self.text.clear();
        write!(self.text, "{error}").expect("writing into a string cannot fail");
        let message = self.scratch.create_string(cut(&self.text));
        self.messages.push(message);
        (code, self.messages.len() as u16)
    }

    pub(super) fn messages(
        &mut self,
    ) -> Option<WIPOffset<flatbuffers::Vector<'static, flatbuffers::ForwardsUOffset<&'static str>>>>
    {
        (!self.messages.is_empty()).then(|| self.scratch.create_vector(&self.messages))
    }

    fn topic_answer(
        &mut self,
        answer: &Result<TopicInfo, EngineError>,
        fits: bool,
    ) -> WIPOffset<wire::TopicAnswer<'static>> {
        let b = &mut self.scratch;
        let refuse = |b: &mut Scratch, code: ErrorCode, message: &str| wire::TopicAnswerArgs {
            topic: None,
            error: code.on_wire(),
            message: Some(b.create_string(cut(message))),
        };
        let args = match answer {
            Ok(info) if fits => wire::TopicAnswerArgs {
                topic: Some(topic(b, info)),
                ..Default::default()
            },
            Ok(_) => refuse(
                b,
                ErrorCode::LimitExceeded,
                "the cores' addresses fill the reply",
            ),
            Err(error) => refuse(b, error.into(), &error.to_string()),
        };
        wire::TopicAnswer::create(b, &args)
    }

    pub(super) fn finish(
        &mut self,
        correlation: u32,
        body_type: ReplyBody,
        body: WIPOffset<UnionWIPOffset>,
        body_bytes: usize,
        out: &mut Vec<u8>,
    ) {
        let args = wire::ReplyArgs {
            body_type,
            body: Some(body),
        };
        let root = wire::Reply::create(&mut self.scratch, &args);
        self.scratch.finish_minimal(root);
        frame::write(correlation, self.scratch.finished_data(), body_bytes, out);
    }
}

fn core(b: &mut Scratch, address: &CoreAddress) -> WIPOffset<wire::Core<'static>> {
    let args = wire::CoreArgs {
        core: address.core.0,
        host: Some(b.create_string(&address.host)),
        port: address.port,
    };
    wire::Core::create(b, &args)
}

fn topic(b: &mut Scratch, info: &TopicInfo) -> WIPOffset<wire::Topic<'static>> {
    let args = wire::TopicArgs {
        id: Some(&info.id.into()),
        name: Some(b.create_string(&info.name)),
        settings: Some(settings(b, &info.settings)),
        owners: Some(b.create_vector_from_iter(info.owners.iter().map(|core| core.0))),
    };
    wire::Topic::create(b, &args)
}

fn partition_state(info: &PartitionInfo) -> wire::PartitionState {
    wire::PartitionState::new(
        info.log_start.0,
        info.high_watermark.0,
        info.next_offset.0,
        info.bytes,
        info.segments,
        info.core.0,
    )
}

/// A message's first bytes, cut between characters.
fn cut(message: &str) -> &str {
    &message[..message.floor_char_boundary(MESSAGE_BYTES_MAX)]
}
