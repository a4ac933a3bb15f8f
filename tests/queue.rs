//! Goal: a queue, as its users have it, keeps what it promises: each message is with one consumer at a time, what is acked
//! does not come again, what fails is tried again and is dead after as many deliveries as allowed, what is dead can be
//! brought back, and nothing is lost, whoever is killed when.
//!
//! Method: `wire` has the protocol between a client and a shard on a simulated machine. Here the real binary serves: once
//! by its command line, step by step; once under a load of producers, consumers that fail at random, and consumers that are
//! processes, while the consumers and the broker are killed. Everything is accounted for by the id of each message.
//!
//! The campaign, 1 M messages, 8 consumers, 20 kills of the broker (or as many as MILLRACE_MESSAGES, MILLRACE_KILLS say;
//! MILLRACE_SEED for another load), some minutes:
//! ```text
//! cargo test --profile campaign --test queue -- --ignored --nocapture
//! ```
#![allow(clippy::unwrap_used, reason = "a test may panic; the line says where")]

mod campaign;
#[path = "queue/load.rs"]
mod load;
#[allow(dead_code, reason = "each test asks for what it is about")]
mod process;
#[path = "queue/wire.rs"]
mod wire;

use campaign::{Campaign, number};
use load::{Load, run};
use process::{Broker, Directory, cpus};
use serde_json::Value;
use std::io::Write;
use std::process::{Command, Output, Stdio};

/// Runs a command against a broker, with this on its standard input.
fn millrace(broker: &Broker, arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_millrace"))
        .args(arguments)
        .env("MILLRACE_SERVER", &broker.addresses()[0])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    drop(stdin);
    child.wait_with_output().unwrap()
}

/// What a command prints that does what it was asked for.
fn good(broker: &Broker, arguments: &[&str], input: &str) -> String {
    let done = millrace(broker, arguments, input);
    let err = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(0), "{arguments:?}: {err}");
    String::from_utf8(done.stdout).unwrap()
}

fn json(broker: &Broker, arguments: &[&str]) -> Value {
    let text = good(broker, &[arguments, &["-o", "json"]].concat(), "");
    serde_json::from_str(&text).unwrap()
}

/// A count of a queue over all its partitions.
fn sum(broker: &Broker, queue: &str, field: &str) -> u64 {
    let described = json(broker, &["queue", "describe", queue]);
    let rows = described["state"].as_array().unwrap();
    rows.iter().map(|row| row[field].as_u64().unwrap()).sum()
}

fn refused(broker: &Broker, arguments: &[&str], code: i32, part: &str) {
    let done = millrace(broker, arguments, "");
    let err = String::from_utf8(done.stderr).unwrap();
    assert_eq!(done.status.code(), Some(code), "{arguments:?}: {err}");
    assert!(err.contains(part) && err.lines().count() == 1, "{err}");
}

#[test]
fn the_command_line_makes_takes_fails_and_brings_back() {
    let directory = Directory::new("queue-commands");
    let broker = Broker::start(directory.path(), &cpus(2));
    good(
        &broker,
        &["topic", "create", "work", "--partitions", "2"],
        "",
    );
    good(&broker, &["topic", "create", "dead"], "");
    let create = ["queue", "create", "jobs", "--topic", "work"];
    let flags = [
        "--dead-letter",
        "dead",
        "--max-deliveries",
        "3",
        "--backoff",
        "10ms..50ms",
    ];
    good(&broker, &[&create[..], &flags].concat(), "");
    refused(&broker, &create, 1, "queue jobs exists already");
    refused(&broker, &["queue", "describe", "no"], 1, "unknown queue no");
    refused(&broker, &["topic", "delete", "work"], 1, "jobs");
    let listed = json(&broker, &["queue", "list"]);
    assert_eq!(listed[0]["max_deliveries"], 3, "{listed}");
    assert_eq!(listed[0]["backoff"], "10ms..50ms", "{listed}");

    // Messages with keys and headers; one of them will always fail.
    let produce = [
        "produce",
        "work",
        "--key-delimiter",
        ":",
        "--header",
        "kind=test",
    ];
    good(&broker, &produce, "a:one\nb:two\nc:bad\nd:three\n");
    let peeked = json(&broker, &["queue", "peek", "jobs"]);
    assert_eq!(peeked.as_array().unwrap().len(), 4, "{peeked}");
    assert!(
        peeked[0]["state"] == "ready" && peeked[0]["deliveries"] == 0,
        "{peeked}"
    );
    assert_eq!(sum(&broker, "jobs", "ready"), 4);

    // The message on standard input, facts in the environment, what fails comes again.
    let command =
        r#"read -r line; echo "$MILLRACE_KEY $line $MILLRACE_DELIVERIES"; [ "$line" != bad ]"#;
    let consume = [
        "queue",
        "consume",
        "jobs",
        "--exit-at-end",
        "--exec",
        command,
    ];
    let out = good(&broker, &consume, "");
    let mut lines: Vec<&str> = out.lines().collect();
    lines.sort_unstable();
    let wanted = [
        "a one 1",
        "b two 1",
        "c bad 1",
        "c bad 2",
        "c bad 3",
        "d three 1",
    ];
    assert_eq!(lines, wanted);
    assert_eq!(
        (sum(&broker, "jobs", "acked"), sum(&broker, "jobs", "dead")),
        (3, 1)
    );
    let format = ["--format", "%k %v\\n", "--exit-at-end"];
    let dead = good(&broker, &[&["consume", "dead"], &format[..]].concat(), "");
    assert_eq!(dead, "c bad\n");

    // Back to where it came from, once.
    let redrive = ["queue", "redrive", "jobs"];
    assert_eq!(json(&broker, &redrive)["redriven"], 1);
    assert_eq!(json(&broker, &redrive)["redriven"], 0);
    let print = [
        "queue",
        "consume",
        "jobs",
        "--exit-at-end",
        "--at-most-once",
        "--format",
        "%k %v %d\\n",
    ];
    assert_eq!(good(&broker, &print, ""), "c bad 1\n");
    assert_eq!(
        sum(&broker, "jobs", "ready") + sum(&broker, "jobs", "leased"),
        0
    );

    priorities_delays_and_ends(&broker);
    let (status, said) = broker.stop();
    assert!(status.success(), "{said:?}");
}

/// What producers say about deliveries; purge and delete.
fn priorities_delays_and_ends(broker: &Broker) {
    good(broker, &["topic", "create", "other"], "");
    good(
        broker,
        &["queue", "create", "other", "--topic", "other"],
        "",
    );
    good(broker, &["produce", "other"], "low\n");
    good(broker, &["produce", "other", "--priority", "9"], "high\n");
    good(broker, &["produce", "other", "--ttl", "1ms"], "stale\n");
    good(broker, &["produce", "other", "--delay", "1h"], "later\n");
    std::thread::sleep(std::time::Duration::from_millis(10));
    let two = ["queue", "consume", "other", "-n", "2"];
    assert_eq!(good(broker, &two, ""), "high\nlow\n");
    let counts = |fields: [&str; 3]| fields.map(|field| sum(broker, "other", field));
    assert_eq!(counts(["acked", "expired", "delayed"]), [2, 1, 1]);
    refused(broker, &["queue", "purge", "other"], 2, "--yes");
    let purged = json(broker, &["queue", "purge", "other", "--yes"]);
    assert_eq!(purged["purged"], 1, "{purged}");
    refused(broker, &["queue", "redrive", "other"], 2, "no dead letters");
    good(broker, &["queue", "delete", "other", "--yes"], "");
    refused(
        broker,
        &["queue", "consume", "other"],
        1,
        "unknown queue other",
    );
}

#[test]
fn nothing_is_lost_and_nothing_acked_comes_again_whoever_is_killed() {
    let load = Load {
        messages: 4_000,
        consumers: 3,
        kills: 2,
        seed: 0x6a6f_6273,
    };
    run(&load);
}

#[test]
#[ignore = "the campaign: minutes"]
fn a_million_messages() {
    let load = Load {
        messages: number("MILLRACE_MESSAGES", 1_000_000),
        consumers: number("MILLRACE_CONSUMERS", 8),
        kills: number("MILLRACE_KILLS", 20),
        seed: number("MILLRACE_SEED", 1),
    };
    let campaign = Campaign::begin("queue", "messages");
    let done = run(&load);
    println!("{done:?}");
    campaign.end(done.messages, done.failed + done.killed, 0);
}
