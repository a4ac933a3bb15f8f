//! `millrace stages`: where the time of each core went, by stage, and what the cores have counted.

use crate::base::stages::decode;
use crate::base::{Counter, Stage};
use crate::cli::broker;
use crate::cli::exit::{Exit, Failure};
use crate::cli::print::{Output, emit, json, table, time_text};
use crate::cli::values::Endpoint;
use crate::engine::CoreStages;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// Asks every core, and prints what they answer.
pub fn run(server: &Endpoint, output: Output) -> Result<(), Failure> {
    let cores = broker::connect(server)?.stages()?;
    emit(&print_stages(&cores, output)?)
}

#[derive(Serialize)]
struct CoreRow {
    core: u16,
    uptime_s: f64,
    stages: Vec<StageRow>,
    counters: BTreeMap<&'static str, u64>,
}

#[derive(Serialize)]
struct StageRow {
    stage: &'static str,
    measures: &'static str,
    count: u64,
    p50_ns: u64,
    p99_ns: u64,
    max_ns: u64,
}

impl CoreRow {
    fn new(found: &CoreStages) -> Result<Self, Failure> {
        let row = |(stage, bytes): &(Stage, Vec<u8>)| {
            let times = decode(bytes).ok_or_else(|| {
                let line = format!(
                    "core {} answered with no histogram of {}; use the millrace of the broker's version",
                    found.core,
                    stage.name()
                );
                Failure::new(Exit::Unavailable, line)
            })?;
            Ok(StageRow {
                stage: stage.name(),
                measures: stage.meaning(),
                count: times.len(),
                p50_ns: times.value_at_quantile(0.5),
                p99_ns: times.value_at_quantile(0.99),
                max_ns: times.max(),
            })
        };
        let mut rows: Vec<_> = found.stages.iter().collect();
        rows.sort_by_key(|(stage, _)| *stage);
        let counters = found.counters.iter();
        Ok(Self {
            core: found.core.0,
            uptime_s: found.uptime.as_secs_f64(),
            stages: rows.into_iter().map(row).collect::<Result<_, Failure>>()?,
            counters: counters
                .map(|(counter, value): &(Counter, u64)| (counter.name(), *value))
                .collect(),
        })
    }

    fn lines(&self) -> impl Iterator<Item = Vec<String>> {
        self.stages.iter().map(|row| {
            let time = |nanos| time_text(Duration::from_nanos(nanos));
            vec![
                self.core.to_string(),
                row.stage.to_string(),
                row.count.to_string(),
                time(row.p50_ns),
                time(row.p99_ns),
                time(row.max_ns),
            ]
        })
    }
}

/// A row per core and stage, and the counts of each core; the times of what never happened are 0.
pub fn print_stages(cores: &[CoreStages], output: Output) -> Result<String, Failure> {
    let rows: Vec<CoreRow> = cores.iter().map(CoreRow::new).collect::<Result<_, _>>()?;
    if output == Output::Json {
        return Ok(json(&rows));
    }
    let cells: Vec<_> = rows.iter().flat_map(CoreRow::lines).collect();
    let header = ["CORE", "STAGE", "COUNT", "P50", "P99", "MAX"];
    let mut text = table(&header, &[0, 2, 3, 4, 5], &cells);
    let counts: Vec<_> = rows
        .iter()
        .flat_map(|row| {
            let cell = |(name, value): (&&str, &u64)| {
                vec![row.core.to_string(), (*name).to_string(), value.to_string()]
            };
            row.counters.iter().map(cell)
        })
        .collect();
    text.push('\n');
    text += &table(&["CORE", "COUNT OF", "VALUE"], &[0, 2], &counts);
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::CoreId;
    use crate::base::stages::{Stages, encode};

    fn found() -> CoreStages {
        let mut stages = Stages::of(&[Stage::Sync]);
        stages.record_n(Stage::Sync, 1_000_000, 99);
        stages.record(Stage::Sync, 50_000_000);
        let encoded = stages.rows().map(|(stage, row)| (stage, encode(row)));
        CoreStages {
            core: CoreId(3),
            uptime: Duration::from_millis(2_500),
            stages: encoded.collect(),
            counters: vec![(Counter::JournalFlushes, 12)],
        }
    }

    #[test]
    fn stages_print_as_table_and_json() {
        let text = print_stages(&[found()], Output::Table).expect("good");
        let mut words = text
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>());
        assert_eq!(words.nth(1).expect("a row")[..3], ["3", "sync", "100"]);
        assert_eq!(
            words.next_back().expect("counts"),
            ["3", "journal_flushes", "12"]
        );
        let text = print_stages(&[found()], Output::Json).expect("good");
        let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(value[0]["uptime_s"], 2.5);
        assert_eq!(value[0]["counters"]["journal_flushes"], 12);
        let sync = &value[0]["stages"][0];
        let near = |name: &str, nanos: u64| {
            let found = sync[name].as_u64().expect("a number");
            assert!(found.abs_diff(nanos) <= nanos / 50, "{name}: {found}");
        };
        near("p50_ns", 1_000_000);
        near("max_ns", 50_000_000);
    }

    #[test]
    fn bytes_that_are_no_histogram_are_a_failure() {
        let mut found = found();
        found.stages[0].1.truncate(10);
        let failure = print_stages(&[found], Output::Table).expect_err("damaged");
        assert!(failure.line.contains("core 3") && failure.line.contains("sync"));
    }
}
