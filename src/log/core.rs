//! The state of one core's log that its loops share: who is dirty, what is in flight, how far things are promised.

use crate::base::PartitionKey;
use crate::base::limits::{
    CYCLES_IN_FLIGHT_MAX, DIRECT_BYTES_MIN, SMALL_CYCLES_IN_FLIGHT_MAX, UNWRITTEN_BYTES_MAX,
};
use crate::io::{Io, Monotonic, Signal};
use crate::log::Options;
use crate::log::error::AppendError;
use crate::log::journal::files::JournalFile;
use crate::log::partition::{Draw, Partition};
use crate::log::segment::Segment;
use crate::log::space::Space;
use crate::log::stats::Meter;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

/// How many things to be told are kept for whoever takes them.
const NOTICES_MAX: usize = 64;

/// See the module's words.
pub(crate) struct Core<I: Io> {
    pub(crate) io: I,
    pub(crate) options: Options,
    pub(crate) partitions: RefCell<BTreeMap<PartitionKey, Rc<Partition<I>>>>,
    /// Partitions with something to take, each once, in the order in which they asked.
    pub(crate) dirty: RefCell<VecDeque<Rc<Partition<I>>>>,
    pub(crate) journal: Journal<I>,
    /// Cycles in flight, oldest first.
    pub(crate) cycles: RefCell<VecDeque<Rc<Cycle<I>>>>,
    /// All cycles below are written; all below `durable_bound` are synced.
    pub(crate) written_bound: Cell<u64>,
    pub(crate) durable_bound: Cell<u64>,
    /// Somebody waits for the cycles below to be synced.
    pub(crate) sync_wanted: Cell<u64>,
    /// Partitions, segments and journal files with something written since the last sync began.
    pub(crate) unsynced: RefCell<Unsynced<I>>,
    /// Written chunks that are kept, oldest first, and their bytes.
    pub(crate) hot: RefCell<VecDeque<HotChunk<I>>>,
    pub(crate) hot_bytes: Cell<usize>,
    /// Appended and not yet taken by a cycle.
    pub(crate) pending: Cell<usize>,
    /// Appended and not yet written.
    pub(crate) unwritten: Cell<usize>,
    pub(crate) meter: Meter,
    /// What somebody should be told of, oldest first.
    pub(crate) notices: RefCell<VecDeque<(PartitionKey, String)>>,
    pub(crate) failed: RefCell<Option<String>>,
    pub(crate) stopping: Cell<bool>,
    pub(crate) stopped: Cell<bool>,
    pub(crate) space: Space,
    /// The commit loop should look again.
    pub(crate) work: Signal,
    /// The sync loop should look again.
    pub(crate) sync_work: Signal,
    /// Something was written, synced or has failed.
    pub(crate) moved: Signal,
}

/// A written chunk whose memory is kept.
pub(crate) struct HotChunk<I: Io> {
    segment: Rc<Segment<I>>,
    pos: u64,
    bytes: usize,
}

/// Where entries go.
pub(crate) struct Journal<I: Io> {
    pub(crate) active: RefCell<Rc<JournalFile<I>>>,
    pub(crate) position: Cell<u64>,
    /// Made ready while the active one fills.
    pub(crate) spare: RefCell<Option<Rc<JournalFile<I>>>>,
    pub(crate) retiring: RefCell<Option<Retiring<I>>>,
    pub(crate) next_number: Cell<u64>,
    pub(crate) sequence: Cell<u64>,
    pub(crate) previous_crc: Cell<u32>,
}

/// A full journal file that is still needed.
pub(crate) struct Retiring<I: Io> {
    pub(crate) file: Rc<JournalFile<I>>,
    /// Partitions that were not carried into a later file yet.
    pub(crate) uncarried: usize,
    /// Once known: when all cycles below are durable, the file is free.
    pub(crate) carried_below: Option<u64>,
}

/// One commit cycle in flight.
pub(crate) struct Cycle<I: Io> {
    pub(crate) sequence: u64,
    pub(crate) launched: Monotonic,
    /// Writes that have not completed.
    pub(crate) left: Cell<usize>,
    pub(crate) parts: Vec<Part<I>>,
    pub(crate) file: Rc<JournalFile<I>>,
    pub(crate) bytes: usize,
    pub(crate) wants_sync: bool,
    /// Its entry is all there is to it, and is durable once it is written: no sync has to follow.
    pub(crate) durable: bool,
}

/// What a cycle promises of one segment.
pub(crate) struct Part<I: Io> {
    pub(crate) partition: Rc<Partition<I>>,
    pub(crate) segment: Rc<Segment<I>>,
    /// Records below are written once the cycle is; `None` for a delete, which promises no records.
    pub(crate) next_offset: Option<crate::base::Offset>,
    pub(crate) direct: bool,
}

/// What the next sync has to cover.
pub(crate) struct Unsynced<I: Io> {
    pub(crate) partitions: Vec<Rc<Partition<I>>>,
    pub(crate) segments: Vec<Rc<Segment<I>>>,
    pub(crate) files: Vec<Rc<JournalFile<I>>>,
}

impl<I: Io> Default for Unsynced<I> {
    fn default() -> Self {
        Self {
            partitions: Vec::new(),
            segments: Vec::new(),
            files: Vec::new(),
        }
    }
}

impl<I: Io> Core<I> {
    pub(crate) fn new(
        io: I,
        options: Options,
        active: JournalFile<I>,
        next_number: u64,
    ) -> Rc<Self> {
        let journal = Journal {
            active: RefCell::new(Rc::new(active)),
            position: Cell::new(crate::log::journal::files::FIRST_ENTRY),
            spare: RefCell::new(None),
            retiring: RefCell::new(None),
            next_number: Cell::new(next_number),
            sequence: Cell::new(0),
            previous_crc: Cell::new(0),
        };
        Rc::new(Self {
            io,
            options,
            partitions: RefCell::default(),
            dirty: RefCell::default(),
            journal,
            cycles: RefCell::default(),
            written_bound: Cell::new(0),
            durable_bound: Cell::new(0),
            sync_wanted: Cell::new(0),
            unsynced: RefCell::default(),
            hot: RefCell::default(),
            hot_bytes: Cell::new(0),
            pending: Cell::new(0),
            unwritten: Cell::new(0),
            meter: Meter::new(),
            notices: RefCell::default(),
            failed: RefCell::new(None),
            stopping: Cell::new(false),
            stopped: Cell::new(false),
            space: Space::new(),
            work: Signal::new(),
            sync_work: Signal::new(),
            moved: Signal::new(),
        })
    }

    /// Why nothing may be appended now, if so.
    pub(crate) fn refusal(&self, draw: Draw) -> Option<AppendError> {
        if let Some(reason) = &*self.failed.borrow() {
            return Some(AppendError::Failed(reason.clone()));
        }
        if self.stopping.get() {
            return Some(AppendError::Stopping);
        }
        let is_full = draw == Draw::Free && self.space.is_low();
        is_full.then_some(AppendError::DiskFull)
    }

    /// Whether a loop should end now.
    pub(crate) fn is_over(&self) -> bool {
        self.stopped.get() || self.failed.borrow().is_some()
    }

    /// The partition has something to take.
    pub(crate) fn mark_dirty(&self, partition: &Rc<Partition<I>>) {
        if !partition.dirty.replace(true) {
            self.dirty.borrow_mut().push_back(Rc::clone(partition));
            self.work.notify();
        }
    }

    /// Whether one more cycle may go out. A large one may while the device has room; a small one waits for all but one
    /// before it, and grows meanwhile: a core with one producer never waits, one with many commits them together.
    pub(crate) fn has_cycle_room(&self) -> bool {
        let in_flight = self.cycles.borrow().len();
        let large = self.pending.get() >= DIRECT_BYTES_MIN;
        in_flight
            < if large {
                CYCLES_IN_FLIGHT_MAX
            } else {
                SMALL_CYCLES_IN_FLIGHT_MAX
            }
    }

    /// Whether more bytes may be appended without holding too much memory.
    pub(crate) fn has_room(&self) -> bool {
        self.unwritten.get() <= UNWRITTEN_BYTES_MAX
    }

    /// The storage has failed: from here on nothing is taken, and nothing in flight will ever be acknowledged.
    pub(crate) fn fail(&self, reason: String) {
        self.failed.borrow_mut().get_or_insert(reason);
        for partition in self.partitions.borrow().values() {
            partition.progress.notify();
        }
        self.work.notify();
        self.sync_work.notify();
        self.moved.notify();
    }

    /// Asks for all cycles below `bound` to be synced.
    pub(crate) fn want_sync(&self, bound: u64) {
        if bound > self.sync_wanted.get() {
            self.sync_wanted.set(bound);
            self.sync_work.notify();
        }
    }

    /// A chunk was written: it stays as hot tail until the budget wants its memory.
    pub(crate) fn keep_hot(&self, segment: &Rc<Segment<I>>, pos: u64, bytes: usize) {
        let mut hot = self.hot.borrow_mut();
        hot.push_back(HotChunk {
            segment: Rc::clone(segment),
            pos,
            bytes,
        });
        let mut total = self.hot_bytes.get() + bytes;
        while total > self.options.hot_bytes_max {
            let Some(oldest) = hot.pop_front() else { break };
            oldest.segment.tail.borrow_mut().evict(oldest.pos);
            total -= oldest.bytes;
        }
        self.hot_bytes.set(total);
    }

    /// Keeps something to be told. Of very many, the first say enough.
    pub(crate) fn tell(&self, key: PartitionKey, what: String) {
        let mut notices = self.notices.borrow_mut();
        if notices.len() < NOTICES_MAX {
            notices.push_back((key, what));
        }
    }

    /// Now, on the monotonic clock.
    pub(crate) fn now(&self) -> Monotonic {
        self.io.now()
    }
}
