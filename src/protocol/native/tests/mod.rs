//! Both ends of the wire against each other, against bytes that are checked in, and against damage.
//!
//! `goldens.txt` holds one frame per kind of request and reply, in hex: a client of yesterday must understand the
//! broker of today. A line that changes is a break of the protocol, unless no version was ever released with it.

mod clients;
mod damage;
mod groups;
mod limits;
mod queues;

use super::*;
use crate::base::checksum::crc32;
use crate::base::limits::{
    FETCH_BYTES_MAX, FRAME_HEADER_BYTES_MAX, REQUEST_PARTITIONS_MAX, TOPIC_PARTITIONS_MAX,
};
use crate::base::prng::Prng;
use crate::base::{
    AckLevel, Body, CoreId, Counter, KEEP_ALL, NodeId, Offset, PartitionKey, PartitionNo, Stage,
    TimestampMs, TimestampType, TopicId,
};
use crate::engine::{EngineError, FetchRequest, FetchedPartition, Produced};
use std::time::Duration;

const GOLDENS: &str = include_str!("../goldens.txt");
const TOPIC: TopicId = TopicId(0x0123_4567_89ab_cdef_0011_2233_4455_6677);

fn key(partition: u32) -> PartitionKey {
    PartitionKey::new(TOPIC, PartitionNo(partition))
}

fn change() -> TopicChange {
    TopicChange {
        partitions: Some(13),
        ack: Some(AckLevel::Written),
        batch_bytes_max: Some(1 << 20),
        timestamp_type: Some(TimestampType::Create),
        timestamp_after_ms_max: Some(0),
        ..TopicChange::default()
    }
}

fn retention() -> TopicChange {
    TopicChange {
        retention_ms: Some(3_600_000),
        retention_bytes: Some(KEEP_ALL),
        ..TopicChange::default()
    }
}

fn settings() -> TopicSettings {
    TopicSettings {
        ack: AckLevel::Synced,
        segment_bytes: 1 << 30,
        segment_ms: 86_400_000,
        ..TopicSettings::default()
    }
}

fn info(name: &str, partitions: u32) -> TopicInfo {
    TopicInfo {
        id: TOPIC,
        name: name.to_owned(),
        partitions,
        settings: settings(),
        owners: (0..partitions).map(|p| CoreId((p % 3) as u16)).collect(),
    }
}

fn cores() -> Vec<CoreAddress> {
    let address = |core| CoreAddress {
        core: CoreId(core),
        host: "::1".to_owned(),
        port: 9_100 + core,
    };
    (0..3).map(address).collect()
}

fn state(partition: u64) -> PartitionInfo {
    PartitionInfo {
        core: CoreId(2),
        log_start: Offset(partition),
        high_watermark: Offset(200),
        next_offset: Offset(300),
        bytes: 4_000,
        segments: 5,
    }
}

fn fetch_request() -> FetchRequest {
    FetchRequest {
        partitions: vec![
            FetchPartition {
                key: key(0),
                from: Offset(u64::MAX),
                bytes_max: 1_000,
            },
            FetchPartition {
                key: key(9_999),
                from: Offset(5),
                bytes_max: 1 << 20,
            },
        ],
        bytes_min: 1,
        wait_max: Duration::from_millis(500),
        bytes_max: 2 << 20,
    }
}

fn fetched() -> Vec<FetchedPartition<Vec<u8>, ()>> {
    let entry = |partition, error, body: &[u8]| {
        let mut entry = FetchedPartition {
            key: key(partition),
            error,
            high_watermark: Offset(70),
            log_start: Offset(3),
            body: Body::default(),
        };
        if !body.is_empty() {
            entry.body.push_copy(body);
        }
        entry
    };
    vec![
        entry(0, None, b"first"),
        entry(1, Some(EngineError::UnknownPartition(1)), b""),
        entry(2, None, b"second"),
    ]
}

fn offsets_asked() -> [OffsetEntry; 3] {
    [
        (key(0), OffsetQuery::Earliest),
        (key(1), OffsetQuery::Latest),
        (key(2), OffsetQuery::AtTime(TimestampMs(-5))),
    ]
    .map(|(key, query)| OffsetEntry { key, query })
}

fn frame(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out);
    out
}

/// One frame of each kind of request, by name.
fn requests() -> Vec<(&'static str, Vec<u8>)> {
    let mut all = topic_requests();
    all.extend(groups::requests());
    all.extend(queues::requests());
    all
}

fn topic_requests() -> Vec<(&'static str, Vec<u8>)> {
    let mut w = RequestWriter::new();
    let fits = "within limits";
    let name = TopicRef::Name("logs".to_owned());
    let new = NewTopic {
        name: "logs".to_owned(),
        partitions: 12,
        settings: settings(),
    };
    let all = MetadataQuery::All {
        after: Some("logs".to_owned()),
    };
    let some = MetadataQuery::Topics(vec![name.clone(), TopicRef::Id(TOPIC)]);
    let sizes = [(key(0), 4u32), (key(1), 3)];
    vec![
        (
            "hello",
            frame(|o| w.hello(1, "test", "0.1", o).expect(fits)),
        ),
        (
            "metadata_all",
            frame(|o| w.metadata(2, &all, o).expect(fits)),
        ),
        (
            "metadata_some",
            frame(|o| w.metadata(3, &some, o).expect(fits)),
        ),
        (
            "create_topic",
            frame(|o| w.create_topic(4, &new, o).expect(fits)),
        ),
        (
            "alter_topic",
            frame(|o| w.alter_topic(11, &name, &change(), o).expect(fits)),
        ),
        (
            "alter_retention",
            frame(|o| w.alter_topic(12, &name, &retention(), o).expect(fits)),
        ),
        (
            "trim",
            frame(|o| w.trim(12, key(3), Some(Offset(77)), o).expect(fits)),
        ),
        (
            "delete_topic",
            frame(|o| w.delete_topic(5, &name, o).expect(fits)),
        ),
        (
            "describe_topic",
            frame(|o| {
                w.describe_topic(6, &TopicRef::Id(TOPIC), 512, o)
                    .expect(fits)
            }),
        ),
        (
            "produce",
            frame(|o| {
                w.produce(7, AckLevel::Written, sizes.into_iter(), o)
                    .expect(fits);
                o.extend_from_slice(b"aaaabbb");
            }),
        ),
        (
            "fetch",
            frame(|o| w.fetch(8, &fetch_request(), o).expect(fits)),
        ),
        (
            "list_offsets",
            frame(|o| {
                w.list_offsets(9, offsets_asked().into_iter(), o)
                    .expect(fits)
            }),
        ),
        ("stages", frame(|o| w.stages(10, o).expect(fits))),
        ("clients", frame(|o| w.clients(13, 7, o).expect(fits))),
    ]
}

fn outcomes() -> [Result<Produced, EngineError>; 3] {
    let at = |offset| Produced {
        base_offset: Offset(offset),
        log_start: Offset(1),
        append_time: None,
    };
    [Ok(at(10)), Err(EngineError::DiskFull), Ok(at(u64::MAX))]
}

/// The wire does not look into histograms.
fn stages() -> CoreStages {
    CoreStages {
        core: CoreId(1),
        uptime: Duration::from_millis(1_234),
        stages: vec![
            (Stage::Decode, b"first".to_vec()),
            (Stage::Sync, Vec::new()),
            (Stage::Forwarded, b"third".to_vec()),
        ],
        counters: vec![(Counter::Cycles, u64::MAX), (Counter::Requests, 7)],
    }
}

/// One frame of each kind of reply, by name.
fn replies() -> Vec<(&'static str, Vec<u8>)> {
    let mut all = topic_replies();
    all.extend(groups::replies());
    all.extend(queues::replies());
    all
}

fn topic_replies() -> Vec<(&'static str, Vec<u8>)> {
    let mut w = ReplyWriter::new();
    let unknown = EngineError::UnknownTopic("nope".to_owned());
    let topics = [Ok(info("logs", 4)), Err(unknown.clone())];
    let described = Ok((info("logs", 2), vec![state(0), state(1)]));
    let listed = [
        Ok((Offset(4), None)),
        Ok((Offset(5), Some(TimestampMs(1_700_000_000_000)))),
        Err(EngineError::Stopping),
    ];
    vec![
        (
            "refused",
            frame(|o| w.refused(1, ErrorCode::HelloFirst, "say hello", o)),
        ),
        (
            "welcome",
            frame(|o| w.welcome(2, 1, NodeId(77), CoreId(2), o)),
        ),
        ("metadata", frame(|o| w.metadata(3, &cores(), &topics, o))),
        (
            "topic_created",
            frame(|o| w.topic_created(4, &Ok(info("logs", 2)), o)),
        ),
        (
            "topic_altered",
            frame(|o| w.topic_altered(12, &Ok(altered()), o)),
        ),
        (
            "topic_retaining",
            frame(|o| w.topic_altered(13, &Ok(retaining()), o)),
        ),
        (
            "partition_trimmed",
            frame(|o| w.partition_trimmed(13, &Ok(Offset(70)), o)),
        ),
        ("topic_deleted", frame(|o| w.topic_deleted(5, &Ok(()), o))),
        (
            "topic_not_deleted",
            frame(|o| w.topic_deleted(6, &Err(unknown), o)),
        ),
        (
            "topic_described",
            frame(|o| w.topic_described(7, &described, 0, o)),
        ),
        ("produced", frame(|o| w.produced(8, &outcomes(), o))),
        (
            "fetched",
            frame(|o| {
                assert_eq!(w.fetched(9, &fetched(), o), 11);
                o.extend_from_slice(b"firstsecond");
            }),
        ),
        (
            "offsets_listed",
            frame(|o| w.offsets_listed(10, &listed, o)),
        ),
        ("stages", frame(|o| w.stages(11, &stages(), o))),
        ("clients", frame(|o| w.clients(14, &clients::told(), o))),
    ]
}

/// A topic that does not keep its records for ever.
fn retaining() -> TopicInfo {
    let settings = TopicSettings {
        retention_ms: 86_400_000,
        retention_bytes: 1 << 40,
        ..settings()
    };
    TopicInfo {
        settings,
        ..info("logs", 3)
    }
}

/// A topic of which no setting of old is as it is unasked.
fn altered() -> TopicInfo {
    let settings = TopicSettings {
        batch_bytes_max: 1 << 19,
        timestamp_type: TimestampType::Append,
        timestamp_before_ms_max: 1,
        timestamp_after_ms_max: 2,
        ..settings()
    };
    TopicInfo {
        settings,
        ..info("logs", 3)
    }
}

fn take(bytes: &[u8]) -> Frame<'_> {
    match split(bytes, Caps::REPLY) {
        Ok(Split::Frame(frame)) => frame,
        other => panic!("{other:?}"),
    }
}

fn request(bytes: &[u8]) -> Request<'_> {
    let frame = take(bytes);
    Request::decode(frame.header, frame.body).expect("written by us")
}

fn reply(bytes: &[u8]) -> Reply<'_> {
    let frame = take(bytes);
    Reply::decode(frame.header, frame.body).expect("written by us")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn every_kind_of_frame_has_the_bytes_that_are_checked_in() {
    let lines = |side: &str, frames: Vec<(&str, Vec<u8>)>| -> Vec<String> {
        let line = |(name, bytes): &(&str, Vec<u8>)| format!("{side} {name} {}", hex(bytes));
        frames.iter().map(line).collect()
    };
    let mut now = lines("request", requests());
    now.extend(lines("reply", replies()));

    let golden: Vec<&str> = GOLDENS.lines().collect();
    assert_eq!(now, golden, "goldens.txt would be:\n{}", now.join("\n"));
}

#[test]
fn the_broker_reads_what_the_client_wrote() {
    let all = requests();
    let named = |name: &str| {
        let found = all.iter().find(|(n, _)| *n == name);
        request(&found.expect("in the list").1)
    };
    let Request::Hello(hello) = named("hello") else {
        panic!()
    };
    assert_eq!((hello.version_min, hello.version_max), (1, 1));
    assert_eq!((hello.software, hello.software_version), ("test", "0.1"));
    let Request::Metadata(MetadataQuery::All { after }) = named("metadata_all") else {
        panic!()
    };
    assert_eq!(after.as_deref(), Some("logs"));
    let Request::Metadata(MetadataQuery::Topics(topics)) = named("metadata_some") else {
        panic!()
    };
    let logs = TopicRef::Name("logs".to_owned());
    assert_eq!(topics, [logs.clone(), TopicRef::Id(TOPIC)]);
    let Request::CreateTopic(new) = named("create_topic") else {
        panic!()
    };
    assert_eq!((new.name.as_str(), new.partitions), ("logs", 12));
    assert_eq!(new.settings, settings());
    let Request::AlterTopic(alter) = named("alter_topic") else {
        panic!()
    };
    assert_eq!((&alter.topic, alter.change), (&logs, change()));
    let Request::AlterTopic(alter) = named("alter_retention") else {
        panic!()
    };
    assert_eq!((&alter.topic, alter.change), (&logs, retention()));
    assert!(!alter.is_trial);
    let Request::Trim { of, before } = named("trim") else {
        panic!()
    };
    assert_eq!((of, before), (key(3), Some(Offset(77))));
    assert!(matches!(named("delete_topic"), Request::DeleteTopic(d) if d.topic == logs));
    assert!(matches!(
        named("describe_topic"),
        Request::DescribeTopic {
            topic: TopicRef::Id(TOPIC),
            first: PartitionNo(512)
        }
    ));
    assert!(matches!(named("stages"), Request::Stages));
}

#[test]
fn the_broker_reads_the_hot_requests_without_a_copy() {
    let all = requests();
    let bytes = |name: &str| &all.iter().find(|(n, _)| *n == name).expect("listed").1;
    let Request::Produce(produce) = request(bytes("produce")) else {
        panic!()
    };
    let entries: Vec<_> = produce.entries().map(|e| (e.key, e.batches)).collect();
    assert_eq!((produce.level(), produce.count()), (AckLevel::Written, 2));
    assert_eq!(entries, [(key(0), &b"aaaa"[..]), (key(1), b"bbb")]);
    let Request::Fetch(fetch) = request(bytes("fetch")) else {
        panic!()
    };
    let mut filled = FetchRequest::default();
    fetch.fill(&mut filled);
    assert_eq!((&filled, fetch.count()), (&fetch_request(), 2));
    let Request::ListOffsets(list) = request(bytes("list_offsets")) else {
        panic!()
    };
    assert_eq!(list.entries().collect::<Vec<_>>(), offsets_asked());
    assert_eq!(list.count(), 3);
}

#[test]
fn the_client_reads_what_the_broker_wrote() {
    let all = replies();
    let named = |name: &str| {
        let found = all.iter().find(|(n, _)| *n == name);
        reply(&found.expect("in the list").1)
    };
    let Reply::Refused(refusal) = named("refused") else {
        panic!()
    };
    assert_eq!(
        refusal,
        Refusal::new(ErrorCode::HelloFirst, Some("say hello"))
    );
    let Reply::Welcome(welcome) = named("welcome") else {
        panic!()
    };
    assert_eq!(
        (welcome.version, welcome.node, welcome.core),
        (1, NodeId(77), CoreId(2))
    );
    assert_eq!(welcome.entries_max as usize, REQUEST_PARTITIONS_MAX);
    let Reply::Metadata(page) = named("metadata") else {
        panic!()
    };
    assert_eq!((page.cores, page.more), (cores(), false));
    assert_eq!(page.topics[0], Ok(info("logs", 4)));
    let refusal = page.topics[1].as_ref().expect_err("unknown");
    assert_eq!(refusal.code, ErrorCode::UnknownTopic);
    assert!(refusal.message.contains("nope") && page.topics.len() == 2);
    assert!(matches!(named("topic_created"), Reply::TopicCreated(t) if t == info("logs", 2)));
    for (name, expected) in [
        ("topic_altered", altered()),
        ("topic_retaining", retaining()),
    ] {
        assert!(
            matches!(named(name), Reply::TopicAltered(t) if t == expected),
            "{name}"
        );
    }
    assert!(matches!(named("topic_deleted"), Reply::TopicDeleted));
    assert!(
        matches!(named("topic_not_deleted"), Reply::Refused(r) if r.code == ErrorCode::UnknownTopic)
    );
    let Reply::TopicDescribed(page) = named("topic_described") else {
        panic!()
    };
    assert_eq!((page.topic, page.first), (info("logs", 2), 0));
    assert_eq!(page.partitions, [state(0), state(1)]);
    assert!(matches!(named("stages"), Reply::Stages(found) if found == stages()));
}

#[test]
fn the_client_reads_the_answers_to_entries() {
    let all = replies();
    let bytes = |name: &str| &all.iter().find(|(n, _)| *n == name).expect("listed").1;
    let Reply::Produced(produced) = reply(bytes("produced")) else {
        panic!()
    };
    let entries: Vec<_> = produced.entries().collect();
    let expected = outcomes().map(|outcome| outcome.map_err(|error| Refusal::from(&error)));
    assert_eq!((entries.as_slice(), produced.count()), (&expected[..], 3));
    let Reply::Fetched(fetched) = reply(bytes("fetched")) else {
        panic!()
    };
    let entries: Vec<_> = fetched.entries().collect();
    assert_eq!(
        entries.iter().map(|e| e.batches).collect::<Vec<_>>(),
        [&b"first"[..], b"", b"second"]
    );
    assert!(
        entries
            .iter()
            .all(|e| (e.high_watermark, e.log_start) == (Offset(70), Offset(3)))
    );
    let refusal = entries[1].error.as_ref().expect("refused");
    assert_eq!(
        refusal.message,
        EngineError::UnknownPartition(1).to_string()
    );
    assert!(entries[0].error.is_none() && entries[2].error.is_none() && fetched.count() == 3);
    let Reply::OffsetsListed(listed) = reply(bytes("offsets_listed")) else {
        panic!()
    };
    let entries: Vec<_> = listed.entries().collect();
    assert_eq!(entries[0], Ok((Offset(4), None)));
    assert_eq!(
        entries[1],
        Ok((Offset(5), Some(TimestampMs(1_700_000_000_000))))
    );
    assert_eq!(
        entries[2].as_ref().map_err(|r| r.code),
        Err(ErrorCode::Stopping)
    );
}
