//! A produce by a connection of this core.

use crate::base::{AckLevel, PartitionKey, TimestampMs};
use crate::engine::{EngineError, Produced};
use crate::io::Io;
use crate::log::Draw;
use crate::partition::Place;
use crate::shard::core::Core;
use crate::shard::hosted::{Hosted, check};
use crate::shard::message::{ForwardedProduce, Reply, Request};
use crate::shard::numbered::{self, Taken};
use crate::shard::post::Pending;
use std::rc::Rc;

/// A produce that was handed in. It settles by itself: the log moves its frontiers whether anybody looks or not, so
/// a ticket costs no task and no allocation.
pub struct Ticket<I: Io>(State<I>);

enum State<I: Io> {
    Local(Appended<I>),
    Forwarded(Pending<I>),
    Refused(EngineError),
}

/// Batches that were taken by a partition of this core.
pub(super) struct Appended<I: Io> {
    hosted: Rc<Hosted<I>>,
    at: Place,
    level: AckLevel,
}

impl<I: Io> Appended<I> {
    fn outcome(&self) -> Option<Result<Produced, EngineError>> {
        let Place { base, until, time } = self.at;
        self.hosted.outcome(base, until, self.level, time)
    }

    pub(super) async fn settled(&self) -> Result<Produced, EngineError> {
        loop {
            let progress = self.hosted.log().progress().wait();
            if let Some(outcome) = self.outcome() {
                return outcome;
            }
            progress.await;
        }
    }
}

impl<I: Io> Ticket<I> {
    pub(super) fn is_settled(&self) -> bool {
        match &self.0 {
            State::Local(appended) => appended.outcome().is_some(),
            State::Forwarded(pending) => pending.is_settled(),
            State::Refused(_) => true,
        }
    }

    pub(super) async fn produced(self) -> Result<Produced, EngineError> {
        match self.0 {
            State::Local(appended) => appended.settled().await,
            State::Forwarded(pending) => match pending.await {
                Reply::Produced(result) => result,
                Reply::Stopping => Err(EngineError::StorageFailed(
                    "the core that owns the partition is gone".to_owned(),
                )),
                other => panic!("a produce was answered with {}", other.kind()),
            },
            State::Refused(error) => Err(error),
        }
    }
}

/// Checks and appends, or sends to the core that owns the partition. The check is done here in both cases: a
/// connection pays for its own bytes, and what crosses is good.
pub(super) fn produce<I: Io>(
    core: &Core<I>,
    to: PartitionKey,
    level: AckLevel,
    batches: &[u8],
) -> Ticket<I> {
    let state = if core.owns(to) {
        append(core, to, level, batches).map(State::Local)
    } else {
        forward(core, to, level, batches).map(State::Forwarded)
    };
    Ticket(state.unwrap_or_else(|error| {
        core.stats.borrow_mut().produce_refused += 1;
        State::Refused(error)
    }))
}

/// Checks and appends to a partition of this core.
pub(super) fn append<I: Io>(
    core: &Core<I>,
    to: PartitionKey,
    level: AckLevel,
    batches: &[u8],
) -> Result<Appended<I>, EngineError> {
    if core.stopping.get() {
        return Err(EngineError::Stopping);
    }
    append_to(core, core.find(to)?, level, Draw::Free, batches)
}

/// The same for a partition at hand.
pub(super) fn append_to<I: Io>(
    core: &Core<I>,
    hosted: Rc<Hosted<I>>,
    level: AckLevel,
    draw: Draw,
    batches: &[u8],
) -> Result<Appended<I>, EngineError> {
    let checked = check(batches)?;
    let append = || {
        let time = hosted.admit(&checked, || TimestampMs(core.io.wall_ms()))?;
        let (base, until) = hosted.append(&checked, level, draw, time)?;
        Ok(Place { base, until, time })
    };
    let taken = match checked.numbered() {
        None => Taken::Now(append()?),
        Some(batch) => numbered::append(core, &hosted, batch, append)?,
    };
    let at = match taken {
        Taken::Before(at) => at,
        Taken::Now(at) => {
            let mut stats = core.stats.borrow_mut();
            stats.produced_batches += u64::from(checked.batches());
            stats.produced_records += checked.records();
            stats.produced_bytes += checked.bytes();
            at
        }
    };
    Ok(Appended { hosted, at, level })
}

fn forward<I: Io>(
    core: &Core<I>,
    to: PartitionKey,
    level: AckLevel,
    batches: &[u8],
) -> Result<Pending<I>, EngineError> {
    if core.stopping.get() {
        return Err(EngineError::Stopping);
    }
    core.check_known(to)?;
    check(batches)?;
    if !core.post.may_forward(batches.len()) {
        return Err(EngineError::Overloaded(
            "too much is on its way to other cores: connect to the core that owns the partition",
        ));
    }
    core.stats.borrow_mut().forwarded += 1;
    let produce = ForwardedProduce {
        to,
        level,
        batches: batches.to_vec(),
    };
    Ok(core.post.ask(core.owner(to), Request::Produce(produce)))
}
