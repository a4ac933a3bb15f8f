//! The suite: the workloads by which Millrace is held against its targets, as data.
//!
//! Each row is one workload; some are run twice, with and without what they are about, and held against themselves. The
//! targets are for a machine with two CPUs, the broker on the first and the load on the second.

use crate::base::AckLevel::{self, Synced, Written};
use crate::bench::figures::{
    DISK_SHARE, FLUSHES_PER_PARTITION, RSS_PER_CONNECTION, SERVER_BUSY, SERVER_CPU, THROUGHPUT,
    find,
};
use crate::bench::outcome::{Figure, Row, Target};
use crate::bench::probe::Probe;
use crate::bench::row::{Measured, measure, ratio};
use crate::bench::run::{BenchError, Runner};
use crate::bench::settings::{Kind, Protocol, Rate, Settings};
use std::time::Duration;

/// One row of the suite.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its number, by which it can be chosen.
    pub number: u32,
    /// What it is.
    pub name: &'static str,
    /// What is run.
    pub settings: Settings,
    /// What the figures should be.
    pub targets: Vec<(&'static str, Target)>,
    /// What it is held against, if against itself.
    pub against: Option<Against>,
}

/// The same workload with something left out, and how the two are compared.
#[derive(Clone, Debug)]
pub struct Against {
    /// What is run.
    pub settings: Settings,
    /// The figure that is compared.
    pub figure: &'static str,
    /// What the ratio of the row to this is called, as a figure.
    pub name: &'static str,
}

const THROUGHPUT_OF_OWNER: &str = "throughput, of that to the owner";
const CPU_OF_NATIVE: &str = "server CPU, of that by the native protocol";
const P99_OF_QUIET: &str = "response p99, of that without the reader";
const PAYLOAD_MB: &str = crate::bench::figures::PAYLOAD;

/// CPU time is told in hundredths of a second: this long, one is a share that does not decide.
const IDLE: Duration = Duration::from_secs(5);

/// How long rows run and how often.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Pace {
    /// Runs of each row.
    pub runs: usize,
    /// What does not count.
    pub warm_up: Duration,
    /// What counts.
    pub duration: Duration,
    /// Bytes that are read where something is read.
    pub fill_bytes: u64,
    /// Connections that do nothing, in the row that is about them.
    pub idle_connections: usize,
}

impl Pace {
    /// Three runs, some nine minutes in all.
    pub const FULL: Self = Self {
        runs: 3,
        warm_up: Duration::from_secs(1),
        duration: Duration::from_secs(4),
        fill_bytes: 2 << 30,
        idle_connections: 10_000,
    };
    /// One run, about a minute in all: to see that everything works, and roughly where things stand.
    pub const QUICK: Self = Self {
        runs: 1,
        warm_up: Duration::from_millis(300),
        duration: Duration::from_secs(1),
        fill_bytes: 512 << 20,
        idle_connections: 2_000,
    };
}

/// All rows, in order, for a broker on `server_cpus` and a load on `load_cpus`.
pub fn entries(pace: Pace, server_cpus: &[usize], load_cpus: &[usize]) -> Vec<Entry> {
    let base = Settings {
        server_cpus: Some(server_cpus.to_vec()),
        load_cpus: Some(load_cpus.to_vec()),
        runs: pace.runs,
        warm_up: pace.warm_up,
        duration: pace.duration,
        fill_bytes: pace.fill_bytes,
        ..Settings::default()
    };
    let mut rows = produce_rows(&base);
    rows.extend(consume_rows(&base));
    rows.extend(scheduled_rows(&base));
    rows.extend(idle_and_wrong_core_rows(&base, pace));
    rows
}

/// The rows in which what Kafka's protocol costs the broker is held against what ours does, run in the same suite.
const AGAINST_NATIVE: &[u32] = &[1, 4, 8];

/// The same rows by Kafka's protocol. `has_native`: the broker can be loaded by ours, too.
pub fn by_kafka(entries: Vec<Entry>, has_native: bool) -> Vec<Entry> {
    let by_kafka = |settings: &Settings| Settings {
        protocol: Protocol::Kafka,
        ..settings.clone()
    };
    let convert = |entry: Entry| {
        let mut converted = Entry {
            settings: by_kafka(&entry.settings),
            against: entry.against.map(|against| Against {
                settings: by_kafka(&against.settings),
                ..against
            }),
            ..entry
        };
        if AGAINST_NATIVE.contains(&converted.number) && has_native {
            converted.targets.retain(|(name, _)| *name != SERVER_CPU);
            converted.targets.push((CPU_OF_NATIVE, max(1.3)));
            converted.against = Some(Against {
                settings: entry.settings,
                figure: SERVER_CPU,
                name: CPU_OF_NATIVE,
            });
        }
        converted
    };
    entries.into_iter().map(convert).collect()
}

fn produce_rows(base: &Settings) -> Vec<Entry> {
    let load = |bytes, batch, ack, connections, in_flight, partitions| Settings {
        message_bytes: bytes,
        batch_messages: batch,
        ack,
        connections,
        in_flight,
        partitions,
        ..base.clone()
    };
    vec![
        row(
            1,
            "100 B x 1000 a batch, 8 connections x 4 in flight, written",
            load(100, 1_000, Written, 8, 4, 8),
            &[(THROUGHPUT, min(18e6)), (SERVER_CPU, max(50.0))],
        ),
        row(
            2,
            "100 B x 1000 a batch, 8 x 4, synced",
            load(100, 1_000, Synced, 8, 4, 8),
            &[(THROUGHPUT, min(14e6)), ("response p99", max(5.0))],
        ),
        row(
            3,
            "100 B x 1000 a batch, 1 x 1, synced",
            load(100, 1_000, Synced, 1, 1, 1),
            &[("response p50", max(0.25)), ("response p99", max(1.0))],
        ),
        row(
            4,
            "1000 B x 1000 a batch, 4 x 4, written",
            load(1_000, 1_000, Written, 4, 4, 4),
            &[(DISK_SHARE, min(70.0)), (SERVER_CPU, max(350.0))],
        ),
        row(
            5,
            "100 B, one a request, 1 x 64, synced",
            load(100, 1, Synced, 1, 64, 1),
            &[(THROUGHPUT, min(0.4e6))],
        ),
        row(
            6,
            "100 B, one a request, 64 x 16, synced",
            load(100, 1, Synced, 64, 16, 64),
            &[(THROUGHPUT, min(0.8e6))],
        ),
        row(
            7,
            "1000 partitions, 100 B, one a request, 32 x 32, synced",
            load(100, 1, Synced, 32, 32, 1_000),
            // One flush a partition, as elsewhere, would be 1.
            &[(THROUGHPUT, min(0.4e6)), (FLUSHES_PER_PARTITION, max(0.1))],
        ),
    ]
}

fn consume_rows(base: &Settings) -> Vec<Entry> {
    let catch_up = |bytes| Settings {
        kind: Kind::CatchUp,
        message_bytes: bytes,
        readers: 2,
        partitions: 4,
        in_flight: 2,
        ..base.clone()
    };
    vec![
        row(
            8,
            "catch up, 100 B x 1000 a batch, page cache hot, 2 connections",
            catch_up(100),
            &[(THROUGHPUT, min(30e6)), (SERVER_CPU, max(16.0))],
        ),
        row(
            9,
            "catch up, 1000 B x 1000 a batch, page cache hot, 2 connections",
            catch_up(1_000),
            &[(PAYLOAD_MB, min(4_000.0)), (SERVER_CPU, max(100.0))],
        ),
    ]
}

fn scheduled_rows(base: &Settings) -> Vec<Entry> {
    let busy = Settings {
        connections: 4,
        partitions: 4,
        in_flight: 16,
        rate: Rate::PerSecond(1e6),
        ..base.clone()
    };
    vec![
        Entry {
            against: Some(Against {
                settings: busy.clone(),
                figure: "response p99",
                name: P99_OF_QUIET,
            }),
            ..row(
                10,
                "produce 1 M msg/s, 100 B x 1000, written, beside a cold catch-up from disk",
                Settings {
                    cold_reader: true,
                    fill_bytes: 2 * base.fill_bytes,
                    ..busy.clone()
                },
                &[(P99_OF_QUIET, max(2.0))],
            )
        },
        row(
            11,
            "end to end at 1 M msg/s, 100 B x 1000, synced, a tail consumer",
            Settings {
                kind: Kind::EndToEnd,
                ack: Synced,
                ..busy
            },
            &[
                ("end to end p50", max(0.5)),
                ("end to end p99", max(2.0)),
                ("end to end p99.9", max(10.0)),
            ],
        ),
    ]
}

fn idle_and_wrong_core_rows(base: &Settings, pace: Pace) -> Vec<Entry> {
    let all_cpus = [&base.server_cpus, &base.load_cpus];
    let all_cpus: Vec<usize> = all_cpus.into_iter().flatten().flatten().copied().collect();
    let hopping = Settings {
        connections: 8,
        partitions: 8,
        in_flight: 4,
        server_cpus: Some(all_cpus),
        ..base.clone()
    };
    vec![
        row(
            12,
            "idle connections",
            Settings {
                kind: Kind::Idle,
                connections: pace.idle_connections,
                in_flight: 1,
                duration: pace.duration.max(IDLE),
                ..base.clone()
            },
            &[(SERVER_BUSY, max(1.0)), (RSS_PER_CONNECTION, max(16.0))],
        ),
        Entry {
            against: Some(Against {
                settings: hopping.clone(),
                figure: THROUGHPUT,
                name: THROUGHPUT_OF_OWNER,
            }),
            ..row(
                13,
                "row 1 on both CPUs, every request to the core that does not own its partition",
                Settings {
                    wrong_core: true,
                    ..hopping
                },
                &[(THROUGHPUT_OF_OWNER, min(0.5))],
            )
        },
    ]
}

fn row(
    number: u32,
    name: &'static str,
    settings: Settings,
    targets: &[(&'static str, Target)],
) -> Entry {
    Entry {
        number,
        name,
        settings,
        targets: targets.to_vec(),
        against: None,
    }
}

const fn min(bound: f64) -> Target {
    Target {
        bound,
        at_least: true,
    }
}

const fn max(bound: f64) -> Target {
    Target {
        bound,
        at_least: false,
    }
}

impl Entry {
    /// Runs it, and what it is held against, and puts the targets to the figures.
    pub fn measure(
        &self,
        runner: &mut Runner<'_>,
        probe: Option<&Probe>,
    ) -> Result<Measured, BenchError> {
        let whole = match &self.against {
            Some(against) => Some(measure(runner, self.name, &against.settings, probe)?.row),
            None => None,
        };
        let mut measured = measure(runner, self.name, &self.settings, probe)?;
        self.judge(&mut measured.row, whole.as_ref());
        Ok(measured)
    }

    fn judge(&self, row: &mut Row, whole: Option<&Row>) {
        row.name = format!("{}: {}", self.number, self.name);
        if let (Some(against), Some(whole)) = (&self.against, whole) {
            let value = ratio(row, whole, against.figure);
            row.figures.push(Figure::new(against.name, value, "x"));
            if let Some(figure) = find(&whole.figures, against.figure) {
                let name = format!("{} to compare with", figure.name);
                row.figures.push(Figure {
                    name,
                    ..figure.clone()
                });
            }
        }
        for (name, target) in &self.targets {
            let figure = row.figures.iter_mut().find(|figure| figure.name == *name);
            match figure {
                Some(figure) => figure.target = Some(*target),
                // It was not measured, which is not a target that is met.
                None => row.figures.push(Figure {
                    target: Some(*target),
                    ..Figure::new(*name, f64::NAN, "not measured")
                }),
            }
        }
    }
}

/// What acks promise in the rows, for the facts above the table.
pub fn ack_levels(entries: &[Entry]) -> Vec<AckLevel> {
    let mut levels: Vec<AckLevel> = entries.iter().map(|entry| entry.settings.ack).collect();
    levels.sort_unstable();
    levels.dedup();
    levels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_numbered_and_each_has_a_target() {
        let entries = entries(Pace::FULL, &[0], &[1]);
        let numbers: Vec<u32> = entries.iter().map(|entry| entry.number).collect();
        assert_eq!(numbers, (1..=13).collect::<Vec<_>>());
        assert!(entries.iter().all(|entry| !entry.targets.is_empty()));
    }

    #[test]
    fn by_kafka_three_rows_are_held_against_native_ones() {
        let protocols = |entry: &Entry| {
            let against = entry.against.as_ref();
            let against = against.map(|against| against.settings.protocol);
            (entry.number, entry.settings.protocol, against)
        };
        let (native, kafka) = (Some(Protocol::Native), Some(Protocol::Kafka));
        let converted = |has_native| by_kafka(entries(Pace::FULL, &[0], &[1]), has_native);
        for entry in &converted(true) {
            let against = match entry.number {
                1 | 4 | 8 => native,
                10 | 13 => kafka,
                _ => None,
            };
            let expected = (entry.number, Protocol::Kafka, against);
            assert_eq!(protocols(entry), expected);
        }
        let has_target = |entry: &Entry| {
            let names = entry.targets.iter().map(|(name, _)| *name);
            names.filter(|name| *name == CPU_OF_NATIVE).count()
        };
        assert_eq!(converted(true).iter().map(has_target).sum::<usize>(), 3);
        assert_eq!(converted(false).iter().map(has_target).sum::<usize>(), 0);
    }

    #[test]
    fn a_figure_that_was_not_measured_meets_no_target() {
        let entry = &entries(Pace::QUICK, &[0], &[1])[0];
        let mut row = Row {
            name: String::new(),
            settings: entry.settings.clone(),
            search: Vec::new(),
            runs: Vec::new(),
            median: 0,
            figures: vec![Figure::new(THROUGHPUT, 20e6, "msg/s")],
        };
        entry.judge(&mut row, None);
        let met: Vec<Option<bool>> = row.figures.iter().map(Figure::met).collect();
        assert_eq!(met, [Some(true), Some(false)]);
    }
}
