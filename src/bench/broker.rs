//! The broker under test: a child process of our own binary in a directory of its own, or one that runs already.

use crate::base::limits::QUEUE_LEASE_MS_MAX;
use crate::base::queue::QueueSettings;
use crate::bench::kafka::admin::{Admin, AdminError};
use crate::bench::load::Wire;
use crate::bench::outcome::BrokerFacts;
use crate::bench::settings::Protocol;
use crate::client::blocking::{Client, ClientOptions};
use crate::client::{ClientError, Cluster, CoreAddress, NewQueue, NewTopic, TopicInfo, TopicRef};
use rustix::fs::Advice;
use rustix::process::{Resource, Rlimit};
use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use thiserror::Error;

/// Descriptors that a broker with 10,000 connections, and its load, need: two a connection, and some files.
const DESCRIPTORS: u64 = 65_536;
/// The last words of a broker that ended are kept so far.
const LAST_LINES: usize = 5;

/// Which broker is measured.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Under {
    /// One of our own, started for each run.
    Own {
        /// Directory in which it gets a temporary one.
        dir: PathBuf,
        /// CPUs of its cores; `None`: its own choice.
        cpus: Option<Vec<usize>>,
    },
    /// One that runs.
    Running {
        /// `host:port` of any core of it, where it listens for the protocol of the load.
        server: String,
        /// Its process, if it runs on this machine: else nobody can tell what it uses.
        pid: Option<u32>,
    },
}

/// Why there is no broker to measure.
#[derive(Error, Debug)]
pub enum BrokerError {
    /// A directory, or the child.
    #[error("{what}: {cause}")]
    Io {
        /// What was tried.
        what: String,
        /// Why not.
        cause: std::io::Error,
    },
    /// The child ended before it served.
    #[error("the broker under test did not start: {0}")]
    Start(String),
    /// It cannot be talked to.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// It cannot be talked to in Kafka's protocol.
    #[error(transparent)]
    Kafka(#[from] AdminError),
    /// It speaks Kafka's protocol, and nobody knows whether ours, too.
    #[error("the broker is known as one that speaks Kafka alone")]
    NotNative,
    /// It tells addresses that mean nothing here.
    #[error("the broker's core {core} listens on {address}, which stands for no address here")]
    Address {
        /// Which core.
        core: u16,
        /// What it told.
        address: String,
    },
}

/// A broker to measure. One of our own ends, and its data with it, when this is dropped.
#[derive(Debug)]
pub struct Broker {
    doors: Doors,
    pid: Option<u32>,
    facts: BrokerFacts,
    child: Option<OwnBroker>,
}

/// Where it listens, as `host:port`.
#[derive(Debug)]
enum Doors {
    Native(String),
    /// For Kafka, by which it is loaded; and for ours, if it is one of ours.
    Kafka(String, Option<String>),
}

#[derive(Debug)]
struct OwnBroker {
    child: Child,
    dir: PathBuf,
    ears: Vec<JoinHandle<()>>,
    last_words: Arc<Mutex<VecDeque<String>>>,
}

impl Broker {
    /// Starts it, or finds it.
    pub fn start(under: &Under, protocol: Protocol) -> Result<Self, BrokerError> {
        match under {
            Under::Own { dir, cpus } => Self::own(dir, cpus.as_deref(), protocol),
            Under::Running { server, pid } => Self::running(server, *pid, protocol),
        }
    }

    fn own(parent: &Path, cpus: Option<&[usize]>, protocol: Protocol) -> Result<Self, BrokerError> {
        raise_descriptors();
        let (mut own, mut lines) = OwnBroker::spawn(parent, cpus, protocol)?;
        let native = lines.find_map(|line| first_address(&line));
        let doors = native.and_then(|native| match protocol {
            Protocol::Native => Some(Doors::Native(native)),
            Protocol::Kafka => lines
                .find_map(|line| first_kafka_address(&line))
                .map(|kafka| Doors::Kafka(kafka, Some(native))),
        });
        own.ears.push(std::thread::spawn(move || {
            // Its pipe must never be full.
            lines.for_each(drop);
        }));
        let Some(doors) = doors else {
            return Err(BrokerError::Start(own.end()));
        };
        let pinned = cpus.map_or("cores: its own choice".to_owned(), |cpus| {
            format!("cores on CPUs {cpus:?}")
        });
        Ok(Self {
            doors,
            pid: Some(own.child.id()),
            facts: BrokerFacts {
                software: "millrace",
                version: env!("CARGO_PKG_VERSION").to_owned(),
                features: [build(), "own process", &pinned]
                    .into_iter()
                    .chain(by(protocol))
                    .map(str::to_owned)
                    .collect(),
            },
            child: Some(own),
        })
    }

    fn running(server: &str, pid: Option<u32>, protocol: Protocol) -> Result<Self, BrokerError> {
        let doors = match protocol {
            Protocol::Native => {
                Client::connect([server], ClientOptions::default())?;
                Doors::Native(server.to_owned())
            }
            Protocol::Kafka => {
                Admin::connect(server)?;
                Doors::Kafka(server.to_owned(), None)
            }
        };
        let known = match pid {
            Some(pid) => format!("process {pid}"),
            None => "its process is not known (--server-pid): no CPU and memory figures".to_owned(),
        };
        Ok(Self {
            doors,
            pid,
            facts: BrokerFacts {
                software: match protocol {
                    Protocol::Native => "millrace",
                    Protocol::Kafka => "Kafka broker",
                },
                version: "not told by the broker".to_owned(),
                features: [format!("running at {server}"), known]
                    .into_iter()
                    .chain(by(protocol).map(str::to_owned))
                    .collect(),
            },
            child: None,
        })
    }

    /// What is known about it.
    pub fn facts(&self) -> &BrokerFacts {
        &self.facts
    }

    /// Its process, if that is on this machine.
    pub fn pid(&self) -> Option<u32> {
        self.pid
    }

    /// A native client of it, if it is known to have a door for one.
    pub fn client(&self) -> Result<Client, BrokerError> {
        let (Doors::Native(native) | Doors::Kafka(_, Some(native))) = &self.doors else {
            return Err(BrokerError::NotNative);
        };
        let options = ClientOptions::default();
        Ok(Client::connect([native.as_str()], options)?)
    }

    /// The protocol of a load on it.
    pub fn wire(&self) -> Result<Wire, BrokerError> {
        match &self.doors {
            Doors::Native(_) => Ok(Wire::Native),
            Doors::Kafka(kafka, _) => Ok(Wire::Kafka(Admin::connect(kafka)?.versions()?)),
        }
    }

    /// Makes a topic.
    pub fn create(&self, topic: &NewTopic) -> Result<TopicInfo, BrokerError> {
        match &self.doors {
            Doors::Native(_) => Ok(self.client()?.create_topic(topic)?),
            Doors::Kafka(kafka, _) => Ok(Admin::connect(kafka)?.create(topic)?),
        }
    }

    /// Makes a queue on a topic, of the same name. Its leases outlast any run.
    pub fn create_queue(&self, topic: &TopicInfo) -> Result<(), BrokerError> {
        let queue = NewQueue {
            name: topic.name.clone(),
            topic: TopicRef::Id(topic.id),
            dead_letters: None,
            from_end: false,
            settings: QueueSettings {
                lease_ms: QUEUE_LEASE_MS_MAX,
                ..QueueSettings::default()
            },
        };
        self.client()?.create_queue(&queue)?;
        Ok(())
    }

    /// Deletes the queue on a topic.
    pub fn delete_queue(&self, topic: &TopicInfo) -> Result<(), BrokerError> {
        Ok(self.client()?.delete_queue(&topic.name)?)
    }

    /// Deletes a topic: a search makes one for every try, and its data would fill the disk.
    pub fn delete(&self, topic: &TopicInfo) -> Result<(), BrokerError> {
        match &self.doors {
            Doors::Native(_) => Ok(self.client()?.delete_topic(&TopicRef::Id(topic.id))?),
            Doors::Kafka(kafka, _) => Ok(Admin::connect(kafka)?.delete(topic)?),
        }
    }

    /// Where its cores listen, by core.
    pub fn cores(&self) -> Result<Vec<SocketAddr>, BrokerError> {
        let (door, mut cores) = match &self.doors {
            Doors::Native(native) => (native, self.client()?.topics()?.1),
            Doors::Kafka(kafka, _) => (kafka, Admin::connect(kafka)?.brokers()?),
        };
        cores.sort_by_key(|core| core.core);
        let mut cluster = Cluster::new(vec![door.clone()], true);
        cluster.learn(cores.clone());
        let resolve = |core: &CoreAddress| resolve(core, &cluster.address(core.core));
        cores.iter().map(resolve).collect()
    }

    /// Drops what the page cache holds of the data of one of our own: reads come from the disk afterwards. What is not
    /// written yet is written first. Another broker's files are not known: false.
    pub fn chill(&self) -> Result<bool, BrokerError> {
        let Some(own) = &self.child else {
            return Ok(false);
        };
        let chilled = chill_dir(&own.data().join("topics"));
        chilled.map_err(|cause| failed("cannot drop the page cache of the data", cause))?;
        Ok(true)
    }

    /// Why it ended, if it has: its last words.
    pub fn post_mortem(&mut self) -> Option<String> {
        let own = self.child.as_mut()?;
        match own.child.try_wait() {
            Ok(Some(_)) => Some(own.end()),
            _ => None,
        }
    }
}

/// What is told of the protocol, where it is not ours.
fn by(protocol: Protocol) -> Option<&'static str> {
    (protocol == Protocol::Kafka).then_some("loaded by Kafka's protocol")
}

fn build() -> &'static str {
    if cfg!(debug_assertions) {
        "DEBUG build: its figures say nothing"
    } else {
        "release build"
    }
}

fn failed(what: impl Into<String>, cause: std::io::Error) -> BrokerError {
    let what = what.into();
    BrokerError::Io { what, cause }
}

/// As many descriptors as can be had, for us and for our children. Who gets too few will say so.
fn raise_descriptors() {
    let now = rustix::process::getrlimit(Resource::Nofile);
    let wanted = Rlimit {
        current: Some(DESCRIPTORS),
        maximum: Some(now.maximum.unwrap_or(DESCRIPTORS).max(DESCRIPTORS)),
    };
    let allowed = Rlimit {
        current: now.maximum,
        maximum: now.maximum,
    };
    if rustix::process::setrlimit(Resource::Nofile, wanted).is_err() {
        let _ = rustix::process::setrlimit(Resource::Nofile, allowed);
    }
}

/// How many descriptors this process may have.
pub fn descriptors_max() -> u64 {
    raise_descriptors();
    let limit = rustix::process::getrlimit(Resource::Nofile);
    limit.current.unwrap_or(u64::MAX)
}

type Lines = Box<dyn Iterator<Item = String> + Send>;

impl OwnBroker {
    fn spawn(
        parent: &Path,
        cpus: Option<&[usize]>,
        protocol: Protocol,
    ) -> Result<(Self, Lines), BrokerError> {
        let dir = fresh_dir(parent)?;
        let program = std::env::current_exe()
            .map_err(|cause| failed("cannot find the program that runs", cause))?;
        let cores = cpus.map_or("auto".to_owned(), |cpus| {
            let numbers: Vec<String> = cpus.iter().map(usize::to_string).collect();
            numbers.join(",")
        });
        let kafka = match protocol {
            Protocol::Native => "off",
            Protocol::Kafka => "127.0.0.1:0",
        };
        let spawned = Command::new(&program)
            .args(["serve", "--listen", "127.0.0.1:0", "--kafka", kafka])
            .args(["--cores", &cores])
            .arg("--data")
            .arg(dir.join("data"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Ctrl-C is for us: we end it.
            .process_group(0)
            .spawn();
        let mut child = spawned.map_err(|cause| {
            let _ = fs::remove_dir_all(&dir);
            failed(format!("cannot start {}", program.display()), cause)
        })?;
        let out = child.stdout.take().expect("piped above");
        let err = child.stderr.take().expect("piped above");
        let last_words = Arc::new(Mutex::new(VecDeque::new()));
        let heard = Arc::clone(&last_words);
        let ear = std::thread::spawn(move || listen(err, &heard));
        let own = Self {
            child,
            dir,
            ears: vec![ear],
            last_words,
        };
        let lines = BufReader::new(out).lines().map_while(Result::ok);
        Ok((own, Box::new(lines)))
    }

    fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// Ends it, and tells its last words.
    fn end(&mut self) -> String {
        let _ = self.child.kill();
        let status = self.child.wait();
        for ear in self.ears.drain(..) {
            let _ = ear.join();
        }
        let words = self
            .last_words
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let said: Vec<&str> = words.iter().map(String::as_str).collect();
        match (status, said.is_empty()) {
            (_, false) => said.join("; "),
            (Ok(status), true) => format!("{status}"),
            (Err(cause), true) => cause.to_string(),
        }
    }
}

impl Drop for OwnBroker {
    fn drop(&mut self) {
        self.end();
        let _ = fs::remove_dir_all(&self.dir);
        settle(&self.dir);
    }
}

/// Waits until the file system has done with what was removed: where it discards freed blocks (ext4 with `discard`), it
/// does so in the next commit of its journal, and the next run's first syncs would wait for gigabytes of it.
fn settle(removed: &Path) {
    let parent = removed.parent().map(File::open);
    if let Some(Ok(parent)) = parent {
        let _ = rustix::fs::syncfs(parent);
    }
}

fn listen(err: impl Read, last_words: &Mutex<VecDeque<String>>) {
    for line in BufReader::new(err).lines().map_while(Result::ok) {
        let mut words = last_words.lock().unwrap_or_else(PoisonError::into_inner);
        if words.len() == LAST_LINES {
            words.pop_front();
        }
        words.push_back(line);
    }
}

/// `  127.0.0.1:40123 (core 0)`: what `serve` prints when it serves.
fn first_address(line: &str) -> Option<String> {
    let address = line.split_whitespace().next()?;
    let _: SocketAddr = address.parse().ok()?;
    Some(address.to_owned())
}

/// `Kafka clients: 127.0.0.1:40124, 127.0.0.1:40125`: the line behind those.
fn first_kafka_address(line: &str) -> Option<String> {
    let addresses = line.strip_prefix("Kafka clients: ")?;
    Some(addresses.split(", ").next()?.to_owned())
}

fn fresh_dir(parent: &Path) -> Result<PathBuf, BrokerError> {
    let ours = format!("millrace-bench-{}", std::process::id());
    for number in 0.. {
        let dir = parent.join(format!("{ours}-{number}"));
        match fs::create_dir(&dir) {
            Ok(()) => return Ok(dir),
            Err(cause) if cause.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(cause) => return Err(failed(format!("cannot make {}", dir.display()), cause)),
        }
    }
    unreachable!("some number is free")
}

fn resolve(core: &CoreAddress, address: &str) -> Result<SocketAddr, BrokerError> {
    let resolved = address.to_socket_addrs().ok();
    let first = resolved.and_then(|mut all| all.next());
    first.ok_or_else(|| BrokerError::Address {
        core: core.core.0,
        address: address.to_owned(),
    })
}

fn chill_dir(dir: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            chill_dir(&path)?;
            continue;
        }
        let file = File::open(&path)?;
        file.sync_data()?;
        rustix::fs::fadvise(&file, 0, None, Advice::DontNeed)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_found_in_what_serve_prints() {
        let told = ["millrace 0.1.0 serves on", "  127.0.0.1:40123 (core 0)"];
        let found: Vec<_> = told.iter().filter_map(|line| first_address(line)).collect();
        assert_eq!(found, ["127.0.0.1:40123"]);
        let told = "Kafka clients: 127.0.0.1:40124, 127.0.0.1:40125";
        assert_eq!(first_address(told), None);
        let found = first_kafka_address(told);
        assert_eq!(found.as_deref(), Some("127.0.0.1:40124"));
    }

    #[test]
    fn nobody_at_an_address_is_told() {
        let under = Under::Running {
            server: "127.0.0.1:1".to_owned(),
            pid: None,
        };
        for protocol in [Protocol::Native, Protocol::Kafka] {
            let error = Broker::start(&under, protocol).expect_err("nobody listens there");
            assert!(error.to_string().contains("127.0.0.1:1"), "{error}");
        }
    }
}
