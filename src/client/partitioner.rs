//! Which partition a record goes to: the one named, else the one that its key hashes to, else the one that has the open
//! batch (so that records without a key fill whole batches, and batches go round).

/// Where a record may go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target<'a> {
    /// This partition.
    Partition(u32),
    /// The partition of this key: equal keys go to the same partition as long as the topic keeps its count of them. The
    /// same partition as Kafka's default partitioner chooses.
    Key(&'a [u8]),
    /// Any: a whole batch to one partition, then one to the next.
    Any,
}

/// Remembers which partition is next for records without a key.
#[derive(Clone, Copy, Debug)]
pub struct Partitioner {
    partitions: u32,
    sticky: u32,
}

impl Partitioner {
    /// For a topic of that many partitions, at least one. Begins at `start` (modulo), so that not all producers begin at
    /// the same one.
    pub fn new(partitions: u32, start: u64) -> Self {
        assert!(partitions > 0);
        Self {
            partitions,
            sticky: (start % u64::from(partitions)) as u32,
        }
    }

    /// The partition of a record; `None` if it names one that the topic does not have.
    #[inline]
    pub fn choose(&self, target: Target<'_>) -> Option<u32> {
        match target {
            Target::Partition(partition) => (partition < self.partitions).then_some(partition),
            Target::Key(key) => Some((murmur2(key) & 0x7fff_ffff) % self.partitions),
            Target::Any => Some(self.sticky),
        }
    }

    /// Says that the open batch of `partition` was sent: records without a key go on to the next partition.
    pub fn sent(&mut self, partition: u32) {
        if partition == self.sticky {
            self.sticky = (self.sticky + 1) % self.partitions;
        }
    }
}

/// MurmurHash2, 32 bits, with Kafka's seed (`org.apache.kafka.common.utils.Utils.murmur2`).
pub fn murmur2(bytes: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c ^ bytes.len() as u32;
    let mut words = bytes.chunks_exact(4);
    for word in words.by_ref() {
        let word: [u8; 4] = word.try_into().expect("chunks of four");
        let mut k = u32::from_le_bytes(word).wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        for (index, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * index);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_as_kafka_does() {
        // Source: UtilsTest.testMurmur2 of Apache Kafka.
        let known: [(&str, i32); 6] = [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            (
                "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8",
                -58_897_971,
            ),
            ("abc", 479_470_107),
        ];
        for (text, hash) in known {
            assert_eq!(murmur2(text.as_bytes()) as i32, hash, "{text}");
        }
    }

    #[test]
    fn keys_stay_partitions_are_checked_and_batches_go_round() {
        let mut partitioner = Partitioner::new(3, 5);
        assert_eq!(partitioner.choose(Target::Any), Some(2));
        assert_eq!(partitioner.choose(Target::Partition(2)), Some(2));
        assert_eq!(partitioner.choose(Target::Partition(3)), None);
        let keyed = partitioner.choose(Target::Key(b"foobar"));
        assert_eq!(keyed, Some((-790_332_482i32 as u32 & 0x7fff_ffff) % 3));
        partitioner.sent(0);
        assert_eq!(
            partitioner.choose(Target::Any),
            Some(2),
            "not the sticky one"
        );
        for expected in [0, 1, 2] {
            let sticky = partitioner.choose(Target::Any).expect("always one");
            partitioner.sent(sticky);
            assert_eq!(partitioner.choose(Target::Any), Some(expected));
        }
        assert_eq!(partitioner.choose(Target::Key(b"foobar")), keyed);
    }
}
