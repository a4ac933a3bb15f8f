//! bench/load: the load itself, on io_uring cores of its own.
//!
//! Does: makes the connections, sends and reads for the time that counts, and adds up what was seen.
//! May import: base, io, client, bench's own nouns and its Kafka driver.
//! Must not know: who starts the broker, what is reported, files, the command line.
//!
//! ```text
//!   Orders (plain data) ──> a core:  connect all ── everybody connected ── begin
//!                                       │
//!     pace: due times ──> lane: send ──┐ driver ┌── receive ──> Tally        (produce)
//!                                      └────────┘
//!                                 catch_up, tail, take, idle: a task each ──> Tally
//!   events, counts (Shared) ──> whoever watches          Tally of all cores, added up ──> the run's outcome
//! ```
//! Invariants:
//! - After the begin nothing is allocated per message; a batch is built once and sent from where it lies.
//! - A request's due time is fixed by the schedule alone. Where the broker, or the load, is late, the request waits and
//!   its response time says so; the schedule does not move.
//! - What counts is decided by time: latencies of requests that were due in the window, messages that were acked or read
//!   in it.
//! - Whatever goes wrong on one connection ends the run with that error.

mod ends;
mod idle;
mod pace;
mod produce;
mod read;
mod shift;
mod tail;
mod take;
mod tally;

pub use ends::LinkError;
pub use tally::{Tally, Window};

use crate::base::{AckLevel, BatchError, Offset, PartitionKey, TopicId};
use crate::bench::batches::Batch;
use crate::bench::kafka::Versions;
use crate::io::uring;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::time::Duration;
use thiserror::Error;

/// How long the broker may be silent before the run is given up.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// Memory for direct I/O, which the load does not do.
const MEMORY_BYTES: usize = 1 << 20;

/// What the load shall do.
#[derive(Clone, Debug)]
pub struct Orders {
    /// CPUs of the load's cores; `None`: not pinned.
    pub cpus: Vec<Option<usize>>,
    /// Whether those CPUs are the load's alone, so that it may stay awake.
    pub stay_awake: bool,
    /// The protocol of all connections.
    pub wire: Wire,
    /// A connection each.
    pub jobs: Vec<Job>,
    /// What producers send, in turn.
    pub batches: Vec<Batch>,
    /// Messages in each batch.
    pub batch_messages: u32,
    /// Ack level of produces.
    pub ack: AckLevel,
    /// Requests that wait for their reply, per connection, at most.
    pub in_flight: usize,
    /// Open loop: requests a second of all producers. `None`: closed loop.
    pub requests_per_s: Option<f64>,
    /// When it is enough.
    pub goal: Goal,
    /// Producers write the time at which a batch was due into it, readers of the tail measure it.
    pub stamped: bool,
    /// A catch-up reads everything once, and no more.
    pub once: bool,
}

/// When it is enough.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Goal {
    /// After the warm-up, for so long.
    Time {
        /// Before anything counts.
        warm_up: Duration,
        /// What counts.
        duration: Duration,
    },
    /// When every producer has sent so many requests to each of its partitions.
    RequestsPerPartition(u64),
}

/// The protocol that a load speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wire {
    /// Ours.
    Native,
    /// Kafka's, in the versions that the broker told.
    Kafka(Versions),
}

/// One connection.
#[derive(Clone, Debug)]
pub struct Job {
    /// Where to.
    pub address: SocketAddr,
    /// About a topic, by name and id …
    pub topic: (String, TopicId),
    /// … and which of its partitions; none for an idle one.
    pub keys: Vec<PartitionKey>,
    /// What for.
    pub task: Task,
}

/// What a connection is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Task {
    /// To produce.
    Produce,
    /// To read each partition from its first offset to `end`, again and again.
    CatchUp {
        /// The offset after the last record of each.
        end: Offset,
    },
    /// The same, beside what is measured: it counts for itself alone.
    Beside {
        /// The offset after the last record of each.
        end: Offset,
    },
    /// To read what producers send, as it comes.
    Tail,
    /// To take from the queue of the topic's name what producers send, and to ack it.
    Take {
        /// How many messages it has in hand at most.
        prefetch: u32,
    },
    /// Nothing.
    Idle,
}

/// What happens while the load runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// Everybody is connected.
    Connected,
    /// From now on it counts.
    Begin,
    /// It counts no longer.
    End,
}

/// What all cores of a load and its watcher look at.
#[derive(Debug)]
pub struct Shared {
    /// Asks the load to end at once.
    pub stop: AtomicBool,
    /// Messages acked or read so far.
    pub messages: AtomicU64,
    /// Bytes that connections beside the load have read while it counted.
    pub beside_bytes: AtomicU64,
    /// How often one of those came to the end of what there is, and began again.
    pub beside_passes: AtomicU64,
    connected: AtomicUsize,
    begin_ns: AtomicU64,
    producers_left: AtomicUsize,
    acked_batches: AtomicU64,
    delivered_batches: AtomicU64,
    /// Messages of batches that may have come in parts.
    parts: AtomicU64,
    events: Sender<Event>,
}

impl Shared {
    /// Nothing has happened yet; `events` is told when it does.
    pub fn new(events: Sender<Event>) -> Arc<Self> {
        Arc::new(Self {
            stop: AtomicBool::new(false),
            messages: AtomicU64::new(0),
            beside_bytes: AtomicU64::new(0),
            beside_passes: AtomicU64::new(0),
            connected: AtomicUsize::new(0),
            begin_ns: AtomicU64::new(0),
            producers_left: AtomicUsize::new(0),
            acked_batches: AtomicU64::new(0),
            delivered_batches: AtomicU64::new(0),
            parts: AtomicU64::new(0),
            events,
        })
    }

    fn tell(&self, event: Event) {
        // Nobody has to watch.
        let _ = self.events.send(event);
    }

    fn undelivered(&self) -> u64 {
        let acked = self.acked_batches.load(Ordering::Relaxed);
        acked.saturating_sub(self.delivered_batches.load(Ordering::Relaxed))
    }
}

/// Why a run is worth nothing.
#[derive(Error, Debug)]
pub enum LoadError {
    /// The cores of the load cannot be launched, or one of them panicked.
    #[error("the load cannot run: {0}")]
    Cores(#[from] std::io::Error),
    /// No connection.
    #[error("cannot connect to the broker at {address}: {cause}")]
    Connect {
        /// Where to.
        address: SocketAddr,
        /// Why not.
        cause: LinkError,
    },
    /// A connection ended.
    #[error("the connection to the broker at {address} was lost: {cause}")]
    Lost {
        /// Where to.
        address: SocketAddr,
        /// Why.
        cause: LinkError,
    },
    /// The broker said no.
    #[error("the broker refused a request for partition {key}: {refusal}")]
    Refused {
        /// About what.
        key: PartitionKey,
        /// Its words.
        refusal: String,
    },
    /// The broker answered something else.
    #[error("the broker's answer for partition {key} is of another kind: {answer}")]
    Unfit {
        /// About what.
        key: PartitionKey,
        /// What came.
        answer: String,
    },
    /// Records are missing between two that came.
    #[error("partition {key}: offset {found} came where {expected} was due")]
    Gap {
        /// Which.
        key: PartitionKey,
        /// What should have come.
        expected: Offset,
        /// What came.
        found: Offset,
    },
    /// Records that were acked do not come.
    #[error("partition {key}: nothing comes at offset {at}, though records were acked up to {end}")]
    Missing {
        /// Which.
        key: PartitionKey,
        /// Where.
        at: Offset,
        /// The offset after the last acked record.
        end: Offset,
    },
    /// Bytes came that are no batch.
    #[error("partition {key} at offset {at}: {cause}")]
    Damaged {
        /// Which.
        key: PartitionKey,
        /// Where.
        at: Offset,
        /// What is wrong.
        cause: BatchError,
    },
    /// Requests without an answer.
    #[error("the broker has left requests unanswered for {} s", PATIENCE.as_secs())]
    Silent,
    /// Acked batches that never reached the consumer.
    #[error("{batches} acked batches did not reach the consumer within {} s", PATIENCE.as_secs())]
    Undelivered {
        /// How many.
        batches: u64,
    },
    /// Somebody asked it to stop.
    #[error("interrupted")]
    Stopped,
}

/// Runs the load and blocks until it is done: what all cores saw together.
pub fn run(orders: Orders, shared: &Arc<Shared>) -> Result<Tally, LoadError> {
    let options = uring::Options {
        cpus: orders.cpus.clone(),
        memory_bytes: MEMORY_BYTES,
        name: "load".to_owned(),
        ..uring::Options::default()
    };
    let producers = orders.jobs.iter().filter(|job| job.task == Task::Produce);
    shared
        .producers_left
        .store(producers.count(), Ordering::Relaxed);
    let (orders, shared) = (Arc::new(orders), Arc::clone(shared));
    let ended = uring::run_cores::<(), _, _, _>(options, move |io, _| {
        shift::work(io, Arc::clone(&orders), Arc::clone(&shared))
    })?;
    let mut total: Option<Tally> = None;
    for tally in first_cause(ended)? {
        match &mut total {
            None => total = Some(tally),
            Some(total) => total.add(&tally),
        }
    }
    Ok(total.expect("at least one core ran"))
}

/// All tallies, or the error that made the others stop.
fn first_cause(ended: Vec<Result<Tally, LoadError>>) -> Result<Vec<Tally>, LoadError> {
    let mut stopped = None;
    let mut tallies = Vec::with_capacity(ended.len());
    for end in ended {
        match end {
            Ok(tally) => tallies.push(tally),
            Err(LoadError::Stopped) => stopped = Some(LoadError::Stopped),
            Err(cause) => return Err(cause),
        }
    }
    stopped.map_or(Ok(tallies), Err)
}
