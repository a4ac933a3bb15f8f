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
//!
//! A producer that was silent for `keep` is forgotten. Of an earlier start, the log's timestamps say since when he is: a
//! batch was appended no earlier than the youngest record in front of it says. But producers may write old times, and a broker
//! that was killed must know again what it took a second before: what a start finds is remembered for `GRACE` at least.

use crate::base::planted::{Bug, planted};
use crate::base::{Body, Offset, RecordBatch, TimestampMs};
use crate::engine::EngineError;
use crate::io::Io;
use crate::log::gather;
use crate::partition::{Memory, Numbered, Place, Producers, Verdict};
use crate::shard::core::Core;
use crate::shard::hosted::Hosted;
use futures_lite::future::or;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

/// How much of a partition's end is read. What comes again after a restart was on its way at the end of the last one.
const TAIL_BYTES: u64 = 64 << 20;
const READ_BYTES: u64 = 1 << 20;
/// How long producers that a start finds are remembered at least, whatever the timestamps say, and how often those of all
/// partitions are looked at for who is to be forgotten. As often as Kafka looks: so long it remembers them, too.
const GRACE: Duration = Duration::from_secs(600);

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

/// Where a batch lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Taken {
    /// It was appended.
    Now(Place),
    /// It had been, and has come again.
    Before(Place),
}

/// Appends a batch by `append`, if it is its turn and it was not taken before.
pub(super) fn append<I: Io>(
    core: &Core<I>,
    hosted: &Rc<Hosted<I>>,
    batch: Numbered,
    append: impl FnOnce() -> Result<Place, EngineError>,
) -> Result<Taken, EngineError> {
    let producers = hosted.producers();
    let memory = memory(core);
    let appended = match admit(core, hosted, batch, memory) {
        Ok(Some(before)) => return Ok(before),
        Ok(None) => append(),
        Err(error) => Err(error),
    };
    match appended {
        Ok(place) => {
            producers.note(batch, place, memory);
            Ok(Taken::Now(place))
        }
        Err(error) => {
            if matches!(error, EngineError::Overloaded(_) | EngineError::DiskFull) {
                producers.refused(batch, memory);
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
    memory: Memory,
) -> Result<Option<Taken>, EngineError> {
    let producers = hosted.producers();
    let verdict = producers.known.borrow().decide(batch, memory);
    match verdict {
        Verdict::Append => Ok(None),
        Verdict::Duplicate(_) if planted(Bug::TakeTwice) => Ok(None),
        Verdict::Duplicate(place) => {
            producers.awaited.borrow_mut().remove(&batch.id);
            Ok(Some(Taken::Before(place)))
        }
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
    fn note(&self, batch: Numbered, at: Place, memory: Memory) {
        self.known.borrow_mut().note(batch, at, memory);
        self.awaited.borrow_mut().remove(&batch.id);
    }

    /// Takes note that a batch was not appended for a reason that passes.
    fn refused(&self, batch: Numbered, memory: Memory) {
        let mut awaited = self.awaited.borrow_mut();
        if self.known.borrow().decide(batch, memory) != Verdict::Unknown {
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
    let (io, hosted, memory) = (core.io.clone(), Rc::clone(hosted), memory(core));
    core.io.spawn(async move {
        let found = read_back(&io, &hosted, memory).await;
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
async fn read_back<I: Io>(io: &I, hosted: &Hosted<I>, memory: Memory) -> Result<Producers, String> {
    let log = hosted.log();
    let mut found = Found::new(memory, TimestampMs(io.wall_ms()));
    let (mut from, until) = (log.tail_start(TAIL_BYTES), log.frontiers().appended);
    let mut body = Body::default();
    while from < until {
        body.clear();
        let read = log.read_held(from, until, READ_BYTES, &mut body).await;
        read.map_err(|error| format!("at offset {from}: {error}"))?;
        let bytes = gather(io, &body).await;
        let bytes = bytes.map_err(|error| format!("at offset {from}: {error}"))?;
        let next = found.note_all(&bytes, from)?;
        if next == from {
            return Err(format!("at offset {from}: nothing to read"));
        }
        from = next;
        io.yield_now().await;
    }
    Ok(found.producers)
}

/// What a start finds in the log, in the order of the log.
struct Found {
    producers: Producers,
    /// The time by the broker's clock and by the clock on the wall.
    memory: Memory,
    wall: TimestampMs,
    /// The youngest record so far.
    youngest: TimestampMs,
}

impl Found {
    fn new(memory: Memory, wall: TimestampMs) -> Self {
        Self {
            producers: Producers::default(),
            memory,
            wall,
            youngest: TimestampMs(i64::MIN),
        }
    }

    /// Notes the batches from `from` on; returns the offset behind them.
    fn note_all(&mut self, mut bytes: &[u8], from: Offset) -> Result<Offset, String> {
        let mut next = from;
        while !bytes.is_empty() {
            let batch =
                RecordBatch::parse(bytes).map_err(|error| format!("behind {next}: {error}"))?;
            // A read may begin earlier than asked.
            if batch.next_offset() > from {
                self.youngest = self.youngest.max(batch.max_timestamp());
                if let Some(numbered) = Numbered::of(&batch) {
                    let at = Place {
                        base: batch.base_offset(),
                        until: batch.next_offset(),
                        time: batch.append_time(),
                    };
                    let heard_ms = self.heard_ms();
                    self.producers.note_found(numbered, at, heard_ms);
                }
                next = batch.next_offset();
            }
            bytes = &bytes[batch.bytes().len()..];
        }
        Ok(next)
    }

    /// When the producer of the batch at hand was heard of, by the broker's clock.
    fn heard_ms(&self) -> i64 {
        let Memory { now_ms, keep_ms } = self.memory;
        let age_ms = self.wall.0.saturating_sub(self.youngest.0).max(0);
        let age_ms_max = keep_ms.saturating_sub(GRACE.as_millis() as i64).max(0);
        now_ms.saturating_sub(age_ms.min(age_ms_max))
    }
}

/// What time it is, and how long this broker remembers producers.
fn memory<I: Io>(core: &Core<I>) -> Memory {
    let millis = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    Memory {
        now_ms: millis(Duration::from_nanos(core.io.now().0)),
        keep_ms: millis(core.producer_expiration),
    }
}

/// Forgets, now and then, who was silent for too long on any partition; for as long as the core runs.
pub(super) async fn forget<I: Io>(core: Rc<Core<I>>) {
    loop {
        let stops = core.stops.wait();
        if core.stopping.get() {
            return;
        }
        or(core.io.sleep(GRACE), stops).await;
        let partitions: Vec<_> = core.seats.borrow().keys().copied().collect();
        for key in partitions {
            if let Ok(hosted) = core.find(key) {
                let mut known = hosted.producers().known.borrow_mut();
                known.forget(memory(&core));
            }
            core.io.yield_now().await;
        }
    }
}
