//! Deciding on the steps of a repair.

use crate::base::limits::BLOCK_BYTES;
use crate::base::{Offset, PartitionKey};
use crate::io::Io;
use crate::log::repair::left::{Left, LeftSegment};
use crate::log::repair::{Goal, Loss, Plan, RepairError};
use crate::log::verify::segment::{Bytes, Gap, Known, walk};
use crate::log::{paths, recover};
use std::path::Path;

/// What becomes of one segment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// It stays as it is.
    Keep(Offset),
    /// It is written anew: what is sound below the position, and markers in its gaps.
    Rewrite {
        base: Offset,
        until_pos: u64,
        gaps: Vec<Gap>,
    },
    /// One is made that holds markers alone.
    Make { base: Offset, until: Offset },
    /// It goes.
    Remove(Offset),
}

/// Whether a start would refuse the partition.
pub(super) async fn is_refused<I: Io>(
    io: &I,
    data: &Path,
    key: PartitionKey,
) -> Result<bool, RepairError> {
    let recovered = recover(io, data).await?;
    let found = recovered.partitions.iter().find(|found| found.key == key);
    let is_there = io.list_dir(&paths::partition(data, key)).await.is_ok();
    match found {
        Some(found) if is_there => Ok(found.damage().is_some()),
        _ => Err(RepairError::NoPartition(key)),
    }
}

/// Decides.
pub(super) async fn make<I: Io>(
    io: &I,
    data: &Path,
    key: PartitionKey,
    goal: Goal,
    left: &Left,
    is_refused: bool,
) -> Result<Plan, RepairError> {
    if left.is_deleted {
        return Err(RepairError::Deleted(key));
    }
    let losses = losses(left);
    if losses.is_empty() && !is_refused {
        return Err(RepairError::Sound(key));
    }
    let cut_at = match goal {
        Goal::CutAt(asked) => Some(asked),
        Goal::CutAtDamage => losses.first().map(|loss| loss.from),
        Goal::AcceptLoss => None,
    };
    let mut plan = Plan {
        key,
        losses,
        log_start: left.log_start,
        next_offset: Offset(0),
        files: Vec::new(),
        bytes: 0,
        steps: Vec::new(),
    };
    match cut_at {
        Some(at) => cut(io, data, left, at, &mut plan).await?,
        None => accept(left, &mut plan)?,
    }
    for step in &plan.steps {
        if let Step::Rewrite { base, .. } | Step::Remove(base) = step {
            let dir = paths::partition(data, key);
            plan.files.push(paths::segment(&dir, *base));
            let of = left.segments.iter().find(|segment| segment.base == *base);
            plan.bytes += of.map_or(0, |segment| segment.file_bytes);
        }
    }
    Ok(plan)
}

/// What is missing, in order: between segments, inside of them, at the end.
fn losses(left: &Left) -> Vec<Loss> {
    let (mut losses, mut end) = (Vec::new(), (left.log_start, Offset(0), 0));
    for segment in &left.segments {
        let (offset, before, position) = end;
        if segment.base > offset && losses.is_empty() && before == Offset(0) && position == 0 {
            losses.push(Loss {
                segment: segment.base,
                position: 0,
                from: offset,
                until: segment.base,
                bytes: 0,
                why: "no file holds these offsets".into(),
            });
        }
        for gap in &segment.walked.gaps {
            losses.push(Loss {
                segment: segment.base,
                position: gap.from_pos,
                from: gap.from,
                until: gap.until.expect("only these were kept"),
                bytes: gap.until_pos - gap.from_pos,
                why: gap.reason.clone(),
            });
        }
        let walked = &segment.walked.end;
        end = (walked.next_offset, segment.base, walked.pos);
    }
    let (offset, segment, position) = end;
    if let Some(promised) = left.promised.filter(|promised| *promised > offset) {
        losses.push(Loss {
            segment,
            position,
            from: offset,
            until: promised,
            bytes: 0,
            why: "the journal promises these offsets and nothing holds them".into(),
        });
    }
    losses
}

/// Keeps all that is sound.
fn accept(left: &Left, plan: &mut Plan) -> Result<(), RepairError> {
    // The first segment may begin below the start: a trim leaves whole segments.
    let first = left.segments.first().map(|segment| segment.base);
    let mut end = first.map_or(left.log_start, |base| base.min(left.log_start));
    for (number, segment) in left.segments.iter().enumerate() {
        let base = segment.base;
        if base < end {
            return Err(RepairError::Overlap { base, end });
        }
        if number == 0 && base > end {
            let (base, until) = (end, base);
            plan.steps.push(Step::Make { base, until });
        }
        let is_last = number + 1 == left.segments.len();
        let walked = &segment.walked;
        end = match walked.gaps.last() {
            Some(gap) => walked.end.next_offset.max(gap.until.unwrap_or(gap.from)),
            None => walked.end.next_offset,
        };
        let is_whole = walked.gaps.is_empty() && (!is_last || stands_alone(segment));
        plan.steps.push(if is_last && end == base {
            Step::Remove(base)
        } else if is_whole {
            Step::Keep(base)
        } else {
            Step::Rewrite {
                base,
                until_pos: walked.end.pos,
                gaps: walked.gaps.clone(),
            }
        });
    }
    plan.next_offset = end;
    Ok(())
}

/// Whether the file of the last segment is all there is to it, and can be sealed as it is.
fn stands_alone(segment: &LeftSegment) -> bool {
    let padded = segment.walked.end.pos.next_multiple_of(BLOCK_BYTES as u64);
    segment.over.is_empty() && segment.file_bytes == padded
}

/// Keeps what is below `at`.
async fn cut<I: Io>(
    io: &I,
    data: &Path,
    left: &Left,
    at: Offset,
    plan: &mut Plan,
) -> Result<(), RepairError> {
    let end = left.segments.last().map(|last| last.walked.end.next_offset);
    let end = end.unwrap_or(Offset(0));
    if at < left.log_start {
        let (asked, start) = (at, left.log_start);
        return Err(RepairError::BelowStart { asked, start });
    }
    check_cut(at, end, &plan.losses)?;
    let mut place = None;
    for segment in &left.segments {
        let base = segment.base;
        let sound_end = segment
            .walked
            .gaps
            .first()
            .map(|gap| (gap.from, gap.from_pos));
        let walked = &segment.walked.end;
        let (sound_end, sound_pos) = sound_end.unwrap_or((walked.next_offset, walked.pos));
        if base >= at {
            plan.steps.push(Step::Remove(base));
        } else if sound_end < at
            || sound_end == at && segment.walked.gaps.is_empty() && stands_alone(segment)
        {
            plan.steps.push(Step::Keep(base));
        } else {
            let until_pos = match sound_end == at {
                true => sound_pos,
                false => boundary(io, data, plan.key, segment, at).await?,
            };
            place = Some((base, until_pos));
            let gaps = Vec::new();
            plan.steps.push(Step::Rewrite {
                base,
                until_pos,
                gaps,
            });
        }
    }
    plan.next_offset = at;
    let until = left
        .promised
        .map_or(end, |promised| promised.max(end))
        .max(at);
    let sizes = left.segments.iter().map(|segment| {
        let pos = segment.walked.end.pos;
        match place.filter(|(base, _)| *base == segment.base) {
            Some((_, from)) => pos.saturating_sub(from),
            None if segment.base >= at => pos,
            None => 0,
        }
    });
    let (segment, position) = place.unwrap_or((at, 0));
    plan.losses = vec![Loss {
        segment,
        position,
        from: at,
        until,
        bytes: sizes.sum(),
        why: "everything from here on is cut".into(),
    }];
    plan.losses.retain(|loss| loss.until > loss.from);
    Ok(())
}

/// Whether everything below `at` is sound.
fn check_cut(at: Offset, end: Offset, losses: &[Loss]) -> Result<(), RepairError> {
    let first = losses.first().map_or(end, |loss| loss.from);
    if at <= first {
        return Ok(());
    }
    let (asked, damaged) = (at, first);
    Err(match losses.is_empty() {
        true => RepairError::BehindEnd { asked, end },
        false => RepairError::BehindDamage { asked, damaged },
    })
}

/// The position at which the batch of offset `at` begins.
async fn boundary<I: Io>(
    io: &I,
    data: &Path,
    key: PartitionKey,
    segment: &LeftSegment,
    at: Offset,
) -> Result<u64, RepairError> {
    let path = paths::segment(&paths::partition(data, key), segment.base);
    let mut bytes = Bytes::of_file(io, &path, &segment.over).await?;
    let (mut below, mut above) = ((segment.base, 0), None);
    walk(
        &mut bytes,
        segment.base,
        &Known::default(),
        |batch, pos, _| {
            let offset = batch.base_offset();
            if offset <= at {
                below = (offset, pos);
            } else {
                above.get_or_insert(offset);
            }
        },
    )
    .await;
    bytes.close().await;
    if below.0 == at {
        return Ok(below.1);
    }
    // The damaged batch was not among those that were walked over, and can be cut away.
    let damaged = segment.walked.gaps.first().map(|gap| gap.from);
    let above = above.into_iter().chain(damaged).min();
    Err(RepairError::NotABoundary {
        asked: at,
        below: below.0,
        above: above.unwrap_or(segment.walked.end.next_offset),
    })
}
