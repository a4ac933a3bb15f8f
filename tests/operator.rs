//! Goal: an operator with a damaged disk finds out what is wrong and what to do from the commands alone, and after that the
//! broker serves. Method: the real binary end to end on a directory of its own: fill, stop, flip bytes in the files, then
//! `verify`, with what it prints, its document, its exit code, and every byte of the directory compared before and after.
#![allow(clippy::unwrap_used, reason = "a test may panic; the line says where")]

mod process;

use process::{Broker, Directory, cpus};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// How a command ended and what it said.
struct Ended {
    code: i32,
    out: String,
    err: String,
}

impl Ended {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error} in {}", self.out))
    }
}

/// Runs the binary with `input` and waits for its end.
fn millrace(arguments: &[&str], input: &[u8]) -> Ended {
    let mut child = Command::new(env!("CARGO_BIN_EXE_millrace"))
        .args(arguments)
        .env_remove("MILLRACE_SERVER")
        .env("NO_COLOR", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that refuses does not read its input.
    let _ = child.stdin.take().unwrap().write_all(input);
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ended {
        code: output.status.code().unwrap(),
        out: text(output.stdout),
        err: text(output.stderr),
    }
}

/// The same, and it must end well.
fn good(arguments: &[&str], input: &[u8]) -> Ended {
    let ended = millrace(arguments, input);
    assert_eq!(ended.code, 0, "{arguments:?}: {}", ended.err);
    ended
}

fn line(number: usize) -> String {
    format!("line {number:06} {}", "x".repeat(number * 7 % 400))
}

/// A data directory with the topic `logs` of two partitions, `lines` lines in each, in segments of 1 MiB; its broker
/// has stopped cleanly.
fn filled(name: &str, lines: usize) -> Directory {
    let data = Directory::new(name);
    let broker = Broker::start(data.path(), &cpus(1));
    let server = &broker.addresses()[0];
    let create = ["topic", "create", "logs", "--partitions", "2"];
    let create = [&create[..], &["--segment-bytes", "1M", "--server", server]].concat();
    good(&create, b"");
    for partition in ["0", "1"] {
        let text: String = (0..lines).map(|number| line(number) + "\n").collect();
        let produce = [
            "produce",
            "logs",
            "--partition",
            partition,
            "--batch-bytes",
            "20K",
        ];
        let produce = [&produce[..], &["--server", server]].concat();
        good(&produce, text.as_bytes());
    }
    let (status, said) = broker.stop();
    assert!(status.success(), "{said:?}");
    data
}

/// Every file below `dir` with its bytes.
fn everything(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.insert(path.clone(), Vec::new());
            all.extend(everything(&path));
        } else {
            let bytes = std::fs::read(&path).unwrap();
            all.insert(path, bytes);
        }
    }
    all
}

/// The segments of partition `number` of the only topic, in order.
fn segments(data: &Path, number: u32) -> Vec<PathBuf> {
    let all = everything(&data.join("topics")).into_keys();
    let of_partition = all.filter(|path| {
        let dir = path.parent().unwrap();
        let is_catalog = dir.parent().unwrap().ends_with(format!("{:032x}", 0));
        dir.ends_with(number.to_string()) && !is_catalog
    });
    let is_segment = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "log");
    of_partition.filter(is_segment).collect()
}

fn flip(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at] ^= 0x40;
    std::fs::write(path, bytes).unwrap();
}

/// `verify -o json`; the directory must be the same afterwards.
fn verify(data: &Path) -> (i32, Value) {
    let before = everything(data);
    let ended = millrace(&["verify", data.to_str().unwrap(), "-o", "json"], b"");
    assert!(before == everything(data), "verify changed something");
    let document = ended.json();
    assert_eq!(
        document["clean"].as_bool(),
        Some(ended.code == 0),
        "{document}"
    );
    (ended.code, document)
}

#[test]
fn verify_tells_a_sound_directory_from_a_damaged_one_and_changes_neither() {
    let data = filled("verify", 8_000);
    let (code, document) = verify(data.path());
    assert_eq!(
        (code, &document["findings"]),
        (0, &Value::from(Vec::<Value>::new()))
    );
    assert_eq!(
        (&document["partitions"], &document["damage"]),
        (&3.into(), &0.into())
    );
    // The catalog holds one record.
    assert_eq!(document["records"], 16_001);
    let text = good(&["verify", data.path().to_str().unwrap()], b"");
    assert!(text.out.contains(" 16001 records") && text.out.ends_with("nothing is wrong\n"));

    let all = segments(data.path(), 1);
    assert!(all.len() > 1, "{all:?}");
    flip(&all[0], 300_000);
    let (code, document) = verify(data.path());
    assert_eq!(
        (code, &document["damage"], &document["harmless"]),
        (1, &1.into(), &0.into())
    );
    let finding = &document["findings"][0];
    assert_eq!(
        (&finding["severity"], &finding["kind"]),
        (&"damage".into(), &"batch".into())
    );
    assert_eq!(
        (&finding["topic"], &finding["partition"]),
        (&"logs".into(), &1.into())
    );
    let position = finding["position"].as_u64().unwrap();
    assert!(
        position <= 300_000 && 300_000 < position + 25_000,
        "{finding}"
    );
    let offset = finding["offset"].as_u64().unwrap();
    let dir = data.path().to_str().unwrap();
    let command =
        format!("millrace repair {dir} --partition logs/1 --accept-loss (or --cut-at {offset})");
    assert_eq!(finding["remedy"], command);
    let text = millrace(&["verify", dir], b"");
    assert_eq!(text.code, 1);
    assert!(
        text.out.contains("SEVERITY") && text.out.contains(&command),
        "{}",
        text.out
    );
    assert_eq!(text.err.lines().count(), 1, "{}", text.err);
}

#[test]
fn verify_refuses_what_is_served_and_what_is_no_data() {
    let data = Directory::new("verify-live");
    let broker = Broker::start(data.path(), &cpus(1));
    let refused = millrace(&["verify", data.path().to_str().unwrap()], b"");
    assert_eq!(refused.code, 78, "{}", refused.err);
    assert!(
        refused.err.contains("another millrace serves"),
        "{}",
        refused.err
    );
    assert!(refused.err.contains(&format!("pid {}", broker.pid())));
    let (status, said) = broker.stop();
    assert!(status.success(), "{said:?}");
    good(&["verify", data.path().to_str().unwrap()], b"");
    let missing = data.path().join("missing");
    let refused = millrace(&["verify", missing.to_str().unwrap()], b"");
    assert_eq!(
        (refused.code, missing.exists()),
        (2, false),
        "{}",
        refused.err
    );
}
