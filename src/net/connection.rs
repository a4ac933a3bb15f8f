//! A connection of the native protocol: what its two halves share, and the reading half.
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
use crate::net::life::{Life, Place};
use crate::net::pool::Pool;
use crate::net::queue::{Owed, Queue, Rare};
use crate::net::receive::Receive;
use crate::net::stats::Counters;
use crate::protocol::native::{
    Caps, Frame, Greeting, MetadataQuery, Refusal, Request, Split, split,
};
use futures_lite::future::or;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

/// How long a peer may take to say hello.
const HELLO_WAIT: Duration = Duration::from_secs(10);
/// How long it may take to finish a frame that it began …
const FRAME_WAIT: Duration = Duration::from_secs(30);
/// … and so many bytes buy it another second, up to that again: a slow line is no fault, a trickle is.
const FRAME_BYTES_PER_SECOND_MIN: u32 = 64 << 10;
/// How long it may send nothing at all. Whoever waits for records asks again every minute at the latest.
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

/// Reads until the peer ends, breaks the protocol, or the connection is to close. What was taken is still answered.
pub(super) async fn read<I: Io, E: Engine>(io: I, reader: I::Reader, shared: Rc<Shared<E>>) {
    let mut reading = Reading {
        io,
        reader,
        buffer: Receive::new(Rc::clone(&shared.pool)),
        greeting: Greeting::new(),
        patience: HELLO_WAIT,
        is_greeted: false,
        received_at: None,
        partial_since: None,
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
    /// How much longer the peer may take for its hello, or for the frame that it is in the middle of.
    patience: Duration,
    /// When the bytes that are being taken came; later by what the taking had to wait.
    received_at: Option<Monotonic>,
    /// When the first bytes of the frame that is not whole came.
    partial_since: Option<Monotonic>,
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
        let shared = &self.shared;
        if shared.life().is_closing() {
            return false;
        }
        let owes = !self.is_greeted || !self.buffer.pending().is_empty();
        let wait = if owes { self.patience } else { IDLE_WAIT };
        // The clock of the peer runs only while we read: that the log has no room is not its fault.
        shared.life().read_by(Some(began.plus(wait)));
        let (reader, buffer) = (&mut self.reader, &mut self.buffer);
        let read = poll_fn(|context| {
            let polled = reader.poll_read(context, buffer.space());
            if polled.is_pending() {
                buffer.rest();
            }
            polled
        });
        let read = read.await;
        shared.life().read_by(None);
        let Ok(bytes @ 1..) = read else {
            return false;
        };
        self.buffer.received(bytes);
        shared.counters.received(bytes);
        let now = self.io.now();
        self.received_at = Some(now);
        if owes {
            self.patience = self.patience.saturating_sub(now.since(began));
        }
        if self.is_greeted {
            let bought = Duration::from_secs(1) * bytes as u32 / FRAME_BYTES_PER_SECOND_MIN;
            self.patience = (self.patience + bought).min(FRAME_WAIT);
        }
        true
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
        let shared = &self.shared;
        loop {
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
            let frame = match split(self.buffer.pending(), self.greeting.caps()) {
                Ok(Split::NeedMore(_)) => return Next::Read,
                Ok(Split::Frame(frame)) => frame,
                Err(_) => {
                    // Where the next frame begins is not known, and which request to answer neither.
                    shared.counters.malformed();
                    return Next::Close;
                }
            };
            let total = frame.total;
            if let (Some(since), Some(now)) = (self.partial_since.take(), self.received_at) {
                shared.counters.took(Stage::Receive, since, now);
            }
            if take_frame(shared, &mut self.greeting, frame) == Next::Close {
                return Next::Close;
            }
            self.buffer.take(total);
            self.is_greeted = true;
            self.patience = FRAME_WAIT;
        }
    }
}

/// Takes one request.
fn take_frame<E: Engine>(shared: &Shared<E>, greeting: &mut Greeting, frame: Frame<'_>) -> Next {
    shared.counters.request();
    let correlation = frame.correlation;
    let refuse = |refusal| {
        let rare = Rare::Refused(refusal);
        shared.queue.owe(correlation, Owed::Rare(Box::new(rare)));
    };
    let request = match Request::decode(frame.header, frame.body) {
        Ok(request) => request,
        Err(error) => {
            shared.counters.malformed();
            refuse(Refusal::new(error.code(), Some(&error.to_string())));
            let must_close = error.is_fatal() || greeting.caps() == Caps::HELLO;
            return if must_close { Next::Close } else { Next::Read };
        }
    };
    match greeting.admit(&request) {
        Ok(None) => {}
        Ok(Some(version)) => {
            let rare = Box::new(Rare::Welcome { version });
            shared.queue.owe(correlation, Owed::Rare(rare));
            return Next::Read;
        }
        Err(refusal) => {
            refuse(refusal);
            return Next::Close;
        }
    }
    let owed = begin(shared, request);
    shared.queue.owe(correlation, owed);
    Next::Read
}

/// Hands a produce to the engine; keeps anything else for its turn.
fn begin<E: Engine>(shared: &Shared<E>, request: Request<'_>) -> Owed {
    let rare = match request {
        Request::Produce(produce) => {
            for entry in produce.entries() {
                let engine = &shared.engine;
                let ticket = engine.produce(entry.key, produce.level(), entry.batches);
                shared.queue.add_ticket(ticket);
            }
            return Owed::Produce {
                entries: produce.count() as u32,
            };
        }
        Request::Fetch(fetch) => {
            let mut owed = shared.queue.spare();
            fetch.fill(&mut owed);
            return Owed::Fetch(owed);
        }
        Request::Metadata(MetadataQuery::All { after }) => Rare::AllTopics { after },
        Request::Metadata(MetadataQuery::Topics(topics)) => Rare::Topics(topics),
        Request::CreateTopic(topic) => Rare::Create(topic),
        Request::DeleteTopic(topic) => Rare::Delete(topic),
        Request::DescribeTopic { topic, first } => Rare::Describe {
            topic,
            first: first.0,
        },
        Request::ListOffsets(list) => {
            let entries = list.entries().map(|entry| (entry.key, entry.query));
            Rare::ListOffsets(entries.collect())
        }
        Request::Stages => Rare::Stages,
        Request::Hello(_) => unreachable!("the greeting admits or refuses every hello"),
    };
    Owed::Rare(Box::new(rare))
}
