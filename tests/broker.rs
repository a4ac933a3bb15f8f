//! Goal: the binary keeps what it says, as its users see it. Method: run a broker and its commands as processes, on the
//! disk of the build and free ports; compare what comes out with what went in, byte for byte; stop, kill and restart.

#[path = "broker/rig.rs"]
mod rig;

use rig::{Broker, Folder, Running, cpus, run};
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

/// Every kind of line that could be mangled, and enough others for several batches. The last has no line end.
fn odd_lines() -> Vec<u8> {
    let long: Vec<u8> = (0..1u32 << 20).map(|n| b'a' + (n % 23) as u8).collect();
    let lines = [
        &b""[..],
        b"",
        b"x",
        b"dos\r",
        b"\r",
        b"\xff\xfe\x80 no UTF-8",
        b"nul\0nul\0",
        &long,
        b"\t  spaces  ",
        "größer".as_bytes(),
    ];
    let mut bytes = lines.join(&b'\n');
    for n in 0..30_000u32 {
        bytes.extend_from_slice(format!("\nline {n} of many").as_bytes());
    }
    bytes.extend_from_slice(b"\nlast");
    bytes
}

/// Goal: a topic that is told to keep little keeps little, and all again when it is told so.
#[test]
fn a_topic_gives_up_what_it_need_not_keep() {
    let folder = Folder::new();
    let broker = Broker::start(&folder.path().join("data"), 1);
    let made = ["topic", "create", "t", "--segment-bytes", "1M"];
    broker
        .run(&[&made[..], &["--retention-bytes", "2M"]].concat())
        .good();
    let start_of = |broker: &Broker| {
        let state = broker.run(&["topic", "describe", "t", "-o", "json"]).json();
        assert_eq!(state["retention_ms"], serde_json::Value::Null);
        let state = &state["state"][0];
        (state["log_start"].as_u64(), state["bytes"].as_u64())
    };
    let line = [b'x'; 1000];
    let lines = [&line[..], b"\n"].concat().repeat(6_000);
    broker.produce("t", &lines, &["--batch-bytes", "64K"]);
    let deadline = std::time::Instant::now() + Duration::from_secs(120);
    let kept = loop {
        let (start, bytes) = start_of(&broker);
        if start > Some(0) {
            assert!((Some(2 << 20)..Some(4 << 20)).contains(&bytes), "{bytes:?}");
            break start;
        }
        assert!(std::time::Instant::now() < deadline, "nothing went");
        std::thread::sleep(Duration::from_millis(500));
    };
    let found = broker.consume("t", &["--format", "%o\\n"]);
    let first = String::from_utf8_lossy(&found);
    let first = first.lines().next().and_then(|offset| offset.parse().ok());
    assert_eq!(first, kept);
    broker
        .run(&["topic", "alter", "t", "--retention-bytes", "all"])
        .good();
    let state = broker.run(&["topic", "describe", "t", "-o", "json"]).json();
    assert_eq!(state["retention_bytes"], serde_json::Value::Null);
    broker.stop();
}

#[test]
fn lines_come_back_byte_for_byte_and_in_order() {
    let folder = Folder::new();
    let broker = Broker::start(&folder.path().join("data"), 1);
    broker.run(&["topic", "create", "lines"]).good();
    let lines = odd_lines();
    let count = lines.iter().filter(|byte| **byte == b'\n').count() as u64 + 1;
    let file = folder.file("lines", &lines);
    let report = broker
        .run(&["produce", "lines", &file, "-o", "json"])
        .json();
    for (field, wanted) in [
        ("messages", count),
        ("acked", count),
        ("failed", 0),
        ("unknown", 0),
    ] {
        assert_eq!(report[field], wanted, "{report}");
    }
    // The printed lines all end in one.
    let wanted = [&lines[..], b"\n"].concat();
    assert!(broker.consume("lines", &[]) == wanted);
    let state = broker
        .run(&["topic", "describe", "lines", "-o", "json"])
        .json();
    assert_eq!(state["state"][0]["high_watermark"], count);

    broker.run(&["topic", "create", "nul"]).good();
    let messages = b"two\nlines\0\0\xff\0\nlast";
    broker.produce("nul", messages, &["-z"]);
    let found = broker.consume("nul", &["--format", "%o:%S:%v\\0"]);
    let wanted = b"0:9:two\nlines\x001:0:\x002:1:\xff\x003:5:\nlast\0";
    assert_eq!(found, wanted, "{}", String::from_utf8_lossy(&found));
    broker.stop();
}

#[test]
fn keys_keep_their_order_on_every_core() {
    let folder = Folder::new();
    if cpus().len() < 2 {
        eprintln!("on one core only: this process may run on no second CPU");
    }
    let broker = Broker::start(&folder.path().join("data"), 2);
    assert_eq!(broker.servers.len(), cpus().len().min(2));
    broker
        .run(&["topic", "create", "keyed", "--partitions", "8"])
        .good();
    let mut wanted: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut input = String::new();
    for n in 0..20_000u32 {
        let (key, value) = (format!("key-{}", n * 7919 % 101), n.to_string());
        input += &format!("{key}:{value}\n");
        wanted.entry(key).or_default().push(value);
    }
    let flags = ["--key-delimiter", ":", "--batch-bytes", "4K"];
    broker.produce("keyed", input.as_bytes(), &flags);
    for server in &broker.servers {
        // Whichever core is asked first, the client finds the others.
        let flags = ["--server", server, "--format", "%k %v\\n"];
        let found = String::from_utf8(broker.consume("keyed", &flags)).expect("ASCII");
        let mut by_key: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for line in found.lines() {
            let (key, value) = line.split_once(' ').expect("as the format says");
            by_key
                .entry(key.to_owned())
                .or_default()
                .push(value.to_owned());
        }
        assert!(by_key == wanted, "{} keys", by_key.len());
    }
    let state = broker
        .run(&["topic", "describe", "keyed", "-o", "json"])
        .json();
    let rows = state["state"].as_array().expect("a row each");
    let sum = |field: &str| {
        rows.iter()
            .filter_map(|row| row[field].as_u64())
            .sum::<u64>()
    };
    assert_eq!((rows.len(), sum("high_watermark")), (8, 20_000));
    let on_core = |core: u64| rows.iter().any(|row| row["core"] == core);
    assert!((0..broker.servers.len() as u64).all(on_core), "{state}");
    broker.stop();
}

fn sorted(lines: &[u8]) -> Vec<&[u8]> {
    let mut lines: Vec<&[u8]> = lines.split_inclusive(|byte| *byte == b'\n').collect();
    lines.sort_unstable();
    lines
}

#[test]
fn a_clean_stop_keeps_every_record_through_any_number_of_cores() {
    let folder = Folder::new();
    let data = folder.path().join("data");
    let mut wanted = Vec::new();
    for (round, cores) in [1, 2, 1].into_iter().enumerate() {
        let broker = Broker::start(&data, cores);
        assert!(broker.told.contains("(clean stop)"), "{}", broker.told);
        if round == 0 {
            broker
                .run(&["topic", "create", "t", "--partitions", "4"])
                .good();
        }
        let lines: String = (0..5_000).map(|n| format!("{round} {n}\n")).collect();
        broker.produce("t", lines.as_bytes(), &["--batch-bytes", "2K"]);
        wanted.extend_from_slice(lines.as_bytes());
        assert!(
            sorted(&broker.consume("t", &[])) == sorted(&wanted),
            "{round}"
        );
        broker.stop();
    }
    let broker = Broker::start(&data, 1);
    assert!(sorted(&broker.consume("t", &[])) == sorted(&wanted));
    broker.run(&["topic", "delete", "t"]).good();
    assert_eq!(
        broker.run(&["topic", "list", "-o", "json"]).json(),
        serde_json::json!([])
    );
    broker.stop();
}

#[test]
fn what_was_acked_survives_kill_9() {
    let folder = Folder::new();
    let data = folder.path().join("data");
    let broker = Broker::start(&data, 1);
    broker.run(&["topic", "create", "t"]).good();
    let (input, mut lines) = std::io::pipe().expect("pipes exist");
    let endless = std::thread::spawn(move || {
        // Until the producer is gone.
        let mut block = String::new();
        let mut numbers = 0..u64::MAX;
        while lines.write_all(block.as_bytes()).is_ok() {
            block.clear();
            block.extend(numbers.by_ref().take(1_000).map(|n| format!("line {n}\n")));
        }
    });
    let producer = ["produce", "t", "--batch-bytes", "16K", "-o", "json"];
    let mut producer = broker.spawn(&producer, input);
    producer.until("records", |_| {
        let state = broker.run(&["topic", "describe", "t", "-o", "json"]).json();
        state["state"][0]["high_watermark"].as_u64() > Some(20_000)
    });
    broker.kill();
    let done = producer.finish();
    endless.join().expect("it only writes");
    assert_eq!(done.code, Some(1), "{}", done.err);
    let report: serde_json::Value = serde_json::from_slice(&done.out).expect("JSON");
    let acked = report["acked"].as_u64().expect("a count");

    let broker = Broker::start(&data, 1);
    assert!(broker.told.contains("(no clean stop)"), "{}", broker.told);
    let found = String::from_utf8(broker.consume("t", &[])).expect("ASCII");
    let mut count = 0;
    for line in found.lines() {
        assert_eq!(line, format!("line {count}"), "a hole, or something twice");
        count += 1;
    }
    assert!(
        (20_000..).contains(&acked) && count >= acked,
        "{acked} acked, {count} there"
    );
    broker.produce("t", b"after\n", &[]);
    assert_eq!(broker.consume("t", &["--from", "-1"]), b"after\n");
    broker.stop();
}

#[test]
fn consume_begins_and_ends_where_it_is_told() {
    let folder = Folder::new();
    let broker = Broker::start(&folder.path().join("data"), 1);
    broker.run(&["topic", "create", "t"]).good();
    broker.produce("t", b"a\nb\nc\n", &[]);
    let text = |flags: &[&str]| String::from_utf8(broker.consume("t", flags)).expect("ASCII");
    // The clock moves on, so that the two are not of one millisecond.
    std::thread::sleep(Duration::from_millis(20));
    broker.produce("t", b"d\ne\n", &[]);
    let times = text(&["--format", "%T\\n"]);
    let fourth = format!("@{}", times.lines().nth(3).expect("five lines"));
    let later = format!("@{}", i64::MAX);
    for (flags, wanted) in [
        (&["--from", "begin"][..], "a\nb\nc\nd\ne\n"),
        (&["--from", "2"], "c\nd\ne\n"),
        (&["--from", "5"], ""),
        (&["--from", "-2"], "d\ne\n"),
        (&["--from", "-99"], "a\nb\nc\nd\ne\n"),
        (&["--from", "end"], ""),
        (&["--from", &fourth], "d\ne\n"),
        (&["--from", &later], ""),
        (&["--from", "@0", "--count", "1"], "a\n"),
        (&["--from", "1", "--count", "3"], "b\nc\nd\n"),
        (&["--count", "0"], ""),
        (
            &["--partition", "0", "--format", "%t/%p/%o=%v;"],
            "t/0/0=a;t/0/1=b;t/0/2=c;t/0/3=d;t/0/4=e;",
        ),
    ] {
        assert_eq!(text(flags), wanted, "{flags:?}");
    }
    let counted = broker.run(&["consume", "t", "--count", "2"]);
    assert_eq!(
        counted.good(),
        b"a\nb\n",
        "the count ends it without --exit-at-end"
    );
    broker
        .run(&["consume", "t", "--from", "6"])
        .refused(1, "offset 6 is outside 0 to 5");
    broker
        .run(&["consume", "t", "--partition", "1"])
        .refused(1, "has no partition 1");

    let mut waits = broker.spawn(
        &["consume", "t", "--from", "-1", "--count", "2"],
        Stdio::null(),
    );
    waits.until("first record", |waits| waits.out() == b"e\n");
    broker.produce("t", b"late\n", &[]);
    assert_eq!(waits.finish().good(), b"e\nlate\n");

    let mut asked = broker.spawn(&["consume", "t", "--from", "-1"], Stdio::null());
    asked.until("first record", |asked| asked.out() == b"late\n");
    asked.signal(Signal::INT);
    assert_eq!(asked.finish().good(), b"late\n");
    broker.stop();
}

#[test]
fn a_broker_refuses_what_does_not_fit_and_says_why() {
    let folder = Folder::new();
    let data = folder.path().join("data");
    let (data, other) = (data.to_str().expect("UTF-8"), folder.path().join("other"));
    let broker = Broker::start(Path::new(data), 1);
    let serve = |data: &str, listen: &str| {
        let kafka = ["--kafka", "off"];
        run(&[&["serve", "--data", data, "--listen", listen][..], &kafka].concat())
    };
    serve(data, "127.0.0.1:0").refused(78, &format!("pid {}", broker.id()));
    let taken = serve(other.to_str().expect("UTF-8"), &broker.servers[0]);
    // With two cores the second one is not to blame, and says nothing.
    taken.refused(78, &format!("cannot listen on {}", broker.servers[0]));

    broker.run(&["topic", "create", "t"]).good();
    let long = "x".repeat(250);
    for (arguments, part) in [
        (&["topic", "create", "t"][..], "topic t exists already"),
        (&["topic", "create", ".."], "topic or queue must be"),
        (&["topic", "create", "a/b"], "topic or queue must be"),
        (&["topic", "create", &long], "249"),
        (
            &["topic", "create", "none", "--partitions", "0"],
            "partition",
        ),
        (
            &["topic", "create", "many", "--partitions", "4000000000"],
            "partition",
        ),
        (&["topic", "describe", "no"], "unknown topic no"),
        (&["topic", "delete", "no"], "unknown topic no"),
        (&["consume", "no"], "unknown topic no"),
        (&["produce", "no"], "unknown topic no"),
        (&["produce", "t", "--partition", "9"], "has no partition 9"),
    ] {
        let done = broker.run_with(arguments, b"line\n");
        assert_eq!(done.code, Some(1), "{arguments:?}: {}", done.err);
        let last = done.err.lines().last().unwrap_or_default();
        assert!(
            last.starts_with("error: ") && last.contains(part),
            "{arguments:?}: {}",
            done.err
        );
    }
    let longest = "x".repeat(249);
    broker.run(&["topic", "create", &longest]).good();
    let topics = broker.run(&["topic", "list", "-o", "json"]).json();
    let names: Vec<&str> = topics
        .as_array()
        .expect("rows")
        .iter()
        .filter_map(|row| row["name"].as_str())
        .collect();
    assert_eq!(names, ["t", &longest]);
    broker.stop();

    let node = Path::new(data).join("node");
    let identity = fs::read_to_string(&node).expect("made at the first start");
    fs::write(&node, identity.replace("format 1", "format 2")).expect("writable");
    serve(data, "127.0.0.1:0").refused(78, "says format 2");
    fs::write(&node, identity).expect("writable");
    Broker::start(Path::new(data), 1).stop();
}

/// Whether a path lies on tmpfs.
/// Goal: what a tool sets for a group is there after kill -9, and its lag is what was not read.
#[test]
fn groups_are_set_described_and_deleted() {
    let folder = Folder::new();
    let data = folder.path().join("data");
    let broker = Broker::start(&data, 2);
    broker
        .run(&["topic", "create", "logs", "--partitions", "2"])
        .good();
    broker.produce("logs", b"a\nb\nc\nd\ne\nf\n", &["--partition", "0"]);
    assert_eq!(broker.run(&["group", "list", "-o", "json"]).text(), "[]\n");
    broker
        .run(&["group", "describe", "readers"])
        .refused(1, "no group readers");
    let reset = ["group", "reset-offsets", "readers", "logs", "--to"];
    broker.run(&[&reset[..], &["begin"]].concat()).good();
    broker.kill();

    let broker = Broker::start(&data, 1);
    let listed = broker.run(&["group", "list", "-o", "json"]).json();
    assert_eq!(listed[0]["group"], "readers");
    assert_eq!(listed[0]["state"], "Empty");
    let describe = ["group", "describe", "readers", "-o", "json"];
    let lag = |described: &serde_json::Value| -> u64 {
        let offsets = described["offsets"].as_array().expect("a list");
        let records = offsets.iter().map(|one| one["records"].as_u64());
        records.map(|records| records.expect("a number")).sum()
    };
    let described = broker.run(&describe).json();
    assert_eq!(lag(&described), 6, "{described}");
    let behind = described["offsets"][0]["seconds"].as_f64();
    assert!(behind.is_some_and(|seconds| seconds < 600.0), "{described}");
    let one = [&reset[..], &["-1", "--partition", "0"]].concat();
    broker.run(&one).good();
    assert!(lag(&broker.run(&describe).json()) < 6);
    broker.run(&[&reset[..], &["end"]].concat()).good();
    assert_eq!(lag(&broker.run(&describe).json()), 0);
    broker
        .run(&[&reset[..], &["0", "--partition", "2"]].concat())
        .refused(2, "no partition 2");
    broker.run(&["group", "delete", "readers"]).good();
    broker
        .run(&["group", "delete", "readers"])
        .refused(1, "no group readers");
    broker.stop();
}

fn is_tmpfs(path: &Path) -> bool {
    rustix::fs::statfs(path).is_ok_and(|stat| stat.f_type as u64 == 0x0102_1994)
}

#[test]
fn memory_is_no_place_for_data_unless_it_is_only_tried_out() {
    let memory = Path::new("/dev/shm");
    if !is_tmpfs(memory) {
        return eprintln!("skipped: /dev/shm is no tmpfs here");
    }
    let name = format!("millrace-test-{}", std::process::id());
    let data = memory.join(name);
    let text = data.to_str().expect("UTF-8");
    fs::create_dir(&data).expect("writable");
    let serve = ["serve", "--listen", "127.0.0.1:0", "--kafka", "off"];
    let refused = run(&[&serve[..], &["--data", text]].concat());
    let serve = [&serve[..], &["--dev"]].concat();
    let mut dev = Running::start(&serve, ("TMPDIR", text));
    dev.until("broker that serves", |dev| {
        String::from_utf8_lossy(&dev.out()).contains("--dev: ")
    });
    dev.signal(Signal::INT);
    let done = dev.finish();
    fs::remove_file(data.join("lock")).expect("made by the check");
    let left = fs::read_dir(&data).expect("still there").count();
    fs::remove_dir_all(&data).expect("our own");
    refused.refused(78, "is in memory");
    assert_eq!((done.code, left), (Some(0), 0), "{}", done.err);
}

#[test]
fn stages_tell_where_the_time_of_the_requests_went() {
    let folder = Folder::new();
    let broker = Broker::start(&folder.path().join("data"), 1);
    broker
        .run(&["topic", "create", "lines", "--ack", "synced"])
        .good();
    broker.produce("lines", &b"line\n".repeat(100_000), &[]);
    broker.consume("lines", &[]);
    let told = broker.run(&["stages", "-o", "json"]).json();
    let core = &told[0];
    let counted = |name: &str| core["counters"][name].as_u64().expect("a count");
    assert_eq!(told.as_array().map(Vec::len), Some(1), "{told}");
    assert!(counted("records") >= 100_000 && counted("connections") >= 1);
    assert!(counted("journal_flushes") >= counted("sync_rounds") && counted("sync_rounds") > 0);
    let stages = core["stages"].as_array().expect("rows");
    assert_eq!(stages.len(), 9);
    for row in stages {
        let name = row["stage"].as_str().expect("a name");
        let expected = match name {
            // On one core nothing is forwarded; what comes from files and in pieces is the machine's choice.
            "forwarded" => Some(false),
            "receive" | "fetch_memory" | "fetch_file" => None,
            _ => Some(true),
        };
        if let Some(expected) = expected {
            assert_eq!(row["count"].as_u64() > Some(0), expected, "{row}");
            assert_eq!(row["max_ns"].as_u64() > Some(0), expected, "{row}");
        }
    }
    let fetches = |row: &&serde_json::Value| {
        let name = row["stage"].as_str().unwrap_or_default();
        name.starts_with("fetch_") && row["count"].as_u64() > Some(0)
    };
    assert!(stages.iter().any(|row| fetches(&row)), "{told}");
    broker.stop();
}

#[test]
fn the_demo_compares_measures_and_leaves_nothing() {
    let folder = Folder::new();
    let temporary = folder.path().to_str().expect("UTF-8");
    let left = || fs::read_dir(temporary).expect("ours").count();
    let demo = ["demo", "--size", "4M", "-o", "json"];
    let report = Running::start(&demo, ("TMPDIR", temporary)).finish().json();
    assert_eq!(report["equal"], true, "{report}");
    assert_eq!(report["sha256_in"], report["sha256_out"]);
    assert!(report["bytes"].as_u64() > Some(3 << 20), "{report}");
    assert_eq!(report["consume"]["lines"], report["lines"]);
    assert_eq!(left(), 0);

    let mut demo = Running::start(&["demo", "--size", "2G"], ("TMPDIR", temporary));
    demo.until("data directory", |demo| demo.err().contains("lines: "));
    std::thread::sleep(Duration::from_millis(300));
    demo.signal(Signal::INT);
    let done = demo.finish();
    assert!(
        done.err
            .ends_with("error: interrupted; nothing is left behind\n"),
        "{}",
        done.err
    );
    assert_eq!((done.code, left()), (Some(1), 0));
}
