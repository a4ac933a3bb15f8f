//! The files that a report is written to, each beside the table on the terminal.

use super::flags::Around;
use crate::bench::outcome::Report;
use crate::bench::output::{NamedText, hgrm, html, interval_log, json, omb};
use crate::cli::exit::{Exit, Failure};
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// Writes those that were asked for.
pub(super) fn write(around: &Around, report: &Report) -> Result<(), Failure> {
    if let Some(path) = &around.json {
        put(path, &json::text(report))?;
    }
    if let Some(path) = &around.report {
        put(path, &html::page(report))?;
    }
    for (prefix, files) in [
        (&around.hgrm, hgrm::files as fn(&Report) -> Vec<NamedText>),
        (&around.omb, omb::files),
    ] {
        let Some(prefix) = prefix else {
            continue;
        };
        for file in files(report) {
            put(&behind(prefix, &file.name), &file.text)?;
        }
    }
    if let Some(path) = &around.interval_log {
        let written = File::create(path).and_then(|file| {
            let mut out = BufWriter::new(file);
            interval_log::write(report, &mut out)?;
            out.flush()
        });
        written.map_err(|error| refused(path, &error))?;
    }
    Ok(())
}

/// Whether every file can be written is asked before anything is measured: ten minutes are lost otherwise.
pub(super) fn check(around: &Around) -> Result<(), Failure> {
    let single = [&around.json, &around.report, &around.interval_log];
    let prefixes = [&around.hgrm, &around.omb];
    let probes = prefixes
        .into_iter()
        .flatten()
        .map(|prefix| behind(prefix, "probe"));
    for path in single.into_iter().flatten() {
        let opened = File::options().create(true).append(true).open(path);
        opened.map_err(|error| refused(path, &error))?;
    }
    for path in probes {
        let made = File::create(&path).and_then(|_| fs::remove_file(&path));
        made.map_err(|error| refused(&path, &error))?;
    }
    Ok(())
}

/// `PREFIX-NAME`; in the directory itself where the prefix is one.
fn behind(prefix: &Path, name: &str) -> PathBuf {
    if prefix.is_dir() {
        return prefix.join(name);
    }
    let mut path = prefix.as_os_str().to_owned();
    path.push(format!("-{name}"));
    PathBuf::from(path)
}

fn put(path: &Path, text: &str) -> Result<(), Failure> {
    fs::write(path, text).map_err(|error| refused(path, &error))
}

fn refused(path: &Path, error: &io::Error) -> Failure {
    let line = format!(
        "{} cannot be written: {error}; name another file",
        path.display()
    );
    Failure::new(Exit::Io, line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_behind_a_prefix_and_inside_a_directory() {
        let here = std::env::temp_dir();
        assert_eq!(behind(&here, "a.hgrm"), here.join("a.hgrm"));
        let prefix = Path::new("/nowhere/run");
        assert_eq!(behind(prefix, "a.hgrm"), Path::new("/nowhere/run-a.hgrm"));
    }

    #[test]
    fn what_cannot_be_written_is_told_with_its_path() {
        let failure = put(Path::new("/nowhere/at/all"), "x").expect_err("no such directory");
        assert_eq!(failure.exit, Exit::Io);
        assert!(failure.line.contains("/nowhere/at/all"), "{failure}");
    }
}
