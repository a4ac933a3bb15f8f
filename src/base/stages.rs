//! Where a core's time goes: one histogram per stage of a message's way, and plain counts beside them.
//!
//! ```text
//!   socket ─receive─ decode ─┬─ wait_for_commit ─ write ─ sync ─┬─ reply ──> socket
//!                            └─ forwarded (another core) ───────┘
//!   fetch_memory, fetch_file: the sending of one fetch's answer
//! ```
//! A room keeps [`Stages`] with the rows that it records and nobody else writes; whoever shows them reads them. They
//! only ever grow: who wants an interval takes them at both ends and subtracts.
//!
//! Memory: 2 significant digits (1 % of the value) from 0.1 us to 60 s are 26 octaves of 128 counts, 27 KB a stage, of
//! which a stage touches the few octaves that it lives in. 3 digits would be 8 times that, and finer than the clock.

use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2Serializer};

/// The shortest time that is told from 0, the longest that is kept as it is (longer ones count as this), in ns.
const NANOS_MIN: u64 = 100;
const NANOS_MAX: u64 = 60_000_000_000;
const SIGNIFICANT_DIGITS: u8 = 2;

/// What an encoded histogram has before its counts: cookie, payload length, offset, digits, lowest, highest, ratio.
const ENCODED_HEADER_BYTES: usize = 40;
/// The most digits of an encoded histogram that is taken: 1.5 MB of counts, where 5 digits would be 60.
const DECODED_DIGITS_MAX: u32 = 3;

macro_rules! table {
    ($(#[$about:meta])* $kind:ident { $($row:ident $name:literal $meaning:literal,)+ }) => {
        $(#[$about])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum $kind {
            $(#[doc = $meaning] $row,)+
        }

        impl $kind {
            /// All of them. The place in this list is the number on the wire: never reused, new ones at the end.
            pub const ALL: &[Self] = &[$(Self::$row,)+];

            /// As people and programs read it.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$row => $name,)+
                }
            }

            /// What it measures, in one sentence.
            pub fn meaning(self) -> &'static str {
                match self {
                    $(Self::$row => $meaning,)+
                }
            }

            /// Its number on the wire.
            pub fn code(self) -> u8 {
                self as u8
            }

            /// The one with this number, if this build knows it.
            pub fn from_code(code: u8) -> Option<Self> {
                Self::ALL.get(usize::from(code)).copied()
            }
        }
    };
}

table! {
    /// A stage of a message's way. Times are in nanoseconds.
    Stage {
        Receive "receive"
            "From the receive that brought the first byte of a frame to the one that completed it; only frames that came in pieces count.",
        Decode "decode"
            "Taking all whole frames out of one receive: split, decode, check, copy into the log or hand on.",
        WaitForCommit "wait_for_commit"
            "From the oldest append that no commit cycle had taken to the cycle that took it; once per cycle.",
        Write "write"
            "From the launch of a commit cycle's writes to its acknowledgement, behind all earlier cycles. The flush of a small synced cycle is part of its one write.",
        Sync "sync"
            "One sync round: all files written since the last one made durable.",
        Reply "reply"
            "From the first reply of a send being ready to the end of that send.",
        FetchMemory "fetch_memory"
            "Sending one fetch answer that came from memory alone.",
        FetchFile "fetch_file"
            "Sending one fetch answer with a span of a file in it.",
        Forwarded "forwarded"
            "From asking another core to its reply; one request in eight is timed.",
    }
}

table! {
    /// What a core counts, since its start.
    Counter {
        Cycles "cycles"
            "Commit cycles launched.",
        CyclePartitions "cycle_partitions"
            "Partitions taken by commit cycles, once per cycle and segment.",
        JournalBytes "journal_bytes"
            "Bytes written to journals, padding included.",
        DirectWrites "direct_writes"
            "Writes straight to segments.",
        DirectBytes "direct_bytes"
            "Bytes of those.",
        SyncRounds "sync_rounds"
            "Sync rounds that have ended well.",
        JournalFlushes "journal_flushes"
            "Flushes of journal files: fdatasync in sync rounds, and durable writes (O_DSYNC) of small synced cycles.",
        SegmentFlushes "segment_flushes"
            "Flushes (fdatasync) of segment files in sync rounds.",
        Receives "receives"
            "Receives that brought bytes.",
        ReceivedBytes "received_bytes"
            "Bytes received.",
        SentBytes "sent_bytes"
            "Bytes sent.",
        Requests "requests"
            "Requests read.",
        Connections "connections"
            "Connections open now.",
        Records "records"
            "Records appended.",
        RecordBytes "record_bytes"
            "Bytes of the record batches appended.",
        ForwardedRequests "forwarded_requests"
            "Requests that another core had to serve.",
        ScrubbedBytes "scrubbed_bytes"
            "Bytes of sealed segments that were read again to find damage, and were sound.",
        ScrubDamaged "scrub_damaged"
            "Sealed segments in which that found damage.",
    }
}

/// The histograms of some stages, made once; recording allocates nothing and never fails.
#[derive(Clone, Debug)]
pub struct Stages {
    rows: [Option<Histogram<u64>>; Stage::ALL.len()],
}

impl Stages {
    /// Empty histograms of `stages`.
    pub fn of(stages: &[Stage]) -> Self {
        let row = |stage: &Stage| stages.contains(stage).then(empty);
        let mut rows = [const { None }; Stage::ALL.len()];
        for (slot, stage) in rows.iter_mut().zip(Stage::ALL) {
            *slot = row(stage);
        }
        Self { rows }
    }

    /// Notes that one of `stage` took so long. It must be one that was asked for in [`Stages::of`].
    pub fn record(&mut self, stage: Stage, nanos: u64) {
        self.row(stage).saturating_record(nanos);
    }

    /// Notes that `count` of `stage` took so long each.
    pub fn record_n(&mut self, stage: Stage, nanos: u64, count: u64) {
        self.row(stage).saturating_record_n(nanos, count);
    }

    fn row(&mut self, stage: Stage) -> &mut Histogram<u64> {
        self.rows[stage as usize]
            .as_mut()
            .expect("a room records the stages that it asked for")
    }

    /// The stages kept here and what they took, in nanoseconds.
    pub fn rows(&self) -> impl Iterator<Item = (Stage, &Histogram<u64>)> {
        let rows = Stage::ALL.iter().zip(&self.rows);
        rows.filter_map(|(stage, row)| Some((*stage, row.as_ref()?)))
    }
}

fn empty() -> Histogram<u64> {
    Histogram::new_with_bounds(NANOS_MIN, NANOS_MAX, SIGNIFICANT_DIGITS)
        .expect("the bounds above are good")
}

/// A histogram as HdrHistogram V2 bytes, not compressed: what its libraries in other languages read, too.
pub fn encode(histogram: &Histogram<u64>) -> Vec<u8> {
    let mut bytes = Vec::new();
    V2Serializer::new()
        .serialize(histogram, &mut bytes)
        .expect("counts below 2^63, and memory takes every write");
    bytes
}

/// The other end of [`encode`]; `None`: the bytes are no such histogram, or a larger one than any that we make.
pub fn decode(bytes: &[u8]) -> Option<Histogram<u64>> {
    // The library believes a length of 4 GiB and digits that take 60 MB.
    let word = |at: usize| Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?));
    let payload = bytes.len().checked_sub(ENCODED_HEADER_BYTES)?;
    if word(4)? as usize != payload || word(12)? > DECODED_DIGITS_MAX {
        return None;
    }
    // Nor does it expect a run of 2^63 zeros, which it would negate.
    let counts = &bytes[ENCODED_HEADER_BYTES..];
    if counts.windows(9).any(|nine| nine == [0xff; 9]) {
        return None;
    }
    Deserializer::new().deserialize(&mut &bytes[..]).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::prng::Prng;

    #[test]
    fn numbers_and_names_are_one_to_one() {
        for (code, stage) in (0u8..).zip(Stage::ALL) {
            assert_eq!((stage.code(), Stage::from_code(code)), (code, Some(*stage)));
            let named = Stage::ALL.iter().filter(|s| s.name() == stage.name());
            assert_eq!(named.count(), 1);
        }
        for (code, counter) in (0u8..).zip(Counter::ALL) {
            assert_eq!(Counter::from_code(code), Some(*counter));
            assert_eq!(counter.code(), code);
        }
        assert_eq!(Stage::from_code(Stage::ALL.len() as u8), None);
        assert_eq!(Counter::from_code(u8::MAX), None);
    }

    #[test]
    fn what_is_too_long_counts_as_the_longest() {
        let mut stages = Stages::of(&[Stage::Sync]);
        stages.record(Stage::Sync, u64::MAX);
        stages.record_n(Stage::Sync, 2 * NANOS_MAX, 2);
        let (stage, sync) = stages.rows().next().expect("one row");
        assert_eq!(
            (stage, sync.len(), stages.rows().count()),
            (Stage::Sync, 3, 1)
        );
        assert!(sync.max() >= NANOS_MAX && sync.max() < NANOS_MAX + NANOS_MAX / 50);
    }

    #[test]
    fn a_histogram_survives_the_wire_within_one_percent() {
        let mut stages = Stages::of(Stage::ALL);
        let mut prng = Prng::new(7);
        for _ in 0..10_000 {
            let octave = 8 + prng.below(28);
            let nanos = 100 + prng.below(1 << octave);
            stages.record(Stage::Write, nanos);
        }
        let exact = 123_456_789;
        stages.record(Stage::Reply, exact);
        for (stage, histogram) in stages.rows() {
            let bytes = encode(histogram);
            let back = decode(&bytes).expect("encoded by us");
            assert_eq!(&back, histogram, "{}", stage.name());
            if stage == Stage::Reply {
                assert!(back.max().abs_diff(exact) <= exact / 100);
            }
        }
    }

    #[test]
    fn bytes_that_are_no_histogram_are_refused() {
        let mut stages = Stages::of(&[Stage::Write]);
        for nanos in 1..200 {
            stages.record(Stage::Write, nanos * nanos * nanos);
        }
        let bytes = encode(stages.rows().next().expect("one row").1);
        for cut in 0..bytes.len() {
            assert!(decode(&bytes[..cut]).is_none());
        }
        let mut prng = Prng::new(11);
        for index in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[index] ^= 1 + prng.below(255) as u8;
            // Damage in the counts is another histogram: the frame's checksum is elsewhere. It must not panic.
            let _ = decode(&bad).map(|histogram| histogram.value_at_quantile(0.99));
        }
        // Found by fuzzing: a run of zeros of the one length that cannot be negated.
        let mut endless = bytes.clone();
        endless[ENCODED_HEADER_BYTES..][..9].fill(0xff);
        assert!(decode(&endless).is_none());
        let mut greedy = bytes.clone();
        greedy[15] = 5;
        assert!(decode(&greedy).is_none());
    }
}
