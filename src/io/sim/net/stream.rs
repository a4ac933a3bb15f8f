//! A connection and its halves.

use crate::io::signal::Wait;
use crate::io::sim::device::{SimSource, read_source};
use crate::io::sim::net::pipe::{Found, Pipe};
use crate::io::sim::trace::Note;
use crate::io::sim::world::World;
use crate::io::{Reader, Signal, Writer};
use rustix::io::Errno;
use std::cell::{Cell, RefCell};
use std::io::{Error, ErrorKind, Result};
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

/// What `send_file` moves at a time: it reads the file in pieces, at different times, as the kernel does.
const SEND_FILE_PIECE_BYTES: usize = 32 << 10;

/// Two pipes and two ends: 0 is the one that connected, 1 the one that accepted.
pub(super) struct Connection {
    pub(super) id: u64,
    pub(super) addresses: [SocketAddr; 2],
    world: Rc<World>,
    ends: [End; 2],
    reset: Cell<bool>,
    stalled_until: Cell<u64>,
}

/// One end, and the pipe that it sends into.
struct End {
    sent: RefCell<Pipe>,
    /// Something about the pipe has changed.
    changed: Signal,
    halves: Cell<u8>,
    gone: Cell<bool>,
}

/// The receiving half of a simulated connection.
pub struct SimReader {
    half: Half,
    /// Keeps the task among those that are woken.
    waiting: Option<Wait>,
}

/// The sending half of a simulated connection.
pub struct SimWriter {
    half: Half,
}

struct Half {
    connection: Rc<Connection>,
    side: usize,
}

impl Connection {
    pub(super) fn new(
        world: &Rc<World>,
        id: u64,
        addresses: [SocketAddr; 2],
        bytes_max: usize,
    ) -> Rc<Self> {
        let end = |_| End {
            sent: RefCell::new(Pipe::new(bytes_max)),
            changed: Signal::new(),
            halves: Cell::new(0),
            gone: Cell::new(false),
        };
        Rc::new(Self {
            id,
            addresses,
            world: Rc::clone(world),
            ends: std::array::from_fn(end),
            reset: Cell::new(false),
            stalled_until: Cell::new(0),
        })
    }

    /// The two halves of one end.
    pub(super) fn halves(self: &Rc<Self>, side: usize) -> (SimReader, SimWriter) {
        let half = || {
            let halves = &self.ends[side].halves;
            halves.set(halves.get() + 1);
            Half {
                connection: Rc::clone(self),
                side,
            }
        };
        let reader = SimReader {
            half: half(),
            waiting: None,
        };
        (reader, SimWriter { half: half() })
    }

    /// Breaks the connection at once, bytes under way included.
    pub(super) fn reset(&self) {
        self.reset.set(true);
        self.notify();
    }

    /// What is sent from now on arrives at `until` or later.
    pub(super) fn stall(&self, until: u64) {
        self.stalled_until.set(until);
    }

    fn notify(&self) {
        for end in &self.ends {
            end.changed.notify();
        }
    }

    /// When something that `side` sends now arrives.
    fn arrival(&self) -> u64 {
        let at = self.world.now() + self.world.net.latency(&self.world);
        at.max(self.stalled_until.get())
    }

    fn notify_at(self: &Rc<Self>, side: usize, at: u64) {
        let connection = Rc::clone(self);
        self.world.after(at - self.world.now(), move |_| {
            connection.ends[side].changed.notify();
        });
    }

    /// Ends both directions of `side`: its own reads end, the other side reads to the end of what was sent.
    fn leave(self: &Rc<Self>, side: usize) {
        if !self.ends[side].gone.replace(true) {
            let at = self.ends[side].sent.borrow_mut().finish(self.arrival());
            self.notify_at(side, at);
            self.notify();
        }
    }
}

impl Half {
    fn own(&self) -> &End {
        &self.connection.ends[self.side]
    }

    fn other(&self) -> &End {
        &self.connection.ends[1 - self.side]
    }

    /// Takes what has arrived: about half of the time less than there is. `None`: wait.
    fn try_read(&self, buffer: &mut [u8]) -> Result<Option<usize>> {
        let (connection, world) = (&self.connection, &self.connection.world);
        if connection.reset.get() {
            return Err(Errno::CONNRESET.into());
        }
        let mut pipe = self.other().sent.borrow_mut();
        let bytes = match pipe.look(world.now()) {
            Found::Bytes(there) => there.min(buffer.len()),
            Found::End => return Ok(Some(0)),
            Found::Nothing if self.own().gone.get() => return Ok(Some(0)),
            Found::Nothing => return Ok(None),
        };
        let bytes = if bytes > 1 && world.between(0, 1) == 0 {
            world.between(1, bytes as u64) as usize
        } else {
            bytes
        };
        pipe.take(&mut buffer[..bytes]);
        world.note(Note::Received {
            connection: connection.id,
            bytes: bytes as u64,
        });
        self.other().changed.notify();
        Ok(Some(bytes))
    }

    /// Sends what there is room for, in a piece of a drawn length; 0: wait.
    fn try_write(&self, bytes: &[u8]) -> Result<usize> {
        let (connection, world) = (&self.connection, &self.connection.world);
        if connection.reset.get() {
            return Err(Errno::CONNRESET.into());
        }
        if self.own().gone.get() || self.other().gone.get() {
            return Err(Errno::PIPE.into());
        }
        let fits = bytes.len().min(self.own().sent.borrow().room());
        let piece = if fits > 1 && world.between(0, 3) == 0 {
            world.between(1, fits as u64) as usize
        } else {
            fits
        };
        if piece > 0 {
            let at = connection.arrival();
            let at = self.own().sent.borrow_mut().send(&bytes[..piece], at);
            world.note(Note::Sent {
                connection: connection.id,
                bytes: piece as u64,
                at,
            });
            connection.notify_at(self.side, at);
        }
        Ok(piece)
    }
}

impl Drop for Half {
    fn drop(&mut self) {
        let halves = &self.own().halves;
        halves.set(halves.get() - 1);
        if halves.get() == 0 {
            self.connection.leave(self.side);
        }
    }
}

impl Reader for SimReader {
    fn poll_read(&mut self, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<Result<usize>> {
        if buffer.is_empty() {
            return Poll::Ready(Ok(0));
        }
        loop {
            let mut changed = self.half.other().changed.wait();
            if let Some(bytes) = self.half.try_read(buffer)? {
                self.waiting = None;
                return Poll::Ready(Ok(bytes));
            }
            let polled = Pin::new(&mut changed).poll(context);
            self.waiting = Some(changed);
            if polled.is_pending() {
                return Poll::Pending;
            }
        }
    }
}

impl Writer for SimWriter {
    type Source = SimSource;

    async fn write_all(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let changed = self.half.own().changed.wait();
            match self.half.try_write(bytes)? {
                0 => changed.await,
                sent => bytes = &bytes[sent..],
            }
        }
        Ok(())
    }

    async fn write_vectored(&mut self, parts: &[&[u8]]) -> Result<()> {
        for part in parts {
            self.write_all(part).await?;
        }
        Ok(())
    }

    async fn send_file(&mut self, source: &SimSource, position: u64, bytes: u64) -> Result<()> {
        let world = Rc::clone(&self.half.connection.world);
        let mut piece = vec![0; SEND_FILE_PIECE_BYTES.min(bytes as usize)];
        let mut sent = 0;
        while sent < bytes {
            let wanted = piece.len().min((bytes - sent) as usize);
            let there = read_source(&world, source, position + sent, &mut piece[..wanted]).await?;
            if there == 0 {
                return Err(Error::from(ErrorKind::UnexpectedEof));
            }
            self.write_all(&piece[..there]).await?;
            sent += there as u64;
        }
        Ok(())
    }

    fn shutdown(&mut self) {
        self.half.connection.leave(self.half.side);
    }
}
