//! Numbered producers on one partition: deciding on their batches, and finding again in the log what a restart forgot.
//!
//! ```text
//!   known here ───────────────────────────────────────────────> decide
//!   unknown, id of this start ── it never wrote before ────────> append
//!   unknown, id of an earlier start ─┬─ log was read ──────────> append (its batches are too old to come again)
//!                                    └─ not yet ─> read its end, and meanwhile: try again
//! ```
//! Reading nothing at a start keeps starts short; who comes back is what tells that a partition has to be looked at.

use crate::base::{Body, Offset, RecordBatch};
use crate::engine::EngineError;
use crate::io::Io;
use crate::log::gather;
use crate::partition::{Numbered, Producers, Verdict};
use crate::shard::core::Core;
use crate::shard::hosted::Hosted;
use std::cell::RefCell;
use std::rc::Rc;

/// How much of a partition's end is read. What comes again after a restart was on its way at the end of the last one.
const TAIL_BYTES: u64 = 64 << 20;
const READ_BYTES: u64 = 1 << 20;

/// The numbered producers of one partition.
#[derive(Debug, Default)]
pub(super) struct NumberedProducers {
    known: RefCell<Producers>,
    earlier: RefCell<Earlier>,
}

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

/// Decides on a batch: the offsets that it got before, or none if it is to be appended.
pub(super) fn admit<I: Io>(
    core: &Core<I>,
    hosted: &Rc<Hosted<I>>,
    batch: Numbered,
) -> Result<Option<(Offset, Offset)>, EngineError> {
    let producers = hosted.producers();
    let verdict = producers.known.borrow().decide(batch);
    match verdict {
        Verdict::Append => Ok(None),
        Verdict::Duplicate { base, until } => Ok(Some((base, until))),
        Verdict::OutOfOrder { expected } => Err(EngineError::OutOfOrder {
            expected,
            found: batch.first,
        }),
        Verdict::Fenced { current } => Err(EngineError::Fenced {
            current,
            found: batch.epoch,
        }),
        Verdict::Unknown if core.producers.is_of_this_start(batch.id) => Ok(None),
        Verdict::Unknown => look_back(core, hosted).map(|()| None),
    }
}

/// Takes note of what was appended.
pub(super) fn note<I: Io>(hosted: &Hosted<I>, batch: Numbered, base: Offset, until: Offset) {
    let mut known = hosted.producers().known.borrow_mut();
    known.note(batch, base, until);
}

/// Whether the end of the log was read; begins to if not.
fn look_back<I: Io>(core: &Core<I>, hosted: &Rc<Hosted<I>>) -> Result<(), EngineError> {
    let loading = EngineError::Overloaded("the partition's producers are being read back");
    match &mut *hosted.producers().earlier.borrow_mut() {
        Earlier::Read => return Ok(()),
        Earlier::Failed(reason) => return Err(EngineError::Damaged(reason.clone())),
        Earlier::Reading => return Err(loading),
        unread @ Earlier::Unread => {
            if hosted.frontiers().start == hosted.frontiers().appended {
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
        let read = log.read(from, until, READ_BYTES, &mut body).await;
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
