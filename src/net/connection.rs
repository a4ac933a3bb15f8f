//! A connection: what its two halves share, and the reading half. What a frame is, and what it asks, is the protocol's:
//! `native` and `kafka` take the frames.
//!
//! ```text
//!  read: room in the log? ─ room in the buffer? ─> one receive ─> frame, frame, frame ─┬─ produce: into the engine at
//!                                                                                      │  once, its tickets owed
//!                                                                                      └─ anything else: owed
//!  write (`answer`): the next owed answer ─> await it ─> encode; send when nothing more is settled
//! ```
//! A produce enters the log in the order of its arrival; everything else happens when its answer's turn has come. So
//! a fetch behind a produce sees what the produce wrote.

use crate::base::{CoreId, NodeId, Stage};
use crate::engine::Engine;
use crate::io::{Io, Monotonic, Reader};
use crate::net::clients::Seat;
use crate::net::life::{Life, Place};
use crate::net::patience::Patience;
use crate::net::pool::Pool;
use crate::net::queue::Queue;
use crate::net::receive::Receive;
use crate::net::stats::Counters;
use crate::net::{TURN, TURN_STEPS, kafka, native};
use crate::protocol::native::Greeting;
use futures_lite::future::or;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

/// How long a peer may send nothing at all. Whoever waits for records asks again every minute at the latest.
const IDLE_WAIT: Duration = Duration::from_secs(600);

/// What the two halves share.
pub(super) struct Shared<E: Engine> {
    pub(super) engine: E,
    pub(super) queue: Queue<E::Ticket>,
    pub(super) node: NodeId,
    pub(super) core: CoreId,
    pub(super) counters: Rc<Counters>,
    pub(super) pool: Rc<Pool>,
    pub(super) place: Place,
    /// Whose requests are counted.
    pub(super) seat: Seat,
    /// Who is at the other end.
    pub(super) peer: SocketAddr,
    /// How its requests are told apart.
    pub(super) wire: Wire,
}

/// What a port speaks.
#[derive(Clone, Debug)]
pub(super) enum Wire {
    Native,
    Kafka(Rc<kafka::Kafka>),
}

impl<E: Engine> Shared<E> {
    pub(super) fn life(&self) -> &Life {
        self.place.life()
    }
}

/// What becomes of the connection after some frames.
#[derive(PartialEq, Eq, Debug)]
enum Next {
    Read,
    Close,
}

/// What became of the bytes at the front of the receive buffer.
pub(super) enum Taken {
    /// They are no whole frame yet.
    NeedMore,
    /// So many bytes were a frame, which was taken.
    Frame(usize),
    /// The connection is to close: what was owed before is still answered.
    Close,
}

/// Reads until the peer ends, breaks the protocol, or the connection is to close. What was taken is still answered.
pub(super) async fn read<I: Io, E: Engine>(io: I, reader: I::Reader, shared: Rc<Shared<E>>) {
    let mut reading = Reading {
        io,
        reader,
        buffer: Receive::new(Rc::clone(&shared.pool)),
        greeting: Greeting::new(),
        patience: Patience::for_hello(),
        is_greeted: false,
        received_at: None,
        partial_since: None,
        turn_began: Monotonic::default(),
        shared,
    };
    while reading.receive().await && reading.take_frames().await == Next::Read {}
    reading.shared.life().read_by(None);
    reading.shared.queue.end();
}

struct Reading<I: Io, E: Engine> {
    io: I,
    reader: I::Reader,
    buffer: Receive,
    greeting: Greeting,
    is_greeted: bool,
    patience: Patience,
    /// When the bytes that are being taken came; later by what the taking had to wait.
    received_at: Option<Monotonic>,
    /// When the first bytes of the frame that is not whole came.
    partial_since: Option<Monotonic>,
    /// Since when others have not run.
    turn_began: Monotonic,
    shared: Rc<Shared<E>>,
}

impl<I: Io, E: Engine> Reading<I, E> {
    /// One receive. False: there will be none.
    async fn receive(&mut self) -> bool {
        let mut began = self.io.now();
        if let Some(received_at) = self.received_at {
            let counters = &self.shared.counters;
            counters.took(Stage::Decode, received_at, began);
        }
        if self.wait_for_room().await {
            began = self.io.now();
        }
        began = self.end_turn(began).await;
        let shared = &self.shared;
        if shared.life().is_closing() {
            return false;
        }
        let owes = !self.is_greeted || !self.buffer.pending().is_empty();
        let wait = if owes {
            self.patience.usual()
        } else {
            IDLE_WAIT
        };
        // The clock of the peer runs only while we read: that the log has no room is not its fault.
        shared.life().read_by(Some(began.plus(wait)));
        let pressed_by = began.plus(self.patience.pressed());
        let is_held = owes && self.buffer.is_grown();
        shared.life().pressed_by(is_held.then_some(pressed_by));
        let (reader, buffer) = (&mut self.reader, &mut self.buffer);
        let mut waited = false;
        let read = poll_fn(|context| {
            let polled = reader.poll_read(context, buffer.space());
            if polled.is_pending() {
                waited = true;
                buffer.rest();
            }
            polled
        });
        let read = read.await;
        shared.life().read_by(None);
        shared.life().pressed_by(None);
        let Ok(bytes @ 1..) = read else {
            return false;
        };
        self.buffer.received(bytes);
        shared.counters.received(bytes);
        let now = self.io.now();
        self.received_at = Some(now);
        if waited {
            self.turn_began = now;
        }
        if owes {
            self.patience.spend(now.since(began));
        }
        if self.is_greeted {
            self.patience.earn(bytes);
        }
        true
    }

    /// Lets others run if that is due `now`. A peer that sends without pause is always ready to be read. Returns the
    /// time afterwards.
    async fn end_turn(&mut self, now: Monotonic) -> Monotonic {
        if now.since(self.turn_began) < TURN {
            return now;
        }
        self.io.yield_now().await;
        self.turn_began = self.io.now();
        self.turn_began
    }

    /// Waits until the log and the buffer have room, or the connection is to close. Whether that took any time.
    async fn wait_for_room(&mut self) -> bool {
        let shared = &self.shared;
        let room = async {
            shared.engine.room().await;
            self.buffer.make_room().await;
        };
        let mut room = pin!(or(room, shared.life().closing()));
        let mut waited = false;
        poll_fn(|context| {
            let polled = room.as_mut().poll(context);
            waited |= polled.is_pending();
            polled
        })
        .await;
        waited
    }

    /// Takes every whole frame out of the buffer.
    async fn take_frames(&mut self) -> Next {
        let next = self.take_whole_frames().await;
        // What is left is the beginning of a frame: the same as before, or one that came just now.
        if self.buffer.pending().is_empty() {
            self.partial_since = None;
        } else if self.partial_since.is_none() {
            self.partial_since = self.received_at;
        }
        next
    }

    async fn take_whole_frames(&mut self) -> Next {
        let mut steps = 0;
        loop {
            steps += 1;
            if steps % TURN_STEPS == 0 {
                let began = self.io.now();
                let waited = self.end_turn(began).await.since(began);
                // What others did is no decoding.
                self.received_at = self.received_at.map(|at| at.plus(waited));
            }
            let shared = &self.shared;
            if shared.queue.is_full() {
                let began = self.io.now();
                or(shared.queue.room(), shared.life().closing()).await;
                // Waiting for answers to be taken is no decoding.
                let waited = self.io.now().since(began);
                self.received_at = self.received_at.map(|at| at.plus(waited));
            }
            if shared.life().is_closing() {
                return Next::Close;
            }
            let pending = self.buffer.pending();
            let taken = match &shared.wire {
                Wire::Native => native::take(shared, &mut self.greeting, pending),
                Wire::Kafka(_) => kafka::take(shared, pending),
            };
            let total = match taken {
                Taken::NeedMore => return Next::Read,
                Taken::Frame(total) => total,
                Taken::Close => return Next::Close,
            };
            if let (Some(since), Some(now)) = (self.partial_since.take(), self.received_at) {
                shared.counters.took(Stage::Receive, since, now);
            }
            self.buffer.take(total);
            self.is_greeted = true;
            self.patience = Patience::for_frame();
        }
    }
}
