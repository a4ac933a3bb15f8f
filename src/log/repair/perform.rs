//! Carrying a repair out. The order of the steps is the argument for its safety: see the module's words.

use crate::base::{NodeId, Offset, PartitionKey};
use crate::io::Io;
use crate::io::still::Still;
use crate::log::recovery::files::{DAMAGE_NOTE, write_text};
use crate::log::recovery::partition::{Found, FoundSegment};
use crate::log::repair::left::{self, Left};
use crate::log::repair::plan::{self, Step};
use crate::log::repair::{Goal, Plan, RepairError, rewrite};
use crate::log::verify::segment::{Bytes, Known, walk};
use crate::log::{Log, LogError, Options, paths, recover, retire_journals};
use std::path::{Path, PathBuf};

/// A repair that was carried out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Performed {
    /// What was done.
    pub plan: Plan,
    /// Where the copies are.
    pub copies: PathBuf,
}

/// Repairs the partition. To run alone: no broker may serve the directory. `about` says in words what was asked for; it is
/// kept with the copies. After an error, or a crash, the partition is refused and the repair can be asked for again.
pub async fn perform<I: Io>(
    io: &I,
    data: &Path,
    node: NodeId,
    key: PartitionKey,
    goal: Goal,
    about: &str,
) -> Result<Performed, RepairError> {
    let still = Still::new(io.clone());
    let is_refused = plan::is_refused(&still, data, key).await?;
    let left = left::read(io, data, key).await?;
    let plan = plan::make(io, data, key, goal, &left, is_refused).await?;
    let dir = paths::partition(data, key);
    remove_temporary(io, &dir).await?;
    note(io, &dir).await?;
    let kept = plan.steps.iter().filter_map(|step| match step {
        Step::Keep(base) => Some(*base),
        _ => None,
    });
    let kept: Vec<Offset> = kept.collect();
    let copies = keep_copies(io, data, &dir, about, &kept).await?;
    for step in plan.steps.iter().rev() {
        carry_out(io, &dir, &left, step).await?;
    }
    let found = read_back(io, &dir, key, &plan).await?;
    take_over(io, data, node, key, found).await?;
    Ok(Performed { plan, copies })
}

async fn remove_temporary<I: Io>(io: &I, dir: &Path) -> Result<(), LogError> {
    for item in io.list_dir(dir).await.map_err(LogError::io("list", dir))? {
        if item.name.ends_with(".tmp") {
            rewrite::remove(io, &dir.join(&item.name)).await?;
        }
    }
    Ok(())
}

/// From here on every start refuses the partition.
async fn note<I: Io>(io: &I, dir: &Path) -> Result<(), LogError> {
    let items = io.list_dir(dir).await.map_err(LogError::io("list", dir))?;
    if items.iter().any(|item| item.name == DAMAGE_NOTE) {
        return Ok(());
    }
    let text = "a repair of it has begun and not come to its end; repair it again";
    write_text(io, dir, DAMAGE_NOTE, text).await
}

/// Copies every file of the partition but the segments that stay as they are.
async fn keep_copies<I: Io>(
    io: &I,
    data: &Path,
    dir: &Path,
    about: &str,
    kept: &[Offset],
) -> Result<PathBuf, LogError> {
    let root = data.join("repaired");
    let made = io.create_dir_all(&root).await;
    made.map_err(LogError::io("create", &root))?;
    let before = io
        .list_dir(&root)
        .await
        .map_err(LogError::io("list", &root))?;
    let numbers = before
        .iter()
        .filter_map(|item| item.name.parse::<u64>().ok());
    let copies = root.join((numbers.max().unwrap_or(0) + 1).to_string());
    let made = io.create_dir_all(&copies).await;
    made.map_err(LogError::io("create", &copies))?;
    for item in io.list_dir(dir).await.map_err(LogError::io("list", dir))? {
        let base = item
            .name
            .split_once('.')
            .and_then(|(base, _)| base.parse().ok());
        if !base.is_some_and(|base| kept.contains(&Offset(base))) {
            rewrite::copy(io, &dir.join(&item.name), copies.join(&item.name)).await?;
        }
    }
    write_text(io, &copies, "about", about).await?;
    for dir in [&root, data] {
        io.sync_dir(dir).await.map_err(LogError::sync(dir))?;
    }
    Ok(copies)
}

async fn carry_out<I: Io>(io: &I, dir: &Path, left: &Left, step: &Step) -> Result<(), LogError> {
    match step {
        Step::Keep(_) => Ok(()),
        Step::Make { base, until } => rewrite::marker_segment(io, dir, *base, *until).await,
        Step::Rewrite {
            base,
            until_pos,
            gaps,
        } => {
            let old = left.segments.iter().find(|segment| segment.base == *base);
            let old = old.expect("the plan was made of these segments");
            rewrite::segment(io, dir, old, *until_pos, gaps).await
        }
        Step::Remove(base) => {
            rewrite::remove(io, &paths::index(dir, *base)).await?;
            rewrite::remove(io, &paths::segment(dir, *base)).await?;
            io.sync_dir(dir).await.map_err(LogError::sync(dir))
        }
    }
}

/// Walks the files as they are now: what the log takes over is what was found, not what was meant.
async fn read_back<I: Io>(
    io: &I,
    dir: &Path,
    key: PartitionKey,
    plan: &Plan,
) -> Result<Found, LogError> {
    let mut segments: Vec<FoundSegment> = Vec::new();
    let bases = plan.steps.iter().filter_map(|step| match step {
        Step::Keep(base) | Step::Make { base, .. } | Step::Rewrite { base, .. } => Some(base),
        Step::Remove(_) => None,
    });
    let bases: Vec<&Offset> = bases.collect();
    let mut next = bases
        .first()
        .map_or(plan.next_offset, |base| **base.min(&&plan.log_start));
    for (number, base) in bases.iter().enumerate() {
        let known = Known {
            offset: Some(
                bases
                    .get(number + 1)
                    .map_or(plan.next_offset, |next| **next),
            ),
            ..Known::default()
        };
        let path = paths::segment(dir, **base);
        let mut bytes = Bytes::of_file(io, &path, &[]).await?;
        let walked = walk(&mut bytes, **base, &known, |_, _, _| {}).await;
        bytes.close().await;
        if **base != next || !walked.gaps.is_empty() {
            return Err(LogError::Damaged {
                key,
                reason: format!(
                    "segment {base} does not read back as it was written; repair it again"
                ),
            });
        }
        next = walked.end.next_offset;
        segments.push(FoundSegment {
            base: **base,
            entries: walked.index.entries().to_vec(),
            end: walked.end,
        });
    }
    if next != plan.next_offset {
        let reason = format!("it ends at offset {next} instead of {}", plan.next_offset);
        return Err(LogError::Damaged { key, reason });
    }
    Ok(Found {
        log_start: plan.log_start,
        segments,
        tail_pos: 0,
        tail: Vec::new(),
        last_is_sealed: true,
    })
}

/// Starts the log as a broker would, with the repaired partition among the others, and stops it.
async fn take_over<I: Io>(
    io: &I,
    data: &Path,
    node: NodeId,
    key: PartitionKey,
    found: Found,
) -> Result<(), LogError> {
    let mut recovered = recover(io, data).await?;
    let of = |partition: &&mut crate::log::RecoveredPartition| partition.key == key;
    let partition = recovered.partitions.iter_mut().find(of);
    partition.expect("it has a directory").found = Ok(found);
    let options = Options::new(data.to_path_buf(), node, recovered.epoch);
    let log = Log::start(io.clone(), options, recovered.partitions).await?;
    retire_journals(io, &recovered.retired).await?;
    let dir = paths::partition(data, key);
    rewrite::remove(io, &dir.join(DAMAGE_NOTE)).await?;
    io.sync_dir(&dir).await.map_err(LogError::sync(&dir))?;
    log.stop().await
}
