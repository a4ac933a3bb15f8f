//! What the records add up to.

use crate::base::limits::{NODE_PARTITIONS_MAX, TOPICS_MAX};
use crate::base::{PartitionKey, TopicId};
use crate::catalog::rules::{Refusal, check_name, check_partitions, check_settings};
use crate::catalog::{Record, Settings, Topic};
use std::collections::{BTreeMap, BTreeSet};
use thiserror::Error;

/// The topics of the node.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    topics: BTreeMap<TopicId, Topic>,
    names: BTreeMap<String, TopicId>,
    /// Kept for good: the evidence that lets a start remove what a crash left of a deleted topic, and that an id is
    /// not used twice. 16 bytes for each topic that ever died.
    deleted: BTreeSet<TopicId>,
    partitions: u64,
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
        settings: Settings,
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
        let all = self.partitions + u64::from(partitions);
        if all > NODE_PARTITIONS_MAX {
            return Err(Refusal::TooManyPartitions(all));
        }
        Ok(Record::TopicCreated(Topic {
            id,
            name: name.to_owned(),
            partitions,
            settings,
        }))
    }

    /// Decides on the end of a topic.
    pub fn decide_delete(&self, id: TopicId) -> Result<Record, Refusal> {
        if self.topics.contains_key(&id) {
            Ok(Record::TopicDeleted { id })
        } else {
            Err(Refusal::Unknown(id.to_string()))
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
                let Some(topic) = self.topics.remove(id) else {
                    return Err(Contradiction::DeletedUnknown(*id));
                };
                self.partitions -= u64::from(topic.partitions);
                self.names.remove(&topic.name);
                self.deleted.insert(*id);
            }
        }
        Ok(())
    }

    /// Whether `id` belongs to a topic that lives or lived, or to the catalog itself.
    pub fn is_used(&self, id: TopicId) -> bool {
        id == crate::catalog::CATALOG_KEY.topic
            || self.topics.contains_key(&id)
            || self.deleted.contains(&id)
    }

    /// Whether `id` was a topic and is none any more: what is left of it may be removed.
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

    fn settings() -> Settings {
        Settings {
            ack: AckLevel::Written,
            segment_bytes: SEGMENT_BYTES_DEFAULT,
            segment_ms: SEGMENT_MS_DEFAULT,
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

    /// Goal: replaying the stored bytes gives the same catalog. Method: seeded creates and deletes against a plain
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
                    Some(id) if prng.chance(1, 2) => catalog.decide_delete(*id),
                    _ => catalog.decide_create(TopicId(step + 1), &name, 1, settings()),
                };
                let taken = living.contains_key(&name);
                match &decided {
                    Ok(Record::TopicDeleted { .. }) => drop(living.remove(&name)),
                    Ok(Record::TopicCreated(topic)) => drop(living.insert(name, topic.id)),
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
            let names: Vec<_> = living.into_iter().collect();
            let got: Vec<_> = replayed.topics().map(|t| (t.name.clone(), t.id)).collect();
            assert_eq!(got, names, "seed {seed}");
        }
    }
}
