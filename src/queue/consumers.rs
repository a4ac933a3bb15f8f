//! Who takes part, and how much each may still get.

use crate::base::limits::QUEUE_PREFETCH_MAX;
use crate::queue::{ConsumerId, Flow};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

pub(super) struct Consumer {
    pub(super) flow: Flow,
    pub(super) credit: u32,
    /// Its leases.
    pub(super) holds: BTreeSet<u32>,
    /// It stands in the line.
    in_line: bool,
}

/// Consumers, and a line of those that have credit: who was served goes to its end.
#[derive(Default)]
pub(super) struct Consumers {
    all: BTreeMap<ConsumerId, Consumer>,
    line: VecDeque<ConsumerId>,
}

impl Consumers {
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn find(&mut self, id: ConsumerId) -> Option<&mut Consumer> {
        self.all.get_mut(&id)
    }

    /// Adds one. False: it takes part already.
    pub(super) fn add(&mut self, id: ConsumerId, flow: Flow) -> bool {
        if self.all.contains_key(&id) {
            return false;
        }
        let consumer = Consumer {
            flow,
            credit: 0,
            holds: BTreeSet::new(),
            in_line: false,
        };
        self.all.insert(id, consumer);
        if let Flow::Prefetch(credit) = flow {
            self.give(id, credit);
        }
        true
    }

    pub(super) fn remove(&mut self, id: ConsumerId) -> Option<Consumer> {
        let removed = self.all.remove(&id)?;
        if removed.in_line {
            self.line.retain(|one| *one != id);
        }
        Some(removed)
    }

    /// Gives credit.
    pub(super) fn give(&mut self, id: ConsumerId, credit: u32) {
        let Some(consumer) = self.all.get_mut(&id) else {
            return;
        };
        consumer.credit = consumer.credit.saturating_add(credit);
        consumer.credit = consumer.credit.min(QUEUE_PREFETCH_MAX);
        if consumer.credit > 0 && !std::mem::replace(&mut consumer.in_line, true) {
            self.line.push_back(id);
        }
    }

    /// A lease of `count` records is over: who works on a number of them at a time may have as many more.
    pub(super) fn settled(&mut self, id: ConsumerId, count: u64) {
        let flow = self.all.get(&id).map(|consumer| consumer.flow);
        if let Some(Flow::Prefetch(_)) = flow {
            self.give(id, u32::try_from(count).expect("credit bounds a lease"));
        }
    }

    /// Who is next, and how many there are with credit.
    pub(super) fn next(&self) -> Option<(ConsumerId, u64)> {
        let first = self.line.front()?;
        Some((*first, self.line.len() as u64))
    }

    /// Who was next got `count` records and goes to the end of the line, if it may have more.
    pub(super) fn served(&mut self, count: u64) {
        let id = self.line.pop_front().expect("somebody was next");
        let consumer = self.all.get_mut(&id).expect("who is in line takes part");
        consumer.credit -= u32::try_from(count).expect("never more than its credit");
        consumer.in_line = consumer.credit > 0;
        if consumer.in_line {
            self.line.push_back(id);
        }
    }

    /// Takes the credit back that was not used.
    pub(super) fn take_back(&mut self, id: ConsumerId) -> u32 {
        let Some(consumer) = self.all.get_mut(&id) else {
            return 0;
        };
        let unused = std::mem::take(&mut consumer.credit);
        if std::mem::take(&mut consumer.in_line) {
            self.line.retain(|one| *one != id);
        }
        unused
    }
}
