//! Numbered producers on one partition: deciding on their batches, and finding again in the log what a restart forgot.
//!
//! ```text
//!   known here ───────────────────────────────────────────────> decide
//!   unknown, id of this start ── it never wrote before ────────> append
//!   unknown, id of an earlier start ─┬─ log was read ──────────> append (its batches are too old to come again)
//!                                    └─ not yet ─> read its end, and meanwhile: try again
//!   unknown, and a batch of it had to be tried again ──────────> append that one; those behind it wait for it
//! ```
//! An unknown producer may begin with any number, as in Kafka. But with five batches on its way the first of them may be
//! the one that is refused for a moment, and the second must not become the first: what is refused is remembered.
//!
//! Reading nothing at a start keeps starts short; who comes back is what tells that a partition has to be looked at.

use crate::base::planted::{Bug, planted};
use crate::base::{Body, Offset, RecordBatch};
use crate::engine::EngineError;
use crate::io::Io;
use crate::log::gather;
use crate::partition::{Numbered, Producers, Verdict};
use crate::shard::core::Core;
use crate::shard::hosted::Hosted;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// How much of a partition's end is read. What comes again after a restart was on its way at the end of the last one.
const TAIL_BYTES: u64 = 64 << 20;
const READ_BYTES: u64 = 1 << 20;

/// The numbered producers of one partition.
#[derive(Debug, Default)]
pub(super) struct NumberedProducers {
    known: RefCell<Producers>,
    earlier: RefCell<Earlier>,
    /// By unknown producer: the first batch that was refused and will come again.
    awaited: RefCell<BTreeMap<i64, Numbered>>,
}

/// Unknown producers whose refused batches are remembered; of more, the oldest is forgotten: 64 KiB.
const AWAITED_MAX: usize = 1_000;

/// What is known of producers of earlier starts.
#[derive(Debug, Default)]
enum Earlier {
    #[default]
    Unread,
    Reading,
    Read,
    /// The log cannot be read: nobody of an earlier start is served, for it might be served twice.
    Failed(String),
}

/// The offsets of a batch: of its first record and behind its last.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Taken {
    /// It was appended.
    Now(Offset, Offset),
    /// It had been, and has come again.
    Before(Offset, Offset),
}

/// Appends a batch by `append`, if it is its turn and it was not taken before.
pub(super) fn append<I: Io>(
    core: &Core<I>,
    hosted: &Rc<Hosted<I>>,
    batch: Numbered,
    append: impl FnOnce() -> Result<(Offset, Offset), EngineError>,
) -> Result<Taken, EngineError> {
    let producers = hosted.producers();
    let appended = match admit(core, hosted, batch) {
        Ok(Some(before)) => return Ok(before),
        Ok(None) => append(),
        Err(error) => Err(error),
    };
    match appended {
        Ok((base, until)) => {
            producers.note(batch, base, until);
            Ok(Taken::Now(base, until))
        }
        Err(error) => {
            if matches!(error, EngineError::Overloaded(_) | EngineError::DiskFull) {
                producers.refused(batch);
            }
            Err(error)
        }
    }
}

/// Decides on a batch; none: it is to be appended.
fn admit<I: Io>(
    core: &Core<I>,
    hosted: &Rc<Hosted<I>>,
    batch: Numbered,
) -> Result<Option<Taken>, EngineError> {
    let producers = hosted.producers();
    let verdict = producers.known.borrow().decide(batch);
    match verdict {
        Verdict::Append => Ok(None),
        Verdict::Duplicate { .. } if planted(Bug::TakeTwice) => Ok(None),
        Verdict::Duplicate { base, until } => Ok(Some(Taken::Before(base, until))),
        Verdict::OutOfOrder { .. } if planted(Bug::TakeGap) => Ok(None),
        Verdict::OutOfOrder { expected } => Err(EngineError::OutOfOrder {
            expected,
            found: batch.first,
        }),
        Verdict::Fenced { .. } if planted(Bug::TakeFenced) => Ok(None),
        Verdict::Fenced { current } => Err(EngineError::Fenced {
            current,
            found: batch.epoch,
        }),
        Verdict::Unknown => {
            if !core.producers.is_of_this_start(batch.id) && !planted(Bug::ForgetProducers) {
                look_back(core, hosted)?;
            }
            producers.is_turn_of(batch).map(|()| None)
        }
    }
}

impl NumberedProducers {
    fn note(&self, batch: Numbered, base: Offset, until: Offset) {
        self.known.borrow_mut().note(batch, base, until);
        self.awaited.borrow_mut().remove(&batch.id);
    }

    /// Takes note that a batch was not appended for a reason that passes.
    fn refused(&self, batch: Numbered) {
        let mut awaited = self.awaited.borrow_mut();
        if self.known.borrow().decide(batch) != Verdict::Unknown {
            return;
        }
        if awaited.len() == AWAITED_MAX {
            awaited.pop_first();
        }
        let first = awaited.entry(batch.id).or_insert(batch);
        if first.epoch < batch.epoch {
            *first = batch;
        }
    }

    /// Refuses a batch of an unknown producer that an earlier one has to come before.
    fn is_turn_of(&self, batch: Numbered) -> Result<(), EngineError> {
        match self.awaited.borrow().get(&batch.id) {
            _ if planted(Bug::JumpQueue) => Ok(()),
            Some(first) if first.epoch == batch.epoch && first.first != batch.first => {
                Err(EngineError::OutOfOrder {
                    expected: first.first,
                    found: batch.first,
                })
            }
            _ => Ok(()),
        }
    }
}

/// Whether the end of the log was read; begins to if not.
fn look_back<I: Io>(core: &Core<I>, hosted: &Rc<Hosted<I>>) -> Result<(), EngineError> {
    let loading = EngineError::Overloaded("the partition's producers are being read back");
    match &mut *hosted.producers().earlier.borrow_mut() {
        Earlier::Read => return Ok(()),
        Earlier::Failed(reason) => return Err(EngineError::Damaged(reason.clone())),
        Earlier::Reading => return Err(loading),
        unread @ Earlier::Unread => {
            if hosted.log().bytes() == 0 {
                *unread = Earlier::Read;
                return Ok(());
            }
            *unread = Earlier::Reading;
        }
    }
    let Some(pass) = core.gate.enter() else {
        return Err(EngineError::Stopping);
    };
    let (io, hosted) = (core.io.clone(), Rc::clone(hosted));
    core.io.spawn(async move {
        let found = read_back(&io, &hosted).await;
        let producers = hosted.producers();
        *producers.earlier.borrow_mut() = match found {
            Ok(found) => {
                producers.known.borrow_mut().adopt(found);
                Earlier::Read
            }
            Err(reason) => Earlier::Failed(reason),
        };
        drop(pass);
    });
    Err(loading)
}

/// The producers of the end of the log.
async fn read_back<I: Io>(io: &I, hosted: &Hosted<I>) -> Result<Producers, String> {
    let log = hosted.log();
    let (mut from, until) = (log.tail_start(TAIL_BYTES), log.frontiers().appended);
    let mut producers = Producers::default();
    let mut body = Body::default();
    while from < until {
        body.clear();
        let read = log.read_held(from, until, READ_BYTES, &mut body).await;
        read.map_err(|error| format!("at offset {from}: {error}"))?;
        let bytes = gather(io, &body).await;
        let bytes = bytes.map_err(|error| format!("at offset {from}: {error}"))?;
        let next = note_all(&mut producers, &bytes, from)?;
        if next == from {
            return Err(format!("at offset {from}: nothing to read"));
        }
        from = next;
        io.yield_now().await;
    }
    Ok(producers)
}

/// Notes the batches from `from` on; returns the offset behind them.
fn note_all(producers: &mut Producers, mut bytes: &[u8], from: Offset) -> Result<Offset, String> {
    let mut next = from;
    while !bytes.is_empty() {
        let batch = RecordBatch::parse(bytes).map_err(|error| format!("behind {next}: {error}"))?;
        // A read may begin earlier than asked.
        if batch.next_offset() > from {
            if let Some(numbered) = Numbered::of(&batch) {
                producers.note(numbered, batch.base_offset(), batch.next_offset());
            }
            next = batch.next_offset();
        }
        bytes = &bytes[batch.bytes().len()..];
    }
    Ok(next)
}
