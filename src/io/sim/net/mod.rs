//! io/sim/net: a network in memory.
//!
//! Does: listeners and connections with a latency, bounds and piece lengths drawn from the seed; a handle to disturb
//! them. May import: base, the traits of io, the world. Must not know: what is said over it.
//!
//! ```text
//!   connect ──latency──> backlog (bounded) ──accept──> two ends, each with two halves
//!   writer ──> pipe: bounded, pieces arrive in order, each at its own time ──> reader: takes part of what is there
//! ```
//! Invariants:
//! - A writer waits while the pipe is full, so a reader that stops reading stops its writer.
//! - An end is gone when it was shut down or both of its halves were dropped: the other side reads what was sent and
//!   then the end; what it writes fails with EPIPE. A dropped connection fails with ECONNRESET on both sides.
//! - A port is taken while its listener lives; an address of all interfaces takes the port on each of them.

mod pipe;
mod stream;

pub use stream::{SimReader, SimWriter};

use crate::io::sim::trace::Note;
use crate::io::sim::world::{World, nanos};
use crate::io::{Listener, Signal};
use rustix::io::Errno;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::Result;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::{Rc, Weak};
use std::time::Duration;
use stream::Connection;

/// Connections that wait for `accept`; more wait to be connected.
const BACKLOG_MAX: usize = 128;
/// The first port for a listener that asked for port 0, and for a client.
const LISTEN_PORT_MIN: u16 = 20_000;
const CLIENT_PORT_MIN: u16 = 40_000;
const LATENCY_NS: (u64, u64) = (5_000, 200_000);
const PIPE_BYTES: usize = 64 << 10;

/// What the world knows of its network.
pub(super) struct Network {
    listeners: RefCell<BTreeMap<SocketAddr, Rc<Backlog>>>,
    refused: RefCell<BTreeSet<SocketAddr>>,
    connections: RefCell<BTreeMap<u64, Weak<Connection>>>,
    connections_made: Cell<u64>,
    latency_ns: Cell<(u64, u64)>,
    pipe_bytes: Cell<usize>,
}

#[derive(Default)]
struct Backlog {
    waiting: RefCell<VecDeque<Rc<Connection>>>,
    changed: Signal,
    closed: Cell<bool>,
}

impl Network {
    pub(super) fn new() -> Self {
        Self {
            listeners: RefCell::default(),
            refused: RefCell::default(),
            connections: RefCell::default(),
            connections_made: Cell::new(0),
            latency_ns: Cell::new(LATENCY_NS),
            pipe_bytes: Cell::new(PIPE_BYTES),
        }
    }

    /// Forgets all sockets.
    pub(super) fn clear(&self) {
        let (listeners, connections) = (self.listeners.take(), self.connections.take());
        drop((listeners, connections));
    }

    fn latency(&self, world: &World) -> u64 {
        let (low, high) = self.latency_ns.get();
        world.between(low, high)
    }

    /// The address that a listener gets: itself, or with a free port where it asked for none.
    fn free_address(&self, asked: SocketAddr) -> Result<SocketAddr> {
        let listeners = self.listeners.borrow();
        let taken = |address: &SocketAddr| listeners.keys().any(|other| clash(other, address));
        let with_port = |port| SocketAddr::new(asked.ip(), port);
        let mut candidates = if asked.port() == 0 {
            LISTEN_PORT_MIN..=CLIENT_PORT_MIN - 1
        } else {
            asked.port()..=asked.port()
        };
        let free = candidates.find_map(|port| Some(with_port(port)).filter(|a| !taken(a)));
        free.ok_or_else(|| Errno::ADDRINUSE.into())
    }

    /// Who listens at `address`.
    fn backlog(&self, address: SocketAddr) -> Result<Rc<Backlog>> {
        let listeners = self.listeners.borrow();
        let found = listeners.iter().find(|(at, _)| clash(at, &address));
        match found {
            Some((_, backlog)) if !self.refused.borrow().contains(&address) => {
                Ok(Rc::clone(backlog))
            }
            _ => Err(Errno::CONNREFUSED.into()),
        }
    }

    /// Makes a connection to `server` and remembers it for [`SimNet`].
    fn connection(&self, world: &Rc<World>, server: SocketAddr) -> Rc<Connection> {
        let id = self.connections_made.get();
        self.connections_made.set(id + 1);
        let ports = u64::from(u16::MAX - CLIENT_PORT_MIN);
        let port = CLIENT_PORT_MIN + (id % ports) as u16;
        let client = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
        let connection = Connection::new(world, id, [client, server], self.pipe_bytes.get());
        let mut connections = self.connections.borrow_mut();
        connections.retain(|_, connection| connection.strong_count() > 0);
        connections.insert(id, Rc::downgrade(&connection));
        connection
    }
}

/// Whether two addresses take the same port of the same interface.
fn clash(one: &SocketAddr, two: &SocketAddr) -> bool {
    let everywhere = one.ip().is_unspecified() || two.ip().is_unspecified();
    one.port() == two.port() && (everywhere || one.ip() == two.ip())
}

/// A listening socket of the simulator.
pub struct SimListener {
    world: Rc<World>,
    address: SocketAddr,
    backlog: Rc<Backlog>,
}

pub(super) fn listen(world: &Rc<World>, asked: SocketAddr) -> Result<SimListener> {
    let address = world.net.free_address(asked)?;
    let backlog = Rc::new(Backlog::default());
    let mut listeners = world.net.listeners.borrow_mut();
    listeners.insert(address, Rc::clone(&backlog));
    Ok(SimListener {
        world: Rc::clone(world),
        address,
        backlog,
    })
}

pub(super) async fn connect(
    world: &Rc<World>,
    server: SocketAddr,
) -> Result<(SimReader, SimWriter)> {
    let arrival = world.now() + world.net.latency(world);
    world.sleep_until(arrival).await;
    let backlog = world.net.backlog(server)?;
    loop {
        if backlog.closed.get() {
            return Err(Errno::CONNREFUSED.into());
        }
        if backlog.waiting.borrow().len() < BACKLOG_MAX {
            break;
        }
        backlog.changed.wait().await;
    }
    let connection = world.net.connection(world, server);
    world.note(Note::Connected {
        connection: connection.id,
    });
    let halves = connection.halves(0);
    backlog.waiting.borrow_mut().push_back(connection);
    backlog.changed.notify();
    Ok(halves)
}

impl Listener for SimListener {
    type Reader = SimReader;
    type Writer = SimWriter;

    async fn accept(&self) -> Result<(SimReader, SimWriter, SocketAddr)> {
        loop {
            let changed = self.backlog.changed.wait();
            let next = self.backlog.waiting.borrow_mut().pop_front();
            if let Some(connection) = next {
                self.backlog.changed.notify();
                let (reader, writer) = connection.halves(1);
                return Ok((reader, writer, connection.addresses[0]));
            }
            changed.await;
        }
    }

    fn local_addr(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for SimListener {
    fn drop(&mut self) {
        self.world.net.listeners.borrow_mut().remove(&self.address);
        self.backlog.closed.set(true);
        self.backlog.changed.notify();
        for connection in self.backlog.waiting.take() {
            connection.reset();
        }
    }
}

/// Names a connection of a world.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ConnectionId(u64);

/// The hand that disturbs the network of a world.
#[derive(Clone)]
pub struct SimNet {
    world: Rc<World>,
}

impl SimNet {
    pub(super) fn new(world: &Rc<World>) -> Self {
        Self {
            world: Rc::clone(world),
        }
    }

    /// The connections that somebody holds, oldest first.
    pub fn connections(&self) -> Vec<ConnectionId> {
        let connections = self.world.net.connections.borrow();
        let live = connections.iter().filter(|(_, c)| c.strong_count() > 0);
        live.map(|(id, _)| ConnectionId(*id)).collect()
    }

    /// The addresses of a connection: who connected, and to whom.
    pub fn addresses(&self, of: ConnectionId) -> Option<(SocketAddr, SocketAddr)> {
        let [client, server] = self.find(of)?.addresses;
        Some((client, server))
    }

    /// Breaks a connection: both sides get ECONNRESET, bytes under way are lost. False if it is gone already.
    pub fn drop_connection(&self, which: ConnectionId) -> bool {
        let found = self.find(which);
        if let Some(connection) = &found {
            connection.reset();
        }
        found.is_some()
    }

    /// Holds back what is sent over a connection from now on, until `duration` has passed. Nothing is lost.
    pub fn stall(&self, which: ConnectionId, duration: Duration) -> bool {
        let found = self.find(which);
        if let Some(connection) = &found {
            connection.stall(self.world.now().saturating_add(nanos(duration)));
        }
        found.is_some()
    }

    /// Refuses new connections to `address`, as if nobody listened.
    pub fn refuse(&self, address: SocketAddr) {
        self.world.net.refused.borrow_mut().insert(address);
    }

    /// Takes [`SimNet::refuse`] back.
    pub fn allow(&self, address: SocketAddr) {
        self.world.net.refused.borrow_mut().remove(&address);
    }

    /// Sets the least and the most time that a piece takes to arrive.
    pub fn set_latency(&self, least: Duration, most: Duration) {
        assert!(least <= most, "{least:?} to {most:?}");
        self.world.net.latency_ns.set((nanos(least), nanos(most)));
    }

    /// Sets how many bytes each direction of a new connection holds.
    pub fn set_pipe_bytes(&self, bytes: usize) {
        assert!(bytes > 0, "nothing would ever arrive");
        self.world.net.pipe_bytes.set(bytes);
    }

    fn find(&self, id: ConnectionId) -> Option<Rc<Connection>> {
        let connections = self.world.net.connections.borrow();
        connections.get(&id.0).and_then(Weak::upgrade)
    }
}
