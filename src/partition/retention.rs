//! Retention: which of a partition's segments have been kept long enough, or are too many.
//!
//! ```text
//!   oldest                                              newest
//!   │ segment │ segment │ segment │ segment │ active │
//!   └── given up: all too old, ──┘│
//!       or enough without it      └ before
//! ```
//! Segments go whole and from the oldest on, as Kafka has it: one whose newest record is younger than the topic's
//! `retention_ms` keeps those behind it; as many go for size as leave `retention_bytes` or more. The active one never goes for
//! size. When all of it is too old it is sealed, and goes next time: so an idle partition is empty in the end, too.
//!
//! A record's age is by its timestamp, the producer's or the broker's as the topic has it. A segment of records without
//! timestamps never grows old.

use crate::base::{Offset, TimestampMs, TopicSettings};

/// A segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Held {
    /// The offset after its last record.
    pub next_offset: Offset,
    /// Bytes of its record batches.
    pub bytes: u64,
    /// The newest timestamp in it, if any record has one.
    pub newest: Option<TimestampMs>,
}

/// What is to be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Retained {
    /// Records below are given up.
    pub before: Option<Offset>,
    /// The active segment is too old as a whole: it is to be sealed.
    pub seal: bool,
}

/// Decides about the segments `held` of a partition, oldest first, the last being the active one. What lies at the high
/// watermark or behind it stays.
pub fn retained(
    settings: &TopicSettings,
    held: &[Held],
    high_watermark: Offset,
    now: TimestampMs,
) -> Retained {
    let mut retained = Retained::default();
    let Some((active, sealed)) = held.split_last() else {
        return retained;
    };
    let is_old = |one: &Held| {
        one.newest.is_some_and(|newest| {
            let age = now.0.saturating_sub(newest.0);
            age > 0 && age as u64 > settings.retention_ms
        })
    };
    let mut left: u64 = held.iter().map(|one| one.bytes).sum();
    for one in sealed {
        let is_spare = left - one.bytes >= settings.retention_bytes;
        if one.next_offset > high_watermark || !(is_old(one) || is_spare) {
            return retained;
        }
        left -= one.bytes;
        retained.before = Some(one.next_offset);
    }
    retained.seal = active.bytes > 0 && is_old(active);
    retained
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::KEEP_ALL;

    /// Segments of 10 records and 100 bytes, the newest record of each as told.
    fn held(newest: &[Option<i64>]) -> Vec<Held> {
        let numbered = newest.iter().enumerate();
        numbered
            .map(|(number, newest)| Held {
                next_offset: Offset(10 * (number as u64 + 1)),
                bytes: 100,
                newest: newest.map(TimestampMs),
            })
            .collect()
    }

    fn settings(retention_ms: u64, retention_bytes: u64) -> TopicSettings {
        TopicSettings {
            retention_ms,
            retention_bytes,
            ..TopicSettings::default()
        }
    }

    const ALL: Offset = Offset(1_000);

    #[test]
    fn what_is_older_than_the_limit_goes_and_what_is_as_old_stays() {
        let held = held(&[Some(1_000), Some(2_000), Some(3_000), Some(4_000)]);
        for (now, before, seal) in [
            (0, None, false),
            (1_500, None, false),
            (1_501, Some(10), false),
            (3_500, Some(20), false),
            (3_501, Some(30), false),
            (4_500, Some(30), false),
            (4_501, Some(30), true),
            (i64::MAX, Some(30), true),
        ] {
            let found = retained(&settings(500, KEEP_ALL), &held, ALL, TimestampMs(now));
            let before = before.map(Offset);
            assert_eq!(found, Retained { before, seal }, "at {now}");
            let kept = retained(&settings(KEEP_ALL, KEEP_ALL), &held, ALL, TimestampMs(now));
            assert_eq!(kept, Retained::default());
        }
    }

    #[test]
    fn one_young_record_keeps_all_behind_it_and_no_timestamp_is_never_old() {
        let old = [Some(1), Some(90), Some(1), Some(1)];
        let now = TimestampMs(100);
        let found = retained(&settings(50, KEEP_ALL), &held(&old), ALL, now);
        assert_eq!(found.before, Some(Offset(10)));
        assert!(!found.seal);
        let none = retained(&settings(50, KEEP_ALL), &held(&[None, Some(1)]), ALL, now);
        assert_eq!(none, Retained::default());
        let none = retained(&settings(50, KEEP_ALL), &held(&[Some(1), None]), ALL, now);
        assert_eq!((none.before, none.seal), (Some(Offset(10)), false));
    }

    #[test]
    fn as_many_go_for_size_as_leave_enough() {
        let held = held(&[None; 4]);
        for (bytes, before) in [
            (KEEP_ALL, None),
            (400, None),
            (301, None),
            (300, Some(10)),
            (201, Some(10)),
            (200, Some(20)),
            (1, Some(30)),
            (0, Some(30)),
        ] {
            let found = retained(&settings(KEEP_ALL, bytes), &held, ALL, TimestampMs(0));
            let before = before.map(Offset);
            assert_eq!(
                found,
                Retained {
                    before,
                    seal: false
                },
                "{bytes} bytes"
            );
        }
    }

    #[test]
    fn what_cannot_be_read_yet_stays() {
        let held = held(&[Some(1); 4]);
        let watermark = |offset| {
            let now = TimestampMs(100);
            retained(&settings(50, 0), &held, Offset(offset), now)
        };
        assert_eq!(watermark(9), Retained::default());
        assert_eq!(watermark(25).before, Some(Offset(20)));
        assert_eq!(
            retained(&settings(0, 0), &[], ALL, TimestampMs(9)),
            Retained::default()
        );
    }

    #[test]
    fn an_empty_active_segment_is_not_sealed() {
        let mut held = held(&[Some(1), None]);
        held[1].bytes = 0;
        let found = retained(&settings(50, KEEP_ALL), &held, ALL, TimestampMs(100));
        assert_eq!((found.before, found.seal), (Some(Offset(10)), false));
    }
}
