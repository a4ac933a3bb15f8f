//! What to run: one workload, as flags, the suite and workload files name it.

use crate::base::AckLevel;
use std::path::PathBuf;
use std::time::Duration;

/// What the load does. The name `consume` stands for [`Kind::CatchUp`] and [`Kind::Tail`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Sends record batches and waits for their acks.
    Produce,
    /// Fills the partitions first, unmeasured, then reads them from the first offset to the last.
    CatchUp,
    /// Reads at the tail what a producer beside it sends; the messages that arrive are what is measured.
    Tail,
    /// The same, but what is measured is the time from when a message was due to when the consumer holds it.
    EndToEnd,
    /// Sends messages to a topic with a queue on it, whose consumers take and ack them; those that arrive are what is
    /// measured.
    Queue,
    /// Keeps connections open and sends nothing.
    Idle,
}

/// What the load speaks with the broker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protocol {
    /// Millrace's own.
    Native,
    /// Kafka's: any broker that speaks it.
    Kafka,
}

/// When requests are due.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Rate {
    /// Closed loop: whenever one may be in flight.
    Max,
    /// Open loop: so many messages a second, on a schedule that waits for nobody.
    PerSecond(f64),
    /// Open loop at the highest rate at which `quantile` (0 to 1) of the response times are at most `limit`.
    FindMax {
        /// Which response time, as a share of all requests: 0.99.
        quantile: f64,
        /// What it may be at most.
        limit: Duration,
    },
}

/// The keys of records. They are carried, and choose nothing: a load sends to its partitions in turn, so that the
/// partitions of a run are equally busy whatever the keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Keys {
    /// No key.
    None,
    /// One of so many, drawn at random (seeded).
    Random(u32),
    /// One of as many as there are records in a batch, in turn.
    RoundRobin,
}

/// The values of records.
#[derive(Clone, PartialEq, Debug)]
pub enum Payload {
    /// Random bytes, which do not compress, or as many of them as wanted; the same in every run of the same seed.
    Random {
        /// Of the generator.
        seed: u64,
        /// How much of each value is random, from its begin; the rest is zeros, which compress. From 0 to 1.
        random_share: f64,
    },
    /// The lines of a file in turn, whatever their length; `message_bytes` is their mean.
    Lines(PathBuf),
}

/// One workload.
#[derive(Clone, PartialEq, Debug)]
pub struct Settings {
    /// What the load does.
    pub kind: Kind,
    /// What it speaks.
    pub protocol: Protocol,
    /// Bytes of a value.
    pub message_bytes: usize,
    /// Records in a batch; one batch is one request.
    pub batch_messages: u32,
    /// Connections that produce. For [`Kind::Idle`]: that do nothing.
    pub connections: usize,
    /// Partitions of the topic, spread over the connections.
    pub partitions: u32,
    /// Requests that wait for their reply, per connection, at most.
    pub in_flight: usize,
    /// What an ack promises.
    pub ack: AckLevel,
    /// Keys.
    pub keys: Keys,
    /// Values.
    pub payload: Payload,
    /// When requests are due.
    pub rate: Rate,
    /// How long the load runs before anything counts.
    pub warm_up: Duration,
    /// How long it counts. A catch-up lasts as long as its data, and repeats until this time is over.
    pub duration: Duration,
    /// How often the whole is repeated, each time on a new broker; the median is reported.
    pub runs: usize,
    /// CPUs of the broker, a core of it pinned to each; `None`: its own choice. Without effect on a broker that runs
    /// already.
    pub server_cpus: Option<Vec<usize>>,
    /// CPUs of the load, a core of it pinned to each; `None`: one core, not pinned.
    pub load_cpus: Option<Vec<usize>>,
    /// Send every request to a core that does not own its partition.
    pub wrong_core: bool,
    /// Connections that consume.
    pub readers: usize,
    /// Messages that a consumer of a queue has in hand at most.
    pub prefetch: u32,
    /// Bytes of payload that a catch-up reads, filled in before.
    pub fill_bytes: u64,
    /// Drop the page cache before a catch-up (needs root).
    pub cold: bool,
    /// Beside a produce, keep reading a filled topic from its first offset, out of the page cache's reach.
    pub cold_reader: bool,
}

impl Default for Settings {
    /// 100 B messages, 1000 a batch, on one connection with one request in flight, `written`, as fast as it goes.
    fn default() -> Self {
        Self {
            kind: Kind::Produce,
            protocol: Protocol::Native,
            message_bytes: 100,
            batch_messages: 1_000,
            connections: 1,
            partitions: 1,
            in_flight: 1,
            ack: AckLevel::Written,
            keys: Keys::None,
            payload: Payload::Random {
                seed: 7_420,
                random_share: 1.0,
            },
            rate: Rate::Max,
            warm_up: Duration::from_secs(1),
            duration: Duration::from_secs(5),
            runs: 3,
            server_cpus: None,
            load_cpus: None,
            wrong_core: false,
            readers: 1,
            prefetch: 100,
            fill_bytes: 2 << 30,
            cold: false,
            cold_reader: false,
        }
    }
}

impl Settings {
    /// Whether requests are due on a schedule, so that response and service time differ.
    pub fn is_open_loop(&self) -> bool {
        self.rate != Rate::Max
    }
}

impl Payload {
    /// Whether the values are made up, so that a time may be written into them.
    pub fn is_random(&self) -> bool {
        matches!(self, Self::Random { .. })
    }
}
