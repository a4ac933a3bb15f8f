//! The consumer groups of this core: brings requests and time to `group`, and its effects about.
//!
//! ```text
//!  any core ──GroupRequest──> the core of the group's slot: handle ─┬─ Reply ──> whoever holds the ticket
//!                                                                   └─ Store ──> `store`: the slot's partition
//!  keep_time ──tick──> the same
//! ```
//! Whoever waits for a rebalance holds a place in the post office of its own core, and nothing else: neither a task nor
//! memory on the core of the group. The coordinator is never borrowed across an await.

mod open;
mod store;

pub(super) use open::open;

use crate::base::group::{GroupListing, GroupReply, GroupRequest};
use crate::base::{CoreId, PartitionNo, TimestampMs, TopicId};
use crate::engine::EngineError;
use crate::group::{Coordinator, Effect, Moment, Options, Ticket, offsets_key, slot_of};
use crate::io::{Io, Signal};
use crate::shard::core::Core;
use crate::shard::forwarded::answer;
use crate::shard::message::{Reply, Request, RequestId};
use futures_lite::future::or;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;
use store::Slot;

const NANOS_PER_MS: u64 = 1_000_000;

/// The groups of one core, and the partitions that keep their offsets.
pub(super) struct Groups<I: Io> {
    coordinator: RefCell<Coordinator>,
    slots: RefCell<BTreeMap<PartitionNo, Rc<Slot<I>>>>,
    /// The next deadline has come nearer.
    hastened: Signal,
}

impl<I: Io> Groups<I> {
    pub(super) fn new() -> Self {
        Self {
            coordinator: RefCell::new(Coordinator::new(Options::default())),
            slots: RefCell::default(),
            hastened: Signal::new(),
        }
    }
}

/// The core where a group is coordinated.
pub(super) fn core_of<I: Io>(core: &Core<I>, group: &str) -> CoreId {
    // Every generation of a slot is on the same core.
    core.owner(offsets_key(1, slot_of(group)))
}

/// Asks the coordinator of a group, wherever it is.
pub(super) async fn ask<I: Io>(
    core: &Rc<Core<I>>,
    request: GroupRequest,
) -> Result<GroupReply, EngineError> {
    if core.stopping.get() {
        return Err(EngineError::Stopping);
    }
    let to = core_of(core, request.group());
    let pending = if to == core.here() {
        let pending = core.post.reserve_for_long(to);
        take(core, ticket(to, pending.id()), request);
        pending
    } else {
        core.stats.borrow_mut().forwarded += 1;
        core.post.ask(to, Request::Group(Box::new(request)))
    };
    match pending.await {
        Reply::Group(reply) => reply,
        Reply::Stopping => Err(EngineError::Stopping),
        other => panic!("a group request was answered with {}", other.kind()),
    }
}

/// The groups of all cores, by name.
pub(super) async fn list<I: Io>(core: &Rc<Core<I>>) -> Result<Vec<GroupListing>, EngineError> {
    let mut all = list_here(core);
    for other in core.post.others() {
        match core.post.ask(other, Request::Groups).await {
            Reply::Groups(groups) => all.extend(groups),
            Reply::Stopping => return Err(EngineError::Stopping),
            reply => panic!("a list of groups was answered with {}", reply.kind()),
        }
    }
    all.sort_by(|one, other| one.group.cmp(&other.group));
    Ok(all)
}

pub(super) fn list_here<I: Io>(core: &Core<I>) -> Vec<GroupListing> {
    core.groups.coordinator.borrow().list()
}

/// Takes a request for a group of this core. Its answer goes to whoever holds the ticket.
pub(super) fn take<I: Io>(core: &Rc<Core<I>>, ticket: Ticket, request: GroupRequest) {
    // Without its offsets a group would begin anew: it is refused instead.
    if let Some(damage) = store::damage(core, slot_of(request.group())) {
        return give(core, ticket, Err(EngineError::Damaged(damage)));
    }
    let now = moment(&core.io);
    act(core, |coordinator, effects| {
        coordinator.handle(&now, ticket, request, effects);
    });
}

/// A topic was deleted, and every offset that was committed in it is of no use.
pub(super) fn forget_topic<I: Io>(core: &Rc<Core<I>>, topic: TopicId) {
    act(core, |coordinator, effects| {
        coordinator.forget_topic(topic, effects)
    });
}

/// Tells the coordinator when something is due. One task per core.
pub(super) async fn keep_time<I: Io>(core: Rc<Core<I>>) {
    loop {
        let (hastened, stops) = (core.groups.hastened.wait(), core.stops.wait());
        if core.stopping.get() {
            return;
        }
        let due = core.groups.coordinator.borrow().next_deadline();
        let wait = due.map(|due_ms| {
            let due = Duration::from_millis(due_ms).as_nanos() as u64;
            Duration::from_nanos(due.saturating_sub(core.io.now().0))
        });
        match wait {
            None => or(hastened, stops).await,
            Some(wait) => or(or(hastened, stops), core.io.sleep(wait)).await,
        }
        let now = moment(&core.io);
        act(&core, |coordinator, effects| {
            coordinator.tick(&now, effects)
        });
    }
}

/// Takes a step of the coordinator, then brings its effects about.
fn act<I: Io>(core: &Rc<Core<I>>, step: impl FnOnce(&mut Coordinator, &mut Vec<Effect>)) {
    let mut effects = Vec::new();
    let (before, after) = {
        let mut coordinator = core.groups.coordinator.borrow_mut();
        let before = coordinator.next_deadline();
        step(&mut coordinator, &mut effects);
        (before, coordinator.next_deadline())
    };
    for effect in effects {
        match effect {
            Effect::Reply(ticket, reply) => give(core, ticket, Ok(reply)),
            Effect::Store { id, records } => store::enqueue(core, id, records),
        }
    }
    if after.is_some_and(|after| before.is_none_or(|before| after < before)) {
        core.groups.hastened.notify();
    }
}

fn give<I: Io>(core: &Core<I>, ticket: Ticket, reply: Result<GroupReply, EngineError>) {
    let (to, id) = holder(ticket);
    if to == core.here() {
        core.post.settle(id, Reply::Group(reply));
    } else {
        answer(core, to, id, Reply::Group(reply));
    }
}

/// Who waits, in the shape that the coordinator keeps.
pub(super) fn ticket(from: CoreId, id: RequestId) -> Ticket {
    let (slot, generation) = (u128::from(id.slot), u128::from(id.generation));
    Ticket(u128::from(from.0) << 64 | slot << 32 | generation)
}

fn holder(ticket: Ticket) -> (CoreId, RequestId) {
    let id = RequestId {
        slot: (ticket.0 >> 32) as u32,
        generation: ticket.0 as u32,
    };
    (CoreId((ticket.0 >> 64) as u16), id)
}

fn moment<I: Io>(io: &I) -> Moment {
    Moment {
        monotonic_ms: io.now().0 / NANOS_PER_MS,
        wall: TimestampMs(io.wall_ms()),
        chance: u128::from(io.random()) << 64 | u128::from(io.random()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_says_who_holds_it() {
        let id = RequestId {
            slot: 0x1234_5678,
            generation: u32::MAX,
        };
        assert_eq!(holder(ticket(CoreId(u16::MAX), id)), (CoreId(u16::MAX), id));
    }
}
