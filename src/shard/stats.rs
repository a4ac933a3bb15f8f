//! What a shard counts, and what it shows of itself and of its log.

use crate::base::Counter;
use crate::base::stages::encode;
use crate::engine::CoreStages;
use crate::io::Io;
use crate::shard::core::Core;

/// Counts since the start of this core. Plain data, pulled by whoever shows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stats {
    /// Record batches appended here, by any core's connections.
    pub produced_batches: u64,
    /// Records in them.
    pub produced_records: u64,
    /// Bytes of them.
    pub produced_bytes: u64,
    /// Produce requests refused.
    pub produce_refused: u64,
    /// Fetches answered to this core's connections.
    pub fetches: u64,
    /// Bytes of record batches in those answers.
    pub fetched_bytes: u64,
    /// Fetches that found too little and waited.
    pub fetches_waited: u64,
    /// Requests of this core's connections that another core had to serve.
    pub forwarded: u64,
    /// Requests of other cores' connections that were served here.
    pub served_for_others: u64,
}

/// Where the time of this core went, as far as the shard and its log know.
pub(super) fn core_stages<I: Io>(core: &Core<I>) -> CoreStages {
    let (log, post) = (core.log.stages(), core.post.stages());
    let rows = log.rows().chain(post.rows());
    CoreStages {
        core: core.here(),
        uptime: core.io.now().since(core.started),
        stages: rows
            .map(|(stage, histogram)| (stage, encode(histogram)))
            .collect(),
        counters: counters(&core.log.stats(), &core.stats.borrow()).to_vec(),
    }
}

fn counters(log: &crate::log::Stats, shard: &Stats) -> [(Counter, u64); 13] {
    [
        (Counter::Cycles, log.cycles),
        (Counter::CyclePartitions, log.cycle_partitions),
        (Counter::JournalBytes, log.journal_bytes),
        (Counter::DirectWrites, log.direct_writes),
        (Counter::DirectBytes, log.direct_bytes),
        (Counter::SyncRounds, log.sync_rounds),
        (Counter::JournalFlushes, log.journal_flushes),
        (Counter::SegmentFlushes, log.segment_flushes),
        (Counter::ScrubbedBytes, log.scrubbed_bytes),
        (Counter::ScrubDamaged, log.scrub_damaged),
        (Counter::Records, shard.produced_records),
        (Counter::RecordBytes, shard.produced_bytes),
        (Counter::ForwardedRequests, shard.forwarded),
    ]
}
