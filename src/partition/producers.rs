//! Producers that number their records (Kafka's idempotent producers, KIP-98): what was taken is not taken twice, and
//! nothing is taken out of order.
//!
//! ```text
//!   a batch of producer 7, epoch 0, numbers 20..30, and the last five taken were
//!       ... 10..15  15..20            -> append           (the next)
//!       ... 15..20  20..30            -> duplicate        (answered with the offsets of the one that was taken)
//!       ...  5..10  10..15            -> out of order     (15..20 is missing, or is still on its way)
//!   epoch 1 taken before              -> fenced           (a younger self of the producer has taken over)
//! ```
//! Who is silent for too long is forgotten (Kafka: `producer.id.expiration.ms`); if he comes back, he may begin with any
//! number. The state is a function of the batches' headers in the log, so a restart finds it there.
//!
//! Decided: silent is who has appended nothing, by a clock of the broker that never goes back. Kafka takes the batch's own
//! timestamp, by which a producer of old records is forgotten between two of his batches, and has each twice that he sends
//! twice. Only what a restart finds in the log is judged by its timestamps, see `shard/numbered`.

use crate::base::{Offset, RecordBatch, TimestampMs};
use std::collections::{BTreeMap, VecDeque};

/// Batches of one producer that are remembered: as many as Kafka lets a producer have on their way.
const BATCHES_MAX: usize = 5;
/// Producers that one partition remembers; of more, the one that was silent for longest is forgotten: 600 KiB.
const PRODUCERS_MAX: usize = 2_000;

/// How long a silent producer is remembered, and what time it is: milliseconds of a clock that never goes back. What was
/// before its beginning is below 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Memory {
    /// Now.
    pub now_ms: i64,
    /// So long is he remembered who is silent.
    pub keep_ms: i64,
}

impl Memory {
    fn has_lost(&self, producer: &Producer) -> bool {
        self.now_ms.saturating_sub(producer.heard_ms) >= self.keep_ms
    }
}

/// What the header of a batch says about its producer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Numbered {
    /// The producer.
    pub id: i64,
    /// Its epoch: a higher one fences off a lower one.
    pub epoch: i16,
    /// The number of the first record …
    pub first: i32,
    /// … and of the last.
    pub last: i32,
}

impl Numbered {
    /// What a batch says; none if its producer does not number. An id without an epoch or a number is none either:
    /// [`CheckedBatches`](crate::partition::CheckedBatches) refuses it.
    pub fn of(batch: &RecordBatch<'_>) -> Option<Self> {
        let header = batch.header();
        let (id, epoch) = (header.producer_id.get(), header.producer_epoch.get());
        let first = header.base_sequence.get();
        (id >= 0 && epoch >= 0 && first >= 0).then(|| Self {
            id,
            epoch,
            first,
            last: moved(first, batch.offsets_taken() - 1),
        })
    }
}

/// Numbers begin again at 0 behind the largest.
fn moved(number: i32, by: u32) -> i32 {
    let next = u64::from(number as u32) + u64::from(by);
    (next % (1 << 31)) as i32
}

/// What becomes of a numbered batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It is the next.
    Append,
    /// It was taken before, and lies here.
    Duplicate(Place),
    /// Records before it are missing, or it is older than what is remembered.
    OutOfOrder {
        /// The number that would be next.
        expected: i32,
    },
    /// A batch of a higher epoch was taken.
    Fenced {
        /// That epoch.
        current: i16,
    },
    /// Nothing is remembered of this producer.
    Unknown,
}

#[derive(Clone, Copy, Debug)]
struct Taken {
    first: i32,
    last: i32,
    at: Place,
}

/// Where a batch lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// Offset of its first record.
    pub base: Offset,
    /// The offset behind its last.
    pub until: Offset,
    /// The time that its records got from the broker, if they got one.
    pub time: Option<TimestampMs>,
}

#[derive(Clone, Debug)]
struct Producer {
    epoch: i16,
    /// The last ones taken, oldest first; at least one.
    taken: VecDeque<Taken>,
    used: u64,
    /// When he was heard of last.
    heard_ms: i64,
}

impl Producer {
    fn next(&self) -> i32 {
        self.taken.back().map_or(0, |taken| moved(taken.last, 1))
    }
}

/// The producers of one partition.
#[derive(Clone, Debug, Default)]
pub struct Producers {
    known: BTreeMap<i64, Producer>,
    /// Counts what was taken, to tell who was silent for longest.
    tick: u64,
}

impl Producers {
    /// Decides on a batch.
    pub fn decide(&self, batch: Numbered, memory: Memory) -> Verdict {
        let known = self.known.get(&batch.id);
        let Some(producer) = known.filter(|producer| !memory.has_lost(producer)) else {
            return Verdict::Unknown;
        };
        if batch.epoch < producer.epoch {
            let current = producer.epoch;
            return Verdict::Fenced { current };
        }
        if batch.epoch > producer.epoch {
            return match batch.first {
                0 => Verdict::Append,
                _ => Verdict::OutOfOrder { expected: 0 },
            };
        }
        let same = |taken: &&Taken| (taken.first, taken.last) == (batch.first, batch.last);
        if let Some(taken) = producer.taken.iter().find(same) {
            return Verdict::Duplicate(taken.at);
        }
        match producer.next() {
            next if next == batch.first => Verdict::Append,
            expected => Verdict::OutOfOrder { expected },
        }
    }

    /// Takes note of a batch that was appended, in the order of the log.
    pub fn note(&mut self, batch: Numbered, at: Place, memory: Memory) {
        self.note_heard(batch, at, memory.now_ms, memory);
    }

    /// The same for one that is found in the log: its producer was heard of at `heard_ms`.
    pub fn note_found(&mut self, batch: Numbered, at: Place, heard_ms: i64) {
        let memory = Memory {
            now_ms: heard_ms,
            keep_ms: i64::MAX,
        };
        self.note_heard(batch, at, heard_ms, memory);
    }

    fn note_heard(&mut self, batch: Numbered, at: Place, heard_ms: i64, memory: Memory) {
        self.tick += 1;
        if !self.known.contains_key(&batch.id) {
            self.make_room();
        }
        let producer = self.known.entry(batch.id).or_insert_with(|| Producer {
            epoch: batch.epoch,
            taken: VecDeque::with_capacity(BATCHES_MAX),
            used: 0,
            heard_ms,
        });
        if producer.epoch != batch.epoch || memory.has_lost(producer) {
            producer.epoch = batch.epoch;
            producer.taken.clear();
        }
        if producer.taken.len() == BATCHES_MAX {
            producer.taken.pop_front();
        }
        producer.taken.push_back(Taken {
            first: batch.first,
            last: batch.last,
            at,
        });
        producer.used = self.tick;
        producer.heard_ms = heard_ms;
    }

    /// Takes over what `older` knows of producers that are unknown here.
    pub fn adopt(&mut self, older: Self) {
        for (id, producer) in older.known {
            if !self.known.contains_key(&id) {
                self.make_room();
                self.known.insert(
                    id,
                    Producer {
                        used: 0,
                        ..producer
                    },
                );
            }
        }
    }

    /// Forgets who was silent for too long.
    pub fn forget(&mut self, memory: Memory) {
        self.known.retain(|_, producer| !memory.has_lost(producer));
    }

    fn make_room(&mut self) {
        if self.known.len() < PRODUCERS_MAX {
            return;
        }
        let oldest = self.known.iter().min_by_key(|(_, producer)| producer.used);
        if let Some(id) = oldest.map(|(id, _)| *id) {
            self.known.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::prng::Prng;

    fn at(base: u64) -> Place {
        Place {
            base: Offset(base),
            until: Offset(base + 10),
            time: Some(TimestampMs(base as i64)),
        }
    }

    const MEMORY: Memory = Memory {
        now_ms: 0,
        keep_ms: 100,
    };

    fn numbered(epoch: i16, first: i32, count: u32) -> Numbered {
        Numbered {
            id: 7,
            epoch,
            first,
            last: moved(first, count - 1),
        }
    }

    fn taken(batches: &[Numbered]) -> Producers {
        let mut producers = Producers::default();
        for (batch, base) in batches.iter().zip((0..).step_by(100)) {
            let verdict = producers.decide(*batch, MEMORY);
            assert!(
                matches!(verdict, Verdict::Append | Verdict::Unknown),
                "{verdict:?}"
            );
            producers.note(*batch, at(base), MEMORY);
        }
        producers
    }

    #[test]
    fn the_last_five_are_duplicates_and_older_ones_are_not_taken_again() {
        let batches: Vec<_> = (0..8).map(|number| numbered(0, 10 * number, 10)).collect();
        let producers = taken(&batches);
        for (number, batch) in batches.iter().enumerate() {
            let expected = match number {
                0..3 => Verdict::OutOfOrder { expected: 80 },
                _ => Verdict::Duplicate(at(100 * number as u64)),
            };
            assert_eq!(producers.decide(*batch, MEMORY), expected);
        }
        let decide = |batch| producers.decide(batch, MEMORY);
        assert_eq!(decide(numbered(0, 80, 1)), Verdict::Append);
        let gap = Verdict::OutOfOrder { expected: 80 };
        assert_eq!(decide(numbered(0, 81, 1)), gap);
        let other = decide(numbered(0, 70, 11));
        assert_eq!(other, gap, "not the one that was taken");
    }

    #[test]
    fn a_new_epoch_begins_at_0_and_fences_off_the_old_one() {
        let mut producers = taken(&[numbered(3, 0, 10)]);
        assert_eq!(
            producers.decide(numbered(4, 10, 1), MEMORY),
            Verdict::OutOfOrder { expected: 0 }
        );
        let next = numbered(4, 0, 10);
        assert_eq!(producers.decide(next, MEMORY), Verdict::Append);
        producers.note(next, at(10), MEMORY);
        assert_eq!(
            producers.decide(numbered(3, 10, 1), MEMORY),
            Verdict::Fenced { current: 4 }
        );
        let again = producers.decide(next, MEMORY);
        assert_eq!(again, Verdict::Duplicate(at(10)));
    }

    #[test]
    fn who_is_silent_for_too_long_is_forgotten_and_may_begin_with_any_number() {
        let mut producers = taken(&[numbered(3, 0, 10)]);
        let later = |now_ms| Memory { now_ms, ..MEMORY };
        assert_eq!(
            producers.decide(numbered(3, 10, 1), later(99)),
            Verdict::Append
        );
        producers.note(numbered(3, 10, 1), at(10), later(99));
        let fenced = Verdict::Fenced { current: 3 };
        assert_eq!(producers.decide(numbered(2, 0, 1), later(198)), fenced);
        for forgotten in [numbered(3, 10, 1), numbered(3, 500, 1), numbered(2, 7, 1)] {
            assert_eq!(producers.decide(forgotten, later(199)), Verdict::Unknown);
        }
        // He goes on with an older number: what was taken before does not count.
        producers.note(numbered(3, 5, 5), at(20), later(199));
        let decide = |batch| producers.decide(batch, later(200));
        assert_eq!(decide(numbered(3, 10, 1)), Verdict::Append);
        assert_eq!(
            decide(numbered(3, 0, 10)),
            Verdict::OutOfOrder { expected: 10 }
        );
        producers.forget(later(298));
        assert_eq!(producers.known.len(), 1);
        producers.forget(later(299));
        assert!(producers.known.is_empty());
    }

    #[test]
    fn what_is_found_in_the_log_was_heard_before_the_clock_began() {
        let mut older = Producers::default();
        older.note_found(numbered(0, 0, 1), at(0), -30);
        let mut producers = Producers::default();
        producers.adopt(older);
        let later = |now_ms| Memory { now_ms, ..MEMORY };
        let duplicate = Verdict::Duplicate(at(0));
        assert_eq!(producers.decide(numbered(0, 0, 1), later(69)), duplicate);
        assert_eq!(
            producers.decide(numbered(0, 0, 1), later(70)),
            Verdict::Unknown
        );
    }

    #[test]
    fn numbers_begin_again_behind_the_largest() {
        let producers = taken(&[numbered(0, i32::MAX - 1, 2)]);
        assert_eq!(producers.decide(numbered(0, 0, 1), MEMORY), Verdict::Append);
        let across = taken(&[numbered(0, i32::MAX, 5)]);
        assert_eq!(across.decide(numbered(0, 4, 1), MEMORY), Verdict::Append);
    }

    #[test]
    fn of_too_many_producers_the_most_silent_is_forgotten() {
        let mut producers = Producers::default();
        let of = |id| Numbered {
            id,
            ..numbered(0, 0, 1)
        };
        for id in 0..PRODUCERS_MAX as i64 {
            producers.note(of(id), at(0), MEMORY);
        }
        producers.note(of(0), at(1), MEMORY);
        producers.note(of(-5), at(2), MEMORY);
        assert_eq!(producers.known.len(), PRODUCERS_MAX);
        assert_eq!(producers.decide(of(1), MEMORY), Verdict::Unknown);
        assert_eq!(producers.decide(of(0), MEMORY), Verdict::Duplicate(at(0)));
    }

    /// Goal: whatever is sent again, in whatever order, each record is taken once and in order. Method: seeded producers
    /// with five batches on their way, each sent again at random; a state built anew from what was taken decides the same.
    #[test]
    fn every_record_is_taken_once_and_in_order() {
        for seed in 0..200 {
            let mut prng = Prng::new(seed);
            let (mut producers, mut log, mut next) = (Producers::default(), Vec::new(), 0);
            for _ in 0..300 {
                let first = (next - prng.below(6) as i32 + prng.below(2) as i32).max(0);
                let batch = numbered(0, first, 1);
                let verdict = producers.decide(batch, MEMORY);
                let expected = match first {
                    _ if next == 0 && first == 0 => Verdict::Unknown,
                    _ if next == 0 => continue,
                    _ if first == next => Verdict::Append,
                    _ if first > next || first < next - 5 => Verdict::OutOfOrder { expected: next },
                    _ => Verdict::Duplicate(at(first as u64)),
                };
                assert_eq!(verdict, expected, "seed {seed}");
                if matches!(verdict, Verdict::Append | Verdict::Unknown) {
                    producers.note(batch, at(next as u64), MEMORY);
                    log.push(batch);
                    next += 1;
                }
            }
            let mut rebuilt = Producers::default();
            for (batch, base) in log.iter().zip(0..) {
                rebuilt.note_found(*batch, at(base), 0);
            }
            for first in 0..next + 2 {
                let batch = numbered(0, first, 1);
                assert_eq!(
                    rebuilt.decide(batch, MEMORY),
                    producers.decide(batch, MEMORY),
                    "seed {seed}"
                );
            }
        }
    }
}
