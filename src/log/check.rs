//! What the disk gives back is checked before anybody is served from it.
//!
//! ```text
//!  read start..end ──slice by slice, about a MiB, from boundary to boundary──> checked before, and still in the page cache: go on
//!                                                                      └─────> scan it on its way into the cache, off the core
//!  a bad batch: what stands before its stretch of the index is served; a read that begins in that is refused
//! ```
//! While one slice is scanned the next one is too: who reads what is cold asks for that next.
//!
//! Decided:
//! - A span is trusted as long as it stays in the page cache, where sendfile takes it from; what has left the cache comes
//!   from the disk again, and is checked again. Between this look and the send a page may leave the cache and come back
//!   changed: that window is left open, and readers check the batches' checksums too.
//! - Of a stretch between two known boundaries all is served or nothing: another partition's blocks may begin with good
//!   batches of the right offsets, and only where they end shows that they do not belong here (nothing in a Kafka batch says
//!   whose it is). What fits a stretch exactly would pass.

use crate::base::planted::{Bug, planted};
use crate::base::{BatchStream, Offset};
use crate::io::Io;
use crate::log::core::Core;
use crate::log::error::ReadError;
use crate::log::locate::{self, Boundary};
use crate::log::partition::Partition;
use crate::log::segment::Segment;
use crate::log::tail::Piece;
use std::rc::Rc;

/// What is scanned at a time.
const SLICE_BYTES: u64 = 1 << 20;
/// A read that had to wait for so much from the disk ends there: better served in parts than late.
const SCANNED_BYTES_MAX: u64 = 2 << 20;

/// A segment that is to be read, and where from.
pub(crate) struct Check<'a, I: Io> {
    pub(crate) core: &'a Rc<Core<I>>,
    pub(crate) partition: &'a Rc<Partition<I>>,
    pub(crate) segment: &'a Rc<Segment<I>>,
    pub(crate) source: &'a I::Source,
}

impl<I: Io> Check<'_, I> {
    /// How far `start..end` is good and at hand: at least the batch that holds `from`. Both are batch boundaries.
    pub(crate) async fn good_end(
        &self,
        start: Boundary,
        end: Boundary,
        from: Offset,
    ) -> Result<Boundary, ReadError> {
        let (mut at, mut scanned, mut narrow) = (start, 0, false);
        while at.pos < end.pos && at.pos < self.mem_start() {
            if scanned >= SCANNED_BYTES_MAX && at.offset > from {
                return Ok(at);
            }
            let slice = match narrow {
                true => self.next_boundary(at, end),
                false => self.checked_part(at, self.slice_end(at, end)),
            };
            if self.is_good(at, slice) {
                at = slice;
                continue;
            }
            let scans = &self.segment.scans;
            if let Some(wait) = scans.wait_for(at.pos) {
                wait.await;
                continue;
            }
            self.scan_ahead(slice);
            let damage = scan(self.core, self.segment, self.source, at, slice).await?;
            if let Some(reason) = damage {
                if self.next_boundary(at, end) != slice {
                    narrow = true;
                    continue;
                }
                self.core.meter.count(|stats| stats.damaged_reads += 1);
                return match at.offset > from {
                    true => Ok(at),
                    false => Err(ReadError::Damaged(reason)),
                };
            }
            scanned += slice.pos - at.pos;
            at = slice;
        }
        Ok(end)
    }

    fn mem_start(&self) -> u64 {
        self.segment.tail.borrow().mem_start()
    }

    /// The last known boundary about a slice behind `at`, at most `end`.
    fn slice_end(&self, at: Boundary, end: Boundary) -> Boundary {
        let (partition, segment) = (self.partition, self.segment);
        let known = locate::known_at_or_before_pos(partition, segment, at.pos + SLICE_BYTES);
        match known.pos {
            pos if pos >= end.pos => end,
            pos if pos > at.pos => known,
            _ => self.next_boundary(at, end),
        }
    }

    /// The part of `at..slice` that was checked, if one was: what ends in the middle of a slice was scanned on behalf of
    /// another read, and is not scanned again for the rest.
    fn checked_part(&self, at: Boundary, slice: Boundary) -> Boundary {
        let until = self.segment.scans.checked_until(at.pos);
        if until <= at.pos || until >= slice.pos {
            return slice;
        }
        let known = locate::known_at_or_before_pos(self.partition, self.segment, until);
        match known.pos > at.pos && self.is_good(at, known) {
            true => known,
            false => slice,
        }
    }

    /// The first known boundary behind `at`, at most `end`.
    fn next_boundary(&self, at: Boundary, end: Boundary) -> Boundary {
        let next = locate::known_after(self.partition, self.segment, at.offset);
        next.filter(|next| next.pos > at.pos && next.pos < end.pos)
            .unwrap_or(end)
    }

    /// Whether what the file holds of `at..slice` was checked since it was read from the disk.
    fn is_good(&self, at: Boundary, slice: Boundary) -> bool {
        let until = slice.pos.min(self.mem_start());
        planted(Bug::ServeUnchecked)
            || self.segment.scans.is_checked(at.pos, until)
                && self.core.io.is_warm(self.source, at.pos, until - at.pos)
    }

    /// Has the slice after `at` scanned by a task of its own, as far as it lies in the file.
    fn scan_ahead(&self, at: Boundary) {
        let (partition, segment) = (self.partition, self.segment);
        let end = locate::known_at_or_before_pos(partition, segment, self.mem_start());
        if end.pos <= at.pos || segment.scans.wait_for(at.pos).is_some() {
            return;
        }
        let slice = self.slice_end(at, end);
        if self.checked_part(at, slice) != slice || self.is_good(at, slice) {
            return;
        }
        let (core, segment) = (Rc::clone(self.core), Rc::clone(segment));
        let source = self.source.clone();
        self.core.io.spawn(async move {
            // Damage and errors show again to whoever reads that far.
            let _ = scan(&core, &segment, &source, at, slice).await;
        });
    }
}

/// Checks the batches from `at` to `until`: of the file what is in no memory, the rest of the last batch from there. Says
/// what is wrong.
async fn scan<I: Io>(
    core: &Rc<Core<I>>,
    segment: &Rc<Segment<I>>,
    source: &I::Source,
    at: Boundary,
    until: Boundary,
) -> Result<Option<String>, ReadError> {
    let _under_way = segment.scans.begin(at.pos, until.pos);
    let mut stream = BatchStream::new(at.pos, at.offset);
    let (mut pos, mut from_file) = (at.pos, at.pos);
    while pos < until.pos && stream.damage().is_none() {
        let mem_start = segment.tail.borrow().mem_start();
        if pos < mem_start {
            let bytes = until.pos.min(mem_start) - pos;
            let fed = (stream, 0);
            let scan = core.io.scan_source(source, pos, bytes, fed, feed).await;
            let fed =
                scan.map_err(|error| ReadError::Io(name(segment, pos, &error.to_string())))?;
            stream = fed.0;
            pos += bytes;
            from_file = pos;
            if fed.1 < bytes {
                break; // the file ends early, or there is damage
            }
        } else {
            segment
                .tail
                .borrow()
                .pieces(pos, until.pos, |piece| match piece {
                    Piece::Sealed(buffer, from, until) => {
                        stream.feed(&(**buffer).as_ref()[from..until]);
                    }
                    Piece::Open(bytes) => {
                        stream.feed(bytes);
                    }
                });
            pos = until.pos;
        }
    }
    Ok(judge(segment, at, until, &stream, from_file))
}

fn feed(fed: &mut (BatchStream, u64), piece: &[u8]) -> bool {
    fed.1 += piece.len() as u64;
    fed.0.feed(piece)
}

/// What is wrong between `at` and `until`, if anything is.
fn judge<I: Io>(
    segment: &Segment<I>,
    at: Boundary,
    until: Boundary,
    stream: &BatchStream,
    from_file: u64,
) -> Option<String> {
    let (pos, offset) = stream.at();
    let what = match stream.damage() {
        Some(damage) => damage.to_string(),
        None if (pos, offset) == (until.pos, until.offset) => {
            segment.scans.note_checked(at.pos, from_file);
            return None;
        }
        None => format!("the batches do not end at byte {}", until.pos),
    };
    Some(name(segment, pos, &format!("offset {offset}: {what}")))
}

fn name<I: Io>(segment: &Segment<I>, pos: u64, what: &str) -> String {
    format!(
        "{} segment {} at byte {pos}: {what}",
        segment.key, segment.base
    )
}
