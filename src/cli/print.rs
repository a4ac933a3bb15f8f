//! What commands print: tables for people, JSON for programs, and sizes and times that can be read.

use crate::cli::exit::Failure;
use serde::Serialize;
use std::io::Write;
use std::time::Duration;

/// How a command prints what it found.
#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Output {
    /// Aligned columns.
    #[default]
    Table,
    /// One JSON document.
    Json,
}

/// Rows under a header, as wide as their widest cell. Columns named in `right` hold numbers.
pub fn table(header: &[&str], right: &[usize], rows: &[Vec<String>]) -> String {
    let widths: Vec<usize> = header
        .iter()
        .enumerate()
        .map(|(column, name)| {
            let cells = rows.iter().map(|row| width(&row[column]));
            cells.chain([width(name)]).max().unwrap_or(0)
        })
        .collect();
    let mut out = String::new();
    let names: Vec<String> = header.iter().map(|name| (*name).to_string()).collect();
    for row in std::iter::once(&names).chain(rows) {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let pad = " ".repeat(widths[column] - width(cell));
            let gap = if column == 0 { "" } else { "  " };
            let (before, after) = if right.contains(&column) {
                (pad.as_str(), "")
            } else {
                ("", pad.as_str())
            };
            line.extend([gap, before, cell, after]);
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

fn width(cell: &str) -> usize {
    cell.chars().count()
}

/// A value as one line of JSON.
pub fn json(value: &impl Serialize) -> String {
    let mut text =
        serde_json::to_string(value).expect("what we print has string keys and cannot fail");
    text.push('\n');
    text
}

/// Writes to standard output at once. `println!` would panic where the reader has gone.
pub fn emit(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| Failure::output(&error))
}

/// Writes one line to standard error. Nobody can be told that this failed.
pub fn note(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// `1.5 GiB`.
pub fn bytes_text(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 {
        format!("{bytes} B")
    } else {
        format!("{value:.1} {}", UNITS[unit])
    }
}

/// `12.3 ms`, in the unit that fits.
pub fn time_text(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    if seconds >= 1.0 {
        format!("{seconds:.2} s")
    } else if seconds >= 1e-3 {
        format!("{:.2} ms", seconds * 1e3)
    } else {
        format!("{:.0} us", seconds * 1e6)
    }
}

/// How many per second; 0 where no time has passed.
pub fn per_second(count: u64, time: Duration) -> f64 {
    if time.is_zero() {
        0.0
    } else {
        count as f64 / time.as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_align_and_do_not_trail() {
        let rows = vec![
            vec!["a".to_string(), "5".to_string(), "x".to_string()],
            vec!["größer".to_string(), "1000".to_string(), String::new()],
        ];
        assert_eq!(
            table(&["NAME", "N", "OF"], &[1], &rows),
            "NAME       N  OF\na          5  x\ngrößer  1000\n"
        );
        assert_eq!(table(&["NAME"], &[], &[]), "NAME\n");
    }

    #[test]
    fn json_is_one_line() {
        assert_eq!(json(&vec!["a\nb"]), "[\"a\\nb\"]\n");
    }

    #[test]
    fn sizes_times_and_rates_read_well() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1536, "1.5 KiB"),
            (1 << 30, "1.0 GiB"),
            (u64::MAX, "16777216.0 TiB"),
        ] {
            assert_eq!(bytes_text(bytes), text);
        }
        for (micros, text) in [
            (0, "0 us"),
            (83, "83 us"),
            (1_500, "1.50 ms"),
            (2_000_000, "2.00 s"),
        ] {
            assert_eq!(time_text(Duration::from_micros(micros)), text);
        }
        assert_eq!(per_second(10, Duration::ZERO), 0.0);
        assert_eq!(per_second(10, Duration::from_secs(2)), 5.0);
    }
}
