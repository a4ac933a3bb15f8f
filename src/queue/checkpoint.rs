//! Reading a ledger back from its records, and writing it anew in few of them.
//!
//! ```text
//!  stored: checkpoint ... complete │ settled, delivered, ... │ checkpoint ... (the broker died)
//!          └── the state ──────────┴── changed by each ──────┘ says nothing without its end
//!  start:  replay each ──> lost_from(end of the log) ──> recovered: a new checkpoint, then everything else
//! ```
//! A start writes a checkpoint before any other record: so what is left of one that never came to its end is followed by a
//! whole one, and its pieces are never taken for changes. A checkpoint has a record for each run that something has
//! happened to, or two if it waits or dies, and eight more: it is bounded as the runs are.

use crate::base::{Offset, TimestampMs};
use crate::queue::LedgerRecord;
use crate::queue::ledger::{Dying, Ledger};
use crate::queue::output::{Moment, Output};
use crate::queue::record::Settled;
use crate::queue::settle::{add, total};
use crate::queue::window::{Run, State, Wait, Window};
use thiserror::Error;

/// Why a stored record cannot be: it contradicts those before it, or a checkpoint contradicts itself. What of it can be
/// taken was taken.
#[derive(Error, Clone, Copy, PartialEq, Eq, Debug)]
#[error("ledger record {0:?} contradicts those before it")]
pub struct ReplayError(pub LedgerRecord);

impl Ledger {
    /// Takes the next stored record, at a start.
    pub fn replay(&mut self, record: LedgerRecord) -> Result<(), ReplayError> {
        let is_piece = matches!(
            record,
            LedgerRecord::Held { .. }
                | LedgerRecord::Total { .. }
                | LedgerRecord::Delayed { .. }
                | LedgerRecord::Dying { .. }
        );
        match record {
            LedgerRecord::Checkpoint { .. } => {
                self.replayed.clear();
                self.replayed.push(record);
            }
            LedgerRecord::Complete { records } => {
                let pieces = std::mem::take(&mut self.replayed);
                if pieces.len() as u64 != records.saturating_add(1) {
                    return Err(ReplayError(record));
                }
                return self.restore(&pieces);
            }
            _ if is_piece && !self.replayed.is_empty() => self.replayed.push(record),
            _ => {
                self.replayed.clear();
                return self.apply(record);
            }
        }
        Ok(())
    }

    /// Nothing from `end` on is in the log any more: it was lost with the power, and other records will have those offsets.
    /// To be called after the last [`Ledger::replay`], before [`Ledger::recovered`].
    pub fn lost_from(&mut self, end: Offset) {
        let Some(beyond) = self.window.end.checked_sub(end.0).filter(|some| *some > 0) else {
            return;
        };
        let held = self.window.in_state().all();
        self.window.cut(end.0);
        self.dying.retain(|offset, _| *offset < end.0);
        let dropped = held - self.window.in_state().all();
        add(&mut self.totals, Settled::Lost, beyond - dropped);
        self.visible = end.0;
        self.begin = self.begin.min(end.0);
    }

    /// Everything that is stored was replayed: the ledger takes part from here on. Writes a checkpoint, and tells what
    /// was on its way to the dead letters.
    pub fn recovered(&mut self, now: &Moment, out: &mut Output) {
        self.replayed.clear();
        self.visible = self.visible.max(self.window.end);
        self.fed = self.window.floor();
        self.checkpoint(&mut out.records);
        for (offset, dying) in &self.dying {
            out.doomed.push(self.doomed(*offset, *dying));
        }
        if self.settings.needs_facts() {
            return;
        }
        let unfed = self.window.runs();
        let unfed = unfed.filter(|(_, run)| run.state == State::Unfed);
        let unfed: Vec<u64> = unfed.map(|(last, _)| last).collect();
        for last in unfed {
            self.admit(last, now, out);
        }
    }

    /// Appends records that give the same state again without any before them.
    pub fn checkpoint(&self, records: &mut Vec<LedgerRecord>) {
        let at = records.len();
        let end = self.touched_end();
        records.push(LedgerRecord::Checkpoint {
            begin: Offset(self.begin),
            end: Offset(end),
        });
        for how in Settled::ALL {
            let count = *total(&mut self.totals.clone(), how);
            records.push(LedgerRecord::Total { how, count });
        }
        for (last, run) in self.window.runs() {
            if run.from < end {
                note_held(run, last, records);
                self.note_rest(run, last, records);
            }
        }
        let pieces = (records.len() - at - 1) as u64;
        records.push(LedgerRecord::Complete { records: pieces });
    }

    /// After the last record that something has happened to.
    fn touched_end(&self) -> u64 {
        let mut end = self.window.end;
        for (last, run) in self.window.runs().rev() {
            if last + 1 != end || !run.is_untouched() {
                break;
            }
            end = run.from;
        }
        end
    }

    fn note_rest(&self, run: &Run, last: u64, records: &mut Vec<LedgerRecord>) {
        let (from, until) = (Offset(run.from), Offset(last + 1));
        if let Some(wait) = run.wait {
            records.push(LedgerRecord::Delayed {
                from,
                until,
                not_before: TimestampMs(wait.not_before_ms),
                wait_ms: wait.wait_ms,
            });
        }
        if run.state == State::Dying {
            let Dying { cause, evidence } = self.dying[&run.from];
            records.push(LedgerRecord::Dying {
                offset: from,
                cause,
                evidence,
            });
        }
    }

    fn restore(&mut self, pieces: &[LedgerRecord]) -> Result<(), ReplayError> {
        let (first, pieces) = pieces.split_first().expect("a checkpoint begins");
        let LedgerRecord::Checkpoint { begin, end } = *first else {
            unreachable!("what is not empty begins with a checkpoint");
        };
        self.begin = begin.0;
        self.totals = Default::default();
        self.dying.clear();
        self.window = Window::new(end.0);
        self.visible = end.0;
        let mut above = 0;
        for piece in pieces {
            match *piece {
                LedgerRecord::Total { how, count } => *total(&mut self.totals, how) = count,
                LedgerRecord::Held {
                    from,
                    until,
                    deliveries,
                    first,
                } => {
                    if from.0 < above || until > end {
                        return Err(ReplayError(*piece));
                    }
                    above = until.0;
                    let mut run = Run::untouched(from.0, State::Unfed);
                    run.deliveries = deliveries;
                    run.first_ms = first.0;
                    self.window.insert(until.0 - 1, run);
                }
                other => self.apply(other)?,
            }
        }
        Ok(())
    }

    fn apply(&mut self, record: LedgerRecord) -> Result<(), ReplayError> {
        let fits = match record {
            LedgerRecord::Settled { how, from, until } => {
                let settled = self.replay_settled(how, from.0, until.0);
                settled == until.0 - from.0
            }
            LedgerRecord::Delivered {
                from,
                until,
                deliveries,
                first,
            } => self.replay_each(from.0, until.0, |run| {
                run.deliveries = deliveries;
                run.first_ms = first.0;
                run.wait = None;
            }),
            LedgerRecord::Delayed {
                from,
                until,
                not_before,
                wait_ms,
            } => self.replay_each(from.0, until.0, |run| {
                run.wait = Some(Wait {
                    not_before_ms: not_before.0,
                    wait_ms,
                });
            }),
            LedgerRecord::Dying {
                offset,
                cause,
                evidence,
            } => {
                let is_held = self.replay_each(offset.0, offset.0 + 1, |run| run.wait = None);
                if is_held {
                    self.window.set_state(offset.0, State::Dying);
                    self.dying.insert(offset.0, Dying { cause, evidence });
                }
                is_held
            }
            _ => false,
        };
        match fits {
            true => Ok(()),
            false => Err(ReplayError(record)),
        }
    }

    /// Takes everything below `until` into the window, as records that nothing has happened to.
    fn cover(&mut self, until: u64) {
        let end = self.window.end;
        if end < until {
            self.window
                .insert(until - 1, Run::untouched(end, State::Unfed));
            self.window.end = until;
        }
    }

    /// Returns how many of these records were not settled before.
    fn replay_settled(&mut self, how: Settled, from: u64, until: u64) -> u64 {
        self.cover(from);
        let mut settled = until.saturating_sub(self.window.end);
        let mut at = from;
        while at < until.min(self.window.end) {
            let Some((last, run)) = self.window.at_or_after(at) else {
                break;
            };
            let (begins, end) = (run.from.max(at), (last + 1).min(until));
            if begins >= end {
                break;
            }
            at = end;
            let last = self.window.carve(begins, end);
            self.window.remove(last);
            self.dying.remove(&begins);
            settled += end - begins;
        }
        self.window.end = self.window.end.max(until);
        add(&mut self.totals, how, settled);
        settled
    }

    /// Changes each of these records that is not settled; false if one was.
    fn replay_each(&mut self, from: u64, until: u64, change: impl Fn(&mut Run)) -> bool {
        self.cover(until);
        let (mut at, mut changed) = (from, 0);
        while at < until {
            let Some((last, run)) = self.window.at_or_after(at) else {
                break;
            };
            let (begins, end) = (run.from.max(at), (last + 1).min(until));
            if begins >= end {
                break;
            }
            at = end;
            let last = self.window.carve(begins, end);
            change(self.window.run_mut(last));
            changed += end - begins;
        }
        changed == until - from
    }
}

/// Neighbours of which the same is to be kept are one record.
fn note_held(run: &Run, last: u64, records: &mut Vec<LedgerRecord>) {
    let times = match run.deliveries {
        0 => (0, TimestampMs(0)),
        some => (some, TimestampMs(run.first_ms)),
    };
    if let Some(LedgerRecord::Held {
        until,
        deliveries,
        first,
        ..
    }) = records.last_mut()
        && until.0 == run.from
        && (*deliveries, *first) == times
    {
        *until = Offset(last + 1);
        return;
    }
    records.push(LedgerRecord::Held {
        from: Offset(run.from),
        until: Offset(last + 1),
        deliveries: times.0,
        first: times.1,
    });
}
