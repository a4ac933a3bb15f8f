//! The ledger from outside: consumers, answers and time in, deliveries and records out.

mod model;
mod records;
mod reference;
mod rules;

use crate::base::queue::{Answered, ConsumerId, Facts, Nack, QueueSettings, Retry, Span};
use crate::base::{Offset, TimestampMs};
use crate::queue::{Flow, Ledger, LedgerRecord, Moment, Output};

const LEASE_MS: u32 = 1_000;

fn settings() -> QueueSettings {
    QueueSettings {
        lease_ms: LEASE_MS,
        reads_headers: false,
        ..QueueSettings::default()
    }
}

fn consumer(no: u64) -> ConsumerId {
    ConsumerId(no)
}

/// A ledger, a clock, and everything that came out of it.
struct Rig {
    ledger: Ledger,
    now: Moment,
    out: Output,
    stored: Vec<LedgerRecord>,
}

impl Rig {
    /// A queue that covers `records` records.
    fn new(settings: QueueSettings, records: u64) -> Self {
        let now = Moment {
            monotonic_ms: 5_000,
            wall: TimestampMs(1_700_000_000_000),
        };
        let mut rig = Self {
            ledger: Ledger::new(settings, Offset(0), &now),
            now,
            out: Output::default(),
            stored: Vec::new(),
        };
        rig.ledger.recovered(&now, &mut rig.out);
        rig.ledger.reached(Offset(records));
        rig.store();
        rig
    }

    /// Stores what there is to be stored.
    fn store(&mut self) {
        self.stored.append(&mut self.out.records);
    }

    fn join(&mut self, no: u64, flow: Flow) {
        assert!(self.ledger.join(consumer(no), flow));
    }

    /// Looks at all that is wanted, then hands out. Returns what was delivered.
    fn hand_out(&mut self) -> Vec<(u64, Span)> {
        self.hand_out_with(|_| Facts::default())
    }

    fn hand_out_with(&mut self, facts: impl Fn(u64) -> Facts) -> Vec<(u64, Span)> {
        while let Some(Offset(offset)) = self.ledger.wants() {
            let (now, out) = (self.now, &mut self.out);
            self.ledger
                .feed(Offset(offset + 1), facts(offset), &now, out);
        }
        self.ledger.hand_out(&self.now, &mut self.out);
        self.store();
        let deliveries = self.out.deliveries.drain(..);
        deliveries
            .map(|delivery| (delivery.consumer.0, delivery.span))
            .collect()
    }

    fn ack(&mut self, no: u64, span: Span) -> Answered {
        let answered = self.ledger.ack(consumer(no), span, &mut self.out);
        self.store();
        answered
    }

    fn nack(&mut self, no: u64, span: Span, nack: Nack) -> Answered {
        let (ledger, out) = (&mut self.ledger, &mut self.out);
        let answered = ledger.nack(consumer(no), span, nack, &self.now, out);
        self.store();
        answered
    }

    fn pass(&mut self, ms: u64) {
        self.now.monotonic_ms += ms;
        self.now.wall.0 += ms as i64;
        self.ledger.tick(&self.now, &mut self.out);
        self.store();
    }

    /// The broker dies, and what is stored is read back.
    fn restart(&mut self) {
        self.out.clear();
        let (settings, visible) = (self.ledger.settings().clone(), self.ledger.counts().visible);
        self.ledger = Ledger::new(settings, Offset(0), &self.now);
        for record in &self.stored {
            self.ledger.replay(*record).expect("ours");
        }
        self.ledger.recovered(&self.now, &mut self.out);
        self.ledger.reached(visible);
        self.store();
    }
}

fn span(from: u64, until: u64, deliveries: u32) -> Span {
    Span {
        from: Offset(from),
        until: Offset(until),
        deliveries,
    }
}

fn taken(taken: u64) -> Answered {
    Answered { taken, stale: 0 }
}

fn stale(stale: u64) -> Answered {
    Answered { taken: 0, stale }
}
