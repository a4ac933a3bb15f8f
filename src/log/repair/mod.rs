//! repair: lets a damaged partition serve again, and loses only what was asked to be lost.
//!
//! Does: finds what is left of a partition (its files, and what journals hold of it), says what would be lost, keeps copies
//! of all that it changes, makes its files sound, and has the log take it over as a start would.
//! May import: base, io, the log.
//! Must not know: topics, people.
//!
//! What it means to lose the least: a batch that cannot be read is lost, the batches behind it are not. Offsets never
//! change and never have a gap in the files: markers ([`crate::base::gap`]) take those that are lost. So a reader sees
//! offsets jump, and every other part of the log finds what it always finds.
//!
//! ```text
//!  note of damage ──> copies ──> segments: rewritten, removed ──> recover, take the partition over into a new journal
//!       │                                                              └─> retire the old journals ──> remove the note
//!       └── from here on every start refuses the partition ...                  ... until here: this is the step
//! ```
//! Invariants:
//! - A crash before the note is gone leaves a partition that is refused and that a second repair brings to the same end;
//!   a crash after it leaves one that serves.
//! - Each file changes by a rename: it is the old one or the new one.
//! - What is removed or rewritten was copied before, durably; journals are moved aside, never removed.

mod evidence;
mod left;
mod perform;
mod plan;
mod rewrite;

pub use perform::{Performed, perform};

use crate::base::{Offset, PartitionKey};
use crate::io::Io;
use crate::io::still::Still;
use crate::log::LogError;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// What is wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Goal {
    /// Keep everything below this offset and nothing from it on.
    CutAt(Offset),
    /// Keep every batch that can be read; markers take the offsets of the others.
    AcceptLoss,
    /// Keep everything up to the first batch that cannot be read.
    CutAtDamage,
}

/// A stretch of the partition that is lost.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Loss {
    /// The segment it begins in, and where.
    pub segment: Offset,
    /// See `segment`.
    pub position: u64,
    /// The first offset lost.
    pub from: Offset,
    /// The offset after the last one lost.
    pub until: Offset,
    /// Bytes of segments that hold it; 0 if they are gone.
    pub bytes: u64,
    /// Why, in words.
    pub why: String,
}

/// What a repair would do. Nothing is changed by making one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// The partition.
    pub key: PartitionKey,
    /// What is lost, in order.
    pub losses: Vec<Loss>,
    /// The first offset that is held: what lies below was trimmed, and is no loss.
    pub log_start: Offset,
    /// The offset that the next append gets.
    pub next_offset: Offset,
    /// Files of the partition that are rewritten or removed, of which copies are kept, and their bytes.
    pub files: Vec<PathBuf>,
    /// See `files`.
    pub bytes: u64,
    steps: Vec<plan::Step>,
}

/// Why nothing is repaired. One line each, with what to do.
#[derive(Error, Debug)]
pub enum RepairError {
    /// Reading or writing failed.
    #[error(transparent)]
    Log(#[from] LogError),
    /// It has no directory.
    #[error("there is no partition {0}; `millrace verify` names those that are there")]
    NoPartition(PartitionKey),
    /// The cut would lie where nothing is held any more.
    #[error(
        "offset {asked} lies below {start}, where the partition begins: what was there was trimmed; cut at {start} or above"
    )]
    BelowStart {
        /// Where the cut was asked for.
        asked: Offset,
        /// Where the partition begins.
        start: Offset,
    },
    /// It needs none.
    #[error("partition {0} is sound: nothing is repaired")]
    Sound(PartitionKey),
    /// Its journal says so.
    #[error("partition {0} was deleted; the next start removes what is left of it")]
    Deleted(PartitionKey),
    /// The offset lies inside of a batch.
    #[error("offset {asked} is inside of a batch; cut at {below} or {above}")]
    NotABoundary {
        /// What was asked for.
        asked: Offset,
        /// Where the batch begins.
        below: Offset,
        /// Where the next one begins.
        above: Offset,
    },
    /// Something below the offset is lost already.
    #[error("offset {asked} lies behind damage; cut at {damaged} or lower, or accept the loss")]
    BehindDamage {
        /// What was asked for.
        asked: Offset,
        /// The first offset that cannot be read.
        damaged: Offset,
    },
    /// The partition is shorter.
    #[error("the partition ends at offset {end}; nothing is to be cut at {asked}")]
    BehindEnd {
        /// What was asked for.
        asked: Offset,
        /// Its end.
        end: Offset,
    },
    /// Two files claim the same offsets.
    #[error(
        "segment {base} begins below offset {end}, where the one before it ends; cut at {base} or lower"
    )]
    Overlap {
        /// The second one.
        base: Offset,
        /// The end of the first.
        end: Offset,
    },
}

/// Says what a repair would do; changes nothing. No broker may serve the directory.
pub async fn plan<I: Io>(
    io: &I,
    data: &Path,
    key: PartitionKey,
    goal: Goal,
) -> Result<Plan, RepairError> {
    let still = Still::new(io.clone());
    let is_refused = plan::is_refused(&still, data, key).await?;
    let left = left::read(&still, data, key).await?;
    plan::make(&still, data, key, goal, &left, is_refused).await
}
