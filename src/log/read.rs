//! Reading back: pieces of memory for the hot tail, spans of the file for the rest; the file itself is looked at only to find a
//! record by its time (`times`).

use crate::base::{BatchError, Body, Offset, Part, RecordBatch};
use crate::io::Io;
use crate::log::check::Check;
use crate::log::chunk::Chunk;
use crate::log::error::ReadError;
use crate::log::locate::{self, Boundary};
use crate::log::partition::PartitionLog;
use crate::log::segment::Segment;
use crate::log::tail::Piece;
use std::io::{ErrorKind, Result as IoResult};
use std::rc::Rc;

/// The bytes of a body in one piece, for readers within the broker. A file that ends before its span is an error.
pub async fn gather<I: Io>(io: &I, body: &Body<Chunk<I>, I::Source>) -> IoResult<Vec<u8>> {
    let mut all = Vec::with_capacity(body.bytes as usize);
    for part in &body.parts {
        match part {
            Part::Memory { chunk, from, until } => {
                all.extend_from_slice(&chunk.as_ref()[*from..*until]);
            }
            Part::Copied { from, until } => all.extend_from_slice(&body.copied[*from..*until]),
            Part::File {
                source,
                position,
                bytes,
            } => {
                let read = io.read_source(source, *position, *bytes as usize).await?;
                if read.len() as u64 != *bytes {
                    return Err(ErrorKind::UnexpectedEof.into());
                }
                all.extend_from_slice(&read);
            }
        }
    }
    Ok(all)
}

/// How much a read may bring.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Portion {
    /// About so many bytes.
    pub bytes_max: u64,
    /// The first batch, whatever its size: a reader that never got it would stand still for ever.
    pub at_least_a_batch: bool,
}

impl<I: Io> PartitionLog<I> {
    /// Adds to `body` whole batches from the one that holds `from` on (in the file it may begin up to an index
    /// interval earlier), up to `until`, about `bytes_max` bytes, but at least the batch that holds `from`. `until` is
    /// a batch boundary that the caller may see.
    pub async fn read(
        &self,
        from: Offset,
        until: Offset,
        bytes_max: u64,
        body: &mut Body<Chunk<I>, I::Source>,
    ) -> Result<(), ReadError> {
        let portion = Portion {
            bytes_max,
            at_least_a_batch: true,
        };
        self.read_portion(from, until, portion, body).await
    }

    /// The same, for who may have enough: nothing, where `portion` says so and not even one batch fits.
    pub async fn read_portion(
        &self,
        from: Offset,
        until: Offset,
        portion: Portion,
        body: &mut Body<Chunk<I>, I::Source>,
    ) -> Result<(), ReadError> {
        let is_trimmed = || from < self.frontiers().start;
        if is_trimmed() {
            return Err(ReadError::OutOfRange);
        }
        let read = self.read_there(from, until, portion, body).await;
        // A segment may have gone before its file was opened.
        read.map_err(|error| match is_trimmed() {
            true => ReadError::OutOfRange,
            false => error,
        })
    }

    /// As [`PartitionLog::read`], below the log's start too as far as segments are there: for who looks back at what was.
    pub async fn read_held(
        &self,
        from: Offset,
        until: Offset,
        bytes_max: u64,
        body: &mut Body<Chunk<I>, I::Source>,
    ) -> Result<(), ReadError> {
        let portion = Portion {
            bytes_max,
            at_least_a_batch: true,
        };
        self.read_there(from, until, portion, body).await
    }

    async fn read_there(
        &self,
        mut from: Offset,
        until: Offset,
        mut portion: Portion,
        body: &mut Body<Chunk<I>, I::Source>,
    ) -> Result<(), ReadError> {
        if from > until || until > self.frontiers().appended {
            return Err(ReadError::OutOfRange);
        }
        while from < until && portion.bytes_max > 0 {
            let Some(segment) = locate::segment_of(&self.partition, from) else {
                return Err(ReadError::OutOfRange);
            };
            let before = body.bytes;
            let next = self
                .read_segment(&segment, from, until, portion, body)
                .await?;
            if next.is_end || next.offset <= from {
                break;
            }
            from = next.offset;
            portion = Portion {
                bytes_max: portion.bytes_max.saturating_sub(body.bytes - before),
                at_least_a_batch: false,
            };
        }
        Ok(())
    }

    /// Reads from one segment.
    async fn read_segment(
        &self,
        segment: &Rc<Segment<I>>,
        from: Offset,
        until: Offset,
        portion: Portion,
        body: &mut Body<Chunk<I>, I::Source>,
    ) -> Result<Next, ReadError> {
        let partition = &self.partition;
        let mut start = locate::floor(partition, segment, from);
        let source = if start.pos < segment.tail.borrow().mem_start() {
            Some(self.source(segment).await?)
        } else {
            None
        };
        // Memory may have been evicted while the file was opened: look again, and take more of the file if so.
        start = locate::floor(partition, segment, from);
        let until = locate::floor(partition, segment, until);
        let limit = start.pos.saturating_add(portion.bytes_max);
        let end = locate::end_of_read(partition, segment, start, from, limit, until);
        let is_too_large = end.pos > limit && !portion.at_least_a_batch;
        if end.pos <= start.pos || is_too_large {
            let (offset, is_end) = (from, true);
            return Ok(Next { offset, is_end });
        }
        let is_in_file = start.pos < segment.tail.borrow().mem_start();
        let source = match source {
            None if is_in_file => Some(self.source(segment).await?),
            source => source,
        };
        let good = match &source {
            Some(source) => self.good_end(segment, source, start, end, from).await,
            None => Ok(end),
        };
        let good = match good {
            Ok(good) => good,
            // Of what stands before the damage nobody should be kept.
            Err(_) if body.bytes > 0 => start,
            Err(error) => return Err(error),
        };
        if good.pos > start.pos {
            add_pieces(segment, start, good, source, body);
        }
        let (offset, is_end) = (good.offset, good != end);
        Ok(Next { offset, is_end })
    }

    /// How far the file may be served from.
    async fn good_end(
        &self,
        segment: &Rc<Segment<I>>,
        source: &I::Source,
        start: Boundary,
        end: Boundary,
        from: Offset,
    ) -> Result<Boundary, ReadError> {
        let check = Check {
            core: &self.core,
            partition: &self.partition,
            segment,
            source,
        };
        check.good_end(start, end, from).await
    }

    async fn source(&self, segment: &Segment<I>) -> Result<I::Source, ReadError> {
        segment
            .source(&self.core.io)
            .await
            .map_err(|error| ReadError::Io(format!("{}/{}: {error}", segment.key, segment.base)))
    }

    /// An offset from which on about the last `bytes` lie: at least so many, if there are.
    pub fn tail_start(&self, bytes: u64) -> Offset {
        let partition = &self.partition;
        let mut left = bytes;
        for segment in partition.segments.borrow().iter().rev() {
            let end = segment.end.get().pos;
            if end > left {
                return locate::known_at_or_before_pos(partition, segment, end - left).offset;
            }
            left -= end;
        }
        self.frontiers().start
    }

    /// About how many bytes lie between two offsets.
    pub fn bytes_between(&self, from: Offset, until: Offset) -> u64 {
        let partition = &self.partition;
        let (mut from, mut total) = (from, 0);
        while from < until {
            let Some(segment) = locate::segment_of(partition, from) else {
                break;
            };
            let begin = locate::floor(partition, &segment, from);
            let end = locate::floor(partition, &segment, until);
            total += end.pos.saturating_sub(begin.pos);
            let Some(next) = locate::segment_after(partition, segment.base) else {
                break;
            };
            from = next.base;
        }
        total
    }

    /// The bytes of the batch at `pos`, checked.
    pub(super) async fn read_batch(
        &self,
        segment: &Segment<I>,
        pos: u64,
        end: u64,
    ) -> Result<Vec<u8>, ReadError> {
        const GUESS: u64 = 16 << 10;
        let mut bytes = self.read_bytes(segment, pos, GUESS.min(end - pos)).await?;
        match RecordBatch::parse(&bytes) {
            Ok(batch) => {
                let count = batch.bytes().len();
                bytes.truncate(count);
            }
            Err(BatchError::Truncated { needed, .. })
                if needed as u64 <= end - pos && needed > bytes.len() =>
            {
                bytes = self.read_bytes(segment, pos, needed as u64).await?;
            }
            Err(error) => return Err(damaged(segment, pos, &error)),
        }
        let checked = RecordBatch::parse(&bytes).and_then(|batch| batch.check_crc());
        checked.map_err(|error| damaged(segment, pos, &error))?;
        Ok(bytes)
    }

    async fn read_bytes(
        &self,
        segment: &Segment<I>,
        pos: u64,
        bytes: u64,
    ) -> Result<Vec<u8>, ReadError> {
        {
            let tail = segment.tail.borrow();
            if pos >= tail.mem_start() {
                let mut out = vec![0; bytes as usize];
                locate::copy(&tail, pos, &mut out);
                return Ok(out);
            }
        }
        let mem_start = segment.tail.borrow().mem_start();
        let in_file = bytes.min(mem_start - pos);
        let source = self.source(segment).await?;
        let read = self
            .core
            .io
            .read_source(&source, pos, in_file as usize)
            .await;
        let mut out = read.map_err(|error| ReadError::Io(format!("{}: {error}", segment.key)))?;
        let tail = segment.tail.borrow();
        if in_file < bytes && pos + in_file >= tail.mem_start() {
            let from = out.len();
            out.resize(bytes as usize, 0);
            locate::copy(&tail, pos + in_file, &mut out[from..]);
        }
        Ok(out)
    }
}

/// Where a read goes on behind what one segment gave.
struct Next {
    offset: Offset,
    /// It does not: the read ends here, whatever its limits.
    is_end: bool,
}

fn add_pieces<I: Io>(
    segment: &Segment<I>,
    start: Boundary,
    end: Boundary,
    source: Option<I::Source>,
    body: &mut Body<Chunk<I>, I::Source>,
) {
    let tail = segment.tail.borrow();
    let mut pos = start.pos;
    if pos < tail.mem_start() {
        let until = end.pos.min(tail.mem_start());
        body.push_file(
            source.expect("opened when memory does not hold it"),
            pos,
            until - pos,
        );
        pos = until;
    }
    if pos < end.pos {
        tail.pieces(pos, end.pos, |piece| match piece {
            Piece::Sealed(buffer, from, until) => {
                body.push_memory(Chunk(Rc::clone(buffer)), from, until);
            }
            Piece::Open(bytes) => body.push_copy(bytes),
        });
    }
}

fn damaged<I: Io>(segment: &Segment<I>, pos: u64, error: &BatchError) -> ReadError {
    ReadError::Damaged(format!(
        "{} segment {} at {pos}: {error}",
        segment.key, segment.base
    ))
}
