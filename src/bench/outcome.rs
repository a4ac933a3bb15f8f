//! What came of it: the report, its rows, their runs, and the figures that are drawn from them.
//!
//! ```text
//!  Report ── Machine, BrokerFacts, Probe
//!     └── Row (a workload) ── Settings, Figures (value, target, ratio to the probe)
//!           └── Outcome (a run) ── histograms, Intervals, ServerCost, CoreStages
//! ```

use crate::bench::machine::Machine;
use crate::bench::probe::Probe;
use crate::bench::settings::Settings;
use hdrhistogram::Histogram;

/// All that one call of the bench found.
#[derive(Clone, Debug)]
pub struct Report {
    /// Where it ran.
    pub machine: Machine,
    /// What was measured.
    pub broker: BrokerFacts,
    /// What the machine can do at most, measured in the same call.
    pub probe: Option<Probe>,
    /// When it began: milliseconds since 1970.
    pub started_wall_ms: i64,
    /// The workloads, in the order in which they ran.
    pub rows: Vec<Row>,
}

/// The broker under test.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BrokerFacts {
    /// What it is, as far as is known: `millrace`, or `Kafka broker`.
    pub software: &'static str,
    /// Version of the software.
    pub version: String,
    /// How it was built and started, one fact each: `release build`, `child process`, `cores on CPUs 0`.
    pub features: Vec<String>,
}

/// One workload and its runs.
#[derive(Clone, Debug)]
pub struct Row {
    /// The name of the workload.
    pub name: String,
    /// What was run. Of a search for the highest rate, the runs below are those at the rate that was found.
    pub settings: Settings,
    /// How the highest rate was searched, where it was.
    pub search: Vec<SearchStep>,
    /// Every run, at least one.
    pub runs: Vec<Outcome>,
    /// Index of the run that is reported: the median by throughput, of an open loop by the p99 of the response time.
    pub median: usize,
    /// The figures of the median run.
    pub figures: Vec<Figure>,
}

/// A rate that was tried.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct SearchStep {
    /// Messages a second that were due.
    pub asked_per_s: f64,
    /// Messages a second that were acked.
    pub reached_per_s: f64,
    /// The response time in question, nanoseconds.
    pub response_ns: u64,
    /// Whether the broker kept up, within the limit.
    pub held: bool,
}

/// One number with its target.
#[derive(Clone, PartialEq, Debug)]
pub struct Figure {
    /// What it is: `throughput`, `response p99`.
    pub name: String,
    /// The value, in `unit`.
    pub value: f64,
    /// `msg/s`, `MB/s`, `ms`, `us/1000 msg`, `MiB`, ...
    pub unit: &'static str,
    /// What it should be.
    pub target: Option<Target>,
    /// The value as a share of what the probe found (1 is the machine's limit), where the probe measures its like.
    pub probe_ratio: Option<f64>,
}

/// A bound, in the unit of its figure.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Target {
    /// The bound itself; it is met by being hit.
    pub bound: f64,
    /// Whether more is better.
    pub at_least: bool,
}

/// One run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Messages acked, or read, in the time that counts.
    pub messages: u64,
    /// Their payload: keys and values, without the batches' own bytes.
    pub bytes: u64,
    /// The time that counts.
    pub seconds: f64,
    /// Requests answered in it.
    pub requests: u64,
    /// Per request, nanoseconds from when it was due to its reply.
    pub response: Histogram<u64>,
    /// Per request, nanoseconds from when it was sent to its reply.
    pub service: Histogram<u64>,
    /// Per message batch, nanoseconds from when it was due to when the consumer held it.
    pub end_to_end: Option<Histogram<u64>>,
    /// The run in slices, in order.
    pub intervals: Vec<Interval>,
    /// What the broker's process used; `None` when nobody knows which process that is.
    pub server: Option<ServerCost>,
    /// CPU seconds of the load: user and system.
    pub load_cpu_seconds: f64,
    /// Where the time went inside the broker, by core.
    pub stages: Vec<CoreStages>,
    /// Requests that were due and never sent, because the broker was too far behind when the run ended. They are in
    /// `response` with the time that they had waited, and not in `service`.
    pub unsent: u64,
    /// Payload that a cold reader beside the load read.
    pub beside_bytes: u64,
}

/// A slice of a run.
#[derive(Clone, Debug)]
pub struct Interval {
    /// When it began, in seconds from the begin of what counts.
    pub at_s: f64,
    /// How long it was.
    pub seconds: f64,
    /// Messages that were acked, or read, in it.
    pub messages: u64,
    /// Their payload.
    pub bytes: u64,
    /// Response times in nanoseconds of the requests that were answered in it.
    pub response: Histogram<u64>,
    /// Service times of the same requests, nanoseconds.
    pub service: Histogram<u64>,
    /// How long after they were due the same requests were sent, nanoseconds.
    pub delay: Histogram<u64>,
    /// Of the batches that reached the consumer in it, nanoseconds since they were due. Empty where none is watched.
    pub end_to_end: Histogram<u64>,
}

/// What the broker's process used between two looks at /proc.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct ServerCost {
    /// CPU time in user mode.
    pub cpu_user_seconds: f64,
    /// CPU time in the kernel, that of its io_uring workers included; not that of the kernel's own writeback.
    pub cpu_system_seconds: f64,
    /// Peak of the resident set, since the process began.
    pub rss_peak_bytes: u64,
    /// The resident set; of a run: by how much it grew.
    pub rss_bytes: u64,
    /// Bytes that it caused to be written to block devices.
    pub written_bytes: u64,
    /// Times that a thread of it went to sleep, all threads that live at the end.
    pub voluntary_switches: u64,
    /// Times that a thread of it was put off the CPU.
    pub involuntary_switches: u64,
}

/// One core's histograms of the stages that a message goes through.
#[derive(Clone, Debug)]
pub struct CoreStages {
    /// The core of the broker.
    pub core: u16,
    /// Name and nanoseconds of each stage: the difference between the begin and the end of what counts.
    pub stages: Vec<(String, Histogram<u64>)>,
    /// Name and growth of each count, in the same time.
    pub counters: Vec<(String, u64)>,
}

impl Row {
    /// The run that is reported.
    pub fn outcome(&self) -> &Outcome {
        &self.runs[self.median]
    }
}

impl Figure {
    /// A figure without a target.
    pub fn new(name: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self {
            name: name.into(),
            value,
            unit,
            target: None,
            probe_ratio: None,
        }
    }

    /// Whether the target is met; `None` without one. A value that is no number meets nothing.
    pub fn met(&self) -> Option<bool> {
        let target = self.target?;
        Some(if target.at_least {
            self.value >= target.bound
        } else {
            self.value <= target.bound
        })
    }
}

impl Outcome {
    /// Messages a second.
    pub fn messages_per_s(&self) -> f64 {
        self.messages as f64 / self.seconds
    }

    /// Bytes of payload a second.
    pub fn bytes_per_s(&self) -> f64 {
        self.bytes as f64 / self.seconds
    }

    /// Microseconds of the broker's CPU per 1000 messages.
    pub fn server_us_per_1000(&self) -> Option<f64> {
        let server = self.server.as_ref().filter(|_| self.messages > 0)?;
        let cpu_us = (server.cpu_user_seconds + server.cpu_system_seconds) * 1e6;
        Some(cpu_us / (self.messages as f64 / 1e3))
    }

    /// Bytes that went to the disk per byte of payload; of runs that produce.
    pub fn write_amplification(&self) -> Option<f64> {
        let server = self.server.as_ref().filter(|_| self.bytes > 0)?;
        Some(server.written_bytes as f64 / self.bytes as f64)
    }
}

impl ServerCost {
    /// What was used from `before` to `self`; peaks stay.
    pub fn since(&self, before: &Self) -> Self {
        Self {
            cpu_user_seconds: self.cpu_user_seconds - before.cpu_user_seconds,
            cpu_system_seconds: self.cpu_system_seconds - before.cpu_system_seconds,
            rss_peak_bytes: self.rss_peak_bytes,
            rss_bytes: self.rss_bytes.saturating_sub(before.rss_bytes),
            written_bytes: self.written_bytes.saturating_sub(before.written_bytes),
            voluntary_switches: self
                .voluntary_switches
                .saturating_sub(before.voluntary_switches),
            involuntary_switches: self
                .involuntary_switches
                .saturating_sub(before.involuntary_switches),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_met_from_its_own_side_and_never_by_a_value_that_is_none() {
        for (value, at_least, met) in [
            (5.0, true, true),
            (4.9, true, false),
            (5.0, false, true),
            (5.1, false, false),
            (f64::NAN, true, false),
            (f64::NAN, false, false),
        ] {
            let figure = Figure {
                target: Some(Target {
                    bound: 5.0,
                    at_least,
                }),
                ..Figure::new("x", value, "ms")
            };
            assert_eq!(figure.met(), Some(met), "{value} {at_least}");
        }
        assert_eq!(Figure::new("x", 1.0, "ms").met(), None);
    }
}
