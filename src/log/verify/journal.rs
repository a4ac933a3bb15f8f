//! Looking at the journals of all cores: headers, entries, the chain, the sequence, identity.

use crate::base::{CoreId, NodeId};
use crate::io::Io;
use crate::log::recovery::journal_directories;
use crate::log::recovery::record::{Records, collect};
use crate::log::recovery::scan::{CoreJournal, Listed, Stream, list_core};
use crate::log::verify::finding::{Kind, Remedy};
use crate::log::verify::{Checking, Place};
use crate::log::{LogError, paths};
use std::path::Path;

/// Looks at all journals. Returns what they promise, by partition.
pub(super) async fn check<I: Io>(check: &mut Checking<'_, I>) -> Result<Records, LogError> {
    let root = paths::journals(check.data);
    for item in check.list(&root).await? {
        let path = root.join(&item.name);
        if item.is_dir && item.name.starts_with("kept-") {
            let what = "journals that a start put aside because something was damaged";
            let place = Place::at(&path);
            check.find(Kind::KeptJournals, place, what, Remedy::Look);
        } else if !item.is_dir || item.name.parse::<u16>().is_err() {
            check.unknown(&path);
        }
    }
    let mut streams = Vec::new();
    for (core, dir) in check.journal_directories().await? {
        let found = check_core(check, core, &dir).await?;
        streams.extend(found.streams);
    }
    streams.sort_by_key(|stream| (stream.epoch, stream.core));
    for stream in &streams {
        check.report.journal_entries += stream.entries;
        tell(check, stream);
    }
    Ok(collect(&streams))
}

async fn check_core<I: Io>(
    check: &mut Checking<'_, I>,
    core: CoreId,
    dir: &Path,
) -> Result<CoreJournal, LogError> {
    let mut listed = list_core(check.io, core, dir).await?;
    for path in &listed.temporary {
        check.temporary(path);
    }
    for path in &listed.unknown {
        check.unknown(path);
    }
    for refused in std::mem::take(&mut listed.refused) {
        let (path, reason) = match &refused {
            LogError::Journal { path, reason } => (path.clone(), reason.clone()),
            LogError::Io { path, source, .. } => (path.clone(), source.to_string()),
            other => (dir.to_path_buf(), other.to_string()),
        };
        let what = format!("keeps every start from serving anything: {reason}");
        let remedy = match path.ends_with("clean") {
            true => Remedy::Remove,
            false => Remedy::Restore,
        };
        check.find(Kind::JournalRefused, Place::at(&path), what, remedy);
    }
    for renamed in std::mem::take(&mut listed.renamed) {
        if let LogError::Journal { path, reason } = renamed {
            let (reason, _) = reason.split_once(':').unwrap_or((&reason, ""));
            let what = format!(
                "{reason}; its entries say what it said, and the next start makes new journals"
            );
            check.find(Kind::JournalHeader, Place::at(&path), what, Remedy::None);
        }
    }
    if let Some(node) = check.node {
        check_identity(check, &listed, node);
    }
    listed.scan(check.io).await
}

fn check_identity<I: Io>(check: &mut Checking<'_, I>, listed: &Listed, node: NodeId) {
    for (id, path) in listed.ids() {
        if id.node != node {
            let what = format!("written by node {}, this is node {node}", id.node);
            let place = Place::at(path);
            check.find(Kind::JournalIdentity, place, what, Remedy::Restore);
        }
        if paths::journal_file(Path::new(""), id.number).file_name() != path.file_name() {
            let what = format!("its header says that it is file {:016x}", id.number);
            let place = Place::at(path);
            check.find(Kind::JournalIdentity, place, what, Remedy::Restore);
        }
    }
}

/// What a stream's end says.
fn tell<I: Io>(check: &mut Checking<'_, I>, stream: &Stream) {
    let (path, pos) = &stream.ends_at;
    let place = Place::at(path).position(*pos);
    let (core, epoch) = (stream.core, stream.epoch);
    if let Some(missing) = stream.damaged_at {
        let what = format!(
            "entry {missing} of core {core}, start {epoch}, was acknowledged and cannot be read here; acknowledged \
             are all below {}",
            stream.acknowledged_bound
        );
        check.find(Kind::JournalEntry, place, what, Remedy::Look);
    } else if stream.cut_entries > 0 {
        let (entries, bytes) = (stream.cut_entries, stream.cut_bytes);
        let what = format!(
            "the end of core {core}, start {epoch}: {entries} entries, {bytes} bytes, were on their way and never \
             acknowledged; the next start cuts them"
        );
        check.find(Kind::TornTail, place, what, Remedy::None);
    }
}

impl<I: Io> Checking<'_, I> {
    async fn journal_directories(&self) -> Result<Vec<(CoreId, std::path::PathBuf)>, LogError> {
        match journal_directories(self.io, self.data).await {
            Err(LogError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                Ok(Vec::new())
            }
            other => other,
        }
    }
}
