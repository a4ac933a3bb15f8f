//! Reading the journal files of one core into streams: the entries of one start of that core, in sequence.

use crate::base::CoreId;
use crate::base::limits::BLOCK_BYTES;
use crate::base::planted::{Bug, planted};
use crate::io::{Io, OpenMode};
use crate::log::journal::entry::{
    self, Entry, EntryHead, FileId, NotAnEntry, Record, VERSION, parse_clean_mark,
    parse_file_header,
};
use crate::log::journal::files::FIRST_ENTRY;
use crate::log::recovery::decide::{Evidence, Verdict, decide};
use crate::log::recovery::name_of;
use crate::log::{LogError, paths};
use std::path::{Path, PathBuf};

/// All that the journal directory of a core holds.
pub(crate) struct CoreJournal {
    pub(crate) streams: Vec<Stream>,
    pub(crate) files: Vec<PathBuf>,
    pub(crate) clean: bool,
}

/// The entries of one start of one core.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) core: CoreId,
    pub(crate) epoch: u64,
    /// Records of accepted entries in order; of entries behind damage too.
    pub(crate) records: Vec<FoundRecord>,
    /// All entries below were acknowledged.
    pub(crate) acknowledged_bound: u64,
    /// All entries below were durable, with what they promise of segments.
    pub(crate) durable_bound: u64,
    /// The first missing sequence, if it was acknowledged.
    pub(crate) damaged_at: Option<u64>,
    /// Where the chain of entries ends: a file, and the position behind the last one in it.
    pub(crate) ends_at: (PathBuf, u64),
    pub(crate) entries: u64,
    pub(crate) cut_entries: u64,
    pub(crate) cut_bytes: u64,
}

/// A record and where its inline bytes lie.
#[derive(Clone, Debug)]
pub(crate) struct FoundRecord {
    pub(crate) sequence: u64,
    pub(crate) record: Record,
    pub(crate) file: PathBuf,
    pub(crate) inline_at: u64,
}

struct JournalBytes {
    id: FileId,
    path: PathBuf,
    bytes: Vec<u8>,
}

/// The journal files of one core, by what their headers say.
pub(crate) struct Listed {
    core: CoreId,
    /// The files of each start, in order.
    epochs: Vec<Vec<(FileId, PathBuf)>>,
    mark: Option<EntryHead>,
    files: Vec<PathBuf>,
    /// Left behind by a crash: not needed.
    pub(crate) temporary: Vec<PathBuf>,
    /// Nothing of ours.
    pub(crate) unknown: Vec<PathBuf>,
    /// Why a start would be refused as a whole.
    pub(crate) refused: Vec<LogError>,
    /// What is wrong with headers whose file its entries name as well: harmless.
    pub(crate) renamed: Vec<LogError>,
}

/// Reads everything in a core's journal directory.
pub(super) async fn scan_core<I: Io>(
    io: &I,
    core: CoreId,
    dir: &Path,
) -> Result<CoreJournal, LogError> {
    let listed = list_core(io, core, dir).await?;
    if let Some(refused) = listed.refused.into_iter().next() {
        return Err(refused);
    }
    for path in &listed.temporary {
        io.remove_file(path)
            .await
            .map_err(LogError::io("remove", path))?;
    }
    let listed = Listed {
        refused: Vec::new(),
        ..listed
    };
    listed.scan(io).await
}

/// Looks at the headers of the files in a core's journal directory.
pub(crate) async fn list_core<I: Io>(io: &I, core: CoreId, dir: &Path) -> Result<Listed, LogError> {
    let items = io.list_dir(dir).await.map_err(LogError::io("list", dir))?;
    let paths = items.iter().map(|item| dir.join(&item.name)).collect();
    let mut listed = list_files(io, core, paths).await;
    match read_clean_mark(io, &paths::clean_mark(dir)).await {
        Ok(mark) => listed.mark = mark,
        Err(refused) => listed.refused.push(refused),
    }
    if listed.mark.is_some() {
        listed.files.push(paths::clean_mark(dir));
    }
    Ok(listed)
}

/// Looks at the headers of `paths`, journal files of one core in the order in which they were written.
pub(crate) async fn list_files<I: Io>(io: &I, core: CoreId, paths: Vec<PathBuf>) -> Listed {
    let mut listed = Listed {
        core,
        epochs: Vec::new(),
        mark: None,
        files: Vec::new(),
        temporary: Vec::new(),
        unknown: Vec::new(),
        refused: Vec::new(),
        renamed: Vec::new(),
    };
    for path in paths {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("tmp") => listed.temporary.push(path),
            Some("wal") => match identify(io, core, &path).await {
                Ok(Identity { id, renamed }) => {
                    listed.renamed.extend(renamed);
                    listed.push(id, path);
                }
                Err(refused) => listed.refused.push(refused),
            },
            _ if path.ends_with("clean") => {}
            _ => listed.unknown.push(path),
        }
    }
    listed
}

impl Listed {
    fn push(&mut self, id: FileId, path: PathBuf) {
        self.files.push(path.clone());
        let epoch = self.epochs.last_mut();
        match epoch.filter(|epoch| epoch[0].0.epoch == id.epoch) {
            Some(epoch) => epoch.push((id, path)),
            None => self.epochs.push(vec![(id, path)]),
        }
    }

    /// Which use of which file each header names.
    pub(crate) fn ids(&self) -> impl Iterator<Item = &(FileId, PathBuf)> {
        self.epochs.iter().flatten()
    }

    /// Reads the entries.
    pub(crate) async fn scan<I: Io>(self, io: &I) -> Result<CoreJournal, LogError> {
        let mut found = CoreJournal {
            streams: Vec::new(),
            files: self.files,
            clean: false,
        };
        for files in self.epochs {
            let epoch = files[0].0.epoch;
            let mark = self.mark.filter(|mark| mark.file.epoch == epoch);
            found.clean |= mark.is_some();
            let stream = scan_stream(io, self.core, files, mark).await?;
            found.streams.push(stream);
        }
        Ok(found)
    }
}

/// Which use of which file a journal file is.
struct Identity {
    id: FileId,
    /// The header does not say so; the entries do.
    renamed: Option<LogError>,
}

/// Reads the header of a file; if that is damaged, or somebody else's, the entries: each carries all that it says. A file
/// with neither is refused: it may have been empty, or have held what cannot be told any more.
async fn identify<I: Io>(io: &I, core: CoreId, path: &Path) -> Result<Identity, LogError> {
    let block = read_file(io, path, BLOCK_BYTES as u64).await?;
    let refuse = |reason: String| LogError::Journal {
        path: path.to_path_buf(),
        reason,
    };
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let number = stem.rsplit('-').next().unwrap_or_default();
    let number = u64::from_str_radix(number, 16).ok();
    let (wrong, otherwise) = match parse_file_header(&block) {
        Ok(id) if id.core == core && number.is_none_or(|number| id.number == number) => {
            return Ok(Identity { id, renamed: None });
        }
        Ok(id) if id.core != core => {
            let belongs = format!("it belongs to core {}, put it back there", id.core);
            (belongs, None)
        }
        // Behind the header of its last use, all entries of a recycled file would look like somebody else's, and their
        // loss like a torn tail. The other way round nothing is in that file, if its entries do not know better.
        Ok(id) => {
            let other = format!(
                "its header is that of file {:016x}{BEYOND_REPAIR}",
                id.number
            );
            (
                other,
                number
                    .is_some_and(|number| id.number > number)
                    .then_some(id),
            )
        }
        Err(NotAnEntry::Invalid) => (format!("its header is damaged{BEYOND_REPAIR}"), None),
        Err(NotAnEntry::Version(version)) => {
            return Err(refuse(format!(
                "written in format version {version}, this millrace reads up to {VERSION}: start the newer millrace"
            )));
        }
    };
    let entries = match number {
        Some(number) => named_by_entries(io, core, path, number).await?,
        None => None,
    };
    match (entries, otherwise) {
        (Some(id), _) => Ok(Identity {
            id,
            renamed: Some(refuse(wrong)),
        }),
        (None, Some(id)) => Ok(Identity { id, renamed: None }),
        (None, None) => Err(refuse(wrong)),
    }
}

/// What there is to do about a file that neither its header nor an entry names.
const BEYOND_REPAIR: &str =
    ": restore it from a copy, or move it away to start without what it may have held";

/// The one use of a file that its entries name, of those that wrote file `number` of `core`.
async fn named_by_entries<I: Io>(
    io: &I,
    core: CoreId,
    path: &Path,
    number: u64,
) -> Result<Option<FileId>, LogError> {
    let bytes = read_file(io, path, u64::MAX).await?;
    let mut named = None;
    let mut at = FIRST_ENTRY as usize;
    while at + BLOCK_BYTES <= bytes.len() {
        at += match Entry::parse(&bytes[at..]) {
            Ok(entry) => {
                let id = entry.head.file;
                if id.core == core && id.number == number {
                    match named {
                        None => named = Some(id),
                        Some(named) if named != id => return Ok(None),
                        Some(_) => {}
                    }
                }
                entry.bytes
            }
            Err(_) => BLOCK_BYTES,
        };
    }
    Ok(named)
}

async fn read_clean_mark<I: Io>(io: &I, path: &Path) -> Result<Option<EntryHead>, LogError> {
    let source = match io.open_source(path).await {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(LogError::io("open", path))?,
    };
    let block = io
        .read_source(&source, 0, BLOCK_BYTES)
        .await
        .map_err(LogError::io("read", path))?;
    parse_clean_mark(&block)
        .map(Some)
        .map_err(|_| LogError::Journal {
            path: path.to_path_buf(),
            reason: "the clean-stop mark is damaged: remove it to recover from the journal alone"
                .into(),
        })
}

/// Walks over the files of one start.
async fn scan_stream<I: Io>(
    io: &I,
    core: CoreId,
    files: Vec<(FileId, PathBuf)>,
    mark: Option<EntryHead>,
) -> Result<Stream, LogError> {
    let mut walk = Walk::new(core, files[0].0.epoch, io.boot_id());
    for (id, path) in files {
        let bytes = read_file(io, &path, u64::MAX).await?;
        walk.file(&JournalBytes { id, path, bytes })?;
    }
    Ok(walk.finish(mark))
}

/// The state of a walk over a stream.
struct Walk {
    stream: Stream,
    boot_id: u128,
    /// Sequence and previous crc of the next entry; `None` before the first.
    next: Option<(u64, u32)>,
    /// Once an entry was missing: valid ones behind it.
    later: Vec<(u64, Vec<FoundRecord>, u64)>,
    missing: bool,
}

impl Walk {
    fn new(core: CoreId, epoch: u64, boot_id: u128) -> Self {
        let stream = Stream {
            core,
            epoch,
            records: Vec::new(),
            acknowledged_bound: 0,
            durable_bound: 0,
            damaged_at: None,
            ends_at: (PathBuf::new(), 0),
            entries: 0,
            cut_entries: 0,
            cut_bytes: 0,
        };
        Self {
            stream,
            boot_id,
            next: None,
            later: Vec::new(),
            missing: false,
        }
    }

    fn file(&mut self, file: &JournalBytes) -> Result<(), LogError> {
        let mut at = FIRST_ENTRY as usize;
        if !self.missing {
            at = self.chain(file, at)?;
            if at > FIRST_ENTRY as usize || self.next.is_none() {
                self.stream.ends_at = (file.path.clone(), at as u64);
            }
        }
        // Behind the chain's end, or in a file that does not continue it: whatever is valid is evidence.
        while at + BLOCK_BYTES <= file.bytes.len() {
            at += match parse(file, at)? {
                Some(entry) => {
                    self.check_order(file, &entry)?;
                    self.evidence(&entry);
                    self.later.push((
                        entry.head.sequence,
                        found(file, at, &entry),
                        entry.bytes as u64,
                    ));
                    self.missing = true;
                    entry.bytes
                }
                None => BLOCK_BYTES,
            };
        }
        Ok(())
    }

    /// Accepts entries while they continue the chain. Returns where it ends in this file.
    fn chain(&mut self, file: &JournalBytes, mut at: usize) -> Result<usize, LogError> {
        while at + BLOCK_BYTES <= file.bytes.len() {
            let Some(entry) = parse(file, at)? else { break };
            let (sequence, previous_crc) = self
                .next
                .unwrap_or((entry.head.sequence, entry.head.previous_crc));
            if entry.head.sequence != sequence || entry.head.previous_crc != previous_crc {
                break;
            }
            self.evidence(&entry);
            self.stream.records.extend(found(file, at, &entry));
            self.stream.entries += 1;
            self.next = Some((sequence + 1, entry.crc));
            at += entry.bytes;
        }
        if let Some(torn) = file
            .bytes
            .get(at..)
            .and_then(|b| entry::claimed_bytes(&file.id, b))
        {
            self.stream.cut_entries += 1;
            self.stream.cut_bytes += torn as u64;
            self.missing = true;
        }
        Ok(at)
    }

    /// Entries of one use of a file lie in the order of their sequence. One that lies behind a later one was overtaken by
    /// a write that went astray: where the chain begins, or what it has passed over, cannot be told.
    fn check_order(&self, file: &JournalBytes, entry: &Entry<'_>) -> Result<(), LogError> {
        let sequence = entry.head.sequence;
        match self.next {
            Some((next, _)) if sequence + 1 < next => Err(LogError::Journal {
                path: file.path.clone(),
                reason: format!(
                    "entry {sequence} lies behind entry {}: keep the data directory as it is and restore this file from a copy",
                    next - 1
                ),
            }),
            _ => Ok(()),
        }
    }

    fn evidence(&mut self, entry: &Entry<'_>) {
        let head = &entry.head;
        let bound = if head.boot_id == self.boot_id || planted(Bug::IgnoreBootId) {
            head.written_bound
        } else {
            head.durable_bound
        };
        self.stream.acknowledged_bound = self.stream.acknowledged_bound.max(bound);
        self.stream.durable_bound = self.stream.durable_bound.max(head.durable_bound);
    }

    fn finish(mut self, mark: Option<EntryHead>) -> Stream {
        let mut stream = self.stream;
        if let Some(mark) = mark {
            stream.acknowledged_bound = stream.acknowledged_bound.max(mark.sequence);
            stream.durable_bound = stream.durable_bound.max(mark.sequence);
        }
        let missing = self.next.map_or(0, |(sequence, _)| sequence);
        self.later.retain(|(sequence, ..)| *sequence > missing);
        self.later.sort_by_key(|(sequence, ..)| *sequence);
        let evidence = Evidence {
            missing,
            acknowledged_bound: stream.acknowledged_bound,
            later_exists: !self.later.is_empty(),
        };
        match decide(evidence) {
            Verdict::End => {}
            Verdict::CutUnacknowledged => {
                stream.cut_entries += self.later.len() as u64;
                stream.cut_bytes += self.later.iter().map(|(.., bytes)| bytes).sum::<u64>();
            }
            Verdict::Damage => {
                stream.damaged_at = Some(missing);
                stream
                    .records
                    .extend(self.later.into_iter().flat_map(|(_, records, _)| records));
            }
        }
        stream
    }
}

fn parse(file: &JournalBytes, at: usize) -> Result<Option<Entry<'_>>, LogError> {
    match Entry::parse(&file.bytes[at..]) {
        Ok(entry) => Ok((entry.head.file == file.id).then_some(entry)),
        Err(NotAnEntry::Invalid) => Ok(None),
        Err(NotAnEntry::Version(version)) => Err(LogError::Journal {
            path: file.path.clone(),
            reason: format!(
                "{} holds an entry of format version {version}",
                name_of(&file.id)
            ),
        }),
    }
}

fn found(file: &JournalBytes, at: usize, entry: &Entry<'_>) -> Vec<FoundRecord> {
    let records = entry.records().map(|(record, inline)| FoundRecord {
        sequence: entry.head.sequence,
        record,
        file: file.path.clone(),
        inline_at: (at + inline) as u64,
    });
    records.collect()
}

/// Reads the first `bytes` of a file, or all of it. An error is no verdict on what is there: recovery stops.
async fn read_file<I: Io>(io: &I, path: &Path, bytes: u64) -> Result<Vec<u8>, LogError> {
    use crate::io::File;
    const STEP: usize = 1 << 20;
    let file = io
        .open(path, OpenMode::Existing)
        .await
        .map_err(LogError::io("open", path))?;
    let size = file
        .size()
        .await
        .map_err(LogError::io("stat", path))?
        .min(bytes);
    let mut all = Vec::with_capacity(size as usize);
    while (all.len() as u64) < size {
        let step = STEP.min((size as usize - all.len()).next_multiple_of(BLOCK_BYTES));
        let read = file.read_at(all.len() as u64, step).await;
        if read.is_err() && planted(Bug::CutAtEio) {
            break;
        }
        let read = read.map_err(LogError::io("read", path))?;
        if read.as_ref().is_empty() {
            break;
        }
        all.extend_from_slice(read.as_ref());
    }
    file.close().await;
    Ok(all)
}
