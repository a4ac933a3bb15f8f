//! The decision at the first entry of a stream that is not there or not valid: torn tail, unacknowledged, or damage.
//! Pure; the table is data. Source: DESIGN section 5, "Recovery".

use crate::base::planted::{Bug, planted};

/// What is known about the first missing entry, whose sequence is `missing`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Evidence {
    pub(super) missing: u64,
    /// All entries below were acknowledged, by the strongest bound that any valid entry or the clean-stop mark
    /// records: the written bound if the machine has not restarted since, the durable one else.
    pub(super) acknowledged_bound: u64,
    /// A valid entry with a higher sequence exists.
    pub(super) later_exists: bool,
}

/// What follows for the stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// Nothing valid follows: the log ends here. Bytes of a torn entry are cut.
    End,
    /// Later entries are valid but none of them, nor the missing one, was acknowledged: cut.
    CutUnacknowledged,
    /// The missing entry was acknowledged: partitions it may have touched are refused.
    Damage,
}

/// Walks the table.
pub(super) fn decide(evidence: Evidence) -> Verdict {
    let acknowledged =
        evidence.missing < evidence.acknowledged_bound && !planted(Bug::DamageIsAbsence);
    match (acknowledged, evidence.later_exists) {
        (true, _) => Verdict::Damage,
        (false, true) => Verdict::CutUnacknowledged,
        (false, false) => Verdict::End,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table() {
        let rows = [
            // missing, bound, later, verdict
            (0, 0, false, Verdict::End),
            (7, 7, false, Verdict::End),
            (7, 5, false, Verdict::End),
            (7, 7, true, Verdict::CutUnacknowledged),
            (7, 3, true, Verdict::CutUnacknowledged),
            (7, 8, true, Verdict::Damage),
            // A clean-stop mark is evidence without any later entry.
            (7, 8, false, Verdict::Damage),
        ];
        for (missing, acknowledged_bound, later_exists, verdict) in rows {
            let evidence = Evidence {
                missing,
                acknowledged_bound,
                later_exists,
            };
            assert_eq!(decide(evidence), verdict, "{evidence:?}");
        }
    }
}
