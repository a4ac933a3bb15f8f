//! What a connection owes its peer, in the order of the requests: filled by the reading half, emptied by the writing
//! half.

use crate::base::PartitionKey;
use crate::base::limits::REPLIES_PENDING_MAX;
use crate::engine::{DeleteTopic, FetchRequest, NewTopic, OffsetQuery, TopicRef};
use crate::io::Signal;
use crate::protocol::native::Refusal;
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
    /// What happens seldom, boxed so that the queue stays small.
    Rare(Box<Rare>),
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
    Delete(DeleteTopic),
    Describe {
        topic: TopicRef,
        first: u32,
    },
    ListOffsets(Vec<(PartitionKey, OffsetQuery)>),
}

/// The queue. Bounded by [`Queue::is_full`], which the reading half asks before it takes a request. Tickets lie apart
/// so that neither queue allocates once it has grown.
#[derive(Debug)]
pub(super) struct Queue<T> {
    owed: RefCell<VecDeque<(u32, Owed)>>,
    tickets: RefCell<VecDeque<T>>,
    spares: RefCell<Vec<FetchRequest>>,
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
            tickets: RefCell::new(VecDeque::new()),
            spares: RefCell::default(),
            ended: Cell::new(false),
            added: Signal::new(),
            eased: Signal::new(),
        }
    }

    /// Owes an answer to the request `correlation`.
    pub(super) fn owe(&self, correlation: u32, owed: Owed) {
        self.owed.borrow_mut().push_back((correlation, owed));
        self.added.notify();
    }

    /// Adds a ticket of the produce that will be owed next.
    pub(super) fn add_ticket(&self, ticket: T) {
        self.tickets.borrow_mut().push_back(ticket);
    }

    pub(super) fn is_full(&self) -> bool {
        self.owed.borrow().len() >= REPLIES_PENDING_MAX
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
            Some((_, Owed::Fetch(_))) => false,
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
