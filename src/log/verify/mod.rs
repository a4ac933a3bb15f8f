//! verify: what a start would find, and what lies deeper than a start looks.
//!
//! Does: reads everything of a data directory that belongs to the log: journals, segments, indexes, what lies beside
//! them. It runs recovery itself on a ground that is only looked at ([`Still`]), so what it says of journals and
//! partitions is what a start would say; then it walks every batch of every segment, which a start does not.
//! May import: base, io, the log.
//! Must not know: topics. Whoever calls it sees every sound batch ([`Watch`]) and can make a catalog of some of them.
//!
//! ```text
//!  journals ──scan──> streams ──> records by partition ──Rebuild──> RecoveredPartition ──> walk every batch, compare
//!     └─ headers, identity            │                     └─ refused: walk what is there, say where it is damaged
//!                                     └─ torn tail, lost entries
//! ```
//! Invariants:
//! - Nothing on disk changes: no file, no name, no length.
//! - A finding is damage only if no crash could have left it. What a crash leaves is a note at most.
//! - What cannot be read is told and read around; it is never taken for absent.

pub mod finding;
mod journal;
mod partition;
pub(crate) mod segment;

pub use finding::{Finding, KINDS, Kind, Remedy, Report, Severity};

use crate::base::{NodeId, Offset, PartitionKey, RecordBatch};
use crate::io::still::Still;
use crate::io::{DirEntry, Io};
use crate::log::recovery::{missing_directories, partition_directories};
use crate::log::{LogError, paths};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Who hears of a verification while it goes on.
pub trait Watch {
    /// A sound batch; those of one partition come in the order of their offsets.
    fn batch(&mut self, key: PartitionKey, batch: &RecordBatch<'_>);
    /// So many bytes of segments have been read since it was called last.
    fn read(&mut self, bytes: u64);
}

/// Reads everything below `data` that belongs to the log and compares it; of partitions, with `only`, that one alone.
/// `node` is who should have written it, if that is known. To run alone, while no broker serves the directory. An error means that the directories themselves could
/// not be read.
pub async fn verify<I: Io>(
    io: &I,
    data: &Path,
    node: Option<NodeId>,
    only: Option<PartitionKey>,
    watch: &mut dyn Watch,
) -> Result<Report, LogError> {
    let still = Still::new(io.clone());
    let mut check = Checking {
        io: &still,
        data,
        node,
        watch,
        report: Report::default(),
    };
    let mut records = journal::check(&mut check).await?;
    for key in check.partition_directories().await? {
        let of_partition = records.by_partition.remove(&key).unwrap_or_default();
        if only.is_some_and(|only| only != key) {
            continue;
        }
        partition::check(&mut check, key, of_partition, records.any_damaged).await?;
    }
    let mut refused = crate::log::RecoveryReport::default();
    missing_directories(&records.by_partition, &mut Vec::new(), &mut refused);
    for (key, reason) in refused.damaged {
        let place = Place::at(&paths::partition(data, key)).partition(key);
        check.find(Kind::PartitionRefused, place, reason, Remedy::Restore);
    }
    Ok(check.report)
}

/// A verification under way.
struct Checking<'a, I: Io> {
    io: &'a Still<I>,
    data: &'a Path,
    node: Option<NodeId>,
    watch: &'a mut dyn Watch,
    report: Report,
}

/// Where something was found.
#[derive(Clone, Debug)]
struct Place {
    path: PathBuf,
    position: Option<u64>,
    partition: Option<PartitionKey>,
    offset: Option<Offset>,
}

impl Place {
    fn at(path: &Path) -> Self {
        Self {
            path: path.to_path_buf(),
            position: None,
            partition: None,
            offset: None,
        }
    }

    fn position(self, position: u64) -> Self {
        let position = Some(position);
        Self { position, ..self }
    }

    fn partition(self, key: PartitionKey) -> Self {
        let partition = Some(key);
        Self { partition, ..self }
    }

    fn offset(self, offset: Offset) -> Self {
        let offset = Some(offset);
        Self { offset, ..self }
    }
}

impl<I: Io> Checking<'_, I> {
    fn find(&mut self, kind: Kind, place: Place, what: impl Into<String>, remedy: Remedy) {
        let path = place.path.strip_prefix(self.data).unwrap_or(&place.path);
        self.report.findings.push(Finding {
            kind,
            path: path.to_path_buf(),
            position: place.position,
            partition: place.partition,
            offset: place.offset,
            what: what.into(),
            remedy,
        });
    }

    fn unknown(&mut self, path: &Path) {
        let what = "nothing that millrace writes";
        self.find(Kind::UnknownFile, Place::at(path), what, Remedy::Look);
    }

    fn temporary(&mut self, path: &Path) {
        let what = "a step that a crash interrupted; the next start removes it";
        self.find(Kind::TemporaryFile, Place::at(path), what, Remedy::None);
    }

    /// What a directory holds; nothing if it is not there.
    async fn list(&self, dir: &Path) -> Result<Vec<DirEntry>, LogError> {
        match self.io.list_dir(dir).await {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            other => other.map_err(LogError::io("list", dir)),
        }
    }

    async fn partition_directories(&mut self) -> Result<Vec<PartitionKey>, LogError> {
        let root = paths::topics(self.data);
        for topic in self.list(&root).await? {
            let path = root.join(&topic.name);
            if !topic.is_dir || topic.name.parse::<crate::base::TopicId>().is_err() {
                self.unknown(&path);
                continue;
            }
            for item in self.list(&path).await? {
                if !item.is_dir || item.name.parse::<u32>().is_err() {
                    self.unknown(&path.join(&item.name));
                }
            }
        }
        match partition_directories(self.io, self.data).await {
            Err(LogError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
                Ok(Vec::new())
            }
            other => other,
        }
    }
}
