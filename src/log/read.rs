//! Reading back: pieces of memory for the hot tail, spans of the file for the rest, never a look at the file itself
//! except to find a timestamp.

use crate::base::{Body, Offset, Part, RecordBatch, TimestampMs, record};
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
        let is_trimmed = || from < self.frontiers().start;
        if is_trimmed() {
            return Err(ReadError::OutOfRange);
        }
        let read = self.read_held(from, until, bytes_max, body).await;
        // A segment may have gone before its file was opened.
        read.map_err(|error| match is_trimmed() {
            true => ReadError::OutOfRange,
            false => error,
        })
    }

    /// The same, below the log's start too as far as segments are there: for who looks back at what was.
    pub async fn read_held(
        &self,
        from: Offset,
        until: Offset,
        bytes_max: u64,
        body: &mut Body<Chunk<I>, I::Source>,
    ) -> Result<(), ReadError> {
        if from > until || until > self.frontiers().appended {
            return Err(ReadError::OutOfRange);
        }
        let (mut from, mut left) = (from, bytes_max);
        while from < until && left > 0 {
            let Some(segment) = locate::segment_of(&self.partition, from) else {
                return Err(ReadError::OutOfRange);
            };
            let before = body.bytes;
            let next = self.read_segment(&segment, from, until, left, body).await?;
            if next.is_end || next.offset <= from {
                break;
            }
            from = next.offset;
            left = left.saturating_sub(body.bytes - before);
        }
        Ok(())
    }

    /// Reads from one segment.
    async fn read_segment(
        &self,
        segment: &Rc<Segment<I>>,
        from: Offset,
        until: Offset,
        bytes_max: u64,
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
        let limit = start.pos.saturating_add(bytes_max);
        let end = locate::end_of_read(partition, segment, start, from, limit, until);
        if end.pos <= start.pos {
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

    /// The first record that can be read below `until` whose timestamp is at least `timestamp`: its offset and timestamp. In a
    /// compressed batch, the batch's first offset.
    pub async fn find_time(
        &self,
        timestamp: TimestampMs,
        until: Offset,
    ) -> Result<Option<(Offset, TimestampMs)>, ReadError> {
        let start = self.frontiers().start;
        let segments: Vec<_> = {
            let segments = self.partition.segments.borrow();
            segments.iter().map(Rc::clone).collect()
        };
        for segment in segments {
            let end = segment.end.get();
            let is_trimmed = end.next_offset <= start;
            if is_trimmed || segment.base >= until || end.max_timestamp < timestamp.0 {
                continue;
            }
            let from = segment.index.borrow().at_time(timestamp.0);
            let mut pos = from.map_or(0, |entry| entry.pos);
            let end = locate::floor(&self.partition, &segment, until).pos;
            while pos < end {
                let bytes = self.read_batch(&segment, pos, end).await?;
                let batch = parse_stored(&segment, pos, &bytes)?;
                if let Some(found) = first_at(&batch, timestamp, start) {
                    return Ok((found.0 < until).then_some(found));
                }
                pos += bytes.len() as u64;
            }
        }
        Ok(None)
    }

    /// The bytes of the batch at `pos`.
    async fn read_batch(
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
                Ok(bytes)
            }
            Err(crate::base::BatchError::Truncated { needed, .. })
                if needed as u64 <= end - pos && needed > bytes.len() =>
            {
                self.read_bytes(segment, pos, needed as u64).await
            }
            Err(error) => Err(damaged(segment, pos, &error)),
        }
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

fn parse_stored<'a, I: Io>(
    segment: &Segment<I>,
    pos: u64,
    bytes: &'a [u8],
) -> Result<RecordBatch<'a>, ReadError> {
    let batch = RecordBatch::parse(bytes).and_then(|batch| batch.check_crc().map(|()| batch));
    batch.map_err(|error| damaged(segment, pos, &error))
}

fn damaged<I: Io>(segment: &Segment<I>, pos: u64, error: &crate::base::BatchError) -> ReadError {
    ReadError::Damaged(format!(
        "{} segment {} at {pos}: {error}",
        segment.key, segment.base
    ))
}

/// The first record of a batch that is at least so young, at `start` or behind it. In a compressed batch its first offset;
/// its first timestamp if that is young enough.
fn first_at(
    batch: &RecordBatch<'_>,
    timestamp: TimestampMs,
    start: Offset,
) -> Option<(Offset, TimestampMs)> {
    if batch.max_timestamp() < timestamp || batch.next_offset() <= start {
        return None;
    }
    if batch.is_compressed() {
        let first = batch.append_time().unwrap_or(batch.base_timestamp());
        let time = match first >= timestamp {
            true => first,
            false => batch.max_timestamp(),
        };
        return Some((batch.base_offset().max(start), time));
    }
    let offset = |delta: i64| batch.base_offset().plus(delta as u64);
    let found = record::records(batch)
        .flatten()
        .find(|record| record.timestamp >= timestamp && offset(record.offset_delta) >= start)?;
    Some((offset(found.offset_delta), found.timestamp))
}
