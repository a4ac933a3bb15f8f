//! One core's part of a load: connects, begins with the others, and ends when its tasks have.

use super::ends::{Receiver, Sender, connect};
use super::pace::{pace, stay_awake};
use super::produce::Lane;
use super::{Event, Goal, Job, LoadError, Orders, PATIENCE, Shared, Tally, Task, Window};
use super::{idle, produce, read, tail, take};
use crate::bench::batches::Batch;
use crate::bench::schedule::Schedule;
use crate::io::uring::Uring;
use crate::io::{Io, Monotonic, Signal};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How often a core looks around.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// From everybody's being connected to the begin.
const HEAD_START: Duration = Duration::from_millis(20);
/// A goal that is no time ends long before this.
const FOR_EVER: Duration = Duration::from_secs(86_400);

/// What the tasks of one core share.
pub(super) struct Shift {
    pub(super) io: Uring,
    pub(super) orders: Arc<Orders>,
    pub(super) shared: Arc<Shared>,
    pub(super) begin: Monotonic,
    pub(super) window: Window,
    pub(super) tally: RefCell<Tally>,
    pub(super) batches: Rc<Vec<Batch>>,
    /// No more requests shall be made.
    pub(super) is_over: Cell<bool>,
    failure: RefCell<Option<LoadError>>,
    left: Cell<usize>,
    changed: Signal,
}

/// A connection that was made, and what it is for.
pub(super) struct Link {
    pub(super) job: Job,
    pub(super) sender: Sender,
    pub(super) receiver: Receiver,
}

/// The life of one core of the load.
pub(super) async fn work(
    io: Uring,
    orders: Arc<Orders>,
    shared: Arc<Shared>,
) -> Result<Tally, LoadError> {
    let worked = attempt(&io, &orders, &shared).await;
    if worked.is_err() {
        shared.stop.store(true, Ordering::Relaxed);
    }
    worked
}

async fn attempt(
    io: &Uring,
    orders: &Arc<Orders>,
    shared: &Arc<Shared>,
) -> Result<Tally, LoadError> {
    let links = connect_all(io, orders, shared).await?;
    let begin = begin(io, orders, shared).await?;
    let shift = Shift::new(io, orders, shared, begin);
    if orders.stay_awake {
        io.spawn(stay_awake(io.clone()));
    }
    Rc::clone(&shift).start(links);
    if io.core().0 == 0 && matches!(orders.goal, Goal::Time { .. }) {
        io.spawn(announce(Rc::clone(&shift)));
    }
    shift.last().await?;
    Ok(shift.tally.borrow().clone())
}

async fn connect_all(io: &Uring, orders: &Orders, shared: &Shared) -> Result<Vec<Link>, LoadError> {
    let cores = orders.cpus.len();
    let mine = orders.jobs.iter().skip(usize::from(io.core().0));
    let mut links = Vec::new();
    for job in mine.step_by(cores) {
        stopped(shared)?;
        let in_flight = match job.task {
            Task::Tail | Task::Take { .. } | Task::Idle => 1,
            _ => orders.in_flight,
        };
        let connected = connect(io, orders.wire, job, in_flight).await;
        let (sender, receiver) = connected.map_err(|cause| LoadError::Connect {
            address: job.address,
            cause,
        })?;
        links.push(Link {
            job: job.clone(),
            sender,
            receiver,
        });
    }
    Ok(links)
}

/// Waits for all cores of the load; the first one says when they begin.
async fn begin(io: &Uring, orders: &Orders, shared: &Shared) -> Result<Monotonic, LoadError> {
    let cores = orders.cpus.len();
    let connected = shared.connected.fetch_add(1, Ordering::AcqRel) + 1;
    if connected == cores {
        let begin = io.now().plus(HEAD_START);
        shared.begin_ns.store(begin.0, Ordering::Release);
        shared.tell(Event::Connected);
    }
    loop {
        stopped(shared)?;
        let begin = Monotonic(shared.begin_ns.load(Ordering::Acquire));
        if begin != Monotonic(0) {
            io.sleep(begin.since(io.now())).await;
            return Ok(begin);
        }
        io.sleep(Duration::from_millis(1)).await;
    }
}

fn stopped(shared: &Shared) -> Result<(), LoadError> {
    if shared.stop.load(Ordering::Relaxed) {
        return Err(LoadError::Stopped);
    }
    Ok(())
}

/// Tells the watcher when it begins to count, and when it ends.
async fn announce(shift: Rc<Shift>) {
    for (at, event) in [
        (shift.window.from, Event::Begin),
        (shift.window.until, Event::End),
    ] {
        shift.io.sleep(at.since(shift.io.now())).await;
        shift.shared.tell(event);
    }
}

impl Shift {
    fn new(io: &Uring, orders: &Arc<Orders>, shared: &Arc<Shared>, begin: Monotonic) -> Rc<Self> {
        let (warm_up, duration, is_timed) = match orders.goal {
            Goal::Time { warm_up, duration } => (warm_up, duration, true),
            Goal::RequestsPerPartition(_) => (Duration::ZERO, FOR_EVER, false),
        };
        let from = begin.plus(warm_up);
        let window = Window {
            from,
            until: from.plus(duration),
        };
        Rc::new(Self {
            io: io.clone(),
            orders: Arc::clone(orders),
            shared: Arc::clone(shared),
            begin,
            window,
            tally: RefCell::new(Tally::new(window, is_timed)),
            batches: Rc::new(orders.batches.clone()),
            is_over: Cell::new(false),
            failure: RefCell::default(),
            left: Cell::new(0),
            changed: Signal::new(),
        })
    }

    /// Starts a task, or two, for every connection.
    fn start(self: Rc<Self>, links: Vec<Link>) {
        self.left.set(links.len());
        let mut lanes = Vec::new();
        for link in links {
            let shift = Rc::clone(&self);
            match link.job.task {
                Task::Produce => lanes.push(produce::start(shift, link)),
                Task::CatchUp { .. } | Task::Beside { .. } => read::start(shift, link),
                Task::Tail => tail::start(shift, link),
                Task::Take { .. } => take::start(shift, link),
                Task::Idle => idle::start(shift, link),
            }
        }
        self.start_pace(lanes);
    }

    /// This core's share of the schedule, shifted against those of the other cores.
    fn start_pace(self: Rc<Self>, lanes: Vec<Rc<Lane>>) {
        let Some(total_per_s) = self.orders.requests_per_s else {
            return;
        };
        if lanes.is_empty() {
            return;
        }
        let jobs = self.orders.jobs.iter();
        let producers = jobs.filter(|job| job.task == Task::Produce).count();
        let mine_per_s = total_per_s * lanes.len() as f64 / producers as f64;
        let cores = self.orders.cpus.len();
        let phase = f64::from(self.io.core().0) / cores as f64;
        let schedule = Schedule::new(self.begin, mine_per_s, lanes.len(), phase);
        let io = self.io.clone();
        io.spawn(pace(self, lanes, schedule));
    }

    /// Waits until every task has ended, or one has failed, or it is time to give up.
    async fn last(&self) -> Result<(), LoadError> {
        let patience_ends = self.window.until.plus(PATIENCE);
        self.watch();
        loop {
            let changed = self.changed.wait();
            if let Some(failure) = self.failure.borrow_mut().take() {
                return Err(failure);
            }
            if self.left.get() == 0 {
                return Ok(());
            }
            stopped(&self.shared)?;
            if self.io.now() > patience_ends {
                return Err(self.silence());
            }
            changed.await;
        }
    }

    fn silence(&self) -> LoadError {
        match self.shared.undelivered() {
            0 => LoadError::Silent,
            batches if self.orders.stamped => LoadError::Undelivered { batches },
            _ => LoadError::Silent,
        }
    }

    /// Makes [`Shift::last`] look again from time to time.
    fn watch(&self) {
        let (io, changed) = (self.io.clone(), self.changed.clone());
        self.io.spawn(async move {
            loop {
                io.sleep(LOOK_INTERVAL).await;
                changed.notify();
            }
        });
    }

    /// A task ends well.
    pub(super) fn leave(&self) {
        self.left.set(self.left.get() - 1);
        self.changed.notify();
    }

    /// A task ends badly, and the run with it. The first cause counts.
    pub(super) fn fail(&self, cause: LoadError) {
        self.is_over.set(true);
        self.failure.borrow_mut().get_or_insert(cause);
        self.changed.notify();
    }

    /// Whether more requests shall be made at `now`.
    pub(super) fn goes_on(&self, now: Monotonic) -> bool {
        now < self.window.until && !self.is_over.get()
    }
}
