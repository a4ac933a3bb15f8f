//! The queues of this core: brings consumers, time and the log's progress to the ledgers, and their effects about.
//!
//! ```text
//!  consumer ──poll: answers, credit──> ledger of the partition ──records──> its journal, a partition of ours
//!     ▲                                    ▲       │                             │
//!     │                                    │       ├─ deliveries ──> inbox       │ stored
//!     └──── records, read from the topic ──┼───────┘                 └───────────┴──> the poll goes on
//!                                          │       └─ doomed ──> `dead`: moved to the dead letters
//!     `attend`, one task for each queue ───┘
//!     (time is up, records were committed, credit came)
//! ```
//! A queue has a ledger for each partition of its topic, on the core of that partition, and a journal beside it: so a step
//! never leaves its core. A topic without queues knows nothing of all this.
//!
//! Invariants:
//! - What a step brings about is seen from outside once its records have reached the topic's level: a delivery leaves, an
//!   answer is confirmed. The dead letters are at `synced`, so that no loss of power takes one that the ledger has let go.
//! - A ledger whose records could not be appended is never asked again: what is stored counts, after a restart.
//! - A start makes a checkpoint of each ledger durable before anything is appended to its partition. So offsets that were lost with
//!   the power are out of the ledger before they are given out again.

mod attend;
mod dead;
mod deliver;
mod facts;
mod open;
mod part;
mod poll;
mod told;

pub(super) use open::{add_partitions, close, create, open, serve};
pub use poll::Consumer;
pub(super) use poll::{join, poll};
pub(super) use told::{answer, counts, held, infos, purge};

use crate::base::queue::ConsumerId;
use crate::base::{AckLevel, Offset, PartitionNo, TimestampMs, TopicId};
use crate::engine::EngineError;
use crate::io::{Io, Signal};
use crate::queue::{Delivery, Flow, Ledger, Moment, Output};
use crate::shard::core::Core;
use part::Part;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

const NANOS_PER_MS: u64 = 1_000_000;

/// All queues, as far as this core has to do with them.
pub(super) struct Queues<I: Io> {
    all: RefCell<BTreeMap<TopicId, Rc<Queue<I>>>>,
    last_consumer: Cell<u64>,
}

/// What this core has of one queue.
pub(super) struct Queue<I: Io> {
    id: TopicId,
    name: String,
    dead_letters: Option<TopicId>,
    /// By partition: its ledger, or why it does not serve.
    parts: RefCell<BTreeMap<PartitionNo, Served<I>>>,
    takers: RefCell<BTreeMap<ConsumerId, Rc<Taker<I>>>>,
    /// Those who want records: whose turn is next stands first.
    hungry: RefCell<VecDeque<Rc<Taker<I>>>>,
    /// Somebody is hungry now, or a ledger has a deadline that came nearer.
    news: Signal,
    is_closed: Cell<bool>,
}

/// A ledger, or why it does not serve.
type Served<I> = Result<Rc<Part<I>>, EngineError>;

/// A consumer, as the ledgers' effects reach it.
struct Taker<I: Io> {
    id: ConsumerId,
    flow: Flow,
    credit: Cell<u32>,
    inbox: RefCell<VecDeque<Handed<I>>>,
    arrived: Signal,
}

/// A delivery on its way.
struct Handed<I: Io> {
    part: Rc<Part<I>>,
    delivery: Delivery,
    /// It may leave once the journal has come so far.
    stored: Offset,
}

impl<I: Io> Queues<I> {
    pub(super) fn new() -> Self {
        Self {
            all: RefCell::default(),
            last_consumer: Cell::new(0),
        }
    }
}

/// What this core has of a queue.
fn find<I: Io>(core: &Core<I>, name: &str) -> Result<Rc<Queue<I>>, EngineError> {
    let catalog = core.catalog.borrow();
    let id = catalog.queue_by_name(name).map(|queue| queue.id);
    let all = core.queues.all.borrow();
    let found = id.and_then(|id| all.get(&id)).map(Rc::clone);
    found.ok_or_else(|| EngineError::UnknownQueue(name.to_owned()))
}

impl<I: Io> Queue<I> {
    fn part(&self, no: PartitionNo) -> Result<Rc<Part<I>>, EngineError> {
        match self.parts.borrow().get(&no) {
            _ if self.is_closed.get() => Err(EngineError::UnknownQueue(self.name.clone())),
            Some(Ok(part)) => Ok(Rc::clone(part)),
            Some(Err(error)) => Err(error.clone()),
            None => Err(EngineError::UnknownPartition(no.0)),
        }
    }

    /// The ledgers that serve.
    fn serving(&self) -> Vec<Rc<Part<I>>> {
        let parts = self.parts.borrow();
        parts.values().flatten().map(Rc::clone).collect()
    }

    /// Takes a step of a ledger, appends its records, and sends its effects on their way. Returns what the step did, and
    /// how far the journal must come before anybody outside may know.
    fn act<T>(
        self: &Rc<Self>,
        core: &Rc<Core<I>>,
        part: &Rc<Part<I>>,
        step: impl FnOnce(&mut Ledger, &Moment, &mut Output) -> T,
    ) -> Result<(T, Offset), EngineError> {
        self.act_at(core, part, AckLevel::None, step)
    }

    /// The same, for records that must reach at least `level`.
    fn act_at<T>(
        self: &Rc<Self>,
        core: &Rc<Core<I>>,
        part: &Rc<Part<I>>,
        level: AckLevel,
        step: impl FnOnce(&mut Ledger, &Moment, &mut Output) -> T,
    ) -> Result<(T, Offset), EngineError> {
        let now = moment(&core.io);
        let before = part.next_deadline();
        let (value, stored, mut out) = part.step(core, level, &now, step)?;
        for delivery in out.deliveries.drain(..) {
            let takers = self.takers.borrow();
            let taker = takers.get(&delivery.consumer);
            let taker = taker.expect("who takes part in a ledger has an inbox");
            taker.inbox.borrow_mut().push_back(Handed {
                part: Rc::clone(part),
                delivery,
                stored,
            });
            taker.arrived.notify();
        }
        part.doom(&mut out.doomed);
        part.give_back(out);
        dead::move_if_any(core, self, part);
        part.checkpoint_if_due(core);
        let after = part.next_deadline();
        if after.is_some_and(|after| before.is_none_or(|before| after < before)) {
            self.news.notify();
        }
        Ok((value, stored))
    }
}

fn moment<I: Io>(io: &I) -> Moment {
    Moment {
        monotonic_ms: io.now().0 / NANOS_PER_MS,
        wall: TimestampMs(io.wall_ms()),
    }
}
