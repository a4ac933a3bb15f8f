//! Goal: the Kafka clients that exist work unmodified: each creates a topic, produces with every codec it has, and consumes
//! from the beginning, by time and at the tail; its groups share their partitions, through a leave and a death, and go on
//! where they were. Method: the real binary on two cores, one script of tests/clients for each
//! client, in the client's own language, run against it. The clients come from their package managers into target/clients,
//! once; where one cannot be had, that is said and it is skipped.
//!
//! All of them (.ci/run clients):  cargo test --test clients -- --ignored --nocapture
//! Some only:                      MILLRACE_CLIENTS=kcat,kafkajs ...
#![allow(clippy::unwrap_used, reason = "a test may panic; the line says where")]

mod process;

use process::{Broker, Directory, cpus};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A client: how it is got, and how its script is run.
struct Client {
    name: &'static str,
    /// Makes it available, or says why it is not.
    install: fn() -> Result<(), String>,
    /// The program, then what stands before the server's address.
    run: fn() -> (PathBuf, Vec<PathBuf>),
}

const CLIENTS: &[Client] = &[
    Client {
        name: "kcat",
        install: install_kcat,
        run: || (PathBuf::from("bash"), vec![script("kcat.sh")]),
    },
    python("confluent", || {
        (python_path(), vec![script("confluent.py")])
    }),
    python("kafka-python", || {
        (python_path(), vec![script("kafka_python.py")])
    }),
    python("aiokafka", || (python_path(), vec![script("aio.py")])),
    node("kafkajs", || {
        (PathBuf::from("node"), vec![script("kafkajs.cjs")])
    }),
    node("platformatic", || {
        (PathBuf::from("node"), vec![script("platformatic.cjs")])
    }),
    python("versions", || (python_path(), vec![script("versions.py")])),
    python("group-versions", || {
        (python_path(), vec![script("group_versions.py")])
    }),
    python("group-confluent", || group("confluent")),
    python("group-cooperative", || group("cooperative")),
    python("group-kafka-python", || group("kafka-python")),
    python("group-aiokafka", || group("aiokafka")),
    Client {
        name: "group-kcat",
        install: || install_kcat().and_then(|()| install_python()),
        run: || group("kcat"),
    },
    Client {
        name: "group-kafkajs",
        install: || install_node().and_then(|()| install_python()),
        run: || group("kafkajs"),
    },
];

const PYTHON_PACKAGES: &[&str] = &[
    "confluent-kafka==2.16.1",
    "kafka-python==3.0.12",
    "aiokafka==0.14.0",
    // The codecs that the two pure ones leave to others.
    "cramjam==2.14.0",
    "lz4==4.4.5",
    "python-snappy==0.7.3",
    "zstandard",
];
const NODE_PACKAGES: &[&str] = &["kafkajs@2.2.4", "@platformatic/kafka@1.35.0"];

const fn python(name: &'static str, run: fn() -> (PathBuf, Vec<PathBuf>)) -> Client {
    Client {
        name,
        install: install_python,
        run,
    }
}

const fn node(name: &'static str, run: fn() -> (PathBuf, Vec<PathBuf>)) -> Client {
    Client {
        name,
        install: install_node,
        run,
    }
}

fn script(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
    folder.join(name)
}

/// Where the clients are kept from run to run.
fn cache() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("clients")
}

fn python_path() -> PathBuf {
    cache().join("python/bin/python")
}

fn run(command: &mut Command) -> Result<(), String> {
    let text = format!("{command:?}");
    let done = command
        .output()
        .map_err(|error| format!("{text}: {error}"))?;
    match done.status.success() {
        true => Ok(()),
        false => Err(format!("{text}: {}", String::from_utf8_lossy(&done.stderr))),
    }
}

/// The scenario of a group of three, with members of this client.
fn group(client: &str) -> (PathBuf, Vec<PathBuf>) {
    let scenario = vec![script("group.py"), PathBuf::from(client)];
    (python_path(), scenario)
}

fn install_kcat() -> Result<(), String> {
    let found = run(Command::new("kcat").arg("-V"));
    found.or_else(|_| run(Command::new("apt-get").args(["install", "-y", "-q", "kcat"])))
}

fn install_python() -> Result<(), String> {
    let folder = cache().join("python");
    if !python_path().exists() {
        run(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
    }
    let pip = ["-m", "pip", "install", "-q", "--prefer-binary"];
    run(Command::new(python_path()).args(pip).args(PYTHON_PACKAGES))
}

fn install_node() -> Result<(), String> {
    let folder = cache().join("node");
    std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    let npm = ["install", "--silent", "--no-audit", "--no-fund"];
    let mut install = Command::new("npm");
    run(install.current_dir(&folder).args(npm).args(NODE_PACKAGES))
}

#[test]
#[ignore = "installs clients from package registries; see the head of this file"]
fn every_client_works_unmodified() {
    let only = std::env::var("MILLRACE_CLIENTS").ok();
    let is_wanted = |name: &str| {
        let among = |only: &String| only.split(',').any(|one| one == name);
        only.as_ref().is_none_or(among)
    };
    let folder = Directory::new("clients");
    let flags = ["--kafka", "127.0.0.1:0"];
    let broker = Broker::spawn_with(&folder.path().join("data"), &cpus(2), &flags);
    let broker = broker.serving().unwrap_or_else(|said| panic!("{said:?}"));
    let server = broker.kafka().remove(0);
    let (mut ran, mut failed) = (0, Vec::new());
    for client in CLIENTS.iter().filter(|client| is_wanted(client.name)) {
        if let Err(reason) = (client.install)() {
            println!(
                "SKIPPED: {}, which cannot be had here: {reason}",
                client.name
            );
            continue;
        }
        let (program, arguments) = (client.run)();
        let mut script = Command::new("timeout");
        script.arg("120").arg(program).args(arguments).arg(&server);
        script.arg(folder.path().join("scratch"));
        let modules = cache().join("node/node_modules");
        let result = run(script.env("NODE_PATH", modules));
        println!(
            "{}: {}",
            client.name,
            result.as_ref().map_or("FAILED", |()| "ok")
        );
        ran += 1;
        failed.extend(result.err());
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    assert!(ran > 0 || only.is_none(), "no such client: {only:?}");
    let (status, said) = broker.stop();
    assert!(status.success(), "{said:?}");
}

/// Goal: what a group has committed survives the death of the broker. Method: a commit, SIGKILL, and another member.
#[test]
#[ignore = "installs clients from package registries; see the head of this file"]
fn a_group_goes_on_where_it_was_when_the_broker_is_killed() {
    if let Err(reason) = install_python() {
        println!("SKIPPED: confluent-kafka cannot be had here: {reason}");
        return;
    }
    let folder = Directory::new("clients-resume");
    for phase in ["before", "after"] {
        let flags = ["--kafka", "127.0.0.1:0"];
        let broker = Broker::spawn_with(&folder.path().join("data"), &cpus(2), &flags);
        let broker = broker.serving().unwrap_or_else(|said| panic!("{said:?}"));
        let mut script_of_phase = Command::new("timeout");
        script_of_phase.arg("60").arg(python_path());
        script_of_phase.args([script("group_resume.py"), PathBuf::from(phase)]);
        script_of_phase.arg(broker.kafka().remove(0));
        let done = run(script_of_phase.arg(folder.path().join("offsets")));
        done.unwrap_or_else(|error| panic!("{phase}: {error}"));
        broker.kill();
    }
}
