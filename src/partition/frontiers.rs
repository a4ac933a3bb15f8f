//! How far a partition has come: the numbers that every decision here is made from.

use crate::base::{AckLevel, Offset};

/// The offsets between which a partition's records lie: `start <= synced <= written <= appended`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frontiers {
    /// The first offset that is stored.
    pub start: Offset,
    /// After the last record that survives the loss of power.
    pub synced: Offset,
    /// After the last record that survives the death of the process.
    pub written: Offset,
    /// After the last record that was taken.
    pub appended: Offset,
}

impl Frontiers {
    /// The frontier of a level: a record below it has reached that level. `None` promises nothing, so it is reached
    /// on receipt.
    pub fn of(&self, level: AckLevel) -> Offset {
        match level {
            AckLevel::None => self.appended,
            AckLevel::Written => self.written,
            AckLevel::Synced => self.synced,
        }
    }

    /// Whether a produce that ends at `until` is to be answered. The level is the one that the producer asked for: a
    /// topic's own level holds back readers, not the producer who chose to be told earlier.
    pub fn has_reached(&self, level: AckLevel, until: Offset) -> bool {
        self.of(level) >= until
    }

    /// Panics unless the order of the frontiers holds; one fact per assert.
    pub(crate) fn check(&self) {
        assert!(self.start <= self.appended);
        assert!(self.synced <= self.written);
        assert!(self.written <= self.appended);
    }
}
