//! Goal: files as the benchmark has them are run as they are meant, and everything else is told with its line and
//! its key. Method: a file of each shape; each refusal with the words that must be in it; cut at every index.

use super::*;

const USUAL: &str = "\
# A comment.
name: 1 producer / 1 consumer on 1 topic

topics: 1
partitionsPerTopic: 16
messageSize: 1024
#payloadFile: \"payload/payload-1Kb.data\"
useRandomizedPayloads: true
randomBytesRatio: 0.5
randomizedPayloadPoolSize: 1000

subscriptionsPerTopic: 1
consumerPerSubscription: 2
producersPerTopic: 4
producerRate: 50000
consumerBacklogSizeGB: 0
testDurationMinutes: 15
";

fn parsed(text: &str) -> Result<Workload, String> {
    let base = Settings::default();
    parse(Path::new("w.yaml"), text, &base).map_err(|error| error.to_string())
}

fn usual_with(from: &str, to: &str) -> Result<Workload, String> {
    assert!(USUAL.contains(from), "{from}");
    parsed(&USUAL.replace(from, to))
}

#[test]
fn a_usual_file_is_run_as_it_is_meant() {
    let workload = parsed(USUAL).expect("good");
    assert_eq!(workload.name, "1 producer / 1 consumer on 1 topic");
    let expected = Settings {
        kind: Kind::EndToEnd,
        message_bytes: 1024,
        batch_messages: 12,
        connections: 4,
        partitions: 16,
        in_flight: IN_FLIGHT,
        payload: Payload::Random {
            seed: 7_420,
            random_share: 0.5,
        },
        rate: Rate::PerSecond(50_000.0),
        warm_up: Duration::from_secs(60),
        duration: Duration::from_secs(900),
        readers: 2,
        ..Settings::default()
    };
    assert_eq!(workload.settings, expected);
}

#[test]
fn a_payload_file_is_lines_and_no_consumer_is_producing_alone() {
    let lines =
        usual_with("useRandomizedPayloads: true", "payloadFile: \"a b.data\"").expect("good");
    assert_eq!(lines.settings.payload, Payload::Lines("a b.data".into()));
    assert_eq!(lines.settings.kind, Kind::Tail);
    let alone =
        usual_with("consumerPerSubscription: 2", "consumerPerSubscription: 0").expect("good");
    assert_eq!(
        (alone.settings.kind, alone.settings.readers),
        (Kind::Produce, 1)
    );
}

#[test]
fn optional_keys_are_honoured() {
    let keyed = parsed(&format!(
        "{USUAL}keyDistributor: RANDOM_NANO\nwarmupDurationMinutes: 0.5\nbacklogDrainRatio: 0.9\n"
    ));
    let settings = keyed.expect("good").settings;
    assert_eq!(settings.keys, Keys::Random(RANDOM_KEYS));
    assert_eq!(settings.warm_up, Duration::from_secs(30));
}

#[test]
fn what_cannot_be_run_names_line_and_key_and_remedy() {
    for (from, to, line, words) in [
        (
            "topics: 1",
            "topics: 10",
            4,
            "topics: 10: a load has one topic; use one topic",
        ),
        ("topics: 1", "topics: one", 4, "topics: one: not a number"),
        ("topics: 1", "topics: \"1\"", 4, "topics: 1: not a number"),
        ("topics: 1", "topics: 1.5", 4, "not a whole number"),
        ("topics: 1", "topics: [1]", 4, "topics: not one plain value"),
        (
            "topics: 1\n",
            "topics: 1\ntopics: 1\n",
            5,
            "topics stands twice, first in line 4",
        ),
        (
            "topics: 1",
            "topicz: 1",
            4,
            "topicz: no key of a workload; the keys are name",
        ),
        (
            "messageSize: 1024",
            "messageSize: 0",
            6,
            "messageSize: 0: not a number from 1",
        ),
        (
            "messageSize: 1024\n",
            "",
            1,
            "messageSize is missing; add it",
        ),
        (
            "messageSize: 1024",
            "messageSize: NaN",
            6,
            "messageSize: NaN: not a number",
        ),
        (
            "subscriptionsPerTopic: 1",
            "subscriptionsPerTopic: 2",
            12,
            "once; use 1",
        ),
        ("producerRate: 50000", "producerRate: 0", 15, "--find-max"),
        ("SizeGB: 0", "SizeGB: 100", 16, "bench consume --fill"),
        (
            "testDurationMinutes: 15",
            "testDurationMinutes: 0",
            17,
            "give its length",
        ),
        (
            "useRandomizedPayloads: true",
            "useRandomizedPayloads: 1",
            8,
            "neither true nor false",
        ),
        (
            "useRandomizedPayloads: true\n",
            "",
            1,
            "payloadFile is missing",
        ),
        (
            "#payloadFile",
            "payloadFile",
            7,
            "randomized payloads too; remove it",
        ),
        (
            "name: 1",
            "keyDistributor: HASH\nname: 1",
            2,
            "HASH: no key distributor; use NO_KEY",
        ),
        (
            "topics: 1",
            "topics:\n  - 1",
            4,
            "topics: not one plain value",
        ),
    ] {
        let error = usual_with(from, to).expect_err(to);
        assert!(error.contains(words), "{to}: {error}");
        assert!(!error.contains('\n'), "{error}");
        let place = format!("w.yaml:{line}: ");
        assert!(error.starts_with(&place), "{to}: {place} {error}");
    }
}

#[test]
fn what_is_no_list_of_values_is_refused() {
    for text in [
        "",
        "# nothing\n",
        "- 1\n- 2\n",
        "plain",
        "{",
        "a: b: c",
        "\t",
        "? [a]\n: b",
        "*x",
    ] {
        let error = parsed(text).expect_err(text);
        assert!(
            error.starts_with("w.yaml:") && error.contains("; "),
            "{text:?}: {error}"
        );
    }
    let two = parsed(&format!("{USUAL}---\n{USUAL}")).expect_err("two documents");
    assert!(two.contains("a second document"), "{two}");
}

#[test]
fn a_file_cut_anywhere_is_a_workload_or_an_error() {
    let mut good = 0;
    for cut in 0..USUAL.len() {
        good += usize::from(parsed(&USUAL[..cut]).is_ok());
    }
    // Only the last value may be cut and be a value still: `1` and `15`.
    assert_eq!(good, 2);
}

#[test]
fn a_file_with_any_byte_changed_is_a_workload_or_an_error() {
    for index in 0..USUAL.len() {
        for byte in [
            b'\0', b'\n', b' ', b'-', b':', b'[', b'{', b'&', b'*', b'"', b'|', b'%', b'9', 0x7f,
        ] {
            let mut bytes = USUAL.as_bytes().to_vec();
            bytes[index] = byte;
            let text = String::from_utf8(bytes).expect("ASCII");
            if let Err(error) = parsed(&text) {
                assert!(error.starts_with("w.yaml:"), "{error}");
            }
        }
    }
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = read(Path::new("/nonexistent/w.yaml"), &Settings::default());
    let line = error.expect_err("nothing").to_string();
    assert!(
        line.starts_with("/nonexistent/w.yaml: ") && line.contains("; "),
        "{line}"
    );
}

#[test]
fn a_batch_is_what_a_millisecond_brings_within_bounds() {
    for (rate, connections, bytes, messages) in [
        (50_000.0, 1, 1024, 50),
        (100.0, 1, 1024, 1),
        (1e7, 1, 100, 1_000),
        (1e7, 1, 65_536, 15),
        (1e12, 1, 1 << 20, 1),
    ] {
        assert_eq!(
            batch_messages(rate, connections, bytes),
            messages,
            "{rate} {bytes}"
        );
    }
}
