//! Ids and measures: a number with a meaning has a type.

use std::fmt;
use std::str::FromStr;

/// The identity of a broker node, drawn at random when its data directory is made.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct NodeId(pub u128);

/// The identity of a topic: random, never reused, the name of its directory on disk (32 hex digits).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct TopicId(pub u128);

/// A partition's number inside its topic, counted from 0.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct PartitionNo(pub u32);

/// The position of one record in its partition: dense, from 0, never reused.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct Offset(pub u64);

/// A data core of this broker, counted from 0 (not the number of a CPU).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct CoreId(pub u16);

/// Milliseconds since the Unix epoch, as record batches carry them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct TimestampMs(pub i64);

/// One partition of one topic: what files, journal records and requests are addressed by.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct PartitionKey {
    /// The topic.
    pub topic: TopicId,
    /// The partition inside it.
    pub partition: PartitionNo,
}

/// What an acknowledgement promises (DESIGN 5). Ordered: a later level promises more.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum AckLevel {
    /// Nothing: answered on receipt.
    None,
    /// The bytes survive the death of the process (kill -9).
    Written,
    /// The bytes survive the loss of power.
    Synced,
}

impl TopicId {
    /// Whether it is one of our own: 0 is the catalog, the others keep the offsets of consumer groups. No topic of the
    /// catalog has such an id.
    pub fn is_own(self) -> bool {
        self.0 <= u128::from(u32::MAX)
    }

    /// An id, from 64 random bits, whose partitions are on the cores of those of this topic.
    pub fn beside(self, random: u64) -> Self {
        Self(u128::from(random) << 64 | u128::from(self.0 as u64))
    }

    /// Whether its partitions are on the cores of those of `other`.
    pub fn is_beside(self, other: Self) -> bool {
        !self.is_own() && !other.is_own() && self.0 as u64 == other.0 as u64
    }
}

impl PartitionKey {
    /// Names a partition.
    pub fn new(topic: TopicId, partition: PartitionNo) -> Self {
        Self { topic, partition }
    }

    /// The core that owns this partition when `cores` cores run: spreads a topic's partitions round robin, and starts
    /// different topics at different cores; those of our own all start at core 0, so that their partitions of one
    /// number are on one core. Only the lower half of a topic's id counts: what belongs to a topic has an id of its own
    /// with the same lower half, and is on the same core ([`TopicId::beside`]). Needs no state, so the number of cores may
    /// change between starts.
    pub fn core(self, cores: u16) -> CoreId {
        assert!(cores > 0);
        let start: u64 = match self.topic.is_own() {
            true => 0,
            false => self.topic.0 as u64 % u64::from(cores),
        };
        CoreId(((start % u64::from(cores) + u64::from(self.partition.0)) % u64::from(cores)) as u16)
    }
}

impl Offset {
    /// This offset moved on by `count` records.
    pub fn plus(self, count: u64) -> Self {
        Self(
            self.0
                .checked_add(count)
                .expect("2^64 records do not fit on any disk"),
        )
    }
}

impl AckLevel {
    /// The number that stands for this level on disk and on the native wire.
    pub fn code(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Written => 1,
            Self::Synced => 2,
        }
    }

    /// The level that a code stands for, if any.
    pub fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::None),
            1 => Some(Self::Written),
            2 => Some(Self::Synced),
            _ => None,
        }
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl FromStr for TopicId {
    type Err = std::num::ParseIntError;

    /// Reads what `Display` writes: hex digits.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u128::from_str_radix(text, 16).map(Self)
    }
}

impl fmt::Display for PartitionNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for TimestampMs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Display for CoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for PartitionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.partition)
    }
}

impl fmt::Display for AckLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Written => "written",
            Self::Synced => "synced",
        })
    }
}

impl FromStr for AckLevel {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "none" => Ok(Self::None),
            "written" => Ok(Self::Written),
            "synced" => Ok(Self::Synced),
            other => Err(format!(
                "unknown ack level {other:?}: use none, written or synced"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_of_a_topic_spread_over_all_cores() {
        for cores in 1..9u16 {
            let owners: std::collections::BTreeSet<_> = (0..u32::from(cores))
                .map(|p| PartitionKey::new(TopicId(u128::MAX), PartitionNo(p)).core(cores))
                .collect();
            assert_eq!(owners.len(), usize::from(cores));
        }
    }

    #[test]
    fn partitions_of_our_own_stay_on_their_core_whatever_the_topic() {
        for own in [0, 1, 7, u128::from(u32::MAX)] {
            assert!(TopicId(own).is_own());
            let key = PartitionKey::new(TopicId(own), PartitionNo(5));
            assert_eq!(key.core(3), CoreId(2));
        }
        assert!(!TopicId(1 << 32).is_own());
    }

    #[test]
    fn what_stands_beside_a_topic_is_on_its_cores() {
        let topic = TopicId(u128::MAX / 3);
        let beside = topic.beside(0x0123_4567_89ab_cdef);
        assert!(beside.is_beside(topic) && beside != topic);
        assert!(!TopicId(7).is_beside(TopicId(7)) && !TopicId(u128::MAX).is_beside(topic));
        for (cores, no) in (1..9u16).zip(0..) {
            let core = |topic| PartitionKey::new(topic, PartitionNo(no)).core(cores);
            assert_eq!(core(topic), core(beside));
        }
    }

    #[test]
    fn levels_round_trip_and_order() {
        for level in [AckLevel::None, AckLevel::Written, AckLevel::Synced] {
            assert_eq!(AckLevel::from_code(level.code()), Some(level));
            assert_eq!(level.to_string().parse(), Ok(level));
        }
        assert!(AckLevel::None < AckLevel::Written && AckLevel::Written < AckLevel::Synced);
        assert_eq!(AckLevel::from_code(3), None);
    }

    #[test]
    fn topic_ids_print_as_fixed_width_hex() {
        let id = TopicId(0xab);
        assert_eq!(id.to_string().len(), 32);
        assert_eq!(id.to_string().parse(), Ok(id));
    }
}
