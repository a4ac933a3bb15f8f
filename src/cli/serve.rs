//! `millrace serve`: what the flags ask for, on this machine, becomes a plan: which CPU, which address for each core.

use crate::base::limits::{BLOCK_BYTES, DIRECT_BYTES_MIN, JOURNAL_FILE_BYTES};
use crate::cli::demo::TempDir;
use crate::cli::exit::{Exit, Failure};
use crate::cli::kafka::{KafkaArgs, KafkaPlan};
use crate::cli::print;
use crate::cli::serving::{Ready, Serving};
use crate::cli::values::{CPUS_MAX, Cores, Endpoint, parse_bytes};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// The smallest journal file that can be asked for, in bytes: an entry is a quarter of it, and holds a partition's bytes
/// that are too few for a write of their own.
const JOURNAL_FILE_BYTES_MIN: u64 = 512 << 10;
const _: () = assert!(JOURNAL_FILE_BYTES_MIN / 4 >= 2 * DIRECT_BYTES_MIN as u64);

/// A terabyte in a day and a half, for one part in a hundred of what a disk gives.
const SCRUB_BYTES_PER_SECOND: u64 = 8 << 20;

/// 0, or a size.
fn parse_rate(text: &str) -> Result<u64, String> {
    match text {
        "0" => Ok(0),
        text => parse_bytes(text),
    }
}

/// The flags of `serve`.
#[derive(clap::Args, Clone, PartialEq, Eq, Debug)]
pub struct ServeArgs {
    /// Directory that holds the data; made if it is missing
    #[arg(long, value_name = "DIR", default_value = "millrace-data")]
    pub data: PathBuf,

    /// CPUs to run on, one core of the broker pinned to each: auto, or a list such as 0,2,4-7
    #[arg(long, value_name = "CPUS", default_value = "auto")]
    pub cores: Cores,

    /// Address of core 0; core N listens N ports above it. Port 0 takes a free port for each
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:7420")]
    pub listen: Endpoint,

    /// Host that clients are told to dial; needed when listening on all addresses
    #[arg(long, value_name = "HOST")]
    pub advertise: Option<String>,

    /// Kafka clients
    #[command(flatten)]
    pub kafka: KafkaArgs,

    /// Try it out: a temporary directory that is removed at the end, cores not pinned, any file system
    #[arg(long, conflicts_with = "data")]
    pub dev: bool,

    /// Space on the disk that producers may not use, such as 1G: they are refused before it is. Unasked, what starting
    /// again takes and what is under way may take
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    pub disk_reserve: Option<u64>,

    /// How fast each core reads sealed segments again, when it has time, to find damage before a reader does; 0: never
    #[arg(long, value_name = "BYTES", default_value_t = SCRUB_BYTES_PER_SECOND, value_parser = parse_rate)]
    pub scrub_bytes_per_second: u64,

    // For tests: small files are soon full, so that a short run crosses many changes of the file.
    /// Size of a journal file in bytes
    #[arg(long, hide = true, value_name = "BYTES", default_value_t = JOURNAL_FILE_BYTES,
          value_parser = clap::value_parser!(u64).range(JOURNAL_FILE_BYTES_MIN..=JOURNAL_FILE_BYTES))]
    pub journal_file_bytes: u64,
}

/// Where and how each core runs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// By core: the CPU that it is pinned to, if any.
    pub cpus: Vec<Option<usize>>,
    /// By core: where it listens.
    pub listen: Vec<SocketAddr>,
    /// The host that clients are told.
    pub host: String,
    /// How Kafka clients are served, if they are.
    pub kafka: Option<KafkaPlan>,
}

/// Serves until a signal asks to stop (SIGINT, SIGTERM); a second one ends the process at once.
pub fn run(args: &ServeArgs) -> Result<(), Failure> {
    let plan = args.plan(&allowed_cpus())?;
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        let armed = flag::register_conditional_shutdown(signal, 1, Arc::clone(&stop))
            .and_then(|_| flag::register(signal, Arc::clone(&stop)));
        armed.map_err(|error| {
            Failure::new(
                Exit::Internal,
                format!("cannot watch for signal {signal}: {error}"),
            )
        })?;
    }
    let temporary = match args.dev {
        true => Some(TempDir::make(&std::env::temp_dir()).map_err(|error| {
            Failure::new(
                Exit::Io,
                format!("cannot make a temporary directory: {error}"),
            )
        })?),
        false => None,
    };
    let serving = Serving {
        data: temporary
            .as_ref()
            .map_or(args.data.clone(), |dir| dir.path().to_path_buf()),
        plan,
        allow_memory_fs: args.dev,
        disk_reserve_bytes: args.disk_reserve,
        scrub_bytes_per_second: args.scrub_bytes_per_second,
        journal_file_bytes: args.journal_file_bytes.next_multiple_of(BLOCK_BYTES as u64),
    };
    let dev = args.dev;
    serving.run(stop, move |ready| announce(&ready, dev))?;
    print::note("stopped cleanly");
    Ok(())
}

/// Tells where the broker listens and what it found.
fn announce(ready: &Ready, dev: bool) {
    let mut text = format!("millrace {} serves on\n", env!("CARGO_PKG_VERSION"));
    for address in &ready.addresses {
        text += &format!(
            "  {}:{} (core {})\n",
            address.host, address.port, address.core
        );
    }
    if !ready.kafka.is_empty() {
        text += &format!("Kafka clients: {}\n", ready.kafka.join(", "));
    }
    for line in ready.recovery.lines() {
        text += &format!("{line}\n");
    }
    if dev {
        text += "--dev: the data directory is temporary and goes when the broker stops\n";
    }
    // Nobody may be reading; that is no reason not to serve.
    let _ = print::emit(&text);
}

/// The CPUs that this process may run on.
pub fn allowed_cpus() -> Vec<usize> {
    match rustix::thread::sched_getaffinity(None) {
        Ok(set) => (0..CPUS_MAX).filter(|cpu| set.is_set(*cpu)).collect(),
        Err(_) => vec![0],
    }
}

impl ServeArgs {
    /// The plan for a machine that lets this process run on the CPUs `allowed`.
    pub fn plan(&self, allowed: &[usize]) -> Result<Plan, Failure> {
        let cpus = self.cpus(allowed)?;
        let first = self.listen.first_address("--listen")?;
        let host = self.host(first)?;
        let listen = ports(first, cpus.len())?;
        let kafka = self.kafka.plan(cpus.len(), self.advertise.as_deref())?;
        Ok(Plan {
            cpus,
            listen,
            host,
            kafka,
        })
    }

    fn cpus(&self, allowed: &[usize]) -> Result<Vec<Option<usize>>, Failure> {
        let wanted = match &self.cores {
            Cores::Auto => allowed,
            Cores::Cpus(cpus) => cpus,
        };
        if let Some(cpu) = wanted.iter().find(|cpu| !allowed.contains(cpu)) {
            let line = format!(
                "CPU {cpu} is not there for this process; it may use {allowed:?}, see --cores"
            );
            return Err(Failure::new(Exit::Config, line));
        }
        let pin = |cpu: &usize| if self.dev { None } else { Some(*cpu) };
        Ok(wanted.iter().map(pin).collect())
    }

    fn host(&self, first: SocketAddr) -> Result<String, Failure> {
        if let Some(host) = &self.advertise {
            return Ok(host.clone());
        }
        if first.ip().is_unspecified() {
            return Err(Failure::new(
                Exit::Usage,
                "listening on all addresses names none that clients could dial; add --advertise HOST",
            ));
        }
        Ok(first.ip().to_string())
    }
}

/// An address for each core: the port of the first, and those above it. Port 0 takes a free one for each.
pub(super) fn ports(first: SocketAddr, cores: usize) -> Result<Vec<SocketAddr>, Failure> {
    let addresses = (0..cores).map(|core| {
        let port = match first.port() {
            0 => Some(0),
            port => u16::try_from(usize::from(port) + core).ok(),
        };
        port.map(|port| SocketAddr::new(first.ip(), port))
    });
    let all: Option<Vec<SocketAddr>> = addresses.collect();
    all.ok_or_else(|| {
        let line = format!(
            "{cores} cores need as many ports from {} on, the last is 65535; choose a lower port",
            first.port()
        );
        Failure::new(Exit::Usage, line)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        serve: ServeArgs,
    }

    fn plan(flags: &[&str], allowed: &[usize]) -> Result<Plan, Exit> {
        let line = Line::try_parse_from([&["serve"], flags].concat()).map_err(|_| Exit::Usage)?;
        line.serve.plan(allowed).map_err(|failure| failure.exit)
    }

    #[test]
    fn each_core_gets_its_cpu_and_the_next_port() {
        let plan = plan(&["--listen", "127.0.0.1:7000"], &[1, 3]).expect("good");
        assert_eq!(plan.cpus, [Some(1), Some(3)]);
        let ports: Vec<u16> = plan.listen.iter().map(SocketAddr::port).collect();
        assert_eq!(ports, [7000, 7001]);
        assert_eq!(plan.host, "127.0.0.1");
    }

    #[test]
    fn flags_change_the_plan() {
        let dev = plan(&["--dev", "--listen", "127.0.0.1:0"], &[0, 1]).expect("good");
        assert_eq!(dev.cpus, [None, None]);
        assert!(dev.listen.iter().all(|address| address.port() == 0));
        let one = plan(&["--cores", "5"], &[4, 5]).expect("good");
        assert_eq!(one.cpus, [Some(5)]);
        let flags = ["--listen", "0.0.0.0:1", "--advertise", "broker.example"];
        assert_eq!(plan(&flags, &[0]).expect("good").host, "broker.example");
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for (flags, exit) in [
            (&["--cores", "2"][..], Exit::Config),
            (&["--listen", "0.0.0.0:1"], Exit::Usage),
            (&["--listen", "[::]:1"], Exit::Usage),
            (&["--listen", "127.0.0.1:65535"], Exit::Usage),
            (&["--cores", "x"], Exit::Usage),
            (&["--dev", "--data", "x"], Exit::Usage),
        ] {
            assert_eq!(
                plan(flags, &[0, 1]).expect_err("refused"),
                exit,
                "{flags:?}"
            );
        }
    }
}
