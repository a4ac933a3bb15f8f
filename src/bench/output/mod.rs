//! output: a report as text that people and tools read. Nothing here measures, and nothing here writes a file.
//!
//! ```text
//!             ┌─> json          one document, stable names with units
//!             ├─> hgrm          percentile text of HdrHistogram, a file a row and time
//!  &Report ───┼─> interval_log  HdrHistogram's V2 interval log, a tag a row and time
//!             ├─> omb           TestResult of the OpenMessaging Benchmark, a file a row
//!             └─> html          one page with its charts
//! ```
//! Invariant: all of them show the run that `Row::median` names, with the same words and the same percentiles.

pub mod hgrm;
pub mod html;
pub mod interval_log;
pub mod json;
pub mod omb;
#[cfg(test)]
mod synthetic;
mod words;

pub use words::{ack, kind, omission, protocol, settings_text};

use crate::bench::outcome::Outcome;
use hdrhistogram::Histogram;

/// What is told of every distribution, by name and as a share of all values.
pub const QUANTILES: [(&str, f64); 8] = [
    ("p50", 0.5),
    ("p75", 0.75),
    ("p90", 0.9),
    ("p95", 0.95),
    ("p99", 0.99),
    ("p99.9", 0.999),
    ("p99.99", 0.9999),
    ("p99.999", 0.99999),
];

/// A text and the name of the file that it belongs into.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NamedText {
    /// Letters, digits, dots and dashes only.
    pub name: String,
    /// What goes into it.
    pub text: String,
}

/// The distributions of a run that hold anything, by name.
pub(crate) fn distributions(outcome: &Outcome) -> Vec<(&'static str, &Histogram<u64>)> {
    [
        ("response", Some(&outcome.response)),
        ("service", Some(&outcome.service)),
        ("end-to-end", outcome.end_to_end.as_ref()),
    ]
    .into_iter()
    .filter_map(|(name, histogram)| Some((name, histogram?)))
    .filter(|(_, histogram)| !histogram.is_empty())
    .collect()
}

/// A name as part of a file's name or as a tag: lower case, a dash for each run of anything else.
pub(crate) fn slug(name: &str) -> String {
    let mut slug = String::with_capacity(name.len());
    for letter in name.chars() {
        if letter.is_ascii_alphanumeric() || letter == '.' {
            slug.push(letter.to_ascii_lowercase());
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
    }
    slug.trim_end_matches(['-', '.']).to_owned()
}

/// The slug of a row with its place in front, so that two rows of one name do not write into one file.
pub(crate) fn row_slug(index: usize, name: &str) -> String {
    format!("{:02}-{}", index + 1, slug(name))
}

#[cfg(test)]
mod tests {
    use super::slug;

    #[test]
    fn slugs_are_fit_for_files_and_tags() {
        for (name, expected) in [
            ("100 B x 1000, 8 x 4, synced", "100-b-x-1000-8-x-4-synced"),
            ("../../etc/passwd", "..-..-etc-passwd"),
            ("  ", ""),
            ("p99 <= 5 ms!", "p99-5-ms"),
            ("größe", "gr-e"),
        ] {
            assert_eq!(slug(name), expected);
        }
    }
}
