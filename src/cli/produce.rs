//! `millrace produce`: lines in, records out, and a true account of what became of each.

use crate::base::AckLevel;
use crate::base::limits::{BATCH_BYTES_MAX, QUEUE_DELAY_MS_MAX};
use crate::cli::bench::values::parse_time;
use crate::cli::exit::{Exit, Failure};
use crate::cli::interrupt::Interrupt;
use crate::cli::lines::{Lines, Step, split_key};
use crate::cli::print::{Output, emit, json, note};
use crate::cli::pump::Pump;
use crate::cli::summary::Tally;
use crate::cli::values::{Endpoint, parse_byte, parse_bytes};
use crate::cli::{broker, print};
use crate::client::Target;
use crate::client::blocking::{Outcome, Producer, ProducerOptions};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use std::fs::File;
use std::io::{Read, stdin};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What a record and its batch need beside the line, at most; see `base::record`.
const FRAMING_BYTES_MAX: usize = 256;
/// The longest line.
pub const LINE_BYTES_MAX: usize = BATCH_BYTES_MAX - FRAMING_BYTES_MAX;
/// How many messages go by between two looks at the clock.
const PROGRESS_EVERY: u64 = 1024;

/// The flags of `produce`.
#[derive(clap::Args, Clone, PartialEq, Eq, Debug)]
pub struct ProduceArgs {
    /// Topic to write to
    pub topic: String,

    /// File to read; without one, or with -, the standard input
    pub file: Option<PathBuf>,

    /// Partition for every message; else the key decides, or batches go round
    #[arg(long, value_name = "N")]
    pub partition: Option<u32>,

    /// The first of these in a line ends its key; a line without one has no key
    #[arg(long, value_name = "C", value_parser = parse_byte)]
    pub key_delimiter: Option<u8>,

    /// What an ack promises: none, written or synced; else the topic's own level
    #[arg(long, value_name = "LEVEL")]
    pub ack: Option<AckLevel>,

    /// How large a batch grows
    #[arg(long, value_name = "BYTES", default_value = "256K", value_parser = parse_batch_bytes)]
    pub batch_bytes: u64,

    /// How long a message waits for others to share its batch
    #[arg(long, value_name = "MS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(..=60_000))]
    pub linger_ms: u64,

    /// A header of every message; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_header)]
    pub header: Vec<(String, String)>,

    /// Queues deliver the messages only when they are so old, such as 30s
    #[arg(long, value_name = "TIME", value_parser = parse_delay)]
    pub delay: Option<u64>,

    /// Queues do not deliver the messages when they are older, such as 10m
    #[arg(long, value_name = "TIME", value_parser = parse_ttl)]
    pub ttl: Option<u64>,

    /// Queues deliver messages of a higher priority first: 0 to 9
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=9))]
    pub priority: Option<u8>,

    /// Messages end with NUL instead of a line end
    #[arg(short = 'z')]
    pub nul_separated: bool,
}

fn parse_batch_bytes(text: &str) -> Result<u64, String> {
    match parse_bytes(text)? {
        bytes if (1..=BATCH_BYTES_MAX as u64).contains(&bytes) => Ok(bytes),
        _ => Err(format!("a batch has 1 to {BATCH_BYTES_MAX} bytes")),
    }
}

fn parse_header(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(format!("{text:?} is no header: use NAME=VALUE")),
    }
}

fn parse_delay(text: &str) -> Result<u64, String> {
    let ms = parse_ttl(text)?;
    match ms <= u64::from(QUEUE_DELAY_MS_MAX) {
        true => Ok(ms),
        false => Err("a delay has at most 7 days".to_owned()),
    }
}

fn parse_ttl(text: &str) -> Result<u64, String> {
    let ms = parse_time(text)?.as_millis();
    u64::try_from(ms).map_err(|_| format!("{text} is too long"))
}

impl ProduceArgs {
    /// The headers of every message: those asked for, and those that queues read.
    fn headers(&self) -> Vec<(String, String)> {
        let ours = [
            ("millrace-delay-ms", self.delay),
            ("millrace-ttl-ms", self.ttl),
            ("millrace-priority", self.priority.map(u64::from)),
        ];
        let ours = ours
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?.to_string())));
        self.header.iter().cloned().chain(ours).collect()
    }
}

/// Reads to the end of the input, then waits for every ack.
pub fn run(args: &ProduceArgs, server: &Endpoint, output: Output) -> Result<(), Failure> {
    let interrupt = Interrupt::watch()?;
    let refusal = Arc::new(Mutex::new(None));
    let mut producer = connect(args, server, Arc::clone(&refusal))?;
    let source = Source::open(args)?;
    let mut run = Run {
        args,
        interrupt,
        headers: args.headers(),
        progress: progress(source.bytes),
        tally: Tally::default(),
        began: Instant::now(),
    };
    let delimiter = if args.nul_separated { 0 } else { b'\n' };
    let mut lines = Lines::new(source.input, delimiter, LINE_BYTES_MAX);
    let taken = run.take(&mut lines, &mut producer);
    let totals = producer.flush();
    run.progress.finish_and_clear();
    let mut tally = run.tally;
    (tally.acked, tally.failed, tally.unknown) = (totals.acked, totals.failed, totals.unknown);
    let time = run.began.elapsed();
    note(&tally.line(time));
    if output == Output::Json {
        emit(&json(&Report::new(tally, time)))?;
    }
    let cause = refusal
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take();
    taken.and(tally.verdict(cause.as_deref()))?;
    if run.interrupt.is_asked() && source.bytes.is_some() {
        let line = format!(
            "interrupted behind line {}; those before it are acked",
            tally.messages
        );
        return Err(Failure::new(Exit::Failed, line));
    }
    Ok(())
}

fn connect(
    args: &ProduceArgs,
    server: &Endpoint,
    refusal: Arc<Mutex<Option<String>>>,
) -> Result<Producer, Failure> {
    let options = ProducerOptions {
        level: args.ack,
        linger: Duration::from_millis(args.linger_ms),
        batch_bytes: args.batch_bytes as usize,
        ..ProducerOptions::default()
    };
    let mut client = broker::connect(server)?;
    let producer = client.producer(&args.topic, options, move |delivery| {
        if let Outcome::Failed(why) | Outcome::Unknown(why) = &delivery.outcome {
            let mut first = refusal.lock().unwrap_or_else(PoisonError::into_inner);
            first.get_or_insert_with(|| why.clone());
        }
    })?;
    Ok(producer)
}

/// Where the lines come from.
struct Source {
    input: Box<dyn Read>,
    /// Its length, of a plain file.
    bytes: Option<u64>,
}

impl Source {
    fn open(args: &ProduceArgs) -> Result<Self, Failure> {
        let pause = Duration::from_millis(args.linger_ms.max(1));
        let pump = |input: Box<dyn Read + Send>| Pump::start(input, pause);
        let opened = match args.file.as_deref().filter(|path| *path != Path::new("-")) {
            None => pump(Box::new(stdin())).map(|pump| Self {
                input: Box::new(pump),
                bytes: None,
            }),
            Some(path) => File::open(path).and_then(|file| {
                let metadata = file.metadata()?;
                if metadata.is_file() {
                    let bytes = Some(metadata.len());
                    let input = Box::new(file);
                    return Ok(Self { input, bytes });
                }
                let input = Box::new(pump(Box::new(file))?);
                Ok(Self { input, bytes: None })
            }),
        };
        opened.map_err(|error| {
            let name = args.file.as_deref().unwrap_or(Path::new("standard input"));
            let line = format!("{} cannot be read: {error}; check the path", name.display());
            Failure::new(Exit::Io, line)
        })
    }
}

/// Shown on a terminal only.
fn progress(bytes: Option<u64>) -> ProgressBar {
    let (bar, template) = match bytes {
        Some(bytes) => (
            ProgressBar::new(bytes),
            "{bar:30} {bytes}/{total_bytes} {binary_bytes_per_sec} {eta}",
        ),
        None => (
            ProgressBar::new_spinner(),
            "{spinner} {bytes} {binary_bytes_per_sec}",
        ),
    };
    let style = ProgressStyle::with_template(template).expect("the templates above are valid");
    bar.with_style(style)
}

struct Run<'a> {
    args: &'a ProduceArgs,
    headers: Vec<(String, String)>,
    interrupt: Interrupt,
    progress: ProgressBar,
    tally: Tally,
    began: Instant,
}

impl Run<'_> {
    /// Takes lines until there are no more, someone interrupts, or a record is not acked: going on behind one that is
    /// missing would leave a hole in the order that nobody asked for.
    fn take(
        &mut self,
        lines: &mut Lines<Box<dyn Read>>,
        out: &mut Producer,
    ) -> Result<(), Failure> {
        while !self.interrupt.is_asked() && !is_broken(out) {
            let step = lines.advance().map_err(|error| {
                let line = format!("{error}; the lines before it are sent");
                Failure::new(Exit::Io, line)
            })?;
            match step {
                Step::End => break,
                Step::Pending => {
                    out.poll();
                    self.show();
                }
                Step::Line => {
                    self.send(lines.line(), out)?;
                    if self.tally.messages.is_multiple_of(PROGRESS_EVERY) {
                        self.show();
                    }
                }
            }
        }
        Ok(())
    }

    fn send(&mut self, line: &[u8], out: &mut Producer) -> Result<(), Failure> {
        let (key, value) = split_key(line, self.args.key_delimiter);
        let target = match (self.args.partition, key) {
            (Some(partition), _) => Target::Partition(partition),
            (None, Some(key)) => Target::Key(key),
            (None, None) => Target::Any,
        };
        let headers = self.headers.iter();
        let headers = headers.map(|(name, value)| (name.as_bytes(), Some(value.as_bytes())));
        out.send(target, None, key, Some(value), &headers.collect::<Vec<_>>())?;
        self.tally.messages += 1;
        self.tally.bytes += (key.map_or(0, <[u8]>::len) + value.len()) as u64;
        Ok(())
    }

    fn show(&self) {
        self.progress
            .set_position(self.tally.bytes + self.tally.messages);
    }
}

fn is_broken(producer: &Producer) -> bool {
    let totals = producer.totals();
    totals.failed > 0 || totals.unknown > 0
}

/// The summary for programs.
#[derive(Serialize)]
struct Report {
    #[serde(flatten)]
    tally: Tally,
    seconds: f64,
    messages_per_second: f64,
    bytes_per_second: f64,
}

impl Report {
    fn new(tally: Tally, time: Duration) -> Self {
        Self {
            tally,
            seconds: time.as_secs_f64(),
            messages_per_second: print::per_second(tally.messages, time),
            bytes_per_second: print::per_second(tally.bytes, time),
        }
    }
}
