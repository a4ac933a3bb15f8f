//! Latencies as they are reported: recorded one by one, never averaged.

use crate::cli::print::time_text;
use hdrhistogram::Histogram;
use std::time::Duration;

/// The percentiles that are printed.
pub const PERCENTILES: [(&str, f64); 4] =
    [("p50", 50.0), ("p90", 90.0), ("p99", 99.0), ("p99.9", 99.9)];

/// An hour: a longer time is recorded as this.
const NANOS_MAX: u64 = 3_600_000_000_000;

/// Times of one kind, in nanoseconds at three significant digits.
#[derive(Clone, Debug)]
pub struct Latency {
    histogram: Histogram<u64>,
}

impl Default for Latency {
    fn default() -> Self {
        Self::new()
    }
}

impl Latency {
    /// Nothing recorded yet.
    pub fn new() -> Self {
        let histogram = Histogram::new_with_bounds(1, NANOS_MAX, 3);
        Self {
            histogram: histogram.expect("the bounds are within what it offers"),
        }
    }

    /// Records one time.
    pub fn record(&mut self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.histogram.saturating_record(nanos);
    }

    /// How many times were recorded.
    pub fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// The time within which this many percent stayed.
    pub fn percentile(&self, percent: f64) -> Duration {
        Duration::from_nanos(self.histogram.value_at_percentile(percent))
    }

    /// The longest.
    pub fn max(&self) -> Duration {
        Duration::from_nanos(self.histogram.max())
    }

    /// `p50 83 us  p90 ...  max ...`.
    pub fn line(&self) -> String {
        let row = PERCENTILES
            .iter()
            .map(|(name, percent)| format!("{name} {}", time_text(self.percentile(*percent))));
        let all: Vec<String> = row
            .chain([format!("max {}", time_text(self.max()))])
            .collect();
        all.join("  ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_come_from_what_was_recorded() {
        let mut latency = Latency::new();
        (1..=1000u64).for_each(|micros| latency.record(Duration::from_micros(micros)));
        assert_eq!(latency.count(), 1000);
        let p99 = latency.percentile(99.0).as_micros();
        assert!((989..=992).contains(&p99), "{p99}");
        assert_eq!(latency.max().as_micros() / 10, 100);
        assert!(latency.line().starts_with("p50 50"), "{}", latency.line());
        assert!(latency.line().contains("p99.9 ") && latency.line().contains("max 1.00 ms"));
        assert!(Latency::new().line().starts_with("p50 0 us"));
    }
}
