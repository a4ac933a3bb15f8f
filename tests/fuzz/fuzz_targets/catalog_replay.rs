//! Goal: no sequence of catalog records makes the replay panic or leaves a catalog that contradicts itself.
//! Input: records, each behind a byte that says how long it is.
#![no_main]

use libfuzzer_sys::fuzz_target;
use millrace::base::{PartitionKey, PartitionNo};
use millrace::catalog::{Catalog, Record, check_name};

fuzz_target!(|bytes: &[u8]| {
    let (mut catalog, mut rest) = (Catalog::new(), bytes);
    while let Some((&length, bytes)) = rest.split_first() {
        let (bytes, others) = bytes.split_at(bytes.len().min(usize::from(length)));
        rest = others;
        let Ok(record) = Record::decode(bytes) else {
            return;
        };
        if let Err(contradiction) = catalog.apply(&record) {
            assert!(!contradiction.to_string().is_empty());
            return;
        }
        match &record {
            Record::TopicCreated(topic) => assert_eq!(catalog.by_id(topic.id), Some(topic)),
            Record::TopicDeleted { id } => assert!(catalog.is_deleted(*id)),
            Record::TopicAltered {
                id,
                partitions,
                settings,
            } => {
                let topic = catalog.by_id(*id).expect("only what is there is altered");
                assert_eq!((topic.partitions, topic.settings), (*partitions, *settings));
            }
            Record::QueueCreated(queue) => assert_eq!(catalog.queue(queue.id), Some(queue)),
            Record::QueueDeleted { id } => assert!(catalog.is_deleted(*id)),
        }
    }
    for queue in catalog.queues() {
        assert_eq!(catalog.queue_by_name(&queue.name), Some(queue));
        assert!(catalog.by_id(queue.topic).is_some() && queue.id.is_beside(queue.topic));
        assert!(catalog.decide_delete(queue.topic).is_err());
    }
    let mut last = "";
    for topic in catalog.topics() {
        assert!(last < topic.name.as_str(), "in the order of their names");
        last = &topic.name;
        assert_eq!(check_name(&topic.name), Ok(()));
        assert_eq!(catalog.by_name(&topic.name), Some(topic));
        assert!(catalog.is_used(topic.id) && !catalog.is_deleted(topic.id));
        let behind = PartitionKey::new(topic.id, PartitionNo(topic.partitions));
        assert!(!catalog.has_partition(behind));
    }
});
