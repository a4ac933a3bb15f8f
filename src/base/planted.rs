//! Bugs on purpose. In a build with debug assertions, which every test program is, one of them can be switched on by its
//! name in the variable MILLRACE_PLANT, and a test must catch it (`tests/teeth.rs` says which): so the tests themselves are
//! tested. In every other build, a release above all, [`planted`] is `false` at compile time and nothing of this is left.

/// A bug that can be planted. The comment says what it does wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bug {
    /// A sync of the log's files is left out, and reported as done.
    SkipFlush,
    /// A cycle is acknowledged before its journal entry is written.
    AckEarly,
    /// A write that came out short is taken for a whole one.
    IgnoreShortWrite,
    /// What a file holds is served without a look at its checksums.
    ServeUnchecked,
    /// A repair does not look at journals that a start put aside.
    ForgetKeptJournals,
    /// Records can be read as soon as they are appended.
    ServePastCommit,
    /// The answers to the entries of one produce come in reverse.
    AnswerOutOfOrder,
    /// A new segment's name is not made durable.
    ForgetDirSync,
    /// The room that a sealed segment does not need is given back, and the file not synced.
    ForgetSealSync,
    /// A journal file's sync that has failed is tried again.
    RetrySync,
    /// A read of the journal that fails at a start is taken for its end.
    CutAtEio,
    /// A journal entry is taken whatever its checksum says.
    AcceptBadCrc,
    /// Nobody is told that a partition's frontier has moved.
    LoseWakeUp,
    /// The catalog's records are acted upon before they are synced.
    CatalogEarly,
    /// The old journals go before what was carried out of them is durable.
    RetireEarly,
    /// What was written counts as acknowledged after a loss of power, too.
    IgnoreBootId,
    /// Produces of other cores are taken last come, first served.
    ForwardLastFirst,
    /// A start takes blocks that were written for blocks that were synced.
    TrustUnsynced,
    /// A start takes names that it finds for durable ones.
    ForgetNames,
    /// A failed direct write is taken for a good one.
    IgnoreWriteError,
    /// The oldest cycle is acknowledged when any cycle is complete.
    AckOutOfOrder,
    /// A partition is left behind in a journal file that is about to be recycled.
    CarryNotAll,
    /// A journal file is recycled before what was carried out of it is durable.
    RecycleEarly,
    /// No room is kept for what has to leave a full journal file.
    KeepNoRoom,
    /// A sync that was under way when something failed still moves the frontier.
    AckAfterFailure,
    /// A batch whose checksum does not fit is accepted.
    AcceptBadBatch,
    /// An acknowledged entry that cannot be read is taken for one that never was.
    DamageIsAbsence,
    /// A direct write is believed to be whole without a look at its checksum.
    TrustTornDirect,
    /// An index is believed whatever its checksum.
    TrustIndex,
    /// An entry claims that its own cycle is durable.
    FrontierAhead,
    /// A new partition is used before its first record is durable.
    UnannouncedPartition,
    /// A partition's files are removed before the journal says that it was deleted.
    DeleteBeforeRecord,
    /// A produce that asked for `synced` is readable once it is written.
    VisibleBeforeSynced,
    /// A log whose first segment is gone seems to begin later.
    MissingSegmentIsAbsence,
    /// A numbered batch that was taken before is taken again.
    TakeTwice,
    /// A numbered batch is taken although one before it is missing.
    TakeGap,
    /// A batch of an epoch that was fenced off is taken.
    TakeFenced,
    /// What numbered producers wrote before a start is not looked up.
    ForgetProducers,
    /// A numbered batch does not wait for the one before it that was refused for a moment.
    JumpQueue,
    /// A committed offset is acknowledged before it is stored.
    CommitEarly,
    /// Committed offsets are removed before those that count are written anew.
    CompactInPlace,
    /// A compaction of committed offsets that did not come to its end counts.
    TrustHalfSnapshot,
    /// A static member that was replaced still is one.
    IgnoreFencedInstance,
    /// A member of an earlier generation is served.
    AnyGeneration,
    /// A member that says nothing any more stays one for far too long.
    KeepSilentMember,
    /// A Kafka producer that waits for all replicas is answered when its records are written, not synced.
    AcksAllWritten,
    /// A trim is told before its record is durable.
    TrimEarly,
    /// The journal does not say where a trimmed partition begins.
    ForgetTrim,
    /// A start looks for the files of segments that were trimmed away.
    FollowTrimmed,
    /// A segment is removed although it is the last one that the journal names.
    RemoveNamed,
    /// An ack of a queue's consumer is confirmed before it is stored.
    SettleEarly,
    /// A record leaves for a queue's consumer before it is stored that it was delivered.
    DeliverEarly,
    /// An answer of a queue's consumer counts although its lease is over.
    TakeStaleAnswer,
    /// A start does not look whether a dead record was moved already.
    MoveTwice,
    /// What a queue knew of records that were lost with the power counts for those that have their offsets now.
    KeepLostOffsets,
}

/// Every bug with the name that switches it on.
pub const BUGS: &[(&str, Bug)] = &[
    ("skip-flush", Bug::SkipFlush),
    ("ack-early", Bug::AckEarly),
    ("ignore-short-write", Bug::IgnoreShortWrite),
    ("serve-unchecked", Bug::ServeUnchecked),
    ("forget-kept-journals", Bug::ForgetKeptJournals),
    ("serve-past-commit", Bug::ServePastCommit),
    ("answer-out-of-order", Bug::AnswerOutOfOrder),
    ("forget-dir-sync", Bug::ForgetDirSync),
    ("forget-seal-sync", Bug::ForgetSealSync),
    ("retry-sync", Bug::RetrySync),
    ("cut-at-eio", Bug::CutAtEio),
    ("accept-bad-crc", Bug::AcceptBadCrc),
    ("lose-wake-up", Bug::LoseWakeUp),
    ("catalog-early", Bug::CatalogEarly),
    ("retire-early", Bug::RetireEarly),
    ("ignore-boot-id", Bug::IgnoreBootId),
    ("forward-last-first", Bug::ForwardLastFirst),
    ("trust-unsynced", Bug::TrustUnsynced),
    ("forget-names", Bug::ForgetNames),
    ("ignore-write-error", Bug::IgnoreWriteError),
    ("ack-out-of-order", Bug::AckOutOfOrder),
    ("carry-not-all", Bug::CarryNotAll),
    ("recycle-early", Bug::RecycleEarly),
    ("keep-no-room", Bug::KeepNoRoom),
    ("ack-after-failure", Bug::AckAfterFailure),
    ("accept-bad-batch", Bug::AcceptBadBatch),
    ("damage-is-absence", Bug::DamageIsAbsence),
    ("trust-torn-direct", Bug::TrustTornDirect),
    ("trust-index", Bug::TrustIndex),
    ("frontier-ahead", Bug::FrontierAhead),
    ("unannounced-partition", Bug::UnannouncedPartition),
    ("delete-before-record", Bug::DeleteBeforeRecord),
    ("visible-before-synced", Bug::VisibleBeforeSynced),
    ("missing-segment-is-absence", Bug::MissingSegmentIsAbsence),
    ("take-twice", Bug::TakeTwice),
    ("take-gap", Bug::TakeGap),
    ("take-fenced", Bug::TakeFenced),
    ("forget-producers", Bug::ForgetProducers),
    ("jump-queue", Bug::JumpQueue),
    ("commit-early", Bug::CommitEarly),
    ("compact-in-place", Bug::CompactInPlace),
    ("trust-half-snapshot", Bug::TrustHalfSnapshot),
    ("ignore-fenced-instance", Bug::IgnoreFencedInstance),
    ("any-generation", Bug::AnyGeneration),
    ("keep-silent-member", Bug::KeepSilentMember),
    ("acks-all-written", Bug::AcksAllWritten),
    ("trim-early", Bug::TrimEarly),
    ("forget-trim", Bug::ForgetTrim),
    ("follow-trimmed", Bug::FollowTrimmed),
    ("remove-named", Bug::RemoveNamed),
    ("settle-early", Bug::SettleEarly),
    ("deliver-early", Bug::DeliverEarly),
    ("take-stale-answer", Bug::TakeStaleAnswer),
    ("move-twice", Bug::MoveTwice),
    ("keep-lost-offsets", Bug::KeepLostOffsets),
];

/// Whether `bug` is switched on.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub const fn planted(_bug: Bug) -> bool {
    false
}

/// Whether `bug` is switched on. Panics if MILLRACE_PLANT names none: a test that plants nothing would pass in vain.
#[cfg(debug_assertions)]
pub fn planted(bug: Bug) -> bool {
    static CHOSEN: std::sync::OnceLock<Option<Bug>> = std::sync::OnceLock::new();
    let chosen = CHOSEN.get_or_init(|| {
        let name = std::env::var("MILLRACE_PLANT").ok()?;
        let found = BUGS.iter().find(|(known, _)| *known == name);
        Some(found.unwrap_or_else(|| panic!("no bug is called {name}")).1)
    });
    *chosen == Some(bug)
}
