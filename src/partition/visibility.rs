//! The high watermark of one partition.

use crate::base::planted::{Bug, planted};
use crate::base::{AckLevel, Offset};
use crate::partition::Frontiers;
use std::collections::VecDeque;

/// Decides what may be read. A record becomes visible at `max(level of the topic, level of its produce)`: so a reader
/// never sees a record that its producer was not yet promised, and never one below the topic's own standard.
///
/// Example, topic at `written`: A(0..10, written), B(10..20, synced), C(20..30, written); written = 30, synced = 0:
/// the high watermark is 10, since B waits for its sync and C stands behind B. With synced = 15 it is 15; with
/// synced = 20 it jumps to 30.
#[derive(Debug)]
pub struct Visibility {
    topic: AckLevel,
    /// Ranges that must be synced before they are read, although the topic asks for less; in order, apart from each
    /// other, above the synced frontier. Neighbours are merged, so its length is bounded by how often the level
    /// changes within what is unsynced.
    demands: VecDeque<Demand>,
    high_watermark: Offset,
    /// What was visible when the topic's level was raised stays so.
    floor: Offset,
}

#[derive(Clone, Copy, Debug)]
struct Demand {
    base: Offset,
    until: Offset,
}

impl Visibility {
    /// The visibility of a partition as it stands after recovery or when new. What recovery kept is visible once it
    /// reached the topic's level.
    pub fn new(topic: AckLevel, frontiers: Frontiers) -> Self {
        frontiers.check();
        let mut visibility = Self {
            topic,
            demands: VecDeque::new(),
            high_watermark: frontiers.start,
            floor: frontiers.start,
        };
        visibility.advance(frontiers);
        visibility
    }

    /// Notes that records `base..until` were appended for a produce that asked for `level`.
    pub fn appended(&mut self, base: Offset, until: Offset, level: AckLevel) {
        assert!(base < until);
        assert!(base >= self.high_watermark);
        if level != AckLevel::Synced
            || self.topic == AckLevel::Synced
            || planted(Bug::VisibleBeforeSynced)
        {
            return;
        }
        match self.demands.back_mut() {
            Some(last) if last.until == base => last.until = until,
            last => {
                assert!(last.is_none_or(|last| last.until < base));
                self.demands.push_back(Demand { base, until });
            }
        }
    }

    /// The topic's level is another from here on: what can be read stays readable, and what was appended and cannot be
    /// read yet still has to reach the higher of both levels.
    pub fn set_topic(&mut self, topic: AckLevel, frontiers: Frontiers) {
        self.floor = self.advance(frontiers);
        if self.topic == AckLevel::Synced && topic != AckLevel::Synced {
            // While the topic asked for it, nobody noted who else did.
            self.demands.clear();
            let (base, until) = (self.high_watermark, frontiers.appended);
            if base < until {
                self.demands.push_back(Demand { base, until });
            }
        }
        self.topic = topic;
    }

    /// Takes note of new frontiers and returns the high watermark. It is monotone.
    pub fn advance(&mut self, frontiers: Frontiers) -> Offset {
        frontiers.check();
        while self
            .demands
            .front()
            .is_some_and(|demand| demand.until <= frontiers.synced)
        {
            self.demands.pop_front();
        }
        let reached = match self.topic {
            _ if planted(Bug::ServePastCommit) => frontiers.appended,
            AckLevel::None | AckLevel::Written => frontiers.written,
            AckLevel::Synced => frontiers.synced,
        };
        let next = match self.demands.front() {
            // A demand may have grown by merging: what of it is synced already need not wait for the rest.
            Some(demand) => reached.min(demand.base.max(frontiers.synced)),
            None => reached,
        };
        // Retention may move the start past what was ever visible; nothing below it can be read anyway.
        let next = next.max(frontiers.start).max(self.floor);
        assert!(
            next >= self.high_watermark,
            "the high watermark moved back from {} to {next}",
            self.high_watermark
        );
        self.high_watermark = next;
        next
    }

    /// The offset after the last record that may be read, as of the last [`Visibility::advance`].
    pub fn high_watermark(&self) -> Offset {
        self.high_watermark
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::prng::Prng;

    fn at(synced: u64, written: u64, appended: u64) -> Frontiers {
        Frontiers {
            start: Offset(0),
            synced: Offset(synced),
            written: Offset(written),
            appended: Offset(appended),
        }
    }

    #[test]
    fn a_synced_batch_holds_back_what_stands_behind_it() {
        let mut visibility = Visibility::new(AckLevel::Written, at(0, 0, 0));
        visibility.appended(Offset(0), Offset(10), AckLevel::Written);
        visibility.appended(Offset(10), Offset(20), AckLevel::Synced);
        visibility.appended(Offset(20), Offset(30), AckLevel::None);
        for (synced, written, expected) in [
            (0, 5, 5),
            (0, 30, 10),
            (15, 30, 15),
            (20, 30, 30),
            (30, 30, 30),
        ] {
            assert_eq!(
                visibility.advance(at(synced, written, 30)),
                Offset(expected)
            );
        }
    }

    #[test]
    fn a_synced_topic_shows_only_what_is_synced() {
        let mut visibility = Visibility::new(AckLevel::Synced, at(3, 9, 9));
        assert_eq!(visibility.high_watermark(), Offset(3));
        visibility.appended(Offset(9), Offset(12), AckLevel::None);
        assert_eq!(visibility.advance(at(3, 12, 12)), Offset(3));
        assert_eq!(visibility.advance(at(12, 12, 12)), Offset(12));
    }

    #[test]
    #[should_panic(expected = "moved back")]
    fn a_watermark_that_moves_back_is_a_bug() {
        let mut visibility = Visibility::new(AckLevel::Written, at(5, 5, 5));
        visibility.advance(at(4, 4, 5));
    }

    /// Goal: when the topic's level changes, what was visible stays so, and nothing else becomes visible before it reached the
    /// level that it was promised. Method: seeded changes, appends and frontier moves against a row per record.
    #[test]
    fn a_topic_changes_its_level() {
        for seed in 0..300 {
            let mut prng = Prng::new(seed);
            let levels = [AckLevel::Written, AckLevel::Synced];
            let mut topic = levels[prng.below(2) as usize];
            let mut visibility = Visibility::new(topic, at(0, 0, 0));
            let mut rows: Vec<AckLevel> = Vec::new();
            let (mut synced, mut written, mut seen) = (0u64, 0u64, 0);
            for _ in 0..200 {
                let appended = rows.len() as u64;
                match prng.below(4) {
                    0 => {
                        let level = levels[prng.below(2) as usize];
                        let until = appended + 1 + prng.below(5);
                        visibility.appended(Offset(appended), Offset(until), level);
                        rows.resize(until as usize, level.max(topic));
                    }
                    1 => written += prng.below(appended - written + 1),
                    2 => synced += prng.below(written - synced + 1),
                    _ => {
                        topic = levels[prng.below(2) as usize];
                        visibility.set_topic(topic, at(synced, written, appended));
                    }
                }
                let frontiers = at(synced, written, rows.len() as u64);
                let visible = visibility.advance(frontiers).0;
                for (index, level) in rows[seen..visible as usize].iter().enumerate() {
                    let until = Offset((seen + index) as u64 + 1);
                    assert!(
                        frontiers.has_reached((*level).max(topic), until),
                        "seed {seed}"
                    );
                }
                assert!(visible as usize >= seen, "seed {seed}");
                seen = visible as usize;
            }
            let all = rows.len() as u64;
            assert_eq!(
                visibility.advance(at(all, all, all)),
                Offset(all),
                "nothing stays hidden"
            );
        }
    }

    /// Goal: the merged ranges decide exactly as a table with one row per record would. Method: seeded appends and
    /// frontier moves against that table; a record is visible iff it and all before it reached their own level.
    #[test]
    fn agrees_with_a_model_of_one_row_per_record() {
        for seed in 0..300 {
            let mut prng = Prng::new(seed);
            let topic = [AckLevel::Written, AckLevel::Synced][prng.below(2) as usize];
            let levels = [AckLevel::None, AckLevel::Written, AckLevel::Synced];
            let mut visibility = Visibility::new(topic, at(0, 0, 0));
            let mut rows: Vec<AckLevel> = Vec::new();
            let (mut synced, mut written) = (0u64, 0u64);
            for _ in 0..200 {
                let appended = rows.len() as u64;
                match prng.below(3) {
                    0 => {
                        let level = levels[prng.below(3) as usize];
                        let until = appended + 1 + prng.below(5);
                        visibility.appended(Offset(appended), Offset(until), level);
                        rows.resize(until as usize, level.max(topic));
                    }
                    1 => written += prng.below(appended - written + 1),
                    _ => synced += prng.below(written - synced + 1),
                }
                let frontiers = at(synced, written, rows.len() as u64);
                let reached = |(index, level): (usize, &AckLevel)| {
                    frontiers.has_reached(*level, Offset(index as u64 + 1))
                };
                let expected = rows
                    .iter()
                    .enumerate()
                    .take_while(|row| reached(*row))
                    .count();
                let got = visibility.advance(frontiers);
                assert_eq!(got, Offset(expected as u64), "seed {seed}");
            }
        }
    }
}
