//! The flags of `bench`, and the settings that they stand for.

use super::values::{parse_find_max, parse_keys, parse_protocol, parse_rate, parse_time};
use crate::base::AckLevel;
use crate::bench::settings::{Keys, Kind, Payload, Protocol, Rate, Settings};
use crate::cli::exit::{Exit, Failure};
use crate::cli::serve::allowed_cpus;
use crate::cli::values::{Cores, parse_bytes};
use clap::{Args, Subcommand};
use std::path::PathBuf;
use std::time::Duration;

/// The flags of `bench`.
#[derive(Args, Clone, PartialEq, Debug)]
#[command(arg_required_else_help = true)]
pub struct BenchArgs {
    /// What to measure.
    #[command(subcommand)]
    pub what: Option<What>,

    /// Run a workload of the OpenMessaging Benchmark: a YAML file
    #[arg(long, value_name = "FILE")]
    pub workload: Option<PathBuf>,

    /// What surrounds the runs.
    #[command(flatten)]
    pub around: Around,
}

/// The workloads.
#[derive(Subcommand, Clone, PartialEq, Debug)]
pub enum What {
    /// Send messages and wait for their acks
    Produce(LoadArgs),
    /// Read messages: all that there are, or with --tail as they come
    Consume(ConsumeArgs),
    /// From when a message was due to when a consumer holds it
    EndToEnd(LoadArgs),
    /// Send messages to a topic with a queue on it, whose consumers take and ack them
    Queue(QueueArgs),
    /// Every workload that Millrace is held against, with its targets
    Suite(SuiteArgs),
}

/// Where, how often, and what becomes of the results.
#[derive(Args, Clone, PartialEq, Debug)]
pub struct Around {
    /// What the load speaks: native, or kafka, with any broker that speaks it
    #[arg(long, global = true, value_name = "PROTOCOL", default_value = "native", value_parser = parse_protocol)]
    pub protocol: Protocol,

    /// Process of the broker named with --server, if it runs on this machine: its CPU, memory and writes are measured
    #[arg(long, global = true, value_name = "PID")]
    pub server_pid: Option<u32>,

    /// CPUs of the broker, a core of it on each [default: the first]
    #[arg(long, global = true, value_name = "CPUS")]
    pub server_cpus: Option<Cores>,

    /// CPUs of the load, a core of it on each [default: the last, apart from the broker's if there are two]
    #[arg(long, global = true, value_name = "CPUS")]
    pub load_cpus: Option<Cores>,

    /// How often each workload runs; the median is shown [default: 3]
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub runs: Option<u32>,

    /// What runs before anything counts [default: 1s]
    #[arg(long, global = true, value_name = "TIME", value_parser = parse_time)]
    pub warm_up: Option<Duration>,

    /// What counts [default: 5s; suite 4s]
    #[arg(long, global = true, value_name = "TIME", value_parser = parse_time)]
    pub duration: Option<Duration>,

    /// One run of one second: to see that it works
    #[arg(long, global = true)]
    pub quick: bool,

    /// Directory on the disk to measure; the broker's data goes into a temporary one in it
    #[arg(long, global = true, value_name = "DIR")]
    pub dir: Option<PathBuf>,

    /// Leave out the probe of the machine's limits
    #[arg(long, global = true)]
    pub no_probe: bool,

    /// Write all results as JSON
    #[arg(long, global = true, value_name = "FILE")]
    pub json: Option<PathBuf>,

    /// Write a page with charts
    #[arg(long, global = true, value_name = "FILE.html")]
    pub report: Option<PathBuf>,

    /// Write the percentiles of each workload as HdrHistogram does, a file each: PREFIX-01-NAME-response.hgrm
    #[arg(long, global = true, value_name = "PREFIX")]
    pub hgrm: Option<PathBuf>,

    /// Write the histograms of all intervals as a log of HdrHistogram, version 2
    #[arg(long, global = true, value_name = "FILE")]
    pub interval_log: Option<PathBuf>,

    /// Write each workload's result as the OpenMessaging Benchmark does: PREFIX-01-NAME-Millrace.json
    #[arg(long, global = true, value_name = "PREFIX")]
    pub omb: Option<PathBuf>,

    /// A target that is missed is a failure
    #[arg(long, global = true)]
    pub require_targets: bool,
}

/// The flags of a load.
#[derive(Args, Clone, PartialEq, Debug)]
pub struct LoadArgs {
    /// Bytes of a message
    #[arg(
        long,
        alias = "record-size",
        value_name = "BYTES",
        default_value = "100"
    )]
    pub message_bytes: usize,

    /// Messages of a batch; one batch is one request
    #[arg(long, value_name = "N", default_value = "1000", value_parser = clap::value_parser!(u32).range(1..))]
    pub batch_messages: u32,

    /// Connections
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u32).range(1..))]
    pub connections: u32,

    /// Partitions [default: as many as connections]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub partitions: Option<u32>,

    /// Requests that wait for their reply, per connection
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u32).range(1..))]
    pub in_flight: u32,

    /// What an ack promises: none, written or synced
    #[arg(long, value_name = "LEVEL", default_value = "written")]
    pub ack: AckLevel,

    /// Keys of the messages: none, round-robin or random:N
    #[arg(long, value_name = "KEYS", default_value = "none", value_parser = parse_keys)]
    pub keys: Keys,

    /// Send the lines of this file, instead of random bytes
    #[arg(long, value_name = "FILE")]
    pub payload_file: Option<PathBuf>,

    /// Messages a second on a fixed schedule, or max: each as soon as one may be in flight [default: max; end-to-end 100K]
    #[arg(long, value_name = "N|max", value_parser = parse_rate, conflicts_with = "find_max")]
    pub rate: Option<Rate>,

    /// Search the highest rate at which a percentile of the response time stays within a limit
    #[arg(long, value_name = "p99=5ms", value_parser = parse_find_max)]
    pub find_max: Option<Rate>,

    /// Send every request to a core that does not own its partition
    #[arg(long)]
    pub wrong_core: bool,
}

/// The flags of `bench consume`.
#[derive(Args, Clone, PartialEq, Debug)]
pub struct ConsumeArgs {
    /// The load.
    #[command(flatten)]
    pub load: LoadArgs,

    /// Read as it comes what producers send, as many as connections read
    #[arg(long, conflicts_with_all = ["fill", "cold"])]
    pub tail: bool,

    /// Bytes of messages to write before, and to read
    #[arg(long, value_name = "BYTES", default_value = "2G", value_parser = parse_bytes)]
    pub fill: u64,

    /// Read them from the disk: drop them from the page cache before, and read them once
    #[arg(long)]
    pub cold: bool,
}

/// The flags of `bench suite`.
#[derive(Args, Clone, PartialEq, Debug)]
pub struct SuiteArgs {
    /// Only these rows, by number
    #[arg(long, value_name = "N,N", value_delimiter = ',')]
    pub only: Vec<u32>,
}

/// Which CPUs are whose.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cpus {
    /// The broker's.
    pub server: Vec<usize>,
    /// The load's.
    pub load: Vec<usize>,
}

impl Around {
    /// The CPUs that were asked for, or the first for the broker and the last for the load.
    pub fn cpus(&self) -> Result<Cpus, Failure> {
        self.cpus_of(&allowed_cpus())
    }

    fn cpus_of(&self, allowed: &[usize]) -> Result<Cpus, Failure> {
        let (Some(first), Some(last)) = (allowed.first(), allowed.last()) else {
            return Err(Failure::new(
                Exit::Config,
                "this process may run on no CPU; check its affinity",
            ));
        };
        let chosen = |asked: &Option<Cores>, default: usize| match asked {
            None => Ok(vec![default]),
            Some(Cores::Auto) => Ok(allowed.to_vec()),
            Some(Cores::Cpus(cpus)) => match cpus.iter().find(|cpu| !allowed.contains(cpu)) {
                None => Ok(cpus.clone()),
                Some(cpu) => Err(Failure::new(
                    Exit::Config,
                    format!("CPU {cpu} is not there for this process; it may use {allowed:?}"),
                )),
            },
        };
        Ok(Cpus {
            server: chosen(&self.server_cpus, *first)?,
            load: chosen(&self.load_cpus, *last)?,
        })
    }

    /// The settings that do not belong to one workload.
    pub fn base(&self) -> Result<Settings, Failure> {
        let cpus = self.cpus()?;
        let plain = Settings::default();
        let (warm_up, duration, runs) = match self.quick {
            true => (Duration::from_millis(300), Duration::from_secs(1), 1),
            false => (plain.warm_up, plain.duration, plain.runs),
        };
        let duration = self.duration.unwrap_or(duration);
        if duration.is_zero() {
            return Err(Failure::new(
                Exit::Usage,
                "nothing would be counted: give --duration more than 0",
            ));
        }
        Ok(Settings {
            protocol: self.protocol,
            warm_up: self.warm_up.unwrap_or(warm_up),
            duration,
            runs: self.runs.map_or(runs, |runs| runs as usize),
            server_cpus: Some(cpus.server),
            load_cpus: Some(cpus.load),
            ..plain
        })
    }
}

impl LoadArgs {
    /// The workload.
    pub fn settings(&self, base: Settings, kind: Kind) -> Settings {
        let rate = self.find_max.or(self.rate);
        let usual = match kind {
            Kind::EndToEnd => Rate::PerSecond(1e5),
            _ => Rate::Max,
        };
        let connections = self.connections as usize;
        Settings {
            kind,
            message_bytes: self.message_bytes,
            batch_messages: self.batch_messages,
            connections,
            partitions: self.partitions.unwrap_or(self.connections),
            in_flight: self.in_flight as usize,
            ack: self.ack,
            keys: self.keys,
            payload: match &self.payload_file {
                Some(path) => Payload::Lines(path.clone()),
                None => base.payload.clone(),
            },
            rate: rate.unwrap_or(usual),
            wrong_core: self.wrong_core,
            readers: connections,
            ..base
        }
    }
}

/// The flags of `bench queue`.
#[derive(Args, Clone, PartialEq, Debug)]
pub struct QueueArgs {
    /// What the producers do.
    #[command(flatten)]
    pub load: LoadArgs,

    /// Connections that take from the queue
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub consumers: u32,

    /// Messages that each has in hand at most
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub prefetch: u32,
}

impl QueueArgs {
    /// The workload.
    pub fn settings(&self, base: Settings) -> Settings {
        Settings {
            readers: self.consumers as usize,
            prefetch: self.prefetch,
            ..self.load.settings(base, Kind::Queue)
        }
    }
}

impl ConsumeArgs {
    /// The workload. A catch-up has no rate: it reads as fast as it can.
    pub fn settings(&self, base: Settings) -> Result<Settings, Failure> {
        let kind = if self.tail { Kind::Tail } else { Kind::CatchUp };
        let rated = self.load.rate.is_some() || self.load.find_max.is_some();
        if rated && kind == Kind::CatchUp {
            return Err(Failure::new(
                Exit::Usage,
                "a catch-up reads as fast as it can; leave out --rate and --find-max, or add --tail",
            ));
        }
        Ok(Settings {
            fill_bytes: self.fill.max(1),
            cold: self.cold,
            ..self.load.settings(base, kind)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        bench: BenchArgs,
    }

    fn parse(flags: &[&str]) -> Result<BenchArgs, String> {
        let line = Line::try_parse_from([&["bench"], flags].concat());
        line.map(|line| line.bench).map_err(|e| e.to_string())
    }

    fn produce(flags: &[&str]) -> Settings {
        let args = parse(&[&["produce"], flags].concat()).expect("good");
        let Some(What::Produce(load)) = &args.what else {
            panic!("{args:?}")
        };
        load.settings(args.around.base().expect("good"), Kind::Produce)
    }

    #[test]
    fn flags_become_settings_wherever_they_stand() {
        let settings = produce(&[
            "--record-size",
            "7",
            "--connections",
            "3",
            "--in-flight",
            "5",
            "--ack",
            "synced",
            "--rate",
            "10K",
            "--runs",
            "2",
            "--duration",
            "2s",
            "--keys",
            "random:9",
        ]);
        assert_eq!(settings.message_bytes, 7);
        assert_eq!((settings.connections, settings.partitions), (3, 3));
        assert_eq!((settings.in_flight, settings.runs), (5, 2));
        assert_eq!(settings.ack, AckLevel::Synced);
        assert_eq!(settings.rate, Rate::PerSecond(1e4));
        assert_eq!(settings.keys, Keys::Random(9));
        assert_eq!(settings.duration, Duration::from_secs(2));
    }

    #[test]
    fn quick_is_short_unless_told_otherwise() {
        let quick = produce(&["--quick"]);
        assert_eq!((quick.runs, quick.duration), (1, Duration::from_secs(1)));
        assert_eq!(produce(&["--quick", "--runs", "4"]).runs, 4);
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        for bad in [
            &["produce", "--rate", "1", "--find-max", "p99=1ms"][..],
            &["produce", "--connections", "0"],
            &["consume", "--tail", "--cold"],
            &["suite", "--only", "x"],
            &[],
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
        let consume = parse(&["consume", "--rate", "1"]).expect("parses");
        let Some(What::Consume(consume)) = consume.what else {
            panic!("{consume:?}")
        };
        assert!(consume.settings(Settings::default()).is_err());
    }

    #[test]
    fn the_broker_has_the_first_cpu_and_the_load_the_last() {
        let around = |flags: &[&str]| parse(&[&["suite"], flags].concat()).expect("good").around;
        let cpus = around(&[]).cpus_of(&[2, 3, 5]).expect("there are some");
        assert_eq!((cpus.server, cpus.load), (vec![2], vec![5]));
        let flags = ["--server-cpus", "2,3", "--load-cpus", "5"];
        let cpus = around(&flags).cpus_of(&[2, 3, 5]).expect("there");
        assert_eq!((cpus.server, cpus.load), (vec![2, 3], vec![5]));
        assert!(around(&["--load-cpus", "9"]).cpus_of(&[2, 3]).is_err());
        assert!(around(&[]).cpus_of(&[]).is_err());
    }
}
