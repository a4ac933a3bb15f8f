//! A whole broker in this process: checks, recovery, the cores, their listeners, and the way to stop them.
//!
//! ```text
//!  preflight, lock, identity ──> recover (one core, alone) ──> every core: bind ─ all bound ─> Shard::start ─> serve
//!                                                                        stop flag ─> Net::stop ─> Shard::stop
//! ```

use crate::base::limits::{PRODUCER_EXPIRATION_MS_DEFAULT, UNWRITTEN_BYTES_MAX};
use crate::base::{CoreId, NodeId};
use crate::catalog::CATALOG_KEY;
use crate::cli::exit::{Exit, Failure};
use crate::cli::kafka::KafkaPlan;
use crate::cli::offline::boot;
use crate::cli::print;
use crate::cli::serve::Plan;
use crate::engine::{CoreAddress, Engine};
use crate::io::uring::{self, Uring, UringMailbox, UringSource};
use crate::io::{Io, Listener};
use crate::log::{self, LogError, Recovered, RecoveryReport};
use crate::net::{self, Kafka, Net};
use crate::ops::{node, preflight};
use crate::protocol::kafka::Cluster;
use crate::shard::{self, Message, Shard, Share, StartError, StartReport, remedy};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How often a core looks whether it should stop.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// Memory for direct I/O that each core sets aside.
const MEMORY_BYTES: usize = 96 << 20;
/// How much of it may hold written chunks for readers.
const HOT_BYTES: usize = 40 << 20;
/// What a start needs beside its journals.
const FREE_BYTES_MIN: u64 = 16 << 20;
/// Per core, what may be appended and not written when the disk is found to be full.
const RESERVE_BYTES_PER_CORE: u64 = UNWRITTEN_BYTES_MAX as u64;

/// What to serve.
#[derive(Clone, Debug)]
pub struct Serving {
    /// The data directory.
    pub data: PathBuf,
    /// Cores and addresses.
    pub plan: Plan,
    /// Serve from a file system in memory, too.
    pub allow_memory_fs: bool,
    /// Size of a journal file in bytes.
    pub journal_file_bytes: u64,
    /// How fast each core reads sealed segments again to find damage, in bytes per second; 0: not at all.
    pub scrub_bytes_per_second: u64,
    /// Space that producers may not use, in bytes; `None`: what starting again and what is under way may need.
    pub disk_reserve_bytes: Option<u64>,
}

/// What a broker tells when it serves.
#[derive(Clone, Debug)]
pub struct Ready {
    /// Where each core listens.
    pub addresses: Vec<CoreAddress>,
    /// Where Kafka clients dial, as they are told it.
    pub kafka: Vec<String>,
    /// What recovery found.
    pub recovery: RecoveryReport,
}

/// What all cores share while they start.
struct Start {
    shares: Vec<Mutex<Option<Share>>>,
    log: log::Options,
    plan: Plan,
    /// By core: the port for Kafka clients, once it is bound.
    kafka_ports: Vec<AtomicU16>,
    bound: AtomicUsize,
    failed: AtomicBool,
    stop: Arc<AtomicBool>,
}

impl Serving {
    /// Each core makes a journal file and a spare one before those of the last start are removed.
    fn start_bytes(&self) -> u64 {
        FREE_BYTES_MIN + 2 * self.journal_file_bytes * self.plan.cpus.len() as u64
    }

    /// Enough to start again on a full disk, and for what was appended before it was seen to be full.
    fn disk_reserve_bytes(&self) -> u64 {
        let cores = self.plan.cpus.len() as u64;
        let unasked = 2 * self.start_bytes() + cores * RESERVE_BYTES_PER_CORE;
        self.disk_reserve_bytes.unwrap_or(unasked)
    }

    /// Serves until `stop` is set, then stops cleanly. Blocks; `ready` is called once, when every core serves.
    pub fn run(
        self,
        stop: Arc<AtomicBool>,
        ready: impl Fn(Ready) + Send + Sync + 'static,
    ) -> Result<(), Failure> {
        let _lock = preflight::check(&self.data, self.start_bytes(), self.allow_memory_fs)
            .map_err(|error| Failure::new(Exit::Config, error.to_string()))?;
        let random =
            boot(|io| async move { u128::from(io.random()) << 64 | u128::from(io.random()) })?;
        let node = node::identify(&self.data, random)
            .map_err(|error| Failure::new(Exit::Config, error.to_string()))?;
        let data = self.data.clone();
        let recovered: Result<Recovered, LogError> = boot(move |io| {
            let data = data.clone();
            async move { log::recover(&io, &data).await }
        })?;
        let recovered = recovered.map_err(|error| storage_failure(&error, &self.data))?;
        let cores = self.plan.cpus.len() as u16;
        let disk_reserve_bytes = self.disk_reserve_bytes();
        let mut options = log::Options::new(self.data, node, recovered.epoch);
        options.hot_bytes_max = HOT_BYTES;
        options.journal_file_bytes = self.journal_file_bytes;
        options.disk_reserve_bytes = disk_reserve_bytes;
        options.disk_sharers = u64::from(cores);
        options.scrub_bytes_per_second = self.scrub_bytes_per_second;
        let recovery = recovered.report.clone();
        let shares = shard::share(recovered, cores);
        let start = Arc::new(Start {
            shares: shares
                .into_iter()
                .map(|share| Mutex::new(Some(share)))
                .collect(),
            log: options,
            kafka_ports: (0..cores).map(|_| AtomicU16::new(0)).collect(),
            plan: self.plan,
            bound: AtomicUsize::new(0),
            failed: AtomicBool::new(false),
            stop,
        });
        launch(&start, recovery, ready)
    }
}

fn launch(
    start: &Arc<Start>,
    recovery: RecoveryReport,
    ready: impl Fn(Ready) + Send + Sync + 'static,
) -> Result<(), Failure> {
    let options = uring::Options {
        cpus: start.plan.cpus.clone(),
        memory_bytes: MEMORY_BYTES,
        ..uring::Options::default()
    };
    let (start, ready) = (Arc::clone(start), Arc::new(ready));
    let ended = uring::run_cores(options, move |io, mailbox| {
        let (start, ready, recovery) = (Arc::clone(&start), Arc::clone(&ready), recovery.clone());
        async move {
            let tell = |addresses, kafka| {
                ready(Ready {
                    addresses,
                    kafka,
                    recovery,
                })
            };
            serve_core(io, mailbox, &start, tell).await
        }
    });
    let ended = ended.map_err(|error| Failure::new(Exit::Internal, error.to_string()))?;
    let mut failures: Vec<Failure> = ended.into_iter().filter_map(Result::err).collect();
    // Of several, the one that is not about another core's failure says most.
    failures.sort_by_key(|failure| failure.exit == Exit::Unavailable);
    failures.into_iter().next().map_or(Ok(()), Err)
}

/// The life of one core.
async fn serve_core(
    io: Uring,
    mailbox: UringMailbox<Message<UringSource>>,
    start: &Start,
    tell: impl FnOnce(Vec<CoreAddress>, Vec<String>),
) -> Result<(), Failure> {
    let core = io.core();
    let (listener, kafka_listener) = bind(&io, start).await?;
    let share = start.shares[usize::from(core.0)]
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take()
        .expect("each core takes its share once");
    let kafka = start.plan.kafka.as_ref();
    let expiration_ms = kafka.map_or(PRODUCER_EXPIRATION_MS_DEFAULT, |kafka| {
        kafka.producer_expiration_ms
    });
    let options = shard::Options {
        cores: start.plan.cpus.len() as u16,
        address: CoreAddress {
            core,
            host: start.plan.host.clone(),
            port: listener.local_addr().port(),
        },
        log: start.log.clone(),
        producer_expiration: Duration::from_millis(expiration_ms),
    };
    let node = options.log.node;
    let (shard, report) = Shard::start(io.clone(), mailbox, options, share)
        .await
        .map_err(|error| start_failure(&error, &start.log.data))?;
    report_start(&report);
    let net = Net::new(io.clone(), shard.clone(), net::Options::new(node));
    net.serve(listener);
    let kafka = start.kafka(node);
    let told = kafka.iter().flat_map(|kafka| &kafka.cluster.brokers);
    let told: Vec<_> = told
        .map(|(_, host, port)| format!("{host}:{port}"))
        .collect();
    if let (Some(listener), Some(kafka)) = (kafka_listener, kafka) {
        net.serve_kafka(listener, kafka);
    }
    if core.0 == 0 {
        tell(shard.cores(), told);
    }
    let tell_notices = || {
        for line in shard.take_notices(&start.log.data) {
            print::note(&line);
        }
    };
    while !start.stop.load(Ordering::Relaxed) {
        tell_notices();
        io.sleep(LOOK_INTERVAL).await;
    }
    net.stop().await;
    let stopped = shard.stop().await;
    // What was found since the last look, or by the stop itself.
    tell_notices();
    stopped.map_err(|error| Failure::new(Exit::Io, format!("not stopped cleanly: {error}")))
}

type Listeners = (uring::UringListener, Option<uring::UringListener>);

/// Binds this core's ports and waits until every core has: one that cannot keeps all from starting.
async fn bind(io: &Uring, start: &Start) -> Result<Listeners, Failure> {
    let bound = bind_here(io, start).await;
    if bound.is_err() {
        start.failed.store(true, Ordering::SeqCst);
    }
    start.bound.fetch_add(1, Ordering::SeqCst);
    let listeners = bound?;
    while start.bound.load(Ordering::SeqCst) < start.plan.cpus.len() {
        io.sleep(Duration::from_millis(1)).await;
    }
    if start.failed.load(Ordering::SeqCst) {
        return Err(Failure::new(
            Exit::Unavailable,
            "another core could not listen",
        ));
    }
    Ok(listeners)
}

async fn bind_here(io: &Uring, start: &Start) -> Result<Listeners, Failure> {
    let core = usize::from(io.core().0);
    let listener = listen(io, start.plan.listen[core], "--listen").await?;
    let kafka = start.plan.kafka.as_ref();
    let Some(address) = kafka.and_then(|kafka| kafka.listen.get(core)) else {
        return Ok((listener, None));
    };
    let kafka = listen(io, *address, "--kafka").await?;
    start.kafka_ports[core].store(kafka.local_addr().port(), Ordering::SeqCst);
    Ok((listener, Some(kafka)))
}

async fn listen(
    io: &Uring,
    address: SocketAddr,
    flag: &str,
) -> Result<uring::UringListener, Failure> {
    let bound = io.listen(address).await;
    bound.map_err(|error| {
        let or_off = if flag == "--kafka" { " (or off)" } else { "" };
        let line = format!(
            "cannot listen on {address}: {error}; choose another with {flag}{or_off}, or stop who has it"
        );
        Failure::new(Exit::Config, line)
    })
}

impl Start {
    /// What Kafka clients are served with, once every core is bound.
    fn kafka(&self, node: NodeId) -> Option<Kafka> {
        let plan = self.plan.kafka.as_ref()?;
        let bound = self.kafka_ports.iter().zip(&plan.listen).enumerate();
        let brokers = bound.map(|(core, (port, _))| {
            let port = plan.told_port(core, port.load(Ordering::SeqCst));
            (CoreId(core as u16), plan.host.clone(), port)
        });
        Some(Kafka {
            cluster: Cluster {
                id: node.to_string(),
                brokers: brokers.collect(),
            },
            auto_create: plan.auto_create,
            partitions: plan.partitions,
            settings: KafkaPlan::settings(),
            producer_expiration_ms: plan.producer_expiration_ms,
        })
    }
}

fn report_start(report: &StartReport) {
    for (key, reason) in &report.damaged {
        print::note(&format!(
            "partition {key} is refused, its bytes are kept: {reason}"
        ));
    }
    for line in &report.closed {
        print::note(line);
    }
    for key in &report.unknown {
        print::note(&format!(
            "partition {key} is on disk but in no topic: kept, not served"
        ));
    }
    for key in &report.made {
        print::note(&format!("partition {key} was missing on disk: made empty"));
    }
    for key in &report.removed {
        print::note(&format!("partition {key} of a deleted topic: removed"));
    }
}

fn storage_failure(error: &LogError, data: &Path) -> Failure {
    let line = format!(
        "cannot recover: {error}; `millrace verify {}` says all that is wrong",
        data.display()
    );
    Failure::new(Exit::Io, line)
}

fn start_failure(error: &StartError, data: &Path) -> Failure {
    let remedy = match error {
        StartError::Catalog(_) => format!("; {}", remedy(data, &CATALOG_KEY.to_string())),
        _ => String::new(),
    };
    Failure::new(Exit::Io, format!("cannot start: {error}{remedy}"))
}
