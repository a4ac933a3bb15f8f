//! What the tasks of a seed share, across the lives of its machine: the history, the topics that should exist, where
//! the readers stand, what was counted, what went wrong.

use crate::history::{Death, Event, History, Place, Promise};
use crate::plan::Class;
use crate::tally::Tally;
use millrace::base::{AckLevel, PartitionKey, PartitionNo, TopicId};
use millrace::client::driver::{self, DriveError, Receiver, Sender};
use millrace::client::{TopicInfo, TopicSettings};
use millrace::io::sim::{EffectKind, Fault, Fired, Sim, SimIo};
use millrace::io::{Io, Signal};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

/// What may be known of a topic's existence.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Existence {
    /// Its making was asked for and not answered, or its end was.
    Unknown,
    /// Its making was answered.
    Lives,
    /// Its end was answered.
    Gone,
}

/// A topic that some client asked for.
#[derive(Clone, Debug)]
pub(crate) struct Topic {
    pub(crate) name: String,
    pub(crate) partitions: u32,
    pub(crate) settings: TopicSettings,
    /// Known once an answer or a listing named it.
    pub(crate) id: Option<TopicId>,
    pub(crate) existence: Existence,
    /// Somebody asked for its end.
    pub(crate) deleting: bool,
    /// All its partitions have served.
    pub(crate) was_open: bool,
    /// The places of its partitions, once its id is known.
    pub(crate) places: Vec<Place>,
}

/// A place and what clients know of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seat {
    pub(crate) key: PartitionKey,
    pub(crate) topic: usize,
    /// It was looked at in this life, and serves.
    pub(crate) open: bool,
    /// Where it begins, by what was told last, and at most, by what was asked for.
    pub(crate) start: u64,
    pub(crate) start_asked: u64,
}

/// See the module.
pub(crate) struct World {
    pub(crate) sim: Sim,
    pub(crate) class: Class,
    pub(crate) history: RefCell<History>,
    pub(crate) topics: RefCell<Vec<Topic>>,
    pub(crate) seats: RefCell<Vec<Seat>>,
    pub(crate) cursors: RefCell<BTreeMap<(u32, Place), u64>>,
    pub(crate) tally: RefCell<Tally>,
    pub(crate) problems: RefCell<Vec<String>>,
    pub(crate) cores: Cell<u16>,
    /// The clients of this life have had their time.
    pub(crate) over: Cell<bool>,
    pub(crate) ended: Signal,
    /// Reads may fail in this life, by plan.
    pub(crate) reads_may_fail: Cell<bool>,
    /// Faults that had happened when this life began.
    pub(crate) fired_before: Cell<usize>,
    pub(crate) reads_before: Cell<u64>,
    /// The disk has lied since a start was last looked at.
    pub(crate) lied: Cell<bool>,
    clients: Cell<u32>,
}

impl World {
    pub(crate) fn new(sim: &Sim, class: Class) -> Rc<Self> {
        Rc::new(Self {
            sim: sim.clone(),
            class,
            history: RefCell::default(),
            topics: RefCell::default(),
            seats: RefCell::default(),
            cursors: RefCell::default(),
            tally: RefCell::default(),
            problems: RefCell::default(),
            cores: Cell::new(1),
            over: Cell::new(false),
            ended: Signal::new(),
            reads_may_fail: Cell::new(false),
            fired_before: Cell::new(0),
            reads_before: Cell::new(0),
            lied: Cell::new(false),
            clients: Cell::new(0),
        })
    }

    /// Notes something that must not happen and is no anomaly of the log.
    pub(crate) fn problem(&self, what: String) {
        self.problems.borrow_mut().push(what);
    }

    /// Whether damage may be told in this seed: its disk lies, or a sync has failed. What a failed sync should have covered
    /// is visible until the power goes, and a start on the same boot cannot tell it from what is durable: its loss has
    /// to be told, which is less than that it must not be lost.
    pub(crate) fn may_lie(&self) -> bool {
        let forgets = |fired: &Fired| {
            matches!(fired.kind, EffectKind::Sync | EffectKind::SyncDir)
                && !matches!(fired.fault, Fault::SlowBy(_))
        };
        self.class == Class::Lying || self.sim.disk().fired().iter().any(forgets)
    }

    pub(crate) fn count(&self, what: &'static str, more: u64) {
        self.tally.borrow_mut().add(what, more);
    }

    pub(crate) fn note(&self, event: Event) {
        self.history.borrow_mut().note(event);
    }

    /// A number that no other client of this seed has.
    pub(crate) fn new_client(&self) -> u32 {
        self.clients.replace(self.clients.get() + 1)
    }

    /// A life has ended.
    pub(crate) fn died(&self, how: Death, at: u64) {
        self.note(Event::Died { how, at });
        for seat in self.seats.borrow_mut().iter_mut() {
            seat.open = false;
        }
    }

    /// The clients' time is over.
    pub(crate) fn end(&self) {
        self.over.set(true);
        self.ended.notify();
    }

    /// Takes note of a topic's id, which makes its partitions places.
    pub(crate) fn identify(&self, topic: usize, info: &TopicInfo) {
        let mut topics = self.topics.borrow_mut();
        let topic_state = &mut topics[topic];
        if topic_state.id.is_some() {
            return;
        }
        topic_state.id = Some(info.id);
        let level = match topic_state.settings.ack {
            AckLevel::Synced => Promise::Synced,
            AckLevel::None | AckLevel::Written => Promise::Written,
        };
        for number in 0..topic_state.partitions {
            let place = self.history.borrow_mut().place(level);
            topic_state.places.push(place);
            self.seats.borrow_mut().push(Seat {
                key: PartitionKey::new(info.id, PartitionNo(number)),
                topic,
                open: false,
                start: 0,
                start_asked: 0,
            });
        }
    }

    /// The partitions of a topic that was just made serve, and are empty.
    pub(crate) fn open(&self, topic: usize) {
        let places = {
            let topic = &mut self.topics.borrow_mut()[topic];
            topic.was_open = true;
            topic.places.clone()
        };
        places.iter().for_each(|place| self.found(*place, 0));
    }

    /// Whether a fault has happened in this life.
    pub(crate) fn has_failed(&self) -> bool {
        let disk = self.sim.disk();
        disk.fired().len() > self.fired_before.get()
            || disk.failed_reads() > self.reads_before.get()
    }

    /// Says that a topic may be gone from now on.
    pub(crate) fn may_go(&self, topic: usize) {
        let mut topics = self.topics.borrow_mut();
        topics[topic].deleting = true;
        topics[topic].existence = Existence::Unknown;
        for place in &topics[topic].places {
            self.note(Event::Deleting { place: *place });
        }
    }

    /// The topic that holds `place`.
    pub(crate) fn topic_of(&self, place: Place) -> usize {
        self.seats.borrow()[place as usize].topic
    }

    /// Whether a topic that holds `place` may be gone.
    pub(crate) fn is_deleting(&self, place: Place) -> bool {
        let topic = self.seats.borrow()[place as usize].topic;
        self.topics.borrow()[topic].deleting
    }

    /// The places that serve and that nobody deletes.
    pub(crate) fn open_places(&self) -> Vec<Place> {
        let seats = self.seats.borrow();
        let topics = self.topics.borrow();
        let open = |place: &usize| seats[*place].open && !topics[seats[*place].topic].deleting;
        (0..seats.len())
            .filter(open)
            .map(|place| place as Place)
            .collect()
    }

    pub(crate) fn key(&self, place: Place) -> PartitionKey {
        self.seats.borrow()[place as usize].key
    }

    /// The core that owns `place` in this life.
    pub(crate) fn owner(&self, place: Place) -> u16 {
        self.key(place).core(self.cores.get()).0
    }

    /// Somebody asks for the end of what lies below `before`.
    pub(crate) fn trimming(&self, place: Place, before: u64) {
        self.note(Event::Trimming { place, before });
        let seat = &mut self.seats.borrow_mut()[place as usize];
        seat.start_asked = seat.start_asked.max(before);
    }

    /// That was answered.
    pub(crate) fn trimmed(&self, place: Place, start: u64) {
        self.note(Event::Trimmed { place, start });
        let seat = &mut self.seats.borrow_mut()[place as usize];
        seat.start = seat.start.max(start);
    }

    /// A start was looked at for the first time, and `place` begins at `start`.
    pub(crate) fn starts(&self, place: Place, start: u64) {
        self.note(Event::Starts { place, start });
        let seat = &mut self.seats.borrow_mut()[place as usize];
        (seat.start, seat.start_asked) = (start, start);
    }

    /// A place serves from now on, and holds the records below `end`.
    pub(crate) fn found(&self, place: Place, end: u64) {
        let stream = self.owner(place);
        self.note(Event::Found { place, end, stream });
        self.seats.borrow_mut()[place as usize].open = true;
        for ((reader, at), cursor) in self.cursors.borrow_mut().iter_mut() {
            if *at == place && *cursor > end {
                *cursor = end;
                let (reader, offset) = (*reader, end);
                self.note(Event::Sought {
                    reader,
                    place,
                    offset,
                });
            }
        }
    }

    /// Connects to a core.
    pub(crate) async fn connect(
        &self,
        io: &SimIo,
        core: u16,
        in_flight_max: usize,
    ) -> Option<(Sender<SimIo>, Receiver<SimIo>)> {
        match driver::connect(io, address(core), in_flight_max).await {
            Ok((sender, receiver, _)) => {
                self.count("connections", 1);
                Some((sender, receiver))
            }
            Err(error) => {
                self.count("refused connections", 1);
                self.judge(&error);
                None
            }
        }
    }

    /// A connection may end at any time; but what came over it until then must make sense.
    pub(crate) fn judge(&self, error: &DriveError) {
        match error {
            DriveError::Io(_) | DriveError::Closed(_) => {}
            other => self.problem(format!("a connection ended so: {other}")),
        }
    }
}

/// Where a core listens.
pub(crate) fn address(core: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 7_000 + core))
}

/// Sleeps for up to `most`.
pub(crate) async fn pause(io: &SimIo, dice: &mut millrace::base::prng::Prng, most: Duration) {
    let nanos = dice.below(most.as_nanos() as u64 + 1);
    io.sleep(Duration::from_nanos(nanos)).await;
}
