//! Goal: whoever runs the broker sees which clients came, in which versions of which requests, what they were refused, and
//! what of theirs is not served. Method: clients of three kinds on two cores, the counts by the command line.

use super::*;
use serde_json::Value;
use std::process::Command;

fn introduced(address: &str, version: &str) -> Peer {
    let mut peer = Peer::connect(address);
    let asked = ApiVersionsRequest {
        client_software_name: "librdkafka".to_owned(),
        client_software_version: version.to_owned(),
    };
    let told: ApiVersionsResponse = peer.ask(key::API_VERSIONS, 3, &asked);
    assert_eq!(told.error_code, 0);
    peer
}

/// What `millrace clients` prints.
fn shown(broker: &Broker, output: &str) -> String {
    let server = &broker.addresses()[0];
    let ended = Command::new(env!("CARGO_BIN_EXE_millrace"))
        .args(["clients", "--server", server, "-o", output])
        .output()
        .unwrap();
    assert!(ended.status.success(), "{ended:?}");
    String::from_utf8(ended.stdout).unwrap()
}

/// The row of a client on a core.
fn row<'a>(told: &'a Value, core: usize, name: &str, version: &str) -> &'a Value {
    assert_eq!(told[core]["core"], core);
    let clients = told[core]["clients"].as_array().unwrap();
    let is = |row: &&Value| row["name"] == name && row["version"] == version;
    let found = clients.iter().find(is);
    found.unwrap_or_else(|| panic!("no {name} {version} on core {core}: {told}"))
}

fn requests(row: &Value) -> Vec<(&str, i64, i64, bool)> {
    let of = |one: &'static str| move |row: &'_ Value| row[one].as_i64().unwrap();
    let rows = row["requests"].as_array().unwrap().iter();
    rows.map(|row| {
        let name = row["request"].as_str().unwrap();
        let served = row["served"].as_bool().unwrap();
        (name, of("version")(row), of("count")(row), served)
    })
    .collect()
}

fn errors(row: &Value) -> Vec<(&str, i64)> {
    let rows = row["errors"].as_array().unwrap().iter();
    rows.map(|row| {
        (
            row["error"].as_str().unwrap(),
            row["count"].as_i64().unwrap(),
        )
    })
    .collect()
}

#[test]
fn clients_are_counted_by_name_request_version_and_error() {
    let (_folder, broker) = serve("kafka-clients", 2);
    let kafka = broker.kafka();
    let mut first = introduced(&kafka[0], "2.0.2");
    make(&mut first, "t");
    for _ in 0..3 {
        first.send(key::PRODUCE, 7, 1, &produce("t", 1, &[(0, &batch(&["a"]))]));
        first.receive().unwrap();
    }
    // A partition that is not there: the engine refuses. A topic that is not there: it is not asked.
    first.send(key::PRODUCE, 7, 1, &produce("t", 1, &[(9, &batch(&["a"]))]));
    first.receive().unwrap();
    for version in [11, 12] {
        first.send(key::FETCH, version, 1, &fetch(version, "none", 0, 0));
        first.receive().unwrap();
    }
    let taken: CreateTopicsResponse = first.ask(
        key::CREATE_TOPICS,
        4,
        &CreateTopicsRequest {
            topics: vec![CreatableTopic {
                name: "t".to_owned(),
                num_partitions: 1,
                replication_factor: 1,
                ..CreatableTopic::default()
            }],
            ..CreateTopicsRequest::default()
        },
    );
    assert_eq!(taken.topics[0].error_code, error::TOPIC_ALREADY_EXISTS);
    drop(introduced(&kafka[0], "2.0.2"));
    let _other = introduced(&kafka[1], "2.16.0");

    // One that tells no software, and one that asks for what is not served.
    let mut nameless = Peer::connect(&kafka[1]);
    let _: ApiVersionsResponse = nameless.ask(key::API_VERSIONS, 0, &ApiVersionsRequest::default());
    let _: MetadataResponse = nameless.ask(key::METADATA, 1, &MetadataRequest::default());
    let mut old = Peer::connect(&kafka[1]);
    old.send(key::PRODUCE, 2, 1, b"");
    assert!(old.receive().is_none());
    broker.client().topics().unwrap();

    let deadline = Instant::now() + Duration::from_secs(20);
    let told: Value = loop {
        let told: Value = serde_json::from_str(&shown(&broker, "json")).unwrap();
        // The broker learns of the end of a connection when it does.
        let soft = row(&told, 0, "librdkafka", "2.0.2");
        if soft["open_connections"] == 1 || Instant::now() > deadline {
            break told;
        }
    };
    let soft = row(&told, 0, "librdkafka", "2.0.2");
    assert_eq!(
        (&soft["protocol"], &soft["named_by"]),
        (&"kafka".into(), &"software".into())
    );
    assert_eq!(
        (&soft["connections"], &soft["open_connections"]),
        (&2.into(), &1.into())
    );
    let expected = [
        ("Produce", 7, 4, true),
        ("Fetch", 11, 1, true),
        ("Fetch", 12, 1, true),
        ("ApiVersions", 3, 2, true),
        ("CreateTopics", 4, 2, true),
    ];
    assert_eq!(requests(soft), expected);
    let expected = [
        ("UNKNOWN_TOPIC_OR_PARTITION", 3),
        ("TOPIC_ALREADY_EXISTS", 1),
    ];
    assert_eq!(errors(soft), expected);
    let other = row(&told, 1, "librdkafka", "2.16.0");
    assert_eq!(requests(other), [("ApiVersions", 3, 1, true)]);

    let by_id = row(&told, 1, "test", "");
    assert_eq!(by_id["named_by"], "client id");
    let expected = [
        ("Metadata", 1, 1, true),
        ("ApiVersions", 0, 1, true),
        ("Produce", 2, 1, false),
    ];
    assert_eq!(requests(by_id), expected);

    let native = row(&told, 0, "millrace", env!("CARGO_PKG_VERSION"));
    assert_eq!(native["protocol"], "native");
    let hellos = requests(native).into_iter().find(|one| one.0 == "Hello");
    assert!(hellos.is_some_and(|(_, version, count, _)| version == 1 && count >= 2));

    let table = shown(&broker, "table");
    let is_there = |words: &[&str]| {
        table
            .lines()
            .any(|line| line.split_whitespace().eq(words.iter().copied()))
    };
    assert!(
        is_there(&["kafka", "librdkafka", "2.0.2", "Produce", "7", "4"]),
        "{table}"
    );
    assert!(
        is_there(&[
            "kafka", "id", "\"test\"", "Produce", "2", "1", "not", "served"
        ]),
        "{table}"
    );
}
