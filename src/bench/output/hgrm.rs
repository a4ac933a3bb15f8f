//! HdrHistogram's percentile text (`.hgrm`), as its Java original prints it and its plotters read it. Values are
//! milliseconds, with whole nanoseconds told: stages of a broker are shorter than the original's three decimals.
//!
//! ```text
//!        Value     Percentile TotalCount 1/(1-Percentile)
//!
//!     0.083967 0.000000000000          1           1.00
//!     ..
//!     4.198399 1.000000000000      40000
//! #[Mean    =     0.251020, StdDeviation   =     0.121200]
//! #[Max     =     4.198399, Total count    =        40000]
//! #[Buckets =           32, SubBuckets     =         2048]
//! ```

use crate::bench::outcome::Report;
use crate::bench::output::{NamedText, distributions, row_slug};
use hdrhistogram::Histogram;
use std::fmt::Write;

/// Lines per halving of what is left up to 100 %: the original's default.
const TICKS_PER_HALF_DISTANCE: u32 = 5;
/// The histograms hold nanoseconds.
const NS_PER_MS: f64 = 1e6;

/// A text for each time of each row that has any: `01-name-response.hgrm`.
pub fn files(report: &Report) -> Vec<NamedText> {
    let mut files = Vec::new();
    for (index, row) in report.rows.iter().enumerate() {
        for (time, histogram) in distributions(row.outcome()) {
            files.push(NamedText {
                name: format!("{}-{time}.hgrm", row_slug(index, &row.name)),
                text: text(histogram),
            });
        }
    }
    files
}

/// The text of one histogram of nanoseconds.
pub fn text(histogram: &Histogram<u64>) -> String {
    let mut text = format!(
        "{:>12} {:>14} {:>10} {:>14}\n\n",
        "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
    );
    for line in lines(histogram) {
        let value_ms = line.value_ns as f64 / NS_PER_MS;
        let _ = write!(
            text,
            "{value_ms:12.6} {:.12} {:10}",
            line.quantile, line.count
        );
        let _ = match line.quantile < 1.0 {
            true => writeln!(text, " {:14.2}", 1.0 / (1.0 - line.quantile)),
            false => writeln!(text),
        };
    }
    text.push_str(&footer(histogram));
    text
}

struct Line {
    value_ns: u64,
    quantile: f64,
    count: u64,
}

/// The original's walk: each level is told at the first value that reaches it, so a value that reaches several is told
/// several times; the last value once, and then again at 100 %. The library's own iterator leaves repetitions out, and
/// the files of two tools would differ in their lines.
fn lines(histogram: &Histogram<u64>) -> Vec<Line> {
    let total = histogram.len();
    let (mut quantile, mut count) = (0.0, 0);
    let mut lines = Vec::new();
    for step in histogram.iter_recorded() {
        count += step.count_at_value();
        let reached = count as f64 / total as f64;
        while reached >= quantile {
            lines.push(Line {
                value_ns: histogram.highest_equivalent(step.value_iterated_to()),
                quantile,
                count,
            });
            quantile += tick_after(quantile);
            if count == total {
                break;
            }
        }
    }
    let last = lines.last().map(|line| line.value_ns);
    lines.extend(last.map(|value_ns| Line {
        value_ns,
        quantile: 1.0,
        count: total,
    }));
    lines
}

/// Ticks halve in width whenever what is left to 1 has halved.
fn tick_after(quantile: f64) -> f64 {
    let halvings = (1.0 / (1.0 - quantile)).log2().floor() as i32 + 1;
    1.0 / (f64::from(TICKS_PER_HALF_DISTANCE) * 2f64.powi(halvings))
}

fn footer(histogram: &Histogram<u64>) -> String {
    let sub_buckets = 2 * 10u64.pow(u32::from(histogram.sigfig()));
    format!(
        "#[Mean    = {:12.6}, StdDeviation   = {:12.6}]\n#[Max     = {:12.6}, Total count    = {:12}]\n\
         #[Buckets = {:12}, SubBuckets     = {:12}]\n",
        histogram.mean() / NS_PER_MS,
        histogram.stdev() / NS_PER_MS,
        histogram.max() as f64 / NS_PER_MS,
        histogram.len(),
        histogram.buckets(),
        sub_buckets.next_power_of_two(),
    )
}

#[cfg(test)]
mod tests {
    //! Goal: plotters read it, and read the truth. Method: a strict parser of the format, written from its description
    //! and not from the writer; each line is held against the histogram. tests/report has an independent one.

    use super::*;
    use crate::bench::output::synthetic;

    struct Read {
        value_ms: f64,
        quantile: f64,
        count: u64,
        inverse: Option<f64>,
    }

    fn parse(text: &str) -> (Vec<Read>, Vec<&str>) {
        let mut lines = text.lines();
        let header: Vec<&str> = lines.next().expect("a header").split_whitespace().collect();
        assert_eq!(
            header,
            ["Value", "Percentile", "TotalCount", "1/(1-Percentile)"]
        );
        assert_eq!(lines.next(), Some(""));
        let (comments, data): (Vec<&str>, Vec<&str>) = lines.partition(|l| l.starts_with("#["));
        let data = data.iter().map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let inverse = fields.get(3).map(|text| text.parse().expect("a number"));
            Read {
                value_ms: fields[0].parse().expect("a number"),
                quantile: fields[1].parse().expect("a number"),
                count: fields[2].parse().expect("a count"),
                inverse,
            }
        });
        (data.collect(), comments)
    }

    #[test]
    fn every_line_is_true_of_the_histogram() {
        let report = synthetic::report();
        let response = &report.rows[1].outcome().response;
        let text = text(response);
        let (lines, comments) = parse(&text);
        assert!(lines.len() > 40, "{}", lines.len());
        assert!(lines.is_sorted_by(|a, b| {
            a.value_ms <= b.value_ms && a.quantile <= b.quantile && a.count <= b.count
        }));
        for line in &lines {
            let value = (line.value_ms * 1e6).round() as u64;
            assert_eq!(line.count, response.count_between(0, value), "{value}");
            let inverse = line.inverse.unwrap_or(f64::INFINITY);
            assert!((inverse * (1.0 - line.quantile) - 1.0).abs() < 0.01 || line.inverse.is_none());
        }
        let last = lines.last().expect("lines");
        assert_eq!((last.quantile, last.count), (1.0, response.len()));
        assert_eq!((last.value_ms * 1e6).round() as u64, response.max());
        assert!(last.inverse.is_none());
        assert_eq!(comments.len(), 3);
        assert!(comments[1].contains(&format!("Total count    = {:12}]", response.len())));
    }

    #[test]
    fn each_time_of_each_row_has_a_file_of_its_own() {
        let names: Vec<String> = files(&synthetic::report())
            .into_iter()
            .map(|file| file.name)
            .collect();
        assert_eq!(
            names,
            [
                "01-1-100-b-x-1000-8-x-4-written-response.hgrm",
                "01-1-100-b-x-1000-8-x-4-written-service.hgrm",
                "02-11-script-alert-1-script-end-to-end-response.hgrm",
                "02-11-script-alert-1-script-end-to-end-service.hgrm",
                "02-11-script-alert-1-script-end-to-end-end-to-end.hgrm",
            ]
        );
    }

    #[test]
    fn a_histogram_without_a_value_is_a_text_without_a_line() {
        let text = text(&synthetic::histogram());
        let (lines, comments) = parse(&text);
        assert_eq!((lines.len(), comments.len()), (0, 3));
    }
}
