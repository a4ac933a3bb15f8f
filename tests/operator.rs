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

/// The lines of partition `number`, with their offsets.
fn consumed(server: &str, number: &str) -> Vec<(u64, String)> {
    let consume = [
        "consume",
        "logs",
        "--partition",
        number,
        "--from",
        "beginning",
    ];
    let rest = ["--exit-at-end", "--format", "%o %v\\n", "--server", server];
    let text = good(&[&consume[..], &rest].concat(), b"").out;
    let lines = text.lines().map(|line| line.split_once(' ').unwrap());
    lines
        .map(|(offset, value)| (offset.parse().unwrap(), value.to_owned()))
        .collect()
}

#[test]
fn a_damaged_segment_is_found_repaired_and_served_again() {
    let data = filled("repair", 8_000);
    let dir = data.path().to_str().unwrap();
    flip(&segments(data.path(), 1)[0], 300_000);
    let (_, document) = verify(data.path());
    let damaged = document["findings"][0]["offset"].as_u64().unwrap();

    let before = everything(data.path());
    let repair = ["repair", dir, "--partition", "logs/1"];
    let asked = millrace(&[&repair[..], &["--accept-loss"]].concat(), b"yes\n");
    assert_eq!(asked.code, 2, "{}", asked.err);
    assert!(
        asked.out.contains("would be lost") && asked.err.contains("--yes"),
        "{}",
        asked.out
    );
    let inside = (damaged - 1).to_string();
    let cut = millrace(
        &[&repair[..], &["--cut-at", &inside, "--yes"]].concat(),
        b"",
    );
    assert_eq!(cut.code, 1);
    assert!(cut.err.contains(&format!("or {damaged}\n")), "{}", cut.err);
    let sound = millrace(
        &[
            "repair",
            dir,
            "--partition",
            "logs/0",
            "--accept-loss",
            "--yes",
        ],
        b"",
    );
    assert!(
        sound.code == 1 && sound.err.contains("is sound"),
        "{}",
        sound.err
    );
    let unknown = millrace(
        &[
            "repair",
            dir,
            "--partition",
            "logs/7",
            "--accept-loss",
            "--yes",
        ],
        b"",
    );
    assert!(
        unknown.code == 1 && unknown.err.contains("no partition"),
        "{}",
        unknown.err
    );
    assert!(
        before == everything(data.path()),
        "a refused repair changes nothing"
    );

    let flags = ["--accept-loss", "--yes", "-o", "json"];
    let done = good(&[&repair[..], &flags].concat(), b"").json();
    let loss = &done["losses"][0];
    let lost = loss["from"].as_u64().unwrap()..loss["until"].as_u64().unwrap();
    assert_eq!(
        (lost.start, done["next_offset"].as_u64()),
        (damaged, Some(8_000))
    );
    let copy = segments(data.path(), 1)[0].file_name().unwrap().to_owned();
    let copy = Path::new(done["copies"].as_str().unwrap()).join(copy);
    assert!(copy.exists(), "{}", copy.display());
    let (code, document) = verify(data.path());
    assert_eq!(code, 0, "{document}");

    let broker = Broker::start(data.path(), &cpus(1));
    let server = broker.addresses().remove(0);
    good(
        &["produce", "logs", "--partition", "1", "--server", &server],
        b"one more\n",
    );
    let expected = (0..8_000).filter(|number| !lost.contains(number));
    let expected = expected.map(|number| (number, line(number as usize)));
    let expected: Vec<_> = expected.chain([(8_000, "one more".to_owned())]).collect();
    assert!(consumed(&server, "1") == expected);
    assert_eq!(consumed(&server, "0").len(), 8_000);
    let (status, said) = broker.stop();
    assert!(status.success(), "{said:?}");
}

#[test]
fn a_partition_that_a_start_refuses_names_the_commands_that_mend_it() {
    let data = filled("refused", 8_000);
    let dir = data.path().to_str().unwrap();
    std::fs::remove_file(segments(data.path(), 0).last().unwrap()).unwrap();
    let broker = Broker::start(data.path(), &cpus(1));
    let server = broker.addresses().remove(0);
    let commands = [
        format!("`millrace verify {dir}`"),
        format!("`millrace repair {dir} --partition logs/0 --accept-loss`"),
    ];
    let consume = [
        "consume",
        "logs",
        "--partition",
        "0",
        "--from",
        "beginning",
        "--exit-at-end",
    ];
    for command in [&consume[..], &["topic", "describe", "logs"]] {
        let refused = millrace(&[command, &["--server", &server]].concat(), b"");
        assert_eq!(refused.code, 1, "{command:?}: {}", refused.err);
        for mend in &commands {
            assert!(refused.err.contains(mend), "{command:?}: {}", refused.err);
        }
    }
    assert_eq!(consumed(&server, "1").len(), 8_000);
    let (status, said) = broker.stop();
    assert!(status.success(), "{said:?}");
    assert!(
        commands.iter().all(|command| said.err.contains(command)),
        "{}",
        said.err
    );

    let (code, document) = verify(data.path());
    assert_eq!(code, 1);
    let finding = &document["findings"].as_array().unwrap();
    let refused = finding
        .iter()
        .find(|finding| finding["kind"] == "partition-refused");
    let remedy = refused.unwrap()["remedy"].as_str().unwrap().to_owned();
    let words: Vec<&str> = remedy.split(' ').skip(1).collect();
    good(&[&words[..], &["--yes"]].concat(), b"");
    assert_eq!(verify(data.path()).0, 0);
    let broker = Broker::start(data.path(), &cpus(2));
    let server = broker.addresses().remove(0);
    let kept = consumed(&server, "0");
    assert!(kept.len() > 1_000 && kept.len() < 8_000, "{}", kept.len());
    good(
        &["produce", "logs", "--partition", "0", "--server", &server],
        b"one more\n",
    );
    assert_eq!(consumed(&server, "0").last().unwrap().1, "one more");
}

/// An entry of the journal that was acknowledged is gone: everything that it may have held is refused, the catalog too, so
/// nothing is served. All of it can be repaired, and what the other entries and the segments hold is still there.
#[test]
fn a_journal_that_lost_an_entry_stops_the_start_and_can_be_repaired() {
    let data = filled("journal", 3_000);
    let dir = data.path().to_str().unwrap();
    let is_entry = |block: &[u8]| block.starts_with(b"MRENTRY");
    let files = everything(&data.path().join("journal"));
    let entries = files.iter().flat_map(|(path, bytes)| {
        let blocks = bytes.chunks(4_096).enumerate();
        let entries = blocks.filter(|(_, block)| is_entry(block));
        entries.map(move |(number, _)| (path, number))
    });
    let (path, number) = entries.last().unwrap();
    flip(path, number * 4_096 + 200);

    let refused = millrace(
        &[
            "serve",
            "--data",
            dir,
            "--listen",
            "127.0.0.1:0",
            "--kafka",
            "off",
            "--cores",
            &cpus(1),
        ],
        b"",
    );
    assert_eq!(refused.code, 74, "{}", refused.err);
    let catalog = format!(
        "`millrace repair {dir} --partition {:032x}/0 --accept-loss`",
        0
    );
    assert!(refused.err.contains(&catalog), "{}", refused.err);
    for round in 0.. {
        let (code, document) = verify(data.path());
        let findings = document["findings"].as_array().unwrap();
        let refused = findings
            .iter()
            .find(|finding| finding["kind"] == "partition-refused");
        let Some(refused) = refused else {
            assert_eq!((code, round), (0, 3), "{document}");
            break;
        };
        let remedy = refused["remedy"].as_str().unwrap().to_owned();
        let words: Vec<&str> = remedy.split(' ').skip(1).collect();
        good(&[&words[..], &["--yes"]].concat(), b"");
    }
    let broker = Broker::start(data.path(), &cpus(1));
    let server = broker.addresses().remove(0);
    let kept: usize = ["0", "1"]
        .map(|number| consumed(&server, number).len())
        .iter()
        .sum();
    assert!(kept > 5_000, "{kept}");
}

/// Nobody reads what is damaged: the scrub does, says so, and what comes before the damage is served.
#[test]
fn the_scrub_tells_of_damage_that_nobody_has_read() {
    let data = filled("scrub", 8_000);
    let dir = data.path().to_str().unwrap();
    flip(&segments(data.path(), 1)[0], 300_000);
    let (_, document) = verify(data.path());
    let damaged = document["findings"][0]["offset"].as_u64().unwrap();
    let flags = ["--scrub-bytes-per-second", "100M"];
    let broker = Broker::spawn_with(data.path(), &cpus(1), &flags)
        .serving()
        .unwrap();
    let server = broker.addresses().remove(0);
    let counted = |name: &str| {
        let stages = good(&["stages", "-o", "json", "--server", &server], b"").json();
        stages[0]["counters"][name].as_u64().unwrap()
    };
    let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while counted("scrub_damaged") == 0 {
        assert!(std::time::Instant::now() < until, "it finds nothing");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let consume = [
        "consume",
        "logs",
        "--partition",
        "1",
        "--from",
        "beginning",
        "--exit-at-end",
    ];
    let read = millrace(&[&consume[..], &["--server", &server]].concat(), b"");
    assert_eq!(read.code, 1, "{}", read.err);
    assert!(read.err.contains("damaged"), "{}", read.err);
    assert!(
        read.out.lines().count() as u64 <= damaged,
        "{}",
        read.out.lines().count()
    );
    assert_eq!(consumed(&server, "0").len(), 8_000);
    let (status, said) = broker.stop();
    assert!(status.success(), "{said:?}");
    let told = format!("partition logs/1 is damaged: offset {damaged}, ");
    let command = format!("`millrace repair {dir} --partition logs/1 --accept-loss`");
    assert!(
        said.err.contains(&told) && said.err.contains(&command),
        "{}",
        said.err
    );
}
