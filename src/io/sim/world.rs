//! What all cores of a run share: the executor, the clock with its events, chance, the trace, the disk, the network.

use crate::base::prng::Prng;
use crate::io::sim::disk::SimDisk;
use crate::io::sim::net::Network;
use crate::io::sim::tasks::{Polled, TaskId, Tasks};
use crate::io::sim::trace::{Note, Trace};
use std::cell::{Cell, RefCell, RefMut};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// Where the wall clock stands when a world begins: a round date in 2023.
const WALL_MS_START: i64 = 1_700_000_000_000;

/// When an event is due, and which one of those due then.
type Due = (u64, u64);

type Action = Box<dyn FnOnce(&Rc<World>)>;

/// What a due time does.
enum Event {
    Wake(Waker),
    Run(Action),
}

/// See the module.
pub(super) struct World {
    pub(super) tasks: Tasks,
    pub(super) disk: SimDisk,
    pub(super) net: Network,
    pub(super) trace: RefCell<Trace>,
    seed: u64,
    rng: RefCell<Prng>,
    now: Cell<u64>,
    wall_jump_ms: Cell<i64>,
    events: RefCell<BTreeMap<Due, Event>>,
    events_made: Cell<u64>,
    crashed: Cell<Option<u64>>,
    closed: Cell<bool>,
}

impl World {
    pub(super) fn new(seed: u64, disk: SimDisk) -> Rc<Self> {
        Rc::new(Self {
            tasks: Tasks::new(),
            disk,
            net: Network::new(),
            trace: RefCell::default(),
            seed,
            rng: RefCell::new(Prng::new(seed)),
            now: Cell::new(0),
            wall_jump_ms: Cell::new(0),
            events: RefCell::default(),
            events_made: Cell::new(0),
            crashed: Cell::new(None),
            closed: Cell::new(true),
        })
    }

    /// Nanoseconds since the world began.
    pub(super) fn now(&self) -> u64 {
        self.now.get()
    }

    pub(super) fn wall_ms(&self) -> i64 {
        WALL_MS_START + (self.now() / 1_000_000) as i64 + self.wall_jump_ms.get()
    }

    pub(super) fn jump_wall(&self, ms: i64) {
        self.wall_jump_ms.set(self.wall_jump_ms.get() + ms);
    }

    /// The generator. Never held across a call that may draw too.
    pub(super) fn rng(&self) -> RefMut<'_, Prng> {
        self.rng.borrow_mut()
    }

    /// A number in `low..=high`.
    pub(super) fn between(&self, low: u64, high: u64) -> u64 {
        low + self.rng().below(high - low + 1)
    }

    pub(super) fn note(&self, note: Note) {
        self.trace.borrow_mut().note(self.now(), note);
    }

    pub(super) fn say(&self, line: impl FnOnce() -> String) {
        self.trace.borrow_mut().say(self.now(), line);
    }

    /// Takes a task in, unless the run is over: then the task is dropped, as the process is gone.
    pub(super) fn spawn(&self, core: u16, future: impl Future<Output = ()> + 'static) {
        self.spawn_as(core, name_of(&future), future);
    }

    /// Like [`World::spawn`], where the future's type says nothing.
    pub(super) fn spawn_as(
        &self,
        core: u16,
        name: &str,
        future: impl Future<Output = ()> + 'static,
    ) {
        if self.closed.get() {
            return;
        }
        let name = format!("core {core}: {name}");
        let task = self.tasks.add(name, future);
        self.note(Note::Spawn { task, core });
    }

    /// Runs `action` after `nanos`; never, if the run is over.
    pub(super) fn after(&self, nanos: u64, action: impl FnOnce(&Rc<World>) + 'static) {
        if self.closed.get() {
            return;
        }
        let due = self.due(self.now().saturating_add(nanos));
        let event = Event::Run(Box::new(action));
        self.events.borrow_mut().insert(due, event);
    }

    /// Ready at `deadline`.
    pub(super) fn sleep_until(self: &Rc<Self>, deadline: u64) -> Sleep {
        Sleep {
            world: Rc::clone(self),
            due: self.due(deadline),
        }
    }

    fn due(&self, at: u64) -> Due {
        (at, self.events_made.replace(self.events_made.get() + 1))
    }

    /// Stops the world: nothing runs after this.
    pub(super) fn crash(&self, effect: u64) {
        if self.crashed.get().is_none() && !self.closed.get() {
            self.note(Note::Crash { effect });
            self.crashed.set(Some(effect));
        }
    }

    /// The effect at which the world has crashed, if it has.
    pub(super) fn crashed(&self) -> Option<u64> {
        self.crashed.get()
    }

    /// Where the world stands, for a person.
    pub(super) fn position(&self) -> String {
        let (now, disk) = (Duration::from_nanos(self.now()), &self.disk);
        format!(
            "sim: seed {}, time {now:?}, {} effects and {} reads begun",
            self.seed,
            disk.effects(),
            disk.reads(),
        )
    }

    /// Begins a run.
    pub(super) fn open(&self) {
        self.crashed.set(None);
        self.closed.set(false);
        self.disk.begin_run();
    }

    /// Ends a run: drops tasks, events, sockets. What the disk has in flight stays in flight.
    pub(super) fn close(&self) {
        self.closed.set(true);
        self.tasks.clear();
        self.net.clear();
        let events = self.events.take();
        drop(events);
        self.disk.end_run();
    }

    /// Runs one ready task, drawn by chance; false if none is ready.
    pub(super) fn run_one(&self) -> bool {
        let ready = self.tasks.ready() as u64;
        if ready == 0 {
            return false;
        }
        let index = if ready == 1 {
            0
        } else {
            self.rng().below(ready)
        };
        let task: TaskId = self.tasks.pick(index as usize);
        self.note(Note::Poll { task });
        if self.tasks.poll(task) == Polled::Ended {
            self.note(Note::Ended { task });
        }
        true
    }

    /// Moves the clock to the next event and lets it happen; false if there is none.
    pub(super) fn advance(self: &Rc<Self>) -> bool {
        let Some(((at, _), event)) = self.events.borrow_mut().pop_first() else {
            return false;
        };
        if at > self.now() {
            self.now.set(at);
            self.note(Note::Clock { now: at });
        }
        match event {
            Event::Wake(waker) => waker.wake(),
            Event::Run(action) => action(self),
        }
        true
    }
}

/// See [`World::sleep_until`]. Dropping it takes its event back, so a cancelled timer never holds up a verdict of
/// deadlock.
pub(super) struct Sleep {
    world: Rc<World>,
    due: Due,
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.world.now() >= self.due.0 {
            return Poll::Ready(());
        }
        let event = Event::Wake(context.waker().clone());
        self.world.events.borrow_mut().insert(self.due, event);
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        let event = self.world.events.borrow_mut().remove(&self.due);
        drop(event);
    }
}

/// How long `duration` is on the clock of a world.
pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The type of a future: for an async function, its path.
pub(super) fn name_of<F>(_: &F) -> &'static str {
    std::any::type_name::<F>()
}
