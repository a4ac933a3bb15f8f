//! What becomes of a fetch from one partition.

use crate::base::Offset;
use crate::partition::Frontiers;

/// The verdict on a fetch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FetchVerdict {
    /// Records from the offset asked for up to `until` may be read.
    Serve {
        /// The high watermark.
        until: Offset,
    },
    /// Nothing to read yet: the reader stands at the tail.
    Wait,
    /// No such offset is stored, or will be next.
    OutOfRange,
}

/// Decides on a fetch from `from`.
///
/// | `from` | verdict |
/// |---|---|
/// | below the start | out of range: retention has taken it |
/// | start up to the high watermark | serve |
/// | the high watermark up to the end of what was appended | wait: taken, but not yet acked |
/// | past that | out of range: it was never given out, or was lost with the power |
pub fn fetch_verdict(from: Offset, high_watermark: Offset, frontiers: Frontiers) -> FetchVerdict {
    assert!(high_watermark <= frontiers.appended);
    if from < frontiers.start || from > frontiers.appended {
        FetchVerdict::OutOfRange
    } else if from < high_watermark {
        FetchVerdict::Serve {
            until: high_watermark,
        }
    } else {
        FetchVerdict::Wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_the_table() {
        let frontiers = Frontiers {
            start: Offset(10),
            synced: Offset(15),
            written: Offset(20),
            appended: Offset(30),
        };
        let serve = FetchVerdict::Serve { until: Offset(20) };
        for (from, expected) in [
            (0, FetchVerdict::OutOfRange),
            (9, FetchVerdict::OutOfRange),
            (10, serve),
            (19, serve),
            (20, FetchVerdict::Wait),
            (30, FetchVerdict::Wait),
            (31, FetchVerdict::OutOfRange),
            (u64::MAX, FetchVerdict::OutOfRange),
        ] {
            let verdict = fetch_verdict(Offset(from), Offset(20), frontiers);
            assert_eq!(verdict, expected, "{from}");
        }
    }
}
