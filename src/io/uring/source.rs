//! Files read through the page cache: the handle, reads off the core, and keeping the core from ever waiting for a
//! page inside `sendfile`.
//!
//! Decided: to ask whether a span is in the page cache, one byte of every 256 KiB is read with RWF_NOWAIT. cachestat
//! counts pages that are still on their way from the disk as present, and sendfile would wait for those; asking for every
//! page costs half of what sending it costs. Spans get into the cache by [`UringSource::warm`], up to a MiB at a time,
//! and leave it oldest first, so a sample seldom errs, and then by a wait for one page.
//!
//! Decided: the cache is filled by reading in sequence, not by asking for a whole span (WILLNEED): only the read-ahead
//! of a sequence makes large folios, and sending costs by the folio. Catch-up of 100 B records over two connections in
//! one run: 22 -> 17 us of CPU per 1000 from the cache, 95 -> 41..77 from the disk.

use super::core::Core;
use rustix::fs::{Advice, Mode, OFlags};
use rustix::io::{Errno, ReadWriteFlags};
use std::io::{IoSliceMut, Result};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

const SAMPLE_BYTES: usize = 256 << 10;
/// What one read of a span that is brought into the page cache asks for.
const PIECE_BYTES: usize = 64 << 10;

/// A file open for reading through the page cache. Clones are the same open file.
#[derive(Clone, Debug)]
pub struct UringSource {
    fd: Arc<OwnedFd>,
}

impl UringSource {
    /// Blocks. The kernel is told of sequential reads: see the top. Its read-ahead may run past what a reader may see,
    /// which costs the writer the dropping of some pages and nobody a stale byte.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let fd = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        rustix::fs::fadvise(&fd, 0, None, Advice::Sequential)?;
        Ok(Self { fd: Arc::new(fd) })
    }

    /// Whether `from..to` seems to be in the page cache.
    pub(super) fn is_warm(&self, from: u64, to: u64) -> bool {
        debug_assert!(from < to);
        let samples = (from..to).step_by(SAMPLE_BYTES);
        samples.chain([to - 1]).all(|position| {
            // Past the end of the file, and any other error: there is nothing to wait for.
            !matches!(
                self.read_now(&mut [0], position),
                Err(Errno::AGAIN | Errno::OPNOTSUPP)
            )
        })
    }

    /// Reads what can be had without waiting: EAGAIN if nothing.
    pub(super) fn read_now(&self, into: &mut [u8], position: u64) -> rustix::io::Result<usize> {
        let mut parts = [IoSliceMut::new(into)];
        rustix::io::preadv2(&self.fd, &mut parts, position, ReadWriteFlags::NOWAIT)
    }

    /// Blocks until `from..to` is in the page cache, or the file ends.
    pub(super) fn warm(&self, from: u64, to: u64) -> Result<()> {
        self.scan(from, to, (), |(), _| true)
    }

    /// The same, and shows the bytes to `look` until it says false. Returns the state.
    pub(super) fn scan<T>(
        &self,
        from: u64,
        to: u64,
        mut state: T,
        look: fn(&mut T, &[u8]) -> bool,
    ) -> Result<T> {
        let mut scratch = [0; PIECE_BYTES];
        let mut position = from;
        while position < to {
            let want = (to - position).min(PIECE_BYTES as u64) as usize;
            match rustix::io::pread(&self.fd, &mut scratch[..want], position) {
                Ok(0) => break,
                Ok(count) if !look(&mut state, &scratch[..count]) => break,
                Ok(count) => position += count as u64,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(state)
    }
}

impl AsFd for UringSource {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Reads up to `bytes` at `position`: at once what is in the page cache, the rest on a thread that may wait.
pub(super) async fn read(
    core: &Rc<Core>,
    source: &UringSource,
    position: u64,
    bytes: usize,
) -> Result<Vec<u8>> {
    let mut buffer = vec![0; bytes];
    let have = source.read_now(&mut buffer, position).unwrap_or(0);
    if have == bytes {
        return Ok(buffer);
    }
    let source = source.clone();
    core.blocking(move || {
        let mut have = have;
        while have < bytes {
            match rustix::io::pread(&source, &mut buffer[have..], position + have as u64) {
                Ok(0) => break,
                Ok(count) => have += count,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        buffer.truncate(have);
        Ok(buffer)
    })
    .await
}
