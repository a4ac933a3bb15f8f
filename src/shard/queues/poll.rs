//! A consumer's side: it answers for what it has, says how much more it wants, and gets it.

use crate::base::Offset;
use crate::base::limits::{
    BATCH_BYTES_MAX, FETCH_BYTES_MAX, QUEUE_POLL_ITEMS_MAX, QUEUE_PREFETCH_MAX,
};
use crate::base::planted::{Bug, planted};
use crate::base::queue::{Answered, ConsumerId};
use crate::engine::{AnswerKind, Delivered, EngineError, QueueAnswer, QueuePoll, QueuePolled};
use crate::io::{Io, Signal};
use crate::queue::{Flow, Span};
use crate::shard::core::Core;
use crate::shard::queues::part::Part;
use crate::shard::queues::{Handed, Queue, Taker, deliver, find};
use futures_lite::future::or;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

/// A reply ends with the batch that crosses what was asked for, so this leaves room for one whole batch.
const BYTES_MAX: usize = FETCH_BYTES_MAX - BATCH_BYTES_MAX;
/// The longest that a poll waits.
const WAIT_MAX: Duration = Duration::from_millis(crate::base::limits::FETCH_WAIT_MS_MAX);

/// Somebody who takes records from a queue's partitions on this core. Dropped, it is gone: what it has is given to others.
pub struct Consumer<I: Io> {
    core: Rc<Core<I>>,
    queue: Rc<Queue<I>>,
    taker: Rc<Taker<I>>,
}

/// Makes a consumer of a queue.
pub(crate) fn join<I: Io>(
    core: &Rc<Core<I>>,
    name: &str,
    is_at_most_once: bool,
) -> Result<Consumer<I>, EngineError> {
    if core.stopping.get() {
        return Err(EngineError::Stopping);
    }
    let queue = find(core, name)?;
    let id = core.queues.last_consumer.get() + 1;
    core.queues.last_consumer.set(id);
    let flow = match is_at_most_once {
        true => Flow::AtMostOnce,
        false => Flow::Granted,
    };
    let taker = Rc::new(Taker {
        id: ConsumerId(id),
        flow,
        credit: Cell::new(0),
        inbox: RefCell::new(VecDeque::new()),
        arrived: Signal::new(),
    });
    let consumer = Consumer {
        core: Rc::clone(core),
        queue: Rc::clone(&queue),
        taker: Rc::clone(&taker),
    };
    queue
        .takers
        .borrow_mut()
        .insert(taker.id, Rc::clone(&taker));
    for part in queue.serving() {
        queue.admit(core, &part, &taker)?;
    }
    Ok(consumer)
}

impl<I: Io> Queue<I> {
    /// A consumer takes part in a ledger.
    pub(super) fn admit(
        self: &Rc<Self>,
        core: &Rc<Core<I>>,
        part: &Rc<Part<I>>,
        taker: &Taker<I>,
    ) -> Result<(), EngineError> {
        let (id, flow) = (taker.id, taker.flow);
        match self
            .act(core, part, |ledger, _, _| ledger.join(id, flow))?
            .0
        {
            true => Ok(()),
            false => Err(EngineError::Overloaded("the queue has too many consumers")),
        }
    }
}

impl<I: Io> Drop for Consumer<I> {
    fn drop(&mut self) {
        let (core, queue, id) = (&self.core, &self.queue, self.taker.id);
        queue.hungry.borrow_mut().retain(|taker| taker.id != id);
        for part in queue.serving() {
            // If it fails, nothing of this partition is handed out any more.
            let _ = queue.act(core, &part, |ledger, _, out| ledger.leave(id, out));
        }
        queue.takers.borrow_mut().remove(&id);
        queue.news.notify();
    }
}

/// Takes answers, then waits until there is something to deliver, up to the poll's time or until `hurried`. When this
/// returns, the answers that were taken are as durable as the records of the topic.
pub(crate) async fn poll<I: Io>(
    consumer: &Consumer<I>,
    poll: &QueuePoll,
    hurried: impl Future<Output = ()>,
    reply: &mut QueuePolled,
) -> Result<(), EngineError> {
    reply.answered.clear();
    reply.deliveries.clear();
    reply.batches.clear();
    let (core, queue) = (&consumer.core, &consumer.queue);
    if core.stopping.get() {
        return Err(EngineError::Stopping);
    }
    if queue.is_closed.get() {
        return Err(EngineError::UnknownQueue(queue.name.clone()));
    }
    let mut stored: Vec<(Rc<Part<I>>, Offset)> = Vec::new();
    let mut rest = &poll.answers[..];
    while let Some(first) = rest.first() {
        // Neighbours of one partition are one step, and one batch of its journal.
        let alike = rest
            .iter()
            .take_while(|one| one.partition == first.partition);
        let (some, others) = rest.split_at(alike.count());
        rest = others;
        let (part, until) = consumer.answer(some, &mut reply.answered)?;
        match stored.iter_mut().find(|(one, _)| Rc::ptr_eq(one, &part)) {
            Some((_, before)) => *before = until,
            None => stored.push((part, until)),
        }
    }
    if !poll.answers.is_empty() && queue.is_hungry() {
        queue.news.notify();
    }
    if poll.credit > 0 {
        consumer.wait(poll, hurried).await?;
    }
    for (part, until) in stored {
        if !planted(Bug::SettleEarly) {
            part.stored(until).await?;
        }
    }
    let bytes_max = (poll.bytes_max as usize).clamp(1, BYTES_MAX);
    consumer.serve(bytes_max, reply).await
}

/// Hungry as long as this lives.
struct Hunger<'a, I: Io> {
    consumer: &'a Consumer<I>,
}

impl<I: Io> Drop for Hunger<'_, I> {
    fn drop(&mut self) {
        let taker = &self.consumer.taker;
        taker.credit.set(0);
        let mut hungry = self.consumer.queue.hungry.borrow_mut();
        hungry.retain(|one| one.id != taker.id);
    }
}

impl<I: Io> Consumer<I> {
    /// Takes answers for one partition, at least one; returns how far its journal must come.
    fn answer(
        &self,
        answers: &[QueueAnswer],
        answered: &mut Vec<Answered>,
    ) -> Result<(Rc<Part<I>>, Offset), EngineError> {
        let id = self.taker.id;
        let part = self.queue.part(answers[0].partition)?;
        let acted = self.queue.act(&self.core, &part, |ledger, now, out| {
            answered.extend(answers.iter().map(|answer| match answer.kind {
                AnswerKind::Ack => ledger.ack(id, answer.span, out),
                AnswerKind::Nack(nack) => ledger.nack(id, answer.span, nack, now, out),
                AnswerKind::Extend { lease_ms } => ledger.extend(id, answer.span, lease_ms, now),
            }));
        });
        Ok((part, acted?.1))
    }

    /// Waits until something was handed out, somebody hurries, or time is up.
    async fn wait(
        &self,
        poll: &QueuePoll,
        hurried: impl Future<Output = ()>,
    ) -> Result<(), EngineError> {
        let (core, queue, taker) = (&self.core, &self.queue, &self.taker);
        let left = poll.credit.min(QUEUE_PREFETCH_MAX);
        let deadline = core.io.now().plus(poll.wait_max.min(WAIT_MAX));
        if !taker.inbox.borrow().is_empty() {
            return Ok(());
        }
        taker.credit.set(left);
        queue.hungry.borrow_mut().push_back(Rc::clone(taker));
        let hunger = Hunger { consumer: self };
        for part in queue.serving() {
            if !taker.inbox.borrow().is_empty() {
                break;
            }
            queue.hand_out(core, &part)?;
        }
        let mut hurried = pin!(hurried);
        let mut is_hurried = poll.wait_max.is_zero();
        if taker.inbox.borrow().is_empty() {
            queue.news.notify();
        }
        while taker.inbox.borrow().is_empty() && !is_hurried {
            let arrived = taker.arrived.wait();
            let stops = core.stops.wait();
            if core.stopping.get() || queue.is_closed.get() || core.io.now() >= deadline {
                break;
            }
            let something = async {
                or(
                    or(arrived, stops),
                    core.io.sleep(deadline.since(core.io.now())),
                )
                .await;
                false
            };
            let hurry = async {
                hurried.as_mut().await;
                true
            };
            is_hurried = or(something, hurry).await;
            if !taker.inbox.borrow().is_empty() {
                break;
            }
            queue.check_serving()?;
        }
        drop(hunger);
        Ok(())
    }

    /// Reads what was handed out, up to about `bytes_max` bytes and so many deliveries; the rest stays for the next poll.
    async fn serve(&self, bytes_max: usize, reply: &mut QueuePolled) -> Result<(), EngineError> {
        while reply.batches.len() < bytes_max && reply.deliveries.len() < QUEUE_POLL_ITEMS_MAX {
            let Some(mut handed) = self.taker.inbox.borrow_mut().pop_front() else {
                break;
            };
            if !planted(Bug::DeliverEarly) {
                handed.part.stored(handed.stored).await?;
            }
            if !self.still_has(&handed) {
                continue;
            }
            let begin = reply.batches.len();
            let (span, source) = (handed.delivery.span, &handed.part.source);
            let left = bytes_max - begin;
            let read = deliver::append(&self.core, source, &span, left, &mut reply.batches).await;
            let served = match read {
                Ok(served) => served,
                // Trimmed meanwhile: the ledger will hear of it.
                Err(EngineError::OffsetOutOfRange { .. }) => {
                    reply.batches.truncate(begin);
                    self.queue.news.notify();
                    continue;
                }
                Err(error) => return Err(error),
            };
            let part = &handed.part;
            for (from, until) in served.absent {
                let gone = self.queue.act(&self.core, part, |ledger, _, out| {
                    ledger.absent(from, until, out);
                });
                gone?;
            }
            if reply.batches.len() > begin {
                reply.deliveries.push(Delivered {
                    partition: part.no,
                    span: Span {
                        until: served.until,
                        ..span
                    },
                    first: handed.delivery.first,
                    bytes: (reply.batches.len() - begin) as u32,
                });
            }
            if served.until < span.until {
                handed.delivery.span.from = served.until;
                self.taker.inbox.borrow_mut().push_front(handed);
            }
        }
        Ok(())
    }

    /// Whether a delivery still counts: what waited too long is somebody else's.
    fn still_has(&self, handed: &Handed<I>) -> bool {
        let (id, span) = (self.taker.id, handed.delivery.span);
        let is_leased = self.taker.flow != Flow::AtMostOnce;
        !is_leased || handed.part.look(|ledger| ledger.has(id, span))
    }
}

impl<I: Io> Queue<I> {
    /// If no partition of it serves here, why.
    fn check_serving(&self) -> Result<(), EngineError> {
        let parts = self.parts.borrow();
        match parts.values().next() {
            Some(Err(error)) if parts.values().all(Result::is_err) => Err(error.clone()),
            _ => Ok(()),
        }
    }
}
