//! What records say about their own delivery: their keys, and headers of ours.
//!
//! | header | value | means |
//! |---|---|---|
//! | `millrace-priority` | 0 to 9 | higher ones go first |
//! | `millrace-ttl-ms` | milliseconds | not delivered when it is older than that |
//! | `millrace-delay-ms` | milliseconds | not delivered before it is that old |
//! | `millrace-deliver-at-ms` | since 1970 | not delivered before |
//!
//! Numbers are written in decimal digits; age counts from the record's timestamp. What is not understood does not count.
//! Records of a compressed batch are not looked into: that is no work for a core. They have no key and no headers here.

use crate::base::limits::QUEUE_DELAY_MS_MAX;
use crate::base::queue::Facts;
use crate::base::record::{Record, records};
use crate::base::{Offset, RecordBatch, TimestampMs};
use crate::engine::EngineError;
use crate::queue::{Ledger, Moment, Output};
use std::hash::{DefaultHasher, Hasher};

const PRIORITY: &[u8] = b"millrace-priority";
const TTL_MS: &[u8] = b"millrace-ttl-ms";
const DELAY_MS: &[u8] = b"millrace-delay-ms";
const DELIVER_AT_MS: &[u8] = b"millrace-deliver-at-ms";

/// Tells a ledger what the records in whole batches say, from where it wants to know.
pub(super) fn feed(
    ledger: &mut Ledger,
    mut bytes: &[u8],
    now: &Moment,
    out: &mut Output,
) -> Result<(), EngineError> {
    let mut telling = Telling {
        ledger,
        now,
        out,
        alike: None,
    };
    while !bytes.is_empty() {
        let batch = RecordBatch::parse(bytes);
        let batch = batch.map_err(|error| EngineError::Damaged(error.to_string()))?;
        telling.batch(&batch)?;
        bytes = &bytes[batch.bytes().len()..];
    }
    telling.flush();
    Ok(())
}

/// Neighbours that say the same are told together.
struct Telling<'a> {
    ledger: &'a mut Ledger,
    now: &'a Moment,
    out: &'a mut Output,
    alike: Option<(Offset, Facts)>,
}

impl Telling<'_> {
    fn batch(&mut self, batch: &RecordBatch<'_>) -> Result<(), EngineError> {
        if batch.is_control() {
            self.absent_until(batch.next_offset());
            return Ok(());
        }
        self.absent_until(batch.base_offset());
        if batch.is_compressed() {
            self.tell(batch.next_offset(), Facts::default());
            return Ok(());
        }
        for record in records(batch) {
            let record = record.map_err(|error| EngineError::Damaged(error.to_string()))?;
            let offset = batch.base_offset().plus(record.offset_delta as u64);
            self.absent_until(offset);
            self.tell(offset.plus(1), read(&record, self.ledger.settings()));
        }
        self.absent_until(batch.next_offset());
        Ok(())
    }

    /// From where on nothing was told yet.
    fn told(&self) -> Option<Offset> {
        match self.alike {
            Some((until, _)) => Some(until),
            None => self.ledger.wants(),
        }
    }

    fn tell(&mut self, until: Offset, facts: Facts) {
        if self.told().is_none_or(|told| until <= told) {
            return;
        }
        match &mut self.alike {
            Some((end, before)) if *before == facts && facts.key.is_none() => *end = until,
            _ => {
                self.flush();
                self.alike = Some((until, facts));
            }
        }
    }

    /// There are no records from what was told last up to `until`.
    fn absent_until(&mut self, until: Offset) {
        let Some(told) = self.told().filter(|told| *told < until) else {
            return;
        };
        self.flush();
        self.ledger.absent(told, until, self.out);
    }

    fn flush(&mut self) {
        // A ledger that wants no more has as many as it can hold; it asks for the rest later.
        if let Some((until, facts)) = self.alike.take()
            && self.ledger.wants().is_some()
        {
            self.ledger.feed(until, facts, self.now, self.out);
        }
    }
}

fn read(record: &Record<'_>, settings: &crate::base::queue::QueueSettings) -> Facts {
    let mut facts = Facts::default();
    if settings.key_order {
        facts.key = record.key.map(hash);
    }
    if !settings.reads_headers {
        return facts;
    }
    for (name, value) in record.headers() {
        let number = value.and_then(number);
        let age = |ms: i64| TimestampMs(record.timestamp.0.saturating_add(ms));
        match (name, number) {
            (PRIORITY, Some(priority)) => facts.priority = priority.min(9) as u8,
            (TTL_MS, Some(ms)) => facts.expires = Some(age(ms)),
            (DELAY_MS, Some(ms)) => {
                facts.not_before = Some(age(ms.min(i64::from(QUEUE_DELAY_MS_MAX))));
            }
            (DELIVER_AT_MS, Some(ms)) => facts.not_before = Some(TimestampMs(ms)),
            _ => {}
        }
    }
    facts
}

/// The same for equal keys, on every machine and in every run.
fn hash(key: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(key);
    hasher.finish()
}

/// Decimal digits.
fn number(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    let is_digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_digits)
}
