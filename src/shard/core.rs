//! The state of one core, and where to find things in it.

use crate::base::{CoreId, PartitionKey};
use crate::catalog::Catalog;
use crate::engine::{CoreAddress, EngineError};
use crate::io::{Io, Monotonic, Signal};
use crate::log::Log;
use crate::shard::Stats;
use crate::shard::forwarded::ProduceQueue;
use crate::shard::gate::{Gate, Turn};
use crate::shard::groups::Groups;
use crate::shard::hosted::{Hosted, Seat};
use crate::shard::message::Life;
use crate::shard::post::Post;
use crate::shard::producer_ids::ProducerIds;
use crate::shard::queues::Queues;
use crate::shard::watch::Waits;
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

/// What the tasks of one core share. Core-local: nothing here is locked, and no borrow outlives an await.
pub(super) struct Core<I: Io> {
    pub(super) io: I,
    pub(super) cores: u16,
    pub(super) log: Log<I>,
    pub(super) post: Rc<Post<I>>,
    pub(super) catalog: RefCell<Catalog>,
    /// On core 0: where the catalog's records go.
    pub(super) catalog_partition: Option<Rc<Hosted<I>>>,
    pub(super) catalog_turn: Turn,
    /// Of those who search records by their time.
    pub(super) search_turn: Turn,
    pub(super) seats: RefCell<HashMap<PartitionKey, Seat<I>>>,
    pub(super) addresses: RefCell<Vec<CoreAddress>>,
    pub(super) stats: RefCell<Stats>,
    pub(super) producers: ProducerIds,
    /// How long a producer that numbers its batches is remembered while it is silent.
    pub(super) producer_expiration: Duration,
    pub(super) started: Monotonic,
    /// Forwarded produces that wait for room in the log.
    pub(super) produces: ProduceQueue,
    /// Fetches of other cores that wait here.
    pub(super) waits: RefCell<Waits>,
    /// The consumer groups of this core.
    pub(super) groups: Groups<I>,
    /// The queues that have partitions here.
    pub(super) queues: Queues<I>,
    /// Appends may begin, and what must come before them was appended.
    pub(super) serves: Cell<bool>,
    pub(super) begins_to_serve: Signal,
    /// What must end before the log may stop.
    pub(super) gate: Gate,
    pub(super) stopping: Cell<bool>,
    pub(super) stops: Signal,
    /// Steps of starting and stopping that arrived and were not taken yet.
    pub(super) life: RefCell<VecDeque<(CoreId, Life)>>,
    pub(super) life_arrived: Signal,
}

impl<I: Io> Core<I> {
    pub(super) fn here(&self) -> CoreId {
        self.io.core()
    }

    pub(super) fn owner(&self, key: PartitionKey) -> CoreId {
        key.core(self.cores)
    }

    pub(super) fn owns(&self, key: PartitionKey) -> bool {
        self.owner(key) == self.here()
    }

    /// A partition of this core, or why it does not serve.
    pub(super) fn find(&self, key: PartitionKey) -> Result<Rc<Hosted<I>>, EngineError> {
        match self.seats.borrow().get(&key) {
            Some(Seat::Serving(hosted)) => Ok(Rc::clone(hosted)),
            Some(Seat::Damaged(reason)) => Err(EngineError::Damaged(reason.clone())),
            Some(Seat::Closed(reason)) => Err(EngineError::StorageFailed(reason.clone())),
            None => Err(self.missing(key)),
        }
    }

    /// Refuses what the catalog does not know, before it is forwarded.
    pub(super) fn check_known(&self, key: PartitionKey) -> Result<(), EngineError> {
        if self.catalog.borrow().has_partition(key) {
            Ok(())
        } else {
            Err(self.missing(key))
        }
    }

    fn missing(&self, key: PartitionKey) -> EngineError {
        match self.catalog.borrow().by_id(key.topic) {
            Some(topic) if key.partition.0 >= topic.partitions => {
                EngineError::UnknownPartition(key.partition.0)
            }
            Some(topic) => EngineError::UnknownTopic(topic.name.clone()),
            None => EngineError::UnknownTopic(key.topic.to_string()),
        }
    }

    /// Waits until appends may begin.
    pub(super) async fn serving(&self) {
        while !self.serves.get() {
            self.begins_to_serve.wait().await;
        }
    }

    /// The next step of starting or stopping that another core took.
    pub(super) async fn next_life(&self) -> (CoreId, Life) {
        loop {
            let arrived = self.life_arrived.wait();
            if let Some(next) = self.life.borrow_mut().pop_front() {
                return next;
            }
            arrived.await;
        }
    }
}
