//! `millrace demo`: what the broker does, on this machine, with real lines, without leaving anything behind.
//!
//! ```text
//!   files ─feed─> lines ─digest─> producer ──┐                        place: a temporary directory on a disk
//!                                            ├─ loopback TCP ─ broker: a thread of this process, core 0 on a CPU of its own
//!                 report <─digest─ consumer ─┘
//! ```

pub mod broker;
pub mod drive;
pub mod feed;
pub mod generate;
pub mod latency;
pub mod place;
pub mod report;
pub mod sources;

use crate::cli::exit::{Exit, Failure};
use crate::cli::interrupt::Interrupt;
use crate::cli::print::{Output, bytes_text, emit, note};
use crate::cli::produce::LINE_BYTES_MAX;
use crate::cli::values::parse_bytes;
use broker::{Broker, Cpus};
use drive::Drive;
use feed::Feed;
use place::Place;
use report::Report;
use sources::LogFile;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// Where lines are looked for when no file is named.
const LOGS: &str = "/var/log";
/// How much is generated on a machine without logs, before it repeats.
const GENERATED_BYTES: u64 = 64 << 20;
/// Equal lines on every machine that has none of its own.
const GENERATED_SEED: u64 = 7420;

/// The flags of `demo`.
#[derive(clap::Args, Clone, PartialEq, Eq, Debug)]
pub struct DemoArgs {
    /// File whose lines to ingest; may be given again. Else what is readable in /var/log, else generated lines
    #[arg(long = "file", value_name = "FILE")]
    pub files: Vec<PathBuf>,

    /// How many bytes to ingest; the files are repeated until it is reached
    #[arg(long, value_name = "BYTES", default_value = "1G", value_parser = parse_size)]
    pub size: u64,
}

fn parse_size(text: &str) -> Result<u64, String> {
    match parse_bytes(text)? {
        0 => Err("nothing would be ingested: use a size such as 1G".to_string()),
        bytes => Ok(bytes),
    }
}

/// Ingests, reads back, compares, and prints what was measured. Whatever happens, the temporary directory goes.
pub fn run(args: &DemoArgs, output: Output) -> Result<(), Failure> {
    let interrupt = Interrupt::watch()?;
    let place = Place::find(args.size)?;
    let (files, source) = lines_to_ingest(&args.files, place.path())?;
    let cpus = Cpus::share()?;
    for line in [
        format!("broker: {cpus}"),
        format!("data:   {place}"),
        format!("lines:  {source}, repeated to {}", bytes_text(args.size)),
    ] {
        note(&line);
    }
    let feed = Feed::new(files, args.size, LINE_BYTES_MAX);
    let broker = Broker::start(&place, &cpus, &interrupt)?;
    cpus.keep_client_apart();
    let measured = Drive::new(broker.endpoint(), &interrupt, args.size).run(feed);
    let stopped = broker.stop();
    // A broker that ended early is the cause of whatever the client ran into.
    stopped?;
    let report = Report::new(measured?);
    emit(&report.print(output))?;
    report.verdict()
}

/// The files to ingest, and what they are called.
fn lines_to_ingest(named: &[PathBuf], scratch: &Path) -> Result<(Vec<LogFile>, String), Failure> {
    if !named.is_empty() {
        let files = sources::open_named(named)?;
        let title = title(&files, "named with --file");
        return Ok((files, title));
    }
    let files = sources::open_below(Path::new(LOGS));
    if !files.is_empty() {
        let title = title(&files, &format!("of {LOGS}"));
        return Ok((files, title));
    }
    let path = scratch.join("lines");
    let written = File::create(&path)
        .map(io::BufWriter::new)
        .and_then(|mut out| {
            generate::write_lines(GENERATED_SEED, GENERATED_BYTES, &mut out)?;
            io::Write::flush(&mut out)
        });
    written.map_err(|error| {
        let line = format!(
            "{} cannot be written: {error}; name files with --file",
            path.display()
        );
        Failure::new(Exit::Io, line)
    })?;
    let title = format!("generated, {LOGS} has none to read");
    Ok((sources::open_named(&[path])?, title))
}

fn title(files: &[LogFile], whence: &str) -> String {
    let bytes = files.iter().map(|log| log.bytes).sum();
    let plural = if files.len() == 1 { "file" } else { "files" };
    format!("{} {plural} {whence}, {}", files.len(), bytes_text(bytes))
}

/// A directory that is removed with all that is in it when it goes out of scope.
#[derive(Debug)]
pub struct TempDir {
    path: PathBuf,
}

impl TempDir {
    /// Makes a new directory below `parent`.
    pub fn make(parent: &Path) -> io::Result<Self> {
        for attempt in 0..1000u32 {
            let name = format!("millrace-{}-{attempt}", std::process::id());
            let path = parent.join(name);
            match std::fs::create_dir(&path) {
                Ok(()) => return Ok(Self { path }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        // What cannot be removed lies in a directory for temporary files: others will clear it.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_differ_and_go_with_their_content() {
        let parent = std::env::temp_dir();
        let (a, b) = (TempDir::make(&parent), TempDir::make(&parent));
        let (a, b) = (a.expect("writable"), b.expect("writable"));
        assert_ne!(a.path(), b.path());
        let path = a.path().to_path_buf();
        std::fs::write(path.join("x"), "x").expect("writable");
        drop(a);
        assert!(!path.exists() && b.path().exists());
    }
}
