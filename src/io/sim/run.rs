//! A world and its runs.

use crate::io::sim::disk::SimDisk;
use crate::io::sim::machine::SimIo;
use crate::io::sim::mailbox::{Mesh, SimMailbox};
use crate::io::sim::net::SimNet;
use crate::io::sim::world::{World, name_of, nanos};
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

/// How far a run goes unless told otherwise: far beyond any test that makes progress.
const STEPS_MAX: u64 = 20_000_000;
const TIME_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// How a run ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome<T> {
    /// All mains returned; their values by core.
    Done(Vec<T>),
    /// The planned crash came while this effect was in flight, or [`Sim::crash`] was called.
    Crashed {
        /// The number of the effect; of the next one, where the crash was called.
        effect: u64,
    },
    /// Nothing can run and no time will change that.
    Stuck {
        /// Each task that waits: its core and the type of its future.
        waiting: Vec<String>,
    },
    /// The budget of steps or time is used up.
    Exhausted {
        /// Steps done: polls of tasks and events.
        steps: u64,
        /// Time passed in the world.
        time: Duration,
    },
}

impl<T> Outcome<T> {
    /// The values of all mains, by core. Panics, naming the outcome, where the run did not end well.
    #[track_caller]
    pub fn done(self) -> Vec<T> {
        match self {
            Self::Done(values) => values,
            Self::Crashed { effect } => panic!("run crashed at effect {effect}"),
            Self::Stuck { waiting } => panic!("run is stuck; waiting: {waiting:#?}"),
            Self::Exhausted { steps, time } => {
                panic!("run is not done after {steps} steps and {time:?}")
            }
        }
    }

    /// Whether a planned crash ended the run.
    pub fn is_crashed(&self) -> bool {
        matches!(self, Self::Crashed { .. })
    }
}

/// A simulated world: a machine with its disk, network and clock. Clones are the same world. Equal seeds, disks and
/// programs give equal runs.
#[derive(Clone)]
pub struct Sim {
    world: Rc<World>,
    budget: Rc<Cell<(u64, u64)>>,
}

impl Sim {
    /// A world with an empty disk.
    pub fn new(seed: u64) -> Self {
        Self::with_disk(seed, SimDisk::new(seed))
    }

    /// A world on a disk that there was before it.
    pub fn with_disk(seed: u64, disk: SimDisk) -> Self {
        Self {
            world: World::new(seed, disk),
            budget: Rc::new(Cell::new((STEPS_MAX, nanos(TIME_MAX)))),
        }
    }

    /// The disk.
    pub fn disk(&self) -> SimDisk {
        self.world.disk.clone()
    }

    /// The network, to disturb it.
    pub fn net(&self) -> SimNet {
        SimNet::new(&self.world)
    }

    /// Moves the wall clock, forth or back; the monotonic one does not notice.
    pub fn jump_wall(&self, ms: i64) {
        self.world.jump_wall(ms);
    }

    /// Crashes the current run now: nothing runs after the task that called it has reached its next wait.
    pub fn crash(&self) {
        self.world.crash(self.world.disk.effects());
    }

    /// Sets how many steps and how much virtual time each run may take.
    pub fn set_budget(&self, steps: u64, time: Duration) {
        self.budget.set((steps, nanos(time)));
    }

    /// A hash of everything that has happened: equal for equal seeds, disks and programs.
    pub fn trace_hash(&self) -> u64 {
        self.world.trace.borrow().hash()
    }

    /// Keeps the trace as text from now on. It may grow large.
    pub fn keep_log(&self) {
        self.world.trace.borrow_mut().keep_text();
    }

    /// The trace as text, a line for each thing that happened, with the time in nanoseconds.
    pub fn log(&self) -> Vec<String> {
        self.world.trace.borrow().text()
    }

    /// Runs `main` on one core. See [`Sim::run_cores`].
    pub fn run<T, F>(&self, main: impl FnOnce(SimIo) -> F) -> Outcome<T>
    where
        T: 'static,
        F: Future<Output = T> + 'static,
    {
        let main = Cell::new(Some(main));
        self.run_cores(1, |io, _: SimMailbox<()>| {
            let main = main
                .take()
                .expect("called once for each core, and there is one");
            main(io)
        })
    }

    /// Runs `main` on each of `cores` cores until all have returned, the planned crash comes, nothing can go on, or
    /// the budget is used up. Tasks that were spawned live until then, whichever core they are on; whatever is still
    /// waiting at the end is dropped.
    pub fn run_cores<M, T, F>(
        &self,
        cores: u16,
        main: impl Fn(SimIo, SimMailbox<M>) -> F,
    ) -> Outcome<T>
    where
        M: Send + 'static,
        T: 'static,
        F: Future<Output = T> + 'static,
    {
        let _closing = Run::open(&self.world);
        let mesh = Mesh::new(&self.world, cores);
        let values: Rc<RefCell<Vec<Option<T>>>> =
            Rc::new(RefCell::new((0..cores).map(|_| None).collect()));
        let left = Rc::new(Cell::new(cores));
        for core in 0..cores {
            let future = main(SimIo::new(&self.world, core), mesh.end(core));
            let (mesh, values, left) = (Rc::clone(&mesh), Rc::clone(&values), Rc::clone(&left));
            let name = format!("main {}", name_of(&future));
            self.world.spawn_as(core, &name, async move {
                let value = future.await;
                values.borrow_mut()[usize::from(core)] = Some(value);
                left.set(left.get() - 1);
                mesh.stop(core);
            });
        }
        let end = catch_unwind(AssertUnwindSafe(|| self.drive(&left)));
        match end.unwrap_or_else(|panic| self.tell(&*panic)) {
            Outcome::Done(_) => Outcome::Done(values.take().into_iter().flatten().collect()),
            Outcome::Crashed { effect } => Outcome::Crashed { effect },
            Outcome::Stuck { waiting } => Outcome::Stuck { waiting },
            Outcome::Exhausted { steps, time } => Outcome::Exhausted { steps, time },
        }
    }

    /// Panics on, saying where the world stood, so that the run can be had again: the loops of tests over seeds and
    /// effects do not say it.
    fn tell(&self, panic: &dyn Any) -> ! {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        let position = self.world.position();
        panic!("{position}: {}", text.unwrap_or("a panic without text"));
    }

    /// Lets things happen until the run has ended.
    fn drive(&self, left: &Cell<u16>) -> Outcome<()> {
        let (steps_max, time_max) = self.budget.get();
        let (began, mut steps) = (self.world.now(), 0);
        loop {
            if let Some(effect) = self.world.crashed() {
                return Outcome::Crashed { effect };
            }
            if left.get() == 0 {
                return Outcome::Done(Vec::new());
            }
            let passed = self.world.now() - began;
            if steps == steps_max || passed > time_max {
                let time = Duration::from_nanos(passed);
                return Outcome::Exhausted { steps, time };
            }
            if !self.world.run_one() && !self.world.advance() {
                let waiting = self.world.tasks.names();
                return Outcome::Stuck { waiting };
            }
            steps += 1;
        }
    }
}

/// Closes the world when the run ends, by a panic too: tasks hold the world, and it holds them.
struct Run<'a> {
    world: &'a Rc<World>,
}

impl<'a> Run<'a> {
    fn open(world: &'a Rc<World>) -> Self {
        world.open();
        Self { world }
    }
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        self.world.close();
    }
}
