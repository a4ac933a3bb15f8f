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

use crate::base::{CoreId, NodeId};
use crate::engine::Engine;
use crate::io::{Io, Reader};
use crate::net::budget::Budget;
use crate::net::life::{Life, Place};
use crate::net::queue::{Owed, Queue, Rare};
use crate::net::receive::Receive;
use crate::net::stats::Counters;
use crate::protocol::native::{
    Caps, Frame, Greeting, MetadataQuery, Refusal, Request, Split, split,
};
use futures_lite::future::or;
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
pub(super) async fn read<I: Io, E: Engine>(
    io: I,
    reader: I::Reader,
    shared: Rc<Shared<E>>,
    budget: Rc<Budget>,
) {
    let mut reading = Reading {
        io,
        reader,
        buffer: Receive::new(budget),
        greeting: Greeting::new(),
        patience: HELLO_WAIT,
        is_greeted: false,
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
    shared: Rc<Shared<E>>,
}

impl<I: Io, E: Engine> Reading<I, E> {
    /// One receive. False: there will be none.
    async fn receive(&mut self) -> bool {
        let shared = &self.shared;
        let room = async {
            shared.engine.room().await;
            self.buffer.make_room().await;
        };
        or(room, shared.life().closing()).await;
        if shared.life().is_closing() {
            return false;
        }
        let owes = !self.is_greeted || !self.buffer.pending().is_empty();
        let wait = if owes { self.patience } else { IDLE_WAIT };
        let began = self.io.now();
        // The clock of the peer runs only while we read: that the log has no room is not its fault.
        shared.life().read_by(Some(began.plus(wait)));
        let read = self.reader.read(self.buffer.space()).await;
        shared.life().read_by(None);
        let Ok(bytes @ 1..) = read else {
            return false;
        };
        self.buffer.received(bytes);
        shared.counters.received(bytes);
        if owes {
            self.patience = self.patience.saturating_sub(self.io.now().since(began));
        }
        if self.is_greeted {
            let bought = Duration::from_secs(1) * bytes as u32 / FRAME_BYTES_PER_SECOND_MIN;
            self.patience = (self.patience + bought).min(FRAME_WAIT);
        }
        true
    }

    /// Takes every whole frame out of the buffer.
    async fn take_frames(&mut self) -> Next {
        let shared = &self.shared;
        loop {
            if shared.queue.is_full() {
                or(shared.queue.room(), shared.life().closing()).await;
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
        Request::Hello(_) => unreachable!("the greeting admits or refuses every hello"),
    };
    Owed::Rare(Box::new(rare))
}
