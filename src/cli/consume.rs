//! `millrace consume`: records in, bytes out, as the format says, as fast as the output takes them.

use crate::cli::broker;
use crate::cli::exit::{Exit, Failure};
use crate::cli::format::{Fields, Format};
use crate::cli::interrupt::Interrupt;
use crate::cli::print::Output;
use crate::cli::sink::Sink;
use crate::cli::values::{Endpoint, Start};
use crate::client::blocking::{Consumer, ConsumerOptions, StartAt};
use std::fs::File;
use std::os::fd::AsFd;
use std::time::Duration;

/// How long a wait for records may hide an interrupt.
const POLL: Duration = Duration::from_millis(100);
/// Large fetches: this client reads for throughput.
const FETCH_BYTES: u32 = 4 << 20;

/// The flags of `consume`.
#[derive(clap::Args, Clone, PartialEq, Eq, Debug)]
pub struct ConsumeArgs {
    /// Topic to read
    pub topic: String,

    /// Partition to read; else all
    #[arg(long, value_name = "N")]
    pub partition: Option<u32>,

    /// Where to begin: begin, end, an offset, -N for the last N of each partition, or @MILLISECONDS since 1970
    #[arg(
        long,
        value_name = "WHERE",
        default_value = "begin",
        allow_hyphen_values = true
    )]
    pub from: Start,

    /// End after this many records
    #[arg(long, value_name = "N")]
    pub count: Option<u64>,

    /// End when every record has been read, instead of waiting for more
    #[arg(long)]
    pub exit_at_end: bool,

    /// How a record is printed: %t topic, %p partition, %o offset, %k key, %v value, %T timestamp, %K and %S length of key
    /// and value, %% percent; \n \t \r \0 \\ \xNN
    #[arg(
        long,
        value_name = "FORMAT",
        default_value = "%v\\n",
        allow_hyphen_values = true
    )]
    pub format: Format,
}

impl From<Start> for StartAt {
    fn from(start: Start) -> Self {
        match start {
            Start::Begin => Self::Earliest,
            Start::End => Self::Latest,
            Start::At(offset) => Self::Offset(offset),
            Start::Last(count) => Self::Last(count),
            Start::Since(time) => Self::Time(time),
        }
    }
}

/// Prints records until the count or the end is reached, or someone interrupts.
pub fn run(args: &ConsumeArgs, server: &Endpoint, output: Output) -> Result<(), Failure> {
    if output == Output::Json {
        let line = "consume prints records as --format says; leave --output away";
        return Err(Failure::new(Exit::Usage, line));
    }
    let interrupt = Interrupt::watch()?;
    let mut client = broker::connect(server)?;
    let partitions = args.partition.as_slice();
    let options = ConsumerOptions {
        start: args.from.into(),
        bytes_max: FETCH_BYTES,
        ..ConsumerOptions::default()
    };
    let wanted = (!partitions.is_empty()).then_some(partitions);
    let mut consumer = client.consumer(&args.topic, wanted, options)?;
    let mut sink = Sink::new(raw_output()?, args.format.clone());
    let printed = print(args, &mut consumer, &mut sink, &interrupt);
    // What came before a failure is worth as much as before the end.
    printed.and(sink.flush())
}

/// The standard output without the line buffer that std puts in front of it.
pub(in crate::cli) fn raw_output() -> Result<File, Failure> {
    let descriptor = std::io::stdout().as_fd().try_clone_to_owned();
    let descriptor = descriptor.map_err(|error| Failure::output(&error))?;
    Ok(File::from(descriptor))
}

fn print(
    args: &ConsumeArgs,
    consumer: &mut Consumer,
    sink: &mut Sink<File>,
    interrupt: &Interrupt,
) -> Result<(), Failure> {
    let mut left = args.count.unwrap_or(u64::MAX);
    while left > 0 && !interrupt.is_asked() {
        for record in consumer.poll(POLL)? {
            let record = record?;
            sink.print(&Fields {
                topic: record.topic,
                partition: record.partition,
                offset: record.offset.0,
                timestamp_ms: record.timestamp.0,
                deliveries: 0,
                key: record.key,
                value: record.value,
            })?;
            left -= 1;
            if left == 0 {
                break;
            }
        }
        sink.flush()?;
        if args.exit_at_end && consumer.is_caught_up() {
            break;
        }
    }
    Ok(())
}
