//! What journals hold of one partition: those that a start would read, and those that a start put aside because the
//! partition was damaged.

use crate::base::planted::{Bug, planted};
use crate::base::{CoreId, Offset, PartitionKey};
use crate::io::Io;
use crate::log::journal::entry::Record;
use crate::log::recovery::journal_directories;
use crate::log::recovery::scan::{FoundRecord, Stream, list_core, list_files};
use crate::log::verify::segment::Piece;
use crate::log::{LogError, paths};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The records of one partition, in the order in which they were made.
#[derive(Debug, Default)]
pub(super) struct Evidence {
    records: Vec<FoundRecord>,
}

/// Gathers it. A partition that was refused has no record in later journals, so its newest start tells which journals
/// were in use together when it was refused: those of that directory, and what is newer than the oldest of them.
pub(super) async fn gather<I: Io>(
    io: &I,
    data: &Path,
    key: PartitionKey,
) -> Result<Evidence, LogError> {
    let mut sets = match planted(Bug::ForgetKeptJournals) {
        true => Vec::new(),
        false => kept(io, data).await?,
    };
    sets.push(live(io, data).await?);
    let newest = |set: &Vec<Stream>| {
        let of_partition = set.iter().filter(|stream| holds(stream, key));
        of_partition.map(|stream| stream.epoch).max()
    };
    let Some(last) = sets.iter().max_by_key(|set| newest(set)) else {
        return Ok(Evidence::default());
    };
    let oldest = last.iter().map(|stream| stream.epoch).min();
    let mut streams: Vec<Stream> = sets.into_iter().flatten().collect();
    streams.retain(|stream| Some(stream.epoch) >= oldest);
    streams.sort_by_key(|stream| (stream.epoch, stream.core));
    let records = streams.into_iter().flat_map(|stream| stream.records);
    Ok(Evidence {
        records: records.filter(|found| found.record.key == key).collect(),
    })
}

fn holds(stream: &Stream, key: PartitionKey) -> bool {
    stream.records.iter().any(|found| found.record.key == key)
}

/// The journals that a start would read.
async fn live<I: Io>(io: &I, data: &Path) -> Result<Vec<Stream>, LogError> {
    let mut streams = Vec::new();
    for (core, dir) in journal_directories(io, data).await? {
        let listed = list_core(io, core, &dir).await?;
        streams.extend(listed.scan(io).await?.streams);
    }
    Ok(streams)
}

/// Those that starts have put aside, by start. Their files are called after their core and their former name.
async fn kept<I: Io>(io: &I, data: &Path) -> Result<Vec<Vec<Stream>>, LogError> {
    let root = paths::journals(data);
    let mut sets = Vec::new();
    for item in io
        .list_dir(&root)
        .await
        .map_err(LogError::io("list", &root))?
    {
        let dir = root.join(&item.name);
        if !item.is_dir || !item.name.starts_with("kept-") {
            continue;
        }
        let mut files: BTreeMap<CoreId, Vec<PathBuf>> = BTreeMap::new();
        for file in io
            .list_dir(&dir)
            .await
            .map_err(LogError::io("list", &dir))?
        {
            let core = file
                .name
                .split_once('-')
                .and_then(|(core, _)| core.parse().ok());
            if let Some(core) = core {
                files
                    .entry(CoreId(core))
                    .or_default()
                    .push(dir.join(&file.name));
            }
        }
        let mut streams = Vec::new();
        for (core, paths) in files {
            let listed = list_files(io, core, paths).await;
            streams.extend(listed.scan(io).await?.streams);
        }
        sets.push(streams);
    }
    Ok(sets)
}

impl Evidence {
    /// The last thing that is known of the partition.
    pub(super) fn last(&self) -> Option<&Record> {
        self.records.last().map(|found| &found.record)
    }

    /// The first offset that is still held.
    pub(super) fn log_start(&self) -> Offset {
        let starts = self.records.iter().map(|found| found.record.log_start);
        starts.max().unwrap_or(Offset(0))
    }

    /// What the journals hold of the bytes of one segment, sorted. Of two records that say something of a position, the
    /// later one is right, also where it says that the bytes are in the file.
    pub(super) async fn pieces<I: Io>(&self, io: &I, base: Offset) -> Result<Vec<Piece>, LogError> {
        let mut pieces: Vec<Piece> = Vec::new();
        for found in &self.records {
            let record = &found.record;
            if record.segment != base || record.deleted {
                continue;
            }
            let start = record.start();
            pieces.retain(|(pos, _)| *pos < start);
            if let Some((pos, bytes)) = pieces.last_mut() {
                bytes.truncate((start - *pos) as usize);
            }
            if record.inline_bytes > 0 {
                let source = io.open_source(&found.file).await;
                let source = source.map_err(LogError::io("open", &found.file))?;
                let bytes = record.inline_bytes as usize;
                let read = io.read_source(&source, found.inline_at, bytes).await;
                let read = read.map_err(LogError::io("read", &found.file))?;
                pieces.push((record.inline_pos, read));
            }
        }
        Ok(pieces)
    }
}
