//! io/uring: the real machine, through glommio 0.9 (pinned, unmaintained upstream, hence hidden here).
//!
//! Does: implements [`Io`] with io_uring, direct I/O, sendfile, a mailbox mesh, and launches one executor per core.
//! May import: base, io; the only home of `glommio::` and of raw file descriptors.
//! Must not know: that brokers exist.
//!
//! ```text
//!  launch  run_cores: one thread, one executor, one Core each; starts all or none, ends all when one panics
//!    │
//!  core    the tasks of a core, operations in flight, blocking calls off the core
//!    ├── file     direct I/O on DmaFile           ├── net       sockets: one stream of a connection, two halves
//!    ├── source   page cache reads, warming       │    └── send  sendmsg and sendfile, waiting through the stream
//!    └── mailbox  SPSC mesh -> one inbox a peer   └── entropy   random bits, clocks, boot id
//! ```
//! Invariants:
//! - An operation that the kernel or a blocking thread has begun runs to its end, also when its future is dropped
//!   ([`core::Unbroken`]): glommio would cancel it, and a cancelled write may have happened or not.
//! - When `main` of a core returns, its other tasks are dropped there and then, inside the executor, and what they had in
//!   flight is awaited. Nothing of a core outlives [`run_cores`].
//! - A panic in any task ends its core and, through the alarm, all others; `run_cores` returns it as an error.
//! - No blocking call on a core: path operations go to a pool of unpinned threads. The exceptions are system calls that
//!   do not wait (fcntl, fstat, RWF_NOWAIT reads, non-blocking sends).
//!
//! Decided: what 0.9 gets wrong and what is done about it: `SharedSender::send` hangs on a peer that stopped while full
//! (see `mailbox`), `DmaFile` probes IOPOLL with an empty file and believes the answer (see `file`), a panic inside
//! `spawn_blocking` hangs the caller and the executor may sleep with runnable tasks (see `core` and `alarm`), `file_size`
//! looks at the path and not at the file (see `file`).

mod alarm;
mod core;
mod entropy;
mod file;
mod launch;
mod mailbox;
mod net;
mod send;
mod source;
#[cfg(test)]
mod tests;

pub use file::UringFile;
pub use launch::{Options, probe_ring, run_cores};
pub use mailbox::UringMailbox;
pub use net::{UringListener, UringReader};
pub use send::UringWriter;
pub use source::UringSource;

/// Memory for direct I/O: glommio's own, from the core's registered region while that lasts, then from the allocator.
pub type UringBuffer = glommio::io::DmaBuffer;

use self::core::Core;
use crate::base::CoreId;
use crate::base::limits::BLOCK_BYTES;
use crate::io::{AlignedBuffer, DirEntry, Io, Monotonic, OpenMode};
use glommio::GlommioError;
use std::future::Future;
use std::io::{Error, Result};
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

/// One core of the real machine. Clones are the same core.
#[derive(Clone, Debug)]
pub struct Uring {
    core: Rc<Core>,
}

impl AlignedBuffer for UringBuffer {
    fn truncate(&mut self, bytes: usize) {
        self.trim_to_size(bytes);
    }
}

impl Io for Uring {
    type Buffer = UringBuffer;
    type File = UringFile;
    type Source = UringSource;
    type Listener = UringListener;
    type Reader = UringReader;
    type Writer = UringWriter;
    type Mailbox<M: Send + 'static> = UringMailbox<M>;

    fn core(&self) -> CoreId {
        self.core.id()
    }

    fn now(&self) -> Monotonic {
        entropy::now()
    }

    fn wall_ms(&self) -> i64 {
        entropy::wall_ms()
    }

    fn random(&self) -> u64 {
        self.core.random()
    }

    fn boot_id(&self) -> u128 {
        self.core.boot_id()
    }

    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> {
        glommio::timer::sleep(duration)
    }

    /// Completions are looked at when no task is left to run, or after `launch::PREEMPT_AFTER`.
    fn yield_now(&self) -> impl Future<Output = ()> {
        futures_lite::future::yield_now()
    }

    fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.core.spawn(task);
    }

    fn buffer(&self, bytes: usize) -> UringBuffer {
        assert!(bytes > 0, "a buffer of no bytes");
        assert!(bytes.is_multiple_of(BLOCK_BYTES), "whole blocks only");
        file::buffer(bytes)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> impl Future<Output = Result<UringFile>> {
        file::open(&self.core, path, mode)
    }

    fn open_source(&self, path: &Path) -> impl Future<Output = Result<UringSource>> {
        let path = path.to_owned();
        self.core.blocking(move || UringSource::open(&path))
    }

    fn read_source(
        &self,
        source: &UringSource,
        position: u64,
        bytes: usize,
    ) -> impl Future<Output = Result<Vec<u8>>> {
        source::read(&self.core, source, position, bytes)
    }

    fn is_warm(&self, source: &UringSource, position: u64, bytes: u64) -> bool {
        bytes == 0 || source.is_warm(position, position.saturating_add(bytes))
    }

    fn scan_source<T: Send + 'static>(
        &self,
        source: &UringSource,
        position: u64,
        bytes: u64,
        state: T,
        look: fn(&mut T, &[u8]) -> bool,
    ) -> impl Future<Output = Result<T>> {
        let (source, until) = (source.clone(), position.saturating_add(bytes));
        self.core
            .blocking(move || source.scan(position, until, state, look))
    }

    fn aside<T: Send + 'static, R: Send + 'static>(
        &self,
        state: T,
        work: fn(T) -> R,
    ) -> impl Future<Output = Result<R>> {
        self.core.blocking(move || Ok(work(state)))
    }

    fn rename(&self, from: &Path, to: &Path) -> impl Future<Output = Result<()>> {
        let (from, to) = (from.to_owned(), to.to_owned());
        self.core.blocking(move || std::fs::rename(from, to))
    }

    fn remove_file(&self, path: &Path) -> impl Future<Output = Result<()>> {
        let path = path.to_owned();
        self.core.blocking(move || std::fs::remove_file(path))
    }

    fn remove_dir(&self, path: &Path) -> impl Future<Output = Result<()>> {
        let path = path.to_owned();
        self.core.blocking(move || std::fs::remove_dir(path))
    }

    fn create_dir_all(&self, path: &Path) -> impl Future<Output = Result<()>> {
        let path = path.to_owned();
        self.core.blocking(move || std::fs::create_dir_all(path))
    }

    fn list_dir(&self, path: &Path) -> impl Future<Output = Result<Vec<DirEntry>>> {
        let path = path.to_owned();
        self.core.blocking(move || list_dir(&path))
    }

    fn sync_dir(&self, path: &Path) -> impl Future<Output = Result<()>> {
        let path = path.to_owned();
        self.core
            .blocking(move || std::fs::File::open(path)?.sync_all())
    }

    fn free_bytes(&self, path: &Path) -> impl Future<Output = Result<u64>> {
        let path = path.to_owned();
        self.core.blocking(move || {
            let stat = rustix::fs::statvfs(&path)?;
            Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
        })
    }

    async fn listen(&self, address: SocketAddr) -> Result<UringListener> {
        UringListener::bind(&self.core, address)
    }

    fn connect(
        &self,
        address: SocketAddr,
    ) -> impl Future<Output = Result<(UringReader, UringWriter)>> {
        net::connect(&self.core, address)
    }
}

/// Runs on a blocking thread. A name that vanishes while we look was removed: it is left out.
fn list_dir(path: &Path) -> Result<Vec<DirEntry>> {
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        let metadata = match entry.metadata() {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        entries.push(DirEntry {
            name: entry.file_name().to_string_lossy().into_owned(),
            is_dir: metadata.is_dir(),
            bytes: if metadata.is_dir() { 0 } else { metadata.len() },
        });
    }
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(entries)
}

/// glommio's errors carry payloads and, converted by its own `From`, lose the number of the system's error, by which
/// callers tell ENOSPC from EIO.
fn edge<T>(error: GlommioError<T>) -> Error {
    match (error.raw_os_error(), error) {
        (Some(code), _) => Error::from_raw_os_error(code),
        (None, GlommioError::IoError(source)) => source,
        (None, GlommioError::EnhancedIoError { source, .. }) => source,
        (None, other) => Error::other(other.to_string()),
    }
}
