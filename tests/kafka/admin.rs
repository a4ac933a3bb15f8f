//! Goal: administrators change topics under way, and their producers are held to it. Method: as for the others.

use super::*;
use millrace::protocol::kafka::alter_configs::{
    AlterConfigsRequest, AlterConfigsResource, AlterConfigsResponse, AlterableConfig,
    IncrementalAlterConfigsRequest, IncrementalConfig, IncrementalResource,
};
use millrace::protocol::kafka::create_partitions::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopic,
};
use millrace::protocol::kafka::delete_records::{
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsResponse, DeleteRecordsTopic,
};
use millrace::protocol::kafka::topic_settings::SETTINGS;
use std::time::{SystemTime, UNIX_EPOCH};

/// A broker on two cores with what is in the folder, and a peer of each core.
fn start(folder: &Directory) -> (Broker, Vec<Peer>) {
    let flags = ["--kafka", "127.0.0.1:0"];
    let broker = Broker::spawn_with(&folder.path().join("data"), &cpus(2), &flags);
    let broker = broker.serving().unwrap_or_else(|said| panic!("{said:?}"));
    let peers = broker
        .kafka()
        .iter()
        .map(|one| Peer::connect(one))
        .collect();
    (broker, peers)
}

fn creatable(name: &str, partitions: i32, configs: &[(&str, &str)]) -> CreatableTopic {
    let config = |(name, value): &(&str, &str)| CreatableConfig {
        name: (*name).to_owned(),
        value: Some((*value).to_owned()),
    };
    CreatableTopic {
        name: name.to_owned(),
        num_partitions: partitions,
        replication_factor: 1,
        configs: configs.iter().map(config).collect(),
        ..CreatableTopic::default()
    }
}

#[test]
fn a_trial_of_a_creation_is_refused_as_the_creation_would_be() {
    let folder = Directory::new("kafka-trial");
    let (_broker, mut peers) = start(&folder);
    make(&mut peers[0], "taken");
    let long = "n".repeat(250);
    let all = [
        creatable("good", 3, &[("segment.ms", "1000")]),
        creatable("taken", 1, &[]),
        creatable("a/b", 1, &[]),
        creatable(&long, 1, &[]),
        creatable("__own", 1, &[]),
        creatable("many", 10_001, &[]),
        creatable("none", 0, &[]),
        creatable("small", 1, &[("segment.bytes", "1")]),
        creatable("large", 1, &[("max.message.bytes", "2147483647")]),
        creatable("word", 1, &[("flush.messages", "1")]),
    ];
    let mut ask = |core: usize, topics: Vec<CreatableTopic>, validate_only| {
        let asked = CreateTopicsRequest {
            topics,
            validate_only,
            ..CreateTopicsRequest::default()
        };
        let told: CreateTopicsResponse = peers[core].ask(key::CREATE_TOPICS, 7, &asked);
        told.topics
    };
    for core in [0, 1] {
        let trial = ask(core, all.to_vec(), true);
        assert!(
            trial[1..].iter().all(|topic| topic.error_code != 0),
            "{trial:?}"
        );
        assert_eq!((trial[0].error_code, trial[0].topic_id), (0, 0));
        let again = ask(core, all[..1].to_vec(), true);
        assert_eq!(again[0].error_code, 0, "nothing was made");
        if core == 1 {
            let real = ask(0, all.to_vec(), false);
            for (trial, real) in trial.iter().zip(&real) {
                let told = (trial.error_code, &trial.error_message);
                assert_eq!(told, (real.error_code, &real.error_message));
            }
            assert_ne!(real[0].topic_id, 0);
        }
    }
    for validate_only in [true, false] {
        let twice = vec![creatable("twice", 1, &[]), creatable("twice", 2, &[])];
        let told = ask(0, twice, validate_only);
        let codes = told.iter().map(|topic| topic.error_code);
        assert!(codes.eq([error::INVALID_REQUEST; 2]), "{told:?}");
    }
}

/// Sets one setting of a topic; the code and the line that this is answered with.
fn set(peer: &mut Peer, version: i16, name: &str, value: &str, is_trial: bool) -> (i16, String) {
    let asked = IncrementalAlterConfigsRequest {
        resources: vec![IncrementalResource {
            resource_type: describe_configs::TOPIC,
            resource_name: "t".to_owned(),
            configs: vec![IncrementalConfig {
                name: name.to_owned(),
                config_operation: 0,
                value: Some(value.to_owned()),
            }],
        }],
        validate_only: is_trial,
    };
    let key = key::INCREMENTAL_ALTER_CONFIGS;
    let mut told: AlterConfigsResponse = peer.ask(key, version, &asked);
    assert_eq!(told.responses.len(), 1);
    let told = told.responses.remove(0);
    (told.error_code, told.error_message.unwrap_or_default())
}

/// Name, value, and whether it is as it would be unasked, of all settings of the topic.
fn settings(peer: &mut Peer) -> Vec<(String, String, bool)> {
    let asked = DescribeConfigsRequest {
        resources: vec![ConfigResource {
            resource_type: describe_configs::TOPIC,
            resource_name: "t".to_owned(),
            configuration_keys: None,
        }],
        include_synonyms: true,
        include_documentation: true,
    };
    let mut told: DescribeConfigsResponse = peer.ask(key::DESCRIBE_CONFIGS, 4, &asked);
    let configs = told.results.remove(0).configs.into_iter();
    let one = configs.map(|config| {
        let is_unasked = config.config_source == 5;
        assert_eq!(
            config.synonyms.len(),
            2 - usize::from(is_unasked),
            "{config:?}"
        );
        assert!(config.documentation.is_some_and(|text| !text.is_empty()));
        (config.name, config.value.unwrap(), is_unasked)
    });
    one.collect()
}

fn value(peer: &mut Peer, name: &str) -> (String, bool) {
    let all = settings(peer);
    let found = all.into_iter().find(|setting| setting.0 == name);
    found
        .map(|(_, value, is_unasked)| (value, is_unasked))
        .unwrap()
}

#[test]
fn settings_are_changed_shown_by_every_core_and_survive_a_kill() {
    let folder = Directory::new("kafka-settings");
    let (broker, mut peers) = start(&folder);
    make(&mut peers[0], "t");
    let unasked = settings(&mut peers[1]);
    assert_eq!(unasked.len(), SETTINGS.len());
    assert!(
        unasked.iter().all(|(.., is_unasked)| *is_unasked),
        "{unasked:?}"
    );
    let (mut last, name) = (String::new(), "segment.ms");
    for version in [0, 1] {
        let asked = format!("5{version}000");
        assert_eq!(
            set(&mut peers[1], version, name, "77000", true).0,
            0,
            "a trial"
        );
        assert_eq!(set(&mut peers[1], version, name, &asked, false).0, 0);
        for peer in &mut peers {
            assert_eq!(value(peer, name), (asked.clone(), false));
        }
        for (name, value, wanted) in [
            ("segment.ms", "1", error::INVALID_CONFIG),
            ("segment.ms", "soon", error::INVALID_CONFIG),
            ("retention.ms", "-2", error::INVALID_CONFIG),
            ("cleanup.policy", "compact", error::INVALID_CONFIG),
            ("no.such.thing", "1", error::INVALID_CONFIG),
        ] {
            let (code, line) = set(&mut peers[0], version, name, value, false);
            let words = name.replace('.', "_");
            assert_eq!(code, wanted, "{line}");
            assert!(line.contains(name) || line.contains(&words), "{line}");
        }
        last = asked;
    }
    broker.kill();
    let (_broker, mut peers) = start(&folder);
    assert_eq!(value(&mut peers[1], name), (last, false));
    for version in 0..=2 {
        let resource = |resource_name: &str, name: &str, value: &str| AlterConfigsResource {
            resource_type: describe_configs::TOPIC,
            resource_name: resource_name.to_owned(),
            configs: vec![AlterableConfig {
                name: name.to_owned(),
                value: Some(value.to_owned()),
            }],
        };
        let bytes = format!("{}", 1_000 + version);
        let asked = AlterConfigsRequest {
            resources: vec![
                resource("t", "max.message.bytes", &bytes),
                resource("none", "max.message.bytes", &bytes),
                resource("t", "odd", "1"),
            ],
            validate_only: false,
        };
        let told: AlterConfigsResponse = peers[0].ask(key::ALTER_CONFIGS, version, &asked);
        let codes: Vec<i16> = told.responses.iter().map(|one| one.error_code).collect();
        let unknown = error::UNKNOWN_TOPIC_OR_PARTITION;
        assert_eq!(codes, [0, unknown, error::INVALID_CONFIG], "{told:?}");
        assert_eq!(value(&mut peers[1], "max.message.bytes"), (bytes, false));
        assert!(
            value(&mut peers[1], name).1,
            "what was not named is as it was at first"
        );
    }
}

#[test]
fn a_topic_gets_more_partitions_and_never_fewer() {
    let (_folder, broker) = serve("kafka-partitions", 2);
    let mut peers: Vec<Peer> = broker
        .kafka()
        .iter()
        .map(|one| Peer::connect(one))
        .collect();
    make(&mut peers[0], "t");
    for version in 0..=3 {
        let wide = i32::from(version) + 2;
        let topic = |name: &str, count| CreatePartitionsTopic {
            name: name.to_owned(),
            count,
            assignments: None,
        };
        let ask = |peer: &mut Peer, validate_only| {
            let asked = CreatePartitionsRequest {
                topics: vec![
                    topic("t", wide),
                    topic("none", 2),
                    topic("t", 1),
                    topic("t", -1),
                ],
                validate_only,
                ..CreatePartitionsRequest::default()
            };
            let told: CreatePartitionsResponse = peer.ask(key::CREATE_PARTITIONS, version, &asked);
            let codes: Vec<i16> = told.results.iter().map(|one| one.error_code).collect();
            let (unknown, fewer) = (error::UNKNOWN_TOPIC_OR_PARTITION, error::INVALID_PARTITIONS);
            assert_eq!(codes, [0, unknown, fewer, fewer], "{told:?}");
        };
        for (is_trial, wanted) in [(true, wide - 1), (false, wide)] {
            ask(&mut peers[1], is_trial);
            for peer in &mut peers {
                let asked = MetadataRequest::default();
                let told: MetadataResponse = peer.ask(key::METADATA, 9, &asked);
                assert_eq!(told.topics[0].partitions.len() as i32, wanted);
            }
        }
        let body = produce("t", -1, &[(wide - 1, &batch(&["new"]))]);
        peers[0].send(key::PRODUCE, 7, 1, &body);
        let told = produced(&peers[0].receive().unwrap().1);
        assert_eq!(told, [(wide - 1, 0, 0)]);
    }
}

/// A batch of two records, at these times.
fn batch_at(times: [i64; 2]) -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    for time in times {
        builder.push(TimestampMs(time), None, Some(b"value"), &[]);
    }
    builder.finish().to_vec()
}

#[test]
fn producers_are_held_to_what_a_topic_is_set_to() {
    let (_folder, broker) = serve("kafka-limits", 1);
    let mut peer = Peer::connect(&broker.kafka()[0]);
    make(&mut peer, "t");
    let send = |peer: &mut Peer, records: &[u8]| {
        peer.send(key::PRODUCE, 7, 1, &produce("t", -1, &[(0, records)]));
        let answer = peer.receive().unwrap().1;
        // Behind the first offset, the time of the append.
        let time = i64::from_be_bytes(answer[25..33].try_into().unwrap());
        let (_, code, base) = produced(&answer)[0];
        (code, base, time)
    };
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_millis() as i64;
    let near = batch_at([now, now - 1_000]);
    assert_eq!(send(&mut peer, &near), (0, 0, -1));
    // A timestamp further away takes some bytes more.
    let bytes_max = (near.len() + 10).to_string();
    assert_eq!(
        set(&mut peer, 1, "max.message.bytes", &bytes_max, false).0,
        0
    );
    let large = batch(&["larger than that, though not by very much"; 9]);
    let refused = (error::MESSAGE_TOO_LARGE, -1, -1);
    assert_eq!(send(&mut peer, &large), refused);
    assert_eq!(send(&mut peer, &near), (0, 2, -1));

    let name = "message.timestamp.before.max.ms";
    assert_eq!(set(&mut peer, 1, name, "600000", false).0, 0);
    let old = batch_at([now, now - 3_600_000]);
    assert_eq!(send(&mut peer, &old), (error::INVALID_TIMESTAMP, -1, -1));
    assert_eq!(send(&mut peer, &near), (0, 4, -1));

    let name = "message.timestamp.type";
    assert_eq!(set(&mut peer, 1, name, "LogAppendTime", false).0, 0);
    let (code, base, time) = send(&mut peer, &old);
    assert_eq!((code, base), (0, 6));
    assert!((now..now + 60_000).contains(&time), "{time} {now}");
    peer.send(key::FETCH, 11, 1, &fetch(11, "t", 6, 20_000));
    let (_, _, records) = fetched(11, &peer.receive().unwrap().1);
    let stored = millrace::base::RecordBatch::parse(&records).unwrap();
    stored.check().unwrap();
    assert_eq!(stored.append_time(), Some(TimestampMs(time)));
    assert_eq!(records[61..], old[61..], "the records are as they came");
}

/// Deletes what lies below an offset of partition 0; the first offset that is left, and the code.
fn delete(peer: &mut Peer, version: i16, name: &str, offset: i64) -> (i64, i16) {
    let asked = DeleteRecordsRequest {
        topics: vec![DeleteRecordsTopic {
            name: name.to_owned(),
            partitions: vec![DeleteRecordsPartition {
                partition_index: 0,
                offset,
            }],
        }],
        timeout_ms: 1_000,
    };
    let told: DeleteRecordsResponse = peer.ask(key::DELETE_RECORDS, version, &asked);
    let told = &told.topics[0].partitions[0];
    (told.low_watermark, told.error_code)
}

#[test]
fn deleted_records_stay_deleted_after_a_kill() {
    let folder = Directory::new("kafka-delete-records");
    let (broker, mut peers) = start(&folder);
    make(&mut peers[0], "t");
    for _ in 0..10 {
        let body = produce("t", 1, &[(0, &batch(&["a", "b", "c"]))]);
        peers[0].send(key::PRODUCE, 7, 1, &body);
        assert_eq!(produced(&peers[0].receive().unwrap().1)[0].1, 0);
    }
    let out_of_range = (-1, error::OFFSET_OUT_OF_RANGE);
    for version in 0..=2 {
        let offset = 4 + i64::from(version);
        assert_eq!(delete(&mut peers[1], version, "t", offset), (offset, 0));
        assert_eq!(
            delete(&mut peers[0], version, "t", 1),
            (offset, 0),
            "never back"
        );
        assert_eq!(delete(&mut peers[1], version, "t", 31), out_of_range);
        assert_eq!(delete(&mut peers[1], version, "t", -2), out_of_range);
        let unknown = (-1, error::UNKNOWN_TOPIC_OR_PARTITION);
        assert_eq!(delete(&mut peers[1], version, "none", 0), unknown);
    }
    broker.kill();
    let (_broker, mut peers) = start(&folder);
    for peer in &mut peers {
        let asked = ListOffsetsRequest {
            topics: vec![ListOffsetsTopic {
                name: "t".to_owned(),
                partitions: vec![ListOffsetsPartition {
                    timestamp: -2,
                    ..ListOffsetsPartition::default()
                }],
            }],
            ..ListOffsetsRequest::default()
        };
        let told: ListOffsetsResponse = peer.ask(key::LIST_OFFSETS, 6, &asked);
        assert_eq!(told.topics[0].partitions[0].offset, 6);
        for (from, wanted) in [(5, error::OFFSET_OUT_OF_RANGE), (6, 0)] {
            peer.send(key::FETCH, 11, 1, &fetch(11, "t", from, 20_000));
            let (code, high_watermark, _) = fetched(11, &peer.receive().unwrap().1);
            assert_eq!((code, high_watermark), (wanted, 30));
        }
    }
    assert_eq!(delete(&mut peers[0], 2, "t", -1), (30, 0), "all of them");
}
