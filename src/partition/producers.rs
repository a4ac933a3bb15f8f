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
//! The state is a function of the batches' headers in the log, so a restart finds it there.

use crate::base::{Offset, RecordBatch};
use std::collections::{BTreeMap, VecDeque};

/// Batches of one producer that are remembered: as many as Kafka lets a producer have on their way.
const BATCHES_MAX: usize = 5;
/// Producers that one partition remembers; of more, the one that was silent for longest is forgotten: 400 KiB.
const PRODUCERS_MAX: usize = 2_000;

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
    /// It was taken before, and got these offsets.
    Duplicate {
        /// Of its first record.
        base: Offset,
        /// Behind its last.
        until: Offset,
    },
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
    base: Offset,
    until: Offset,
}

#[derive(Clone, Debug)]
struct Producer {
    epoch: i16,
    /// The last ones taken, oldest first; at least one.
    taken: VecDeque<Taken>,
    used: u64,
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
    pub fn decide(&self, batch: Numbered) -> Verdict {
        let Some(producer) = self.known.get(&batch.id) else {
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
            let (base, until) = (taken.base, taken.until);
            return Verdict::Duplicate { base, until };
        }
        match producer.next() {
            next if next == batch.first => Verdict::Append,
            expected => Verdict::OutOfOrder { expected },
        }
    }

    /// Takes note of a batch that was appended at `base..until`, in the order of the log.
    pub fn note(&mut self, batch: Numbered, base: Offset, until: Offset) {
        self.tick += 1;
        if !self.known.contains_key(&batch.id) {
            self.make_room();
        }
        let producer = self.known.entry(batch.id).or_insert_with(|| Producer {
            epoch: batch.epoch,
            taken: VecDeque::with_capacity(BATCHES_MAX),
            used: 0,
        });
        if producer.epoch != batch.epoch {
            producer.epoch = batch.epoch;
            producer.taken.clear();
        }
        if producer.taken.len() == BATCHES_MAX {
            producer.taken.pop_front();
        }
        producer.taken.push_back(Taken {
            first: batch.first,
            last: batch.last,
            base,
            until,
        });
        producer.used = self.tick;
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
            let verdict = producers.decide(*batch);
            assert!(
                matches!(verdict, Verdict::Append | Verdict::Unknown),
                "{verdict:?}"
            );
            producers.note(*batch, Offset(base), Offset(base + 10));
        }
        producers
    }

    #[test]
    fn the_last_five_are_duplicates_and_older_ones_are_not_taken_again() {
        let batches: Vec<_> = (0..8).map(|number| numbered(0, 10 * number, 10)).collect();
        let producers = taken(&batches);
        for (number, batch) in batches.iter().enumerate() {
            let base = Offset(100 * number as u64);
            let until = base.plus(10);
            let expected = match number {
                0..3 => Verdict::OutOfOrder { expected: 80 },
                _ => Verdict::Duplicate { base, until },
            };
            assert_eq!(producers.decide(*batch), expected);
        }
        assert_eq!(producers.decide(numbered(0, 80, 1)), Verdict::Append);
        let gap = Verdict::OutOfOrder { expected: 80 };
        assert_eq!(producers.decide(numbered(0, 81, 1)), gap);
        assert_eq!(
            producers.decide(numbered(0, 70, 11)),
            gap,
            "not the one that was taken"
        );
    }

    #[test]
    fn a_new_epoch_begins_at_0_and_fences_off_the_old_one() {
        let mut producers = taken(&[numbered(3, 0, 10)]);
        assert_eq!(
            producers.decide(numbered(4, 10, 1)),
            Verdict::OutOfOrder { expected: 0 }
        );
        assert_eq!(producers.decide(numbered(4, 0, 10)), Verdict::Append);
        producers.note(numbered(4, 0, 10), Offset(10), Offset(20));
        assert_eq!(
            producers.decide(numbered(3, 10, 1)),
            Verdict::Fenced { current: 4 }
        );
        let again = producers.decide(numbered(4, 0, 10));
        assert!(matches!(
            again,
            Verdict::Duplicate {
                base: Offset(10),
                ..
            }
        ));
    }

    #[test]
    fn numbers_begin_again_behind_the_largest() {
        let producers = taken(&[numbered(0, i32::MAX - 1, 2)]);
        assert_eq!(producers.decide(numbered(0, 0, 1)), Verdict::Append);
        let across = taken(&[numbered(0, i32::MAX, 5)]);
        assert_eq!(across.decide(numbered(0, 4, 1)), Verdict::Append);
    }

    #[test]
    fn of_too_many_producers_the_most_silent_is_forgotten() {
        let mut producers = Producers::default();
        let of = |id| Numbered {
            id,
            ..numbered(0, 0, 1)
        };
        for id in 0..PRODUCERS_MAX as i64 {
            producers.note(of(id), Offset(0), Offset(1));
        }
        producers.note(of(0), Offset(1), Offset(2));
        producers.note(of(-5), Offset(2), Offset(3));
        assert_eq!(producers.known.len(), PRODUCERS_MAX);
        assert_eq!(producers.decide(of(1)), Verdict::Unknown);
        assert!(matches!(producers.decide(of(0)), Verdict::Duplicate { .. }));
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
                let verdict = producers.decide(batch);
                let expected = match first {
                    _ if next == 0 && first == 0 => Verdict::Unknown,
                    _ if next == 0 => continue,
                    _ if first == next => Verdict::Append,
                    _ if first > next || first < next - 5 => Verdict::OutOfOrder { expected: next },
                    _ => Verdict::Duplicate {
                        base: Offset(first as u64),
                        until: Offset(first as u64 + 1),
                    },
                };
                assert_eq!(verdict, expected, "seed {seed}");
                if matches!(verdict, Verdict::Append | Verdict::Unknown) {
                    producers.note(batch, Offset(next as u64), Offset(next as u64 + 1));
                    log.push(batch);
                    next += 1;
                }
            }
            let mut rebuilt = Producers::default();
            for (batch, base) in log.iter().zip(0..) {
                rebuilt.note(*batch, Offset(base), Offset(base + 1));
            }
            for first in 0..next + 2 {
                let batch = numbered(0, first, 1);
                assert_eq!(
                    rebuilt.decide(batch),
                    producers.decide(batch),
                    "seed {seed}"
                );
            }
        }
    }
}
