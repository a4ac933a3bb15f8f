//! What the demo tells: the figures, how each came to be, and whether what came out is what went in.

use crate::cli::demo::drive::{BATCH_BYTES, IN_FLIGHT_MAX, SAMPLE_EVERY};
use crate::cli::demo::feed::LineDigest;
use crate::cli::demo::latency::{Latency, PERCENTILES};
use crate::cli::exit::{Exit, Failure};
use crate::cli::print::{Output, bytes_text, json, per_second, table, time_text};
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// Lines that went by in a time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Flow {
    /// How many.
    pub lines: u64,
    /// Their bytes, without line ends.
    pub bytes: u64,
    /// In how long.
    pub time: Duration,
}

/// All that one run measured.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Acks of lines that were sent one at a time.
    pub alone: Latency,
    /// Acks of lines that were sent as fast as they went.
    pub loaded: Latency,
    /// The latter, all of them.
    pub produced: Flow,
    /// Everything, read back.
    pub consumed: Flow,
    /// Of every line sent.
    pub digest_in: LineDigest,
    /// Of every line read.
    pub digest_out: LineDigest,
}

/// Prints what was measured.
#[derive(Clone, Debug)]
pub struct Report {
    measured: Measured,
    sha256_in: String,
    sha256_out: String,
}

impl Report {
    /// Of one run.
    pub fn new(measured: Measured) -> Self {
        let (sha256_in, sha256_out) = (measured.digest_in.hex(), measured.digest_out.hex());
        Self {
            measured,
            sha256_in,
            sha256_out,
        }
    }

    fn is_equal(&self) -> bool {
        let (sent, read) = (&self.measured.digest_in, &self.measured.digest_out);
        self.sha256_in == self.sha256_out && (sent.lines, sent.bytes) == (read.lines, read.bytes)
    }

    /// A failure unless what came out is what went in.
    pub fn verdict(&self) -> Result<(), Failure> {
        if self.is_equal() {
            return Ok(());
        }
        let (sent, read) = (&self.measured.digest_in, &self.measured.digest_out);
        let line = format!(
            "what came out is not what went in: {} lines, {} bytes in, {} lines, {} bytes out; please report it",
            sent.lines, sent.bytes, read.lines, read.bytes
        );
        Err(Failure::new(Exit::Failed, line))
    }

    /// For people or programs.
    pub fn print(&self, output: Output) -> String {
        match output {
            Output::Json => json(&self.for_programs()),
            Output::Table => self.for_people(),
        }
    }

    fn for_people(&self) -> String {
        let measured = &self.measured;
        let flows = [
            flow_row("produce", &measured.produced),
            flow_row("consume", &measured.consumed),
        ];
        let flows = table(
            &["THROUGHPUT", "LINES", "BYTES", "TIME", "LINES/S", "MB/S"],
            &[1, 2, 3, 4, 5],
            &flows,
        );
        let mut header = vec!["ACK LATENCY"];
        header.extend(PERCENTILES.iter().map(|(name, _)| *name));
        header.extend(["max", "of"]);
        let right: Vec<usize> = (1..header.len()).collect();
        let latencies = [
            latency_row("one at a time", &measured.alone),
            latency_row("at full load", &measured.loaded),
        ];
        let latencies = table(&header, &right, &latencies);
        format!(
            "\n{flows}\n{latencies}\n{}\n\n{}",
            self.comparison(),
            paths()
        )
    }

    fn comparison(&self) -> String {
        let (sent, read) = (&self.measured.digest_in, &self.measured.digest_out);
        let verdict = if self.is_equal() {
            "EQUAL"
        } else {
            "DIFFERENT"
        };
        format!(
            "{verdict}: {} lines in, sha256 {}\n{:w$}  {} lines out, sha256 {}",
            grouped(sent.lines),
            self.sha256_in,
            "",
            grouped(read.lines),
            self.sha256_out,
            w = verdict.len(),
        )
    }

    fn for_programs(&self) -> Programs<'_> {
        let measured = &self.measured;
        Programs {
            equal: self.is_equal(),
            sha256_in: &self.sha256_in,
            sha256_out: &self.sha256_out,
            lines: measured.digest_in.lines,
            bytes: measured.digest_in.bytes,
            produce: FlowFields::new(&measured.produced),
            consume: FlowFields::new(&measured.consumed),
            ack_one_at_a_time: LatencyFields::new(&measured.alone),
            ack_at_full_load: LatencyFields::new(&measured.loaded),
        }
    }
}

fn flow_row(name: &str, flow: &Flow) -> Vec<String> {
    vec![
        name.to_owned(),
        grouped(flow.lines),
        bytes_text(flow.bytes),
        time_text(flow.time),
        grouped(per_second(flow.lines, flow.time) as u64),
        format!("{:.0}", per_second(flow.bytes, flow.time) / 1e6),
    ]
}

fn latency_row(name: &str, latency: &Latency) -> Vec<String> {
    let mut row = vec![name.to_owned()];
    row.extend(
        PERCENTILES
            .iter()
            .map(|(_, percent)| time_text(latency.percentile(*percent))),
    );
    row.extend([time_text(latency.max()), grouped(latency.count())]);
    row
}

/// How each figure came to be.
fn paths() -> String {
    let batch = bytes_text(BATCH_BYTES as u64);
    format!(
        "How each figure was measured, all in one process, over TCP on the loopback, acks at `written`:
  produce        first line to last ack; the client reads and hashes each line, fills batches of {batch}, has {IN_FLIGHT_MAX}
                 in flight; the broker checks each batch and acks it when its direct write to the disk is complete
  consume        first fetch to last line, right after producing; the broker sends batches from memory and file pages,
                 the client checks their checksums, hashes each line
  one at a time  hand one line over, wait for its ack, then the next: the client's own time is in it
  at full load   one line in {SAMPLE_EVERY} of `produce`, from when the batch takes it in until the client has the batch's ack;
                 how long a line waits before that, for room, is not in it
  sha256         over each line with its length, in order, when it is sent and when it is read\n"
    )
}

/// `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// The report for programs.
#[derive(Serialize)]
struct Programs<'a> {
    equal: bool,
    sha256_in: &'a str,
    sha256_out: &'a str,
    lines: u64,
    bytes: u64,
    produce: FlowFields,
    consume: FlowFields,
    ack_one_at_a_time: LatencyFields,
    ack_at_full_load: LatencyFields,
}

#[derive(Serialize)]
struct FlowFields {
    lines: u64,
    bytes: u64,
    seconds: f64,
    lines_per_second: f64,
    bytes_per_second: f64,
}

impl FlowFields {
    fn new(flow: &Flow) -> Self {
        Self {
            lines: flow.lines,
            bytes: flow.bytes,
            seconds: flow.time.as_secs_f64(),
            lines_per_second: per_second(flow.lines, flow.time),
            bytes_per_second: per_second(flow.bytes, flow.time),
        }
    }
}

#[derive(Serialize)]
struct LatencyFields {
    samples: u64,
    max_us: f64,
    percentiles_us: BTreeMap<&'static str, f64>,
}

impl LatencyFields {
    fn new(latency: &Latency) -> Self {
        let micros = |time: Duration| time.as_nanos() as f64 / 1e3;
        let percentiles = PERCENTILES.iter();
        Self {
            samples: latency.count(),
            max_us: micros(latency.max()),
            percentiles_us: percentiles
                .map(|(name, percent)| (*name, micros(latency.percentile(*percent))))
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(sent: &[&[u8]], read: &[&[u8]]) -> Report {
        let digest = |lines: &[&[u8]]| {
            let mut digest = LineDigest::default();
            lines.iter().for_each(|line| digest.take(line));
            digest
        };
        let mut latency = Latency::new();
        latency.record(Duration::from_micros(50));
        let flow = Flow {
            lines: 3_000_000,
            bytes: 300_000_000,
            time: Duration::from_secs(2),
        };
        Report::new(Measured {
            alone: latency.clone(),
            loaded: latency,
            produced: flow,
            consumed: flow,
            digest_in: digest(sent),
            digest_out: digest(read),
        })
    }

    #[test]
    fn equal_lines_pass_and_any_difference_fails() {
        let same = report(&[b"a", b"b"], &[b"a", b"b"]);
        assert_eq!(same.verdict(), Ok(()));
        assert!(same.print(Output::Table).contains("\nEQUAL: 2 lines in"));
        for read in [&[&b"b"[..], b"a"][..], &[b"a"], &[b"a", b"b", b"b"], &[]] {
            let other = report(&[b"a", b"b"], read);
            let failure = other.verdict().expect_err("it differs");
            assert_eq!(failure.exit, Exit::Failed);
            assert!(failure.line.contains("2 lines, 2 bytes in"), "{failure}");
            assert!(other.print(Output::Table).contains("DIFFERENT: "));
        }
    }

    #[test]
    fn people_and_programs_get_every_figure() {
        let report = report(&[b"a"], &[b"a"]);
        let text = report.print(Output::Table);
        for part in ["3,000,000", "1,500,000", "150", "p99.9", "50 us", "2.00 s"] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        assert!(text.lines().all(|line| line.len() <= 120), "{text}");
        let json: serde_json::Value =
            serde_json::from_str(&report.print(Output::Json)).expect("JSON");
        assert_eq!(json["equal"], true);
        assert_eq!(json["produce"]["lines_per_second"], 1_500_000.0);
        assert_eq!(json["ack_at_full_load"]["samples"], 1);
        assert!(json["ack_one_at_a_time"]["percentiles_us"]["p99"].is_number());
    }

    #[test]
    fn digits_are_grouped_by_three() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(grouped(number), text);
        }
    }
}
