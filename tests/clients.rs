//! Goal: the Kafka clients that exist work unmodified: each creates a topic, produces with every codec it has, and consumes
//! from the beginning, by time and at the tail; its groups share their partitions, through a leave and a death, and go on
//! where they were; what was acked to it survives a kill -9 of the broker, once. Method: the real binary on two cores, one script of tests/clients for each
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
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// A client: how it is got, and how its script is run.
struct Client {
    name: &'static str,
    /// Makes it available, or says why it is not.
    install: fn() -> Result<(), String>,
    /// The program, then what stands before the server's address.
    run: fn() -> (PathBuf, Vec<PathBuf>),
}

/// A client of a compiled language, which does more than one thing: the program and its first words.
struct Program {
    name: &'static str,
    install: fn() -> Result<(), String>,
    words: fn() -> Vec<String>,
}

const PROGRAMS: &[Program] = &[
    Program {
        name: "franz",
        install: install_go,
        words: || vec![go_path("franz")],
    },
    Program {
        name: "sarama",
        install: install_go,
        words: || vec![go_path("sarama")],
    },
    Program {
        name: "java-3.9",
        install: || install_java(JAVA_3),
        words: || java(JAVA_3, "Client"),
    },
    Program {
        name: "java-4",
        install: || install_java(JAVA_4),
        words: || java(JAVA_4, "Client"),
    },
];

/// The last of the 3.9 and the newest of all.
const JAVA_3: &str = "3.9.2";
const JAVA_4: &str = "4.3.0";

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
        name: "rsyslog",
        install: install_rsyslog,
        run: || (PathBuf::from("bash"), vec![script("rsyslog.sh")]),
    },
    Client {
        name: "rdkafka-performance",
        install: install_rdkafka_performance,
        run: || {
            let words = vec![script("rdkafka_performance.sh"), cache().join("rdkafka")];
            (PathBuf::from("bash"), words)
        },
    },
    Client {
        name: "java-tools",
        install: || install_java(JAVA_4),
        run: || {
            let jars = cache().join("java").join(JAVA_4);
            (PathBuf::from("bash"), vec![script("java_tools.sh"), jars])
        },
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
    let has_pip = run(Command::new(python_path()).args(["-m", "pip", "--version"]));
    if has_pip.is_err() {
        run(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
    }
    let pip = ["-m", "pip", "install", "-q", "--prefer-binary"];
    run(Command::new(python_path()).args(pip).args(PYTHON_PACKAGES))
}

fn go_path(program: &str) -> String {
    cache().join("go").join(program).display().to_string()
}

/// The Go clients, built with the versions that go.sum pins.
fn install_go() -> Result<(), String> {
    let folder = cache().join("go");
    std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    let found = run(Command::new("go").arg("version"));
    let go = found.map_or("/usr/local/go/bin/go", |()| "go");
    let mut build = Command::new(go);
    build.args(["build", "-buildvcs=false", "-o"]).arg(&folder);
    run(build
        .args(["./franz", "./sarama"])
        .current_dir(script("go")))
}

/// Runs a class of ours or of Kafka's.
fn java(version: &str, class: &str) -> Vec<String> {
    let folder = cache().join("java").join(version);
    let path = format!("{}/classes:{0}/*", folder.display());
    vec!["java".to_owned(), "-cp".to_owned(), path, class.to_owned()]
}

/// The jars of a version from Maven's registry, and our class built against them.
fn install_java(version: &str) -> Result<(), String> {
    let folder = cache().join("java").join(version);
    let classes = folder.join("classes");
    std::fs::create_dir_all(&classes).map_err(|error| error.to_string())?;
    if !folder.join(format!("kafka-clients-{version}.jar")).exists() {
        let mut get = Command::new("mvn");
        get.args(["-q", "-f"]).arg(script("java/pom.xml"));
        get.arg("dependency:copy-dependencies")
            .arg(format!("-Dkafka={version}"));
        run(get.arg(format!("-DoutputDirectory={}", folder.display())))?;
    }
    let mut build = Command::new("javac");
    build.arg("-cp").arg(format!("{}/*", folder.display()));
    run(build
        .arg("-d")
        .arg(&classes)
        .arg(script("java/Client.java")))
}

fn install_rdkafka_performance() -> Result<(), String> {
    let mut install = Command::new("bash");
    install.arg(script("rdkafka_performance.sh")).arg("install");
    run(install.arg(cache().join("rdkafka")))
}

fn install_rsyslog() -> Result<(), String> {
    install_kcat()?;
    let is_there = Path::new("/usr/lib/x86_64-linux-gnu/rsyslog/omkafka.so").exists();
    if is_there && run(Command::new("rsyslogd").arg("-v")).is_ok() {
        return Ok(());
    }
    run(Command::new("apt-get").args(["install", "-y", "-q", "rsyslog", "rsyslog-kafka"]))
}

fn install_node() -> Result<(), String> {
    let folder = cache().join("node");
    std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    let npm = ["install", "--silent", "--no-audit", "--no-fund"];
    let mut install = Command::new("npm");
    run(install.current_dir(&folder).args(npm).args(NODE_PACKAGES))
}

/// Whether a client was asked for, or all were.
fn is_wanted(name: &str) -> bool {
    let only = std::env::var("MILLRACE_CLIENTS");
    only.map_or(true, |only| only.split(',').any(|one| one == name))
}

/// Whether a client that is wanted can be had here; says if not.
fn is_had(name: &str, install: fn() -> Result<(), String>) -> bool {
    if !is_wanted(name) {
        return false;
    }
    // The tests of this file run at once, and share what they install.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let had = {
        let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        install()
    };
    if let Err(reason) = &had {
        println!("SKIPPED: {name}, which cannot be had here: {reason}");
    }
    had.is_ok()
}

/// A broker on two cores; core i listens for Kafka on `port` + i, which 0 leaves to the system.
fn broker(folder: &Directory, port: u16) -> Broker {
    let address = format!("127.0.0.1:{port}");
    let flags = ["--kafka", &address];
    let broker = Broker::spawn_with(&folder.path().join("data"), &cpus(2), &flags);
    broker.serving().unwrap_or_else(|said| panic!("{said:?}"))
}

/// Runs a script of a client, and tells how it went.
fn tell(name: &str, script: &mut Command) -> Result<(), String> {
    let result = run(script);
    let told = result.as_ref().map_or("FAILED", |()| "ok");
    println!("{name}: {told}");
    result
}

#[test]
#[ignore = "installs clients from package registries; see the head of this file"]
fn every_client_works_unmodified() {
    let folder = Directory::new("clients");
    let broker = broker(&folder, 0);
    let server = broker.kafka().remove(0);
    let scratch = folder.path().join("scratch");
    let limited = || {
        let mut script = Command::new("timeout");
        script.arg("120");
        script
    };
    let mut results = Vec::new();
    for client in CLIENTS {
        if is_had(client.name, client.install) {
            let (program, arguments) = (client.run)();
            let mut script = limited();
            script.arg(program).args(arguments).arg(&server);
            script.env("NODE_PATH", cache().join("node/node_modules"));
            results.push(tell(client.name, script.arg(&scratch)));
        }
    }
    for program in PROGRAMS {
        if is_had(program.name, program.install) {
            let mut script = limited();
            script.args((program.words)()).arg(&server);
            results.push(tell(program.name, script.arg(&scratch)));
            let member = format!("{} member", (program.words)().join(" "));
            let (python, words) = group(program.name);
            let mut script = limited();
            script.env("MILLRACE_MEMBER", member).arg(python);
            script.args(words).arg(&server).arg(&scratch);
            let name = format!("group-{}", program.name);
            if is_had(program.name, install_python) {
                results.push(tell(&name, &mut script));
            }
        }
    }
    let ran = results.len();
    let failed: Vec<String> = results.into_iter().filter_map(Result::err).collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    let only = std::env::var("MILLRACE_CLIENTS");
    println!("{ran} scripts ran");
    assert!(ran > 0 || only.is_err(), "no such client: {only:?}");
    let (status, said) = broker.stop();
    assert!(status.success(), "{said:?}");
}

/// Goal: what was acked to an idempotent producer is there after the death of the broker, and nothing twice. Method: each
/// client sends for some seconds; SIGKILL in the middle, and another start on the same ports; a reader counts.
#[test]
#[ignore = "installs clients from package registries; see the head of this file"]
fn nothing_acked_is_lost_and_nothing_is_there_twice_when_the_broker_is_killed() {
    if !is_had("crash", install_python) {
        return;
    }
    let mut results = Vec::new();
    for name in ["confluent", "kafka-python", "aiokafka"] {
        if is_wanted(name) {
            results.push(crash(name, None));
        }
    }
    for name in ["kafkajs", "platformatic"] {
        if is_had(name, install_node) {
            let words = format!("node {} {name}", script("crash.cjs").display());
            results.push(crash(name, Some(&words)));
        }
    }
    for program in PROGRAMS {
        if is_had(program.name, program.install) {
            let words = format!("{} crash", (program.words)().join(" "));
            results.push(crash(program.name, Some(&words)));
        }
    }
    let failed: Vec<String> = results.into_iter().filter_map(Result::err).collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// A port that is free, as is the next one: clients look for the broker that they know where it was.
fn free_ports() -> u16 {
    let bind = |port| std::net::TcpListener::bind(("127.0.0.1", port));
    loop {
        let first = bind(0).expect("a port").local_addr().expect("bound").port();
        if first < u16::MAX && bind(first + 1).is_ok() {
            return first;
        }
    }
}

/// One client's producer through a kill -9; `words` runs one that is not Python's.
fn crash(client: &str, words: Option<&str>) -> Result<(), String> {
    let folder = Directory::new(&format!("crash-{client}"));
    let acked = folder.path().join("acked");
    let phase = |what: &str, server: &str| {
        let mut phase = Command::new("timeout");
        phase.arg("120").arg(python_path()).arg(script("crash.py"));
        phase.args([client, what, server]).arg(&acked);
        if let Some(words) = words {
            phase.env("MILLRACE_CRASH", words);
            phase.env("NODE_PATH", cache().join("node/node_modules"));
        }
        phase
    };
    let port = free_ports();
    let killed = broker(&folder, port);
    let server = killed.kafka().remove(0);
    let sending = std::thread::spawn({
        let mut produce = phase("produce", &server);
        move || run(&mut produce)
    });
    let lines = || std::fs::read_to_string(&acked).map_or(0, |text| text.lines().count());
    while lines() < 1_500 && !sending.is_finished() {
        std::thread::sleep(Duration::from_millis(20));
    }
    killed.kill();
    let survivor = broker(&folder, port);
    let sent = sending.join().expect("it does not panic");
    let checked = tell(&format!("crash-{client}"), &mut phase("check", &server));
    let text = std::fs::read_to_string(&acked).unwrap_or_default();
    let count = |word: &str| text.lines().filter(|line| line.starts_with(word)).count();
    println!("   {} acked, {} failed", count("acked"), count("failed"));
    survivor.kill();
    sent.and(checked)
}

/// Goal: what a group has committed survives the death of the broker. Method: a commit, SIGKILL, and another member.
#[test]
#[ignore = "installs clients from package registries; see the head of this file"]
fn a_group_goes_on_where_it_was_when_the_broker_is_killed() {
    if !is_had("group-resume", install_python) {
        return;
    }
    let folder = Directory::new("clients-resume");
    for phase in ["before", "after"] {
        let broker = broker(&folder, 0);
        let mut script_of_phase = Command::new("timeout");
        script_of_phase.arg("60").arg(python_path());
        script_of_phase.args([script("group_resume.py"), PathBuf::from(phase)]);
        script_of_phase.arg(broker.kafka().remove(0));
        let done = run(script_of_phase.arg(folder.path().join("offsets")));
        done.unwrap_or_else(|error| panic!("{phase}: {error}"));
        broker.kill();
    }
}
