//! Ids for producers that number their batches: never given out twice, also not after a restart, with nothing stored.

use crate::base::CoreId;
use std::cell::Cell;

/// ```text
///  bit  63  62          40          30                0
///       | 0 | start       | core     | number           |
/// ```
/// The number of the start is above that of every journal found, so no two starts share it: 8 million starts, 1,024
/// cores, and a thousand million producers for each.
#[derive(Debug)]
pub(super) struct ProducerIds {
    base: i64,
    next: Cell<i64>,
}

const NUMBER_BITS: u32 = 30;
const CORE_BITS: u32 = 10;
const START_BITS: u32 = 63 - CORE_BITS - NUMBER_BITS;

impl ProducerIds {
    pub(super) fn new(start: u64, core: CoreId) -> Self {
        let start = start & ((1 << START_BITS) - 1);
        let core = u64::from(core.0) & ((1 << CORE_BITS) - 1);
        Self {
            base: ((start << (CORE_BITS + NUMBER_BITS)) | (core << NUMBER_BITS)) as i64,
            next: Cell::new(0),
        }
    }

    /// Whether an id was, or could be, given out since this start, by any core.
    pub(super) fn is_of_this_start(&self, id: i64) -> bool {
        id >> (CORE_BITS + NUMBER_BITS) == self.base >> (CORE_BITS + NUMBER_BITS)
    }

    /// The next one.
    pub(super) fn draw(&self) -> i64 {
        let number = self.next.get();
        self.next.set((number + 1) & ((1 << NUMBER_BITS) - 1));
        self.base | number
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn no_id_comes_twice() {
        let mut seen = BTreeSet::new();
        for start in [1, 2, 1 << 22] {
            for core in [0, 1, 1_023] {
                let ids = ProducerIds::new(start, CoreId(core));
                for _ in 0..100 {
                    let id = ids.draw();
                    assert!(id >= 0 && seen.insert(id));
                    assert!(ids.is_of_this_start(id));
                    assert!(!ProducerIds::new(start + 1, CoreId(core)).is_of_this_start(id));
                }
            }
        }
    }
}
