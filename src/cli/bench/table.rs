//! The report on a terminal: what was measured on what, the machine's limits, the workloads, and the targets.

use crate::bench::figures::{
    HELD_RATE, PAYLOAD, RSS_PEAK, RSS_PER_CONNECTION, SERVER_BUSY, SERVER_CPU, THROUGHPUT,
    WRITE_AMPLIFICATION, find,
};
use crate::bench::outcome::{CoreStages, Figure, Report, Row, Target};
use crate::bench::output::{omission, settings_text};
use crate::cli::print::table;

/// Columns of the workloads: header, figure. Those that no workload has are left out.
const COLUMNS: &[(&str, &str)] = &[
    ("HELD MSG/S", HELD_RATE),
    ("MSG/S", THROUGHPUT),
    ("MB/S", PAYLOAD),
    ("RESPONSE p50", "response p50"),
    ("p99", "response p99"),
    ("p99.9", "response p99.9"),
    ("max ms", "response max"),
    ("SERVICE p50", "service p50"),
    ("p99", "service p99"),
    ("p99.9", "service p99.9"),
    ("max ms", "service max"),
    ("END TO END p50", "end to end p50"),
    ("p99", "end to end p99"),
    ("p99.9", "end to end p99.9"),
    ("max ms", "end to end max"),
    ("CPU us/1000", SERVER_CPU),
    ("BUSY %", SERVER_BUSY),
    ("RSS MiB", RSS_PEAK),
    ("KiB/CONN", RSS_PER_CONNECTION),
    ("WRITTEN x", WRITE_AMPLIFICATION),
];

/// All of it.
pub fn print(report: &Report) -> String {
    let mut out = facts(report);
    out.push('\n');
    out.push_str(&limits(report));
    out.push_str(&legend(&report.rows));
    out.push('\n');
    out.push_str(&workloads(&report.rows));
    out.push_str(&notes(&report.rows));
    out.push_str(&targets(&report.rows));
    if let [row] = report.rows.as_slice() {
        out.push_str(&stages(&row.outcome().stages));
    }
    out
}

fn facts(report: &Report) -> String {
    let mut rows = vec![vec![
        "broker".to_owned(),
        format!(
            "{} {}, {}",
            report.broker.software,
            report.broker.version,
            report.broker.features.join(", ")
        ),
    ]];
    if let Some(row) = report.rows.first() {
        let cpus = row.settings.load_cpus.as_deref().unwrap_or_default();
        rows.push(vec![
            "load".to_owned(),
            format!("millrace {} on CPUs {cpus:?}", env!("CARGO_PKG_VERSION")),
        ]);
    }
    for fact in report.machine.facts() {
        rows.push(vec![fact.label.to_owned(), fact.text]);
    }
    table(&["ON", ""], &[], &rows)
}

fn limits(report: &Report) -> String {
    let Some(probe) = &report.probe else {
        return "The machine's limits were not probed.\n\n".to_owned();
    };
    let rows: Vec<Vec<String>> = probe
        .figures()
        .iter()
        .map(|(what, value, unit)| vec![(*what).to_owned(), number(*value), (*unit).to_owned()])
        .collect();
    let limits = table(&["LIMIT OF THE MACHINE, PROBED NOW", "", ""], &[1], &rows);
    format!("{limits}\n")
}

/// The number or name by which a row is called in the tables.
fn call(row: &Row) -> &str {
    row.name.split_once(':').map_or(&row.name, |(call, _)| call)
}

fn legend(rows: &[Row]) -> String {
    let lines: Vec<Vec<String>> = rows
        .iter()
        .flat_map(|row| {
            let named = row.name.split_once(": ").map(|(_, what)| what.to_owned());
            let settings = settings_text(&row.settings);
            let runs = match row.runs.len() {
                1 => "1 run".to_owned(),
                runs => format!("median of {runs} runs"),
            };
            let first = vec![call(row).to_owned(), named.unwrap_or_default()];
            [first, vec![String::new(), format!("{settings}; {runs}")]]
        })
        .collect();
    table(&["WORKLOAD", ""], &[], &lines)
}

fn workloads(rows: &[Row]) -> String {
    let has = |name: &str| rows.iter().any(|row| find(&row.figures, name).is_some());
    let columns: Vec<&(&str, &str)> = COLUMNS.iter().filter(|(_, name)| has(name)).collect();
    let mut header = vec!["WORKLOAD"];
    header.extend(columns.iter().map(|(header, _)| *header));
    header.push("OF PROBE");
    let right: Vec<usize> = (1..header.len()).collect();
    let lines: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            let cell = |name: &str| find(&row.figures, name).map_or("-".to_owned(), shown);
            let mut line = vec![call(row).to_owned()];
            line.extend(columns.iter().map(|(_, name)| cell(name)));
            let share = row.figures.iter().find_map(|figure| figure.probe_ratio);
            line.push(share.map_or("-".to_owned(), |share| format!("{:.0} %", share * 100.0)));
            line
        })
        .collect();
    table(&header, &right, &lines)
}

/// What has to be said beside the numbers.
fn notes(rows: &[Row]) -> String {
    let mut notes = String::new();
    let mut said: Vec<&str> = rows.iter().map(|row| omission(&row.settings)).collect();
    said.sort_unstable();
    said.dedup();
    for sentence in said {
        notes.push_str(sentence);
        notes.push('\n');
    }
    if rows.iter().any(|row| row.outcome().server.is_none()) {
        notes.push_str(
            "The broker's process is not known: no CPU, memory and writes. Name it with --server-pid.\n",
        );
    }
    for row in rows {
        let unsent = row.outcome().unsent;
        if unsent > 0 {
            notes.push_str(&format!(
                "{}: the broker did not keep up: {unsent} requests that were due were never sent; the response times \
                 hold how long they had waited.\n",
                call(row)
            ));
        }
    }
    notes
}

fn targets(rows: &[Row]) -> String {
    let judged = rows.iter().flat_map(|row| {
        let figures = row.figures.iter();
        figures.filter_map(move |figure| Some((row, figure, figure.target?, figure.met()?)))
    });
    let lines: Vec<Vec<String>> = judged
        .map(|(row, figure, target, met)| {
            vec![
                call(row).to_owned(),
                figure.name.clone(),
                shown(figure),
                bound(target),
                figure.unit.to_owned(),
                if met { "met" } else { "MISSED" }.to_owned(),
            ]
        })
        .collect();
    if lines.is_empty() {
        return String::new();
    }
    let header = ["WORKLOAD", "FIGURE", "VALUE", "TARGET", "UNIT", ""];
    format!("\n{}", table(&header, &[2, 3], &lines))
}

/// Where the time of the broker's cores went.
fn stages(cores: &[CoreStages]) -> String {
    let us = |ns: u64| number(ns as f64 / 1e3);
    let rows = cores.iter().flat_map(|core| {
        let seen = core.stages.iter().filter(|(_, times)| !times.is_empty());
        seen.map(move |(stage, times)| {
            vec![
                core.core.to_string(),
                stage.clone(),
                times.len().to_string(),
                us(times.value_at_quantile(0.5)),
                us(times.value_at_quantile(0.99)),
                us(times.max()),
            ]
        })
    });
    let rows: Vec<Vec<String>> = rows.collect();
    if rows.is_empty() {
        return String::new();
    }
    let header = ["CORE", "STAGE", "COUNT", "p50 us", "p99 us", "max us"];
    format!("\n{}", table(&header, &[2, 3, 4, 5], &rows))
}

fn bound(target: Target) -> String {
    let sign = if target.at_least { ">=" } else { "<=" };
    format!("{sign} {}", number(target.bound))
}

fn shown(figure: &Figure) -> String {
    number(figure.value)
}

/// As many digits as help: `18.2M`, `47.6`, `0.253`.
pub fn number(value: f64) -> String {
    match value {
        _ if !value.is_finite() => "-".to_owned(),
        _ if value >= 1e5 => short(value).trim_end().to_owned(),
        _ if value >= 100.0 => format!("{value:.0}"),
        _ if value >= 10.0 => format!("{value:.1}"),
        _ if value >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// `18.2 M `, `950 k `, `12 `: to stand before a unit.
pub fn short(value: f64) -> String {
    match value {
        _ if value >= 1e7 => format!("{:.1} M", value / 1e6),
        _ if value >= 1e6 => format!("{:.2} M", value / 1e6),
        _ if value >= 1e4 => format!("{:.0} k", value / 1e3),
        _ => format!("{value:.0} "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_as_many_digits_as_help() {
        for (value, text) in [
            (18_234_567.0, "18.2 M"),
            (1_834_567.0, "1.83 M"),
            (412_345.0, "412 k"),
            (3_421.4, "3421"),
            (47.64, "47.6"),
            (4.764, "4.76"),
            (0.2534, "0.253"),
            (f64::NAN, "-"),
        ] {
            assert_eq!(number(value), text);
        }
        assert_eq!(short(12.0), "12 ");
    }
}
