//! `millrace queue consume`: takes messages, prints them or runs a command for each, and answers for them.
//!
//! Printed, a message is acked once its line was written. With a command, it is acked when that ends in 0; otherwise it is
//! tried again, as the queue says. While a command runs, what is in hand is leased on.

use crate::cli::broker;
use crate::cli::consume::raw_output;
use crate::cli::exit::{Exit, Failure};
use crate::cli::format::{Fields, Format};
use crate::cli::interrupt::Interrupt;
use crate::cli::print::{Output, note};
use crate::cli::sink::Sink;
use crate::cli::values::Endpoint;
use crate::client::ClientError;
use crate::client::blocking::{
    Answerer, Client, QueueConsumer, QueueOptions, QueueRecord, Receipt, Settled,
};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long a wait for messages may hide an interrupt, and how often an empty queue is looked at for its end.
const POLL: Duration = Duration::from_millis(100);
/// How many messages are in hand at a time unless the command line says otherwise: printed, and run one by one.
const PREFETCH: u32 = 100;
const PREFETCH_EXEC: u32 = 1;

/// The flags of `queue consume`.
#[derive(clap::Args, Clone, PartialEq, Eq, Debug)]
pub struct ConsumeArgs {
    /// Which
    pub name: String,

    /// Run this with `sh -c` for each message, which is its standard input; MILLRACE_QUEUE, _TOPIC, _PARTITION, _OFFSET,
    /// _KEY, _TIMESTAMP_MS, _DELIVERIES and _FIRST_DELIVERY_MS tell about it. It is done with if that ends in 0
    #[arg(long, value_name = "COMMAND")]
    pub exec: Option<String>,

    /// End when the queue has no message any more that is not done with
    #[arg(long)]
    pub exit_at_end: bool,

    /// End after this many messages
    #[arg(short = 'n', long, value_name = "N")]
    pub count: Option<u64>,

    /// Messages are done with when they are delivered: what is lost on the way, or fails here, does not come again
    #[arg(long, conflicts_with = "count")]
    pub at_most_once: bool,

    /// How many messages are in hand at a time; at least one from each core. What is in hand at the end counts as delivered
    /// [default: 100; 1 with --exec]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub prefetch: Option<u32>,

    /// How a message is printed: as `consume` does, and %d for which delivery of it this is
    #[arg(
        long,
        value_name = "FORMAT",
        default_value = "%v\\n",
        allow_hyphen_values = true,
        conflicts_with = "exec"
    )]
    pub format: Format,
}

impl ConsumeArgs {
    fn options(&self) -> QueueOptions {
        let unasked = match self.exec {
            Some(_) => PREFETCH_EXEC,
            None => PREFETCH,
        };
        // Nobody else gets what this one does not want.
        let most = self.count.map_or(u32::MAX, |count| {
            u32::try_from(count).unwrap_or(u32::MAX).max(1)
        });
        QueueOptions {
            prefetch: self.prefetch.unwrap_or(unasked).min(most),
            at_most_once: self.at_most_once,
            ..QueueOptions::default()
        }
    }
}

pub(super) fn run(args: &ConsumeArgs, server: &Endpoint, output: Output) -> Result<(), Failure> {
    if output == Output::Json {
        let line = "queue consume prints messages as --format says; leave --output away";
        return Err(Failure::new(Exit::Usage, line));
    }
    let interrupt = Interrupt::watch()?;
    let mut client = broker::connect(server)?;
    let mut consumer = client.queue_consumer(&args.name, args.options())?;
    let mut taker = Taker::new(args, &consumer)?;
    let taken = take(args, &mut client, &mut consumer, &mut taker, &interrupt);
    drop(taker);
    // What was done before a failure is done.
    let settled = consumer.flush();
    taken?;
    tell(settled?);
    Ok(())
}

/// Late answers are no failure: that is what happens to one who takes longer than the lease.
fn tell(settled: Settled) {
    let Settled { stale, lost, .. } = settled;
    if stale > 0 {
        note(&format!(
            "{stale} messages were answered after their lease: they are delivered again"
        ));
    }
    if lost > 0 {
        note(&format!(
            "{lost} answers were lost with a connection: their messages may be delivered again"
        ));
    }
}

fn take(
    args: &ConsumeArgs,
    client: &mut Client,
    consumer: &mut QueueConsumer,
    taker: &mut Taker,
    interrupt: &Interrupt,
) -> Result<(), Failure> {
    let mut left = args.count.unwrap_or(u64::MAX);
    while left > 0 && !interrupt.is_asked() {
        let mut came = 0;
        for delivered in consumer.poll(POLL)? {
            let delivered = delivered?;
            came += 1;
            // What is acked already has to be taken now.
            if args.at_most_once || left > 0 && !interrupt.is_asked() {
                taker.take(&delivered)?;
                left -= 1;
            }
        }
        taker.end_of_some()?;
        if came == 0 && args.exit_at_end && !consumer.has_more() {
            consumer.flush()?;
            if is_at_end(client, &args.name)? {
                break;
            }
        }
    }
    Ok(())
}

/// Whether every message is done with.
fn is_at_end(client: &mut Client, name: &str) -> Result<bool, Failure> {
    let states = client.describe_queue(name)?;
    let mut left = 0;
    for state in states.partitions {
        let counts = state.counts.map_err(ClientError::from)?;
        left += counts.ready + counts.leased + counts.delayed + counts.blocked + counts.dying;
    }
    Ok(left == 0)
}

/// What becomes of a message.
enum Taker {
    Print {
        sink: Sink<File>,
        /// Printed, and not acked yet.
        printed: Vec<Receipt>,
        answerer: Answerer,
        at_most_once: bool,
    },
    Exec(Runner),
}

impl Taker {
    fn new(args: &ConsumeArgs, consumer: &QueueConsumer) -> Result<Self, Failure> {
        let answerer = consumer.answerer();
        let Some(command) = &args.exec else {
            return Ok(Self::Print {
                sink: Sink::new(raw_output()?, args.format.clone()),
                printed: Vec::new(),
                answerer,
                at_most_once: args.at_most_once,
            });
        };
        let lease_ms = consumer.queue().settings.lease_ms;
        Ok(Self::Exec(Runner {
            queue: args.name.clone(),
            command: command.clone(),
            keeper: (!args.at_most_once).then(|| Keeper::start(answerer.clone(), lease_ms)),
            answerer,
        }))
    }

    fn take(&mut self, delivered: &QueueRecord<'_>) -> Result<(), Failure> {
        match self {
            Self::Exec(runner) => runner.run(delivered),
            Self::Print { sink, printed, .. } => {
                let record = &delivered.record;
                sink.print(&Fields {
                    topic: record.topic,
                    partition: record.partition,
                    offset: record.offset.0,
                    timestamp_ms: record.timestamp.0,
                    deliveries: delivered.receipt.deliveries,
                    key: record.key,
                    value: record.value,
                })?;
                printed.push(delivered.receipt);
                Ok(())
            }
        }
    }

    /// What came together has been taken.
    fn end_of_some(&mut self) -> Result<(), Failure> {
        if let Self::Print {
            sink,
            printed,
            answerer,
            at_most_once,
        } = self
        {
            sink.flush()?;
            for receipt in printed.drain(..).filter(|_| !*at_most_once) {
                answerer.ack(receipt);
            }
        }
        Ok(())
    }
}

/// Runs a command for each message.
struct Runner {
    queue: String,
    command: String,
    answerer: Answerer,
    keeper: Option<Keeper>,
}

impl Runner {
    fn run(&self, delivered: &QueueRecord<'_>) -> Result<(), Failure> {
        let kept = self
            .keeper
            .as_ref()
            .map(|keeper| keeper.keep(delivered.receipt));
        let status = self.spawn(delivered);
        drop(kept);
        let status = status.map_err(|error| {
            let line = format!("sh cannot be run for --exec: {error}; the message is given back");
            Failure::new(Exit::Io, line)
        })?;
        if self.keeper.is_some() {
            match status.success() {
                true => self.answerer.ack(delivered.receipt),
                false => self.answerer.retry(delivered.receipt),
            }
            self.answerer.send();
        }
        Ok(())
    }

    fn spawn(&self, delivered: &QueueRecord<'_>) -> std::io::Result<ExitStatus> {
        let record = &delivered.record;
        let mut command = Command::new("sh");
        command
            .args(["-c", &self.command])
            .env("MILLRACE_QUEUE", &self.queue)
            .env("MILLRACE_TOPIC", record.topic)
            .env("MILLRACE_PARTITION", record.partition.to_string())
            .env("MILLRACE_OFFSET", record.offset.to_string())
            .env("MILLRACE_TIMESTAMP_MS", record.timestamp.to_string())
            .env(
                "MILLRACE_DELIVERIES",
                delivered.receipt.deliveries.to_string(),
            )
            .env("MILLRACE_FIRST_DELIVERY_MS", delivered.first.to_string())
            .env_remove("MILLRACE_KEY")
            .stdin(Stdio::piped());
        // No environment holds a NUL.
        if let Some(key) = record.key.filter(|key| !key.contains(&0)) {
            command.env("MILLRACE_KEY", OsStr::from_bytes(key));
        }
        let mut child = command.spawn()?;
        let mut input = child.stdin.take().expect("it was asked for");
        let written = input.write_all(record.value.unwrap_or_default());
        drop(input);
        let status = child.wait()?;
        match written {
            // A command need not read.
            Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error),
            _ => Ok(status),
        }
    }
}

/// Leases on what is in hand, three times in each lease.
struct Keeper {
    kept: Arc<Mutex<Option<Receipt>>>,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// In hand as long as this lives.
struct Kept<'a>(&'a Keeper);

impl Keeper {
    fn start(answerer: Answerer, lease_ms: u32) -> Self {
        let kept: Arc<Mutex<Option<Receipt>>> = Arc::default();
        let (stop, stopped) = channel::<()>();
        let shared = Arc::clone(&kept);
        let thread = std::thread::spawn(move || {
            let pause =
                Duration::from_millis(u64::from(lease_ms) / 3).max(Duration::from_millis(1));
            while stopped.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
                // Under the lock: an extension must not come behind the answer.
                let kept = shared.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(receipt) = *kept {
                    answerer.extend(receipt, lease_ms);
                    answerer.send();
                }
            }
        });
        Self {
            kept,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    fn keep(&self, receipt: Receipt) -> Kept<'_> {
        self.set(Some(receipt));
        Kept(self)
    }

    fn set(&self, receipt: Option<Receipt>) {
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = receipt;
    }
}

impl Drop for Kept<'_> {
    fn drop(&mut self) {
        self.0.set(None);
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
