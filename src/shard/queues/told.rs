//! What is told of a queue, and what is done to all of it, over all cores.

use crate::base::queue::{Counts, Held};
use crate::base::{CoreId, Offset, PartitionKey, PartitionNo};
use crate::catalog::Queue as Entry;
use crate::engine::{EngineError, QueueInfo, QueueState};
use crate::io::Io;
use crate::shard::core::Core;
use crate::shard::message::{QueueAsk, QueueTold, Reply, Request};
use crate::shard::queues::find;
use std::rc::Rc;

/// How many runs of records are told of at most.
const HELD_MAX: usize = 1_000;

/// A queue as the bridge shows it.
fn info<I: Io>(core: &Core<I>, entry: &Entry) -> QueueInfo {
    let catalog = core.catalog.borrow();
    let name = |id| catalog.by_id(id).map(|topic| topic.name.clone());
    let partitions = catalog
        .by_id(entry.topic)
        .map_or(0, |topic| topic.partitions);
    let key = |no| PartitionKey::new(entry.topic, PartitionNo(no));
    QueueInfo {
        id: entry.id,
        name: entry.name.clone(),
        topic_id: entry.topic,
        topic: name(entry.topic).unwrap_or_default(),
        dead_letters: entry.dead_letters.and_then(name),
        settings: entry.settings.clone(),
        owners: (0..partitions).map(|no| core.owner(key(no))).collect(),
    }
}

/// The queue asked for, or all in the order of their names.
pub(in crate::shard) fn infos<I: Io>(
    core: &Core<I>,
    which: Option<&str>,
) -> Result<Vec<QueueInfo>, EngineError> {
    let catalog = core.catalog.borrow();
    let Some(name) = which else {
        return Ok(catalog.queues().map(|entry| info(core, entry)).collect());
    };
    match catalog.queue_by_name(name) {
        Some(entry) => Ok(vec![info(core, entry)]),
        None => Err(EngineError::UnknownQueue(name.to_owned())),
    }
}

/// Where the records of a queue are, partition by partition.
pub(in crate::shard) async fn counts<I: Io>(
    core: &Rc<Core<I>>,
    name: &str,
) -> Result<(QueueInfo, Vec<QueueState>), EngineError> {
    let info = infos(core, Some(name))?.remove(0);
    let mut all = Vec::new();
    for (core, told) in ask_all(core, name, QueueAsk::Counts).await? {
        let QueueTold::Counts(counts) = told else {
            panic!("counts were asked for");
        };
        let state = |(partition, counts)| QueueState {
            partition,
            core,
            counts,
        };
        all.extend(counts.into_iter().map(state));
    }
    all.sort_by_key(|state| state.partition);
    Ok((info, all))
}

/// Gives up all records that nobody has; durable when it returns. Returns how many that were.
pub(in crate::shard) async fn purge<I: Io>(
    core: &Rc<Core<I>>,
    name: &str,
) -> Result<u64, EngineError> {
    let mut purged = 0;
    for (_, told) in ask_all(core, name, QueueAsk::Purge).await? {
        let QueueTold::Purged(here) = told else {
            panic!("a purge was asked for");
        };
        purged += here?;
    }
    Ok(purged)
}

/// The records of one partition that are not done with and were in the ledger's hands: the others follow in the topic.
pub(in crate::shard) async fn held<I: Io>(
    core: &Rc<Core<I>>,
    name: &str,
    partition: PartitionNo,
) -> Result<Held, EngineError> {
    let info = infos(core, Some(name))?.remove(0);
    let owner = info.owners.get(partition.0 as usize).copied();
    let owner = owner.ok_or(EngineError::UnknownPartition(partition.0))?;
    match ask(core, owner, name, QueueAsk::Held(partition)).await? {
        QueueTold::Held(held) => held,
        other => panic!("held records were asked for: {other:?}"),
    }
}

/// Asks every core that has a part of the queue.
pub(in crate::shard) async fn ask_all<I: Io>(
    core: &Rc<Core<I>>,
    name: &str,
    what: QueueAsk,
) -> Result<Vec<(CoreId, QueueTold)>, EngineError> {
    let mut all = Vec::new();
    for to in (0..core.cores).map(CoreId) {
        all.push((to, ask(core, to, name, what.clone()).await?));
    }
    Ok(all)
}

async fn ask<I: Io>(
    core: &Rc<Core<I>>,
    to: CoreId,
    name: &str,
    what: QueueAsk,
) -> Result<QueueTold, EngineError> {
    if to == core.here() {
        return answer(core, name, what).await;
    }
    let request = Request::Queue(name.to_owned(), what);
    match core.post.ask(to, request).await {
        Reply::Queue(told) => told,
        Reply::Stopping => Err(EngineError::Stopping),
        other => panic!(
            "a question about a queue was answered with {}",
            other.kind()
        ),
    }
}

/// Answers for this core.
pub(in crate::shard) async fn answer<I: Io>(
    core: &Rc<Core<I>>,
    name: &str,
    what: QueueAsk,
) -> Result<QueueTold, EngineError> {
    core.serving().await;
    let queue = find(core, name)?;
    match what {
        QueueAsk::Counts => {
            let parts = queue.parts.borrow();
            let one = |(no, part): (&PartitionNo, &Result<Rc<_>, EngineError>)| {
                let part: Result<&Rc<super::Part<I>>, _> = part.as_ref();
                let counts = part.map_err(EngineError::clone).map(|part| {
                    part.reach();
                    part.look(|ledger| ledger.counts())
                });
                (*no, counts)
            };
            let all: Vec<(PartitionNo, Result<Counts, EngineError>)> =
                parts.iter().map(one).collect();
            Ok(QueueTold::Counts(all))
        }
        QueueAsk::Purge => {
            let mut purged = 0;
            for part in queue.serving() {
                part.reach();
                let acted = queue.act(core, &part, |ledger, _, out| {
                    let before = ledger.counts().totals.purged;
                    ledger.purge(Offset(u64::MAX), out);
                    ledger.counts().totals.purged - before
                });
                let (here, until) = acted?;
                part.stored(until).await?;
                purged += here;
            }
            Ok(QueueTold::Purged(Ok(purged)))
        }
        QueueAsk::Held(partition) => {
            let part = queue.part(partition)?;
            part.reach();
            Ok(QueueTold::Held(Ok(
                part.look(|ledger| ledger.held(HELD_MAX))
            )))
        }
    }
}
