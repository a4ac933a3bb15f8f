//! What goes in and what comes out.

use crate::base::{Offset, PartitionNo, TimestampMs};
use crate::queue::{Cause, Delivery, LedgerRecord, Settled};

/// When something happens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Moment {
    /// Milliseconds of a clock that never goes back: for leases and delays.
    pub monotonic_ms: u64,
    /// The wall clock: for what is stored.
    pub wall: TimestampMs,
}

/// A record that is to be moved to the dead letters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Doomed {
    /// Which.
    pub offset: Offset,
    /// How often it was delivered.
    pub deliveries: u32,
    /// When it was first delivered; `None`: it never was.
    pub first: Option<TimestampMs>,
    /// Why.
    pub cause: Cause,
    /// Where it may have been moved to already, before a crash.
    pub evidence: Option<Evidence>,
}

/// Where a dead letter is, if it is anywhere: in this partition of the dead letters, at this offset or behind it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Evidence {
    /// The partition of the dead-letter topic.
    pub partition: PartitionNo,
    /// Nothing below was written for this record.
    pub from: Offset,
}

/// What one or more steps have brought about. The caller owns it and clears it when it has acted.
#[derive(Debug, Default)]
pub struct Output {
    /// To be stored, in this order, before anything else of this is seen from outside.
    pub records: Vec<LedgerRecord>,
    /// To be sent.
    pub deliveries: Vec<Delivery>,
    /// To be moved to the dead letters, then to be reported by [`crate::queue::Ledger::moved`].
    pub doomed: Vec<Doomed>,
}

impl Output {
    /// Forgets everything and keeps the memory.
    pub fn clear(&mut self) {
        self.records.clear();
        self.deliveries.clear();
        self.doomed.clear();
    }

    /// Neighbours that end alike are one record.
    pub(super) fn settled(&mut self, how: Settled, from: u64, until: u64) {
        if let Some(LedgerRecord::Settled {
            how: before,
            until: end,
            ..
        }) = self.records.last_mut()
            && *before == how
            && end.0 == from
        {
            *end = Offset(until);
            return;
        }
        self.records.push(LedgerRecord::Settled {
            how,
            from: Offset(from),
            until: Offset(until),
        });
    }
}
