//! The disk's limits, in one file without a name.

use super::ProbeError;
use crate::base::limits::BLOCK_BYTES;
use crate::base::prng::Prng;
use hdrhistogram::Histogram;
use rustix::fs::{FallocateFlags, Mode, OFlags};
use std::fs::File;
use std::io::{Error, Result};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Of one sequential write.
const WRITE_BYTES: usize = 1 << 20;
/// Writes in the queue: a thread each.
const QUEUE_WRITES: usize = 4;
/// The file is large enough that a disk's own buffers do not swallow it at once, and fits beside what is measured.
const FILE_BYTES_MAX: u64 = 1 << 30;
/// Below this a fill would be over before it is measured.
const FILE_BYTES_MIN: u64 = 64 << 20;
/// Times above this count as this: a minute.
const WRITE_NS_MAX: u64 = 60_000_000_000;
/// Of the file, what is brought into the page cache to be sent.
const CACHED_BYTES: u64 = 64 << 20;
const _: () = assert!(CACHED_BYTES <= FILE_BYTES_MIN);
const _: () = assert!(WRITE_BYTES.is_multiple_of(BLOCK_BYTES));

/// The file.
pub(super) struct Disk {
    file: OwnedFd,
    /// The same file through the page cache.
    cached: File,
    bytes: u64,
}

/// What durable writes of one block take.
pub(super) struct Durable {
    pub(super) per_s: f64,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
}

/// How large the file may be: half of what is free, within bounds.
pub(super) fn file_bytes(dir: &Path) -> std::result::Result<u64, ProbeError> {
    let stat = rustix::fs::statvfs(dir).map_err(|cause| ProbeError::Disk {
        dir: dir.to_owned(),
        cause: cause.into(),
    })?;
    let free_bytes = stat.f_bavail.saturating_mul(stat.f_frsize);
    if free_bytes / 2 < FILE_BYTES_MIN {
        return Err(ProbeError::NoRoom {
            dir: dir.to_owned(),
            free_bytes,
            needed_bytes: FILE_BYTES_MIN * 2,
        });
    }
    let bytes = (free_bytes / 2).min(FILE_BYTES_MAX);
    Ok(bytes - bytes % WRITE_BYTES as u64)
}

impl Disk {
    /// Makes the file, takes its name away, and reserves its blocks.
    pub(super) fn create(dir: &Path, bytes: u64) -> Result<Self> {
        let path = dir.join(format!("millrace-probe-{}.tmp", std::process::id()));
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let cached = File::from(rustix::fs::open(&path, flags, mode)?);
        let direct = OFlags::RDWR | OFlags::DIRECT | OFlags::CLOEXEC;
        let file = rustix::fs::open(&path, direct, Mode::empty());
        std::fs::remove_file(&path)?;
        let file = file?;
        rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, bytes)?;
        rustix::fs::fsync(&file)?;
        Ok(Self {
            file,
            cached,
            bytes,
        })
    }

    /// Bytes a second into new blocks, for about `time` or until the file is full. Then the rest is written too, and
    /// all is synced, so that what follows meets written blocks.
    pub(super) fn fill(&self, time: Duration) -> Result<f64> {
        let next = AtomicU64::new(0);
        let (bytes, elapsed) = self.write_queued(&next, self.bytes, time)?;
        self.write_queued(&next, self.bytes, Duration::MAX)?;
        rustix::fs::fdatasync(&self.file)?;
        Ok(bytes as f64 / elapsed.as_secs_f64())
    }

    /// Bytes a second over written blocks, round and round the file.
    pub(super) fn rewrite(&self, time: Duration) -> Result<f64> {
        let (bytes, elapsed) = self.write_queued(&AtomicU64::new(0), u64::MAX, time)?;
        rustix::fs::fdatasync(&self.file)?;
        Ok(bytes as f64 / elapsed.as_secs_f64())
    }

    /// Writes from `next` on until `end` or until `time` is over; how much was written, in which time.
    fn write_queued(&self, next: &AtomicU64, end: u64, time: Duration) -> Result<(u64, Duration)> {
        let begun = Instant::now();
        let write_some = || -> Result<u64> {
            let mut memory = Vec::new();
            let buffer = aligned(&mut memory, WRITE_BYTES);
            let mut written = 0;
            while begun.elapsed() < time {
                let position = next.fetch_add(WRITE_BYTES as u64, Ordering::Relaxed);
                if position >= end {
                    break;
                }
                self.write_at(buffer, position % self.bytes)?;
                written += WRITE_BYTES as u64;
            }
            Ok(written)
        };
        let written: Result<u64> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..QUEUE_WRITES).map(|_| scope.spawn(write_some)).collect();
            threads
                .into_iter()
                .map(|thread| {
                    thread
                        .join()
                        .map_err(|_| Error::other("a writer panicked"))?
                })
                .sum()
        });
        Ok((written?, begun.elapsed()))
    }

    fn write_at(&self, buffer: &[u8], position: u64) -> Result<()> {
        let written = rustix::io::pwrite(&self.file, buffer, position)?;
        if written == buffer.len() {
            return Ok(());
        }
        Err(Error::other(format!("a write ended after {written} bytes")))
    }

    /// Blocks one after the other, each written and flushed before the next.
    pub(super) fn durable(&self, time: Duration) -> Result<Durable> {
        let mut memory = Vec::new();
        let buffer = aligned(&mut memory, BLOCK_BYTES);
        let bounds = Histogram::<u64>::new_with_bounds(1, WRITE_NS_MAX, 3);
        let mut times_ns = bounds.map_err(Error::other)?;
        let begun = Instant::now();
        let mut position = 0;
        while begun.elapsed() < time || times_ns.is_empty() {
            let sent = Instant::now();
            self.write_at(buffer, position % self.bytes)?;
            rustix::fs::fdatasync(&self.file)?;
            times_ns.saturating_record(sent.elapsed().as_nanos() as u64);
            position += BLOCK_BYTES as u64;
        }
        let per_s = times_ns.len() as f64 / begun.elapsed().as_secs_f64();
        Ok(Durable {
            per_s,
            p50_us: times_ns.value_at_quantile(0.5) as f64 / 1e3,
            p99_us: times_ns.value_at_quantile(0.99) as f64 / 1e3,
        })
    }

    /// The begin of the file in the page cache, the rest given back.
    pub(super) fn into_cached(self) -> Result<File> {
        self.cached.set_len(CACHED_BYTES)?;
        std::io::copy(&mut &self.cached, &mut std::io::sink())?;
        Ok(self.cached)
    }
}

/// `bytes` of `memory` that begin at a block, as direct I/O wants it, filled with what does not compress: some disks do.
fn aligned(memory: &mut Vec<u8>, bytes: usize) -> &[u8] {
    memory.resize(bytes + BLOCK_BYTES, 0);
    let mut prng = Prng::new(bytes as u64);
    for chunk in memory.chunks_mut(8) {
        chunk.copy_from_slice(&prng.next_u64().to_le_bytes()[..chunk.len()]);
    }
    let before = memory.as_ptr().align_offset(BLOCK_BYTES);
    &memory[before..before + bytes]
}
