//! Taking connections, and ending them all.

use crate::base::NodeId;
use crate::base::limits::CONNECTIONS_MAX;
use crate::engine::Engine;
use crate::io::{Io, Listener, Signal, Writer};
use crate::net::connection::{Shared, Wire};
use crate::net::kafka::Kafka;
use crate::net::life::{Connections, watch};
use crate::net::pool::Pool;
use crate::net::queue::Queue;
use crate::net::stats::{Counters, Stats};
use crate::net::{answer, connection};
use futures_lite::future::or;
use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

/// How long accepting rests after it failed (EMFILE and its like: the next try would fail too).
const ACCEPT_REST: Duration = Duration::from_millis(100);
/// How long connections may take to end when they are asked to.
const CLOSE_WAIT: Duration = Duration::from_secs(5);
/// How long they may take to end when they are told to.
const DOOM_WAIT: Duration = Duration::from_secs(1);

/// What the connections of a core are served with.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The node that clients are told they speak to.
    pub node: NodeId,
    /// The most connections at a time; further ones are closed at once.
    pub connections_max: usize,
}

impl Options {
    /// The defaults.
    pub fn new(node: NodeId) -> Self {
        Self {
            node,
            connections_max: CONNECTIONS_MAX,
        }
    }
}

/// The connections of one core. Clones are the same.
pub struct Net<I: Io, E: Engine> {
    inner: Rc<Inner<I, E>>,
}

struct Inner<I: Io, E: Engine> {
    io: I,
    engine: E,
    options: Options,
    connections: Rc<Connections>,
    counters: Rc<Counters>,
    pool: Rc<Pool>,
    stopping: Cell<bool>,
    stops: Signal,
}

impl<I: Io, E: Engine> Clone for Net<I, E> {
    fn clone(&self) -> Self {
        Self {
            inner: Rc::clone(&self.inner),
        }
    }
}

impl<I: Io, E: Engine<Source = I::Source>> Net<I, E> {
    /// Serves `engine` to connections, as soon as there are any.
    pub fn new(io: I, engine: E, options: Options) -> Self {
        let inner = Inner {
            engine,
            options,
            connections: Rc::default(),
            counters: Rc::default(),
            pool: Rc::new(Pool::new()),
            stopping: Cell::new(false),
            stops: Signal::new(),
            io: io.clone(),
        };
        let (connections, counters) = (&inner.connections, &inner.counters);
        io.spawn(watch(
            io.clone(),
            Rc::clone(connections),
            Rc::clone(counters),
            Rc::clone(&inner.pool),
        ));
        Self {
            inner: Rc::new(inner),
        }
    }

    /// Takes the connections of `listener` until [`Net::stop`]. May be called for several.
    pub fn serve(&self, listener: I::Listener) {
        self.accept(listener, Wire::Native);
    }

    /// The same for clients that speak Kafka.
    pub fn serve_kafka(&self, listener: I::Listener, kafka: Kafka) {
        self.accept(listener, Wire::Kafka(Rc::new(kafka)));
    }

    fn accept(&self, listener: I::Listener, wire: Wire) {
        let inner = Rc::clone(&self.inner);
        self.inner.io.spawn(accept(inner, listener, wire));
    }

    /// Takes no new connections and no new requests, answers what was taken, and closes; all within a bound. To be
    /// called before the engine is stopped.
    pub async fn stop(&self) {
        let inner = &self.inner;
        inner.stopping.set(true);
        inner.stops.notify();
        inner.connections.for_each(|life| life.close());
        or(inner.connections.emptied(), inner.io.sleep(CLOSE_WAIT)).await;
        inner.connections.for_each(|life| life.doom());
        or(inner.connections.emptied(), inner.io.sleep(DOOM_WAIT)).await;
    }

    /// What the connections have counted.
    pub fn stats(&self) -> Stats {
        Stats {
            connections: self.inner.connections.len() as u64,
            receive_bytes: self.inner.pool.budget().used() as u64,
            ..self.inner.counters.stats()
        }
    }
}

async fn accept<I: Io, E: Engine<Source = I::Source>>(
    inner: Rc<Inner<I, E>>,
    listener: I::Listener,
    wire: Wire,
) {
    loop {
        let stops = inner.stops.wait();
        if inner.stopping.get() {
            return;
        }
        let accepted = async { Some(listener.accept().await) };
        let stopped = async {
            stops.await;
            None
        };
        match or(accepted, stopped).await {
            Some(Ok((reader, writer, peer))) => {
                begin(&inner, (reader, writer, peer), &wire);
                // Under a flood of connections there is always a next one.
                inner.io.yield_now().await;
            }
            Some(Err(_)) => {
                inner.counters.accept_error();
                inner.io.sleep(ACCEPT_REST).await;
            }
            None => return,
        }
    }
}

fn begin<I: Io, E: Engine<Source = I::Source>>(
    inner: &Inner<I, E>,
    (reader, mut writer, peer): (I::Reader, I::Writer, SocketAddr),
    wire: &Wire,
) {
    if inner.connections.len() >= inner.options.connections_max {
        inner.counters.refused();
        writer.shutdown();
        return;
    }
    inner.counters.accepted();
    let shared = Rc::new(Shared {
        engine: inner.engine.clone(),
        queue: Queue::new(),
        node: inner.options.node,
        core: inner.io.core(),
        counters: Rc::clone(&inner.counters),
        pool: Rc::clone(&inner.pool),
        place: inner.connections.enter(),
        seat: inner.counters.clients().seat(),
        peer,
        wire: wire.clone(),
    });
    let io = &inner.io;
    io.spawn(connection::read(io.clone(), reader, Rc::clone(&shared)));
    io.spawn(answer::write(io.clone(), writer, shared));
}
