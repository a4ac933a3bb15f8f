//! Requests about queues, polls, and their replies.

use super::*;
use crate::base::limits::{QUEUE_POLL_ITEMS_MAX, TOPIC_NAME_BYTES_MAX};
use crate::base::queue::{
    Answered, Counts, Held, HeldRun, Nack, QueueSettings, Retry, Span, Standing, Totals,
};

fn name() -> String {
    "work".to_owned()
}

fn new_queue(retry: Retry) -> NewQueue {
    NewQueue {
        name: name(),
        topic: TopicRef::Name("logs".to_owned()),
        dead_letters: Some(TopicRef::Id(TOPIC)),
        from_end: true,
        settings: QueueSettings {
            lease_ms: 1_500,
            deliveries_max: Some(3),
            retry,
            key_order: true,
            reads_headers: false,
            has_dead_letters: true,
        },
    }
}

fn asks() -> [(&'static str, QueueAsk); 7] {
    let (partition, name) = (PartitionNo(9), name());
    [
        (
            "create_queue",
            QueueAsk::Create(new_queue(Retry::Schedule(vec![1_000, 5_000]))),
        ),
        ("delete_queue", QueueAsk::Delete { name: name.clone() }),
        (
            "list_queues",
            QueueAsk::List {
                only: None,
                after: Some(name.clone()),
            },
        ),
        (
            "describe_queue",
            QueueAsk::Describe {
                name: name.clone(),
                first: 128,
            },
        ),
        ("purge_queue", QueueAsk::Purge { name: name.clone() }),
        (
            "held_records",
            QueueAsk::Held {
                name: name.clone(),
                partition,
            },
        ),
        (
            "join_queue",
            QueueAsk::Join {
                name,
                at_most_once: true,
            },
        ),
    ]
}

fn span(from: u64, until: u64, deliveries: u32) -> Span {
    Span {
        from: Offset(from),
        until: Offset(until),
        deliveries,
    }
}

fn polling() -> Polling {
    let kinds = [
        AnswerKind::Ack,
        AnswerKind::Nack(Nack::Retry),
        AnswerKind::Nack(Nack::After(700)),
        AnswerKind::Nack(Nack::Reject),
        AnswerKind::Extend { lease_ms: 800 },
    ];
    let answer = |(no, kind): (usize, &AnswerKind)| QueueAnswer {
        partition: PartitionNo(no as u32),
        span: span(1 << 40, (1 << 40) + 1 + no as u64, 2),
        kind: *kind,
    };
    Polling {
        poll: QueuePoll {
            answers: kinds.iter().enumerate().map(answer).collect(),
            credit: 0,
            wait_max: Duration::from_secs(30),
            bytes_max: 1 << 20,
        },
        delivered_max: 1 << 33,
    }
}

fn polled() -> QueuePolled {
    let delivered = |partition, from, bytes| Delivered {
        partition: PartitionNo(partition),
        span: span(from, from + 2, 1),
        first: TimestampMs(-7),
        bytes,
    };
    QueuePolled {
        answered: vec![Answered { taken: 3, stale: 1 }; 5],
        deliveries: vec![delivered(0, 5, 5), delivered(3, 1 << 50, 6)],
        batches: b"firstsecond".to_vec(),
    }
}

fn queue_info(name: &str, partitions: u32) -> QueueInfo {
    QueueInfo {
        id: TopicId(7),
        name: name.to_owned(),
        topic_id: TOPIC,
        topic: "t".to_owned(),
        dead_letters: Some("dead".to_owned()),
        settings: new_queue(Retry::Exponential {
            first_ms: 100,
            cap_ms: 800,
        })
        .settings,
        owners: (0..partitions).map(|p| CoreId((p % 3) as u16)).collect(),
    }
}

fn counts() -> Counts {
    Counts {
        ready: 1,
        leased: 2,
        delayed: 3,
        blocked: 4,
        dying: 5,
        totals: Totals {
            acked: 6,
            dead: 7,
            expired: 8,
            purged: 9,
            absent: 10,
            lost: 11,
        },
        begin: Offset(12),
        floor: Offset(13),
        visible: Offset(14),
        consumers: 15,
    }
}

fn states(count: u32) -> Vec<QueueState> {
    let state = |no: u32| QueueState {
        partition: PartitionNo(no),
        core: CoreId(2),
        counts: match no % 2 {
            0 => Ok(counts()),
            _ => Err(EngineError::Damaged("d".repeat(5_000))),
        },
    };
    (0..count).map(state).collect()
}

fn held(runs: u64) -> Held {
    let all = [
        Standing::Ready,
        Standing::Leased,
        Standing::Delayed,
        Standing::Blocked,
        Standing::Dying,
    ];
    let run = |no: u64| HeldRun {
        span: span(no * 3, no * 3 + 2, no as u32 % 2),
        first: (no % 2 == 1).then_some(TimestampMs(5)),
        standing: all[no as usize % all.len()],
    };
    Held {
        runs: (0..runs).map(run).collect(),
        more: false,
        backlog: (Offset(1 << 40), Offset(1 << 41)),
    }
}

pub(super) fn requests() -> Vec<(&'static str, Vec<u8>)> {
    let mut w = RequestWriter::new();
    let mut all = Vec::new();
    for (name, ask) in asks() {
        let frame = frame(|o| w.queue(21, &ask, o).expect("within limits"));
        all.push((name, frame));
    }
    let poll = frame(|o| w.poll_queue(22, &polling(), o).expect("within limits"));
    all.push(("poll_queue", poll));
    all
}

pub(super) fn replies() -> Vec<(&'static str, Vec<u8>)> {
    let mut w = ReplyWriter::new();
    let info = queue_info("work", 3);
    let described = (info.clone(), states(3));
    let mut polled_frame = frame(|o| w.queue_polled(28, &polled(), o));
    polled_frame.extend_from_slice(&polled().batches);
    vec![
        ("queue_created", frame(|o| w.queue_created(21, &info, o))),
        ("queue_deleted", frame(|o| w.queue_deleted(22, o))),
        (
            "queues_listed",
            frame(|o| w.queues_listed(23, &[info.clone(), queue_info("x", 1)], o)),
        ),
        (
            "queue_described",
            frame(|o| w.queue_described(24, &described, 1, o)),
        ),
        ("queue_purged", frame(|o| w.queue_purged(25, 1 << 40, o))),
        ("records_held", frame(|o| w.records_held(26, &held(5), o))),
        ("queue_joined", frame(|o| w.queue_joined(27, o))),
        ("queue_polled", polled_frame),
    ]
}

fn told(bytes: &[u8]) -> QueueTold {
    match reply(bytes) {
        Reply::Queue(told) => told,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_broker_reads_what_is_asked() {
    for ((name, ask), (_, bytes)) in asks().into_iter().zip(requests()) {
        let Request::Queue(read) = request(&bytes) else {
            panic!("{name}");
        };
        assert_eq!(read, ask, "{name}");
    }
    for retry in [
        Retry::AtOnce,
        Retry::Exponential {
            first_ms: 1,
            cap_ms: 2,
        },
    ] {
        let ask = QueueAsk::Create(new_queue(retry));
        let bytes = frame(|o| RequestWriter::new().queue(1, &ask, o).expect("fits"));
        assert!(matches!(request(&bytes), Request::Queue(read) if read == ask));
    }
}

#[test]
fn a_poll_comes_over_whole_and_is_cut_to_what_the_broker_allows() {
    let (_, bytes) = requests().pop().expect("the last");
    let Request::PollQueue(poll) = request(&bytes) else {
        panic!()
    };
    let mut filled = polling();
    filled.poll.credit = 9;
    poll.fill(&mut filled);
    assert_eq!(filled, polling());
    let mut much = polling();
    (much.poll.bytes_max, much.poll.wait_max) = (u32::MAX, Duration::from_secs(1 << 40));
    much.delivered_max = u64::MAX;
    let bytes = frame(|o| RequestWriter::new().poll_queue(1, &much, o).expect("fits"));
    let Request::PollQueue(poll) = request(&bytes) else {
        panic!()
    };
    poll.fill(&mut filled);
    assert_eq!(filled.poll.bytes_max as usize, FETCH_BYTES_MAX);
    assert_eq!(filled.poll.wait_max, Duration::from_secs(60));
    assert_eq!(filled.delivered_max, u64::MAX);
}

#[test]
fn a_consumer_reads_what_it_is_given() {
    let (_, bytes) = replies().pop().expect("the last");
    let Reply::QueuePolled(reply) = reply(&bytes) else {
        panic!()
    };
    let polled = polled();
    assert_eq!(reply.answered().collect::<Vec<_>>(), polled.answered);
    let found: Vec<_> = reply.deliveries().collect();
    let wanted = polled.deliveries.iter().copied();
    let bodies = [&b"first"[..], b"second"];
    assert_eq!(found, wanted.zip(bodies).collect::<Vec<_>>());
}

#[test]
fn a_client_reads_what_it_is_told() {
    let all = replies();
    let info = queue_info("work", 3);
    assert_eq!(told(&all[0].1), QueueTold::Created(info.clone()));
    assert_eq!(told(&all[1].1), QueueTold::Deleted);
    let listed = QueueTold::Listed(vec![info.clone(), queue_info("x", 1)], false);
    assert_eq!(told(&all[2].1), listed);
    let QueueTold::Described(page) = told(&all[3].1) else {
        panic!()
    };
    assert_eq!(page.queue, info);
    assert_eq!((page.first, page.partition_count), (1, 3));
    let damaged = page.partitions[0].counts.as_ref().expect_err("it is");
    assert_eq!(damaged.code, ErrorCode::Damaged);
    assert_eq!(page.partitions[1].counts, Ok(counts()));
    assert_eq!(page.partitions[1].partition, PartitionNo(2));
    assert_eq!(told(&all[4].1), QueueTold::Purged(1 << 40));
    assert_eq!(told(&all[5].1), QueueTold::Held(held(5)));
    assert_eq!(told(&all[6].1), QueueTold::Joined);
}

#[test]
fn pages_add_up_however_large_the_queues_are() {
    let mut writer = ReplyWriter::new();
    let long = |no: usize| format!("{no:04}{}", "n".repeat(TOPIC_NAME_BYTES_MAX - 4));
    let queues: Vec<_> = (0..500)
        .map(|no| queue_info(&long(no), if no % 100 == 0 { 10_000 } else { 1 }))
        .collect();
    let mut seen = 0;
    while seen < queues.len() {
        let out = frame(|o| writer.queues_listed(1, &queues[seen..], o));
        let QueueTold::Listed(page, more) = told(&out) else {
            panic!()
        };
        assert!(!page.is_empty() && page == queues[seen..seen + page.len()]);
        seen += page.len();
        assert_eq!(more, seen < queues.len());
    }
    let described = (queue_info(&long(1), 10_000), states(300));
    let mut seen = 0;
    for expected in [128, 128, 44, 0] {
        let out = frame(|o| writer.queue_described(1, &described, seen, o));
        let QueueTold::Described(page) = told(&out) else {
            panic!()
        };
        assert_eq!(page.partitions.len(), expected);
        assert_eq!((page.first, page.partition_count), (seen, 300));
        seen += expected as u32;
    }
    let out = frame(|o| writer.records_held(1, &held(5_000), o));
    let QueueTold::Held(found) = told(&out) else {
        panic!()
    };
    assert!(found.more && found.runs == held(1_000).runs);
    // The fullest poll and its answer.
    let most = QUEUE_POLL_ITEMS_MAX;
    let mut full = polling();
    full.poll.answers = vec![full.poll.answers[0]; most];
    let bytes = frame(|o| RequestWriter::new().poll_queue(1, &full, o).expect("fits"));
    assert!(matches!(request(&bytes), Request::PollQueue(poll) if poll.count() == most));
    let mut full = polled();
    full.answered = vec![full.answered[0]; most];
    full.deliveries = vec![full.deliveries[0]; most];
    full.batches = vec![7; 5 * most];
    let mut bytes = frame(|o| writer.queue_polled(1, &full, o));
    bytes.extend_from_slice(&full.batches);
    assert!(matches!(reply(&bytes), Reply::QueuePolled(polled) if polled.count() == most));
}

#[test]
fn what_no_queue_has_is_refused() {
    let refusal = |ask: &QueueAsk| {
        let bytes = frame(|o| RequestWriter::new().queue(1, ask, o).expect("it may"));
        let frame = take(&bytes);
        let refused = Request::decode(frame.header, frame.body);
        refused.expect_err("refused").code()
    };
    let long = "q".repeat(TOPIC_NAME_BYTES_MAX + 1);
    let delete = QueueAsk::Delete { name: long };
    assert_eq!(refusal(&delete), ErrorCode::LimitExceeded);
    let steps = QueueAsk::Create(new_queue(Retry::Schedule(vec![1; 17])));
    assert_eq!(refusal(&steps), ErrorCode::LimitExceeded);
    let poll = |change: fn(&mut Polling)| {
        let mut polling = polling();
        change(&mut polling);
        let mut out = Vec::new();
        let written = RequestWriter::new().poll_queue(1, &polling, &mut out);
        written.map(|()| {
            let frame = take(&out);
            let refused = Request::decode(frame.header, frame.body);
            refused.expect_err("refused").code()
        })
    };
    let empty = poll(|polling| polling.poll.answers[0].span.until = Offset(1 << 40));
    assert_eq!(empty, Ok(ErrorCode::Malformed));
    let many = poll(|polling| polling.poll.answers = vec![polling.poll.answers[0]; 1_025]);
    assert_eq!(many.expect_err("too many").limit, QUEUE_POLL_ITEMS_MAX);
}
