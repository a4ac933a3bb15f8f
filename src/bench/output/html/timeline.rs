//! A run over time: what it moved, and how long requests took.

use super::chart::{Axis, Chart, Line};
use super::scale::Scale;
use super::text::{quantity, time_ms};
use crate::bench::outcome::{Interval, Outcome};
use hdrhistogram::Histogram;

const SIZE: (f64, f64) = (400.0, 270.0);
/// So that the line does not lie on the frame.
const HEADROOM: f64 = 1.05;
const NS_PER_MS: f64 = 1e6;

/// Messages a second of each interval, from 0.
pub(super) fn throughput(outcome: &Outcome) -> Option<Chart> {
    let points = points(&outcome.intervals, |interval| {
        Some(interval.messages as f64 / interval.seconds)
    });
    let greatest = points.iter().map(|point| point.1).fold(0.0, f64::max);
    let mean = quantity(outcome.messages_per_s(), "msg/s");
    (!points.is_empty()).then(|| Chart {
        title: "Throughput over time".to_owned(),
        note: format!("{mean} over the whole run."),
        x: seconds(&outcome.intervals),
        y: Axis {
            scale: Scale::linear(greatest * HEADROOM),
            label: "messages a second".to_owned(),
            unit: "msg/s",
        },
        lines: vec![Line {
            label: "throughput".to_owned(),
            colour: 0,
            is_thin: false,
            points,
            words: format!("throughput: {mean}"),
        }],
        size: SIZE,
        has_legend: false,
        is_filled: true,
    })
}

/// The percentiles that are followed over time.
const FOLLOWED: [(&str, f64); 3] = [("max", 1.0), ("p99", 0.99), ("p50", 0.5)];

/// Response time of each interval.
pub(super) fn latency(outcome: &Outcome) -> Option<Chart> {
    let lines: Vec<Line> = FOLLOWED
        .iter()
        .enumerate()
        .map(|(index, (name, quantile))| Line {
            label: (*name).to_owned(),
            colour: FOLLOWED.len() - 1 - index,
            is_thin: *name == "max",
            points: points(&outcome.intervals, |interval| {
                ms(&interval.response, *quantile)
            }),
            words: worst(name, *quantile, &outcome.intervals),
        })
        .filter(|line| !line.points.is_empty())
        .collect();
    let all = || {
        lines
            .iter()
            .flat_map(|line| &line.points)
            .map(|point| point.1)
    };
    let scale = Scale::log(
        all().fold(f64::INFINITY, f64::min),
        all().fold(0.0, f64::max),
    );
    (!lines.is_empty()).then(|| Chart {
        title: "Response time over time".to_owned(),
        note: "Of the requests that were answered in each interval.".to_owned(),
        x: seconds(&outcome.intervals),
        y: Axis {
            scale,
            label: "time".to_owned(),
            unit: "ms",
        },
        lines,
        size: SIZE,
        has_legend: true,
        is_filled: false,
    })
}

fn ms(histogram: &Histogram<u64>, quantile: f64) -> Option<f64> {
    let ns = histogram.value_at_quantile(quantile) as f64;
    (!histogram.is_empty()).then_some(ns / NS_PER_MS)
}

fn worst(name: &str, quantile: f64, intervals: &[Interval]) -> String {
    let worst = intervals
        .iter()
        .filter_map(|interval| ms(&interval.response, quantile))
        .fold(0.0, f64::max);
    format!("{name} of each interval, {} at worst", time_ms(worst))
}

/// The middle of each interval that has a value.
fn points(intervals: &[Interval], value: impl Fn(&Interval) -> Option<f64>) -> Vec<(f64, f64)> {
    intervals
        .iter()
        .filter_map(|interval| Some((interval.at_s + interval.seconds / 2.0, value(interval)?)))
        .filter(|(_, value)| value.is_finite())
        .collect()
}

fn seconds(intervals: &[Interval]) -> Axis {
    let end = intervals
        .last()
        .map_or(1.0, |last| last.at_s + last.seconds);
    Axis {
        scale: Scale::linear_to(end),
        label: "seconds".to_owned(),
        unit: "s",
    }
}
