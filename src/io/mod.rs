//! io: the one seam through which bytes, time and chance come.
//!
//! Does: the trait [`Io`] (files, sockets, clock, timers, tasks, the mailbox between cores) and its two
//! implementations: `io/uring` (glommio, the real machine) and `io/sim` (seeded executor and clock, a memory disk and
//! network with faults); and `io/still`, either of them with its files only looked at.
//! May import: base; glommio and raw file descriptors only inside `io/uring`.
//! Must not know: that brokers exist.
//!
//! ```text
//!        log, shard, net, client            generic over  I: Io
//!   ───────────────┬───────────────
//!                 Io                        one value per core, cheap to clone, never sent to another core
//!          ┌───────┴────────┐
//!        uring             sim
//! ```
//! Invariants:
//! - Everything is core-local: no future here is `Send`, no value crosses cores but through a [`Mailbox`].
//! - A write reports the true number of bytes that reached the file; callers treat a short one as failed.
//! - A buffer handed to an operation stays alive until the operation completes, also when its future is dropped.
//! - Never race a `read` against something else: a dropped read may have eaten bytes.

pub mod signal;
pub mod sim;
pub mod still;
pub mod uring;

pub use signal::Signal;

use crate::base::CoreId;
use std::future::{Future, poll_fn};
use std::io::Result;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

/// A point on a monotonic clock, in nanoseconds from an arbitrary start. For durations and deadlines; never stored.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Monotonic(pub u64);

impl Monotonic {
    /// This point moved on by `duration`.
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration.as_nanos() as u64))
    }

    /// The time from `earlier` to this point; zero if it lies ahead.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// How a file is opened for writing and aligned reading.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OpenMode {
    /// It must exist.
    Existing,
    /// It must not exist; it is made empty.
    CreateNew,
}

/// What a directory holds under one name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DirEntry {
    /// The name inside the directory.
    pub name: String,
    /// Whether it is a directory.
    pub is_dir: bool,
    /// Length in bytes, of a file.
    pub bytes: u64,
}

/// Bytes of memory aligned to `limits::BLOCK_BYTES`, fit for direct I/O. Its contents are unspecified when it is made
/// (zeroing a 1 MiB chunk costs 30 us that an append overwrites at once): who pads, zeroes the padding.
pub trait AlignedBuffer: AsRef<[u8]> + AsMut<[u8]> + 'static {
    /// Cuts the buffer down to its first `bytes`; it never grows again.
    fn truncate(&mut self, bytes: usize);
}

/// A file open for direct (unbuffered) writes and reads, in whole blocks.
pub trait File: 'static {
    /// The buffers it reads into and writes from.
    type Buffer: AlignedBuffer;

    /// Writes all of `buffer` at `position`. Both are whole blocks. Returns how many bytes reached the file: fewer
    /// than asked means that the file must be given up.
    fn write_at(
        &self,
        buffer: Rc<Self::Buffer>,
        position: u64,
    ) -> impl Future<Output = Result<usize>>;

    /// Like [`File::write_at`], and durable when it returns: one operation (O_DSYNC) where a write and a sync are two.
    /// Promises nothing about any other write. Meant for blocks that were written before: elsewhere the file system
    /// has more to remember, and a sync for several writes is cheaper. As final as a sync when it fails.
    fn write_durable_at(
        &self,
        buffer: Rc<Self::Buffer>,
        position: u64,
    ) -> impl Future<Output = Result<usize>>;

    /// Reads up to `bytes` at `position`, both whole blocks. A shorter buffer means the end of the file.
    fn read_at(&self, position: u64, bytes: usize) -> impl Future<Output = Result<Self::Buffer>>;

    /// Makes every completed write durable, and the length with it. Once this has failed, it must never be called
    /// again on this file.
    fn sync(&self) -> impl Future<Output = Result<()>>;

    /// Reserves space so that the file is at least `bytes` long; what was not written reads as zeros.
    fn allocate(&self, bytes: u64) -> impl Future<Output = Result<()>>;

    /// Sets the length, giving back what lies behind it.
    fn set_len(&self, bytes: u64) -> impl Future<Output = Result<()>>;

    /// The length in bytes.
    fn size(&self) -> impl Future<Output = Result<u64>>;

    /// Closes the file. Dropping it without closing is allowed and costs a warning at most.
    fn close(self) -> impl Future<Output = ()>;
}

/// A socket that takes connections.
pub trait Listener: 'static {
    /// The receiving half of a connection.
    type Reader: Reader;
    /// The sending half.
    type Writer: Writer;

    /// The next connection: its two halves and the peer's address.
    fn accept(&self) -> impl Future<Output = Result<(Self::Reader, Self::Writer, SocketAddr)>>;

    /// The address it listens on (tells the port where 0 was asked for).
    fn local_addr(&self) -> SocketAddr;
}

/// The receiving half of a connection.
pub trait Reader: 'static {
    /// Receives at least one byte into the front of `buffer`, if any have come; 0 is the end of the stream. Pending: no
    /// byte was taken and `buffer` is the caller's again, who may ask with another one next time; the task is woken
    /// when that is worth it. So a connection that waits needs no buffer.
    fn poll_read(&mut self, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<Result<usize>>;

    /// Waits for at least one byte. Never drop this future to wait for something else: bytes may be lost. To end it,
    /// shut the connection down from the other half.
    fn read(&mut self, buffer: &mut [u8]) -> impl Future<Output = Result<usize>> {
        poll_fn(move |context| self.poll_read(context, buffer))
    }
}

/// The sending half of a connection.
pub trait Writer: 'static {
    /// The page-cache handle that spans are sent from.
    type Source;

    /// Sends all of `bytes`.
    fn write_all(&mut self, bytes: &[u8]) -> impl Future<Output = Result<()>>;

    /// Sends all of `parts`, in order, with as few system calls as the machine allows.
    fn write_vectored(&mut self, parts: &[&[u8]]) -> impl Future<Output = Result<()>>;

    /// Sends `bytes` of a file from `position` without copying them through user space (sendfile). The caller has just
    /// found it in the page cache ([`Io::is_warm`]) or brought it there ([`Io::scan_source`]); after a wait for the peer
    /// that is asked again, so that the core never blocks. A file that ends early is an error.
    fn send_file(
        &mut self,
        source: &Self::Source,
        position: u64,
        bytes: u64,
    ) -> impl Future<Output = Result<()>>;

    /// Ends the connection in both directions: a pending `read` of the other half returns.
    fn shutdown(&mut self);
}

/// This core's end of the bounded mailboxes between all cores. Messages of one sender arrive in order.
pub trait Mailbox<M: Send + 'static>: Clone + 'static {
    /// Puts `message` into the mailbox of core `to`; waits while it is full. False: that core has stopped.
    fn send(&self, to: CoreId, message: M) -> impl Future<Output = bool>;

    /// Takes the next message from any core, with its sender; `None` when all others have stopped. One task only.
    fn receive(&self) -> impl Future<Output = Option<(CoreId, M)>>;
}

/// The ground that everything stands on: one value per core.
pub trait Io: Clone + 'static {
    /// Memory for direct I/O.
    type Buffer: AlignedBuffer;
    /// A file for direct I/O.
    type File: File<Buffer = Self::Buffer>;
    /// A file open for reading through the page cache. May be shared across cores; the file lives while one does,
    /// also when its name is gone.
    type Source: Clone + Send + Sync + std::fmt::Debug + 'static;
    /// A listening socket.
    type Listener: Listener<Reader = Self::Reader, Writer = Self::Writer>;
    /// The receiving half of a connection.
    type Reader: Reader;
    /// The sending half of a connection.
    type Writer: Writer<Source = Self::Source>;
    /// The mailbox between cores for messages of type `M`.
    type Mailbox<M: Send + 'static>: Mailbox<M>;

    /// Which core this is.
    fn core(&self) -> CoreId;

    /// Now, for durations and deadlines.
    fn now(&self) -> Monotonic;

    /// The wall clock in milliseconds since 1970, as data only.
    fn wall_ms(&self) -> i64;

    /// 64 random bits.
    fn random(&self) -> u64;

    /// Identifies the run of the machine (Linux: boot_id): equal to a stored one only if no power was lost since.
    fn boot_id(&self) -> u128;

    /// Sleeps.
    fn sleep(&self, duration: Duration) -> impl Future<Output = ()>;

    /// Lets other tasks of this core run.
    fn yield_now(&self) -> impl Future<Output = ()>;

    /// Starts a task on this core. It runs until it ends or the core stops.
    fn spawn(&self, task: impl Future<Output = ()> + 'static);

    /// Aligned memory of `bytes` (a multiple of the block, not zero); its contents are unspecified.
    fn buffer(&self, bytes: usize) -> Self::Buffer;

    /// Opens a file for direct I/O.
    fn open(&self, path: &Path, mode: OpenMode) -> impl Future<Output = Result<Self::File>>;

    /// Opens a file for reading through the page cache.
    fn open_source(&self, path: &Path) -> impl Future<Output = Result<Self::Source>>;

    /// Reads up to `bytes` at `position` through the page cache, without blocking the core; fewer at the end of file.
    fn read_source(
        &self,
        source: &Self::Source,
        position: u64,
        bytes: usize,
    ) -> impl Future<Output = Result<Vec<u8>>>;

    /// Whether `bytes` of a file at `position` seem to be in the page cache. Asks, and never waits for the disk.
    fn is_warm(&self, source: &Self::Source, position: u64, bytes: u64) -> bool;

    /// Shows `bytes` of a file at `position` to `look`, in order and piece by piece, on their way into the page cache and
    /// without blocking the core. Ends when `look` says false, or with the file; returns the state.
    fn scan_source<T: Send + 'static>(
        &self,
        source: &Self::Source,
        position: u64,
        bytes: u64,
        state: T,
        look: fn(&mut T, &[u8]) -> bool,
    ) -> impl Future<Output = Result<T>>;

    /// Runs `work` where it keeps nobody waiting: for what takes a CPU long. A panic there is an error here.
    fn aside<T: Send + 'static, R: Send + 'static>(
        &self,
        state: T,
        work: fn(T) -> R,
    ) -> impl Future<Output = Result<R>>;

    /// Renames a file. Durable only after [`Io::sync_dir`].
    fn rename(&self, from: &Path, to: &Path) -> impl Future<Output = Result<()>>;

    /// Removes a file. Durable only after [`Io::sync_dir`].
    fn remove_file(&self, path: &Path) -> impl Future<Output = Result<()>>;

    /// Removes an empty directory. Durable only after [`Io::sync_dir`] of its parent.
    fn remove_dir(&self, path: &Path) -> impl Future<Output = Result<()>>;

    /// Makes a directory and what is missing above it; no error if it exists. Durable only after [`Io::sync_dir`] of
    /// the parent.
    fn create_dir_all(&self, path: &Path) -> impl Future<Output = Result<()>>;

    /// What a directory holds, sorted by name.
    fn list_dir(&self, path: &Path) -> impl Future<Output = Result<Vec<DirEntry>>>;

    /// Makes the names in a directory durable.
    fn sync_dir(&self, path: &Path) -> impl Future<Output = Result<()>>;

    /// Bytes that this process may still use on the file system of `path`.
    fn free_bytes(&self, path: &Path) -> impl Future<Output = Result<u64>>;

    /// Listens on `address`; refuses with `AddrInUse` if anybody else does.
    fn listen(&self, address: SocketAddr) -> impl Future<Output = Result<Self::Listener>>;

    /// Connects to `address`.
    fn connect(
        &self,
        address: SocketAddr,
    ) -> impl Future<Output = Result<(Self::Reader, Self::Writer)>>;
}
