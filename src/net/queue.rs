//! What a connection owes its peer, in the order of the requests: filled by the reading half, emptied by the writing
//! half.

use crate::base::limits::{REPLIES_PENDING_BYTES_MAX, REPLIES_PENDING_MAX};
use crate::base::{Offset, PartitionKey};
use crate::engine::{AlterTopic, DeleteTopic, FetchRequest, NewTopic, OffsetQuery, TopicRef};
use crate::io::Signal;
use crate::net::kafka::{Cold, Hot};
use crate::protocol::native::{GroupAsk, Polling, QueueAsk, Refusal};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

/// Fetch requests that are kept to be filled again.
const SPARES_MAX: usize = 8;

/// An answer that is owed. What must wait its turn carries all it needs, for the receive buffer moves on.
#[derive(Debug)]
pub(super) enum Owed {
    /// The next `entries` tickets.
    Produce {
        entries: u32,
    },
    Fetch(FetchRequest),
    /// A poll of the connection's consumer.
    Poll(Polling),
    /// What happens seldom, boxed so that the queue stays small.
    Rare(Box<Rare>),
    /// A produce or a fetch of a Kafka client.
    Kafka(Hot),
    /// Any other request of a Kafka client.
    KafkaCold(Box<Cold>),
}

#[derive(Debug)]
pub(super) enum Rare {
    Refused(Refusal),
    Welcome {
        version: u16,
    },
    /// All whose names come after this.
    AllTopics {
        after: Option<String>,
    },
    Topics(Vec<TopicRef>),
    Create(NewTopic),
    Alter(AlterTopic),
    Trim(PartitionKey, Option<Offset>),
    Delete(DeleteTopic),
    Describe {
        topic: TopicRef,
        first: u32,
    },
    ListOffsets(Vec<(PartitionKey, OffsetQuery)>),
    Stages,
    Clients {
        first: u32,
    },
    Group(GroupAsk),
    Queue(QueueAsk),
}

impl Owed {
    /// The memory that it holds besides its place in the queue: what a peer decides, who asks without end for much and
    /// takes no answer.
    fn held_bytes(&self) -> usize {
        match self {
            Self::Produce { .. } => 0,
            Self::Fetch(request) => held(&request.partitions),
            Self::Poll(polling) => held(&polling.poll.answers),
            Self::Rare(rare) => size_of::<Rare>() + rare.held_bytes(),
            Self::Kafka(hot) => hot.held_bytes(),
            Self::KafkaCold(cold) => size_of::<Cold>() + cold.held_bytes,
        }
    }
}

impl Rare {
    fn held_bytes(&self) -> usize {
        let of = |topic: &TopicRef| match topic {
            TopicRef::Name(name) => name.capacity(),
            TopicRef::Id(_) => 0,
        };
        match self {
            Self::Refused(refusal) => refusal.message.capacity(),
            Self::Welcome { .. }
            | Self::AllTopics { after: None }
            | Self::Stages
            | Self::Clients { .. }
            | Self::Trim(..) => 0,
            Self::AllTopics { after: Some(name) } => name.capacity(),
            Self::Group(ask) => ask.held_bytes(),
            Self::Queue(ask) => ask.held_bytes(),
            Self::Topics(topics) => held(topics) + topics.iter().map(of).sum::<usize>(),
            Self::Create(topic) => topic.name.capacity(),
            Self::Alter(AlterTopic { topic, .. })
            | Self::Delete(DeleteTopic { topic })
            | Self::Describe { topic, .. } => of(topic),
            Self::ListOffsets(entries) => held(entries),
        }
    }
}

fn held<T>(items: &Vec<T>) -> usize {
    items.capacity() * size_of::<T>()
}

/// The queue. Bounded by [`Queue::is_full`], which the reading half asks before it takes a request. Tickets lie apart
/// so that neither queue allocates once it has grown.
#[derive(Debug)]
pub(super) struct Queue<T> {
    owed: RefCell<VecDeque<(u32, Owed)>>,
    /// The sum of what they hold.
    held_bytes: Cell<usize>,
    tickets: RefCell<VecDeque<T>>,
    spares: RefCell<Vec<FetchRequest>>,
    spare_polls: RefCell<Vec<Polling>>,
    /// Nothing will be added.
    ended: Cell<bool>,
    /// Notified when something was added, or never will be.
    added: Signal,
    /// Notified when something was taken out of a full queue.
    eased: Signal,
}

impl<T> Queue<T> {
    pub(super) fn new() -> Self {
        Self {
            owed: RefCell::default(),
            held_bytes: Cell::new(0),
            tickets: RefCell::new(VecDeque::new()),
            spares: RefCell::default(),
            spare_polls: RefCell::default(),
            ended: Cell::new(false),
            added: Signal::new(),
            eased: Signal::new(),
        }
    }

    /// Owes an answer to the request `correlation`.
    pub(super) fn owe(&self, correlation: u32, owed: Owed) {
        self.held_bytes
            .set(self.held_bytes.get() + owed.held_bytes());
        self.owed.borrow_mut().push_back((correlation, owed));
        self.added.notify();
    }

    /// Adds a ticket of the produce that will be owed next.
    pub(super) fn add_ticket(&self, ticket: T) {
        self.tickets.borrow_mut().push_back(ticket);
    }

    pub(super) fn is_full(&self) -> bool {
        self.owed.borrow().len() >= REPLIES_PENDING_MAX
            || self.held_bytes.get() >= REPLIES_PENDING_BYTES_MAX
            || self.tickets.borrow().len() >= REPLIES_PENDING_MAX
    }

    pub(super) async fn room(&self) {
        loop {
            let eased = self.eased.wait();
            if !self.is_full() {
                return;
            }
            eased.await;
        }
    }

    /// Nothing more will be owed.
    pub(super) fn end(&self) {
        self.ended.set(true);
        self.added.notify();
    }

    /// The next answer to give.
    pub(super) fn pop(&self) -> Option<(u32, Owed)> {
        let was_full = self.is_full();
        let next = self.owed.borrow_mut().pop_front();
        if let Some((_, owed)) = &next {
            // Nothing changes what is owed while it waits, so what was added comes off again.
            self.held_bytes
                .set(self.held_bytes.get() - owed.held_bytes());
        }
        if was_full {
            self.eased.notify();
        }
        next
    }

    pub(super) fn pop_ticket(&self) -> T {
        let was_full = self.is_full();
        let ticket = self.tickets.borrow_mut().pop_front();
        if was_full {
            self.eased.notify();
        }
        ticket.expect("a produce owns as many tickets as it has entries")
    }

    /// Whether the next answer can be given at once. `is_settled` looks at a ticket.
    pub(super) fn is_ready(&self, is_settled: impl Fn(&T) -> bool) -> bool {
        match self.owed.borrow().front() {
            None => false,
            Some((_, Owed::Produce { entries })) => {
                let tickets = self.tickets.borrow();
                tickets.iter().take(*entries as usize).all(is_settled)
            }
            Some((_, Owed::Kafka(hot))) if hot.is_fetch => false,
            Some((_, Owed::Kafka(hot))) => {
                let tickets = self.tickets.borrow();
                tickets.iter().take(hot.entries).all(is_settled)
            }
            Some((_, Owed::Fetch(_) | Owed::Poll(_) | Owed::KafkaCold(_))) => false,
            Some((_, Owed::Rare(rare))) => {
                matches!(**rare, Rare::Refused(_) | Rare::Welcome { .. })
            }
        }
    }

    /// Waits until something is owed; false: nothing ever will be.
    pub(super) async fn filled(&self) -> bool {
        loop {
            let added = self.added.wait();
            if !self.owed.borrow().is_empty() {
                return true;
            }
            if self.ended.get() {
                return false;
            }
            added.await;
        }
    }

    /// Waits until something is owed, or nothing ever will be: what is being waited for now is to be answered.
    pub(super) async fn hurried(&self) {
        loop {
            let added = self.added.wait();
            if !self.owed.borrow().is_empty() || self.has_ended() {
                return;
            }
            added.await;
        }
    }

    /// Whether nothing more will be owed.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.get()
    }

    /// A poll to fill.
    pub(super) fn spare_poll(&self) -> Polling {
        self.spare_polls.borrow_mut().pop().unwrap_or_default()
    }

    /// Keeps a poll that was answered.
    pub(super) fn keep_poll(&self, polling: Polling) {
        let mut spares = self.spare_polls.borrow_mut();
        if spares.len() < SPARES_MAX {
            spares.push(polling);
        }
    }

    /// A fetch request to fill.
    pub(super) fn spare(&self) -> FetchRequest {
        self.spares.borrow_mut().pop().unwrap_or_default()
    }

    /// Keeps a fetch request that was answered.
    pub(super) fn keep(&self, mut request: FetchRequest) {
        let mut spares = self.spares.borrow_mut();
        if spares.len() < SPARES_MAX {
            request.partitions.clear();
            spares.push(request);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Offset, PartitionNo, TopicId};
    use crate::engine::FetchPartition;
    use futures_lite::future::{block_on, poll_once};

    fn fetch(partitions: usize) -> Owed {
        let wanted = FetchPartition {
            key: PartitionKey::new(TopicId(1), PartitionNo(0)),
            from: Offset(0),
            bytes_max: 1,
        };
        Owed::Fetch(FetchRequest {
            partitions: vec![wanted; partitions],
            ..FetchRequest::default()
        })
    }

    #[test]
    fn it_is_full_by_what_it_holds_long_before_it_is_full_by_count() {
        for owed in [
            || fetch(1_024),
            || {
                Owed::Rare(Box::new(Rare::Topics(vec![
                    TopicRef::Name("n".repeat(200));
                    200
                ])))
            },
        ] {
            let queue: Queue<()> = Queue::new();
            while !queue.is_full() {
                queue.owe(0, owed());
            }
            let count = queue.owed.borrow().len();
            assert!((16..64).contains(&count), "{count}");
            let mut room = Box::pin(queue.room());
            assert!(block_on(poll_once(&mut room)).is_none());
            assert!(queue.pop().is_some());
            assert!(block_on(poll_once(&mut room)).is_some());
            while queue.pop().is_some() {}
            assert_eq!(queue.held_bytes.get(), 0);
        }
    }

    #[test]
    fn small_requests_may_pend_in_thousands() {
        let queue: Queue<()> = Queue::new();
        for _ in 0..4_096 {
            assert!(!queue.is_full());
            queue.owe(0, fetch(4));
        }
    }
}
