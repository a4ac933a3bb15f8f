//! Goal: the Kafka listener keeps the rules of the wire that clients lean on: answers in the order of the requests, none for
//! acks=0, whole batches as they came, an error for what is wrong and a clean close for what is no request. Method: the real
//! binary, and requests written by hand from the schemas' structs.
#![allow(clippy::unwrap_used, reason = "a test may panic; the line says where")]

#[path = "kafka/admin.rs"]
mod admin;
#[path = "kafka/clients.rs"]
mod clients;
#[path = "kafka/cluster.rs"]
mod cluster;
#[path = "kafka/old.rs"]
mod old;
mod process;
#[path = "kafka/silent.rs"]
mod silent;
#[path = "kafka/wire.rs"]
mod wire;

use millrace::base::TimestampMs;
use millrace::base::record::BatchBuilder;
use millrace::protocol::kafka::api::{self, key};
use millrace::protocol::kafka::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use millrace::protocol::kafka::create_topics::{
    CreatableConfig, CreatableTopic, CreateTopicsRequest, CreateTopicsResponse,
};
use millrace::protocol::kafka::describe_cluster::{
    DescribeClusterRequest, DescribeClusterResponse,
};
use millrace::protocol::kafka::describe_configs::{
    self, ConfigResource, DescribeConfigsRequest, DescribeConfigsResponse,
};
use millrace::protocol::kafka::describe_log_dirs::{
    DescribeLogDirsRequest, DescribeLogDirsResponse,
};
use millrace::protocol::kafka::error;
use millrace::protocol::kafka::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
use millrace::protocol::kafka::leader_epoch::{
    LeaderEpochPartition, LeaderEpochRequest, LeaderEpochResponse, LeaderEpochTopic,
};
use millrace::protocol::kafka::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopic,
};
use millrace::protocol::kafka::metadata::{
    MetadataRequest, MetadataRequestTopic, MetadataResponse,
};
use millrace::protocol::kafka::wire::{Field, Reader};
use process::{Broker, Directory, cpus};
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};
use wire::{fetch, produce, request, shape};

/// A broker that serves Kafka clients.
fn serve(name: &str, cores: usize) -> (Directory, Broker) {
    let folder = Directory::new(name);
    let flags = ["--kafka", "127.0.0.1:0", "--kafka-partitions", "3"];
    let broker = Broker::spawn_with(&folder.path().join("data"), &cpus(cores), &flags);
    let broker = broker.serving().unwrap_or_else(|said| panic!("{said:?}"));
    (folder, broker)
}

struct Peer(TcpStream);

impl Peer {
    fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        let wait = Some(Duration::from_secs(20));
        stream.set_read_timeout(wait).unwrap();
        Self(stream)
    }

    fn send(&mut self, key: i16, version: i16, correlation: i32, body: &[u8]) {
        self.0
            .write_all(&request(key, version, correlation, body))
            .unwrap();
    }

    /// The next answer: its correlation id and what is behind it. `None`: the broker closed.
    fn receive(&mut self) -> Option<(i32, Vec<u8>)> {
        let mut length = [0; 4];
        self.0.read_exact(&mut length).ok()?;
        let mut answer = vec![0; i32::from_be_bytes(length) as usize];
        self.0.read_exact(&mut answer).unwrap();
        let correlation = i32::from_be_bytes(answer[..4].try_into().unwrap());
        Some((correlation, answer.split_off(4)))
    }

    /// Asks with a struct and reads one.
    fn ask<A: Field>(&mut self, key: i16, version: i16, request: &impl Field) -> A {
        let shape = shape(key, version);
        let mut body = Vec::new();
        request.write(&mut body, shape);
        self.send(key, version, 77, &body);
        let (correlation, answer) = self.receive().unwrap();
        assert_eq!(correlation, 77);
        let tagged = usize::from(shape.is_flexible && key != key::API_VERSIONS);
        let mut reader = Reader::new(&answer[tagged..]);
        let read = A::read(&mut reader, shape).unwrap();
        assert!(reader.rest().is_empty(), "{key} {version}");
        read
    }
}

fn batch(values: &[&str]) -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    for (number, value) in values.iter().enumerate() {
        let time = TimestampMs(1_000 + number as i64);
        builder.push(time, None, Some(value.as_bytes()), &[]);
    }
    builder.finish().to_vec()
}

/// What the answer to a produce of version 7 says of each partition: its number, the code, the first offset.
fn produced(answer: &[u8]) -> Vec<(i32, i16, i64)> {
    let shape = shape(key::PRODUCE, 7);
    let mut reader = Reader::new(answer);
    assert_eq!(reader.count(shape), Ok(Some(1)));
    reader.string(shape).unwrap();
    let count = reader.count(shape).unwrap().unwrap();
    let one = |_| {
        let told = (
            reader.i32().unwrap(),
            reader.i16().unwrap(),
            reader.i64().unwrap(),
        );
        let _times = (reader.i64().unwrap(), reader.i64().unwrap());
        told
    };
    (0..count).map(one).collect()
}

/// What the answer to such a fetch says: the code, the high watermark, the records.
fn fetched(version: i16, answer: &[u8]) -> (i16, i64, Vec<u8>) {
    let shape = shape(key::FETCH, version);
    let mut reader = Reader::new(answer);
    reader.tagged(shape).unwrap();
    reader.i32().unwrap();
    if version >= 7 {
        assert_eq!((reader.i16(), reader.i32()), (Ok(0), Ok(0)));
    }
    assert_eq!(reader.count(shape), Ok(Some(1)));
    reader.string(shape).unwrap();
    assert_eq!(reader.count(shape), Ok(Some(1)));
    assert_eq!(reader.i32(), Ok(0));
    let (code, high_watermark) = (reader.i16().unwrap(), reader.i64().unwrap());
    assert_eq!(reader.i64(), Ok(high_watermark));
    if version >= 5 {
        reader.i64().unwrap();
    }
    assert_eq!(reader.count(shape), Ok(Some(0)));
    if version >= 11 {
        assert_eq!(reader.i32(), Ok(-1));
    }
    let records = reader.bytes(shape).unwrap().unwrap().to_vec();
    for _ in 0..3 {
        reader.tagged(shape).unwrap();
    }
    assert!(reader.rest().is_empty());
    (code, high_watermark, records)
}

#[test]
fn versions_are_told_and_an_unknown_one_is_answered_in_version_0() {
    let (_folder, broker) = serve("kafka-versions", 1);
    let mut peer = Peer::connect(&broker.kafka()[0]);
    for version in 0..=4 {
        let asked = ApiVersionsRequest::default();
        let told: ApiVersionsResponse = peer.ask(key::API_VERSIONS, version, &asked);
        let row = |key| told.api_keys.iter().find(|row| row.api_key == key).unwrap();
        assert_eq!(
            row(key::PRODUCE).min_version,
            0,
            "librdkafka wants to see it"
        );
        assert_eq!(row(key::FETCH).min_version, 4);
        assert_eq!(told.error_code, 0);
    }
    peer.send(key::API_VERSIONS, 99, 5, b"whatever");
    let (correlation, answer) = peer.receive().unwrap();
    let told = ApiVersionsResponse::read(&mut Reader::new(&answer), shape(key::API_VERSIONS, 0));
    let told = told.unwrap();
    assert_eq!(
        (correlation, told.error_code),
        (5, error::UNSUPPORTED_VERSION)
    );
    assert_eq!(told.api_keys.len(), api::APIS.len());
}

#[test]
fn topics_are_made_shown_by_every_core_and_deleted() {
    let (_folder, broker) = serve("kafka-topics", 2);
    let brokers = broker.kafka();
    let mut peer = Peer::connect(&brokers[0]);
    let topic = |name: &str, num_partitions, configs| CreatableTopic {
        name: name.to_owned(),
        num_partitions,
        replication_factor: -1,
        configs,
        ..CreatableTopic::default()
    };
    let config = |name: &str, value: &str| CreatableConfig {
        name: name.to_owned(),
        value: Some(value.to_owned()),
    };
    for version in 2..=7 {
        let name = format!("made-{version}");
        let asked = CreateTopicsRequest {
            topics: vec![
                topic(&name, 2, vec![config("segment.bytes", "1048576")]),
                topic("a/b", 1, Vec::new()),
                topic("none", 0, Vec::new()),
                topic("odd", 1, vec![config("no.such.thing", "1")]),
            ],
            ..CreateTopicsRequest::default()
        };
        for first in [0, error::TOPIC_ALREADY_EXISTS] {
            let told: CreateTopicsResponse = peer.ask(key::CREATE_TOPICS, version, &asked);
            let codes: Vec<i16> = told.topics.iter().map(|one| one.error_code).collect();
            let wanted = [
                first,
                error::INVALID_TOPIC,
                error::INVALID_PARTITIONS,
                error::INVALID_CONFIG,
            ];
            assert_eq!(codes, wanted, "{told:?}");
            let line = told.topics[3].error_message.as_ref().unwrap();
            assert!(line.contains("no.such.thing"));
        }
    }
    for (address, version) in brokers.iter().cycle().zip(0..=13) {
        let asked = |name: &str| MetadataRequestTopic {
            name: Some(name.to_owned()),
            ..MetadataRequestTopic::default()
        };
        let auto = format!("auto-{version}");
        let request = MetadataRequest {
            topics: Some(vec![asked("made-2"), asked(&auto), asked("a/b")]),
            ..MetadataRequest::default()
        };
        let told: MetadataResponse = Peer::connect(address).ask(key::METADATA, version, &request);
        let ports = told
            .brokers
            .iter()
            .map(|one| format!("{}:{}", one.host, one.port));
        assert_eq!(ports.collect::<Vec<_>>(), brokers);
        let leaders = told.topics[0].partitions.iter().map(|one| one.leader_id);
        assert_eq!(leaders.collect::<BTreeSet<_>>().len(), brokers.len());
        assert_eq!(
            (told.topics[1].error_code, told.topics[1].partitions.len()),
            (0, 3)
        );
        assert_eq!(told.topics[2].error_code, error::INVALID_TOPIC);
        if version >= 4 {
            let request = MetadataRequest {
                topics: Some(vec![asked("not-made")]),
                allow_auto_topic_creation: false,
                ..MetadataRequest::default()
            };
            let told: MetadataResponse = peer.ask(key::METADATA, version, &request);
            assert_eq!(told.topics[0].error_code, error::UNKNOWN_TOPIC_OR_PARTITION);
        }
    }
}

#[test]
fn administrators_are_told_of_brokers_settings_sizes_and_epochs() {
    let (_folder, broker) = serve("kafka-admin", 2);
    let brokers = broker.kafka();
    let mut peer = Peer::connect(&brokers[0]);
    make(&mut peer, "t");
    let body = produce("t", -1, &[(0, &batch(&["a", "b"]))]);
    peer.send(key::PRODUCE, 7, 1, &body);
    assert_eq!(produced(&peer.receive().unwrap().1), [(0, 0, 0)]);
    for version in 0..=2 {
        let asked = DescribeClusterRequest::default();
        let told: DescribeClusterResponse = peer.ask(key::DESCRIBE_CLUSTER, version, &asked);
        let ports = told
            .brokers
            .iter()
            .map(|one| format!("{}:{}", one.host, one.port));
        assert_eq!(ports.collect::<Vec<_>>(), brokers);
    }
    let resource = |resource_type, name: &str, key: Option<&str>| ConfigResource {
        resource_type,
        resource_name: name.to_owned(),
        configuration_keys: key.map(|key| vec![key.to_owned()]),
    };
    for version in 1..=4 {
        let asked = DescribeConfigsRequest {
            resources: vec![
                resource(describe_configs::TOPIC, "t", Some("segment.ms")),
                resource(describe_configs::TOPIC, "none", None),
                resource(describe_configs::BROKER, "0", Some("num.partitions")),
            ],
            ..DescribeConfigsRequest::default()
        };
        let told: DescribeConfigsResponse = peer.ask(key::DESCRIBE_CONFIGS, version, &asked);
        let values = told.results.iter().map(|one| {
            let values = one
                .configs
                .iter()
                .map(|config| config.value.clone().unwrap());
            (one.error_code, values.collect::<Vec<_>>())
        });
        let wanted = [
            (0, vec!["604800000".to_owned()]),
            (error::UNKNOWN_TOPIC_OR_PARTITION, Vec::new()),
            (0, vec!["3".to_owned()]),
        ];
        assert_eq!(values.collect::<Vec<_>>(), wanted);
    }
    for version in 1..=4 {
        let mut sizes = Vec::new();
        for address in &brokers {
            let asked = DescribeLogDirsRequest { topics: None };
            let mut peer = Peer::connect(address);
            let told: DescribeLogDirsResponse = peer.ask(key::DESCRIBE_LOG_DIRS, version, &asked);
            let topics = told.results.into_iter().flat_map(|one| one.topics);
            let partitions = topics.flat_map(|topic| topic.partitions);
            sizes.extend(partitions.map(|partition| partition.partition_size));
        }
        assert_eq!(sizes, [batch(&["a", "b"]).len() as i64], "told once");
    }
    for (epoch, wanted) in [(0, (0, 2)), (1, (-1, -1))] {
        let partition = LeaderEpochPartition {
            leader_epoch: epoch,
            ..LeaderEpochPartition::default()
        };
        let topic = LeaderEpochTopic {
            topic: "t".to_owned(),
            partitions: vec![partition],
        };
        let asked = LeaderEpochRequest {
            topics: vec![topic],
            ..LeaderEpochRequest::default()
        };
        let told: LeaderEpochResponse = peer.ask(key::OFFSET_FOR_LEADER_EPOCH, 3, &asked);
        let told = &told.topics[0].partitions[0];
        assert_eq!((told.leader_epoch, told.end_offset), wanted);
    }
}

/// A topic of one partition.
fn make(peer: &mut Peer, name: &str) {
    let topic = CreatableTopic {
        name: name.to_owned(),
        num_partitions: 1,
        replication_factor: 1,
        ..CreatableTopic::default()
    };
    let asked = CreateTopicsRequest {
        topics: vec![topic],
        ..CreateTopicsRequest::default()
    };
    let told: CreateTopicsResponse = peer.ask(key::CREATE_TOPICS, 4, &asked);
    assert_eq!(told.topics[0].error_code, 0);
}

#[test]
fn answers_come_in_the_order_of_the_requests_and_none_for_acks_0() {
    let (_folder, broker) = serve("kafka-order", 1);
    let mut peer = Peer::connect(&broker.kafka()[0]);
    make(&mut peer, "t");
    let (one, two) = (batch(&["a", "b"]), batch(&["c"]));
    let mut all = Vec::new();
    for (correlation, acks) in [(1, -1), (2, 0), (3, 1), (4, 0), (5, -1)] {
        let body = produce("t", acks, &[(0, &one)]);
        all.extend(request(key::PRODUCE, 7, correlation, &body));
    }
    all.extend(request(key::FETCH, 11, 6, &fetch(11, "t", 1, 0)));
    all.extend(request(key::PRODUCE, 7, 7, &produce("t", 1, &[(0, &two)])));
    peer.0.write_all(&all).unwrap();
    for (correlation, base) in [(1, 0), (3, 4), (5, 8)] {
        let (told, answer) = peer.receive().unwrap();
        assert_eq!((told, produced(&answer)), (correlation, vec![(0, 0, base)]));
    }
    let (told, answer) = peer.receive().unwrap();
    let (code, _, records) = fetched(11, &answer);
    // From inside the first batch: the batch is returned whole, and as it came but for the broker's stamp.
    assert_eq!((told, code, records.len()), (6, 0, one.len()));
    assert_eq!(records[16..], one[16..]);
    let (told, answer) = peer.receive().unwrap();
    assert_eq!((told, produced(&answer)), (7, vec![(0, 0, 10)]));
}

#[test]
fn a_fetch_of_any_version_waits_at_the_tail_and_is_woken_by_a_produce() {
    let (_folder, broker) = serve("kafka-tail", 1);
    let address = &broker.kafka()[0];
    let (mut producer, mut consumer) = (Peer::connect(address), Peer::connect(address));
    make(&mut producer, "t");
    let bytes = batch(&["tail"]);
    for (number, version) in (4..=12).enumerate() {
        let from = number as i64;
        consumer.send(key::FETCH, version, 1, &fetch(version, "t", from, 20_000));
        std::thread::sleep(Duration::from_millis(30));
        let began = Instant::now();
        producer.send(key::PRODUCE, 7, 2, &produce("t", 1, &[(0, &bytes)]));
        assert_eq!(produced(&producer.receive().unwrap().1), [(0, 0, from)]);
        let (code, high_watermark, records) = fetched(version, &consumer.receive().unwrap().1);
        assert!(began.elapsed() < Duration::from_secs(10));
        assert_eq!((code, high_watermark), (0, from + 1), "{version}");
        assert_eq!(records[..8], from.to_be_bytes());
        assert_eq!(records[16..], bytes[16..]);
    }
    consumer.send(key::FETCH, 12, 3, &fetch(12, "t", 99, 20_000));
    let (code, ..) = fetched(12, &consumer.receive().unwrap().1);
    assert_eq!(code, error::OFFSET_OUT_OF_RANGE);
    consumer.send(key::FETCH, 12, 4, &fetch(12, "nowhere", 0, 20_000));
    let (code, ..) = fetched(12, &consumer.receive().unwrap().1);
    assert_eq!(code, error::UNKNOWN_TOPIC_OR_PARTITION);
    for (timestamp, wanted) in [
        (-1, (9, -1)),
        (-2, (0, -1)),
        (1_000, (0, 1_000)),
        (5_000, (-1, -1)),
    ] {
        for version in 1..=6 {
            let partition = ListOffsetsPartition {
                timestamp,
                ..ListOffsetsPartition::default()
            };
            let topic = ListOffsetsTopic {
                name: "t".to_owned(),
                partitions: vec![partition],
            };
            let asked = ListOffsetsRequest {
                topics: vec![topic],
                ..ListOffsetsRequest::default()
            };
            let told: ListOffsetsResponse = consumer.ask(key::LIST_OFFSETS, version, &asked);
            let told = &told.topics[0].partitions[0];
            assert_eq!(
                (told.offset, told.timestamp),
                wanted,
                "{timestamp} {version}"
            );
        }
    }
}

#[test]
fn what_is_wrong_with_records_is_told_and_nothing_of_them_is_stored() {
    let (_folder, broker) = serve("kafka-records", 1);
    let mut peer = Peer::connect(&broker.kafka()[0]);
    make(&mut peer, "t");
    let good = batch(&["good"]);
    let two = [good.clone(), good.clone()].concat();
    let mut flipped = good.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let mut old = good.clone();
    old[16] = 1;
    for (records, code) in [
        (&flipped[..], error::CORRUPT_MESSAGE),
        (&good[..good.len() - 1], error::CORRUPT_MESSAGE),
        (&good[..20], error::CORRUPT_MESSAGE),
        (&two, error::INVALID_RECORD),
        (&old, error::INVALID_RECORD),
        (&[], error::INVALID_RECORD),
    ] {
        peer.send(key::PRODUCE, 7, 1, &produce("t", -1, &[(0, records)]));
        assert_eq!(produced(&peer.receive().unwrap().1), [(0, code, -1)]);
    }
    // Of several partitions each has its own answer.
    let partitions: [(i32, &[u8]); 4] = [(0, &good), (1, &good), (-1, &good), (0, &flipped)];
    peer.send(key::PRODUCE, 7, 1, &produce("t", -1, &partitions));
    let unknown = error::UNKNOWN_TOPIC_OR_PARTITION;
    let told = produced(&peer.receive().unwrap().1);
    let wanted = [
        (0, 0, 0),
        (1, unknown, -1),
        (-1, unknown, -1),
        (0, error::CORRUPT_MESSAGE, -1),
    ];
    assert_eq!(told, wanted);
    peer.send(key::PRODUCE, 7, 1, &produce("t", 2, &[(0, &good)]));
    let told = produced(&peer.receive().unwrap().1);
    assert_eq!(told, [(0, error::INVALID_REQUIRED_ACKS, -1)]);
    // Nobody waits for an answer that could say so: the connection ends.
    peer.send(key::PRODUCE, 7, 1, &produce("t", 0, &[(0, &flipped)]));
    assert!(peer.receive().is_none());
}

#[test]
fn what_is_no_request_closes_the_connection_and_nothing_else() {
    let (_folder, mut broker) = serve("kafka-close", 1);
    let address = broker.kafka().remove(0);
    let huge_count = [0x7f, 0xff, 0xff, 0xff];
    for bytes in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0xff; 64],
        &request(key::PRODUCE, 2, 1, b""),
        &request(4, 0, 1, b""),
        &request(key::METADATA, 1, 1, &huge_count),
        &request(key::PRODUCE, 7, 1, &[0x7f; 30]),
        &request(key::FETCH, 12, 1, &[0x7f; 60]),
    ] {
        let mut peer = Peer::connect(&address);
        peer.0.write_all(bytes).unwrap();
        assert!(peer.receive().is_none(), "{bytes:?}");
    }
    let whole = request(
        key::PRODUCE,
        7,
        1,
        &produce("t", 1, &[(0, &batch(&["cut"]))]),
    );
    for cut in 0..whole.len() {
        Peer::connect(&address).0.write_all(&whole[..cut]).unwrap();
    }
    let mut peer = Peer::connect(&address);
    let asked = ApiVersionsRequest::default();
    let told: ApiVersionsResponse = peer.ask(key::API_VERSIONS, 3, &asked);
    assert_eq!(told.error_code, 0);
    assert!(broker.lives());
}

/// A batch of one record, of a producer that numbers them.
fn numbered(id: i64, number: i32) -> Vec<u8> {
    let mut bytes = batch(&[&number.to_string()]);
    bytes[43..51].copy_from_slice(&id.to_be_bytes());
    bytes[51..53].copy_from_slice(&0i16.to_be_bytes());
    bytes[53..57].copy_from_slice(&number.to_be_bytes());
    let crc = millrace::base::checksum::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes
}

#[test]
fn a_numbered_producer_has_nothing_stored_twice_across_a_kill() {
    let folder = Directory::new("kafka-numbered");
    let start = || {
        let flags = ["--kafka", "127.0.0.1:0"];
        let broker = Broker::spawn_with(&folder.path().join("data"), &cpus(1), &flags);
        let broker = broker.serving().unwrap_or_else(|said| panic!("{said:?}"));
        let peer = Peer::connect(&broker.kafka()[0]);
        (broker, peer)
    };
    let (broker, mut peer) = start();
    make(&mut peer, "t");
    let asked = InitProducerIdRequest::default();
    let told: InitProducerIdResponse = peer.ask(key::INIT_PRODUCER_ID, 4, &asked);
    let id = told.producer_id;
    let send = |peer: &mut Peer, number| {
        loop {
            let body = produce("t", -1, &[(0, &numbered(id, number))]);
            peer.send(key::PRODUCE, 7, 1, &body);
            match produced(&peer.receive().unwrap().1)[0] {
                (_, error::NOT_ENOUGH_REPLICAS, _) => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                (_, code, base) => return (code, base),
            }
        }
    };
    for number in 0..20 {
        assert_eq!(send(&mut peer, number), (0, i64::from(number)));
    }
    assert_eq!(send(&mut peer, 18), (0, 18));
    broker.kill();
    let (_broker, mut peer) = start();
    for number in 15..25 {
        assert_eq!(send(&mut peer, number), (0, i64::from(number)), "{number}");
    }
    let gap = (error::OUT_OF_ORDER_SEQUENCE_NUMBER, -1);
    assert_eq!(send(&mut peer, 26), gap);
    assert_eq!(send(&mut peer, 2), gap);
}

/// Goal: one port stands for all cores. Method: a topic on two cores, of which core 0 alone listens; what is written to each
/// partition, pipelined, comes back.
#[test]
fn one_port_serves_the_partitions_of_all_cores() {
    let folder = Directory::new("kafka-single");
    let flags = ["--kafka", "127.0.0.1:0", "--kafka-partitions", "4"];
    let single = [
        "--kafka-single-port",
        "--kafka-advertised",
        "broker.example:7",
    ];
    let data = folder.path().join("data");
    let broker = Broker::spawn_with(&data, &cpus(2), &[&flags[..], &single].concat());
    let broker = broker.serving().unwrap_or_else(|said| panic!("{said:?}"));
    assert_eq!(
        broker.kafka(),
        ["broker.example:7"],
        "what clients are told"
    );
    let port = listening_port(&broker);
    let mut peer = Peer::connect(&format!("127.0.0.1:{port}"));
    let request = MetadataRequest {
        topics: Some(vec![MetadataRequestTopic {
            name: Some("t".to_owned()),
            ..MetadataRequestTopic::default()
        }]),
        ..MetadataRequest::default()
    };
    let told: MetadataResponse = peer.ask(key::METADATA, 9, &request);
    let brokers: Vec<_> = told
        .brokers
        .iter()
        .map(|one| (one.node_id, one.port))
        .collect();
    assert_eq!(brokers, [(0, 7)]);
    assert!(
        told.topics[0]
            .partitions
            .iter()
            .all(|one| one.leader_id == 0)
    );
    assert_eq!(told.topics[0].partitions.len(), 4);
    for round in 0..50 {
        for partition in 0..4 {
            let value = format!("{round} for {partition}");
            let body = produce("t", -1, &[(partition, &batch(&[&value]))]);
            peer.send(key::PRODUCE, 7, partition, &body);
        }
    }
    for round in 0..50 {
        for partition in 0..4 {
            let (correlation, answer) = peer.receive().unwrap();
            assert_eq!(correlation, partition);
            assert_eq!(produced(&answer), [(partition, 0, round)]);
        }
    }
    peer.send(key::FETCH, 11, 1, &fetch(11, "t", 49, 20_000));
    let (code, high_watermark, records) = fetched(11, &peer.receive().unwrap().1);
    assert_eq!((code, high_watermark), (0, 50));
    assert!(records.windows(8).any(|bytes| bytes == b"49 for 0"));
}

/// The port that the broker's process listens on besides those of the native protocol.
fn listening_port(broker: &Broker) -> u16 {
    let native = broker.addresses();
    let native = native
        .iter()
        .filter_map(|one| one.rsplit(':').next()?.parse().ok());
    let native: BTreeSet<u16> = native.collect();
    let table = std::fs::read_to_string(format!("/proc/{}/net/tcp", broker.pid())).unwrap();
    let sockets = sockets(broker.pid());
    let mut ports = table.lines().skip(1).filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let port = u16::from_str_radix(fields[1].split(':').nth(1)?, 16).ok()?;
        let is_ours = fields[3] == "0A" && sockets.contains(fields[9]) && !native.contains(&port);
        is_ours.then_some(port)
    });
    ports.next().expect("it listens for Kafka clients")
}

/// The inodes of a process's sockets.
fn sockets(pid: u32) -> BTreeSet<String> {
    let files = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let links = files.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
    let sockets = links.filter_map(|link| {
        let text = link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']');
        text.map(str::to_owned)
    });
    sockets.collect()
}

#[test]
fn producer_ids_are_never_given_out_twice_not_even_after_a_kill() {
    let folder = Directory::new("kafka-ids");
    let mut seen = BTreeSet::new();
    for _ in 0..3 {
        let flags = ["--kafka", "127.0.0.1:0"];
        let broker = Broker::spawn_with(&folder.path().join("data"), &cpus(2), &flags);
        let broker = broker.serving().unwrap_or_else(|said| panic!("{said:?}"));
        for address in broker.kafka() {
            let mut peer = Peer::connect(&address);
            for version in 0..=5 {
                let asked = InitProducerIdRequest::default();
                let told: InitProducerIdResponse = peer.ask(key::INIT_PRODUCER_ID, version, &asked);
                assert_eq!((told.error_code, told.producer_epoch), (0, 0));
                assert!(told.producer_id >= 0 && seen.insert(told.producer_id));
            }
        }
        broker.kill();
    }
}
