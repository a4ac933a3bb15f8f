//! What the records add up to.

use crate::base::limits::{NODE_PARTITIONS_MAX, TOPICS_MAX};
use crate::base::{PartitionKey, TopicChange, TopicId, TopicSettings};
use crate::catalog::queues::Queues;
use crate::catalog::rules::{Refusal, check_name, check_partitions, check_settings};
use crate::catalog::{Record, Topic};
use std::collections::{BTreeMap, BTreeSet};
use thiserror::Error;

/// The topics of the node.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    pub(super) topics: BTreeMap<TopicId, Topic>,
    names: BTreeMap<String, TopicId>,
    /// Kept for good: the evidence that lets a start remove what a crash left of a deleted topic, and that an id is
    /// not used twice. 16 bytes for each topic that ever died.
    pub(super) deleted: BTreeSet<TopicId>,
    pub(super) partitions: u64,
    pub(super) queues: Queues,
}

/// A record that contradicts those before it: the stored catalog is damaged.
#[derive(Error, Clone, PartialEq, Eq, Debug)]
pub enum Contradiction {
    /// An id was given out twice.
    #[error("topic id {0} was created twice")]
    IdReused(TopicId),
    /// A name was given out while it was taken.
    #[error("topic name {0} was created twice")]
    NameReused(String),
    /// A topic that does not live was deleted.
    #[error("topic id {0} was deleted and did not exist")]
    DeletedUnknown(TopicId),
    /// A topic that does not live was changed, or lost partitions by it.
    #[error("topic id {0} was changed, and did not exist or had more partitions")]
    AlteredWrongly(TopicId),
    /// A topic was deleted that a queue needs, or a queue was made that cannot be, or deleted and did not live.
    #[error("queue {0} does not fit the topics and queues that there were")]
    Queue(TopicId),
}

impl Catalog {
    /// A catalog without topics.
    pub fn new() -> Self {
        Self::default()
    }

    /// Decides on a new topic under the id drawn for it: the record to store, or why not.
    pub fn decide_create(
        &self,
        id: TopicId,
        name: &str,
        partitions: u32,
        settings: TopicSettings,
    ) -> Result<Record, Refusal> {
        assert!(!self.is_used(id), "the caller drew an unused id");
        check_name(name)?;
        check_partitions(partitions)?;
        check_settings(&settings)?;
        if self.names.contains_key(name) {
            return Err(Refusal::Exists(name.to_owned()));
        }
        if self.topics.len() >= TOPICS_MAX {
            return Err(Refusal::TooManyTopics);
        }
        self.check_room(u64::from(partitions))?;
        Ok(Record::TopicCreated(Topic {
            id,
            name: name.to_owned(),
            partitions,
            settings,
        }))
    }

    /// Decides on the end of a topic.
    pub fn decide_delete(&self, id: TopicId) -> Result<Record, Refusal> {
        let Some(topic) = self.topics.get(&id) else {
            return Err(Refusal::Unknown(id.to_string()));
        };
        match self.queues.using(id) {
            None => Ok(Record::TopicDeleted { id }),
            Some(queue) => Err(Refusal::InUse {
                topic: topic.name.clone(),
                queue: queue.name.clone(),
            }),
        }
    }

    /// Decides on a change of a topic. `None`: it is so already, nothing needs to be stored.
    pub fn decide_alter(
        &self,
        id: TopicId,
        change: &TopicChange,
    ) -> Result<Option<Record>, Refusal> {
        let topic = self.topics.get(&id);
        let topic = topic.ok_or_else(|| Refusal::Unknown(id.to_string()))?;
        let settings = change.applied_to(topic.settings);
        let partitions = change.partitions.unwrap_or(topic.partitions);
        check_partitions(partitions)?;
        check_settings(&settings)?;
        let Some(more) = partitions.checked_sub(topic.partitions) else {
            return Err(Refusal::FewerPartitions {
                have: topic.partitions,
                asked: partitions,
            });
        };
        self.check_room(u64::from(more) * self.queues.partitions_each(id))?;
        let is_change = more > 0 || settings != topic.settings;
        Ok(is_change.then_some(Record::TopicAltered {
            id,
            partitions,
            settings,
        }))
    }

    pub(super) fn check_room(&self, more_partitions: u64) -> Result<(), Refusal> {
        match self.partitions + more_partitions {
            all if all > NODE_PARTITIONS_MAX => Err(Refusal::TooManyPartitions(all)),
            _ => Ok(()),
        }
    }

    /// Takes a stored record into the state. An error leaves the state as it was.
    pub fn apply(&mut self, record: &Record) -> Result<(), Contradiction> {
        match record {
            Record::TopicCreated(topic) => {
                if self.is_used(topic.id) {
                    return Err(Contradiction::IdReused(topic.id));
                }
                if self.names.contains_key(&topic.name) {
                    return Err(Contradiction::NameReused(topic.name.clone()));
                }
                self.partitions += u64::from(topic.partitions);
                self.names.insert(topic.name.clone(), topic.id);
                self.topics.insert(topic.id, topic.clone());
            }
            Record::TopicDeleted { id } => {
                if let Some(queue) = self.queues.using(*id) {
                    return Err(Contradiction::Queue(queue.id));
                }
                let Some(topic) = self.topics.remove(id) else {
                    return Err(Contradiction::DeletedUnknown(*id));
                };
                self.partitions -= u64::from(topic.partitions);
                self.names.remove(&topic.name);
                self.deleted.insert(*id);
            }
            Record::TopicAltered {
                id,
                partitions,
                settings,
            } => {
                let topic = self.topics.get_mut(id);
                let Some(topic) = topic.filter(|topic| topic.partitions <= *partitions) else {
                    return Err(Contradiction::AlteredWrongly(*id));
                };
                let more = u64::from(*partitions - topic.partitions);
                self.partitions += more * self.queues.partitions_each(*id);
                topic.partitions = *partitions;
                topic.settings = *settings;
            }
            Record::QueueCreated(queue) => self.apply_queue(queue)?,
            Record::QueueDeleted { id } => self.apply_queue_deleted(*id)?,
        }
        Ok(())
    }

    /// Whether `id` belongs to a topic or a queue that lives or lived, or to the catalog itself.
    pub fn is_used(&self, id: TopicId) -> bool {
        id == crate::catalog::CATALOG_KEY.topic
            || self.topics.contains_key(&id)
            || self.queues.by_id(id).is_some()
            || self.deleted.contains(&id)
    }

    /// Whether `id` was a topic or a queue and is none any more: what is left of it may be removed.
    pub fn is_deleted(&self, id: TopicId) -> bool {
        self.deleted.contains(&id)
    }

    /// Whether `key` is a partition of a topic that lives.
    pub fn has_partition(&self, key: PartitionKey) -> bool {
        self.topics
            .get(&key.topic)
            .is_some_and(|topic| key.partition.0 < topic.partitions)
    }

    /// A topic by its id.
    pub fn by_id(&self, id: TopicId) -> Option<&Topic> {
        self.topics.get(&id)
    }

    /// A topic by its name.
    pub fn by_name(&self, name: &str) -> Option<&Topic> {
        self.names.get(name).and_then(|id| self.topics.get(id))
    }

    /// All topics, in the order of their names.
    pub fn topics(&self) -> impl Iterator<Item = &Topic> {
        self.names.values().map(|id| &self.topics[id])
    }

    /// How many topics live.
    pub fn len(&self) -> usize {
        self.topics.len()
    }

    /// Whether no topic lives.
    pub fn is_empty(&self) -> bool {
        self.topics.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::limits::{SEGMENT_BYTES_DEFAULT, SEGMENT_MS_DEFAULT, TOPIC_PARTITIONS_MAX};
    use crate::base::prng::Prng;
    use crate::base::{AckLevel, PartitionNo};

    fn settings() -> TopicSettings {
        TopicSettings {
            ack: AckLevel::Written,
            segment_bytes: SEGMENT_BYTES_DEFAULT,
            segment_ms: SEGMENT_MS_DEFAULT,
            ..TopicSettings::default()
        }
    }

    fn create(catalog: &mut Catalog, id: u128, name: &str) -> Result<Record, Refusal> {
        let record = catalog.decide_create(TopicId(id), name, 2, settings())?;
        catalog.apply(&record).expect("decided in this state");
        Ok(record)
    }

    #[test]
    fn a_topic_lives_and_dies() {
        let mut catalog = Catalog::new();
        create(&mut catalog, 7, "a").expect("free");
        assert_eq!(
            create(&mut catalog, 8, "a"),
            Err(Refusal::Exists("a".into()))
        );
        assert!(catalog.has_partition(PartitionKey::new(TopicId(7), PartitionNo(1))));
        assert!(!catalog.has_partition(PartitionKey::new(TopicId(7), PartitionNo(2))));
        let record = catalog.decide_delete(TopicId(7)).expect("it lives");
        catalog.apply(&record).expect("decided in this state");
        assert!(catalog.is_empty() && catalog.is_deleted(TopicId(7)));
        assert!(catalog.decide_delete(TopicId(7)).is_err());
        create(&mut catalog, 8, "a").expect("the name is free again");
        assert_eq!(catalog.by_name("a").map(|topic| topic.id), Some(TopicId(8)));
    }

    #[test]
    fn records_that_contradict_are_named_and_change_nothing() {
        let mut catalog = Catalog::new();
        let first = create(&mut catalog, 7, "a").expect("free");
        assert_eq!(
            catalog.apply(&first),
            Err(Contradiction::IdReused(TopicId(7)))
        );
        let Record::TopicCreated(mut topic) = first else {
            panic!("a created topic");
        };
        topic.id = TopicId(9);
        let again = Record::TopicCreated(topic);
        assert_eq!(
            catalog.apply(&again),
            Err(Contradiction::NameReused("a".into()))
        );
        let unknown = Record::TopicDeleted { id: TopicId(9) };
        assert_eq!(
            catalog.apply(&unknown),
            Err(Contradiction::DeletedUnknown(TopicId(9)))
        );
        assert_eq!(catalog.len(), 1);
    }

    #[test]
    fn a_topic_is_changed_and_never_loses_a_partition() {
        let mut catalog = Catalog::new();
        create(&mut catalog, 7, "a").expect("free");
        let change = |partitions, batch_bytes_max| TopicChange {
            partitions,
            batch_bytes_max,
            ..TopicChange::default()
        };
        let (id, same) = (TopicId(7), change(Some(2), None));
        assert_eq!(
            catalog.decide_alter(id, &same),
            Ok(None),
            "it is so already"
        );
        for (wrong, refusal) in [
            (
                change(Some(1), None),
                Refusal::FewerPartitions { have: 2, asked: 1 },
            ),
            (change(Some(0), None), Refusal::Partitions(0)),
            (change(None, Some(0)), Refusal::BatchBytes(0)),
        ] {
            assert_eq!(catalog.decide_alter(id, &wrong), Err(refusal));
        }
        let other = TopicId(8);
        let unknown = Refusal::Unknown(other.to_string());
        assert_eq!(catalog.decide_alter(other, &same), Err(unknown));
        let record = catalog.decide_alter(id, &change(Some(5), Some(9)));
        let record = record.expect("may be").expect("a change");
        catalog.apply(&record).expect("decided in this state");
        assert!(catalog.has_partition(PartitionKey::new(id, PartitionNo(4))));
        assert_eq!(
            catalog.by_id(id).expect("lives").settings.batch_bytes_max,
            9
        );
        let Record::TopicAltered { settings, .. } = record else {
            panic!("an altered topic");
        };
        for (id, partitions) in [(id, 4), (TopicId(9), 5)] {
            let wrong = Record::TopicAltered {
                id,
                partitions,
                settings,
            };
            assert_eq!(
                catalog.apply(&wrong),
                Err(Contradiction::AlteredWrongly(id))
            );
        }
    }

    #[test]
    fn a_node_has_room_for_so_many_partitions() {
        let mut catalog = Catalog::new();
        let mut made = 0;
        let refusal = loop {
            let name = format!("t{made}");
            let id = TopicId(1 + made);
            match catalog.decide_create(id, &name, TOPIC_PARTITIONS_MAX, settings()) {
                Ok(record) => catalog.apply(&record).expect("decided in this state"),
                Err(refusal) => break refusal,
            }
            made += 1;
        };
        assert!(matches!(refusal, Refusal::TooManyPartitions(_)));
        assert_eq!(
            made as u64,
            NODE_PARTITIONS_MAX / u64::from(TOPIC_PARTITIONS_MAX)
        );
    }

    /// Goal: replaying the stored bytes gives the same catalog. Method: seeded creates, changes and deletes against a plain
    /// list of living names; then all records, through their bytes, into an empty catalog.
    #[test]
    fn replay_gives_the_same_state() {
        for seed in 0..100 {
            let mut prng = Prng::new(seed);
            let (mut catalog, mut stored) = (Catalog::new(), Vec::new());
            let mut living: BTreeMap<String, TopicId> = BTreeMap::new();
            for step in 0..200u128 {
                let name = format!("topic-{}", prng.below(20));
                let decided = match living.get(&name) {
                    Some(id) if prng.chance(1, 3) => catalog.decide_delete(*id),
                    Some(id) if prng.chance(1, 2) => {
                        let change = TopicChange {
                            partitions: Some(1 + prng.below(9) as u32),
                            segment_ms: prng.chance(1, 2).then_some(5_000),
                            ..TopicChange::default()
                        };
                        match catalog.decide_alter(*id, &change) {
                            Ok(Some(record)) => Ok(record),
                            Ok(None) => continue,
                            Err(refusal) => Err(refusal),
                        }
                    }
                    _ => catalog.decide_create(TopicId(step + 1), &name, 1, settings()),
                };
                let taken = living.contains_key(&name);
                match &decided {
                    Ok(Record::TopicDeleted { .. }) => drop(living.remove(&name)),
                    Ok(Record::TopicCreated(topic)) => drop(living.insert(name, topic.id)),
                    Ok(Record::TopicAltered { id, .. }) => assert_eq!(living[&name], *id),
                    Ok(other) => panic!("{other:?}"),
                    Err(_) => assert!(taken),
                }
                if let Ok(record) = decided {
                    catalog.apply(&record).expect("decided in this state");
                    let mut bytes = Vec::new();
                    record.encode(&mut bytes);
                    stored.push(bytes);
                }
            }
            let mut replayed = Catalog::new();
            for bytes in &stored {
                let record = Record::decode(bytes).expect("encoded by us");
                replayed.apply(&record).expect("the same order");
            }
            assert!(replayed.topics().eq(catalog.topics()), "seed {seed}");
            let partitions: u64 = replayed.topics().map(|t| u64::from(t.partitions)).sum();
            assert_eq!(
                (replayed.partitions, catalog.partitions),
                (partitions, partitions)
            );
            let names: Vec<_> = living.into_iter().collect();
            let got: Vec<_> = replayed.topics().map(|t| (t.name.clone(), t.id)).collect();
            assert_eq!(got, names, "seed {seed}");
        }
    }
}
