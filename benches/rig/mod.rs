//! What the benches share: flags, three runs of each workload, and one line for their median.
//!
//! A bench is told `--smoke` by `.ci/run`: each workload once, checked, without a figure. A line has the throughput as
//! median and range of the runs, this process' CPU per operation (user and system, the kernel's workers of its rings
//! included), and the percentiles of the median run.

use hdrhistogram::Histogram;
use std::time::Instant;

/// The flags of a bench.
pub(crate) struct Args {
    pub(crate) smoke: bool,
    words: Vec<String>,
}

/// What one run of a workload did.
pub(crate) struct Took {
    /// Operations, in the unit that the row names.
    pub(crate) count: u64,
    /// How long they took in all.
    pub(crate) seconds: f64,
    /// CPU time of this process meanwhile.
    pub(crate) cpu_seconds: f64,
    /// How long single ones took (or groups of them: the row says), in nanoseconds.
    pub(crate) times: Histogram<u64>,
    /// What else the row shows.
    pub(crate) note: String,
}

impl Args {
    /// The flags of this process. Prints the machine, unless nothing is measured.
    pub(crate) fn read() -> Self {
        let words: Vec<String> = std::env::args().skip(1).collect();
        let smoke = words.iter().any(|word| word == "--smoke");
        if !smoke {
            let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
            let cpus = read("/proc/cpuinfo");
            let model = cpus
                .lines()
                .find_map(|line| line.strip_prefix("model name"));
            println!(
                "machine: {}, Linux {}, {} CPUs",
                model.unwrap_or("").trim_start_matches(['\t', ' ', ':']),
                read("/proc/sys/kernel/osrelease").trim(),
                std::thread::available_parallelism().map_or(1, usize::from)
            );
        }
        Self { smoke, words }
    }

    /// What follows the flag `name`.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        let at = self.words.iter().position(|word| word == name)?;
        self.words.get(at + 1).map(String::as_str)
    }

    /// `smoke` when nothing is measured, else `full`.
    pub(crate) fn scale(&self, full: u64, smoke: u64) -> u64 {
        if self.smoke { smoke } else { full }
    }

    /// Runs a workload and prints its line; `unit` is what it counts. With `--only TEXT`, only rows with that in their
    /// name.
    pub(crate) fn row(&self, name: &str, unit: &str, mut run: impl FnMut() -> Took) {
        if self
            .value("--only")
            .is_some_and(|only| !name.contains(only))
        {
            return;
        }
        let runs = if self.smoke { 1 } else { 3 };
        let mut all: Vec<Took> = (0..runs).map(|_| run()).collect();
        assert!(all.iter().all(|took| took.count > 0), "{name}: did nothing");
        if self.smoke {
            println!("{name}: ran");
            return;
        }
        all.sort_by(|a, b| a.rate().total_cmp(&b.rate()));
        let (low, median, high) = (all[0].rate(), &all[runs / 2], all[runs - 1].rate());
        let micros = |quantile| median.times.value_at_quantile(quantile) as f64 / 1e3;
        println!(
            "{name}: {} {unit}/s ({}-{}), {:.3} us CPU each, p50 {:.2} p99 {:.2} p99.9 {:.2} max {:.2} us{}",
            short(median.rate()),
            short(low),
            short(high),
            median.cpu_seconds * 1e6 / median.count as f64,
            micros(0.5),
            micros(0.99),
            micros(0.999),
            micros(1.0),
            median.note,
        );
    }
}

impl Took {
    fn rate(&self) -> f64 {
        self.count as f64 / self.seconds
    }
}

/// Measures: begins when made.
pub(crate) struct Watch {
    began: Instant,
    cpu: f64,
    times: Histogram<u64>,
}

impl Watch {
    pub(crate) fn start() -> Self {
        let times = Histogram::new(3).expect("3 digits are good");
        Self {
            cpu: cpu_seconds(),
            began: Instant::now(),
            times,
        }
    }

    /// Notes how long it took since `began`.
    pub(crate) fn note(&mut self, began: Instant) {
        let nanos = began.elapsed().as_nanos() as u64;
        self.times.record(nanos).expect("it resizes");
    }

    pub(crate) fn stop(self, count: u64, note: String) -> Took {
        Took {
            count,
            seconds: self.began.elapsed().as_secs_f64(),
            cpu_seconds: cpu_seconds() - self.cpu,
            times: self.times,
            note,
        }
    }
}

/// User and system time of this process.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("readable");
    let fields = stat.rsplit(')').next().expect("a name in brackets");
    let ticks = |at: usize| -> f64 {
        let field = fields.split_whitespace().nth(at).expect("52 fields");
        field.parse().expect("ticks")
    };
    (ticks(11) + ticks(12)) / 100.0
}

fn short(value: f64) -> String {
    match value {
        v if v >= 1e6 => format!("{:.2} M", v / 1e6),
        v if v >= 1e3 => format!("{:.1} k", v / 1e3),
        v => format!("{v:.1}"),
    }
}
