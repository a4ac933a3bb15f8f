//! Goal: the blocking client does what it promises, also when the broker refuses or goes away. Method: real sockets on
//! loopback, the fake broker behind them; bounded by counts, never by time.

use super::*;
use crate::base::record::BatchBuilder;
use crate::base::{AckLevel, Offset, PartitionNo, TimestampMs};
use crate::client::Target;
use crate::client::fake::{Server, clients, serve, settings, stages};
use crate::protocol::native::{EngineError, ErrorCode, NewTopic, OffsetQuery, TopicRef};
use std::sync::{Arc, Mutex};

fn client(server: &Server) -> Client {
    let options = ClientOptions {
        backoff: BackoffOptions {
            first: Duration::from_millis(1),
            longest: Duration::from_millis(4),
            tries: 5,
        },
        ..ClientOptions::default()
    };
    Client::connect([server.address().to_string()], options).expect("it listens")
}

fn new_topic(name: &str, partitions: u32) -> NewTopic {
    NewTopic {
        name: name.to_owned(),
        partitions,
        settings: settings(),
    }
}

type Log = Arc<Mutex<Vec<Delivery>>>;

fn producer(client: &mut Client, options: ProducerOptions) -> (Producer, Log) {
    let log = Log::default();
    let kept = Arc::clone(&log);
    let keep = move |delivery: &Delivery| kept.lock().expect("one thread").push(delivery.clone());
    let producer = client.producer("t", options, keep).expect("it exists");
    (producer, log)
}

/// Reads until the end and returns what was read, as text.
fn read_all(consumer: &mut Consumer) -> Vec<(u32, u64, String)> {
    let mut seen = Vec::new();
    while !consumer.is_caught_up() {
        for record in consumer.poll(Duration::from_secs(5)).expect("no failure") {
            let record = record.expect("whole");
            let value = String::from_utf8_lossy(record.value.expect("set")).into_owned();
            seen.push((record.partition, record.offset.0, value));
        }
    }
    seen
}

#[test]
fn topics_are_made_listed_described_and_deleted() {
    let server = serve(2);
    let mut client = client(&server);
    let made = client.create_topic(&new_topic("t", 3)).expect("new");
    let again = client.create_topic(&new_topic("t", 3)).expect_err("taken");
    assert!(matches!(again, ClientError::Refused(r) if r.code == ErrorCode::TopicExists));
    for number in 0..300 {
        server.with(|broker| broker.topic(&format!("u{number:03}"), 1));
    }
    let (topics, cores) = client.topics().expect("pages");
    assert_eq!((topics.len(), cores.len()), (301, 2));
    assert!(topics.windows(2).all(|pair| pair[0].name < pair[1].name));
    assert_eq!(client.topic("t").expect("there"), made);
    client.create_topic(&new_topic("wide", 1_500)).expect("new");
    let wide = TopicRef::Name("wide".to_owned());
    let (info, states) = client.describe_topic(&wide).expect("there");
    assert_eq!((info.partitions, states.len()), (1_500, 1_500));
    client.delete_topic(&wide).expect("there");
    let gone = client.topic("wide").expect_err("deleted");
    assert!(matches!(gone, ClientError::Refused(r) if r.code == ErrorCode::UnknownTopic));
}

#[test]
fn every_core_is_asked_for_its_stages_and_without_steering_one() {
    let server = serve(2);
    let told = client(&server).stages().expect("answers");
    assert_eq!(told, [stages(), stages()]);
    let options = ClientOptions {
        steering: false,
        ..ClientOptions::default()
    };
    let one = Client::connect([server.address().to_string()], options);
    let told = one.expect("it listens").stages().expect("answers");
    assert_eq!(told, [stages()]);
}

#[test]
fn every_core_is_asked_for_its_clients_page_by_page() {
    let server = serve(2);
    let told = client(&server).clients().expect("answers");
    assert_eq!(told, [clients(0), clients(0)]);
}

#[test]
fn records_go_where_they_should_and_come_back_whole() {
    let server = serve(2);
    let mut client = client(&server);
    client.create_topic(&new_topic("t", 4)).expect("new");
    let options = ProducerOptions {
        batch_bytes: 2_000,
        ..ProducerOptions::default()
    };
    let (mut producer, log) = producer(&mut client, options);
    let mut by_key = std::collections::BTreeMap::new();
    for number in 0..1_000 {
        let (key, value) = (format!("k{}", number % 10), format!("v{number}"));
        let target = Target::Key(key.as_bytes());
        let sent = producer.send(
            target,
            None,
            Some(key.as_bytes()),
            Some(value.as_bytes()),
            &[],
        );
        let (partition, _) = sent.expect("a small record");
        assert_eq!(*by_key.entry(key).or_insert(partition), partition);
        producer
            .send(Target::Any, None, None, Some(value.as_bytes()), &[])
            .expect("small");
        producer
            .send(Target::Partition(3), None, None, Some(b"p"), &[])
            .expect("small");
    }
    let totals = producer.flush();
    assert_eq!(
        totals,
        Totals {
            acked: 3_000,
            failed: 0,
            unknown: 0
        }
    );
    let log = log.lock().expect("one thread");
    assert!(log.len() > 10, "batches are small");
    for delivery in log.iter() {
        // This producer is the only one, so offsets and sequences are the same.
        assert_eq!(
            delivery.outcome,
            Outcome::Acked(Offset(delivery.first_sequence))
        );
    }
    let any: std::collections::BTreeSet<u32> = log.iter().map(|d| d.partition).collect();
    assert_eq!(any.len(), 4, "records without a key go round");
    let mut consumer = client
        .consumer("t", None, ConsumerOptions::default())
        .expect("there");
    let seen = read_all(&mut consumer);
    assert_eq!(seen.len(), 3_000);
    for partition in 0..4 {
        let offsets = seen.iter().filter(|s| s.0 == partition).map(|s| s.1);
        assert!(
            offsets
                .enumerate()
                .all(|(index, offset)| index as u64 == offset)
        );
    }
    for number in 0..1_000 {
        let value = format!("v{number}");
        assert_eq!(seen.iter().filter(|s| s.2 == value).count(), 2);
    }
}

#[test]
fn a_consumer_begins_where_it_is_told() {
    let server = serve(1);
    let mut client = client(&server);
    let topic = client.create_topic(&new_topic("t", 2)).expect("new");
    let (mut producer, _) = producer(&mut client, ProducerOptions::default());
    for number in 0..100i64 {
        let value = number.to_string();
        let target = Target::Partition(1);
        let time = Some(TimestampMs(number * 10));
        producer
            .send(target, time, None, Some(value.as_bytes()), &[])
            .expect("small");
        // Ten batches of ten records each.
        if number % 10 == 9 {
            producer.flush();
        }
    }
    let rows = [
        (StartAt::Earliest, 100),
        (StartAt::Latest, 0),
        (StartAt::Last(7), 7),
        (StartAt::Last(1_000), 100),
        (StartAt::Offset(Offset(95)), 5),
        (StartAt::Time(TimestampMs(905)), 10),
    ];
    for (start, expected) in rows {
        let options = ConsumerOptions {
            start,
            bytes_max: 300,
            ..ConsumerOptions::default()
        };
        let mut consumer = client.consumer("t", Some(&[1]), options).expect("there");
        let seen = read_all(&mut consumer);
        assert_eq!(seen.len(), expected, "{start:?}");
        assert!(
            seen.iter()
                .all(|(_, offset, value)| offset.to_string() == *value)
        );
        assert_eq!(consumer.positions().collect::<Vec<_>>(), [(1, Offset(100))]);
    }
    let latest = client.list_offsets(&topic, &[(PartitionNo(1), OffsetQuery::Latest)]);
    assert_eq!(latest.expect("there"), [(Offset(100), None)]);
    let beyond = client.consumer("t", Some(&[2]), ConsumerOptions::default());
    assert!(matches!(
        beyond.err(),
        Some(ClientError::NoPartition { partition: 2, .. })
    ));
}

#[test]
fn a_lost_connection_makes_a_produce_unknown_and_is_made_again() {
    let server = serve(1);
    let mut client = client(&server);
    client.create_topic(&new_topic("t", 1)).expect("new");
    server.with(|broker| broker.hang_up_at = Some(2));
    let (mut producer, log) = producer(&mut client, ProducerOptions::default());
    for _ in 0..3 {
        producer
            .send(Target::Any, None, None, Some(b"v"), &[])
            .expect("small");
        producer.flush();
    }
    let log: Vec<Outcome> = log
        .lock()
        .expect("one thread")
        .iter()
        .map(|d| d.outcome.clone())
        .collect();
    assert_eq!(log[0], Outcome::Acked(Offset(0)));
    assert!(
        matches!(&log[1], Outcome::Unknown(why) if why.contains("lost")),
        "{log:?}"
    );
    // The broker had stored it: that is what unknown means, and why it is not sent again.
    assert_eq!(log[2], Outcome::Acked(Offset(2)));
    assert_eq!(
        producer.totals(),
        Totals {
            acked: 2,
            failed: 0,
            unknown: 1
        }
    );
}

#[test]
fn an_unknown_outcome_is_sent_again_only_where_that_was_asked_for() {
    let server = serve(1);
    let mut client = client(&server);
    client.create_topic(&new_topic("t", 1)).expect("new");
    server.with(|broker| broker.hang_up_at = Some(1));
    let options = ProducerOptions {
        retries_unknown: 1,
        ..ProducerOptions::default()
    };
    let (mut producer, _) = producer(&mut client, options);
    producer
        .send(Target::Any, None, None, Some(b"v"), &[])
        .expect("small");
    assert_eq!(
        producer.flush(),
        Totals {
            acked: 1,
            failed: 0,
            unknown: 0
        }
    );
    assert_eq!(
        server.with(|broker| broker.produces),
        2,
        "stored twice, as the option says"
    );
}

#[test]
fn refusals_that_pass_are_tried_again_and_others_are_told() {
    let server = serve(1);
    let mut client = client(&server);
    client.create_topic(&new_topic("t", 1)).expect("new");
    let (mut producer, log) = producer(&mut client, ProducerOptions::default());
    let refusals = [
        vec![EngineError::Overloaded("busy"), EngineError::DiskFull],
        vec![EngineError::Damaged("torn".to_owned())],
        vec![EngineError::StorageFailed("EIO".to_owned())],
    ];
    for refusals in refusals {
        server.with(|broker| broker.refusals = refusals);
        producer
            .send(Target::Any, None, None, Some(b"v"), &[])
            .expect("small");
        producer.flush();
    }
    let log = log.lock().expect("one thread");
    assert_eq!(log[0].outcome, Outcome::Acked(Offset(0)));
    assert!(matches!(&log[1].outcome, Outcome::Failed(why) if why.contains("torn")));
    assert!(matches!(&log[2].outcome, Outcome::Unknown(why) if why.contains("EIO")));
    assert_eq!(
        producer.totals(),
        Totals {
            acked: 1,
            failed: 1,
            unknown: 1
        }
    );
}

#[test]
fn a_consumer_survives_a_lost_connection() {
    let server = serve(1);
    let mut client = client(&server);
    client.create_topic(&new_topic("t", 1)).expect("new");
    let (mut producer, _) = producer(&mut client, ProducerOptions::default());
    let mut consumer = client
        .consumer("t", None, ConsumerOptions::default())
        .expect("there");
    let mut seen = Vec::new();
    for round in 0..5u64 {
        producer
            .send(Target::Any, None, None, Some(b"v"), &[])
            .expect("small");
        while producer.flush().acked <= round {
            producer
                .send(Target::Any, None, None, Some(b"v"), &[])
                .expect("small");
        }
        let written = server.with(|broker| broker.end(consumer_key(&consumer)));
        while (seen.len() as u64) < written.0 {
            for record in consumer.poll(Duration::from_secs(5)).expect("made again") {
                seen.push(record.expect("whole").offset);
            }
        }
        server.hang_up();
    }
    assert!(
        seen.iter()
            .enumerate()
            .all(|(index, offset)| index as u64 == offset.0)
    );
}

fn consumer_key(consumer: &Consumer) -> crate::base::PartitionKey {
    crate::base::PartitionKey::new(consumer.topic().id, PartitionNo(0))
}

fn planted(change: impl Fn(&mut Vec<u8>)) -> ClientError {
    let server = serve(1);
    let mut client = client(&server);
    let mut builder = BatchBuilder::new();
    builder.push(TimestampMs(1), None, Some(b"value"), &[]);
    let mut bytes = builder.finish().to_vec();
    change(&mut bytes);
    server.with(|broker| {
        let key = broker.topic("t", 1).key(0);
        broker.plant(key, bytes);
    });
    let mut consumer = client
        .consumer("t", None, ConsumerOptions::default())
        .expect("there");
    loop {
        match consumer.poll(Duration::from_secs(5)) {
            Ok(records) => assert_eq!(records.count(), 0),
            Err(error) => return error,
        }
    }
}

#[test]
fn damage_and_compression_are_told_not_skipped() {
    let damaged = planted(|bytes| *bytes.last_mut().expect("not empty") ^= 1);
    assert!(
        matches!(&damaged, ClientError::Damaged { partition: 0, .. }),
        "{damaged}"
    );
    let compressed = planted(|bytes| {
        bytes[22] = 4;
        let crc = crate::base::checksum::crc32c(&bytes[21..]);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    });
    assert!(matches!(
        compressed,
        ClientError::Compressed {
            offset: Offset(0),
            ..
        }
    ));
}

#[test]
fn compressed_batches_are_read_among_others() {
    let server = serve(1);
    let mut client = client(&server);
    let mut builder = BatchBuilder::new();
    builder.push(TimestampMs(1), None, Some(b"value"), &[]);
    builder.push(TimestampMs(1), None, Some(b"another"), &[]);
    let plain = builder.finish().to_vec();
    let mut packed = plain[..61].to_vec();
    packed.extend(zstd::encode_all(&plain[61..], 3).expect("memory"));
    let length = (packed.len() - 12) as i32;
    packed[8..12].copy_from_slice(&length.to_be_bytes());
    packed[22] = 4;
    let crc = crate::base::checksum::crc32c(&packed[21..]);
    packed[17..21].copy_from_slice(&crc.to_be_bytes());
    server.with(|broker| {
        let key = broker.topic("t", 1).key(0);
        for (number, bytes) in [&plain, &packed, &plain, &packed].into_iter().enumerate() {
            let mut bytes = bytes.clone();
            crate::base::batch::stamp(&mut bytes, Offset(2 * number as u64), 0);
            broker.plant(key, bytes);
        }
    });
    let options = ConsumerOptions {
        start: StartAt::Offset(Offset(1)),
        ..ConsumerOptions::default()
    };
    let mut consumer = client.consumer("t", None, options).expect("there");
    let mut found = Vec::new();
    for _ in 0..7 {
        if found.len() == 7 {
            break;
        }
        for record in consumer.poll(Duration::from_secs(5)).expect("it is good") {
            let record = record.expect("good");
            found.push((record.offset.0, record.value.expect("one").to_vec()));
        }
    }
    let value = |offset| match offset % 2 {
        0 => b"value".to_vec(),
        _ => b"another".to_vec(),
    };
    let wanted: Vec<_> = (1..8).map(|offset| (offset, value(offset))).collect();
    assert_eq!(found, wanted);
}

#[test]
fn a_record_above_the_largest_batch_is_refused_before_it_is_taken() {
    let server = serve(1);
    let mut client = client(&server);
    client.create_topic(&new_topic("t", 1)).expect("new");
    let options = ProducerOptions {
        level: Some(AckLevel::Synced),
        ..ProducerOptions::default()
    };
    let (mut producer, _) = producer(&mut client, options);
    let huge = vec![0; 8 << 20];
    let refused = producer.send(Target::Any, None, None, Some(&huge), &[]);
    assert!(matches!(refused, Err(ClientError::RecordTooLarge { .. })));
    let large = &huge[..1 << 20];
    producer
        .send(Target::Any, None, None, Some(large), &[])
        .expect("fits a batch");
    producer
        .send(Target::Any, None, None, Some(large), &[])
        .expect("fits a batch");
    assert_eq!(producer.flush().acked, 2);
}

#[test]
fn nobody_there_is_told_at_once() {
    // Port 1 (tcpmux) is never handed out to a test that asks for a free one.
    let options = ClientOptions::default();
    let error = Client::connect(["127.0.0.1:1"], options)
        .err()
        .expect("it is gone");
    assert!(
        matches!(&error, ClientError::Connect { .. }) && error.is_transient(),
        "{error}"
    );
}
