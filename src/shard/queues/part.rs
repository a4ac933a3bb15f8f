//! One ledger and its journal: every step's records are one batch of the journal, and now and then a checkpoint lets go of
//! what came before.

use crate::base::record::BatchBuilder;
use crate::base::{AckLevel, Offset, PartitionNo};
use crate::engine::EngineError;
use crate::io::Io;
use crate::log::Draw;
use crate::queue::{Doomed, Ledger, LedgerRecord, Moment, Output, encode_all};
use crate::shard::core::Core;
use crate::shard::hosted::Hosted;
use crate::shard::produce::append_to;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

/// A journal gets a checkpoint after this many bytes, or four times those of the last one: it is read back in some
/// milliseconds.
const CHECKPOINT_BYTES_MIN: u64 = if cfg!(test) { 8 << 10 } else { 1 << 20 };
/// The records of a batch of the journal: a checkpoint may take more.
const BATCH_RECORDS: usize = if cfg!(test) { 8 } else { 4096 };

/// See the module.
pub(super) struct Part<I: Io> {
    pub(super) no: PartitionNo,
    pub(super) source: Rc<Hosted<I>>,
    pub(super) journal: Rc<Hosted<I>>,
    ledger: RefCell<Ledger>,
    /// Lent to each step.
    out: RefCell<Output>,
    encoded: RefCell<(Vec<u8>, BatchBuilder)>,
    doomed: RefCell<VecDeque<Doomed>>,
    pub(super) is_moving: Cell<bool>,
    since_checkpoint: Cell<u64>,
    checkpoint_bytes: Cell<u64>,
    is_checkpointing: Cell<bool>,
    /// Why it takes no more steps.
    failed: RefCell<Option<EngineError>>,
}

impl<I: Io> Part<I> {
    pub(super) fn new(
        no: PartitionNo,
        source: Rc<Hosted<I>>,
        journal: Rc<Hosted<I>>,
        ledger: Ledger,
    ) -> Rc<Self> {
        Rc::new(Self {
            no,
            source,
            journal,
            ledger: RefCell::new(ledger),
            out: RefCell::default(),
            encoded: RefCell::default(),
            doomed: RefCell::default(),
            is_moving: Cell::new(false),
            since_checkpoint: Cell::new(0),
            checkpoint_bytes: Cell::new(0),
            is_checkpointing: Cell::new(false),
            failed: RefCell::new(None),
        })
    }

    /// What the ledger says, without a step.
    pub(super) fn look<T>(&self, look: impl FnOnce(&Ledger) -> T) -> T {
        look(&self.ledger.borrow())
    }

    pub(super) fn next_deadline(&self) -> Option<u64> {
        self.ledger.borrow().next_deadline()
    }

    /// Takes a step and appends its records at `level`, or that of the topic if that is more. The output is lent: to be
    /// given back.
    pub(super) fn step<T>(
        &self,
        core: &Core<I>,
        level: AckLevel,
        now: &Moment,
        step: impl FnOnce(&mut Ledger, &Moment, &mut Output) -> T,
    ) -> Result<(T, Offset, Output), EngineError> {
        if let Some(error) = &*self.failed.borrow() {
            return Err(error.clone());
        }
        let mut out = self.out.take();
        let value = step(&mut self.ledger.borrow_mut(), now, &mut out);
        let appended = self.append(core, &out.records, self.level().max(level));
        out.records.clear();
        match appended {
            Ok(()) => Ok((value, self.journal.frontiers().appended, out)),
            Err(error) => {
                // The ledger is ahead of what is stored.
                *self.failed.borrow_mut() = Some(error.clone());
                Err(error)
            }
        }
    }

    pub(super) fn give_back(&self, mut out: Output) {
        out.clear();
        *self.out.borrow_mut() = out;
    }

    pub(super) fn doom(&self, doomed: &mut Vec<Doomed>) {
        self.doomed.borrow_mut().extend(doomed.drain(..));
    }

    pub(super) fn has_doomed(&self) -> bool {
        !self.doomed.borrow().is_empty()
    }

    /// Up to `most` of the records that are to be moved to the dead letters.
    pub(super) fn take_doomed(&self, most: usize) -> Vec<Doomed> {
        let mut doomed = self.doomed.borrow_mut();
        let count = most.min(doomed.len());
        doomed.drain(..count).collect()
    }

    /// Takes note of how far the topic can be read.
    pub(super) fn reach(&self) {
        let until = self.source.high_watermark();
        self.ledger.borrow_mut().reached(until);
    }

    /// The level that a step's records must reach: that of the topic.
    fn level(&self) -> AckLevel {
        self.source.settings().ack
    }

    fn append(
        &self,
        core: &Core<I>,
        records: &[LedgerRecord],
        level: AckLevel,
    ) -> Result<(), EngineError> {
        let (value, batch) = &mut *self.encoded.borrow_mut();
        for some in records.chunks(BATCH_RECORDS) {
            value.clear();
            encode_all(some, value);
            batch.clear();
            let time = crate::base::TimestampMs(core.io.wall_ms());
            batch.push(time, None, Some(value), &[]);
            // What is done with lets space be freed: it must be possible when there is none.
            let journal = Rc::clone(&self.journal);
            append_to(core, journal, level, Draw::Reserve, batch.finish())?;
            let bytes = self.since_checkpoint.get() + batch.len() as u64;
            self.since_checkpoint.set(bytes);
        }
        Ok(())
    }

    /// Waits until the journal up to `until` has reached the topic's level.
    pub(super) async fn stored(&self, until: Offset) -> Result<(), EngineError> {
        self.stored_at(until, self.level()).await
    }

    /// Waits until it is on stable storage; it was appended at that level.
    pub(super) async fn synced(&self, until: Offset) -> Result<(), EngineError> {
        self.stored_at(until, AckLevel::Synced).await
    }

    async fn stored_at(&self, until: Offset, level: AckLevel) -> Result<(), EngineError> {
        loop {
            let progress = self.journal.log().progress().wait();
            let outcome = self.journal.outcome(until, until, level, None);
            if let Some(outcome) = outcome {
                return outcome.map(drop);
            }
            progress.await;
        }
    }

    /// Appends a checkpoint, at once: no record comes between its pieces. Returns where it begins and ends.
    fn append_checkpoint(&self, core: &Core<I>) -> Result<(Offset, Offset), EngineError> {
        let mut out = self.out.take();
        self.ledger.borrow().checkpoint(&mut out.records);
        let range = self.append_as_checkpoint(core, &out.records);
        self.give_back(out);
        range
    }

    /// Appends records that begin with a checkpoint.
    pub(super) fn append_as_checkpoint(
        &self,
        core: &Core<I>,
        records: &[LedgerRecord],
    ) -> Result<(Offset, Offset), EngineError> {
        let from = self.journal.frontiers().appended;
        let before = self.since_checkpoint.get();
        let appended = self.append(core, records, AckLevel::Synced);
        if let Err(error) = &appended {
            *self.failed.borrow_mut() = Some(error.clone());
        }
        appended?;
        let bytes = self.since_checkpoint.replace(0);
        self.checkpoint_bytes.set(bytes - before);
        Ok((from, self.journal.frontiers().appended))
    }

    /// Writes a checkpoint if enough has come since the last one, and lets go of what lies before it.
    pub(super) fn checkpoint_if_due(self: &Rc<Self>, core: &Rc<Core<I>>) {
        let due = CHECKPOINT_BYTES_MIN.max(4 * self.checkpoint_bytes.get());
        if self.since_checkpoint.get() < due || self.failed.borrow().is_some() {
            return;
        }
        let Some(pass) = core.gate.enter() else {
            return;
        };
        if self.is_checkpointing.replace(true) {
            return;
        }
        let appended = self.append_checkpoint(core);
        let part = Rc::clone(self);
        core.io.spawn(async move {
            if let Ok((from, until)) = appended
                && part.synced(until).await.is_ok()
            {
                part.trim(from).await;
            }
            part.is_checkpointing.set(false);
            drop(pass);
        });
    }

    /// A checkpoint begins at `from` and is on stable storage: nothing before it counts. If this fails, the next
    /// checkpoint does it.
    pub(super) async fn trim(&self, from: Offset) {
        let _ = self.journal.log().trim(from).await;
    }
}
