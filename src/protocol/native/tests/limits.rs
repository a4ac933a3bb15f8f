//! Limits, pages, and what a newer peer may say.

use super::*;

#[test]
fn limits_hold_at_both_ends() {
    let mut writer = RequestWriter::new();
    let mut out = Vec::new();
    let entries = |n: usize| (0..n as u32).map(|p| (key(p), 1));
    let max = REQUEST_PARTITIONS_MAX;
    let too_many = writer.produce(1, AckLevel::None, entries(max + 1), &mut out);
    assert_eq!(too_many.expect_err("one too many").limit, max);
    assert!(
        writer
            .produce(1, AckLevel::None, entries(0), &mut out)
            .is_err()
    );
    let huge = [(key(0), u32::MAX), (key(1), u32::MAX)].into_iter();
    assert!(writer.produce(1, AckLevel::None, huge, &mut out).is_err());
    let name = "n".repeat(FRAME_HEADER_BYTES_MAX);
    assert!(
        writer
            .delete_topic(1, &TopicRef::Name(name), &mut out)
            .is_err()
    );
    assert!(out.is_empty(), "a refused request leaves nothing behind");
    writer
        .produce(1, AckLevel::None, entries(max), &mut out)
        .expect("as many as fit");
    out.resize(out.len() + max, 0);
    assert!(matches!(request(&out), Request::Produce(p) if p.count() == max));
    out.clear();
    let long = TopicRef::Name("n".repeat(250));
    writer
        .delete_topic(1, &long, &mut out)
        .expect("the broker decides");
    let verdict = Request::decode(take(&out).header, b"").expect_err("too long a name");
    assert!(verdict.code() == ErrorCode::LimitExceeded && !verdict.is_fatal());
}

#[test]
fn a_fetch_is_cut_to_what_the_broker_allows() {
    let mut asked = fetch_request();
    asked.bytes_max = u32::MAX;
    asked.bytes_min = u32::MAX;
    asked.wait_max = Duration::from_secs(1 << 40);
    asked.partitions[0].bytes_max = u32::MAX;
    let mut out = Vec::new();
    RequestWriter::new()
        .fetch(1, &asked, &mut out)
        .expect("two entries");
    let Request::Fetch(fetch) = request(&out) else {
        panic!()
    };
    let mut filled = FetchRequest::default();
    fetch.fill(&mut filled);
    assert_eq!(filled.bytes_max as usize, FETCH_BYTES_MAX);
    assert_eq!(filled.bytes_min, filled.bytes_max);
    assert_eq!(filled.partitions[0].bytes_max, filled.bytes_max);
    assert_eq!(filled.wait_max, Duration::from_secs(60));
}

#[test]
fn a_kind_that_is_not_known_is_no_damage() {
    let all = requests();
    let (_, frame) = all
        .iter()
        .find(|(name, _)| *name == "delete_topic")
        .expect("in the list");
    let mut header = take(frame).header.to_vec();
    let kind = wire::RequestBody::DeleteTopic.0;
    let mut unknown = 0;
    for index in 0..header.len() {
        if header[index] == kind {
            header[index] = 200;
            let verdict = Request::decode(&header, b"");
            unknown += u32::from(verdict.err() == Some(RequestError::Unknown(200)));
            header[index] = kind;
        }
    }
    assert_eq!(unknown, 1, "exactly one byte of the header says the kind");
}

#[test]
fn stages_and_counters_that_are_not_known_are_left_out() {
    let mut scratch = Scratch::new();
    let entries = [(3, 200), (2, Stage::Write.code())].map(|(n, s)| wire::StageEntry::new(n, s));
    let counts =
        [(1, 200), (2, Counter::Cycles.code())].map(|(n, c)| wire::CounterEntry::new(n, c));
    let args = wire::StagesReplyArgs {
        core: 3,
        uptime_ms: 4,
        stages: Some(scratch.create_vector(&entries)),
        counters: Some(scratch.create_vector(&counts)),
    };
    let body = wire::StagesReply::create(&mut scratch, &args).as_union_value();
    let args = wire::ReplyArgs {
        body_type: wire::ReplyBody::StagesReply,
        body: Some(body),
    };
    let root = wire::Reply::create(&mut scratch, &args);
    scratch.finish_minimal(root);
    let Ok(Reply::Stages(found)) = Reply::decode(scratch.finished_data(), b"newus") else {
        panic!()
    };
    assert_eq!(found.stages, [(Stage::Write, b"us".to_vec())]);
    assert_eq!(found.counters, [(Counter::Cycles, 2)]);
}

#[test]
fn the_largest_replies_fit_their_header() {
    let mut writer = ReplyWriter::new();
    let failed = EngineError::Damaged("x".repeat(5_000));
    let refused: Vec<_> = vec![Err(failed.clone()); REQUEST_PARTITIONS_MAX];
    let out = frame(|o| writer.produced(1, &refused, o));
    let Reply::Produced(produced) = reply(&out) else {
        panic!()
    };
    let messages: Vec<_> = produced
        .entries()
        .map(|e| e.expect_err("all refused"))
        .collect();
    assert!(messages.iter().all(|r| r.code == ErrorCode::Damaged));
    assert!(messages[0].message.ends_with("xxx") && messages[0].message.len() == 512);
    assert_eq!(messages[1_023].message, "partition is damaged");
    let all: Vec<_> = (0..u64::from(TOPIC_PARTITIONS_MAX)).map(state).collect();
    let described = Ok((info(&"n".repeat(249), TOPIC_PARTITIONS_MAX), all));
    for (first, count) in [
        (0, PAGE_PARTITIONS_MAX),
        (9_999, 1),
        (10_000, 0),
        (u32::MAX, 0),
    ] {
        let out = frame(|o| writer.topic_described(1, &described, first, o));
        let Reply::TopicDescribed(page) = reply(&out) else {
            panic!()
        };
        assert_eq!((page.first, page.partitions.len()), (first, count));
    }
}

#[test]
fn metadata_comes_in_pages_that_add_up() {
    let mut writer = ReplyWriter::new();
    for partitions in [1, 300, TOPIC_PARTITIONS_MAX] {
        let topics: Vec<_> = (0..600)
            .map(|n| Ok(info(&format!("t{n:03}"), partitions)))
            .collect();
        let mut seen = 0;
        loop {
            let out = frame(|o| writer.metadata(1, &cores(), &topics[seen..], o));
            let Reply::Metadata(page) = reply(&out) else {
                panic!()
            };
            assert!(!page.topics.is_empty());
            assert_eq!(
                page.topics,
                topics[seen..seen + page.topics.len()]
                    .iter()
                    .map(|t| Ok(t.clone().expect("all there")))
                    .collect::<Vec<_>>()
            );
            seen += page.topics.len();
            if !page.more {
                break;
            }
        }
        assert_eq!(seen, topics.len());
    }
}

#[test]
fn cores_that_fill_a_page_leave_a_refusal_not_a_loop() {
    let wide = CoreAddress {
        core: CoreId(0),
        host: "h".repeat(253),
        port: 1,
    };
    let cores = vec![wide; 150];
    let topics = [Ok(info("logs", 4)), Ok(info("more", 4))];
    let out = frame(|o| ReplyWriter::new().metadata(1, &cores, &topics, o));
    let Reply::Metadata(page) = reply(&out) else {
        panic!()
    };
    assert!(page.more && page.topics.len() == 1);
    assert_eq!(
        page.topics[0].as_ref().map_err(|r| r.code),
        Err(ErrorCode::LimitExceeded)
    );
}

#[test]
fn more_tables_or_depth_than_a_header_may_have_is_refused() {
    let mut scratch = Scratch::new();
    let name = scratch.create_string("n");
    let args = wire::TopicRefArgs {
        id: None,
        name: Some(name),
    };
    let refs: Vec<_> = (0..1_100)
        .map(|_| wire::TopicRef::create(&mut scratch, &args))
        .collect();
    let topics = Some(scratch.create_vector(&refs));
    let args = wire::MetadataArgs {
        topics,
        after: None,
    };
    let body = wire::Metadata::create(&mut scratch, &args).as_union_value();
    let args = wire::RequestArgs {
        body_type: wire::RequestBody::Metadata,
        body: Some(body),
    };
    let root = wire::Request::create(&mut scratch, &args);
    scratch.finish_minimal(root);
    let verdict = Request::decode(scratch.finished_data(), b"").expect_err("too many tables");
    assert!(verdict.to_string().contains("Too many tables") && verdict.is_fatal());
}

#[test]
fn the_writers_seal_their_headers() {
    for (name, bytes) in requests().iter().chain(&replies()) {
        let stated = u32::from_le_bytes(bytes[12..16].try_into().expect("four bytes"));
        assert_eq!(stated, crc32(take(bytes).header), "{name}");
    }
}
