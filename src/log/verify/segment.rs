//! Walking a segment to its end whatever is in it: where it is damaged, the next sound batch is looked for.

use crate::base::batch::{HEADER_BYTES, MAGIC};
use crate::base::limits::{BATCH_BYTES_MAX, BLOCK_BYTES};
use crate::base::{Offset, RecordBatch};
use crate::io::{File, Io, OpenMode};
use crate::log::LogError;
use crate::log::index::{End, Entry, Index};
use crate::log::recovery::walk::{Step, Walk};
use std::path::Path;

const STEP_BYTES: usize = 1 << 20;
/// Where the format version lies in a batch: what the search for one looks at first.
const MAGIC_AT: usize = 16;

/// Bytes that the journal holds for a position of a segment.
pub(crate) type Piece = (u64, Vec<u8>);

/// The bytes of one segment in order: what its file holds, and over it what only the journal holds.
pub(crate) struct Bytes<'a, I: Io> {
    file: I::File,
    /// The file's part ends here; where the file is shorter, zeros stand for what is missing.
    file_end: u64,
    end: u64,
    over: &'a [Piece],
    window: Vec<u8>,
    /// The window's bytes that were passed.
    passed: usize,
    /// The position after the window.
    loaded: u64,
    /// Blocks that could not be read, with the system's word. Zeros stand for them.
    pub(crate) unreadable: Vec<(u64, String)>,
}

impl<'a, I: Io> Bytes<'a, I> {
    /// All of a file, and `over` it.
    pub(crate) async fn of_file(io: &I, path: &Path, over: &'a [Piece]) -> Result<Self, LogError> {
        let bytes = Self::new(io, path, 0, over).await?;
        let size = bytes
            .file
            .size()
            .await
            .map_err(LogError::io("stat", path))?;
        Ok(Self {
            file_end: size,
            end: bytes.end.max(size),
            ..bytes
        })
    }

    /// The file as far as `file_end`, and `over` it.
    pub(crate) async fn new(
        io: &I,
        path: &Path,
        file_end: u64,
        over: &'a [Piece],
    ) -> Result<Self, LogError> {
        let file = io.open(path, OpenMode::Existing).await;
        let ends = over.iter().map(|(pos, bytes)| pos + bytes.len() as u64);
        Ok(Self {
            file: file.map_err(LogError::io("open", path))?,
            file_end,
            end: ends.fold(file_end, u64::max),
            over,
            window: Vec::new(),
            passed: 0,
            loaded: 0,
            unreadable: Vec::new(),
        })
    }

    /// The position after the last byte.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// What is at hand from where the walk stands.
    pub(crate) fn here(&self) -> &[u8] {
        &self.window[self.passed..]
    }

    /// The position of the walk.
    pub(crate) fn pos(&self) -> u64 {
        self.loaded - self.here().len() as u64
    }

    pub(crate) fn pass(&mut self, bytes: usize) {
        self.passed += bytes;
        assert!(self.passed <= self.window.len());
    }

    /// Brings `wanted` bytes to hand, or all there are.
    pub(crate) async fn load(&mut self, wanted: usize) {
        while self.here().len() < wanted && self.loaded < self.end {
            self.window.drain(..self.passed);
            self.passed = 0;
            let step = (STEP_BYTES as u64).min(self.end - self.loaded) as usize;
            let (from, at) = (self.loaded, self.window.len());
            self.load_file(step).await;
            self.lay_over(from, at);
        }
    }

    /// Takes `step` bytes of the file. Where a read fails, each block is tried alone.
    async fn load_file(&mut self, step: usize) {
        let in_file = self.file_end.saturating_sub(self.loaded).min(step as u64) as usize;
        let read = match in_file {
            0 => return self.take(&[], step),
            in_file => self.file.read_at(self.loaded, whole(in_file)).await,
        };
        if let Ok(read) = read {
            return self.take(read.as_ref(), step);
        }
        for from in (0..step).step_by(BLOCK_BYTES) {
            let bytes = BLOCK_BYTES.min(step - from);
            match self.file.read_at(self.loaded, BLOCK_BYTES).await {
                Ok(read) => self.take(read.as_ref(), bytes),
                Err(error) => {
                    self.unreadable.push((self.loaded, error.to_string()));
                    self.take(&[], bytes);
                }
            }
        }
    }

    fn take(&mut self, read: &[u8], bytes: usize) {
        let have = read.len().min(bytes);
        self.window.extend_from_slice(&read[..have]);
        self.window.resize(self.window.len() + bytes - have, 0);
        self.loaded += bytes as u64;
    }

    /// Puts the journal's bytes over what was loaded from position `from` on, which lies in the window from `at` on.
    fn lay_over(&mut self, from: u64, at: usize) {
        for (pos, bytes) in self.over {
            let begin = (*pos).max(from);
            let end = (pos + bytes.len() as u64).min(self.loaded);
            if begin < end {
                let piece = &bytes[(begin - pos) as usize..(end - pos) as usize];
                let into = at + (begin - from) as usize;
                self.window[into..into + piece.len()].copy_from_slice(piece);
            }
        }
    }

    pub(crate) async fn close(self) {
        self.file.close().await;
    }
}

fn whole(bytes: usize) -> usize {
    bytes.next_multiple_of(BLOCK_BYTES)
}

/// What is known of a segment, as far as it is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Known<'a> {
    /// Where it ends.
    pub(crate) pos: Option<u64>,
    /// The offset behind it.
    pub(crate) offset: Option<Offset>,
    /// From this position on, whatever is no sound batch is the end.
    pub(crate) may_end_at: Option<u64>,
    /// Boundaries of batches: a batch that was put into another's place is told by them.
    pub(crate) boundaries: &'a [Entry],
}

impl Known<'_> {
    /// What the offset of a batch at `pos` is below.
    fn offset_below(&self, pos: u64) -> Offset {
        let next = self.boundaries.partition_point(|entry| entry.pos <= pos);
        let boundary = self.boundaries.get(next).map(|entry| entry.offset);
        boundary.or(self.offset).unwrap_or(Offset(u64::MAX))
    }
}

/// A stretch of a segment that holds no sound batch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Gap {
    pub(crate) from_pos: u64,
    /// Where the next sound batch begins; else where the segment ends.
    pub(crate) until_pos: u64,
    /// The offset that is missing first.
    pub(crate) from: Offset,
    /// The offset of the next sound batch, or of the next segment, if there is one.
    pub(crate) until: Option<Offset>,
    pub(crate) reason: String,
}

/// What a walk found.
#[derive(Clone, Debug)]
pub(crate) struct Walked {
    /// After the last sound batch.
    pub(crate) end: End,
    pub(crate) batches: u64,
    pub(crate) records: u64,
    pub(crate) gaps: Vec<Gap>,
    pub(crate) index: Index,
}

/// Walks a segment whose first offset is `base`; `each` sees every sound batch with its position and the largest
/// timestamp before it.
pub(crate) async fn walk<I: Io>(
    bytes: &mut Bytes<'_, I>,
    base: Offset,
    known: &Known<'_>,
    mut each: impl FnMut(&RecordBatch<'_>, u64, i64),
) -> Walked {
    let start = End {
        pos: 0,
        next_offset: base,
        max_timestamp: i64::MIN,
    };
    let mut walk = Walk::new(Index::default(), start);
    let mut found = Walked {
        end: start,
        batches: 0,
        records: 0,
        gaps: Vec::new(),
        index: Index::default(),
    };
    while known.pos.is_none_or(|pos| walk.end.pos < pos)
        && known
            .offset
            .is_none_or(|offset| walk.end.next_offset < offset)
    {
        let before = walk.end;
        let reason = match next(bytes, &mut walk).await {
            Ok(length) => {
                let batch = RecordBatch::parse(&bytes.here()[..length]);
                let batch = batch.expect("the walk went over it");
                each(&batch, before.pos, before.max_timestamp);
                found.batches += 1;
                found.records += u64::from(batch.count());
                bytes.pass(length);
                continue;
            }
            Err(reason) => reason,
        };
        let Some(gap) = pass_damage(bytes, &mut walk, known, reason).await else {
            break;
        };
        let goes_on = walk.end.pos > gap.from_pos;
        found.gaps.push(gap);
        if !goes_on {
            break;
        }
    }
    found.end = walk.end;
    found.index = walk.index;
    found
}

/// Takes the next batch into `walk`, if it is sound and follows. Returns its length, or why not.
async fn next<I: Io>(bytes: &mut Bytes<'_, I>, walk: &mut Walk) -> Result<usize, String> {
    let mut wanted = HEADER_BYTES;
    loop {
        bytes.load(wanted).await;
        match walk.step(bytes.here()) {
            Ok(Step::Over(batch)) => return Ok(batch.bytes().len()),
            Ok(Step::Short(needed)) if bytes.here().len() >= needed => {
                unreachable!("a batch that is all there is not short")
            }
            Ok(Step::Short(needed)) => {
                bytes.load(needed).await;
                if bytes.here().len() < needed {
                    return Err("the segment ends in the middle of a batch".into());
                }
                wanted = needed;
            }
            Err(reason) => return Err(reason),
        }
    }
}

/// Goes on at the next sound batch behind the damage at which `walk` stands. `None`: it is the end of what was written,
/// and nothing is missing.
async fn pass_damage<I: Io>(
    bytes: &mut Bytes<'_, I>,
    walk: &mut Walk,
    known: &Known<'_>,
    reason: String,
) -> Option<Gap> {
    let (from_pos, from) = (walk.end.pos, walk.end.next_offset);
    if known.may_end_at.is_some_and(|end| from_pos >= end) {
        return None;
    }
    let search = search(bytes, from_pos, from, known).await;
    let found = match search {
        Search::Found(pos, offset) => Some((pos, offset)),
        Search::Zeros if known.pos.is_none() && known.offset.is_none() => return None,
        Search::Zeros | Search::Nothing => None,
    };
    let gap = Gap {
        from_pos,
        until_pos: found.map_or(known.pos.unwrap_or(bytes.end()), |(pos, _)| pos),
        from,
        until: found.map(|(_, offset)| offset).or(known.offset),
        reason,
    };
    if let Some((pos, offset)) = found {
        walk.end.pos = pos;
        walk.end.next_offset = offset;
    }
    Some(gap)
}

/// What a search for the next sound batch ended with.
enum Search {
    /// Its position and offset.
    Found(u64, Offset),
    /// Nothing but zeros up to the end.
    Zeros,
    /// No sound batch up to the end.
    Nothing,
}

/// Looks for a sound batch behind position `behind` that may follow offset `from`: byte by byte, for nothing that the
/// damaged bytes say can be trusted. Leaves `bytes` standing at it.
async fn search<I: Io>(
    bytes: &mut Bytes<'_, I>,
    behind: u64,
    from: Offset,
    known: &Known<'_>,
) -> Search {
    let mut zeros = true;
    loop {
        bytes.load(BATCH_BYTES_MAX + STEP_BYTES).await;
        let (here, pos) = (bytes.here(), bytes.pos());
        // Up to where a batch that begins there has its header at hand.
        let step = STEP_BYTES.min(here.len().saturating_sub(HEADER_BYTES - 1));
        let found = (0..step).find_map(|at| {
            let is_behind = pos + at as u64 > behind;
            let looks_so = here[at + MAGIC_AT] == MAGIC as u8;
            let offset = (is_behind && looks_so)
                .then(|| sound_offset(&here[at..], pos + at as u64, from, known));
            offset.flatten().map(|offset| (at, offset))
        });
        if let Some((at, offset)) = found {
            bytes.pass(at);
            return Search::Found(pos + at as u64, offset);
        }
        let passed = if step == 0 { here.len() } else { step };
        zeros &= here[..passed].iter().all(|byte| *byte == 0);
        bytes.pass(passed);
        if step == 0 {
            return if zeros {
                Search::Zeros
            } else {
                Search::Nothing
            };
        }
    }
}

fn sound_offset(bytes: &[u8], pos: u64, from: Offset, known: &Known<'_>) -> Option<Offset> {
    let batch = RecordBatch::parse(bytes).ok()?;
    let offset = batch.base_offset();
    let fits = offset >= from && offset < known.offset_below(pos);
    (fits && known.pos.is_none_or(|end| pos < end) && batch.check_crc().is_ok()).then_some(offset)
}
