//! What verify may find, as data.

use crate::base::{Offset, PartitionKey};
use std::path::PathBuf;

/// How bad a finding is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Severity {
    /// What a start tidies up by itself, or what only takes up room.
    Note,
    /// Wrong, and no record depends on it.
    Harmless,
    /// Records that were acknowledged are lost, unreadable or refused.
    Damage,
}

/// What was found.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Kind {
    /// The file `node` is missing or cannot be understood.
    NodeFile,
    /// A record of the catalog cannot be understood.
    Catalog,
    /// A journal file or a clean-stop mark that keeps every start from serving anything.
    JournalRefused,
    /// A journal file whose header is damaged or another's, and whose entries say what it said.
    JournalHeader,
    /// A journal file of another node.
    JournalIdentity,
    /// An acknowledged journal entry cannot be read.
    JournalEntry,
    /// A start refuses the partition.
    PartitionRefused,
    /// A stretch of a segment holds no sound record batch.
    Batch,
    /// Offsets between two segments, or before the first, are in no file.
    SegmentGap,
    /// A file is shorter than what was written to it.
    SegmentShort,
    /// A block or a file cannot be read.
    Unreadable,
    /// An index that passes its own checks names a place where no batch begins.
    IndexDisagrees,
    /// A block of an index does not pass its checks.
    Index,
    /// The padding behind the last batch of a sealed segment is not zero.
    Padding,
    /// A file or directory that is nothing of ours.
    UnknownFile,
    /// A partition that no topic of the catalog has.
    UnknownPartition,
    /// The end of a journal was being written when the process died.
    TornTail,
    /// Bytes that were never acknowledged, behind what was.
    Unacknowledged,
    /// An index that does not reach the end of its segment, or is not there.
    IndexBehind,
    /// A temporary file of a step that a crash interrupted.
    TemporaryFile,
    /// A partition of a topic without a directory: its topic was being made when the process died.
    MissingPartition,
    /// What is left of a partition that was deleted.
    Deleted,
    /// Journals that were put aside because something was damaged.
    KeptJournals,
}

/// Each kind with the name that programs see, and how bad it is.
pub const KINDS: &[(Kind, &str, Severity)] = &[
    (Kind::NodeFile, "node-file", Severity::Damage),
    (Kind::Catalog, "catalog", Severity::Damage),
    (Kind::JournalRefused, "journal-refused", Severity::Damage),
    (Kind::JournalHeader, "journal-header", Severity::Harmless),
    (Kind::JournalIdentity, "journal-identity", Severity::Damage),
    (Kind::JournalEntry, "journal-entry", Severity::Damage),
    (
        Kind::PartitionRefused,
        "partition-refused",
        Severity::Damage,
    ),
    (Kind::Batch, "batch", Severity::Damage),
    (Kind::SegmentGap, "segment-gap", Severity::Damage),
    (Kind::SegmentShort, "segment-short", Severity::Damage),
    (Kind::Unreadable, "unreadable", Severity::Damage),
    (Kind::IndexDisagrees, "index-disagrees", Severity::Damage),
    (Kind::Index, "index", Severity::Harmless),
    (Kind::Padding, "padding", Severity::Harmless),
    (Kind::UnknownFile, "unknown-file", Severity::Harmless),
    (
        Kind::UnknownPartition,
        "unknown-partition",
        Severity::Harmless,
    ),
    (Kind::TornTail, "torn-tail", Severity::Note),
    (Kind::Unacknowledged, "unacknowledged", Severity::Note),
    (Kind::IndexBehind, "index-behind", Severity::Note),
    (Kind::TemporaryFile, "temporary-file", Severity::Note),
    (Kind::MissingPartition, "missing-partition", Severity::Note),
    (Kind::Deleted, "deleted", Severity::Note),
    (Kind::KeptJournals, "kept-journals", Severity::Note),
];

impl Kind {
    /// The name that programs see.
    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// How bad it is.
    pub fn severity(self) -> Severity {
        self.row().2
    }

    fn row(self) -> &'static (Self, &'static str, Severity) {
        let row = KINDS.iter().find(|row| row.0 == self);
        row.expect("a test walks every kind through the table")
    }
}

/// What to do about a finding.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Remedy {
    /// Nothing: the next start deals with it.
    None,
    /// Repair the partition, or cut it at this offset.
    Repair(Option<Offset>),
    /// Put the file back from a copy.
    Restore,
    /// Remove the file: it is derived or not needed.
    Remove,
    /// Look at it: only a person can tell.
    Look,
}

/// One finding: where, what, and what to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// What it is.
    pub kind: Kind,
    /// The file or directory, from the data directory on.
    pub path: PathBuf,
    /// The byte in it, if it is about one place.
    pub position: Option<u64>,
    /// The partition, if it is about one.
    pub partition: Option<PartitionKey>,
    /// The first offset that it is about.
    pub offset: Option<Offset>,
    /// One line for a person.
    pub what: String,
    /// What to do.
    pub remedy: Remedy,
}

/// All that was found, and how much was read for it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Report {
    /// Partitions looked at.
    pub partitions: Vec<PartitionKey>,
    /// Their segments.
    pub segments: u64,
    /// Sound record batches.
    pub batches: u64,
    /// The records in them.
    pub records: u64,
    /// The bytes of those batches.
    pub bytes: u64,
    /// Journal entries that are sound and in sequence.
    pub journal_entries: u64,
    /// What is not as it should be, in the order in which it was found.
    pub findings: Vec<Finding>,
}

impl Report {
    /// How many findings of a severity there are.
    pub fn count(&self, severity: Severity) -> usize {
        let of = |finding: &&Finding| finding.kind.severity() == severity;
        self.findings.iter().filter(of).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_one_row_and_one_name() {
        let kinds: std::collections::BTreeSet<_> = KINDS.iter().map(|row| row.0).collect();
        let names: std::collections::BTreeSet<_> = KINDS.iter().map(|row| row.1).collect();
        assert_eq!((kinds.len(), names.len()), (KINDS.len(), KINDS.len()));
        // The last of the enumeration: one that was added without a row would be missed by the count.
        assert_eq!(Kind::KeptJournals as usize + 1, KINDS.len());
    }
}
