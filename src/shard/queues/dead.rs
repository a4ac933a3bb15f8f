//! Moving dead records to the dead letters: each is in its queue or there, whatever dies when.
//!
//! ```text
//!  doomed ─> where would it be? ─> evidence, synced ─> the dead letter, synced ─> settled as dead
//!              the end of the        in the journal      in any partition, on      in the journal
//!              dead letters                              any core
//!
//!  died before the evidence was synced    nothing was written: begin again
//!  died behind it                         look from there on: found ─> settled; not found ─> begin again
//! ```
//! The two partitions may be on different cores, so no cycle of a journal covers both. Instead the dead letter says whose it
//! is, and the evidence, which is always there before it, says from where on it may be found. A record that has evidence
//! is not delivered again in any case: what is decided after a crash is only whether it has to be written.

use crate::base::planted::{Bug, planted};
use crate::base::record::{BatchBuilder, Record, RecordHeader, records};
use crate::base::{AckLevel, Offset, PartitionKey, PartitionNo, RecordBatch, TimestampMs, TopicId};
use crate::engine::{EngineError, OffsetQuery};
use crate::io::{Io, Signal};
use crate::queue::{Doomed, Evidence};
use crate::shard::core::Core;
use crate::shard::fetch::fetch;
use crate::shard::offsets;
use crate::shard::produce::produce;
use crate::shard::queues::part::Part;
use crate::shard::queues::{Queue, deliver};
use futures_lite::future::or;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

/// How many are moved in one go.
const MOVED_MAX: usize = 64;
/// A batch of dead letters is closed when it has so many bytes.
const BATCH_BYTES: usize = 256 << 10;
/// How long a move that failed waits until it is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// How much of the dead letters is looked at in one go.
const LOOK_BYTES: u32 = 1 << 20;

/// Says whose a dead letter is: the id of the queue, the partition and the offset.
const SOURCE: &[u8] = b"millrace-source";

/// Starts the move of what is doomed, if it does not run.
pub(super) fn move_if_any<I: Io>(core: &Rc<Core<I>>, queue: &Rc<Queue<I>>, part: &Rc<Part<I>>) {
    if !part.has_doomed() || part.is_moving.replace(true) {
        return;
    }
    let (core_of_task, queue, part) = (Rc::clone(core), Rc::clone(queue), Rc::clone(part));
    core.io.spawn(async move {
        let core = core_of_task;
        move_all(&core, &queue, &part).await;
        part.is_moving.set(false);
    });
}

async fn move_all<I: Io>(core: &Rc<Core<I>>, queue: &Rc<Queue<I>>, part: &Rc<Part<I>>) {
    loop {
        let mut doomed = part.take_doomed(MOVED_MAX);
        if doomed.is_empty() {
            return;
        }
        let Some(pass) = core.gate.enter() else {
            return;
        };
        let moved = move_some(core, queue, part, &mut doomed).await;
        drop(pass);
        if moved.is_ok() {
            continue;
        }
        // They keep their evidence: the next try looks first. What was trimmed meanwhile the ledger has to hear of.
        part.doom(&mut doomed);
        queue.news.notify();
        let stops: &Signal = &core.stops;
        or(stops.wait(), core.io.sleep(RETRY)).await;
        if core.stopping.get() || queue.is_closed.get() {
            return;
        }
    }
}

/// Moves these; takes out of the list what was moved or need not be any more.
async fn move_some<I: Io>(
    core: &Rc<Core<I>>,
    queue: &Rc<Queue<I>>,
    part: &Rc<Part<I>>,
    doomed: &mut Vec<Doomed>,
) -> Result<(), EngineError> {
    settle_found(core, queue, part, doomed).await?;
    if doomed.is_empty() {
        return Ok(());
    }
    let to = target(core, queue, part.no)?;
    let (from, _) = offsets::list(core, to, OffsetQuery::Latest).await?;
    let evidence = Evidence {
        partition: to.partition,
        from,
    };
    let noted = queue.act_at(core, part, AckLevel::Synced, |ledger, _, out| {
        doomed.retain_mut(|one| {
            one.evidence = Some(evidence);
            ledger.moving(one.offset, evidence, out)
        });
    });
    part.synced(noted?.1).await?;
    let mut at = 0;
    while at < doomed.len() {
        let (batch, count) = build(core, queue, part, &doomed[at..]).await?;
        let written = produce(core, to, AckLevel::Synced, &batch).produced().await;
        match written {
            // A letter that is too large goes without its content: that stays where it is.
            Err(EngineError::BatchTooLarge { .. }) if count == 1 => {
                let bare = letter(queue, core, part, &doomed[at], None);
                produce(core, to, AckLevel::Synced, &bare)
                    .produced()
                    .await?;
            }
            other => drop(other?),
        }
        at += count;
    }
    settle(core, queue, part, doomed)?;
    doomed.clear();
    Ok(())
}

fn settle<I: Io>(
    core: &Rc<Core<I>>,
    queue: &Rc<Queue<I>>,
    part: &Rc<Part<I>>,
    moved: &[Doomed],
) -> Result<(), EngineError> {
    let settled = queue.act(core, part, |ledger, _, out| {
        for one in moved {
            ledger.moved(one.offset, out);
        }
    });
    settled.map(drop)
}

/// The partition of the dead letters that those of a partition go to.
fn target<I: Io>(
    core: &Core<I>,
    queue: &Queue<I>,
    no: PartitionNo,
) -> Result<PartitionKey, EngineError> {
    let topic = queue
        .dead_letters
        .expect("only then there is anything to move");
    let catalog = core.catalog.borrow();
    let found = catalog.by_id(topic);
    let found = found.ok_or_else(|| EngineError::UnknownTopic(topic.to_string()))?;
    let partition = PartitionNo(no.0 % found.partitions);
    Ok(PartitionKey::new(topic, partition))
}

/// Settles those that were written before; the others stay in the list.
async fn settle_found<I: Io>(
    core: &Rc<Core<I>>,
    queue: &Rc<Queue<I>>,
    part: &Rc<Part<I>>,
    doomed: &mut Vec<Doomed>,
) -> Result<(), EngineError> {
    let Some(topic) = queue.dead_letters.filter(|_| !planted(Bug::MoveTwice)) else {
        return Ok(());
    };
    let evidence = |one: &Doomed| {
        one.evidence
            .map(|evidence| (evidence.partition, evidence.from))
    };
    // All tries of a partition's records go to one partition, unless the dead letters got more of them meanwhile.
    let partitions: BTreeSet<PartitionNo> = doomed
        .iter()
        .filter_map(evidence)
        .map(|(no, _)| no)
        .collect();
    for no in partitions {
        let here = doomed
            .iter()
            .filter_map(evidence)
            .filter(|(at, _)| *at == no);
        let from = here.map(|(_, from)| from).min().expect("one has named it");
        let key = PartitionKey::new(topic, no);
        let found = look_for(core, queue, part.no, key, from).await?;
        let is_there = |one: &Doomed| {
            let at = found.get(&one.offset);
            at.is_some_and(|at| evidence(one).is_some_and(|(of, from)| of == no && from <= *at))
        };
        let (moved, left) = std::mem::take(doomed).into_iter().partition(is_there);
        *doomed = left;
        settle(core, queue, part, &moved)?;
    }
    Ok(())
}

/// The offsets of the records of a partition whose dead letters are at `from` or behind it, each with the place of the last.
async fn look_for<I: Io>(
    core: &Rc<Core<I>>,
    queue: &Queue<I>,
    no: PartitionNo,
    key: PartitionKey,
    from: Offset,
) -> Result<BTreeMap<Offset, Offset>, EngineError> {
    let mut found = BTreeMap::new();
    // Who trims the dead letters has seen what lies before.
    let (start, _) = offsets::list(core, key, OffsetQuery::Earliest).await?;
    let mut at = from.max(start);
    let (until, _) = offsets::list(core, key, OffsetQuery::Latest).await?;
    let source = source(queue.id, no);
    while at < until {
        let bytes = read_anywhere(core, key, at).await?;
        let mut rest = &bytes[..];
        let before = at;
        while !rest.is_empty() {
            let batch = RecordBatch::parse(rest);
            let batch = batch.map_err(|error| EngineError::Damaged(error.to_string()))?;
            rest = &rest[batch.bytes().len()..];
            at = at.max(batch.next_offset());
            for record in records(&batch).flatten() {
                let place = batch.base_offset().plus(record.offset_delta as u64);
                found.extend(source_of(&record, &source).map(|offset| (offset, place)));
            }
        }
        if at == before {
            return Err(EngineError::Damaged(format!(
                "{key} has nothing at offset {at}"
            )));
        }
    }
    Ok(found)
}

/// Reads a partition of whichever core.
async fn read_anywhere<I: Io>(
    core: &Rc<Core<I>>,
    key: PartitionKey,
    from: Offset,
) -> Result<Vec<u8>, EngineError> {
    let request = crate::engine::FetchRequest {
        partitions: vec![crate::engine::FetchPartition {
            key,
            from,
            bytes_max: LOOK_BYTES,
        }],
        bytes_min: 0,
        wait_max: Duration::ZERO,
        bytes_max: LOOK_BYTES,
    };
    let mut reply = Vec::new();
    fetch(core, &request, &mut reply).await;
    let fetched = reply.remove(0);
    if let Some(error) = fetched.error {
        return Err(error);
    }
    let bytes = crate::log::gather(&core.io, &fetched.body).await;
    bytes.map_err(|error| EngineError::StorageFailed(error.to_string()))
}

fn source(queue: TopicId, no: PartitionNo) -> String {
    format!("{queue}/{no}/")
}

/// Which record of the source a dead letter was, if it is of that source.
fn source_of(record: &Record<'_>, source: &str) -> Option<Offset> {
    let (_, value) = record.headers().find(|(name, _)| *name == SOURCE)?;
    let text = std::str::from_utf8(value?).ok()?;
    let offset = text.strip_prefix(source)?;
    offset.parse().ok().map(Offset)
}

/// A batch of the first of these, and how many they are.
async fn build<I: Io>(
    core: &Rc<Core<I>>,
    queue: &Queue<I>,
    part: &Part<I>,
    doomed: &[Doomed],
) -> Result<(Vec<u8>, usize), EngineError> {
    let mut builder = BatchBuilder::new();
    for one in doomed {
        let bytes = deliver::read(core, &part.source, one.offset, 1).await?;
        let batch = holding(&bytes, one.offset)?;
        let record = match &batch {
            Some(batch) if !batch.is_compressed() => records(batch).flatten().find(|record| {
                batch
                    .base_offset()
                    .0
                    .checked_add_signed(record.offset_delta)
                    == Some(one.offset.0)
            }),
            // No work for a core: the letter says where its content is.
            _ => None,
        };
        push(&mut builder, queue, core, part, one, record.as_ref());
        if builder.len() >= BATCH_BYTES {
            break;
        }
    }
    let count = builder.count() as usize;
    Ok((builder.finish().to_vec(), count))
}

/// The batch that holds an offset, out of whole ones.
fn holding(mut bytes: &[u8], offset: Offset) -> Result<Option<RecordBatch<'_>>, EngineError> {
    while !bytes.is_empty() {
        let batch = RecordBatch::parse(bytes);
        let batch = batch.map_err(|error| EngineError::Damaged(error.to_string()))?;
        if (batch.base_offset()..batch.next_offset()).contains(&offset) {
            return Ok(Some(batch));
        }
        bytes = &bytes[batch.bytes().len()..];
    }
    Ok(None)
}

fn letter<I: Io>(
    queue: &Queue<I>,
    core: &Core<I>,
    part: &Part<I>,
    one: &Doomed,
    record: Option<&Record<'_>>,
) -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    push(&mut builder, queue, core, part, one, record);
    builder.finish().to_vec()
}

/// A dead letter: the record as it was, and behind its own headers what became of it. Without the record it says only where
/// that is.
fn push<I: Io>(
    builder: &mut BatchBuilder,
    queue: &Queue<I>,
    core: &Core<I>,
    part: &Part<I>,
    one: &Doomed,
    record: Option<&Record<'_>>,
) {
    let catalog = core.catalog.borrow();
    let topic = catalog.by_id(part.source.key().topic);
    let first = one.first.map(|time| time.to_string());
    let told: [(&[u8], Option<String>); 9] = [
        (
            SOURCE,
            Some(format!("{}{}", source(queue.id, part.no), one.offset)),
        ),
        (b"millrace-queue", Some(queue.name.clone())),
        (b"millrace-topic", topic.map(|topic| topic.name.clone())),
        (b"millrace-partition", Some(part.no.to_string())),
        (b"millrace-offset", Some(one.offset.to_string())),
        (b"millrace-cause", Some(one.cause.name().to_owned())),
        (b"millrace-deliveries", Some(one.deliveries.to_string())),
        (b"millrace-first-delivery-ms", first),
        (
            b"millrace-timestamp-ms",
            record.map(|record| record.timestamp.to_string()),
        ),
    ];
    let own = record.into_iter().flat_map(|record| record.headers());
    let ours = told
        .iter()
        .filter_map(|(name, value)| Some((*name, Some(value.as_ref()?.as_bytes()))));
    let headers: Vec<RecordHeader<'_>> = own.chain(ours).collect();
    let (key, value) = match record {
        Some(record) => (record.key, record.value),
        None => (None, None),
    };
    let now = TimestampMs(core.io.wall_ms());
    builder.push(now, key, value, &headers);
}
