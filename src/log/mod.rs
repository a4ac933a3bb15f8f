//! log: the append-only log of one core: journal, segments, indexes, recovery.
//!
//! Does: takes checked record batches into append buffers, promises them by one journal entry per commit cycle, writes
//! every byte of a segment once in whole blocks, reads them back as pieces of memory and spans of files, and after a
//! crash tells a torn tail from damage.
//! May import: base, io.
//! Must not know: topics, queues, groups, protocols.
//!
//! ```text
//!  append ──copy──> tail (open chunk, sealed chunks)            per partition and segment
//!                     │ take: one cycle at a time, up to CYCLES_IN_FLIGHT_MAX in flight
//!                     ├── much pending: whole blocks ──────────────> segment file      (direct)
//!                     └── little pending, and the partial block ──> journal entry      (inline)
//!                                       │ both complete, and all earlier cycles: written
//!                                       └ files synced since: synced
//!  journal file full ──> every partition is carried: its whole blocks go direct, its partial block inline into the next
//!                        file; once that is synced the old file is recycled.
//! ```
//! Files: `topics/<topic id>/<partition>/<base offset>.log|.idx`, `journal/<core>/<number>.wal|clean`.
//!
//! Invariants:
//! - A position of a segment is written once, by one direct write of whole blocks. The partial last block of an
//!   unsealed segment lives in memory and in the journal only.
//! - `synced <= written <= appended`; each moves forward only, over whole batches.
//! - `written` moves when the cycle's entry and direct writes and those of all earlier cycles have completed in full.
//! - The log start moves once a journal record of it is durable, and only forward; each record carries it. A segment below
//!   it goes as a whole.
//! - After any failed or short write, or failed sync, the core's log takes nothing more until a restart.
//!
//! Decided:
//! - A failed write ends the whole core's log, not one file: cycles of one core are acknowledged in order, and a disk
//!   that failed one write has no claim to the next.
//! - The frontier that recovery trusts depends on the boot id: after kill -9 on a running kernel, completed writes are
//!   all there, so the written frontier is evidence; after a power loss only the synced one is. A topic at level
//!   `written` is synced in the background (`FLUSH_INTERVAL`), which bounds what a power loss may take from it.
//! - Recovery writes nothing into old journals: it makes what it accepted durable, and the journals are retired as a
//!   whole after every core has carried its partitions into a new one. Until then it can run again and finds the same.

mod check;
mod chunk;
mod commit;
mod core;
mod delete;
mod error;
mod index;
mod journal;
mod locate;
mod partition;
mod read;
mod recovery;
pub mod repair;
mod roll;
mod rotate;
mod scans;
mod scrub;
mod segment;
mod space;
mod start;
mod stats;
mod sync;
mod tail;
mod take;
mod times;
mod trim;
#[doc(hidden)]
pub mod untrusted;
pub mod verify;

pub use chunk::Chunk;
pub use error::{AppendError, LogError, ReadError};
pub use partition::{Draw, Frontiers, PartitionLog, SegmentInfo};
pub use read::{Portion, gather};
pub use recovery::{
    Recovered, RecoveredPartition, RecoveryReport, RetiredJournals, recover, retire_journals,
};
pub use start::Log;
pub use stats::Stats;

use crate::base::{NodeId, limits};
use std::path::PathBuf;
use std::time::Duration;

/// How often what is written but not synced gets synced although nobody waits for it.
pub const FLUSH_INTERVAL: Duration = Duration::from_secs(1);

/// What a core's log is started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// The data directory.
    pub data: PathBuf,
    /// The node that writes here: journal entries carry it.
    pub node: NodeId,
    /// Number of this start, above that of every journal found; see [`Recovered::epoch`].
    pub epoch: u64,
    /// Memory for written chunks that are kept to be read, in bytes.
    pub hot_bytes_max: usize,
    /// Size of a journal file in bytes; of more partitions than fit such a file, more.
    pub journal_file_bytes: u64,
    /// Appends are refused while the file system has less than this free, in bytes.
    pub disk_reserve_bytes: u64,
    /// How fast sealed segments are read again to find damage, in bytes per second; 0: not at all.
    pub scrub_bytes_per_second: u64,
    /// How many logs write to that file system.
    pub disk_sharers: u64,
}

impl Options {
    /// The defaults.
    pub fn new(data: PathBuf, node: NodeId, epoch: u64) -> Self {
        Self {
            data,
            node,
            epoch,
            hot_bytes_max: 32 << 20,
            journal_file_bytes: limits::JOURNAL_FILE_BYTES,
            disk_reserve_bytes: 256 << 20,
            disk_sharers: 1,
            scrub_bytes_per_second: 0,
        }
    }

    /// The largest journal entry: a quarter of a file, within the limit.
    pub(crate) fn entry_bytes_max(&self) -> usize {
        (self.journal_file_bytes as usize / 4).min(limits::JOURNAL_ENTRY_BYTES_MAX)
    }
}

/// When a partition's segment is sealed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SegmentSettings {
    /// It would grow past this many bytes.
    pub segment_bytes: u64,
    /// Its first record is this old, in milliseconds.
    pub segment_ms: u64,
}

/// Paths inside a data directory.
pub(crate) mod paths {
    use crate::base::{CoreId, Offset, PartitionKey, TopicId};
    use std::path::{Path, PathBuf};

    pub(crate) fn topics(data: &Path) -> PathBuf {
        data.join("topics")
    }

    pub(crate) fn topic(data: &Path, topic: TopicId) -> PathBuf {
        topics(data).join(topic.to_string())
    }

    pub(crate) fn partition(data: &Path, key: PartitionKey) -> PathBuf {
        topic(data, key.topic).join(key.partition.to_string())
    }

    pub(crate) fn segment(dir: &Path, base: Offset) -> PathBuf {
        dir.join(format!("{:020}.log", base.0))
    }

    pub(crate) fn index(dir: &Path, base: Offset) -> PathBuf {
        dir.join(format!("{:020}.idx", base.0))
    }

    pub(crate) fn journals(data: &Path) -> PathBuf {
        data.join("journal")
    }

    pub(crate) fn journal(data: &Path, core: CoreId) -> PathBuf {
        journals(data).join(core.to_string())
    }

    pub(crate) fn journal_file(dir: &Path, number: u64) -> PathBuf {
        dir.join(format!("{number:016x}.wal"))
    }

    pub(crate) fn clean_mark(dir: &Path) -> PathBuf {
        dir.join("clean")
    }
}

#[cfg(test)]
mod tests;
