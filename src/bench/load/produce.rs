//! A connection that produces: one task sends what is due, the other takes the replies.
//!
//! ```text
//!   pace ──due──> Lane ──> send ──────> driver ──> receive ──> Tally
//!                  └── in flight: due, sent ─────────┘
//! ```
//! Small batches that are due together go out with one system call, as a client that batches its socket writes would do;
//! each is a request of its own all the same. Large ones go out from where they lie.

use super::ends::{LinkError, Receiver, Sender, lost};
use super::shift::{Link, Shift};
use super::tally::Answered;
use super::{Goal, LoadError};
use crate::base::PartitionKey;
use crate::bench::batches::Batch;
use crate::io::{Io, Monotonic, Signal};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Batches up to this size are copied together, larger ones are not.
const SMALL_BYTES: usize = 4 << 10;
/// Due requests that fit into a lane before its memory grows, which only a stall makes it do.
const DUE_CAPACITY: usize = 4_096;
/// How long after the window a connection goes on sending what was due in it.
const CATCH_UP_MAX: Duration = Duration::from_secs(2);
/// How often the end of a connection is looked for.
const END_INTERVAL: Duration = Duration::from_millis(1);

/// What the two tasks of a connection share with the pace.
pub(super) struct Lane {
    due: RefCell<VecDeque<Monotonic>>,
    sent: RefCell<VecDeque<Sent>>,
    changed: Signal,
    is_schedule_over: Cell<bool>,
    is_sending_over: Cell<bool>,
}

#[derive(Clone, Copy)]
struct Sent {
    due: Monotonic,
    sent: Monotonic,
    payload_bytes: u64,
}

impl Lane {
    fn new(in_flight: usize) -> Self {
        Self {
            due: RefCell::new(VecDeque::with_capacity(DUE_CAPACITY)),
            sent: RefCell::new(VecDeque::with_capacity(in_flight)),
            changed: Signal::new(),
            is_schedule_over: Cell::new(false),
            is_sending_over: Cell::new(false),
        }
    }

    /// A request is due.
    pub(super) fn expect(&self, due: Monotonic) {
        self.due.borrow_mut().push_back(due);
        self.changed.notify();
    }

    /// No more will be.
    pub(super) fn end_schedule(&self) {
        self.is_schedule_over.set(true);
        self.changed.notify();
    }

    fn is_done(&self) -> bool {
        self.is_sending_over.get() && self.sent.borrow().is_empty()
    }
}

/// Starts both tasks.
pub(super) fn start(shift: Rc<Shift>, link: Link) -> Rc<Lane> {
    let lane = Rc::new(Lane::new(shift.orders.in_flight));
    let Link {
        job,
        sender,
        receiver,
    } = link;
    let (address, key) = (job.address, job.keys[0]);
    let supply = Supply::new(&shift, job.keys);
    let io = shift.io.clone();
    io.spawn(send(
        Rc::clone(&shift),
        Rc::clone(&lane),
        sender,
        supply,
        address,
    ));
    io.spawn(receive(shift, Rc::clone(&lane), receiver, key));
    lane
}

/// What a connection sends next, and to where.
struct Supply {
    keys: Vec<PartitionKey>,
    /// The same memory for all connections of a core, so that it stays in the cache; a copy where the time is written in.
    batches: Rc<Vec<Batch>>,
    next: usize,
    left: u64,
    is_stamped: bool,
}

impl Supply {
    fn new(shift: &Shift, keys: Vec<PartitionKey>) -> Self {
        let left = match shift.orders.goal {
            Goal::Time { .. } => u64::MAX,
            Goal::RequestsPerPartition(requests) => requests * keys.len() as u64,
        };
        Self {
            keys,
            batches: Rc::clone(&shift.batches),
            next: 0,
            left,
            is_stamped: shift.orders.stamped,
        }
    }

    fn is_small(&self) -> bool {
        self.batches[0].bytes.len() <= SMALL_BYTES
    }

    fn take(&mut self, due: Monotonic) -> (PartitionKey, &Batch) {
        let key = self.keys[self.next % self.keys.len()];
        let index = self.next % self.batches.len();
        self.next = self.next.wrapping_add(1);
        self.left -= 1;
        if self.is_stamped {
            Rc::make_mut(&mut self.batches)[index].stamp(due);
        }
        (key, &self.batches[index])
    }
}

async fn send(
    shift: Rc<Shift>,
    lane: Rc<Lane>,
    mut sender: Sender,
    mut supply: Supply,
    address: SocketAddr,
) {
    let sent = send_all(&shift, &lane, &mut sender, &mut supply).await;
    lane.is_sending_over.set(true);
    if let Err(cause) = sent {
        return shift.fail(lost(address, cause));
    }
    while !lane.is_done() {
        shift.io.sleep(END_INTERVAL).await;
    }
    // The receiver may wait for a reply that nobody asked for.
    sender.stop();
}

async fn send_all(
    shift: &Shift,
    lane: &Lane,
    sender: &mut Sender,
    supply: &mut Supply,
) -> Result<(), LinkError> {
    loop {
        sender.room().await?;
        let Some(due) = wait_for_due(shift, lane, supply).await else {
            return Ok(());
        };
        if supply.is_small() {
            send_small(shift, lane, sender, supply, due).await?;
        } else {
            let (key, batch) = supply.take(due);
            lane.note(due, shift.io.now(), batch);
            sender.produce(shift.orders.ack, key, &batch.bytes).await?;
        }
    }
}

/// Sends `first`, and with it whatever else is due and may be in flight.
async fn send_small(
    shift: &Shift,
    lane: &Lane,
    sender: &mut Sender,
    supply: &mut Supply,
    first: Monotonic,
) -> Result<(), LinkError> {
    let mut due = Some(first);
    while let Some(now_due) = due {
        let (key, batch) = supply.take(now_due);
        lane.note(now_due, shift.io.now(), batch);
        sender.push(shift.orders.ack, key, &batch.bytes)?;
        due = match sender.in_flight() < shift.orders.in_flight {
            true => next_due(shift, lane, supply),
            false => None,
        };
    }
    sender.flush().await
}

/// When the next request is due, once one is; `None`: no more.
async fn wait_for_due(shift: &Shift, lane: &Lane, supply: &Supply) -> Option<Monotonic> {
    loop {
        let changed = lane.changed.wait();
        if let Some(due) = next_due(shift, lane, supply) {
            return Some(due);
        }
        let is_open = shift.orders.requests_per_s.is_some();
        if !is_open || lane.is_schedule_over.get() {
            return None;
        }
        changed.await;
    }
}

fn next_due(shift: &Shift, lane: &Lane, supply: &Supply) -> Option<Monotonic> {
    let now = shift.io.now();
    if supply.left == 0 {
        return None;
    }
    if shift.orders.requests_per_s.is_none() {
        return shift.goes_on(now).then_some(now);
    }
    if shift.is_over.get() || now > shift.window.until.plus(CATCH_UP_MAX) {
        let mut tally = shift.tally.borrow_mut();
        for due in lane.due.borrow_mut().drain(..) {
            tally.give_up(due, now);
        }
        return None;
    }
    lane.due.borrow_mut().pop_front()
}

impl Lane {
    fn note(&self, due: Monotonic, sent: Monotonic, batch: &Batch) {
        self.sent.borrow_mut().push_back(Sent {
            due,
            sent,
            payload_bytes: batch.payload_bytes,
        });
    }
}

async fn receive(shift: Rc<Shift>, lane: Rc<Lane>, mut receiver: Receiver, key: PartitionKey) {
    while !lane.is_done() {
        let taken = receiver.produced(key).await;
        match taken {
            // The end of the connection, which is ours.
            Err(LoadError::Lost { .. }) if lane.is_done() => break,
            Err(cause) => return shift.fail(cause),
            Ok(()) => {}
        }
        settle(&shift, &lane);
    }
    shift.shared.producers_left.fetch_sub(1, Ordering::AcqRel);
    shift.leave();
}

fn settle(shift: &Shift, lane: &Lane) {
    let sent = lane.sent.borrow_mut().pop_front();
    let sent = sent.expect("the driver hands out no reply that was not asked for");
    let request = Answered {
        due: sent.due,
        sent: sent.sent,
        done: shift.io.now(),
    };
    let mut tally = shift.tally.borrow_mut();
    if shift.orders.stamped {
        tally.record_times(request);
        shift.shared.acked_batches.fetch_add(1, Ordering::Relaxed);
        return;
    }
    let messages = u64::from(shift.orders.batch_messages);
    tally.record(request, messages, sent.payload_bytes);
    shift.shared.messages.fetch_add(messages, Ordering::Relaxed);
}
