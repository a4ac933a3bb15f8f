//! Where an offset lies: from the boundaries near the tail, the sparse index, and, in memory, a walk over headers.

use crate::base::Offset;
use crate::base::batch::{HEADER_BYTES, Header, LENGTH_PREFIX_BYTES};
use crate::io::Io;
use crate::log::partition::Partition;
use crate::log::segment::Segment;
use crate::log::tail::{Piece, Tail};
use std::rc::Rc;
use zerocopy::FromBytes;

/// A position of a segment where a batch begins or the last one ends, and the offset that belongs to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Boundary {
    /// Base offset of the segment.
    pub(crate) segment: Offset,
    pub(crate) offset: Offset,
    pub(crate) pos: u64,
}

/// The segment that holds `offset`, or the last one for the offset after all.
pub(crate) fn segment_of<I: Io>(
    partition: &Partition<I>,
    offset: Offset,
) -> Option<Rc<Segment<I>>> {
    let segments = partition.segments.borrow();
    let after = segments.partition_point(|segment| segment.base <= offset);
    after
        .checked_sub(1)
        .map(|index| Rc::clone(&segments[index]))
}

/// The segment after the one with base `base`.
pub(crate) fn segment_after<I: Io>(
    partition: &Partition<I>,
    base: Offset,
) -> Option<Rc<Segment<I>>> {
    let segments = partition.segments.borrow();
    segments
        .get(segments.partition_point(|segment| segment.base <= base))
        .map(Rc::clone)
}

/// The last known boundary of `segment` at or before `offset`: exact for what is in memory.
pub(crate) fn floor<I: Io>(
    partition: &Partition<I>,
    segment: &Segment<I>,
    offset: Offset,
) -> Boundary {
    let end = segment.end.get();
    if offset >= end.next_offset {
        return Boundary {
            segment: segment.base,
            offset: end.next_offset,
            pos: end.pos,
        };
    }
    let known = known_at_or_before(partition, segment, offset);
    walk(segment, known, |next| next.offset <= offset)
}

/// The last boundary of `segment` that is at or before position `pos` and at or before `until`, but in any case one
/// behind `from`: what a read of whole batches that starts at `start` and should not go past `pos` ends with.
pub(crate) fn end_of_read<I: Io>(
    partition: &Partition<I>,
    segment: &Segment<I>,
    start: Boundary,
    from: Offset,
    pos: u64,
    until: Boundary,
) -> Boundary {
    if until.pos <= pos {
        return until;
    }
    let known = known_at_or_before_pos(partition, segment, pos);
    let best = if known.offset > start.offset {
        known
    } else {
        start
    };
    let walked = walk(segment, best, |next| next.pos <= pos || next.offset <= from);
    let walked = if walked.offset > from {
        walked
    } else {
        // The batch that holds `from` ends behind `pos`: in memory one step more, in the file the next known one.
        let step = step(segment, walked);
        step.or_else(|| known_after(partition, segment, from))
            .unwrap_or(until)
    };
    if walked.pos < until.pos {
        walked
    } else {
        until
    }
}

/// Walks from boundary to boundary while the next one satisfies `go`, as far as the headers are in memory.
fn walk<I: Io>(segment: &Segment<I>, mut at: Boundary, go: impl Fn(&Boundary) -> bool) -> Boundary {
    while let Some(next) = step(segment, at) {
        if !go(&next) {
            break;
        }
        at = next;
    }
    at
}

/// The boundary after the batch at `at`, if its header is in memory.
fn step<I: Io>(segment: &Segment<I>, at: Boundary) -> Option<Boundary> {
    let tail = segment.tail.borrow();
    if at.pos < tail.mem_start() || at.pos + HEADER_BYTES as u64 > segment.end.get().pos {
        return None;
    }
    let mut bytes = [0; HEADER_BYTES];
    copy(&tail, at.pos, &mut bytes);
    let header = Header::ref_from_bytes(&bytes).expect("its size is the header's");
    let length = header.batch_length.get() as u64 + LENGTH_PREFIX_BYTES as u64;
    assert!(
        header.base_offset.get() as u64 == at.offset.0,
        "a boundary is where a batch begins"
    );
    Some(Boundary {
        segment: at.segment,
        offset: at.offset.plus(header.last_offset_delta.get() as u64 + 1),
        pos: at.pos + length,
    })
}

/// Copies bytes of the tail out of memory.
pub(crate) fn copy<I: Io>(tail: &Tail<I>, pos: u64, out: &mut [u8]) {
    let mut done = 0;
    tail.pieces(pos, pos + out.len() as u64, |piece| {
        let bytes = match piece {
            Piece::Sealed(buffer, from, until) => &(**buffer).as_ref()[from..until],
            Piece::Open(bytes) => bytes,
        };
        out[done..done + bytes.len()].copy_from_slice(bytes);
        done += bytes.len();
    });
    assert!(done == out.len());
}

fn known_at_or_before<I: Io>(
    partition: &Partition<I>,
    segment: &Segment<I>,
    offset: Offset,
) -> Boundary {
    let indexed = segment
        .index
        .borrow()
        .at_or_before(offset)
        .map(|entry| (entry.offset, entry.pos));
    let recent = partition.recent.borrow();
    let after = recent.partition_point(|b| (b.segment, b.offset) <= (segment.base, offset));
    best(
        segment,
        indexed,
        after.checked_sub(1).map(|index| recent[index]),
    )
}

/// The last known boundary at or before position `pos`, the segment's beginning at least.
pub(crate) fn known_at_or_before_pos<I: Io>(
    partition: &Partition<I>,
    segment: &Segment<I>,
    pos: u64,
) -> Boundary {
    let indexed = segment
        .index
        .borrow()
        .at_or_before_pos(pos)
        .map(|entry| (entry.offset, entry.pos));
    let recent = partition.recent.borrow();
    let after = recent.partition_point(|b| (b.segment, b.pos) <= (segment.base, pos));
    best(
        segment,
        indexed,
        after.checked_sub(1).map(|index| recent[index]),
    )
}

fn best<I: Io>(
    segment: &Segment<I>,
    indexed: Option<(Offset, u64)>,
    recent: Option<Boundary>,
) -> Boundary {
    let (offset, pos) = indexed.unwrap_or((segment.base, 0));
    let indexed = Boundary {
        segment: segment.base,
        offset,
        pos,
    };
    match recent.filter(|recent| recent.segment == segment.base && recent.pos > pos) {
        Some(recent) => recent,
        None => indexed,
    }
}

/// The first known boundary behind `offset`.
pub(crate) fn known_after<I: Io>(
    partition: &Partition<I>,
    segment: &Segment<I>,
    offset: Offset,
) -> Option<Boundary> {
    let indexed = segment.index.borrow().after(offset).map(|entry| Boundary {
        segment: segment.base,
        offset: entry.offset,
        pos: entry.pos,
    });
    let recent = partition.recent.borrow();
    let after = recent.partition_point(|b| (b.segment, b.offset) <= (segment.base, offset));
    let recent = recent
        .get(after)
        .filter(|b| b.segment == segment.base)
        .copied();
    match (indexed, recent) {
        (Some(a), Some(b)) => Some(if a.pos <= b.pos { a } else { b }),
        (a, b) => a.or(b),
    }
}
