//! io/sim/disk: a disk in memory that behaves as badly as a real one may.
//!
//! Does: files and directories at two levels (what reads see, what power cannot take), numbered effects, planned
//! faults and crash points, the two deaths (process, power), snapshots, inspection.
//! May import: base, the trait of io, sim's buffer. Must not know: tasks, clocks, the world. Nothing here awaits.
//!
//! ```text
//!  begin(op) = n ──> in flight ──land──> volatile ──sync──> durable
//!                       │                   │
//!        kill():   lost, whole, torn     stays                stays
//!   power_cut():   the same, then    lost, kept or mixed      stays      (512-byte sectors; luck.rs, tree.rs)
//! ```
//! Invariants:
//! - Deaths, snapshots and restores belong between runs. A run is one life of a process: effects are numbered from 0 in each run, and what was planned and did not happen
//!   is forgotten at its end. Plans are made before a run, or during it.
//! - What is in flight when a run ends stays in flight until `kill` or `power_cut`; a new run begins with a `kill` if
//!   nobody chose.
//! - A sync covers what was complete when it began. A failed sync covers nothing, and what it should have covered is
//!   clean for the next sync, which succeeds (as Linux does): only the bytes that a power cut takes tell.
//! - Space: a write that finds room for its first blocks only is short; none at all is ENOSPC.

mod file;
mod luck;
mod op;
mod tree;

pub(super) use file::Seq;
pub(super) use op::Op;
pub(super) use tree::NodeId;

use crate::base::prng::Prng;
use crate::io::DirEntry;
use rustix::io::Errno;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tree::Tree;

/// Space on a disk unless told otherwise: enough for any test.
const CAPACITY_BYTES: u64 = 1 << 40;

type Result<T> = std::result::Result<T, Errno>;

/// What goes wrong with one effect. A fault that does not fit the effect acts as [`Fault::Eio`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// It fails; of a write, some sectors may have landed; of a sync, see [`Fault::SyncFails`].
    Eio,
    /// No space: nothing landed.
    Enospc,
    /// Only this many bytes of a write land, and it says so.
    ShortWrite(usize),
    /// The sync fails, and what it should have made durable never will be, though a second sync succeeds.
    SyncFails,
    /// The write lands on other blocks of the same file and claims success.
    Misdirected,
    /// It claims success, and nothing happened: of a write, no byte landed; of a sync, nothing became durable, though a
    /// later sync covers it.
    Lost,
    /// It takes this much longer.
    SlowBy(Duration),
}

/// What an effect is, for plans that do not know its number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum EffectKind {
    /// A write of blocks.
    Write,
    /// A sync of a file, or the sync of a durable write.
    Sync,
    /// A sync of a directory.
    SyncDir,
    /// A file's length or reserved space.
    Space,
    /// A creation, a rename or a removal.
    Name,
}

/// A fault that has happened, not only been planned.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fired {
    /// What was done to.
    pub kind: EffectKind,
    /// What went wrong. A full disk shows as [`Fault::Enospc`], or as [`Fault::ShortWrite`].
    pub fault: Fault,
    /// The file, under its name of that moment; none if it has no name (any more).
    pub path: Option<PathBuf>,
}

/// A disk. Clones are the same disk; it outlives the worlds that use it.
#[derive(Clone, Debug)]
pub struct SimDisk {
    state: Rc<RefCell<State>>,
}

/// All that a disk holds at one moment, what is in flight included. See [`SimDisk::snapshot`].
#[derive(Clone, Debug)]
pub struct DiskSnapshot {
    image: Image,
}

#[derive(Clone, Debug)]
struct Image {
    tree: Tree,
    in_flight: BTreeMap<u64, Op>,
    boot_id: u128,
    capacity: u64,
}

#[derive(Debug)]
struct State {
    image: Image,
    /// Open files. The token is held by every handle; weak here, so that handles alone count.
    handles: BTreeMap<NodeId, Weak<()>>,
    plan: Plan,
    fired: Vec<Fired>,
    failed_reads: u64,
    effects: u64,
    reads: u64,
    rng: Prng,
}

#[derive(Default, Debug)]
struct Plan {
    crash_at: Option<u64>,
    faults: BTreeMap<u64, Fault>,
    /// Faults of effects to come, by their kind: each with how many of the kind go well before.
    next: Vec<(EffectKind, u64, Fault)>,
    read_faults: BTreeSet<u64>,
}

impl Plan {
    /// The fault of effect `number`, which is of `kind`.
    fn fault(&mut self, number: u64, kind: EffectKind) -> Option<Fault> {
        if let Some(fault) = self.faults.remove(&number) {
            return Some(fault);
        }
        let mut due = None;
        self.next.retain_mut(|(of, before, fault)| {
            if *of != kind || due.is_some() {
                return true;
            }
            if *before == 0 {
                due = Some(*fault);
                return false;
            }
            *before -= 1;
            true
        });
        due
    }
}

/// An effect that has begun.
#[derive(Clone, Copy, Debug)]
pub(super) struct Begun {
    pub(super) number: u64,
    pub(super) fault: Option<Fault>,
    pub(super) crash: bool,
}

impl SimDisk {
    /// An empty disk. `seed` decides what deaths leave.
    pub fn new(seed: u64) -> Self {
        let mut rng = Prng::new(seed);
        let image = Image {
            tree: Tree::new(),
            in_flight: BTreeMap::new(),
            boot_id: boot_id(&mut rng),
            capacity: CAPACITY_BYTES,
        };
        let state = State {
            image,
            handles: BTreeMap::new(),
            plan: Plan::default(),
            fired: Vec::new(),
            failed_reads: 0,
            effects: 0,
            reads: 0,
            rng,
        };
        Self {
            state: Rc::new(RefCell::new(state)),
        }
    }

    /// How many effects (write, sync, rename, create, remove, allocate, set_len, sync_dir, each directory made) have
    /// begun in this run, or in the last one.
    pub fn effects(&self) -> u64 {
        self.state.borrow().effects
    }

    /// How many reads have begun in this run, or in the last one.
    pub fn reads(&self) -> u64 {
        self.state.borrow().reads
    }

    /// Stops the world while effect `n` of the coming (or current) run is in flight, before anybody hears of it.
    pub fn crash_at(&self, n: u64) {
        self.state.borrow_mut().plan.crash_at = Some(n);
    }

    /// Lets effect `n` of the coming (or current) run go wrong.
    pub fn fail_at(&self, n: u64, fault: Fault) {
        self.state.borrow_mut().plan.faults.insert(n, fault);
    }

    /// Lets one of the effects of `kind` to come in this run go wrong: the one after `before` others.
    pub fn fail_next(&self, kind: EffectKind, before: u64, fault: Fault) {
        let next = &mut self.state.borrow_mut().plan.next;
        next.push((kind, before, fault));
    }

    /// The faults that have happened since the disk was made, oldest first.
    pub fn fired(&self) -> Vec<Fired> {
        self.state.borrow().fired.clone()
    }

    /// How many reads have failed since the disk was made.
    pub fn failed_reads(&self) -> u64 {
        self.state.borrow().failed_reads
    }

    /// Space that files take now, in bytes.
    pub fn used(&self) -> u64 {
        let state = self.state.borrow();
        state.image.tree.used(|node| is_open(&state.handles, node))
    }

    /// Lets read `n` of the coming (or current) run fail with EIO.
    pub fn fail_read_at(&self, n: u64) {
        self.state.borrow_mut().plan.read_faults.insert(n);
    }

    /// Sets the size of the disk. What is stored stays, even where it is more.
    pub fn set_capacity(&self, bytes: u64) {
        self.state.borrow_mut().image.capacity = bytes;
    }

    /// The process dies. Completed writes stay; each effect in flight is lost or whole, and a write may be torn.
    pub fn kill(&self) {
        self.state.borrow_mut().kill();
    }

    /// The machine loses power: like [`SimDisk::kill`], then unsynced bytes and names are lost, kept or mixed. The
    /// boot id changes.
    pub fn power_cut(&self) {
        let state = &mut *self.state.borrow_mut();
        state.kill();
        state.image.tree.power_cut(&mut state.rng);
        state.image.boot_id = boot_id(&mut state.rng);
        state.handles.clear();
    }

    /// The disk as it is. Cheap: blocks are shared.
    pub fn snapshot(&self) -> DiskSnapshot {
        DiskSnapshot {
            image: self.state.borrow().image.clone(),
        }
    }

    /// Puts a snapshot back. Chance is not turned back, so a second death of the same snapshot leaves something else.
    pub fn restore(&self, snapshot: &DiskSnapshot) {
        let state = &mut *self.state.borrow_mut();
        state.image = snapshot.image.clone();
        state.handles.clear();
    }

    /// The content of a file as reads see it; `None` if there is no such file.
    pub fn read_file(&self, path: impl AsRef<Path>) -> Option<Vec<u8>> {
        let state = self.state.borrow();
        let node = state.image.tree.find_file(path.as_ref()).ok()?;
        let file = state.image.tree.file(node).ok()?;
        let mut bytes = vec![0; file.len() as usize];
        file.read(0, &mut bytes);
        Some(bytes)
    }

    /// Overwrites bytes of a file at both levels, as decay would. False if there is no such file; bytes past its end
    /// are ignored.
    pub fn corrupt(&self, path: impl AsRef<Path>, position: u64, bytes: &[u8]) -> bool {
        let tree = &mut self.state.borrow_mut().image.tree;
        let node = tree.find_file(path.as_ref());
        let Ok(file) = node.and_then(|node| tree.file_mut(node)) else {
            return false;
        };
        file.corrupt(position, bytes);
        true
    }

    /// The paths of all files, sorted.
    pub fn list_files(&self) -> Vec<PathBuf> {
        let files = self.state.borrow().image.tree.files();
        files.into_iter().map(|(path, _)| path).collect()
    }

    pub(super) fn begin_run(&self) {
        let state = &mut *self.state.borrow_mut();
        state.kill();
        (state.effects, state.reads) = (0, 0);
    }

    pub(super) fn end_run(&self) {
        self.state.borrow_mut().plan = Plan::default();
    }

    /// Numbers an effect and puts it in flight.
    pub(super) fn begin(&self, op: Op) -> Begun {
        let state = &mut *self.state.borrow_mut();
        let number = state.effects;
        state.effects += 1;
        let fault = state.plan.fault(number, op.kind());
        state.image.in_flight.insert(number, op);
        Begun {
            number,
            fault,
            crash: state.plan.crash_at == Some(number),
        }
    }

    /// Lets an effect in flight land.
    pub(super) fn land(&self, begun: Begun, rng: &mut Prng) -> Result<u64> {
        let state = &mut *self.state.borrow_mut();
        let Some(op) = state.image.in_flight.remove(&begun.number) else {
            return Err(Errno::IO); // a death or a restore in the middle of a run took it
        };
        let free = state.free_for(&op);
        let result = op.land(&mut state.image.tree, free, begun.fault, rng);
        state.note_fired(&op, begun.fault, result);
        if matches!(op, Op::SyncDir { .. }) {
            state.sweep();
        }
        result
    }

    /// Numbers a read; the error is a planned one.
    pub(super) fn begin_read(&self) -> (u64, Result<()>) {
        let state = &mut *self.state.borrow_mut();
        let number = state.reads;
        state.reads += 1;
        let failed = state.plan.read_faults.remove(&number);
        state.failed_reads += u64::from(failed);
        (number, if failed { Err(Errno::IO) } else { Ok(()) })
    }

    /// Fills `out` with what the file holds at `position`; says how much there was.
    pub(super) fn read(&self, node: NodeId, position: u64, out: &mut [u8]) -> Result<usize> {
        let state = self.state.borrow();
        Ok(state.image.tree.file(node)?.read(position, out))
    }

    pub(super) fn len(&self, node: NodeId) -> Result<u64> {
        Ok(self.state.borrow().image.tree.file(node)?.len())
    }

    pub(super) fn find_file(&self, path: &Path) -> Result<NodeId> {
        self.state.borrow().image.tree.find_file(path)
    }

    pub(super) fn find_dir(&self, path: &Path) -> Result<NodeId> {
        self.state.borrow().image.tree.find_dir(path)
    }

    pub(super) fn list(&self, path: &Path) -> Result<Vec<DirEntry>> {
        self.state.borrow().image.tree.list(path)
    }

    /// The newest change there is: what a sync that begins now covers.
    pub(super) fn newest(&self) -> Seq {
        self.state.borrow().image.tree.newest()
    }

    /// A token that keeps a file alive without its name.
    pub(super) fn handle(&self, node: NodeId) -> Arc<()> {
        let handles = &mut self.state.borrow_mut().handles;
        if let Some(token) = handles.get(&node).and_then(Weak::upgrade) {
            return token;
        }
        let token = Arc::new(());
        handles.insert(node, Arc::downgrade(&token));
        token
    }

    pub(super) fn free(&self) -> u64 {
        self.state.borrow().free()
    }

    pub(super) fn boot_id(&self) -> u128 {
        self.state.borrow().image.boot_id
    }
}

impl State {
    fn kill(&mut self) {
        let mut ops: Vec<Op> = std::mem::take(&mut self.image.in_flight)
            .into_values()
            .collect();
        while !ops.is_empty() {
            let next = self.rng.below(ops.len() as u64) as usize;
            let op = ops.swap_remove(next);
            let free = self.free_for(&op);
            op.abandon(&mut self.image.tree, free, &mut self.rng);
        }
        self.handles.clear();
        self.sweep();
    }

    fn free(&self) -> u64 {
        let used = self.image.tree.used(|node| is_open(&self.handles, node));
        self.image.capacity.saturating_sub(used)
    }

    /// Keeps what went wrong, planned or for want of space.
    fn note_fired(&mut self, op: &Op, planned: Option<Fault>, result: Result<u64>) {
        let short = match (op, result) {
            (Op::Write { data, .. }, Ok(bytes)) => {
                let wanted = data.as_ref().as_ref().len() as u64;
                (bytes < wanted).then_some(Fault::ShortWrite(bytes as usize))
            }
            (_, Err(Errno::NOSPC)) => Some(Fault::Enospc),
            _ => None,
        };
        if let Some(fault) = planned.or(short) {
            self.fired.push(Fired {
                kind: op.kind(),
                fault,
                path: op.node().and_then(|node| self.image.tree.path(node)),
            });
        }
    }

    /// The free space, where `op` asks for any: it is dear to count.
    fn free_for(&self, op: &Op) -> u64 {
        if op.takes_space(&self.image.tree) {
            self.free()
        } else {
            0
        }
    }

    fn sweep(&mut self) {
        self.handles.retain(|_, token| token.strong_count() > 0);
        let handles = &self.handles;
        self.image.tree.sweep(|node| is_open(handles, node));
    }
}

fn is_open(handles: &BTreeMap<NodeId, Weak<()>>, node: NodeId) -> bool {
    handles
        .get(&node)
        .is_some_and(|token| token.strong_count() > 0)
}

fn boot_id(rng: &mut Prng) -> u128 {
    (u128::from(rng.next_u64()) << 64) | u128::from(rng.next_u64())
}
