//! The report as one JSON document. Names are stable and end in their unit; what is not known is null, never left out.
//! A change that could break a reader raises [`SCHEMA_VERSION`].
//!
//! ```text
//!  schema "millrace-bench", schema_version, version, features[], started_ms
//!  machine  { kernel, cpu_model, cpus, memory_bytes, filesystem, device, write_cache, scheduler, clocksource, .. }
//!  probe    { direct_write_bytes_per_s, durable_4k_per_s, durable_4k_p50_us, loopback_bytes_per_s, .. } | null
//!  rows[]   { name, settings {..}, loop "open"|"closed",
//!             figure, value, unit, target {bound, at_least}|null, met, probe_ratio    of the row's leading figure:
//!                                                                the first with a target, else the first of all
//!             all_met                                            over all figures with a target; null without one
//!             figures[] { name, value, unit, target, met, probe_ratio }
//!             percentiles { response_ms, service_ms, end_to_end_ms }     each { count, mean, p50 .. p99.999, max } | null
//!             search[]  { asked_per_s, reached_per_s, response_ms, held }
//!             median, runs[] { messages, bytes, seconds, requests, unsent, messages_per_s, .., server {..}|null }
//!             intervals[] { at_s, seconds, messages, bytes, messages_per_s, response_ms, service_ms }  of the median run
//!             stages[]  { core, stages[] { name, count, total_ms, p50_us, p99_us, max_us } } }         of the median run
//! ```

use crate::bench::outcome::{
    CoreStages, Figure, Interval, Outcome, Report, Row, SearchStep, ServerCost,
};
use crate::bench::output::{QUANTILES, ack, kind, protocol};
use crate::bench::settings::{Keys, Payload, Rate, Settings};
use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};

/// Of this document's shape.
pub const SCHEMA_VERSION: u32 = 1;

/// The document, with line ends and indents, for files that people look into.
pub fn text(report: &Report) -> String {
    format!("{:#}\n", document(report))
}

/// The document.
pub fn document(report: &Report) -> Value {
    json!({
        "schema": "millrace-bench",
        "schema_version": SCHEMA_VERSION,
        "version": report.broker.version,
        "features": report.broker.features,
        "started_ms": report.started_wall_ms,
        "machine": report.machine,
        "probe": report.probe,
        "rows": report.rows.iter().map(row).collect::<Vec<_>>(),
    })
}

fn row(row: &Row) -> Value {
    let outcome = row.outcome();
    let leading = leading(row);
    let is_open = row.settings.is_open_loop();
    let mut fields = json!({
        "name": row.name,
        "settings": settings(&row.settings),
        "loop": if is_open { "open" } else { "closed" },
        "all_met": all_met(row),
        "figures": row.figures.iter().map(figure).collect::<Vec<_>>(),
        "percentiles": {
            "response_ms": percentiles_ms(&outcome.response),
            "service_ms": percentiles_ms(&outcome.service),
            "end_to_end_ms": outcome.end_to_end.as_ref().map(percentiles_ms),
        },
        "search": row.search.iter().map(search_step).collect::<Vec<_>>(),
        "median": row.median,
        "runs": row.runs.iter().map(run).collect::<Vec<_>>(),
        "intervals": outcome.intervals.iter().map(interval).collect::<Vec<_>>(),
        "stages": outcome.stages.iter().map(stages).collect::<Vec<_>>(),
    });
    if let Value::Object(fields) = &mut fields {
        let lead = leading.map_or_else(no_figure, figure);
        for name in ["value", "unit", "target", "met", "probe_ratio"] {
            fields.insert(name.to_owned(), lead[name].clone());
        }
        fields.insert("figure".to_owned(), lead["name"].clone());
    }
    fields
}

fn no_figure() -> Value {
    Value::Object(Map::new())
}

/// What a row is about: its first figure with a target, else its first.
pub(crate) fn leading(row: &Row) -> Option<&Figure> {
    let with_target = row.figures.iter().find(|figure| figure.target.is_some());
    with_target.or(row.figures.first())
}

/// Whether every target of the row is met; `None` without targets.
pub(crate) fn all_met(row: &Row) -> Option<bool> {
    row.figures
        .iter()
        .filter_map(Figure::met)
        .reduce(|all, one| all && one)
}

fn figure(figure: &Figure) -> Value {
    let target = figure.target.map(|target| {
        json!({
            "bound": target.bound,
            "at_least": target.at_least,
        })
    });
    json!({
        "name": figure.name,
        "value": figure.value,
        "unit": figure.unit,
        "target": target,
        "met": figure.met(),
        "probe_ratio": figure.probe_ratio,
    })
}

fn settings(settings: &Settings) -> Value {
    json!({
        "kind": kind(settings.kind),
        "protocol": protocol(settings.protocol),
        "message_bytes": settings.message_bytes,
        "batch_messages": settings.batch_messages,
        "connections": settings.connections,
        "partitions": settings.partitions,
        "in_flight": settings.in_flight,
        "ack": ack(settings.ack),
        "keys": keys(settings.keys),
        "payload": payload(&settings.payload),
        "rate": rate(settings.rate),
        "warm_up_s": settings.warm_up.as_secs_f64(),
        "duration_s": settings.duration.as_secs_f64(),
        "runs": settings.runs,
        "server_cpus": settings.server_cpus,
        "load_cpus": settings.load_cpus,
        "wrong_core": settings.wrong_core,
        "readers": settings.readers,
        "fill_bytes": settings.fill_bytes,
        "cold": settings.cold,
        "cold_reader": settings.cold_reader,
    })
}

fn keys(keys: Keys) -> Value {
    match keys {
        Keys::None => json!({"kind": "none"}),
        Keys::Random(count) => json!({"kind": "random", "count": count}),
        Keys::RoundRobin => json!({"kind": "round-robin"}),
    }
}

fn payload(payload: &Payload) -> Value {
    match payload {
        Payload::Random { seed, random_share } => {
            json!({"kind": "random", "seed": seed, "random_share": random_share})
        }
        Payload::Lines(path) => json!({"kind": "lines", "file": path.to_string_lossy()}),
    }
}

fn rate(rate: Rate) -> Value {
    match rate {
        Rate::Max => json!({"kind": "max"}),
        Rate::PerSecond(messages) => json!({"kind": "fixed", "messages_per_s": messages}),
        Rate::FindMax { quantile, limit } => json!({
            "kind": "find-max",
            "quantile": quantile,
            "limit_ms": limit.as_secs_f64() * 1e3,
        }),
    }
}

fn ms(ns: u64) -> f64 {
    ns as f64 / 1e6
}

/// Null of a histogram without a value: no percentile would be true.
fn percentiles_ms(histogram: &Histogram<u64>) -> Value {
    if histogram.is_empty() {
        return Value::Null;
    }
    let mut fields = Map::new();
    fields.insert("count".to_owned(), json!(histogram.len()));
    fields.insert("mean".to_owned(), json!(histogram.mean() / 1e6));
    for (name, quantile) in QUANTILES {
        let value = ms(histogram.value_at_quantile(quantile));
        fields.insert(name.to_owned(), json!(value));
    }
    fields.insert("max".to_owned(), json!(ms(histogram.max())));
    Value::Object(fields)
}

fn search_step(step: &SearchStep) -> Value {
    json!({
        "asked_per_s": step.asked_per_s,
        "reached_per_s": step.reached_per_s,
        "response_ms": ms(step.response_ns),
        "held": step.held,
    })
}

fn run(outcome: &Outcome) -> Value {
    json!({
        "messages": outcome.messages,
        "bytes": outcome.bytes,
        "seconds": outcome.seconds,
        "requests": outcome.requests,
        "unsent": outcome.unsent,
        "messages_per_s": outcome.messages_per_s(),
        "bytes_per_s": outcome.bytes_per_s(),
        "beside_bytes": outcome.beside_bytes,
        "response_ms": percentiles_ms(&outcome.response),
        "server_cpu_us_per_1000_messages": outcome.server_us_per_1000(),
        "write_amplification": outcome.write_amplification(),
        "server": outcome.server.as_ref().map(server),
        "load_cpu_s": outcome.load_cpu_seconds,
    })
}

fn server(cost: &ServerCost) -> Value {
    json!({
        "cpu_user_s": cost.cpu_user_seconds,
        "cpu_system_s": cost.cpu_system_seconds,
        "rss_peak_bytes": cost.rss_peak_bytes,
        "rss_growth_bytes": cost.rss_bytes,
        "written_bytes": cost.written_bytes,
        "voluntary_switches": cost.voluntary_switches,
        "involuntary_switches": cost.involuntary_switches,
    })
}

fn interval(interval: &Interval) -> Value {
    json!({
        "at_s": interval.at_s,
        "seconds": interval.seconds,
        "messages": interval.messages,
        "bytes": interval.bytes,
        "messages_per_s": interval.messages as f64 / interval.seconds,
        "response_ms": percentiles_ms(&interval.response),
        "service_ms": percentiles_ms(&interval.service),
    })
}

fn stages(core: &CoreStages) -> Value {
    let stages: Vec<Value> = core
        .stages
        .iter()
        .map(|(name, histogram)| {
            let us = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
            json!({
                "name": name,
                "count": histogram.len(),
                "total_ms": total_ms(histogram),
                "p50_us": us(0.5),
                "p99_us": us(0.99),
                "max_us": us(1.0),
            })
        })
        .collect();
    json!({ "core": core.core, "stages": stages })
}

/// The sum of all values, as exact as the histogram's digits.
pub(crate) fn total_ms(histogram: &Histogram<u64>) -> f64 {
    match histogram.len() {
        0 => 0.0,
        count => histogram.mean() * count as f64 / 1e6,
    }
}

#[cfg(test)]
mod tests {
    //! Goal: a reader finds what the door promises, and numbers that are the report's. Method: a made-up report, its
    //! text parsed back.

    use super::*;
    use crate::bench::output::synthetic;

    fn parsed(report: &Report) -> Value {
        serde_json::from_str(&text(report)).expect("it is JSON")
    }

    #[test]
    fn a_row_leads_with_its_first_target() {
        let report = synthetic::report();
        let document = parsed(&report);
        assert_eq!(document["schema_version"], SCHEMA_VERSION);
        let row = &document["rows"][0];
        assert_eq!(row["figure"], "throughput");
        assert_eq!(row["unit"], "msg/s");
        assert_eq!(row["target"]["at_least"], true);
        assert_eq!(
            row["met"],
            report.rows[0].figures[0].met().expect("a target")
        );
        assert_eq!(row["loop"], "closed");
        assert_eq!(document["rows"][1]["loop"], "open");
    }

    #[test]
    fn one_missed_target_misses_the_row_and_none_is_null() {
        let mut report = synthetic::report();
        assert_eq!(parsed(&report)["rows"][0]["all_met"], true);
        let target = report.rows[0].figures[1].target.as_mut();
        target.expect("it has one").bound = 0.001;
        let document = parsed(&report);
        assert_eq!(document["rows"][0]["all_met"], false);
        assert_eq!(document["rows"][0]["met"], true);
        report.rows[0].figures.clear();
        let document = parsed(&report);
        for name in ["all_met", "met", "value", "target", "figure"] {
            assert!(document["rows"][0][name].is_null(), "{name}");
        }
    }

    #[test]
    fn percentiles_are_those_of_the_histogram_in_milliseconds() {
        let report = synthetic::report();
        let document = parsed(&report);
        let response = &report.rows[1].outcome().response;
        let percentiles = &document["rows"][1]["percentiles"];
        for (name, quantile) in QUANTILES {
            let expected = response.value_at_quantile(quantile) as f64 / 1e6;
            assert_eq!(percentiles["response_ms"][name], expected, "{name}");
        }
        assert_eq!(percentiles["response_ms"]["count"], response.len());
        assert!(percentiles["end_to_end_ms"]["p99"].is_f64());
        assert!(document["rows"][0]["percentiles"]["end_to_end_ms"].is_null());
    }

    #[test]
    fn what_is_no_number_is_null_and_parses() {
        let mut report = synthetic::report();
        report.rows[0].figures[0].value = f64::NAN;
        report.rows[0].runs[0].response.reset();
        report.probe = None;
        let document = parsed(&report);
        assert!(document["rows"][0]["value"].is_null());
        assert_eq!(document["rows"][0]["met"], false);
        assert!(document["rows"][0]["percentiles"]["response_ms"].is_null());
        assert!(document["probe"].is_null());
    }

    #[test]
    fn intervals_and_stages_add_up_to_the_run() {
        let report = synthetic::report();
        let document = parsed(&report);
        let row = &document["rows"][1];
        let intervals = row["intervals"].as_array().expect("a list");
        let messages: u64 = intervals
            .iter()
            .filter_map(|i| i["messages"].as_u64())
            .sum();
        assert_eq!(messages, report.rows[1].outcome().messages);
        assert_eq!(row["stages"][0]["stages"][0]["name"], "receive");
        assert!(row["stages"][0]["stages"][0]["total_ms"].as_f64() > Some(0.0));
    }
}
