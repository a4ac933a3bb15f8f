//! The mailbox between cores: a full mesh of bounded single-producer single-consumer channels.
//!
//! ```text
//!  core a: send(b) ─ tickets, one sender at a time ─> [channel a->b] ─> pump task on b ─> inbox[a] ┐
//!  core c: send(b) ───────────────────────────────────> [channel c->b] ─> pump task on b ─> inbox[c] ├─> receive()
//!  core b: send(b) ─────────────────────────────────────────────────────────────────> inbox[b] ┘  in turn
//! ```
//! Bounded all along: a full inbox stops its pump, a full channel stops the senders of that pair of cores only. Two
//! cores that each wait to send to the other while nobody receives wait for ever: receive in a task of its own.
//!
//! Decided: glommio's `send` panics when two tasks wait on one channel, so they take tickets. And it hangs, spinning,
//! when the receiver stops while the channel is full: whoever waits also tries to push a [`Letter::Probe`], which tells
//! a closed channel from a full one (and is skipped by the pump, should it get in).

use super::Uring;
use crate::base::CoreId;
use crate::io::{Io, Mailbox, Signal};
use glommio::channels::shared_channel::{self, ConnectedSender, SharedReceiver, SharedSender};
use glommio::{GlommioError, ResourceType};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

/// What a pump takes out of its channel before the receiver has asked for it.
const INBOX_MESSAGES: usize = 64;

#[derive(Debug)]
enum Letter<M> {
    Message(M),
    Probe,
}

/// The ends of the mesh that belong to one core, on their way to it. Indexed by peer; its own place is empty.
pub(super) struct Ends<M: Send> {
    senders: Vec<Option<SharedSender<Letter<M>>>>,
    receivers: Vec<Option<SharedReceiver<Letter<M>>>>,
    capacity: usize,
}

/// The mesh for `cores` cores, `capacity` messages (rounded up to a power of two) for each ordered pair.
pub(super) fn mesh<M: Send + 'static>(cores: usize, capacity: usize) -> Vec<Ends<M>> {
    let mut ends: Vec<Ends<M>> = (0..cores)
        .map(|_| Ends {
            senders: (0..cores).map(|_| None).collect(),
            receivers: (0..cores).map(|_| None).collect(),
            capacity,
        })
        .collect();
    for from in 0..cores {
        for to in (0..cores).filter(|to| *to != from) {
            let (sender, receiver) = shared_channel::new_bounded(capacity);
            ends[from].senders[to] = Some(sender);
            ends[to].receivers[from] = Some(receiver);
        }
    }
    ends
}

/// A core's end of the mailboxes. Clones are the same end.
pub struct UringMailbox<M: Send + 'static> {
    me: CoreId,
    home_messages_max: usize,
    /// To each peer; its own place is empty.
    lanes: Rc<Vec<Option<Lane<M>>>>,
    inbound: Rc<Inbound<M>>,
}

/// What has arrived here.
struct Inbound<M> {
    inboxes: RefCell<Inboxes<M>>,
    /// An inbox got a message, or a peer stopped.
    arrived: Signal,
    /// An inbox that was full has room.
    room: Signal,
    peers_alive: Cell<usize>,
}

/// One queue for each core, and whose turn it is.
struct Inboxes<M> {
    queues: Vec<VecDeque<M>>,
    turn: usize,
}

/// The way to one peer.
struct Lane<M: Send> {
    sender: ConnectedSender<Letter<M>>,
    /// Who waits to push, the first at the front.
    tickets: RefCell<VecDeque<u64>>,
    tickets_drawn: Cell<u64>,
    turn: Signal,
}

impl<M: Send + 'static> Clone for UringMailbox<M> {
    fn clone(&self) -> Self {
        Self {
            me: self.me,
            home_messages_max: self.home_messages_max,
            lanes: Rc::clone(&self.lanes),
            inbound: Rc::clone(&self.inbound),
        }
    }
}

impl<M: Send + 'static> std::fmt::Debug for UringMailbox<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UringMailbox")
            .field("me", &self.me)
            .field("cores", &self.lanes.len())
            .finish_non_exhaustive()
    }
}

impl<M: Send + 'static> UringMailbox<M> {
    /// Connects to all peers. Receiving ends connect inside their pumps, so that no core waits here for a peer that
    /// waits for it.
    pub(super) async fn connect(io: &Uring, ends: Ends<M>) -> Self {
        let cores = ends.senders.len();
        let inbound = Rc::new(Inbound {
            inboxes: RefCell::new(Inboxes {
                queues: (0..cores).map(|_| VecDeque::new()).collect(),
                turn: 0,
            }),
            arrived: Signal::new(),
            room: Signal::new(),
            peers_alive: Cell::new(cores - 1),
        });
        for (from, receiver) in ends.receivers.into_iter().enumerate() {
            if let Some(receiver) = receiver {
                io.spawn(pump(Rc::clone(&inbound), from, receiver));
            }
        }
        let mut lanes = Vec::with_capacity(cores);
        for sender in ends.senders {
            lanes.push(match sender {
                Some(sender) => Some(Lane::connect(sender).await),
                None => None,
            });
        }
        Self {
            me: io.core(),
            home_messages_max: ends.capacity.max(1),
            lanes: Rc::new(lanes),
            inbound,
        }
    }
}

impl<M: Send + 'static> Mailbox<M> for UringMailbox<M> {
    async fn send(&self, to: CoreId, message: M) -> bool {
        match &self.lanes[usize::from(to.0)] {
            Some(lane) => lane.send(message).await,
            None => {
                let home = usize::from(self.me.0);
                self.inbound
                    .put(home, self.home_messages_max, message)
                    .await;
                true
            }
        }
    }

    /// A core that is alone never gets `None`: only itself could still send.
    async fn receive(&self) -> Option<(CoreId, M)> {
        let inbound = &self.inbound;
        loop {
            let arrived = inbound.arrived.wait();
            if let Some((from, message)) = inbound.take(self.home_messages_max) {
                return Some((CoreId(from as u16), message));
            }
            if inbound.peers_alive.get() == 0 && self.lanes.len() > 1 {
                return None;
            }
            arrived.await;
        }
    }
}

impl<M> Inbound<M> {
    /// Waits until the inbox of `from` holds fewer than `messages_max`, then puts `message` there.
    async fn put(&self, from: usize, messages_max: usize, message: M) {
        let mut message = message;
        loop {
            let room = self.room.wait();
            match self.try_put(from, messages_max, message) {
                Ok(()) => return self.arrived.notify(),
                Err(back) => message = back,
            }
            room.await;
        }
    }

    fn try_put(&self, from: usize, messages_max: usize, message: M) -> Result<(), M> {
        let queue = &mut self.inboxes.borrow_mut().queues[from];
        if queue.len() >= messages_max {
            return Err(message);
        }
        queue.push_back(message);
        Ok(())
    }

    /// The next message, one of each core in turn.
    fn take(&self, home_messages_max: usize) -> Option<(usize, M)> {
        let mut inboxes = self.inboxes.borrow_mut();
        let cores = inboxes.queues.len();
        for step in 0..cores {
            let from = (inboxes.turn + step) % cores;
            let queue = &mut inboxes.queues[from];
            let held = queue.len();
            if let Some(message) = queue.pop_front() {
                inboxes.turn = from + 1;
                // The bound of a peer's inbox or of the own one; a notify too many does no harm.
                if held >= INBOX_MESSAGES.min(home_messages_max) {
                    self.room.notify();
                }
                return Some((from, message));
            }
        }
        None
    }
}

/// Moves messages from a peer's channel into its inbox until the peer stops.
async fn pump<M: Send + 'static>(
    inbound: Rc<Inbound<M>>,
    from: usize,
    receiver: SharedReceiver<Letter<M>>,
) {
    let receiver = receiver.connect().await;
    while let Some(letter) = receiver.recv().await {
        if let Letter::Message(message) = letter {
            inbound.put(from, INBOX_MESSAGES, message).await;
        }
    }
    inbound.peers_alive.set(inbound.peers_alive.get() - 1);
    inbound.arrived.notify();
}

impl<M: Send + 'static> Lane<M> {
    async fn connect(sender: SharedSender<Letter<M>>) -> Self {
        Self {
            sender: sender.connect().await,
            tickets: RefCell::default(),
            tickets_drawn: Cell::new(0),
            turn: Signal::new(),
        }
    }

    /// In the order of the calls, whichever tasks they come from.
    async fn send(&self, message: M) -> bool {
        let mut message = message;
        if self.tickets.borrow().is_empty() {
            match self.sender.try_send(Letter::Message(message)) {
                Ok(()) => return true,
                Err(GlommioError::WouldBlock(ResourceType::Channel(Letter::Message(back)))) => {
                    message = back;
                }
                Err(_) => return false,
            }
        }
        let ticket = Ticket::draw(self);
        loop {
            let turn = self.turn.wait();
            if ticket.is_first() {
                return self.push(message).await;
            }
            turn.await;
        }
    }

    /// Pushes when there is room. Only the holder of the first ticket may.
    async fn push(&self, message: M) -> bool {
        let mut sending = pin!(self.sender.send(Letter::Message(message)));
        // The message goes first, then the probe: the other way round, a channel of one place would carry only probes.
        poll_fn(|context| match sending.as_mut().poll(context) {
            Poll::Ready(sent) => Poll::Ready(sent.is_ok()),
            Poll::Pending => match self.sender.try_send(Letter::Probe) {
                Ok(()) | Err(GlommioError::WouldBlock(_)) => Poll::Pending,
                Err(_) => Poll::Ready(false),
            },
        })
        .await
    }
}

/// A place in the queue of a lane, given up when dropped.
struct Ticket<'a, M: Send> {
    lane: &'a Lane<M>,
    number: u64,
}

impl<'a, M: Send> Ticket<'a, M> {
    fn draw(lane: &'a Lane<M>) -> Self {
        let number = lane.tickets_drawn.get();
        lane.tickets_drawn.set(number + 1);
        lane.tickets.borrow_mut().push_back(number);
        Self { lane, number }
    }

    fn is_first(&self) -> bool {
        self.lane.tickets.borrow().front() == Some(&self.number)
    }
}

impl<M: Send> Drop for Ticket<'_, M> {
    fn drop(&mut self) {
        let mut tickets = self.lane.tickets.borrow_mut();
        tickets.retain(|number| *number != self.number);
        drop(tickets);
        self.lane.turn.notify();
    }
}
