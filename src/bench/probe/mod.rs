//! What the machine can do at most, so that a result stands beside its limit: the disk and the loopback, in about three
//! seconds.
//!
//! ```text
//!  run(dir) ─> disk:  one unlinked file ─> fill (new blocks) ─> rewrite (written blocks) ─> durable 4 KiB
//!           └> wire:  one loopback connection, sender and receiver on a CPU each ─> copied, then by sendfile
//! ```
//! Plain system calls on threads, not the trait Io: a limit that went through the code that it judges would hide what
//! that code costs. So a durable write here is one `pwrite` and one `fdatasync`, with no ring and no executor between.
//!
//! Invariants:
//! - The file loses its name before a byte is written: nothing is left behind, and after a kill -9 at worst an empty file.
//! - What is reported was counted to its end: a write is complete, and a byte was received.
//!
//! Decided: the disk's figures do not flush after the sequential writes, as the ack level `written` does not; the
//! durable writes go over blocks that were written and synced before, as the journal's do. Appending is told apart
//! because a file system has its own work with new blocks: on ext4 it converts extents, and sequential writes reach little
//! more than half (2.5-2.9 against 4.1-5.2 GB/s on a virtual disk). Held against fio there: durable 4 KiB 10.0 k/s by
//! both; sequential 3.6 GB/s by fio from one thread through io_uring.

mod disk;
mod wire;

use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::Duration;
use thiserror::Error;

/// The limits.
#[derive(Serialize, Clone, Copy, PartialEq, Debug)]
pub struct Probe {
    /// O_DIRECT sequential writes of 1 MiB, 4 in the queue, over written blocks: bytes a second.
    pub direct_write_bytes_per_s: f64,
    /// The same into blocks that are reserved and were never written, as a segment's are.
    pub direct_write_new_bytes_per_s: f64,
    /// Writes of 4 KiB, O_DIRECT and fdatasync each, one at a time over written blocks: writes a second.
    pub durable_4k_per_s: f64,
    /// The time of one of them, median, in microseconds.
    pub durable_4k_p50_us: f64,
    /// The time that 99 of 100 of them stay below, in microseconds.
    pub durable_4k_p99_us: f64,
    /// TCP over the loopback, one connection, sent with `write`: bytes a second.
    pub loopback_bytes_per_s: f64,
    /// The same sent with `sendfile` out of the page cache.
    pub loopback_sendfile_bytes_per_s: f64,
}

/// Where and how long to probe.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    /// A directory on the disk in question.
    pub dir: PathBuf,
    /// How long each of the five measurements lasts, about.
    pub each: Duration,
    /// CPUs of the sender and of the receiver on the loopback; `None`: the scheduler decides.
    pub cpus: Option<[usize; 2]>,
}

impl Options {
    /// About three seconds in `dir`, on two CPUs where there are two.
    pub fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            each: Duration::from_millis(500),
            cpus: wire::two_cpus(),
        }
    }
}

/// Why there is no limit to show.
#[derive(Error, Debug)]
pub enum ProbeError {
    /// The disk was not measured.
    #[error(
        "the disk under {} cannot be probed ({cause}); use a directory on a local disk with direct I/O, such as ext4 \
         or xfs, or leave the probe out", dir.display()
    )]
    Disk {
        /// The directory.
        dir: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// There is too little room to measure in.
    #[error(
        "{} has {free_bytes} bytes free, fewer than the {needed_bytes} that the probe needs; make room there, or leave \
         the probe out", dir.display()
    )]
    NoRoom {
        /// The directory.
        dir: PathBuf,
        /// What is free for this user.
        free_bytes: u64,
        /// What the probe needs at least.
        needed_bytes: u64,
    },
    /// The loopback was not measured.
    #[error(
        "the loopback cannot be probed ({0}); bring the interface lo up, or leave the probe out"
    )]
    Wire(std::io::Error),
}

/// Measures. Blocks for about five times `options.each`, and a little for preparing.
pub fn run(options: &Options) -> Result<Probe, ProbeError> {
    let refused = |cause| ProbeError::Disk {
        dir: options.dir.clone(),
        cause,
    };
    let bytes = disk::file_bytes(&options.dir)?;
    let disk = disk::Disk::create(&options.dir, bytes).map_err(refused)?;
    let new = disk.fill(options.each).map_err(refused)?;
    let written = disk.rewrite(options.each).map_err(refused)?;
    let durable = disk.durable(options.each).map_err(refused)?;
    let copied = wire::copied(options.each, options.cpus).map_err(ProbeError::Wire)?;
    let file = disk.into_cached().map_err(refused)?;
    let sent = wire::sent_file(&file, options.each, options.cpus).map_err(ProbeError::Wire)?;
    Ok(Probe {
        direct_write_bytes_per_s: written,
        direct_write_new_bytes_per_s: new,
        durable_4k_per_s: durable.per_s,
        durable_4k_p50_us: durable.p50_us,
        durable_4k_p99_us: durable.p99_us,
        loopback_bytes_per_s: copied,
        loopback_sendfile_bytes_per_s: sent,
    })
}

impl Probe {
    /// The limits for people: what, how much, in which unit.
    pub fn figures(&self) -> [(&'static str, f64, &'static str); 7] {
        [
            (
                "disk, 1 MiB direct writes, 4 in the queue, written blocks",
                self.direct_write_bytes_per_s / 1e6,
                "MB/s",
            ),
            (
                "disk, the same, new blocks",
                self.direct_write_new_bytes_per_s / 1e6,
                "MB/s",
            ),
            (
                "disk, durable 4 KiB writes, one at a time",
                self.durable_4k_per_s,
                "1/s",
            ),
            ("one durable 4 KiB write, p50", self.durable_4k_p50_us, "us"),
            ("one durable 4 KiB write, p99", self.durable_4k_p99_us, "us"),
            (
                "loopback, one connection, copied",
                self.loopback_bytes_per_s / 1e6,
                "MB/s",
            ),
            (
                "loopback, one connection, sendfile",
                self.loopback_sendfile_bytes_per_s / 1e6,
                "MB/s",
            ),
        ]
    }
}

#[cfg(test)]
mod tests {
    //! Goal: the probe measures something, leaves nothing behind, and says what it lacks. Method: a short run in a
    //! directory of its own. No figure is judged: that would be a test of the machine.

    use super::*;

    fn scratch(parent: &Path, name: &str) -> PathBuf {
        let dir = parent.join(format!("millrace-probe-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("the temporary directory is writable");
        dir
    }

    #[test]
    fn every_limit_is_a_number_and_nothing_is_left() {
        let dir = scratch(&std::env::temp_dir(), "run");
        let mut options = Options::new(&dir);
        options.each = Duration::from_millis(20);
        let probe = run(&options).expect("this machine can be probed");
        for (what, value, unit) in probe.figures() {
            assert!(value.is_finite() && value > 0.0, "{what}: {value} {unit}");
        }
        assert!(probe.durable_4k_p50_us <= probe.durable_4k_p99_us);
        // One at a time: the median time and the rate are two views of the same, far as they may lie apart.
        let busy = probe.durable_4k_p50_us / 1e6 * probe.durable_4k_per_s;
        assert!((0.01..=10.0).contains(&busy), "{busy}");
        let left = std::fs::read_dir(&dir).expect("it exists").count();
        std::fs::remove_dir_all(&dir).expect("it is ours");
        assert_eq!(left, 0);
    }

    #[test]
    fn a_directory_that_is_not_there_is_named_with_a_remedy() {
        let missing = Path::new("/nonexistent/millrace");
        let error = run(&Options::new(missing)).expect_err("there is nothing to probe");
        let line = error.to_string();
        assert!(
            line.contains("/nonexistent/millrace") && line.contains("; "),
            "{line}"
        );
        assert!(!line.contains('\n'), "{line}");
    }
}
