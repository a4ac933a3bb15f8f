//! recovery: what a start finds on disk, before any core appends.
//!
//! ```text
//!  journals of all cores ──scan──> streams (core, epoch): entries in sequence ──decide──> how far each is trusted
//!                                                        │ records by partition, in order
//!                                                        v
//!  segments, indexes ────────────> rebuild ──> RecoveredPartition: segments, index, the tail that is in no segment yet
//! ```
//! It writes nothing into journals or segments. It removes temporary files and segments that hold nothing accepted,
//! syncs what it accepted, and notes damage beside the partition. So it can crash at any effect and run again.

mod decide;
pub(crate) mod files;
pub(crate) mod partition;
pub(crate) mod record;
pub(crate) mod scan;
pub(crate) mod walk;

pub use partition::RecoveredPartition;

use crate::base::{CoreId, PartitionKey, PartitionNo, TopicId};
use crate::io::{File, Io, OpenMode};
use crate::log::journal::entry::FileId;
use crate::log::{LogError, paths};
use partition::Rebuild;
use record::Records;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What recovery found. Plain data, to be handed to the cores.
#[derive(Debug)]
pub struct Recovered {
    /// Every partition that has a directory, damaged ones included.
    pub partitions: Vec<RecoveredPartition>,
    /// The number of this start: above that of every journal found.
    pub epoch: u64,
    /// What to tell the operator.
    pub report: RecoveryReport,
    /// For [`retire_journals`].
    pub retired: RetiredJournals,
}

/// What recovery tells the operator.
#[derive(Clone, Debug, Default)]
pub struct RecoveryReport {
    /// Every core had stopped cleanly.
    pub clean: bool,
    /// Partitions found.
    pub partitions: usize,
    /// Bytes of record batches found.
    pub bytes: u64,
    /// Journal entries read.
    pub entries: u64,
    /// Journal entries that were not complete, or not acknowledged and behind a gap, and their bytes.
    pub cut_entries: u64,
    /// See `cut_entries`.
    pub cut_bytes: u64,
    /// Partitions that lost unacknowledged bytes of a direct write, and how many bytes.
    pub cut_partitions: Vec<(PartitionKey, u64)>,
    /// Partitions refused, with the reason.
    pub damaged: Vec<(PartitionKey, String)>,
}

impl RecoveryReport {
    /// The report in lines for a person.
    pub fn lines(&self) -> Vec<String> {
        let stop = if self.clean {
            "clean stop"
        } else {
            "no clean stop"
        };
        let mut lines = vec![format!(
            "recovered {} partitions, {} bytes, from {} journal entries ({stop})",
            self.partitions, self.bytes, self.entries
        )];
        if self.cut_entries > 0 {
            let (entries, bytes) = (self.cut_entries, self.cut_bytes);
            lines.push(format!(
                "cut {entries} unacknowledged journal entries, {bytes} bytes"
            ));
        }
        for (key, bytes) in &self.cut_partitions {
            lines.push(format!(
                "cut {bytes} unacknowledged bytes of partition {key}"
            ));
        }
        for (key, reason) in &self.damaged {
            lines.push(format!("REFUSED partition {key}: {reason}"));
        }
        lines
    }
}

/// The journals that recovery read and that are not needed once every core has started.
#[derive(Clone, Debug, Default)]
pub struct RetiredJournals {
    files: Vec<PathBuf>,
    directories: Vec<PathBuf>,
    /// Something was damaged: the journals are evidence and go aside instead of away.
    keep_as: Option<PathBuf>,
}

/// Reads all journals of all cores and rebuilds every partition. To run alone, before any core's log is started.
pub async fn recover<I: Io>(io: &I, data: &Path) -> Result<Recovered, LogError> {
    make_directories(io, data).await?;
    let mut report = RecoveryReport {
        clean: true,
        ..RecoveryReport::default()
    };
    let mut streams = Vec::new();
    let mut retired = RetiredJournals::default();
    for (core, dir) in journal_directories(io, data).await? {
        let found = scan::scan_core(io, core, &dir).await?;
        report.clean &= found.clean || found.streams.is_empty();
        retired.files.extend(found.files);
        retired.directories.push(dir);
        streams.extend(found.streams);
    }
    streams.sort_by_key(|stream| (stream.epoch, stream.core));
    let epoch = streams.last().map_or(0, |stream| stream.epoch) + 1;
    for stream in &streams {
        report.entries += stream.entries;
        report.cut_entries += stream.cut_entries;
        report.cut_bytes += stream.cut_bytes;
    }
    let records = record::collect(&streams);
    let partitions = rebuild_all(io, data, records, &mut report).await?;
    if !report.damaged.is_empty() {
        retired.keep_as = Some(paths::journals(data).join(format!("kept-{epoch:016x}")));
    }
    sync_all(io, &retired.files).await?;
    Ok(Recovered {
        partitions,
        epoch,
        report,
        retired,
    })
}

/// Removes what recovery read, after every core's log was started; if something was damaged, moves it aside.
pub async fn retire_journals<I: Io>(io: &I, retired: &RetiredJournals) -> Result<(), LogError> {
    if let Some(dir) = &retired.keep_as {
        io.create_dir_all(dir)
            .await
            .map_err(LogError::io("create", dir))?;
    }
    for path in &retired.files {
        match &retired.keep_as {
            Some(dir) => {
                let core = path.parent().and_then(Path::file_name).unwrap_or_default();
                let name = path.file_name().unwrap_or_default();
                let kept = dir.join(format!("{}-{}", core.display(), name.display()));
                io.rename(path, &kept)
                    .await
                    .map_err(LogError::io("keep", path))?;
            }
            None => io
                .remove_file(path)
                .await
                .map_err(LogError::io("remove", path))?,
        }
    }
    for dir in retired.directories.iter().chain(&retired.keep_as) {
        io.sync_dir(dir).await.map_err(LogError::sync(dir))?;
    }
    Ok(())
}

async fn make_directories<I: Io>(io: &I, data: &Path) -> Result<(), LogError> {
    for dir in [paths::topics(data), paths::journals(data)] {
        io.create_dir_all(&dir)
            .await
            .map_err(LogError::io("create", &dir))?;
    }
    // The data directory may be new itself.
    let above = match data.parent() {
        Some(above) if above.as_os_str().is_empty() => Path::new("."),
        Some(above) => above,
        None => data,
    };
    for dir in [data, above] {
        if let Err(error) = io.sync_dir(dir).await {
            unmake_directories(io, data).await;
            return Err(LogError::sync(dir)(error));
        }
    }
    Ok(())
}

/// After a sync that failed, a second one may succeed without having kept the names that the first was to keep, and a power
/// cut would take all that was promised meanwhile. So what is still empty is made anew by the next start.
async fn unmake_directories<I: Io>(io: &I, data: &Path) {
    for dir in [paths::topics(data), paths::journals(data), data.to_owned()] {
        // One that holds something was made by an earlier start.
        let _ = io.remove_dir(&dir).await;
    }
}

pub(crate) async fn journal_directories<I: Io>(
    io: &I,
    data: &Path,
) -> Result<Vec<(CoreId, PathBuf)>, LogError> {
    let root = paths::journals(data);
    let entries = io
        .list_dir(&root)
        .await
        .map_err(LogError::io("list", &root))?;
    let numbered = entries.iter().filter(|entry| entry.is_dir);
    Ok(numbered
        .filter_map(|entry| Some((CoreId(entry.name.parse().ok()?), root.join(&entry.name))))
        .collect())
}

async fn rebuild_all<I: Io>(
    io: &I,
    data: &Path,
    mut records: Records,
    report: &mut RecoveryReport,
) -> Result<Vec<RecoveredPartition>, LogError> {
    let mut found = Vec::new();
    for key in partition_directories(io, data).await? {
        let of_partition = records.by_partition.remove(&key).unwrap_or_default();
        let rebuild = Rebuild {
            io,
            dir: paths::partition(data, key),
            key,
        };
        let Some(partition) = rebuild.run(of_partition, records.any_damaged).await? else {
            continue;
        };
        report.partitions += 1;
        report.bytes += partition.bytes();
        if partition.cut_bytes() > 0 {
            report.cut_partitions.push((key, partition.cut_bytes()));
        }
        if let Some(reason) = partition.damage() {
            report.damaged.push((key, reason.to_string()));
        }
        found.push(partition);
    }
    let present = found.len();
    missing_directories(&records.by_partition, &mut found, report);
    for missing in &found[present..] {
        keep_missing(io, data, missing).await?;
    }
    Ok(found)
}

/// Notes a missing directory in its place: the journals that know of it go aside, and the next start would take the
/// partition for one that was never made.
async fn keep_missing<I: Io>(
    io: &I,
    data: &Path,
    missing: &RecoveredPartition,
) -> Result<(), LogError> {
    let (key, dir) = (missing.key, paths::partition(data, missing.key));
    io.create_dir_all(&dir)
        .await
        .map_err(LogError::io("create", &dir))?;
    let rebuild = Rebuild { io, dir, key };
    rebuild
        .note_damage(missing.damage().unwrap_or_default())
        .await?;
    rebuild.sync_names().await
}

/// Partitions that the journals know, that were not deleted, and whose directory is gone: that is damage.
pub(crate) fn missing_directories(
    left: &BTreeMap<PartitionKey, Vec<record::Placed>>,
    found: &mut Vec<RecoveredPartition>,
    report: &mut RecoveryReport,
) {
    for (key, records) in left {
        if records.last().is_some_and(|last| !last.record.deleted) {
            let reason = "its directory is missing, though the journal holds records of it";
            report.damaged.push((*key, reason.to_string()));
            found.push(RecoveredPartition::damaged(*key, reason.to_string()));
        }
    }
}

pub(crate) async fn partition_directories<I: Io>(
    io: &I,
    data: &Path,
) -> Result<Vec<PartitionKey>, LogError> {
    let root = paths::topics(data);
    let mut keys = Vec::new();
    for topic in io
        .list_dir(&root)
        .await
        .map_err(LogError::io("list", &root))?
    {
        let Ok(id) = topic.name.parse::<TopicId>() else {
            continue;
        };
        let dir = root.join(&topic.name);
        for entry in io
            .list_dir(&dir)
            .await
            .map_err(LogError::io("list", &dir))?
        {
            if let Ok(number) = entry.name.parse() {
                keys.push(PartitionKey::new(id, PartitionNo(number)));
            }
        }
    }
    Ok(keys)
}

/// What was accepted may not have been durable; from here on it is relied upon.
async fn sync_all<I: Io>(io: &I, files: &[PathBuf]) -> Result<(), LogError> {
    for path in files
        .iter()
        .filter(|path| path.extension().is_some_and(|e| e == "wal"))
    {
        let file = io
            .open(path, OpenMode::Existing)
            .await
            .map_err(LogError::io("open", path))?;
        file.sync().await.map_err(LogError::sync(path))?;
        file.close().await;
    }
    Ok(())
}

/// For messages: which file.
fn name_of(file: &FileId) -> String {
    format!("core {} file {:016x}", file.core, file.number)
}
