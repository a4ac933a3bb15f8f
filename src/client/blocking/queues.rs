//! Queues, as tools see them.

use super::Client;
use crate::base::PartitionNo;
use crate::base::limits::{QUEUES_MAX, TOPIC_PARTITIONS_MAX};
use crate::base::queue::Held;
use crate::client::ClientError;
use crate::protocol::native::{NewQueue, PageState, QueueAsk, QueueInfo, QueueTold, Reply};

/// The state of one partition of a queue.
pub type PartitionState = PageState;

/// A queue, and where its records are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct QueueStates {
    /// The queue.
    pub queue: QueueInfo,
    /// Its partitions.
    pub partitions: Vec<PartitionState>,
}

impl Client {
    /// Makes a queue. A lost connection is not tried again: the queue may have been made.
    pub fn create_queue(&mut self, queue: &NewQueue) -> Result<QueueInfo, ClientError> {
        match self.ask_queue(false, &QueueAsk::Create(queue.clone()))? {
            QueueTold::Created(queue) => Ok(queue),
            _ => unreachable!("the session holds replies against requests"),
        }
    }

    /// Deletes a queue; the records of its topic stay. A lost connection is not tried again: it may have been deleted.
    pub fn delete_queue(&mut self, name: &str) -> Result<(), ClientError> {
        let name = name.to_owned();
        self.ask_queue(false, &QueueAsk::Delete { name }).map(drop)
    }

    /// One queue.
    pub fn queue(&mut self, name: &str) -> Result<QueueInfo, ClientError> {
        let only = Some(name.to_owned());
        let told = self.ask_queue(true, &QueueAsk::List { only, after: None })?;
        let QueueTold::Listed(queues, _) = told else {
            unreachable!("the session holds replies against requests")
        };
        let first = queues.into_iter().next();
        first.ok_or_else(|| self.odd("no answer for the queue asked"))
    }

    /// All queues, by name.
    pub fn queues(&mut self) -> Result<Vec<QueueInfo>, ClientError> {
        let mut queues: Vec<QueueInfo> = Vec::new();
        loop {
            let after = queues.last().map(|queue| queue.name.clone());
            let told = self.ask_queue(true, &QueueAsk::List { only: None, after })?;
            let QueueTold::Listed(page, more) = told else {
                unreachable!("the session holds replies against requests")
            };
            let is_empty = page.is_empty();
            for queue in page {
                let is_behind = queues.last().is_none_or(|last| last.name < queue.name);
                if queues.len() == QUEUES_MAX || !is_behind {
                    return Err(self.odd("queues without order or end"));
                }
                queues.push(queue);
            }
            if !more || is_empty {
                return Ok(queues);
            }
        }
    }

    /// A queue and where its records are.
    pub fn describe_queue(&mut self, name: &str) -> Result<QueueStates, ClientError> {
        let mut partitions = Vec::new();
        loop {
            let ask = QueueAsk::Describe {
                name: name.to_owned(),
                first: partitions.len() as u32,
            };
            let QueueTold::Described(page) = self.ask_queue(true, &ask)? else {
                unreachable!("the session holds replies against requests")
            };
            let is_empty = page.partitions.is_empty();
            let count = page.partition_count.min(TOPIC_PARTITIONS_MAX) as usize;
            if page.first as usize != partitions.len() {
                return Err(self.odd("other partitions than asked for"));
            }
            partitions.extend(page.partitions);
            if is_empty || partitions.len() >= count {
                return Ok(QueueStates {
                    queue: page.queue,
                    partitions,
                });
            }
        }
    }

    /// Gives up the records of a queue that no consumer has; returns how many that were.
    pub fn purge_queue(&mut self, name: &str) -> Result<u64, ClientError> {
        let name = name.to_owned();
        match self.ask_queue(false, &QueueAsk::Purge { name })? {
            QueueTold::Purged(records) => Ok(records),
            _ => unreachable!("the session holds replies against requests"),
        }
    }

    /// The first records of one partition of a queue that are not done with.
    pub fn held_by_queue(&mut self, name: &str, partition: u32) -> Result<Held, ClientError> {
        let ask = QueueAsk::Held {
            name: name.to_owned(),
            partition: PartitionNo(partition),
        };
        match self.ask_queue(true, &ask)? {
            QueueTold::Held(held) => Ok(held),
            _ => unreachable!("the session holds replies against requests"),
        }
    }

    fn ask_queue(&mut self, repeat: bool, ask: &QueueAsk) -> Result<QueueTold, ClientError> {
        self.call(
            repeat,
            |outbox, ledger| outbox.queue(ledger, ask),
            |reply| match reply {
                Reply::Queue(told) => Some(told),
                _ => None,
            },
        )
    }
}
