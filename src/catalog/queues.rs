//! The queues of the catalog: what is decided about them, and what their records add up to.

use crate::base::limits::QUEUES_MAX;
use crate::base::queue::QueueSettings;
use crate::base::{PartitionKey, TopicId};
use crate::catalog::rules::{Refusal, check_name};
use crate::catalog::state::Contradiction;
use crate::catalog::{Catalog, Queue, Record};
use std::collections::BTreeMap;

/// The queues that live.
#[derive(Clone, Debug, Default)]
pub(super) struct Queues {
    all: BTreeMap<TopicId, Queue>,
    names: BTreeMap<String, TopicId>,
}

/// A queue that is to be made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewQueue {
    /// Its name.
    pub name: String,
    /// Whose records it hands out.
    pub topic: TopicId,
    /// Where its dead records go.
    pub dead_letters: Option<TopicId>,
    /// It begins with what comes after it was made.
    pub from_end: bool,
    /// What else it is set to; whether there are dead letters follows from above.
    pub settings: QueueSettings,
}

impl Queues {
    pub(super) fn by_id(&self, id: TopicId) -> Option<&Queue> {
        self.all.get(&id)
    }

    /// A queue that takes its records from a topic or brings its dead ones there, if any does.
    pub(super) fn using(&self, topic: TopicId) -> Option<&Queue> {
        let mut all = self.all.values();
        all.find(|queue| queue.topic == topic || queue.dead_letters == Some(topic))
    }

    /// How many partitions a partition of a topic stands for, with those of the queues on it.
    pub(super) fn partitions_each(&self, topic: TopicId) -> u64 {
        let on_it = self.all.values().filter(|queue| queue.topic == topic);
        1 + on_it.count() as u64
    }
}

impl Catalog {
    /// Decides on a new queue under the id drawn for it, which stands beside that of its topic ([`TopicId::beside`]).
    pub fn decide_create_queue(&self, id: TopicId, new: NewQueue) -> Result<Record, Refusal> {
        assert!(!self.is_used(id), "the caller drew an unused id");
        assert!(id.is_beside(new.topic), "the caller drew it for this topic");
        check_name(&new.name)?;
        let mut settings = new.settings;
        settings.has_dead_letters = new.dead_letters.is_some();
        settings.check().map_err(Refusal::QueueSetting)?;
        if self.queues.names.contains_key(&new.name) {
            return Err(Refusal::QueueExists(new.name));
        }
        if self.queues.all.len() >= QUEUES_MAX {
            return Err(Refusal::TooManyQueues);
        }
        let topic = self.by_id(new.topic);
        let topic = topic.ok_or_else(|| Refusal::Unknown(new.topic.to_string()))?;
        if let Some(dead) = new.dead_letters {
            if dead == new.topic {
                return Err(Refusal::DeadLettersCircle);
            }
            let found = self.by_id(dead);
            found.ok_or_else(|| Refusal::Unknown(dead.to_string()))?;
        }
        self.check_room(u64::from(topic.partitions))?;
        Ok(Record::QueueCreated(Queue {
            id,
            name: new.name,
            topic: new.topic,
            dead_letters: new.dead_letters,
            from_end: new.from_end,
            settings,
        }))
    }

    /// Decides on the end of a queue.
    pub fn decide_delete_queue(&self, id: TopicId) -> Result<Record, Refusal> {
        match self.queue(id) {
            Some(_) => Ok(Record::QueueDeleted { id }),
            None => Err(Refusal::UnknownQueue(id.to_string())),
        }
    }

    pub(super) fn apply_queue(&mut self, queue: &Queue) -> Result<(), Contradiction> {
        if self.is_used(queue.id) {
            return Err(Contradiction::IdReused(queue.id));
        }
        if self.queues.names.contains_key(&queue.name) {
            return Err(Contradiction::NameReused(queue.name.clone()));
        }
        let is_lost = |topic: &TopicId| !self.topics.contains_key(topic);
        let is_dead_lost = queue.dead_letters.as_ref().is_some_and(is_lost);
        let Some(topic) = self.topics.get(&queue.topic) else {
            return Err(Contradiction::Queue(queue.id));
        };
        if is_dead_lost || !queue.id.is_beside(queue.topic) {
            return Err(Contradiction::Queue(queue.id));
        }
        self.partitions += u64::from(topic.partitions);
        self.queues.names.insert(queue.name.clone(), queue.id);
        self.queues.all.insert(queue.id, queue.clone());
        Ok(())
    }

    pub(super) fn apply_queue_deleted(&mut self, id: TopicId) -> Result<(), Contradiction> {
        let Some(queue) = self.queues.all.remove(&id) else {
            return Err(Contradiction::Queue(id));
        };
        self.queues.names.remove(&queue.name);
        self.partitions -= u64::from(self.topics[&queue.topic].partitions);
        self.deleted.insert(id);
        Ok(())
    }

    /// A queue by its id.
    pub fn queue(&self, id: TopicId) -> Option<&Queue> {
        self.queues.by_id(id)
    }

    /// A queue by its name.
    pub fn queue_by_name(&self, name: &str) -> Option<&Queue> {
        let id = self.queues.names.get(name)?;
        self.queues.by_id(*id)
    }

    /// All queues, in the order of their names.
    pub fn queues(&self) -> impl Iterator<Item = &Queue> {
        self.queues.names.values().map(|id| &self.queues.all[id])
    }

    /// Whether `key` is a partition that a queue that lives keeps its ledger in.
    pub fn has_ledger(&self, key: PartitionKey) -> bool {
        self.queue(key.topic)
            .is_some_and(|queue| self.has_partition(PartitionKey::new(queue.topic, key.partition)))
    }

    /// The queues that take their records from a topic.
    pub fn queues_on(&self, topic: TopicId) -> impl Iterator<Item = &Queue> {
        let all = self.queues.all.values();
        all.filter(move |queue| queue.topic == topic)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{PartitionNo, TopicChange, TopicSettings};

    const TOPIC: TopicId = TopicId(5 << 64 | 77 << 32);
    const DEAD: TopicId = TopicId(6 << 64 | 78 << 32);

    fn catalog() -> Catalog {
        let mut catalog = Catalog::new();
        for (id, name) in [(TOPIC, "orders"), (DEAD, "dead")] {
            let settings = TopicSettings::default();
            let record = catalog.decide_create(id, name, 3, settings);
            catalog.apply(&record.expect("free")).expect("decided");
        }
        catalog
    }

    fn new(name: &str, dead_letters: Option<TopicId>) -> NewQueue {
        NewQueue {
            name: name.to_owned(),
            topic: TOPIC,
            dead_letters,
            from_end: false,
            settings: QueueSettings::default(),
        }
    }

    fn create(catalog: &mut Catalog, no: u64, new: NewQueue) -> Result<TopicId, Refusal> {
        let id = TOPIC.beside(no);
        let record = catalog.decide_create_queue(id, new)?;
        catalog.apply(&record).expect("decided in this state");
        Ok(id)
    }

    #[test]
    fn a_queue_lives_and_dies_and_holds_its_topics() {
        let mut catalog = catalog();
        let id = create(&mut catalog, 1, new("work", Some(DEAD))).expect("free");
        let again = create(&mut catalog, 2, new("work", None));
        assert_eq!(again, Err(Refusal::QueueExists("work".to_owned())));
        assert_eq!(catalog.partitions, 9);
        for topic in [TOPIC, DEAD] {
            let refused = catalog.decide_delete(topic);
            assert!(matches!(refused, Err(Refusal::InUse { .. })));
        }
        let change = TopicChange {
            partitions: Some(5),
            ..TopicChange::default()
        };
        let wider = catalog.decide_alter(TOPIC, &change).expect("may be");
        catalog.apply(&wider.expect("a change")).expect("decided");
        assert_eq!(catalog.partitions, 13, "its queue has as many more");
        assert!(catalog.queue(id).expect("lives").settings.has_dead_letters);
        let ledger = |topic, no| catalog.has_ledger(PartitionKey::new(topic, PartitionNo(no)));
        assert!(ledger(id, 4) && !ledger(id, 5) && !ledger(TOPIC, 0));
        let deleted = catalog.decide_delete_queue(id).expect("it lives");
        catalog.apply(&deleted).expect("decided");
        assert!(catalog.is_deleted(id) && catalog.queues().next().is_none());
        assert_eq!(catalog.partitions, 8);
        let gone = catalog.decide_delete(TOPIC).expect("nobody needs it");
        catalog.apply(&gone).expect("decided");
    }

    #[test]
    fn what_cannot_be_is_refused_and_named() {
        let mut catalog = catalog();
        let circle = create(&mut catalog, 1, new("work", Some(TOPIC)));
        assert_eq!(circle, Err(Refusal::DeadLettersCircle));
        let lost = create(&mut catalog, 1, new("work", Some(TopicId(1 << 99))));
        assert!(matches!(lost, Err(Refusal::Unknown(_))));
        assert_eq!(
            create(&mut catalog, 1, new("a/b", None)),
            Err(Refusal::Name)
        );
        let mut wrong = new("work", None);
        wrong.settings.lease_ms = 0;
        let wrong = create(&mut catalog, 1, wrong);
        assert!(matches!(wrong, Err(Refusal::QueueSetting(_))));
        assert_eq!(
            catalog.decide_delete_queue(TOPIC),
            Err(Refusal::UnknownQueue(TOPIC.to_string()))
        );
    }

    #[test]
    fn records_that_contradict_are_told_and_change_nothing() {
        let mut catalog = catalog();
        let record = catalog.decide_create_queue(TOPIC.beside(1), new("work", Some(DEAD)));
        let record = record.expect("free");
        catalog.apply(&record).expect("decided");
        let id = TOPIC.beside(1);
        assert_eq!(catalog.apply(&record), Err(Contradiction::IdReused(id)));
        let Record::QueueCreated(queue) = record else {
            panic!("a created queue");
        };
        let with = |change: fn(&mut Queue)| {
            let mut queue = queue.clone();
            queue.id = TOPIC.beside(2);
            queue.name = "other".to_owned();
            change(&mut queue);
            Record::QueueCreated(queue)
        };
        for wrong in [
            with(|queue| queue.name = "work".to_owned()),
            with(|queue| queue.topic = TopicId(1 << 99)),
            with(|queue| queue.dead_letters = Some(TopicId(1 << 99))),
            with(|queue| queue.id = TopicId(1 << 99)),
            Record::QueueDeleted { id: TOPIC },
            Record::TopicDeleted { id: TOPIC },
            Record::TopicDeleted { id: DEAD },
        ] {
            assert!(catalog.apply(&wrong).is_err(), "{wrong:?}");
        }
        assert_eq!((catalog.queues().count(), catalog.partitions), (1, 9));
    }
}
