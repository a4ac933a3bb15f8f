//! One connection over a blocking socket.

use crate::client::ClientError;
use crate::client::session::{Session, SessionError};
use crate::protocol::native::{Reply, Welcome};
use std::io::{ErrorKind, IoSlice, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// A connection that has been welcomed.
pub(super) struct Connection {
    stream: TcpStream,
    session: Session,
    address: String,
    timeout: Duration,
}

impl Connection {
    /// Dials `address`, says hello and waits for the welcome.
    pub(super) fn open(address: &str, timeout: Duration) -> Result<(Self, Welcome), ClientError> {
        let refused = |cause| ClientError::Connect {
            address: address.to_owned(),
            cause,
        };
        let stream = dial(address, timeout).map_err(refused)?;
        stream.set_nodelay(true).map_err(refused)?;
        stream.set_read_timeout(Some(timeout)).map_err(refused)?;
        stream.set_write_timeout(Some(timeout)).map_err(refused)?;
        let mut connection = Self {
            stream,
            session: Session::new(),
            address: address.to_owned(),
            timeout,
        };
        connection.send(&[])?;
        match connection.receive()?.1 {
            Reply::Welcome(welcome) => Ok((connection, welcome)),
            Reply::Refused(refusal) => Err(refusal.into()),
            _ => unreachable!("the session holds replies against requests"),
        }
    }

    /// The session, to write requests into; [`Connection::send`] sends them.
    pub(super) fn session(&mut self) -> &mut Session {
        &mut self.session
    }

    /// The socket, for whoever may have to shut it down from elsewhere.
    pub(super) fn socket(&self) -> std::io::Result<TcpStream> {
        self.stream.try_clone()
    }

    /// Sends what the session has, and `bodies` behind it. After a failure the connection must be dropped.
    pub(super) fn send(&mut self, bodies: &[&[u8]]) -> Result<(), ClientError> {
        let mut parts = Vec::with_capacity(1 + bodies.len());
        parts.push(IoSlice::new(self.session.outbox.bytes()));
        parts.extend(bodies.iter().map(|body| IoSlice::new(body)));
        let sent = write_all(&mut self.stream, &mut parts);
        self.session.outbox.clear();
        sent.map_err(|error| self.lost(&error))
    }

    /// Waits for the next reply. After a failure the connection must be dropped.
    pub(super) fn receive(&mut self) -> Result<(u32, Reply<'_>), ClientError> {
        while !self.holds_reply()? {
            self.read()?;
        }
        self.take()
    }

    /// The next reply, for one who keeps the ledger of what was asked apart and holds it against that.
    pub(super) fn receive_unchecked(&mut self) -> Result<(u32, Reply<'_>), ClientError> {
        while !self.holds_reply()? {
            self.read()?;
        }
        match self.session.inbox.next() {
            Ok(reply) => Ok(reply.expect("a whole frame is there")),
            Err(cause) => Err(ClientError::Session {
                address: self.address.clone(),
                cause,
            }),
        }
    }

    /// Whom it leads to, for a person.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Whether a reply is there, without waiting for it.
    pub(super) fn is_ready(&mut self) -> Result<bool, ClientError> {
        if self.holds_reply()? {
            return Ok(true);
        }
        let lost = |error: std::io::Error, address: &str| ClientError::Lost {
            address: address.to_owned(),
            cause: error.to_string(),
        };
        let switch = |stream: &TcpStream, on| stream.set_nonblocking(on);
        switch(&self.stream, true).map_err(|error| lost(error, &self.address))?;
        let read = self.stream.read(self.session.inbox.space());
        switch(&self.stream, false).map_err(|error| lost(error, &self.address))?;
        match read {
            Ok(0) => Err(self.ended()),
            Ok(bytes) => {
                self.session.inbox.filled(bytes);
                self.holds_reply()
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(false),
            Err(error) => Err(self.lost(&error)),
        }
    }

    /// Puts the limit on the wait for a reply to `timeout`.
    pub(super) fn set_timeout(&mut self, timeout: Duration) -> Result<(), ClientError> {
        self.timeout = timeout;
        self.stream
            .set_read_timeout(Some(timeout))
            .map_err(|error| self.lost(&error))
    }

    fn take(&mut self) -> Result<(u32, Reply<'_>), ClientError> {
        match self.session.reply() {
            Ok(reply) => Ok(reply.expect("a whole frame is there")),
            Err(cause) => Err(ClientError::Session {
                address: self.address.clone(),
                cause,
            }),
        }
    }

    fn holds_reply(&mut self) -> Result<bool, ClientError> {
        let held = self.session.inbox.holds_reply();
        held.map_err(|cause: SessionError| ClientError::Session {
            address: self.address.clone(),
            cause,
        })
    }

    fn read(&mut self) -> Result<(), ClientError> {
        loop {
            match self.stream.read(self.session.inbox.space()) {
                Ok(0) => return Err(self.ended()),
                Ok(bytes) => {
                    self.session.inbox.filled(bytes);
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(self.lost(&error)),
            }
        }
    }

    fn ended(&self) -> ClientError {
        ClientError::Lost {
            address: self.address.clone(),
            cause: "closed by the broker".to_owned(),
        }
    }

    fn lost(&self, error: &std::io::Error) -> ClientError {
        match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => ClientError::Timeout {
                address: self.address.clone(),
                after: self.timeout,
            },
            _ => ClientError::Lost {
                address: self.address.clone(),
                cause: error.to_string(),
            },
        }
    }
}

/// Tries every address that the name stands for.
fn dial(address: &str, timeout: Duration) -> std::io::Result<TcpStream> {
    let mut last = None;
    for resolved in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&resolved, timeout) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| std::io::Error::new(ErrorKind::NotFound, "no address of that name")))
}

fn write_all(stream: &mut TcpStream, mut parts: &mut [IoSlice<'_>]) -> std::io::Result<()> {
    IoSlice::advance_slices(&mut parts, 0);
    while !parts.is_empty() {
        match stream.write_vectored(parts) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(bytes) => IoSlice::advance_slices(&mut parts, bytes),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
