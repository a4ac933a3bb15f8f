//! `millrace bench`: measures a broker, shows what was found, and writes it to files.
//!
//! ```text
//!   flags ──> settings ──> bench::row, bench::suite ──> Report ──> table (stdout), files (--json, --report, ...)
//!                               └─ progress (stderr, on a terminal)
//! ```
//! Exit code 0 says that everything was measured; whether targets were met, the table says, and with
//! `--require-targets` the exit code too.

mod files;
pub mod flags;
pub mod progress;
pub mod table;
pub mod values;

pub use flags::BenchArgs;

use crate::bench::broker::{BrokerError, Under};
use crate::bench::load::LoadError;
use crate::bench::machine;
use crate::bench::outcome::{Figure, Report, Row};
use crate::bench::output::json;
use crate::bench::probe::{self, Probe};
use crate::bench::row::{Measured, measure};
use crate::bench::run::{BenchError, Runner};
use crate::bench::settings::{Kind, Protocol, Settings};
use crate::bench::suite::{self, Entry, Pace};
use crate::bench::workload_file;
use crate::cli::demo::place::Place;
use crate::cli::exit::{Exit, Failure};
use crate::cli::interrupt::Interrupt;
use crate::cli::print::{Output, emit, note};
use crate::cli::values::Endpoint;
use flags::{Around, What};
use progress::Bar;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Room that a run needs on the disk, about.
const ROOM_BYTES: u64 = 8 << 30;

/// Measures, prints, writes files. `server`: the broker that was named on the command line.
pub fn run(args: &BenchArgs, server: Option<&Endpoint>, output: Output) -> Result<(), Failure> {
    let interrupt = Interrupt::watch()?;
    let work = Work::of(args, server)?;
    files::check(&args.around)?;
    let place = Spot::find(&args.around)?;
    let session = Session {
        around: &args.around,
        server,
        place: &place,
        interrupt: &interrupt,
    };
    let report = session.measure(&work)?;
    files::write(&args.around, &report)?;
    match output {
        Output::Table => emit(&table::print(&report))?,
        Output::Json => emit(&json::text(&report))?,
    }
    verdict(&args.around, &report.rows)
}

/// What shall be measured.
enum Work {
    One {
        name: String,
        settings: Box<Settings>,
    },
    Suite(Vec<Entry>),
}

impl Work {
    fn of(args: &BenchArgs, server: Option<&Endpoint>) -> Result<Self, Failure> {
        let base = args.around.base()?;
        let one = |name: &str, settings| Self::One {
            name: name.to_owned(),
            settings: Box::new(settings),
        };
        Ok(match (&args.what, &args.workload) {
            (Some(_), Some(_)) | (None, None) => {
                return Err(Failure::new(
                    Exit::Usage,
                    "give one of produce, consume, end-to-end, queue, suite, or --workload FILE",
                ));
            }
            (None, Some(file)) => Self::file(file, &base, &args.around)?,
            (Some(What::Produce(load)), _) => one("produce", load.settings(base, Kind::Produce)),
            (Some(What::Consume(consume)), _) => one("consume", consume.settings(base)?),
            (Some(What::EndToEnd(load)), _) => {
                one("end-to-end", load.settings(base, Kind::EndToEnd))
            }
            (Some(What::Queue(queue)), _) => one("queue", queue.settings(base)),
            (Some(What::Suite(suite)), _) => {
                Self::suite(&args.around, &suite.only, server.is_none())?
            }
        })
    }

    /// What the flags say about times wins over the file: its minutes are no figures to wait for in a trial.
    fn file(path: &Path, base: &Settings, around: &Around) -> Result<Self, Failure> {
        let mut workload = workload_file::read(path, base)
            .map_err(|error| Failure::new(Exit::Io, error.to_string()))?;
        if around.quick || around.warm_up.is_some() {
            workload.settings.warm_up = base.warm_up;
        }
        if around.quick || around.duration.is_some() {
            workload.settings.duration = base.duration;
        }
        Ok(Self::One {
            name: workload.name,
            settings: Box::new(workload.settings),
        })
    }

    fn suite(around: &Around, only: &[u32], is_own: bool) -> Result<Self, Failure> {
        let mut pace = if around.quick {
            Pace::QUICK
        } else {
            Pace::FULL
        };
        pace.runs = around.runs.map_or(pace.runs, |runs| runs as usize);
        pace.warm_up = around.warm_up.unwrap_or(pace.warm_up);
        pace.duration = around.duration.unwrap_or(pace.duration);
        let cpus = around.cpus()?;
        let mut entries = suite::entries(pace, &cpus.server, &cpus.load);
        let known: Vec<u32> = entries.iter().map(|entry| entry.number).collect();
        if let Some(unknown) = only.iter().find(|number| !known.contains(number)) {
            let line = format!("the suite has no row {unknown}; its rows are {known:?}");
            return Err(Failure::new(Exit::Usage, line));
        }
        entries.retain(|entry| only.is_empty() || only.contains(&entry.number));
        if around.protocol == Protocol::Kafka {
            entries = suite::by_kafka(entries, is_own);
        }
        Ok(Self::Suite(entries))
    }
}

/// Where the brokers' data goes: a directory that was named, or one that a broker can serve from.
enum Spot {
    Named(PathBuf),
    Found(Place),
}

impl Spot {
    fn find(around: &Around) -> Result<Self, Failure> {
        match &around.dir {
            Some(dir) if !dir.is_dir() => Err(Failure::new(
                Exit::Io,
                format!(
                    "{} is no directory; make it, or name another with --dir",
                    dir.display()
                ),
            )),
            Some(dir) => Ok(Self::Named(dir.clone())),
            None => Ok(Self::Found(Place::find(ROOM_BYTES)?)),
        }
    }

    fn path(&self) -> &Path {
        match self {
            Self::Named(dir) => dir,
            Self::Found(place) => place.path(),
        }
    }
}

struct Session<'a> {
    around: &'a Around,
    server: Option<&'a Endpoint>,
    place: &'a Spot,
    interrupt: &'a Interrupt,
}

impl Session<'_> {
    fn measure(&self, work: &Work) -> Result<Report, Failure> {
        let started = SystemTime::now().duration_since(UNIX_EPOCH);
        let machine = machine::look(self.place.path());
        let probe = self.probe()?;
        let mut measured = Vec::new();
        match work {
            Work::One { name, settings } => {
                measured.push(self.row(name, |runner| {
                    measure(runner, name, settings, probe.as_ref())
                })?);
            }
            Work::Suite(entries) => {
                for entry in entries {
                    let name = format!("{}: {}", entry.number, entry.name);
                    measured.push(self.row(&name, |runner| entry.measure(runner, probe.as_ref()))?);
                }
            }
        }
        let broker = measured
            .first()
            .expect("at least one workload")
            .broker
            .clone();
        Ok(Report {
            machine,
            broker,
            probe,
            started_wall_ms: started.map_or(0, |since| since.as_millis() as i64),
            rows: measured.into_iter().map(|measured| measured.row).collect(),
        })
    }

    fn probe(&self) -> Result<Option<Probe>, Failure> {
        if self.around.no_probe {
            return Ok(None);
        }
        let bar = Bar::new("probe of the machine");
        let probed = probe::run(&probe::Options::new(self.place.path()));
        bar.end();
        probed
            .map(Some)
            .map_err(|error| Failure::new(Exit::Config, format!("{error} (--no-probe)")))
    }

    fn row(
        &self,
        name: &str,
        work: impl FnOnce(&mut Runner<'_>) -> Result<Measured, BenchError>,
    ) -> Result<Measured, Failure> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut bar = Bar::new(name);
        let (asked, interrupt) = (Arc::clone(&stop), self.interrupt);
        let mut show = |progress| {
            if interrupt.is_asked() {
                asked.store(true, Ordering::Relaxed);
            }
            bar.show(progress);
        };
        let mut runner = Runner {
            under: self.under(),
            stop,
            progress: &mut show,
        };
        let done = work(&mut runner);
        bar.end();
        if self.interrupt.is_asked() {
            return Err(self.interrupt.failure());
        }
        let measured = done.map_err(|error| failure(name, &error))?;
        note(&headline(&measured.row));
        Ok(measured)
    }

    fn under(&self) -> Under {
        match self.server {
            Some(server) => Under::Running {
                server: server.to_string(),
                pid: self.around.server_pid,
            },
            None => Under::Own {
                dir: self.place.path().to_path_buf(),
                cpus: None,
            },
        }
    }
}

/// One line a row, as soon as it is done: a suite takes minutes.
fn headline(row: &Row) -> String {
    let shown = row.figures.iter().take(2);
    let shown: Vec<String> = shown
        .map(|figure| {
            format!(
                "{} {} {}",
                figure.name,
                table::number(figure.value),
                figure.unit
            )
        })
        .collect();
    let missed = row
        .figures
        .iter()
        .filter(|figure| figure.met() == Some(false));
    let missed: Vec<&str> = missed.map(|figure| figure.name.as_str()).collect();
    let missed = match missed.is_empty() {
        true => String::new(),
        false => format!(" - missed: {}", missed.join(", ")),
    };
    format!("{} - {}{missed}", row.name, shown.join(", "))
}

fn failure(name: &str, error: &BenchError) -> Failure {
    let exit = match error {
        BenchError::Broker(
            BrokerError::Client(_) | BrokerError::Kafka(_) | BrokerError::Start(_),
        )
        | BenchError::Died { .. }
        | BenchError::Load(
            LoadError::Connect { .. } | LoadError::Lost { .. } | LoadError::Silent,
        ) => Exit::Unavailable,
        BenchError::Broker(BrokerError::Io { .. }) | BenchError::Batches(_) => Exit::Io,
        BenchError::Settings(_) => Exit::Usage,
        _ => Exit::Failed,
    };
    Failure::new(exit, format!("{name}: {error}; nothing of it counts"))
}

fn verdict(around: &Around, rows: &[Row]) -> Result<(), Failure> {
    let figures = rows.iter().flat_map(|row| &row.figures);
    let missed = figures.filter(|figure: &&Figure| figure.met() == Some(false));
    match missed.count() {
        missed if missed > 0 && around.require_targets => Err(Failure::new(
            Exit::Failed,
            format!("{missed} targets are missed; the table says which"),
        )),
        _ => Ok(()),
    }
}
