//! Goal: every request of every version that is served is read to its last byte and written again as it was; cut short it
//! is refused, and with a changed byte nothing panics. Method: one sample of each, cut and changed at every index.

use super::*;
use crate::base::{AckLevel, Body, Offset, PartitionKey, PartitionNo, TimestampMs, TopicId};
use crate::engine::{EngineError, FetchedPartition, Produced};
use wire::{write_count, write_string, write_tagged};

/// Decodes a sample in every version of its API; damages it.
fn check<T: Field + PartialEq + std::fmt::Debug>(key: i16, sample: &T) {
    let api = api::find(key).expect("served");
    for version in api.first..=api.last {
        let shape = api.shape(version);
        let mut bytes = Vec::new();
        sample.write(&mut bytes, shape);
        let mut reader = Reader::new(&bytes);
        let read = T::read(&mut reader, shape).expect("just written");
        assert!(reader.rest().is_empty(), "{} {version}", api.name);
        let mut again = Vec::new();
        read.write(&mut again, shape);
        assert_eq!(bytes, again, "{} {version}", api.name);
        assert!(Cold::decode(api, shape, &bytes).is_ok());
        for cut in 0..bytes.len() {
            let cut_short = Cold::decode(api, shape, &bytes[..cut]);
            assert!(cut_short.is_err(), "{} {version} at {cut}", api.name);
        }
        for index in 0..bytes.len() {
            let mut wrong = bytes.clone();
            for bit in 0..8 {
                wrong[index] ^= 1 << bit;
                let _ = Cold::decode(api, shape, &wrong);
            }
        }
    }
}

#[test]
fn cold_requests_are_read_to_the_last_byte() {
    let name = || "topic".to_owned();
    check(
        key::METADATA,
        &metadata::MetadataRequest {
            topics: Some(vec![metadata::MetadataRequestTopic {
                topic_id: 5,
                name: Some(name()),
            }]),
            ..Default::default()
        },
    );
    check(
        key::LIST_OFFSETS,
        &list_offsets::ListOffsetsRequest {
            topics: vec![list_offsets::ListOffsetsTopic {
                name: name(),
                partitions: vec![Default::default(); 2],
            }],
            ..Default::default()
        },
    );
    check(
        key::INIT_PRODUCER_ID,
        &init_producer_id::InitProducerIdRequest {
            transactional_id: Some(name()),
            ..Default::default()
        },
    );
    check(
        key::CREATE_TOPICS,
        &create_topics::CreateTopicsRequest {
            topics: vec![create_topics::CreatableTopic {
                name: name(),
                assignments: vec![create_topics::CreatableAssignment {
                    partition_index: 1,
                    broker_ids: vec![1, 2],
                }],
                configs: vec![create_topics::CreatableConfig {
                    name: name(),
                    value: None,
                }],
                ..Default::default()
            }],
            ..Default::default()
        },
    );
    check(
        key::DELETE_TOPICS,
        &delete_topics::DeleteTopicsRequest {
            topics: vec![delete_topics::DeletableTopic {
                name: Some(name()),
                topic_id: 7,
            }],
            topic_names: vec![name(), name()],
            timeout_ms: 9,
        },
    );
}

#[test]
fn admin_requests_are_read_to_the_last_byte() {
    let name = || "topic".to_owned();
    check(
        key::DESCRIBE_CONFIGS,
        &describe_configs::DescribeConfigsRequest {
            resources: vec![describe_configs::ConfigResource {
                resource_type: describe_configs::TOPIC,
                resource_name: name(),
                configuration_keys: Some(vec![name()]),
            }],
            ..Default::default()
        },
    );
    check(
        key::ALTER_CONFIGS,
        &alter_configs::AlterConfigsRequest {
            resources: vec![alter_configs::AlterConfigsResource {
                resource_name: name(),
                configs: vec![alter_configs::AlterableConfig {
                    name: name(),
                    value: Some(name()),
                }],
                ..Default::default()
            }],
            validate_only: true,
        },
    );
    check(
        key::INCREMENTAL_ALTER_CONFIGS,
        &alter_configs::IncrementalAlterConfigsRequest {
            resources: vec![alter_configs::IncrementalResource {
                resource_name: name(),
                configs: vec![alter_configs::IncrementalConfig {
                    name: name(),
                    config_operation: 1,
                    value: None,
                }],
                ..Default::default()
            }],
            validate_only: true,
        },
    );
    check(
        key::CREATE_PARTITIONS,
        &create_partitions::CreatePartitionsRequest {
            topics: vec![create_partitions::CreatePartitionsTopic {
                name: name(),
                count: 7,
                assignments: Some(vec![create_partitions::CreatePartitionsAssignment {
                    broker_ids: vec![1, 2],
                }]),
            }],
            ..Default::default()
        },
    );
    check(
        key::DELETE_RECORDS,
        &delete_records::DeleteRecordsRequest {
            topics: vec![delete_records::DeleteRecordsTopic {
                name: name(),
                partitions: vec![Default::default(); 2],
            }],
            timeout_ms: 5,
        },
    );
    check(
        key::DESCRIBE_LOG_DIRS,
        &describe_log_dirs::DescribeLogDirsRequest {
            topics: Some(vec![describe_log_dirs::LogDirTopic {
                topic: name(),
                partitions: vec![1, 2],
            }]),
        },
    );
    check(
        key::OFFSET_FOR_LEADER_EPOCH,
        &leader_epoch::LeaderEpochRequest {
            topics: vec![leader_epoch::LeaderEpochTopic {
                topic: name(),
                partitions: vec![Default::default()],
            }],
            ..Default::default()
        },
    );
    check(
        key::DESCRIBE_ACLS,
        &describe_acls::DescribeAclsRequest {
            host_filter: Some(name()),
            ..Default::default()
        },
    );
    check(
        key::LIST_PARTITION_REASSIGNMENTS,
        &reassignments::ReassignmentsRequest {
            topics: Some(vec![reassignments::ReassignmentsTopic {
                name: name(),
                partition_indexes: vec![3],
            }]),
            ..Default::default()
        },
    );
    check(
        key::ALTER_PARTITION_REASSIGNMENTS,
        &reassignments::ReassignRequest {
            topics: vec![reassignments::ReassignTopic {
                name: name(),
                partitions: vec![reassignments::ReassignPartition {
                    partition_index: 3,
                    replicas: Some(vec![1, 2]),
                }],
            }],
            ..Default::default()
        },
    );
    check(
        key::ELECT_LEADERS,
        &reassignments::ElectRequest {
            topic_partitions: Some(vec![reassignments::ElectTopic {
                topic: name(),
                partitions: vec![3],
            }]),
            ..Default::default()
        },
    );
    let cluster = describe_cluster::DescribeClusterRequest::default();
    check(key::DESCRIBE_CLUSTER, &cluster);
}

fn topic(out: &mut Vec<u8>, shape: Shape) {
    if shape.version >= 13 {
        out.extend(9u128.to_be_bytes());
    } else {
        write_string(b"topic", out, shape);
    }
}

fn expected(shape: Shape) -> Topic<'static> {
    match shape.version {
        13.. => Topic::Id(TopicId(9)),
        _ => Topic::Name("topic"),
    }
}

/// A produce for partitions 0 and 1: three bytes, and null.
fn produce_sample(shape: Shape) -> Vec<u8> {
    let mut out = Vec::new();
    None::<String>.write(&mut out, shape);
    (-1i16).write(&mut out, shape);
    5i32.write(&mut out, shape);
    write_count(1, &mut out, shape);
    topic(&mut out, shape);
    write_count(2, &mut out, shape);
    0i32.write(&mut out, shape);
    wire::Blob(vec![1, 2, 3]).write(&mut out, shape);
    write_tagged(&mut out, shape);
    1i32.write(&mut out, shape);
    None::<Vec<i8>>.write(&mut out, shape);
    for _ in 0..3 {
        write_tagged(&mut out, shape);
    }
    out
}
#[test]
fn acks_stand_for_levels() {
    let api = api::find(api::key::PRODUCE).expect("served");
    let shape = api.shape(api.first);
    let mut bytes = produce_sample(shape);
    for (acks, level) in [
        (0, Some(AckLevel::None)),
        (1, Some(AckLevel::Written)),
        (-1, Some(AckLevel::Synced)),
        (2, None),
        (i16::MIN, None),
    ] {
        // Behind a transactional id that is null.
        bytes[2..4].copy_from_slice(&i16::to_be_bytes(acks));
        let produce = Produce::parse(&bytes, shape).expect("well-formed");
        assert_eq!(produce.level(), level, "{acks}");
        assert_eq!(produce.is_silent(), acks == 0);
    }
}

#[test]
fn a_produce_of_every_version_is_read_in_place() {
    let api = api::find(key::PRODUCE).expect("served");
    for version in api.first..=api.last {
        let shape = api.shape(version);
        let bytes = produce_sample(shape);
        let produce = Produce::parse(&bytes, shape).expect("well-formed");
        let mut steps = Vec::new();
        produce.walk(|step| steps.push(step));
        let partition = |index, records| produce::Step::Partition { index, records };
        let wanted = [
            produce::Step::Topic(expected(shape)),
            partition(0, Some(&[1, 2, 3][..])),
            partition(1, None),
        ];
        assert_eq!(steps, wanted, "{version}");
        for cut in 0..bytes.len() {
            assert!(
                Produce::parse(&bytes[..cut], shape).is_err(),
                "{version} {cut}"
            );
        }
        for index in 0..bytes.len() {
            let mut wrong = bytes.clone();
            wrong[index] ^= 0xff;
            if let Ok(produce) = Produce::parse(&wrong, shape) {
                produce.walk(|_| ());
            }
        }
    }
}

/// A fetch of partition 3 from offset 70.
fn fetch_sample(shape: Shape) -> Vec<u8> {
    let mut out = Vec::new();
    let since = |version| shape.version >= version;
    if shape.version < 15 {
        (-1i32).write(&mut out, shape);
    }
    for number in [500i32, 1, 1_000] {
        number.write(&mut out, shape);
    }
    1i8.write(&mut out, shape);
    if since(7) {
        0i32.write(&mut out, shape);
        (-1i32).write(&mut out, shape);
    }
    write_count(1, &mut out, shape);
    topic(&mut out, shape);
    write_count(1, &mut out, shape);
    3i32.write(&mut out, shape);
    if since(9) {
        0i32.write(&mut out, shape);
    }
    70i64.write(&mut out, shape);
    if since(12) {
        (-1i32).write(&mut out, shape);
    }
    if since(5) {
        0i64.write(&mut out, shape);
    }
    99i32.write(&mut out, shape);
    write_tagged(&mut out, shape);
    write_tagged(&mut out, shape);
    if since(7) {
        write_count(1, &mut out, shape);
        topic(&mut out, shape);
        vec![1i32, 2].write(&mut out, shape);
        write_tagged(&mut out, shape);
    }
    if since(11) {
        write_string(b"rack", &mut out, shape);
    }
    write_tagged(&mut out, shape);
    out
}

#[test]
fn a_fetch_of_every_version_is_read() {
    let api = api::find(key::FETCH).expect("served");
    for version in api.first..=api.last {
        let shape = api.shape(version);
        let bytes = fetch_sample(shape);
        let fetch = Fetch::parse(&bytes, shape).expect("well-formed");
        assert_eq!((fetch.wait_max.as_millis(), fetch.bytes_min), (500, 1));
        assert_eq!((fetch.bytes_max, fetch.error_code()), (1_000, 0));
        let mut steps = Vec::new();
        fetch.walk(|step| steps.push(step));
        let partition = fetch::Step::Partition {
            index: 3,
            from: Offset(70),
            bytes_max: 99,
        };
        let wanted = [fetch::Step::Topic(expected(shape)), partition];
        assert_eq!(steps, wanted, "{version}");
        for cut in 0..bytes.len() {
            assert!(
                Fetch::parse(&bytes[..cut], shape).is_err(),
                "{version} {cut}"
            );
        }
        for index in 0..bytes.len() {
            let mut wrong = bytes.clone();
            wrong[index] ^= 0xff;
            if let Ok(fetch) = Fetch::parse(&wrong, shape) {
                fetch.walk(|_| ());
            }
        }
    }
}

#[test]
fn more_partitions_than_anybody_has_are_refused() {
    let shape = api::find(key::PRODUCE).expect("served").shape(7);
    let mut bytes = Vec::new();
    None::<String>.write(&mut bytes, shape);
    1i16.write(&mut bytes, shape);
    0i32.write(&mut bytes, shape);
    write_count(1, &mut bytes, shape);
    topic(&mut bytes, shape);
    write_count(PARTITIONS_MAX + 1, &mut bytes, shape);
    bytes.resize(bytes.len() + 8 * (PARTITIONS_MAX + 1), 0);
    let refused = Produce::parse(&bytes, shape).err();
    assert_eq!(refused, Some(Malformed::TooLarge));
}

/// Two topics, of which the second has a partition that the engine was not asked about.
fn echo(shape: Shape) -> Echo {
    let mut echo = Echo::default();
    echo.topic(expected(shape), shape);
    echo.partition(0, 0);
    echo.topic(expected(shape), shape);
    echo.partition(1, error::UNKNOWN_TOPIC_OR_PARTITION);
    echo.partition(2, 0);
    assert!(echo.has_error());
    echo
}

/// The topics' array of an answer: for each partition what `partition` reads of it.
fn topics<T>(
    reader: &mut Reader<'_>,
    shape: Shape,
    mut partition: impl FnMut(&mut Reader<'_>) -> Result<T, Malformed>,
) -> Result<Vec<T>, Malformed> {
    let mut found = Vec::new();
    for _ in 0..reader.count(shape)?.expect("a list") {
        assert_eq!(Topic::read(reader, shape, 13)?, expected(shape));
        for _ in 0..reader.count(shape)?.expect("a list") {
            found.push(partition(reader)?);
            reader.tagged(shape)?;
        }
        reader.tagged(shape)?;
    }
    Ok(found)
}

/// The content of the only answer in `out`, behind its header.
fn content(api: &Api, shape: Shape, out: &[u8]) -> Reader<'static> {
    let length = i32::from_be_bytes(out[..4].try_into().expect("four"));
    assert_eq!(length as usize, out.len() - 4);
    let mut reader = Reader::new(Vec::leak(out[4..].to_vec()));
    assert_eq!(reader.i32(), Ok(42));
    if api.key != key::API_VERSIONS {
        assert_eq!(reader.tagged(shape), Ok(()));
    }
    reader
}

/// Goal: a record whose timestamp is refused is named, from the version on that can. Method: an answer to one, and to an
/// append that got the broker's time, read field by field.
#[test]
fn an_answer_to_a_produce_names_the_record_to_blame_and_the_time_of_an_append() {
    let api = api::find(key::PRODUCE).expect("served");
    for version in api.first..=api.last {
        let shape = api.shape(version);
        let mut echo = Echo::default();
        echo.topic(expected(shape), shape);
        echo.partition(0, 0);
        echo.partition(1, 0);
        let refused = EngineError::InvalidTimestamp {
            record: Some(3),
            timestamp: TimestampMs(5),
            now: TimestampMs(900),
        };
        let taken = Produced {
            base_offset: Offset(1),
            log_start: Offset(0),
            append_time: Some(TimestampMs(77)),
        };
        let mut out = Vec::new();
        produce::answer(version, 42, &echo, &[Err(refused), Ok(taken)], &mut out);
        let mut reader = content(api, shape, &out);
        let found = topics(&mut reader, shape, |reader| {
            let (_index, code, _base, time) =
                (reader.i32()?, reader.i16()?, reader.i64()?, reader.i64()?);
            if version >= 5 {
                reader.i64()?;
            }
            let mut blamed = None;
            if version >= 8 {
                if reader.count(shape)? == Some(1) {
                    blamed = Some(reader.i32()?);
                    assert!(reader.string(shape)?.is_some());
                    reader.tagged(shape)?;
                }
                reader.string(shape)?;
            }
            Ok((code, time, blamed))
        });
        let blamed = (version >= 8).then_some(3);
        let wanted = vec![(error::INVALID_TIMESTAMP, -1, blamed), (0, 77, None)];
        assert_eq!(found, Ok(wanted), "{version}");
    }
}

#[test]
fn an_answer_to_a_produce_tells_each_partition_its_own() {
    let api = api::find(key::PRODUCE).expect("served");
    let produced = Produced {
        base_offset: Offset(100),
        log_start: Offset(10),
        append_time: None,
    };
    for version in api.first..=api.last {
        let shape = api.shape(version);
        let results = [Ok(produced), Err(EngineError::DiskFull)];
        let mut out = Vec::new();
        produce::answer(version, 42, &echo(shape), &results, &mut out);
        let mut reader = content(api, shape, &out);
        let found = topics(&mut reader, shape, |reader| {
            let told = (reader.i32()?, reader.i16()?, reader.i64()?);
            assert_eq!(reader.i64(), Ok(-1));
            if version >= 5 {
                assert_eq!(reader.i64()?, if told.1 == 0 { 10 } else { -1 });
            }
            if version >= 8 {
                assert_eq!(reader.count(shape), Ok(Some(0)));
                let message = reader.string(shape)?;
                assert_eq!(message.is_some(), told.1 == error::KAFKA_STORAGE_ERROR);
            }
            Ok(told)
        });
        let wanted = [
            (0, 0, 100),
            (1, error::UNKNOWN_TOPIC_OR_PARTITION, -1),
            (2, error::KAFKA_STORAGE_ERROR, -1),
        ];
        assert_eq!(found.as_deref(), Ok(&wanted[..]), "{version}");
        assert_eq!(reader.i32(), Ok(0), "no throttling");
        reader.tagged(shape).expect("the end");
        assert!(reader.rest().is_empty());
    }
}

#[test]
fn an_unknown_id_is_told_apart_from_an_unknown_name() {
    let unknown = EngineError::UnknownTopic("t".to_owned());
    let codes = [false, true].map(|has_ids| error::code_for(&unknown, has_ids));
    let wanted = [error::UNKNOWN_TOPIC_OR_PARTITION, error::UNKNOWN_TOPIC_ID];
    assert_eq!(codes, wanted);
    assert_eq!(
        error::code_for(&EngineError::UnknownPartition(1), true),
        wanted[0]
    );
}

#[test]
fn an_answer_to_a_fetch_has_its_bodies_where_they_are_cut_in() {
    let api = api::find(key::FETCH).expect("served");
    let fetched = |body: &[u8], error| {
        let mut one: FetchedPartition<Vec<u8>, ()> = FetchedPartition {
            key: PartitionKey::new(TopicId(9), PartitionNo(0)),
            error,
            high_watermark: Offset(20),
            log_start: Offset(10),
            body: Body::default(),
        };
        if !body.is_empty() {
            one.body.push_copy(body);
        }
        one
    };
    let out_of_range = EngineError::OffsetOutOfRange {
        asked: Offset(1),
        log_start: Offset(10),
        high_watermark: Offset(20),
    };
    for version in api.first..=api.last {
        let shape = api.shape(version);
        let fetched = [
            fetched(b"records", None),
            fetched(b"", Some(out_of_range.clone())),
        ];
        let (mut out, mut cuts) = (Vec::new(), vec![77]);
        let head = (42, 0);
        let bodies = fetch::answer(version, head, &echo(shape), &fetched, &mut out, &mut cuts);
        assert_eq!((bodies, cuts.len()), (7, 2));
        out.splice(cuts[0]..cuts[0], *b"records");
        let mut reader = content(api, shape, &out);
        assert_eq!(reader.i32(), Ok(0), "no throttling");
        if version >= 7 {
            assert_eq!((reader.i16(), reader.i32()), (Ok(0), Ok(0)));
        }
        let found = topics(&mut reader, shape, |reader| {
            let (index, code) = (reader.i32()?, reader.i16()?);
            let high_watermark = reader.i64()?;
            assert_eq!(reader.i64()?, high_watermark);
            if version >= 5 {
                assert_eq!(reader.i64()?, high_watermark.min(10));
            }
            assert_eq!(reader.count(shape), Ok(Some(0)));
            if version >= 11 {
                assert_eq!(reader.i32(), Ok(-1));
            }
            let records = reader.bytes(shape)?.expect("not null");
            Ok((index, code, high_watermark, records.len()))
        });
        let wanted = [
            (0, 0, 20, 7),
            (1, error::UNKNOWN_TOPIC_OR_PARTITION, -1, 0),
            (2, error::OFFSET_OUT_OF_RANGE, 20, 0),
        ];
        assert_eq!(found.as_deref(), Ok(&wanted[..]), "{version}");
        reader.tagged(shape).expect("the end");
        assert!(reader.rest().is_empty());
    }
}
