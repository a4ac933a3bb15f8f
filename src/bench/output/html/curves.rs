//! Percentile curves: the time that a share of all requests stays below, the share on the axis of nines.

use super::chart::{Axis, Chart, Line};
use super::scale::Scale;
use super::text::time_ms;
use crate::bench::outcome::{Report, Row};
use crate::bench::output::{QUANTILES, distributions, omission};
use hdrhistogram::Histogram;

/// Points per halving of what is left to 100 %: smooth at any width of a screen.
const TICKS_PER_HALF_DISTANCE: u32 = 8;
const NS_PER_MS: f64 = 1e6;

/// The curves of all rows: those of open loops, then those of closed ones, which must not be read against each other.
pub(super) fn section(report: &Report) -> String {
    let mut figures = String::new();
    for (is_open, title) in [
        (true, "Open loop: response time"),
        (false, "Closed loop: service time"),
    ] {
        let rows: Vec<(usize, &Row)> = report
            .rows
            .iter()
            .enumerate()
            .filter(|(_, row)| row.settings.is_open_loop() == is_open)
            .filter(|(_, row)| !row.outcome().response.is_empty())
            .collect();
        if let Some((_, first)) = rows.first() {
            let lines = rows
                .iter()
                .map(|(index, row)| line(row.name.clone(), *index, false, &row.outcome().response));
            let note = sentence(omission(&first.settings));
            figures.push_str(&chart(title, &note, lines.collect(), (560.0, 360.0)).figure());
        }
    }
    if figures.is_empty() {
        return figures;
    }
    format!(
        "<section><h2 id=\"percentiles\">Latency by percentile</h2>\n<p class=\"lead\">Both axes are logarithmic: \
         each step to the right is one nine more. A curve ends at the slowest request.</p>\n\
         <div class=\"wide\">\n{figures}</div></section>\n"
    )
}

fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase());
    first.into_iter().chain(letters).chain(['.']).collect()
}

/// The curves of one row: every time that it has.
pub(super) fn of_row(row: &Row) -> Option<Chart> {
    let is_open = row.settings.is_open_loop();
    // In a closed loop both are the same curve; one of them is enough.
    let lines: Vec<Line> = distributions(row.outcome())
        .into_iter()
        .filter(|(time, _)| is_open || *time != "response")
        .enumerate()
        .map(|(index, (time, histogram))| {
            line(label(time), index, time == "service" && is_open, histogram)
        })
        .collect();
    let note = match is_open {
        true => "Open loop: response time counts from when a request was due.",
        false => "Closed loop: a stall shows once per place in flight.",
    };
    (!lines.is_empty()).then(|| chart("Percentiles", note, lines, (400.0, 270.0)))
}

fn label(time: &str) -> String {
    match time {
        "end-to-end" => "end to end".to_owned(),
        time => format!("{time} time"),
    }
}

fn chart(title: &str, note: &str, lines: Vec<Line>, size: (f64, f64)) -> Chart {
    let points = || lines.iter().flat_map(|line| &line.points);
    let nines = points().map(|point| point.0).fold(1.0, f64::max);
    let least = points().map(|point| point.1).fold(f64::INFINITY, f64::min);
    let greatest = points().map(|point| point.1).fold(0.0, f64::max);
    Chart {
        title: title.to_owned(),
        note: note.to_owned(),
        x: Axis {
            scale: Scale::Nines {
                nines: nines.ceil().min(7.0),
            },
            label: "percentile".to_owned(),
            unit: "percent",
        },
        y: Axis {
            scale: Scale::log(least, greatest),
            label: "time".to_owned(),
            unit: "ms",
        },
        lines,
        size,
        has_legend: true,
        is_filled: false,
    }
}

fn line(label: String, colour: usize, is_thin: bool, histogram: &Histogram<u64>) -> Line {
    Line {
        words: format!("{label}: {}", words(histogram)),
        label,
        colour,
        is_thin,
        points: points(histogram),
    }
}

fn words(histogram: &Histogram<u64>) -> String {
    let mut parts: Vec<String> = QUANTILES
        .iter()
        .map(|(name, quantile)| {
            let ms = histogram.value_at_quantile(*quantile) as f64 / NS_PER_MS;
            format!("{name} {}", time_ms(ms))
        })
        .collect();
    parts.push(format!(
        "max {}",
        time_ms(histogram.max() as f64 / NS_PER_MS)
    ));
    parts.join(", ")
}

/// Nines and milliseconds. The slowest of n requests is all that is known beyond 1 - 1/n, so the curve ends there.
pub(super) fn points(histogram: &Histogram<u64>) -> Vec<(f64, f64)> {
    let end = (histogram.len() as f64).log10();
    let mut points: Vec<(f64, f64)> = histogram
        .iter_quantiles(TICKS_PER_HALF_DISTANCE)
        .map(|step| {
            let nines = -(1.0 - step.quantile_iterated_to()).log10();
            (nines, step.value_iterated_to() as f64 / NS_PER_MS)
        })
        .take_while(|(nines, _)| *nines < end)
        .collect();
    points.push((end, histogram.max() as f64 / NS_PER_MS));
    points
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::output::synthetic;

    #[test]
    fn a_curve_rises_from_the_least_to_the_greatest() {
        let report = synthetic::report();
        let histogram = &report.rows[1].outcome().response;
        let points = points(histogram);
        assert!(points.len() > 80);
        assert!(points.is_sorted_by(|a, b| a.0 <= b.0 && a.1 <= b.1));
        let (nines, ms) = points[points.len() - 1];
        assert_eq!(ms, histogram.max() as f64 / NS_PER_MS);
        assert!((nines - (histogram.len() as f64).log10()).abs() < 1e-9);
    }

    #[test]
    fn one_request_is_a_point() {
        let mut histogram = synthetic::histogram();
        histogram.saturating_record(1_000_000);
        assert_eq!(points(&histogram).len(), 1);
    }

    #[test]
    fn a_closed_loop_shows_one_curve_an_open_one_all() {
        let report = synthetic::report();
        let curves = |row: usize| of_row(&report.rows[row]).map(|chart| chart.lines.len());
        assert_eq!((curves(0), curves(1), curves(2)), (Some(1), Some(3), None));
    }
}
