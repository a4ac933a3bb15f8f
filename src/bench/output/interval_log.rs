//! HdrHistogram's interval log, version 2: a histogram of nanoseconds for each interval, row and time, for
//! HistogramLogProcessor and its kin (`-outputValueUnitRatio 1000000` shows milliseconds).
//!
//! A line's tag is its row and time: `01-name.response`. Its start counts from the begin of what counts in its own row:
//! rows run one after the other, and their times are told apart by the tag alone.

use crate::bench::outcome::{Interval, Report};
use crate::bench::output::row_slug;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};
use std::io::{Error, Result, Write};
use std::time::{Duration, UNIX_EPOCH};

/// The column of the greatest value is in milliseconds, the histograms in nanoseconds.
const NS_PER_MS: f64 = 1e6;

/// Writes the log to `writer`; an error is the writer's.
pub fn write(report: &Report, writer: &mut impl Write) -> Result<()> {
    let mut serializer = V2DeflateSerializer::new();
    let started = UNIX_EPOCH + Duration::from_millis(report.started_wall_ms.max(0) as u64);
    let mut log = IntervalLogWriterBuilder::new()
        .add_comment("[Histogram log format version 1.3]")
        .add_comment(&format!(
            "[millrace {}, values in ns]",
            report.broker.version
        ))
        .with_start_time(started)
        .with_base_time(started)
        .with_max_value_divisor(NS_PER_MS)
        .begin_log_with(writer, &mut serializer)?;
    for (index, row) in report.rows.iter().enumerate() {
        let name = row_slug(index, &row.name);
        for interval in &row.outcome().intervals {
            let (at, length) = span(interval)?;
            for (time, histogram) in times(interval) {
                let tag = format!("{name}.{time}");
                let tag = Tag::new(&tag).ok_or_else(|| Error::other("a slug is a tag"))?;
                log.write_histogram(histogram, at, length, Some(tag))
                    .map_err(|error| Error::other(error.to_string()))?;
            }
        }
    }
    Ok(())
}

fn span(interval: &Interval) -> Result<(Duration, Duration)> {
    let at = Duration::try_from_secs_f64(interval.at_s).map_err(Error::other)?;
    let length = Duration::try_from_secs_f64(interval.seconds).map_err(Error::other)?;
    Ok((at, length))
}

fn times(interval: &Interval) -> impl Iterator<Item = (&'static str, &Histogram<u64>)> {
    [
        ("response", &interval.response),
        ("service", &interval.service),
        ("end-to-end", &interval.end_to_end),
    ]
    .into_iter()
    .filter(|(_, histogram)| !histogram.is_empty())
}

#[cfg(test)]
mod tests {
    //! Goal: the log holds every interval of every row, and its histograms are the report's. Method: read back with
    //! the library's own reader, added up, and held against the run; tests/report has an independent reader.

    use super::*;
    use crate::bench::output::synthetic;
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    #[test]
    fn what_is_read_back_adds_up_to_the_run() {
        let report = synthetic::report();
        let mut text = Vec::new();
        write(&report, &mut text).expect("memory takes it");
        let mut sum = synthetic::histogram();
        let mut intervals = 0;
        for entry in IntervalLogIterator::new(&text) {
            let LogEntry::Interval(line) = entry.expect("a line") else {
                continue;
            };
            let tag = line.tag().expect("each has one");
            if !(tag.starts_with("02-") && tag.ends_with(".response")) {
                continue;
            }
            intervals += 1;
            let bytes = decode_base64(line.encoded_histogram());
            let part: Histogram<u64> = Deserializer::new()
                .deserialize(&mut bytes.as_slice())
                .expect("a histogram");
            assert!((line.max() * NS_PER_MS - part.max() as f64).abs() < 1e3);
            sum.add(&part).expect("equal bounds");
        }
        let outcome = report.rows[1].outcome();
        assert_eq!(intervals, outcome.intervals.len());
        assert_eq!(sum, outcome.response);
    }

    fn decode_base64(text: &str) -> Vec<u8> {
        const LETTERS: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut bits = 0u32;
        let mut count = 0;
        let mut bytes = Vec::new();
        for letter in text.trim_end_matches('=').bytes() {
            let value = LETTERS.iter().position(|&known| known == letter);
            bits = bits << 6 | value.expect("base64") as u32;
            count += 6;
            if count >= 8 {
                count -= 8;
                bytes.push((bits >> count) as u8);
            }
        }
        bytes
    }
}
