//! Changes of the catalog, on core 0: decided, stored, then acted upon by every core.
//!
//! ```text
//!  any core ──Create/Alter/Delete──> core 0: take the turn ─ decide ─ append ─ synced ─┬─ apply here
//!                                                                                      └─ Apply ──> every other core
//!                                    <── answer once all cores have acted ─────────────┘
//! ```
//! The record is the truth: once it is synced, the change has happened. A core that fails to act on it is told to the
//! caller, and acts on it at the next start.

use crate::base::planted::{Bug, planted};
use crate::base::record::BatchBuilder;
use crate::base::{AckLevel, TimestampMs, TopicId};
use crate::catalog::{self, Record, Refusal};
use crate::engine::{
    AlterTopic, DeleteTopic, EngineError, NewQueue, NewTopic, QueueInfo, TopicInfo, TopicRef,
};
use crate::io::Io;
use crate::log::Draw;
use crate::shard::core::Core;
use crate::shard::message::{FIRST_CORE, Reply, Request};
use crate::shard::produce::append_to;
use crate::shard::{hosted, queues, topics};
use std::rc::Rc;

/// Makes a topic, from whichever core.
pub(super) async fn request_create<I: Io>(
    core: &Rc<Core<I>>,
    topic: NewTopic,
) -> Result<TopicInfo, EngineError> {
    match ask_first(core, Request::Create(topic)).await {
        Reply::Topic(result) => result,
        Reply::Stopping => Err(EngineError::Stopping),
        other => panic!("a create was answered with {}", other.kind()),
    }
}

/// Changes a topic, from whichever core.
pub(super) async fn request_alter<I: Io>(
    core: &Rc<Core<I>>,
    change: AlterTopic,
) -> Result<TopicInfo, EngineError> {
    match ask_first(core, Request::Alter(Box::new(change))).await {
        Reply::Topic(result) => result,
        Reply::Stopping => Err(EngineError::Stopping),
        other => panic!("an alter was answered with {}", other.kind()),
    }
}

/// Deletes a topic, from whichever core.
pub(super) async fn request_delete<I: Io>(
    core: &Rc<Core<I>>,
    topic: DeleteTopic,
) -> Result<(), EngineError> {
    match ask_first(core, Request::Delete(topic)).await {
        Reply::Deleted(result) => result,
        Reply::Stopping => Err(EngineError::Stopping),
        other => panic!("a delete was answered with {}", other.kind()),
    }
}

/// Makes a queue, from whichever core.
pub(super) async fn request_create_queue<I: Io>(
    core: &Rc<Core<I>>,
    queue: NewQueue,
) -> Result<QueueInfo, EngineError> {
    match ask_first(core, Request::CreateQueue(Box::new(queue))).await {
        Reply::QueueMade(result) => result,
        Reply::Stopping => Err(EngineError::Stopping),
        other => panic!("a create was answered with {}", other.kind()),
    }
}

/// Deletes a queue, from whichever core.
pub(super) async fn request_delete_queue<I: Io>(
    core: &Rc<Core<I>>,
    name: String,
) -> Result<(), EngineError> {
    match ask_first(core, Request::DeleteQueue(name)).await {
        Reply::Deleted(result) => result,
        Reply::Stopping => Err(EngineError::Stopping),
        other => panic!("a delete was answered with {}", other.kind()),
    }
}

/// On core 0 the change runs in a task of its own too: a connection that goes away must not leave a record stored
/// and not acted upon.
async fn ask_first<I: Io>(core: &Rc<Core<I>>, request: Request) -> Reply<I::Source> {
    if core.stopping.get() {
        return Reply::Stopping;
    }
    if core.here() != FIRST_CORE {
        core.stats.borrow_mut().forwarded += 1;
        return core.post.ask(FIRST_CORE, request).await;
    }
    let pending = core.post.reserve(FIRST_CORE, 0);
    let (id, core_of_task) = (pending.id(), Rc::clone(core));
    core.io.spawn(async move {
        let core = core_of_task;
        let reply = match (core.gate.enter(), request) {
            (Some(_pass), Request::Create(topic)) => Reply::Topic(create(&core, topic).await),
            (Some(_pass), Request::Alter(asked)) => Reply::Topic(alter(&core, *asked).await),
            (Some(_pass), Request::Delete(topic)) => Reply::Deleted(delete(&core, topic).await),
            (Some(_pass), Request::CreateQueue(queue)) => {
                Reply::QueueMade(create_queue(&core, *queue).await)
            }
            (Some(_pass), Request::DeleteQueue(name)) => {
                Reply::Deleted(delete_queue(&core, name).await)
            }
            _ => Reply::Stopping,
        };
        core.post.settle(id, reply);
    });
    pending.await
}

/// On core 0: makes a topic.
pub(super) async fn create<I: Io>(
    core: &Rc<Core<I>>,
    topic: NewTopic,
) -> Result<TopicInfo, EngineError> {
    let _turn = core.catalog_turn.take().await;
    let id = draw_id(core);
    change(core, decide_create(core, id, &topic)?).await?;
    topics::find(core, &TopicRef::Id(id))
}

/// Whether a topic could be made, on whichever core: by its own copy of the catalog and its own look at the disk.
pub(super) fn check_create<I: Io>(core: &Core<I>, topic: &NewTopic) -> Result<(), EngineError> {
    if core.stopping.get() {
        return Err(EngineError::Stopping);
    }
    decide_create(core, draw_id(core), topic)?;
    core.log
        .refusal()
        .map_or(Ok(()), |error| Err(hosted::refusal(error)))
}

fn decide_create<I: Io>(
    core: &Core<I>,
    id: TopicId,
    topic: &NewTopic,
) -> Result<Record, EngineError> {
    let catalog = core.catalog.borrow();
    let decided = catalog.decide_create(id, &topic.name, topic.partitions, topic.settings);
    decided.map_err(refused)
}

/// On core 0: changes a topic.
pub(super) async fn alter<I: Io>(
    core: &Rc<Core<I>>,
    asked: AlterTopic,
) -> Result<TopicInfo, EngineError> {
    let _turn = core.catalog_turn.take().await;
    let id = topics::find(core, &asked.topic)?.id;
    let decided = core.catalog.borrow().decide_alter(id, &asked.change);
    match decided.map_err(refused)? {
        Some(record) if !asked.is_trial => change(core, record).await?,
        _ => {}
    }
    topics::find(core, &TopicRef::Id(id))
}

/// On core 0: deletes a topic.
pub(super) async fn delete<I: Io>(
    core: &Rc<Core<I>>,
    topic: DeleteTopic,
) -> Result<(), EngineError> {
    let _turn = core.catalog_turn.take().await;
    let id = topics::find(core, &topic.topic)?.id;
    let decided = core.catalog.borrow().decide_delete(id);
    change(core, decided.map_err(refused)?).await
}

/// On core 0: makes a queue.
pub(super) async fn create_queue<I: Io>(
    core: &Rc<Core<I>>,
    asked: NewQueue,
) -> Result<QueueInfo, EngineError> {
    let _turn = core.catalog_turn.take().await;
    let topic = topics::find(core, &asked.topic)?.id;
    let dead_letters = asked.dead_letters.as_ref();
    let dead_letters = dead_letters.map(|dead| topics::find(core, dead));
    let id = draw_unused(core, || topic.beside(core.io.random()));
    let new = catalog::NewQueue {
        name: asked.name.clone(),
        topic,
        dead_letters: dead_letters.transpose()?.map(|dead| dead.id),
        from_end: asked.from_end,
        settings: asked.settings,
    };
    let decided = core.catalog.borrow().decide_create_queue(id, new);
    change(core, decided.map_err(refused)?).await?;
    queues::infos(core, Some(&asked.name)).map(|mut infos| infos.remove(0))
}

/// On core 0: deletes a queue.
pub(super) async fn delete_queue<I: Io>(
    core: &Rc<Core<I>>,
    name: String,
) -> Result<(), EngineError> {
    let _turn = core.catalog_turn.take().await;
    let id = queues::infos(core, Some(&name))?.remove(0).id;
    let decided = core.catalog.borrow().decide_delete_queue(id);
    change(core, decided.map_err(refused)?).await
}

fn draw_id<I: Io>(core: &Core<I>) -> TopicId {
    draw_unused(core, || {
        TopicId(u128::from(core.io.random()) << 64 | u128::from(core.io.random()))
    })
}

fn draw_unused<I: Io>(core: &Core<I>, draw: impl Fn() -> TopicId) -> TopicId {
    loop {
        let id = draw();
        if !id.is_own() && !core.catalog.borrow().is_used(id) {
            return id;
        }
    }
}

/// Stores a decided record, then has every core act on it.
async fn change<I: Io>(core: &Rc<Core<I>>, record: Record) -> Result<(), EngineError> {
    store(core, &record).await?;
    let others: Vec<_> = core
        .post
        .others()
        .map(|other| (other, core.post.ask(other, Request::Apply(record.clone()))))
        .collect();
    let mut failures: Vec<String> = topics::apply(core, &record)
        .await
        .err()
        .into_iter()
        .collect();
    for (other, pending) in others {
        match pending.await {
            Reply::Applied(Ok(())) => {}
            Reply::Applied(Err(failure)) => failures.push(failure),
            Reply::Stopping => failures.push(format!("core {other} is stopping")),
            reply => panic!("a record was answered with {}", reply.kind()),
        }
    }
    if failures.is_empty() {
        Ok(())
    } else {
        Err(EngineError::StorageFailed(format!(
            "the change is stored and will be completed at the next start, but now: {}",
            failures.join("; ")
        )))
    }
}

async fn store<I: Io>(core: &Core<I>, record: &Record) -> Result<(), EngineError> {
    let (mut value, mut batch) = (Vec::new(), BatchBuilder::new());
    record.encode(&mut value);
    batch.push(TimestampMs(core.io.wall_ms()), None, Some(&value), &[]);
    let partition = core.catalog_partition.as_ref();
    let partition = Rc::clone(partition.expect("core 0 has the catalog's partition"));
    // A delete frees space: it must be possible when there is none.
    let draw = match record {
        Record::TopicCreated(_) | Record::TopicAltered { .. } | Record::QueueCreated(_) => {
            Draw::Free
        }
        Record::TopicDeleted { .. } | Record::QueueDeleted { .. } => Draw::Reserve,
    };
    let level = match planted(Bug::CatalogEarly) {
        true => AckLevel::None,
        false => AckLevel::Synced,
    };
    let appended = append_to(core, partition, level, draw, batch.finish())?;
    appended.settled().await.map(drop)
}

fn refused(refusal: Refusal) -> EngineError {
    let line = refusal.to_string();
    match refusal {
        Refusal::Exists(name) => EngineError::TopicExists(name),
        Refusal::Unknown(name) => EngineError::UnknownTopic(name),
        Refusal::QueueExists(name) => EngineError::QueueExists(name),
        Refusal::UnknownQueue(name) => EngineError::UnknownQueue(name),
        Refusal::InUse { .. } => EngineError::TopicInUse(line),
        Refusal::Partitions(_)
        | Refusal::FewerPartitions { .. }
        | Refusal::TooManyPartitions(_) => EngineError::InvalidPartitions(line),
        Refusal::Level
        | Refusal::SegmentBytes(_)
        | Refusal::SegmentMs(_)
        | Refusal::BatchBytes(_)
        | Refusal::TimestampSpan(_)
        | Refusal::QueueSetting(_)
        | Refusal::DeadLettersCircle => EngineError::InvalidSetting(line),
        Refusal::Name | Refusal::ReservedName | Refusal::TooManyTopics | Refusal::TooManyQueues => {
            EngineError::InvalidRequest(line)
        }
    }
}
