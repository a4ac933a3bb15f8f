//! What a shard counts.

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
