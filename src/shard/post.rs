//! The post office of one core: letters to other cores, and the requests that wait for an answer.
//!
//! ```text
//!  ask ──> outbox of core k ──(one task each)──> mailbox ──> core k
//!   │                                                          │
//!   └─ Pending <── settle <── receive loop <── mailbox <── reply┘
//! ```
//! Posting never waits, so the receive loop never does: two cores whose mailboxes are full still empty each other's.
//! What keeps the outboxes small is [`Post::room`], which is awaited before a socket is read, and the hard limits of
//! [`Post::may_forward`]. Answers are as many as requests.

use crate::base::limits::{FORWARD_BYTES_MAX, FORWARDS_MAX};
use crate::base::{CoreId, Stage, Stages};
use crate::engine::GroupRequest;
use crate::io::{Io, Mailbox, Monotonic, Signal};
use crate::shard::message::{Letter, Message, Reply, Request, RequestId};
use std::cell::{Cell, Ref, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// One question in so many is timed: two looks at the clock would be felt where every message is a question.
const TIMED_ONE_IN: u64 = 8;

/// See the module.
pub(super) struct Post<I: Io> {
    io: I,
    mailbox: I::Mailbox<Message<I::Source>>,
    here: CoreId,
    outboxes: Vec<Outbox<I::Source>>,
    slots: RefCell<Slots<I::Source>>,
    bytes_in_flight: Cell<usize>,
    /// Requests that may wait for minutes by their nature: they hold back nobody.
    patient: Cell<usize>,
    eased: Signal,
    asked: Cell<u64>,
    stages: RefCell<Stages>,
}

struct Outbox<S> {
    letters: RefCell<VecDeque<Letter<S>>>,
    posted: Signal,
    emptied: Signal,
    gone: Cell<bool>,
}

struct Slots<S> {
    slots: Vec<Slot<S>>,
    free: Vec<u32>,
}

struct Slot<S> {
    generation: u32,
    state: SlotState<S>,
}

enum SlotState<S> {
    Free,
    Waiting {
        to: CoreId,
        bytes: usize,
        /// When it was asked, if it is timed.
        asked: Option<Monotonic>,
        waker: Option<Waker>,
    },
    Settled(Reply<S>),
}

/// What an answered question held.
struct Waited {
    bytes: usize,
    asked: Option<Monotonic>,
    waker: Option<Waker>,
}

impl<I: Io> Post<I> {
    /// The post office of this core; starts a task for each other core.
    pub(super) fn open(io: &I, mailbox: I::Mailbox<Message<I::Source>>, cores: u16) -> Rc<Self> {
        let outbox = |_| Outbox {
            letters: RefCell::default(),
            posted: Signal::new(),
            emptied: Signal::new(),
            gone: Cell::new(false),
        };
        let post = Rc::new(Self {
            io: io.clone(),
            mailbox,
            here: io.core(),
            outboxes: (0..cores).map(outbox).collect(),
            slots: RefCell::new(Slots {
                slots: Vec::new(),
                free: Vec::new(),
            }),
            bytes_in_flight: Cell::new(0),
            patient: Cell::new(0),
            eased: Signal::new(),
            asked: Cell::new(0),
            stages: RefCell::new(Stages::of(&[Stage::Forwarded])),
        });
        for to in (0..cores).map(CoreId).filter(|to| *to != io.core()) {
            io.spawn(carry_letters(Rc::clone(&post), to));
        }
        post
    }

    /// All other cores.
    pub(super) fn others(&self) -> impl Iterator<Item = CoreId> + use<I> {
        let here = self.here;
        (0..self.outboxes.len() as u16)
            .map(CoreId)
            .filter(move |core| *core != here)
    }

    /// The next letter of any other core. For one task only.
    pub(super) async fn receive(&self) -> Option<(CoreId, Letter<I::Source>)> {
        let (from, message) = self.mailbox.receive().await?;
        Some((from, message.0))
    }

    /// Puts a letter into the outbox of core `to`. A core that is gone gets nothing.
    pub(super) fn send(&self, to: CoreId, letter: Letter<I::Source>) {
        let outbox = &self.outboxes[usize::from(to.0)];
        if !outbox.gone.get() {
            outbox.letters.borrow_mut().push_back(letter);
            outbox.posted.notify();
        }
    }

    /// Asks core `to`. The answer is [`Reply::Stopping`] if that core is gone.
    pub(super) fn ask(self: &Rc<Self>, to: CoreId, request: Request) -> Pending<I> {
        let bytes = match &request {
            Request::Produce(produce) => produce.batches.len(),
            _ => 0,
        };
        let asked = self.asked_now(&request);
        let pending = self.place(to, bytes, asked, is_patient(&request));
        if self.outboxes[usize::from(to.0)].gone.get() {
            self.settle(pending.id, Reply::Stopping);
        } else {
            let id = pending.id;
            self.send(to, Letter::Request { id, request });
        }
        pending
    }

    /// A place for an answer that core `to` (perhaps this one) will give through [`Post::settle`].
    pub(super) fn reserve(self: &Rc<Self>, to: CoreId, bytes: usize) -> Pending<I> {
        self.place(to, bytes, None, false)
    }

    /// The same for an answer that may be minutes away.
    pub(super) fn reserve_for_long(self: &Rc<Self>, to: CoreId) -> Pending<I> {
        self.place(to, 0, None, true)
    }

    fn place(
        self: &Rc<Self>,
        to: CoreId,
        bytes: usize,
        asked: Option<Monotonic>,
        is_patient: bool,
    ) -> Pending<I> {
        let state = SlotState::Waiting {
            to,
            bytes,
            asked,
            waker: None,
        };
        self.bytes_in_flight.set(self.bytes_in_flight.get() + bytes);
        self.patient
            .set(self.patient.get() + usize::from(is_patient));
        let id = self.slots.borrow_mut().take(state);
        Pending {
            post: Rc::clone(self),
            id,
            is_patient,
        }
    }

    /// The time, if this question is to be timed. One that waits for records says nothing about the way to them.
    fn asked_now(&self, request: &Request) -> Option<Monotonic> {
        if matches!(request, Request::Await { .. }) || is_patient(request) {
            return None;
        }
        let asked = self.asked.get();
        self.asked.set(asked + 1);
        asked.is_multiple_of(TIMED_ONE_IN).then(|| self.io.now())
    }

    /// What questions to other cores took.
    pub(super) fn stages(&self) -> Ref<'_, Stages> {
        self.stages.borrow()
    }

    /// Whether one more request of `bytes` may be forwarded at all.
    pub(super) fn may_forward(&self, bytes: usize) -> bool {
        let in_flight = self.bytes_in_flight.get();
        // Twice the limit of `room`: what several sockets had in their hands when it was passed.
        in_flight + bytes <= 2 * FORWARD_BYTES_MAX && self.hurried() < 2 * FORWARDS_MAX
    }

    /// Requests on their way that are soon answered.
    fn hurried(&self) -> usize {
        self.slots.borrow().used() - self.patient.get()
    }

    /// Waits until little enough is on its way to other cores.
    pub(super) async fn room(&self) {
        loop {
            let eased = self.eased.wait();
            let (bytes, requests) = (self.bytes_in_flight.get(), self.hurried());
            if bytes < FORWARD_BYTES_MAX && requests < FORWARDS_MAX {
                return;
            }
            eased.await;
        }
    }

    /// Gives the answer of a request to whoever waits for it; if nobody does any more, forgets it.
    pub(super) fn settle(&self, id: RequestId, reply: Reply<I::Source>) {
        let Some(waited) = self.slots.borrow_mut().settle(id, reply) else {
            return;
        };
        self.ease(waited.bytes);
        if let Some(asked) = waited.asked {
            let nanos = self.io.now().0.saturating_sub(asked.0);
            self.stages.borrow_mut().record(Stage::Forwarded, nanos);
        }
        if let Some(waker) = waited.waker {
            waker.wake();
        }
    }

    /// Waits until every letter has left its outbox.
    pub(super) async fn flush(&self) {
        for outbox in &self.outboxes {
            loop {
                let emptied = outbox.emptied.wait();
                if outbox.gone.get() || outbox.letters.borrow().is_empty() {
                    break;
                }
                emptied.await;
            }
        }
    }

    /// Core `to` is gone: whoever waits for it is told.
    pub(super) fn lose(&self, to: CoreId) {
        let outbox = &self.outboxes[usize::from(to.0)];
        outbox.gone.set(true);
        outbox.letters.borrow_mut().clear();
        outbox.emptied.notify();
        let orphans = self.slots.borrow().waiting_for(to);
        for id in orphans {
            self.settle(id, Reply::Stopping);
        }
    }

    fn ease(&self, bytes: usize) {
        self.bytes_in_flight.set(self.bytes_in_flight.get() - bytes);
        self.eased.notify();
    }
}

/// Whether the answer is minutes away by its nature.
fn is_patient(request: &Request) -> bool {
    match request {
        Request::Group(request) => {
            matches!(**request, GroupRequest::Join(_) | GroupRequest::Sync(_))
        }
        _ => false,
    }
}

/// Brings the letters to core `to` into its mailbox, in order.
async fn carry_letters<I: Io>(post: Rc<Post<I>>, to: CoreId) {
    let outbox = &post.outboxes[usize::from(to.0)];
    loop {
        let posted = outbox.posted.wait();
        // The letter stays counted in the outbox until the mailbox has it, so that `flush` means delivered.
        let next = outbox.letters.borrow_mut().front_mut().map(|letter| {
            let placeholder = Letter::Hurry {
                id: RequestId::NONE,
            };
            std::mem::replace(letter, placeholder)
        });
        let Some(letter) = next else {
            posted.await;
            continue;
        };
        if !post.mailbox.send(to, Message(letter)).await {
            post.lose(to);
            return;
        }
        outbox.letters.borrow_mut().pop_front();
        outbox.emptied.notify();
    }
}

impl RequestId {
    const NONE: Self = Self {
        slot: u32::MAX,
        generation: u32::MAX,
    };
}

impl<S> Slots<S> {
    fn used(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    fn take(&mut self, state: SlotState<S>) -> RequestId {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot {
                generation: 0,
                state: SlotState::Free,
            });
            self.slots.len() as u32 - 1
        });
        let entry = &mut self.slots[slot as usize];
        entry.state = state;
        RequestId {
            slot,
            generation: entry.generation,
        }
    }

    /// The slot of a request, unless it was given up.
    fn find(&mut self, id: RequestId) -> Option<&mut Slot<S>> {
        self.slots
            .get_mut(id.slot as usize)
            .filter(|slot| slot.generation == id.generation)
    }

    fn settle(&mut self, id: RequestId, reply: Reply<S>) -> Option<Waited> {
        let slot = self.find(id)?;
        if !matches!(slot.state, SlotState::Waiting { .. }) {
            return None;
        }
        match std::mem::replace(&mut slot.state, SlotState::Settled(reply)) {
            SlotState::Waiting {
                bytes,
                asked,
                waker,
                ..
            } => Some(Waited {
                bytes,
                asked,
                waker,
            }),
            SlotState::Free | SlotState::Settled(_) => None,
        }
    }

    /// Frees a slot and returns what it held. The generation moves on, so that a late answer finds nobody.
    fn release(&mut self, id: RequestId) -> SlotState<S> {
        let slot = self.find(id).expect("a pending request owns its slot");
        slot.generation = slot.generation.wrapping_add(1);
        let state = std::mem::replace(&mut slot.state, SlotState::Free);
        self.free.push(id.slot);
        state
    }

    fn waiting_for(&self, core: CoreId) -> Vec<RequestId> {
        let waits =
            |slot: &Slot<S>| matches!(slot.state, SlotState::Waiting { to, .. } if to == core);
        (0u32..)
            .zip(&self.slots)
            .filter(|(_, slot)| waits(slot))
            .map(|(index, slot)| RequestId {
                slot: index,
                generation: slot.generation,
            })
            .collect()
    }
}

/// A request on its way. As a future it is ready with the answer, once; dropped early, the other core is told that
/// nobody waits.
pub(super) struct Pending<I: Io> {
    post: Rc<Post<I>>,
    id: RequestId,
    is_patient: bool,
}

impl<I: Io> Pending<I> {
    /// Under which id the answer comes.
    pub(super) fn id(&self) -> RequestId {
        self.id
    }

    /// Whether the answer is there.
    pub(super) fn is_settled(&self) -> bool {
        let mut slots = self.post.slots.borrow_mut();
        slots
            .find(self.id)
            .is_none_or(|slot| matches!(slot.state, SlotState::Settled(_)))
    }

    /// Asks for the answer to come now.
    pub(super) fn hurry(&self) {
        let mut slots = self.post.slots.borrow_mut();
        let state = slots.find(self.id).map(|slot| &slot.state);
        if let Some(SlotState::Waiting { to, .. }) = state {
            let to = *to;
            drop(slots);
            if to != self.post.here {
                self.post.send(to, Letter::Hurry { id: self.id });
            }
        }
    }
}

impl<I: Io> Future for Pending<I> {
    type Output = Reply<I::Source>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut slots = self.post.slots.borrow_mut();
        let slot = slots
            .find(self.id)
            .expect("a pending request owns its slot");
        match &mut slot.state {
            SlotState::Waiting { waker, .. } => {
                match waker {
                    Some(waker) => waker.clone_from(context.waker()),
                    None => *waker = Some(context.waker().clone()),
                }
                Poll::Pending
            }
            settled => match std::mem::replace(settled, SlotState::Free) {
                SlotState::Settled(reply) => Poll::Ready(reply),
                SlotState::Waiting { .. } | SlotState::Free => panic!("polled after it was ready"),
            },
        }
    }
}

impl<I: Io> Drop for Pending<I> {
    fn drop(&mut self) {
        self.hurry();
        let state = self.post.slots.borrow_mut().release(self.id);
        let patient = &self.post.patient;
        patient.set(patient.get() - usize::from(self.is_patient));
        let bytes = match state {
            SlotState::Waiting { bytes, .. } => bytes,
            SlotState::Settled(_) | SlotState::Free => 0,
        };
        self.post.ease(bytes);
    }
}
