//! The mailboxes between the cores of one run: one bounded queue for each pair, so the order of one sender holds and
//! one sender cannot fill another's. From which queue a receiver takes next is drawn. A core without others goes on
//! waiting for mail of its own, as io/uring has it.

use crate::base::CoreId;
use crate::io::sim::trace::Note;
use crate::io::sim::world::World;
use crate::io::{Mailbox, Signal};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

/// Messages that one pair's queue holds. Small, so that a full one is in every test.
const QUEUE_MESSAGES_MAX: usize = 16;

/// All queues of a run.
pub(super) struct Mesh<M> {
    world: Rc<World>,
    cores: usize,
    /// By sender, then by receiver.
    queues: Vec<RefCell<VecDeque<M>>>,
    ends: Vec<End>,
}

/// What the mesh knows of one core.
#[derive(Default)]
struct End {
    stopped: Cell<bool>,
    handles: Cell<usize>,
    arrived: Signal,
    taken: Signal,
}

/// One core's end.
pub struct SimMailbox<M> {
    mesh: Rc<Mesh<M>>,
    core: usize,
}

impl<M> Mesh<M> {
    pub(super) fn new(world: &Rc<World>, cores: u16) -> Rc<Self> {
        let cores = usize::from(cores);
        Rc::new(Self {
            world: Rc::clone(world),
            cores,
            queues: (0..cores * cores).map(|_| RefCell::default()).collect(),
            ends: (0..cores).map(|_| End::default()).collect(),
        })
    }

    /// The end of `core`.
    pub(super) fn end(self: &Rc<Self>, core: u16) -> SimMailbox<M> {
        let core = usize::from(core);
        let handles = &self.ends[core].handles;
        handles.set(handles.get() + 1);
        SimMailbox {
            mesh: Rc::clone(self),
            core,
        }
    }

    /// From now on nothing is sent to `core`; what it had sent is still received.
    pub(super) fn stop(&self, core: u16) {
        self.ends[usize::from(core)].stopped.set(true);
        for end in &self.ends {
            end.arrived.notify();
            end.taken.notify();
        }
    }

    fn queue(&self, from: usize, to: usize) -> &RefCell<VecDeque<M>> {
        &self.queues[from * self.cores + to]
    }

    /// Whether nobody but `core` itself will send to it.
    fn others_have_stopped(&self, core: usize) -> bool {
        let mut others = (0..self.cores).filter(|other| *other != core);
        others.all(|other| self.ends[other].stopped.get())
    }

    /// Takes a message for `to` from one of the queues that have any.
    fn take(&self, to: usize) -> Option<(usize, M)> {
        let has = |from: &usize| !self.queue(*from, to).borrow().is_empty();
        let full = (0..self.cores).filter(has).count() as u64;
        if full == 0 {
            return None;
        }
        let drawn = self.world.rng().below(full) as usize;
        let from = (0..self.cores).filter(has).nth(drawn)?;
        let message = self.queue(from, to).borrow_mut().pop_front()?;
        Some((from, message))
    }
}

impl<M> Clone for SimMailbox<M> {
    fn clone(&self) -> Self {
        self.mesh.end(self.core as u16)
    }
}

impl<M> Drop for SimMailbox<M> {
    fn drop(&mut self) {
        let handles = &self.mesh.ends[self.core].handles;
        handles.set(handles.get() - 1);
        if handles.get() == 0 {
            self.mesh.stop(self.core as u16);
        }
    }
}

impl<M: Send + 'static> Mailbox<M> for SimMailbox<M> {
    async fn send(&self, to: CoreId, message: M) -> bool {
        let to = usize::from(to.0);
        let end = &self.mesh.ends[to];
        let queue = self.mesh.queue(self.core, to);
        loop {
            if end.stopped.get() {
                return false;
            }
            if queue.borrow().len() < QUEUE_MESSAGES_MAX {
                break;
            }
            end.taken.wait().await;
        }
        self.mesh.world.note(Note::Mail {
            from: self.core as u16,
            to: to as u16,
        });
        queue.borrow_mut().push_back(message);
        end.arrived.notify();
        true
    }

    async fn receive(&self) -> Option<(CoreId, M)> {
        let own = &self.mesh.ends[self.core];
        loop {
            if let Some((from, message)) = self.mesh.take(self.core) {
                own.taken.notify();
                return Some((CoreId(from as u16), message));
            }
            if self.mesh.cores > 1 && self.mesh.others_have_stopped(self.core) {
                return None;
            }
            own.arrived.wait().await;
        }
    }
}
