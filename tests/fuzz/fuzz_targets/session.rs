//! Goal: no reply of a broker, in whatever order and pieces, makes the client's session panic or grow without bound, also
//! not when all that it yields is used, down to the records.
//! Input: a byte that says how many requests are asked, one for each (its kind), one that says how the replies are cut,
//! then a script (src/script.rs) of the broker.
#![no_main]

use libfuzzer_sys::fuzz_target;
use millrace::base::record::records;
use millrace::base::{AckLevel, Offset, PartitionKey, PartitionNo, RecordBatch, TopicId};
use millrace::client::session::{Session, SessionError};
use millrace::client::{FetchPartition, FetchRequest, Reply, TopicRef};
use millrace::base::queue::Span;
use millrace::protocol::native::{
    AnswerKind, GroupAsk, MetadataQuery, OffsetEntry, OffsetQuery, Polling, QueueAnswer, QueueAsk,
};
use millrace_fuzz::script::{self, Act};
use std::time::Duration;

const REQUESTS_MAX: usize = 16;

fn key(partition: u32) -> PartitionKey {
    PartitionKey::new(TopicId(7), PartitionNo(partition))
}

fn ask(Session { ledger, outbox, .. }: &mut Session, kind: u8) {
    let count = u32::from(kind >> 4);
    let asked = match kind % 11 {
        0 => outbox.metadata(ledger, &MetadataQuery::All { after: None }),
        1 => outbox.delete_topic(ledger, &TopicRef::Id(TopicId(7))),
        2 => outbox.describe_topic(ledger, &TopicRef::Name("t".to_owned()), count),
        3 => outbox.stages(ledger),
        8 => outbox.clients(ledger, count),
        9 => {
            let name = "q".to_owned();
            let ask = match kind & 48 {
                0 => QueueAsk::List {
                    only: None,
                    after: Some(name),
                },
                16 => QueueAsk::Describe { name, first: count },
                32 => QueueAsk::Held {
                    name,
                    partition: PartitionNo(count),
                },
                _ => QueueAsk::Join {
                    name,
                    at_most_once: false,
                },
            };
            outbox.queue(ledger, &ask)
        }
        10 => {
            let answer = QueueAnswer {
                partition: PartitionNo(0),
                span: Span {
                    from: Offset(1),
                    until: Offset(2),
                    deliveries: 1,
                },
                kind: AnswerKind::Ack,
            };
            let mut polling = Polling::default();
            polling.poll.answers = vec![answer; count as usize];
            outbox.poll_queue(ledger, &polling)
        }
        4 => {
            let entries: Vec<_> = (0..count).map(|number| (key(number), 1)).collect();
            outbox.produce(ledger, AckLevel::Written, entries.into_iter())
        }
        5 => {
            let entry = |number| OffsetEntry {
                key: key(number),
                query: OffsetQuery::Latest,
            };
            let entries: Vec<_> = (0..count).map(entry).collect();
            outbox.list_offsets(ledger, &entries)
        }
        6 => {
            let group = "g".to_owned();
            let ask = match kind & 16 {
                0 => GroupAsk::List { after: Some(group) },
                _ => GroupAsk::Describe {
                    group,
                    first: count,
                },
            };
            outbox.group(ledger, &ask)
        }
        _ => {
            let wanted = |number| FetchPartition {
                key: key(number),
                from: Offset(0),
                bytes_max: 1,
            };
            let request = FetchRequest {
                partitions: (0..count).map(wanted).collect(),
                bytes_min: 1,
                wait_max: Duration::ZERO,
                bytes_max: 1,
            };
            outbox.fetch(ledger, &request)
        }
    };
    // A request without entries is refused here.
    assert!(asked.is_ok() || count == 0);
}

fn use_up(reply: &Reply<'_>) {
    match reply {
        Reply::Fetched(fetched) => {
            for entry in fetched.entries() {
                let mut rest = entry.batches;
                while let Ok(batch) = RecordBatch::parse(rest) {
                    let _ = batch.check();
                    for record in records(&batch).map_while(Result::ok) {
                        assert!(record.headers().count() <= rest.len());
                    }
                    rest = &rest[batch.bytes().len()..];
                }
            }
        }
        Reply::QueuePolled(polled) => {
            for (delivered, batches) in polled.deliveries() {
                assert_eq!(delivered.bytes as usize, batches.len());
            }
        }
        Reply::Produced(produced) => assert_eq!(produced.entries().count(), produced.count()),
        Reply::OffsetsListed(listed) => assert_eq!(listed.entries().count(), listed.count()),
        other => assert!(!format!("{other:?}").is_empty()),
    }
}

fn receive(session: &mut Session, mut bytes: &[u8], step: usize) -> Result<(), SessionError> {
    while !bytes.is_empty() {
        let space = session.inbox.space();
        let take = bytes.len().min(space.len()).min(step);
        space[..take].copy_from_slice(&bytes[..take]);
        session.inbox.filled(take);
        bytes = &bytes[take..];
        session.inbox.holds_reply()?;
        while let Some((_, reply)) = session.reply()? {
            use_up(&reply);
        }
    }
    Ok(())
}

fuzz_target!(|bytes: &[u8]| {
    let Some((&count, bytes)) = bytes.split_first() else {
        return;
    };
    let (kinds, bytes) = bytes.split_at(bytes.len().min(usize::from(count) % REQUESTS_MAX));
    let Some((&step, bytes)) = bytes.split_first() else {
        return;
    };
    let mut session = Session::new();
    kinds.iter().for_each(|kind| ask(&mut session, *kind));
    for act in script::read(bytes) {
        let (Act::Frame(bytes) | Act::Raw(bytes)) = act else {
            continue;
        };
        if let Err(error) = receive(&mut session, &bytes, 1 + usize::from(step)) {
            assert!(!error.to_string().is_empty());
            return;
        }
    }
});
