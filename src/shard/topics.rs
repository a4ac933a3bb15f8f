//! Topics on one core: telling what there is, and acting on catalog records.

use crate::base::{CoreId, PartitionKey, PartitionNo};
use crate::catalog::{Record, Topic};
use crate::engine::{EngineError, PartitionInfo, TopicInfo, TopicRef};
use crate::io::Io;
use crate::shard::core::Core;
use crate::shard::hosted::{Hosted, Seat, segment_settings};
use crate::shard::message::{Reply, Request};
use crate::shard::{groups, queues};
use std::collections::BTreeMap;
use std::rc::Rc;

/// A topic as the bridge shows it.
pub(super) fn info<I: Io>(core: &Core<I>, topic: &Topic) -> TopicInfo {
    TopicInfo {
        id: topic.id,
        name: topic.name.clone(),
        partitions: topic.partitions,
        settings: topic.settings,
        owners: keys(topic).map(|key| core.owner(key)).collect(),
    }
}

/// The partitions of a topic.
pub(super) fn keys(topic: &Topic) -> impl Iterator<Item = PartitionKey> + use<> {
    let (id, partitions) = (topic.id, topic.partitions);
    (0..partitions).map(move |no| PartitionKey::new(id, PartitionNo(no)))
}

/// A topic by its name or id.
pub(super) fn find<I: Io>(core: &Core<I>, topic: &TopicRef) -> Result<TopicInfo, EngineError> {
    let catalog = core.catalog.borrow();
    let (found, asked) = match topic {
        TopicRef::Name(name) => (catalog.by_name(name), name.clone()),
        TopicRef::Id(id) => (catalog.by_id(*id), id.to_string()),
    };
    match found {
        Some(found) => Ok(info(core, found)),
        None => Err(EngineError::UnknownTopic(asked)),
    }
}

/// The topics asked for, or all in the order of their names.
pub(super) fn list<I: Io>(
    core: &Core<I>,
    which: Option<&[TopicRef]>,
) -> Vec<Result<TopicInfo, EngineError>> {
    match which {
        Some(asked) => asked.iter().map(|topic| find(core, topic)).collect(),
        None => {
            let catalog = core.catalog.borrow();
            catalog
                .topics()
                .map(|topic| Ok(info(core, topic)))
                .collect()
        }
    }
}

/// The state of partitions of this core.
pub(super) fn infos<I: Io>(
    core: &Core<I>,
    keys: &[PartitionKey],
) -> Vec<Result<PartitionInfo, EngineError>> {
    let one = |key: &PartitionKey| core.find(*key).map(|hosted| hosted.info(core.here()));
    keys.iter().map(one).collect()
}

/// The state of every partition of a topic, from all cores. The first partition that has an error answers for all:
/// an incomplete picture would look like a complete one.
pub(super) async fn describe<I: Io>(
    core: &Rc<Core<I>>,
    topic: &TopicRef,
) -> Result<(TopicInfo, Vec<PartitionInfo>), EngineError> {
    let info = find(core, topic)?;
    let mut by_core: BTreeMap<CoreId, Vec<PartitionKey>> = BTreeMap::new();
    for (no, owner) in (0..info.partitions).zip(&info.owners) {
        let key = PartitionKey::new(info.id, PartitionNo(no));
        by_core.entry(*owner).or_default().push(key);
    }
    let mut found = BTreeMap::new();
    for (owner, keys) in by_core {
        let states = if owner == core.here() {
            infos(core, &keys)
        } else {
            match core.post.ask(owner, Request::Describe(keys.clone())).await {
                Reply::Described(states) => states,
                Reply::Stopping => return Err(EngineError::Stopping),
                other => panic!("a describe was answered with {}", other.kind()),
            }
        };
        for (key, state) in keys.into_iter().zip(states) {
            found.insert(key, state?);
        }
    }
    Ok((info, found.into_values().collect()))
}

/// Acts on a stored record: opens or deletes this core's partitions of the topic, and takes the record into this
/// core's catalog. A topic shows up here only once its partitions are open, and is gone before they are deleted.
pub(super) async fn apply<I: Io>(core: &Rc<Core<I>>, record: &Record) -> Result<(), String> {
    core.serving().await;
    let failures = match record {
        Record::TopicCreated(topic) => {
            let failures = open_all(core, topic, 0).await;
            take(core, record);
            failures
        }
        Record::TopicDeleted { id } => {
            let topic = core.catalog.borrow().by_id(*id).cloned();
            let topic = topic.expect("core 0 deletes what every core's catalog has");
            take(core, record);
            groups::forget_topic(core, *id);
            delete_all(core, &topic).await
        }
        Record::TopicAltered {
            id,
            partitions,
            settings,
        } => {
            let topic = core.catalog.borrow().by_id(*id).cloned();
            let topic = topic.expect("core 0 changes what every core's catalog has");
            let before = topic.partitions;
            let altered = Topic {
                partitions: *partitions,
                settings: *settings,
                ..topic
            };
            let mut failures = open_all(core, &altered, before).await;
            take(core, record);
            set_all(core, &altered);
            failures.extend(queues::add_partitions(core, *id, before).await);
            failures
        }
        Record::QueueCreated(queue) => {
            let failures = queues::create(core, queue).await;
            take(core, record);
            failures
        }
        Record::QueueDeleted { id } => {
            let queue = core.catalog.borrow().queue(*id).cloned();
            let queue = queue.expect("core 0 deletes what every core's catalog has");
            take(core, record);
            queues::close(core, &queue).await
        }
    };
    if failures.is_empty() {
        Ok(())
    } else {
        Err(failures.join("; "))
    }
}

fn take<I: Io>(core: &Core<I>, record: &Record) {
    let mut catalog = core.catalog.borrow_mut();
    catalog
        .apply(record)
        .expect("all cores apply the same records in the same order");
}

/// Opens this core's partitions of a topic, from number `first` on.
async fn open_all<I: Io>(core: &Core<I>, topic: &Topic, first: u32) -> Vec<String> {
    let mut failures = Vec::new();
    for key in keys(topic).filter(|key| key.partition.0 >= first && core.owns(*key)) {
        failures.extend(open(core, topic, key).await);
    }
    failures
}

/// Tells this core's partitions of a topic what it is set to.
fn set_all<I: Io>(core: &Core<I>, topic: &Topic) {
    let seats = core.seats.borrow();
    for key in keys(topic) {
        if let Some(Seat::Serving(hosted)) = seats.get(&key) {
            hosted.set_settings(topic.settings);
        }
    }
}

/// Opens a partition of this core; returns what went wrong, if anything.
pub(super) async fn open<I: Io>(
    core: &Core<I>,
    topic: &Topic,
    key: PartitionKey,
) -> Option<String> {
    let segments = segment_settings(&topic.settings);
    let (seat, failure) = match core.log.open(key, segments).await {
        Ok(log) => (Seat::Serving(Hosted::new(log, topic.settings)), None),
        Err(error) => {
            let failure = format!("partition {key}: {error}");
            (Seat::Closed(error.to_string()), Some(failure))
        }
    };
    core.seats.borrow_mut().insert(key, seat);
    failure
}

async fn delete_all<I: Io>(core: &Core<I>, topic: &Topic) -> Vec<String> {
    let mut failures = Vec::new();
    for key in keys(topic).filter(|key| core.owns(*key)) {
        let seat = core.seats.borrow_mut().remove(&key);
        if let Some(Seat::Serving(hosted)) = seat {
            hosted.mark_deleted();
        }
        if let Err(error) = core.log.delete(key).await {
            failures.push(format!("partition {key}: {error}"));
        }
    }
    failures
}
