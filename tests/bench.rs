//! Goal: `millrace bench` tells the truth: its figures are there and are counted, a broker that stands still for a while
//! shows up as requests that waited that long and not as one slow request, and a run that failed is no result.
//! Method: the binary as its users run it, against a broker of its own or one of ours that we stop and let go on.
//! Nothing here judges speed: a stall is made, and the bench must have seen it.
#![allow(clippy::unwrap_used, reason = "a test may panic; the line says where")]

#[allow(
    dead_code,
    reason = "the broker of the other process tests, of which these need a part"
)]
mod process;

use process::{Broker, Directory, cpus};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

fn bench(arguments: &[&str], dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_millrace"));
    command
        .arg("bench")
        .args(arguments)
        .arg("--dir")
        .arg(dir)
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}

fn run(arguments: &[&str], dir: &Path) -> Value {
    let json = dir.join("report.json");
    let mut command = bench(arguments, dir);
    let output = command
        .arg("--json")
        .arg(&json)
        .output()
        .expect("it starts");
    assert!(output.status.success(), "{}", said(&output));
    let text = std::fs::read_to_string(&json).expect("it was written");
    serde_json::from_str(&text).expect("it is JSON")
}

#[test]
fn a_quick_run_against_its_own_broker_has_every_figure_and_leaves_nothing_behind() {
    let dir = Directory::new("bench-own");
    let report = run(
        &[
            "produce",
            "--quick",
            "--duration",
            "500ms",
            "--no-probe",
            "--connections",
            "2",
        ],
        dir.path(),
    );
    let figures = figures(&report);
    for name in [
        "throughput",
        "payload",
        "response p50",
        "response p99",
        "server CPU",
        "peak RSS",
    ] {
        let value = figures.iter().find(|(found, _)| found == name);
        assert!(
            value.is_some_and(|(_, value)| *value > 0.0),
            "{name} in {figures:?}"
        );
    }
    let left: Vec<_> = std::fs::read_dir(dir.path())
        .expect("it is there")
        .map(|entry| entry.expect("readable").file_name())
        .collect();
    assert_eq!(left, ["report.json"], "the broker's data is gone");
}

fn figures(report: &Value) -> Vec<(String, f64)> {
    let figures = report["rows"][0]["figures"].as_array().expect("a list");
    figures
        .iter()
        .map(|figure| {
            let name = figure["name"].as_str().expect("a name");
            (
                name.to_owned(),
                figure["value"].as_f64().unwrap_or(f64::NAN),
            )
        })
        .collect()
}

/// A line of a file of percentiles: so many requests, which are this share of all, took at most so long.
#[derive(Clone, Copy, Debug)]
struct Line {
    ms: f64,
    share: f64,
    count: u64,
}

fn percentiles(path: &Path) -> Vec<Line> {
    let text = std::fs::read_to_string(path).expect("it was written");
    let rows = text.lines().filter_map(|line| {
        let mut cells = line.split_whitespace();
        Some(Line {
            ms: cells.next()?.parse().ok()?,
            share: cells.next()?.parse().ok()?,
            count: cells.next()?.parse().ok()?,
        })
    });
    rows.collect()
}

fn requests_above(path: &Path, ms: f64) -> u64 {
    let rows = percentiles(path);
    let all = rows.last().expect("requests").count;
    let below = rows.iter().rev().find(|line| line.ms <= ms);
    all - below.map_or(0, |line| line.count)
}

#[test]
fn a_broker_that_stands_still_is_seen_by_every_request_that_was_due() {
    const STALL: Duration = Duration::from_millis(200);
    const IN_FLIGHT: u64 = 4;
    let dir = Directory::new("bench-stall");
    let broker = Broker::start(&dir.path().join("data"), &cpus(1));
    let server = broker.addresses().remove(0);
    let prefix = dir.path().join("run");
    let load = [
        "produce",
        "--batch-messages",
        "1",
        "--rate",
        "1000",
        "--in-flight",
        "4",
        "--runs",
        "1",
        "--warm-up",
        "500ms",
        "--duration",
        "2s",
        "--no-probe",
        "--server",
        &server,
    ];
    let mut command = bench(&load, dir.path());
    let mut running = command
        .arg("--hgrm")
        .arg(&prefix)
        .spawn()
        .expect("it starts");
    // The window is found by what the broker was told, not by a clock: a slow machine only moves it.
    await_records(&broker, 700, &mut running);
    let pid = Pid::from_raw(broker.pid() as i32).expect("a process");
    kill_process(pid, Signal::STOP).expect("it is ours");
    std::thread::sleep(STALL);
    kill_process(pid, Signal::CONT).expect("it is ours");
    let output = running.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{}", said(&output));
    let response = dir.path().join("run-01-produce-response.hgrm");
    let service = dir.path().join("run-01-produce-service.hgrm");
    // At 1000 a second, 100 were due in the first half of the stall: they waited for more than its second half.
    let late = requests_above(&response, 99.0);
    assert!(
        late >= 95,
        "{late} requests saw the stall: {:?}",
        percentiles(&response)
    );
    let lines = percentiles(&response);
    let p999 = lines.iter().find(|line| line.share >= 0.999);
    assert!(p999.is_some_and(|line| line.ms >= 150.0), "{p999:?}");
    // What had been sent waited, and nothing else was sent meanwhile. A machine that stalls by itself may add some.
    let slow = requests_above(&service, 99.0);
    assert!(
        (1..late / 4).contains(&slow),
        "{slow} of {IN_FLIGHT} in flight, {late}"
    );
}

/// Waits until the broker has taken so many records of the load: then it counts.
fn await_records(broker: &Broker, records: u64, load: &mut Child) {
    let server = broker.addresses().remove(0);
    let options = millrace::client::blocking::ClientOptions::default();
    let client = millrace::client::blocking::Client::connect([server], options);
    let mut client = client.expect("it serves");
    loop {
        let cores = client.stages().expect("it tells");
        let counters = cores.iter().flat_map(|core| &core.counters);
        let taken = counters.filter(|(counter, _)| *counter == millrace::base::Counter::Records);
        if taken.map(|(_, count)| *count).sum::<u64>() >= records {
            return;
        }
        let ended = load.try_wait().expect("it is ours");
        assert!(ended.is_none(), "the load has ended before: {ended:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A small catch-up by several connections.
const CATCH_UP: [&str; 7] = [
    "consume",
    "--fill",
    "4M",
    "--partitions",
    "3",
    "--connections",
    "2",
];

#[test]
fn what_is_read_at_the_tail_and_caught_up_on_is_counted() {
    let dir = Directory::new("bench-read");
    let short = ["--quick", "--duration", "300ms", "--no-probe"];
    let end_to_end = run(
        &[&["end-to-end", "--rate", "20K"][..], &short].concat(),
        dir.path(),
    );
    assert!(has(&end_to_end, "end to end p50"), "{end_to_end}");
    let consume = run(&[&CATCH_UP[..], &short].concat(), dir.path());
    assert!(has(&consume, "throughput"), "{consume}");
    // Batches that are cut between consumers, too.
    let queue = ["queue", "--consumers", "3", "--prefetch", "7"];
    let taken = run(
        &[&queue[..], &["--batch-messages", "10"], &short].concat(),
        dir.path(),
    );
    assert!(has(&taken, "throughput"), "{taken}");
}

fn has(report: &Value, name: &str) -> bool {
    let figures = figures(report);
    figures
        .iter()
        .any(|(found, value)| found == name && *value > 0.0)
}

/// Goal: the same loads by Kafka's protocol, from a broker of the bench's own. Its own checks of offsets and checksums are
/// what fails where a byte is wrong; the suite's rows are held against native ones.
#[test]
fn a_load_by_kafkas_protocol_has_the_same_figures() {
    let dir = Directory::new("bench-kafka");
    let short = [
        "--quick",
        "--duration",
        "300ms",
        "--warm-up",
        "100ms",
        "--no-probe",
    ];
    let kafka = |load: &[&str]| {
        let report = run(
            &[load, &short, &["--protocol", "kafka"]].concat(),
            dir.path(),
        );
        assert_eq!(report["rows"][0]["settings"]["protocol"], "kafka");
        report
    };
    let end_to_end = kafka(&["end-to-end", "--rate", "20K"]);
    assert!(has(&end_to_end, "end to end p50"), "{end_to_end}");
    let consume = kafka(&CATCH_UP);
    assert!(has(&consume, "throughput"), "{consume}");
    let suite = kafka(&["suite", "--only", "1"]);
    for name in ["server CPU", "server CPU, of that by the native protocol"] {
        assert!(has(&suite, name), "{name} in {suite}");
    }
}

/// Goal: any broker that speaks Kafka can be loaded, knowing nothing of it but an address; what Kafka cannot do is told.
#[test]
fn a_kafka_broker_that_runs_is_loaded_and_what_it_never_answers_is_refused() {
    let dir = Directory::new("bench-kafka-running");
    let flags = ["--kafka", "127.0.0.1:0"];
    let broker = Broker::spawn_with(&dir.path().join("data"), &cpus(2), &flags);
    let broker = broker.serving().unwrap_or_else(|said| panic!("{said:?}"));
    let server = broker.kafka().remove(0);
    let load = |ack| {
        let load = [
            "produce",
            "--quick",
            "--duration",
            "300ms",
            "--no-probe",
            "--ack",
            ack,
        ];
        let more = [
            "--connections",
            "3",
            "--batch-messages",
            "2",
            "--in-flight",
            "8",
        ];
        let to = ["--protocol", "kafka", "--server", &server];
        [&load[..], &more, &to].concat()
    };
    let report = run(&load("synced"), dir.path());
    assert!(has(&report, "throughput"), "{report}");
    let refused = bench(&load("none"), dir.path())
        .output()
        .expect("it starts");
    assert_eq!(refused.status.code(), Some(2), "{}", said(&refused));
    assert!(
        said(&refused).contains("give --ack written"),
        "{}",
        said(&refused)
    );
    let native = broker.addresses().remove(0);
    let to = ["--protocol", "kafka", "--server", &native];
    let deaf = bench(
        &[&["produce", "--quick", "--no-probe"][..], &to].concat(),
        dir.path(),
    );
    let deaf = { deaf }.output().expect("it starts");
    assert!(!deaf.status.success(), "the native port speaks no Kafka");
    assert!(said(&deaf).contains(&native), "{}", said(&deaf));
    broker.stop();
}

#[test]
fn a_broker_that_goes_away_fails_the_run_with_a_clear_line() {
    let dir = Directory::new("bench-gone");
    let broker = Broker::start(&dir.path().join("data"), &cpus(1));
    let server = broker.addresses().remove(0);
    let load = [
        "produce",
        "--duration",
        "20s",
        "--no-probe",
        "--server",
        &server,
    ];
    let mut running = bench(&load, dir.path()).spawn().expect("it starts");
    await_records(&broker, 10_000, &mut running);
    broker.kill();
    let output = running.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(69), "{}", said(&output));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let last = text.lines().last().expect("a line");
    assert!(last.starts_with("error: produce: "), "{text}");
    assert!(
        last.contains("lost") || last.contains("cannot connect"),
        "{text}"
    );
    assert!(output.stdout.is_empty(), "no figures of a failed run");
}

#[test]
fn nobody_there_is_told_before_anything_is_measured() {
    let dir = Directory::new("bench-nobody");
    let load = ["produce", "--no-probe", "--server", "127.0.0.1:1"];
    let output = bench(&load, dir.path()).output().expect("it starts");
    assert_eq!(output.status.code(), Some(69), "{}", said(&output));
    assert!(said(&output).contains("127.0.0.1:1"), "{}", said(&output));
}
