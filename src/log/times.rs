//! Finding a record by its time.
//!
//! ```text
//!   segment as young? ─ index: the last boundary with only older records before it ─ batch after batch: is its header as
//!   young? ─ its records: the first that is
//! ```
//! The records of a compressed batch are unpacked for that, off the core. Who calls sees to it that not too many do at a time:
//! a search holds a batch, and what it unpacks to.
//!
//! Decided: what cannot be unpacked, for a producer may store what it likes there, is told by its header: the batch's first
//! offset, so that the record looked for is not passed by.

use crate::base::unpack::unpack;
use crate::base::{Offset, RecordBatch, TimestampMs, record};
use crate::io::Io;
use crate::log::error::ReadError;
use crate::log::index::End;
use crate::log::locate;
use crate::log::partition::PartitionLog;
use crate::log::segment::Segment;
use std::cmp::Reverse;
use std::rc::Rc;

/// A record and its time.
type Found = (Offset, TimestampMs);

impl<I: Io> PartitionLog<I> {
    /// The first record that can be read below `until` whose timestamp is at least `timestamp`: its offset and timestamp.
    pub async fn find_time(
        &self,
        timestamp: TimestampMs,
        until: Offset,
    ) -> Result<Option<Found>, ReadError> {
        for segment in self.readable_segments(until) {
            if segment.end.get().max_timestamp < timestamp.0 {
                continue;
            }
            let search = self.search(&segment, until);
            let found = search.first(timestamp).await?;
            if let Some(found) = found {
                return Ok((found.0 < until).then_some(found));
            }
        }
        Ok(None)
    }

    /// The youngest record that can be read below `until`, and of several the first: its offset and timestamp.
    pub async fn find_youngest(&self, until: Offset) -> Result<Option<Found>, ReadError> {
        let mut segments = self.readable_segments(until);
        segments.sort_by_key(|segment| Reverse(segment.end.get().max_timestamp));
        let mut best: Option<Found> = None;
        for segment in segments {
            if best.is_some_and(|(_, time)| time.0 > segment.end.get().max_timestamp) {
                break;
            }
            let found = self.search(&segment, until).youngest().await?;
            let order = |(offset, time): &Found| (*time, Reverse(*offset));
            best = best.into_iter().chain(found).max_by_key(order);
        }
        Ok(best.filter(|(offset, _)| *offset < until))
    }

    /// The segments that hold something between the log's start and `until`, oldest first.
    fn readable_segments(&self, until: Offset) -> Vec<Rc<Segment<I>>> {
        let start = self.frontiers().start;
        let is_readable = |segment: &&Rc<Segment<I>>| {
            segment.end.get().next_offset > start && segment.base < until
        };
        let segments = self.partition.segments.borrow();
        segments.iter().filter(is_readable).map(Rc::clone).collect()
    }

    fn search<'a>(&'a self, segment: &'a Rc<Segment<I>>, until: Offset) -> Search<'a, I> {
        Search {
            log: self,
            segment,
            start: self.frontiers().start,
            until,
            end: segment.end.get(),
        }
    }
}

/// A search in one segment: of what can be read of it.
struct Search<'a, I: Io> {
    log: &'a PartitionLog<I>,
    segment: &'a Rc<Segment<I>>,
    /// The first offset that can be read.
    start: Offset,
    /// The offset behind the last one that can be.
    until: Offset,
    /// Where the segment ended when the search began.
    end: End,
}

/// Which record of a batch is wanted.
#[derive(Clone, Copy)]
enum Wanted {
    /// The first that is at least so young.
    From(TimestampMs),
    /// The youngest.
    Youngest,
}

impl<I: Io> Search<'_, I> {
    /// The first record that is at least so young.
    async fn first(&self, time: TimestampMs) -> Result<Option<Found>, ReadError> {
        let entry = self.segment.index.borrow().at_time(time.0);
        self.first_from(entry.map_or(0, |entry| entry.pos), time)
            .await
    }

    /// The same from a batch's position on.
    async fn first_from(
        &self,
        mut pos: u64,
        time: TimestampMs,
    ) -> Result<Option<Found>, ReadError> {
        while let Some(bytes) = self.batch(pos).await? {
            let batch = RecordBatch::parse(&bytes).expect("checked when it was read");
            pos += bytes.len() as u64;
            if batch.max_timestamp() < time || batch.next_offset() <= self.start {
                continue;
            }
            if let Some(found) = self.look_into(bytes, Wanted::From(time)).await? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// The batch at a position, if there is one that can be read.
    async fn batch(&self, pos: u64) -> Result<Option<Vec<u8>>, ReadError> {
        if pos >= self.end.pos {
            return Ok(None);
        }
        let bytes = self.log.read_batch(self.segment, pos, self.end.pos).await?;
        let batch = RecordBatch::parse(&bytes).expect("checked when it was read");
        let is_readable = batch.base_offset() < self.until;
        Ok(is_readable.then_some(bytes))
    }

    /// The youngest record.
    async fn youngest(&self) -> Result<Option<Found>, ReadError> {
        let found = match self.youngest_time().await? {
            Some(time) => self.first(time).await?,
            None => None,
        };
        match found {
            Some(found) => Ok(Some(found)),
            // Where it is not known, or a header told what its records do not hold.
            None => self.walk().await,
        }
    }

    /// The time of the youngest record; none if that takes a walk over all.
    async fn youngest_time(&self) -> Result<Option<TimestampMs>, ReadError> {
        let is_whole_ahead = self.segment.base >= self.start;
        if is_whole_ahead && self.end.next_offset <= self.until {
            return Ok(Some(TimestampMs(self.end.max_timestamp)));
        }
        let (last, cut) = {
            let index = self.segment.index.borrow();
            (index.at_or_before(self.until), index.after(self.start))
        };
        let Some(last) = last else {
            return Ok(None);
        };
        // Of what lies before the first boundary behind the start, some cannot be read any more.
        let cut = match cut {
            _ if is_whole_ahead => i64::MIN,
            Some(cut) if cut.pos <= last.pos => cut.max_before,
            _ => return Ok(None),
        };
        let behind = self.youngest_batch(last.pos).await?;
        let time = behind.map_or(i64::MIN, |(_, time)| time.0);
        let time = time.max(last.max_before);
        Ok((time > cut).then_some(TimestampMs(time)))
    }

    /// The youngest record, by a walk over all batches.
    async fn walk(&self) -> Result<Option<Found>, ReadError> {
        let first = locate::floor(&self.log.partition, self.segment, self.start);
        let mut pos = first.pos;
        // Of a batch that begins before the start, only some records count.
        let mut across = None;
        while let Some(bytes) = self.batch(pos).await? {
            let batch = RecordBatch::parse(&bytes).expect("checked when it was read");
            if batch.base_offset() >= self.start {
                break;
            }
            pos += bytes.len() as u64;
            if batch.next_offset() > self.start {
                across = self.look_into(bytes, Wanted::Youngest).await?;
            }
        }
        let behind = match self.youngest_batch(pos).await? {
            Some((at, time)) if across.is_none_or(|(_, found)| found < time) => {
                self.first_from(at, time).await?
            }
            _ => None,
        };
        Ok(behind.or(across))
    }

    /// Position and time of the youngest batch from a batch's position on, as the headers have it.
    async fn youngest_batch(&self, mut pos: u64) -> Result<Option<(u64, TimestampMs)>, ReadError> {
        let mut best: Option<(u64, TimestampMs)> = None;
        while let Some(bytes) = self.batch(pos).await? {
            let batch = RecordBatch::parse(&bytes).expect("checked when it was read");
            let time = batch.max_timestamp();
            if best.is_none_or(|(_, youngest)| time > youngest) {
                best = Some((pos, time));
            }
            pos += bytes.len() as u64;
        }
        Ok(best)
    }

    /// The record wanted of a batch, at the start or behind it.
    async fn look_into(&self, bytes: Vec<u8>, wanted: Wanted) -> Result<Option<Found>, ReadError> {
        let batch = RecordBatch::parse(&bytes).expect("checked when it was read");
        if !batch.is_compressed() {
            return Ok(pick(&batch, wanted, self.start));
        }
        if let Some(time) = batch.append_time() {
            return Ok(Some((batch.base_offset().max(self.start), time)));
        }
        let state = (bytes, wanted, self.start);
        let picked = self.log.core.io.aside(state, pick_unpacked).await;
        picked.map_err(|error| ReadError::Io(format!("{}: {error}", self.segment.key)))
    }
}

/// The record wanted of a batch that is not compressed.
fn pick(batch: &RecordBatch<'_>, wanted: Wanted, start: Offset) -> Option<Found> {
    let found = |record: record::Record<'_>| {
        let offset = batch.base_offset().plus(record.offset_delta as u64);
        (offset, record.timestamp)
    };
    let mut found = record::records(batch)
        .flatten()
        .map(found)
        .filter(|(offset, _)| *offset >= start);
    match wanted {
        Wanted::From(time) => found.find(|(_, one)| *one >= time),
        Wanted::Youngest => found.reduce(|best, one| if one.1 > best.1 { one } else { best }),
    }
}

/// The same of one that is.
fn pick_unpacked((bytes, wanted, start): (Vec<u8>, Wanted, Offset)) -> Option<Found> {
    let batch = RecordBatch::parse(&bytes).expect("checked when it was read");
    let mut unpacked = Vec::new();
    let plain = match unpack(&batch, &mut unpacked) {
        Ok(()) => RecordBatch::parse(&unpacked).ok(),
        Err(_) => None,
    };
    match plain {
        Some(plain) => pick(&plain, wanted, start),
        None => Some((batch.base_offset().max(start), batch.max_timestamp())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::batch::HEADER_BYTES;
    use crate::base::record::BatchBuilder;

    /// A batch of records of those times, compressed by zstd if asked, from offset 10 on.
    fn batch(times: &[i64], is_packed: bool) -> Vec<u8> {
        let mut builder = BatchBuilder::new();
        for time in times {
            builder.push(TimestampMs(*time), None, Some(b"value"), &[]);
        }
        let mut bytes = builder.finish().to_vec();
        bytes[..8].copy_from_slice(&10i64.to_be_bytes());
        if is_packed {
            let packed = zstd::encode_all(&bytes[HEADER_BYTES..], 3).expect("memory");
            bytes.truncate(HEADER_BYTES);
            bytes.extend(packed);
            let length = (bytes.len() - 12) as i32;
            bytes[8..12].copy_from_slice(&length.to_be_bytes());
            bytes[22] = 4;
        }
        bytes
    }

    #[test]
    fn the_record_itself_is_found_also_in_a_compressed_batch() {
        let times = [5, 9, 7, 9, 3];
        for is_packed in [false, true] {
            let found = |wanted, start| {
                let bytes = batch(&times, is_packed);
                let found = match is_packed {
                    true => pick_unpacked((bytes, wanted, Offset(start))),
                    false => pick(
                        &RecordBatch::parse(&bytes).expect("good"),
                        wanted,
                        Offset(start),
                    ),
                };
                found.map(|(offset, time)| (offset.0, time.0))
            };
            let from = |time| Wanted::From(TimestampMs(time));
            assert_eq!(found(from(0), 0), Some((10, 5)));
            assert_eq!(found(from(6), 0), Some((11, 9)));
            assert_eq!(found(from(6), 12), Some((12, 7)));
            assert_eq!(found(from(9), 12), Some((13, 9)));
            assert_eq!(found(from(10), 0), None);
            assert_eq!(found(Wanted::Youngest, 0), Some((11, 9)));
            assert_eq!(found(Wanted::Youngest, 12), Some((13, 9)));
            assert_eq!(found(Wanted::Youngest, 15), None);
        }
    }

    #[test]
    fn what_cannot_be_unpacked_is_told_by_its_header() {
        let mut bytes = batch(&[5, 9], true);
        bytes[HEADER_BYTES..].fill(0xff);
        let found = pick_unpacked((bytes, Wanted::From(TimestampMs(6)), Offset(11)));
        assert_eq!(found, Some((Offset(11), TimestampMs(9))));
    }
}
