//! The sending half of a connection.
//!
//! ```text
//!  write_vectored:  sendmsg (no wait) ──EAGAIN──> a plain write through the stream, which waits for room ──> again
//!  send_file:       sendfile (no wait) ──EAGAIN──> copy <= 4 KiB of the span through the stream ──> still warm?
//!                      ▲                                        no: warm it on a blocking thread, and ask for the next one
//!                      └───────────────────────────────────────────────────────────────────────────┘
//! ```
//! glommio has no way to only wait until a socket can be written; a small write that must wait is one.

use super::core::Core;
use super::net::Shared;
use super::source::UringSource;
use crate::io::Writer;
use futures_lite::AsyncWrite;
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendFlags, Shutdown};
use std::future::poll_fn;
use std::io::{Error, ErrorKind, IoSlice, Result};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::pin::Pin;
use std::rc::Rc;

/// What is made sure to be in the page cache before it is sent, and what is read ahead behind it.
const SLICE_BYTES: u64 = 1 << 20;
/// What is copied to wait for room in the socket.
const COPY_BYTES: usize = 4 << 10;
/// Parts handed over by one sendmsg. The kernel takes 1024; 64 keep the array on the stack small.
const PARTS_MAX: usize = 64;

/// The sending half of a connection.
#[derive(Debug)]
pub struct UringWriter {
    stream: Shared,
    core: Rc<Core>,
    /// For [`COPY_BYTES`]; made when first needed.
    copy: Vec<u8>,
}

impl UringWriter {
    pub(super) fn new(core: &Rc<Core>, stream: Shared) -> Self {
        Self {
            stream,
            core: Rc::clone(core),
            copy: Vec::new(),
        }
    }

    fn fd(&self) -> BorrowedFd<'_> {
        let fd = self.stream.borrow().as_raw_fd();
        // SAFETY: the stream owns the descriptor; the borrow of `self`, who shares it, keeps it open.
        unsafe { BorrowedFd::borrow_raw(fd) }
    }

    /// Sends what the socket takes of `parts` from `skip` bytes into the first; `None` if it takes nothing now.
    fn send_now(&self, parts: &[&[u8]], skip: usize) -> Result<Option<usize>> {
        let mut slices = [IoSlice::new(&[]); PARTS_MAX];
        let count = parts.len().min(PARTS_MAX);
        for (slice, part) in slices.iter_mut().zip(parts) {
            *slice = IoSlice::new(part);
        }
        slices[0] = IoSlice::new(&parts[0][skip..]);
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        loop {
            let mut control = SendAncillaryBuffer::default();
            match rustix::net::sendmsg(self.fd(), &slices[..count], &mut control, flags) {
                Ok(sent) => return Ok(Some(sent)),
                Err(Errno::AGAIN) => return Ok(None),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Waits until the socket takes at least one of `bytes`.
    async fn send_waiting(stream: &Shared, bytes: &[u8]) -> Result<usize> {
        loop {
            let sent =
                poll_fn(|context| Pin::new(&mut *stream.borrow_mut()).poll_write(context, bytes));
            match sent.await {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                outcome => return outcome,
            }
        }
    }

    /// Sends what the socket takes of `from..to`, a span in the page cache; `None` if it takes nothing now.
    fn send_span(&self, source: &UringSource, from: u64, to: u64) -> Result<Option<usize>> {
        loop {
            let mut offset = from;
            match rustix::fs::sendfile(self.fd(), source, Some(&mut offset), (to - from) as usize) {
                Ok(0) => return Err(ended_early(from)),
                Ok(sent) => return Ok(Some(sent)),
                Err(Errno::AGAIN) => return Ok(None),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Waits for room in the socket by sending the next bytes of `from..to` as a copy. 0: they left the page cache.
    async fn send_copy(&mut self, source: &UringSource, from: u64, to: u64) -> Result<usize> {
        self.copy.resize(COPY_BYTES, 0);
        let want = (to - from).min(COPY_BYTES as u64) as usize;
        match source.read_now(&mut self.copy[..want], from) {
            Ok(0) => Err(ended_early(from)),
            Ok(have) => Self::send_waiting(&self.stream, &self.copy[..have]).await,
            Err(Errno::AGAIN | Errno::OPNOTSUPP) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits until `from..to` is in the page cache, and has what comes behind it brought there meanwhile: who reads what
    /// is cold is behind, and asks for that next.
    async fn warm(&self, source: &UringSource, from: u64, to: u64) -> Result<()> {
        let now = source.clone();
        self.core.blocking(move || now.warm(from, to)).await?;
        let (core, next) = (Rc::clone(&self.core), source.clone());
        let ahead = to.saturating_add(SLICE_BYTES);
        self.core.spawn(async move {
            // An error shows when the span is sent.
            let _ = core.blocking(move || next.warm(to, ahead)).await;
        });
        Ok(())
    }
}

fn ended_early(position: u64) -> Error {
    let text = format!("the file ends at byte {position}, inside the span to send");
    Error::new(ErrorKind::UnexpectedEof, text)
}

impl Writer for UringWriter {
    type Source = UringSource;

    async fn write_all(&mut self, bytes: &[u8]) -> Result<()> {
        self.write_vectored(&[bytes]).await
    }

    async fn write_vectored(&mut self, parts: &[&[u8]]) -> Result<()> {
        let mut rest = parts;
        let mut skip = 0;
        loop {
            while let Some(first) = rest.first()
                && skip >= first.len()
            {
                skip -= first.len();
                rest = &rest[1..];
            }
            let Some(first) = rest.first() else {
                debug_assert_eq!(skip, 0, "never sends more than there is");
                return Ok(());
            };
            skip += match self.send_now(rest, skip)? {
                Some(sent) => sent,
                None => Self::send_waiting(&self.stream, &first[skip..]).await?,
            };
            glommio::yield_if_needed().await;
        }
    }

    async fn send_file(&mut self, source: &UringSource, position: u64, bytes: u64) -> Result<()> {
        let end = position
            .checked_add(bytes)
            .ok_or_else(|| Error::from(ErrorKind::InvalidInput))?;
        let (mut at, mut to) = (position, position);
        // The caller has just looked; who waits for a slow peer looks again.
        let mut has_waited = false;
        while at < end {
            if at == to {
                to = end.min(at.saturating_add(SLICE_BYTES));
                if has_waited && !source.is_warm(at, to) {
                    self.warm(source, at, to).await?;
                }
            }
            let sent = self.send_span(source, at, to)?.unwrap_or(0) as u64;
            at += sent;
            if at < to {
                // Less than asked: the socket is full.
                has_waited = true;
                let copied = self.send_copy(source, at, to).await? as u64;
                at += copied;
                if copied == 0 {
                    to = at;
                }
            }
            glommio::yield_if_needed().await;
        }
        Ok(())
    }

    fn shutdown(&mut self) {
        // It fails only on a connection that is already gone.
        let _ = rustix::net::shutdown(self.fd(), Shutdown::Both);
    }
}
