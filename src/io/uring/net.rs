//! Sockets: listening, connecting, and the receiving half.
//!
//! ```text
//!  connection = one fd, one glommio stream ──┬─> UringReader   (reads)
//!                                            └─> UringWriter   (waits for room; sends go straight to the fd)
//! ```
//! Decided: the halves share the stream. It keeps what waits to read apart from what waits to write, and is borrowed only
//! while it is polled. A stream for each half, on a second fd, costs an idle connection another poll in the ring and
//! 10,000 of them another 10,000 file descriptors.
//!
//! Decided: the listening socket is ours and not glommio's, which sets SO_REUSEPORT: a second broker would bind the
//! same port in silence and take half of the connections.

use super::core::Core;
use super::edge;
use super::send::UringWriter;
use crate::io::{Listener, Reader};
use futures_lite::AsyncRead;
use glommio::net::{TcpListener, TcpStream};
use rustix::io::{Errno, FdFlags};
use rustix::net::{AddressFamily, SocketAddrAny, SocketFlags, SocketType, ipproto, sockopt};
use std::cell::RefCell;
use std::io::{ErrorKind, Result};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

/// Connections that the kernel completes before we accept them; further ones wait and retry.
const BACKLOG: i32 = 1024;

/// A listening socket.
#[derive(Debug)]
pub struct UringListener {
    listener: TcpListener,
    address: SocketAddr,
    core: Rc<Core>,
}

/// The receiving half of a connection.
#[derive(Debug)]
pub struct UringReader {
    stream: Shared,
}

/// The stream of both halves; closed with the last of them.
pub(super) type Shared = Rc<RefCell<TcpStream>>;

impl UringListener {
    pub(super) fn bind(core: &Rc<Core>, address: SocketAddr) -> Result<Self> {
        let family = match address {
            SocketAddr::V4(_) => AddressFamily::INET,
            SocketAddr::V6(_) => AddressFamily::INET6,
        };
        let socket = rustix::net::socket_with(
            family,
            SocketType::STREAM,
            SocketFlags::CLOEXEC,
            Some(ipproto::TCP),
        )?;
        // A restarted broker takes its port back from connections in TIME_WAIT; a listening socket still refuses us.
        sockopt::set_socket_reuseaddr(&socket, true)?;
        rustix::net::bind(&socket, &address)?;
        rustix::net::listen(&socket, BACKLOG)?;
        let address = SocketAddr::try_from(rustix::net::getsockname(&socket)?)?;
        // SAFETY: the descriptor was just given up by its only owner.
        let listener = unsafe { TcpListener::from_raw_fd(socket.into_raw_fd()) };
        Ok(Self {
            listener,
            address,
            core: Rc::clone(core),
        })
    }
}

impl Listener for UringListener {
    type Reader = UringReader;
    type Writer = UringWriter;

    /// EMFILE, ECONNABORTED and their like are the caller's to wait out.
    async fn accept(&self) -> Result<(UringReader, UringWriter, SocketAddr)> {
        let stream = self.listener.accept().await.map_err(edge)?;
        let peer = stream.peer_addr().map_err(edge)?;
        let (reader, writer) = halves(&self.core, stream)?;
        Ok((reader, writer, peer))
    }

    fn local_addr(&self) -> SocketAddr {
        self.address
    }
}

pub(super) async fn connect(
    core: &Rc<Core>,
    address: SocketAddr,
) -> Result<(UringReader, UringWriter)> {
    let stream = TcpStream::connect(address).await.map_err(edge)?;
    halves(core, stream)
}

/// Splits a connected stream. Non-blocking is needed by sendfile, which has no flag of its own for it; glommio's own
/// calls say MSG_DONTWAIT and do not care.
fn halves(core: &Rc<Core>, stream: TcpStream) -> Result<(UringReader, UringWriter)> {
    // SAFETY: the stream owns the descriptor and lives to the end of this function.
    let fd = unsafe { BorrowedFd::borrow_raw(stream.as_raw_fd()) };
    rustix::io::fcntl_setfd(fd, FdFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(fd, true)?;
    sockopt::set_tcp_nodelay(fd, true)?;
    spare_pacing(fd);
    let stream = Rc::new(RefCell::new(stream));
    let writer = UringWriter::new(core, Rc::clone(&stream));
    Ok((UringReader { stream }, writer))
}

/// A connection within this machine needs no pacing. Where the machine's default is BBR, its timers are a quarter of
/// what sending costs, and they hold bytes back. Reno is in every kernel and open to everybody. An improvement only:
/// failing is no error.
fn spare_pacing(socket: BorrowedFd<'_>) {
    let address = |found: rustix::io::Result<SocketAddrAny>| SocketAddr::try_from(found.ok()?).ok();
    let peer =
        address(rustix::net::getpeername(socket).and_then(|peer| peer.ok_or(Errno::NOTCONN)));
    let own = address(rustix::net::getsockname(socket));
    if peer.is_some() && peer.map(|peer| peer.ip()) == own.map(|own| own.ip()) {
        let _ = sockopt::set_tcp_congestion(socket, "reno");
    }
}

impl Reader for UringReader {
    fn poll_read(&mut self, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<Result<usize>> {
        let mut stream = self.stream.borrow_mut();
        loop {
            match Pin::new(&mut *stream).poll_read(context, buffer) {
                Poll::Ready(Err(error)) if error.kind() == ErrorKind::Interrupted => {}
                polled => return polled,
            }
        }
    }
}
