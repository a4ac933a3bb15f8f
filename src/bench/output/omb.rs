//! Results as the OpenMessaging Benchmark writes them (its class `TestResult`), a file a row, so that its chart scripts
//! draw Millrace beside what they drew before. Times are milliseconds, but of the publish delay, which is microseconds
//! there.
//!
//! | theirs | ours |
//! |---|---|
//! | `publishLatency*` | service time: from the actual send |
//! | `publishDelayLatency*` | from when a request was due to its send |
//! | `endToEndLatency*` | from when a batch was due to the consumer's hands (theirs: from the actual publish) |
//! | `publishRate`, `consumeRate` | messages a second of each interval, by what the row does |
//!
//! Theirs are times of messages and ours of batches, each of which holds several; and theirs has an interval each 10 s,
//! on which its chart scripts count, ours has as many as the report. A row that only reads has no publish, and the
//! lists then hold zeros, because the scripts refuse empty ones. The backlog is not measured, so there is none.

use crate::bench::outcome::{Interval, Report, Row};
use crate::bench::output::{NamedText, row_slug};
use crate::bench::settings::Kind;
use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};

/// What `driver` says: the name under which a chart shows it.
const DRIVER: &str = "Millrace";
const NS_PER_MS: f64 = 1e6;
const NS_PER_US: f64 = 1e3;
/// Steps of a quantile map per halving of the distance to 100 %, as theirs.
const QUANTILE_TICKS: u32 = 100;

/// Their names of percentiles.
const PERCENTILES: [(&str, f64); 7] = [
    ("50pct", 0.5),
    ("75pct", 0.75),
    ("95pct", 0.95),
    ("99pct", 0.99),
    ("999pct", 0.999),
    ("9999pct", 0.9999),
    ("Max", 1.0),
];

/// One time, by their name, in their unit.
struct Time {
    name: &'static str,
    ns_per_unit: f64,
    is_whole: bool,
    of: fn(&Interval) -> &Histogram<u64>,
}

const TIMES: [Time; 3] = [
    Time {
        name: "PublishLatency",
        ns_per_unit: NS_PER_MS,
        is_whole: false,
        of: |interval| &interval.service,
    },
    Time {
        name: "PublishDelayLatency",
        ns_per_unit: NS_PER_US,
        is_whole: true,
        of: |interval| &interval.delay,
    },
    Time {
        name: "EndToEndLatency",
        ns_per_unit: NS_PER_MS,
        is_whole: false,
        of: |interval| &interval.end_to_end,
    },
];

/// A text for each row that has intervals: `01-name-Millrace.json`.
pub fn files(report: &Report) -> Vec<NamedText> {
    let rows = report.rows.iter().enumerate();
    rows.filter(|(_, row)| !row.outcome().intervals.is_empty())
        .map(|(index, row)| NamedText {
            name: format!("{}-{DRIVER}.json", row_slug(index, &row.name)),
            text: format!("{:#}\n", result(row)),
        })
        .collect()
}

fn result(row: &Row) -> Value {
    let settings = &row.settings;
    let intervals = &row.outcome().intervals;
    let rates = |is_done: bool| -> Vec<f64> {
        let rate = |interval: &Interval| interval.messages as f64 / interval.seconds;
        let rates = intervals.iter().map(rate);
        rates.map(|rate| if is_done { rate } else { 0.0 }).collect()
    };
    let fields = json!({
        "workload": row.name,
        "driver": DRIVER,
        "messageSize": settings.message_bytes,
        "topics": 1,
        "partitions": settings.partitions,
        "producersPerTopic": if produces(settings.kind) { settings.connections } else { 0 },
        "consumersPerTopic": if consumes(settings.kind) { settings.readers } else { 0 },
        "publishRate": rates(produces(settings.kind)),
        // A run with an error is none: there is no row of it.
        "publishErrorRate": vec![0.0; intervals.len()],
        "consumeRate": rates(consumes(settings.kind)),
    });
    let Value::Object(mut fields) = fields else {
        return fields;
    };
    for time in &TIMES {
        add_series(&mut fields, time, intervals);
        add_aggregate(&mut fields, time, intervals);
    }
    Value::Object(fields)
}

fn produces(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Produce | Kind::Tail | Kind::EndToEnd | Kind::Queue
    )
}

fn consumes(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::CatchUp | Kind::Tail | Kind::EndToEnd | Kind::Queue
    )
}

impl Time {
    /// A value in their unit; whole where theirs is a `long`.
    fn value(&self, ns: f64) -> Value {
        let value = ns / self.ns_per_unit;
        if self.is_whole {
            json!(value.round() as u64)
        } else {
            json!(value)
        }
    }

    fn average(&self, histogram: &Histogram<u64>) -> Value {
        let mean = if histogram.is_empty() {
            0.0
        } else {
            histogram.mean()
        };
        json!(mean / self.ns_per_unit)
    }

    fn quantile(&self, histogram: &Histogram<u64>, quantile: f64) -> Value {
        self.value(histogram.value_at_quantile(quantile) as f64)
    }
}

/// `publishLatency99pct`: a value for each interval.
fn add_series(fields: &mut Map<String, Value>, time: &Time, intervals: &[Interval]) {
    let mut name = time.name.to_owned();
    name[..1].make_ascii_lowercase();
    let histograms = || intervals.iter().map(time.of);
    let averages: Vec<Value> = histograms().map(|one| time.average(one)).collect();
    fields.insert(format!("{name}Avg"), Value::Array(averages));
    for (suffix, quantile) in PERCENTILES {
        let values: Vec<Value> = histograms()
            .map(|one| time.quantile(one, quantile))
            .collect();
        fields.insert(format!("{name}{suffix}"), Value::Array(values));
    }
}

/// `aggregatedPublishLatency99pct`: one value for all, and the map of quantiles, in percent.
fn add_aggregate(fields: &mut Map<String, Value>, time: &Time, intervals: &[Interval]) {
    let all = sum(intervals.iter().map(time.of));
    let name = format!("aggregated{}", time.name);
    fields.insert(format!("{name}Avg"), time.average(&all));
    for (suffix, quantile) in PERCENTILES {
        fields.insert(format!("{name}{suffix}"), time.quantile(&all, quantile));
    }
    let mut quantiles = Map::new();
    for step in all.iter_quantiles(QUANTILE_TICKS) {
        let percent = step.quantile_iterated_to() * 100.0;
        let value = time.value(step.value_iterated_to() as f64);
        quantiles.insert(format!("{percent:?}"), value);
    }
    fields.insert(format!("{name}Quantiles"), Value::Object(quantiles));
}

fn sum<'a>(mut parts: impl Iterator<Item = &'a Histogram<u64>>) -> Histogram<u64> {
    let Some(first) = parts.next() else {
        return Histogram::new(3).expect("3 digits are allowed");
    };
    parts.fold(first.clone(), |mut sum, part| {
        sum.add(part).expect("a run's histograms have equal bounds");
        sum
    })
}

#[cfg(test)]
mod tests {
    //! Goal: a reader of `TestResult` finds each of its fields, of its type, with values of ours. Method: the list of
    //! fields as that class has it, over made-up rows.

    use super::*;
    use crate::bench::output::synthetic;

    fn first_two() -> Vec<Value> {
        let files = files(&synthetic::report());
        assert_eq!(files.len(), 2, "a row without intervals has no file");
        let parse = |file: &NamedText| serde_json::from_str(&file.text).expect("JSON");
        files.iter().map(parse).collect()
    }

    #[test]
    fn every_field_of_theirs_is_there_and_of_its_type() {
        for result in first_two() {
            for name in ["workload", "driver"] {
                assert!(result[name].is_string(), "{name}");
            }
            for name in [
                "messageSize",
                "topics",
                "partitions",
                "producersPerTopic",
                "consumersPerTopic",
            ] {
                assert!(result[name].is_u64(), "{name}");
            }
            assert!(result["backlog"].is_null(), "nobody measured it");
            for name in ["publishRate", "publishErrorRate", "consumeRate"] {
                assert_eq!(result[name].as_array().map(Vec::len), Some(20), "{name}");
            }
            for time in &TIMES {
                for suffix in ["Avg"]
                    .into_iter()
                    .chain(PERCENTILES.map(|(suffix, _)| suffix))
                {
                    let aggregate = &result[format!("aggregated{}{suffix}", time.name)];
                    assert!(aggregate.is_number(), "{}{suffix}", time.name);
                    assert_eq!(aggregate.is_u64(), time.is_whole && suffix != "Avg");
                    let series = format!(
                        "{}{}{suffix}",
                        time.name[..1].to_lowercase(),
                        &time.name[1..]
                    );
                    assert_eq!(
                        result[&series].as_array().map(Vec::len),
                        Some(20),
                        "{series}"
                    );
                }
                let quantiles = &result[format!("aggregated{}Quantiles", time.name)];
                assert!(quantiles.is_object(), "{}", time.name);
            }
        }
    }

    #[test]
    fn publish_latency_counts_from_the_send_and_the_delay_holds_the_stall() {
        let result = &first_two()[1];
        let stalled = |name: &str| result[name][10].as_f64().expect("a number");
        assert!(stalled("publishLatencyMax") < 10.0, "milliseconds");
        assert!(
            stalled("publishDelayLatencyMax") > 199_000.0,
            "microseconds"
        );
        assert!(stalled("endToEndLatencyMax") > 199.0, "milliseconds");
    }

    #[test]
    fn quantiles_are_percent_and_end_at_a_hundred() {
        let result = &first_two()[0];
        let quantiles = result["aggregatedPublishLatencyQuantiles"]
            .as_object()
            .expect("a map");
        let mut percents: Vec<f64> = quantiles
            .keys()
            .map(|key| key.parse().expect("a number"))
            .collect();
        percents.sort_by(f64::total_cmp);
        assert_eq!(percents.last(), Some(&100.0));
        assert!(percents.len() > 500 && percents[0] >= 0.0);
        assert_eq!(quantiles["100.0"], result["aggregatedPublishLatencyMax"]);
    }
}
