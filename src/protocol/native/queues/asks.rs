//! What is asked about queues, both ends.

use super::{QueueAsk, settings_of, write_settings};
use crate::base::PartitionNo;
use crate::base::limits::{QUEUE_RETRY_STEPS_MAX, TOPIC_NAME_BYTES_MAX};
use crate::base::queue::QueueSettings;
use crate::engine::NewQueue;
use crate::protocol::native::Scratch;
use crate::protocol::native::request::{RequestError, malformed, topic_ref as read_topic_ref};
use crate::protocol::native::request_writer::{RequestWriter, TooLarge, topic_ref};
use crate::protocol::native::wire::{self, RequestBody};

/// Reads a request about queues; `None` if it is of another kind.
pub(in crate::protocol::native) fn decode_ask(
    root: &wire::Request<'_>,
) -> Result<Option<QueueAsk>, RequestError> {
    Ok(Some(match root.body_type() {
        RequestBody::CreateQueue => {
            let Some(create) = root.body_as_create_queue() else {
                return Ok(None);
            };
            let dead_letters = create.dead_letters();
            QueueAsk::Create(NewQueue {
                name: name(create.name())?,
                topic: read_topic_ref(&create.topic())?,
                dead_letters: dead_letters
                    .map(|topic| read_topic_ref(&topic))
                    .transpose()?,
                from_end: create.from_end(),
                settings: QueueSettings {
                    has_dead_letters: dead_letters.is_some(),
                    ..read_settings(&create.settings())?
                },
            })
        }
        RequestBody::DeleteQueue => match root.body_as_delete_queue() {
            Some(delete) => QueueAsk::Delete {
                name: name(delete.name())?,
            },
            None => return Ok(None),
        },
        RequestBody::ListQueues => match root.body_as_list_queues() {
            Some(list) => QueueAsk::List {
                only: list.only().map(name).transpose()?,
                after: list.after().map(name).transpose()?,
            },
            None => return Ok(None),
        },
        RequestBody::DescribeQueue => match root.body_as_describe_queue() {
            Some(describe) => QueueAsk::Describe {
                name: name(describe.name())?,
                first: describe.first(),
            },
            None => return Ok(None),
        },
        RequestBody::PurgeQueue => match root.body_as_purge_queue() {
            Some(purge) => QueueAsk::Purge {
                name: name(purge.name())?,
            },
            None => return Ok(None),
        },
        RequestBody::HeldRecords => match root.body_as_held_records() {
            Some(held) => QueueAsk::Held {
                name: name(held.name())?,
                partition: PartitionNo(held.partition()),
            },
            None => return Ok(None),
        },
        RequestBody::JoinQueue => match root.body_as_join_queue() {
            Some(join) => QueueAsk::Join {
                name: name(join.name())?,
                at_most_once: join.at_most_once(),
            },
            None => return Ok(None),
        },
        _ => return Ok(None),
    }))
}

/// Its characters are the catalog's business; its length is checked here, before it is copied.
fn name(name: &str) -> Result<String, RequestError> {
    if name.len() > TOPIC_NAME_BYTES_MAX {
        return Err(RequestError::Limit {
            what: "bytes of a queue's name",
            limit: TOPIC_NAME_BYTES_MAX,
        });
    }
    Ok(name.to_owned())
}

fn read_settings(settings: &wire::QueueSettings<'_>) -> Result<QueueSettings, RequestError> {
    let steps = settings.retry_steps_ms();
    if steps.is_some_and(|steps| steps.len() > QUEUE_RETRY_STEPS_MAX) {
        return Err(RequestError::Limit {
            what: "steps of a retry schedule",
            limit: QUEUE_RETRY_STEPS_MAX,
        });
    }
    settings_of(settings).ok_or_else(|| malformed("two ways to wait before a retry"))
}

impl RequestWriter {
    /// A request about queues.
    pub fn queue(
        &mut self,
        correlation: u32,
        ask: &QueueAsk,
        out: &mut Vec<u8>,
    ) -> Result<(), TooLarge> {
        let b = self.begin();
        let text = |b: &mut Scratch, text: &str| Some(b.create_string(text));
        let body = match ask {
            QueueAsk::Create(queue) => {
                let args = wire::CreateQueueArgs {
                    name: text(b, &queue.name),
                    topic: Some(topic_ref(b, &queue.topic)),
                    dead_letters: queue.dead_letters.as_ref().map(|topic| topic_ref(b, topic)),
                    from_end: queue.from_end,
                    settings: Some(write_settings(b, &queue.settings)),
                };
                wire::CreateQueue::create(b, &args).as_union_value()
            }
            QueueAsk::Delete { name } => {
                let name = text(b, name);
                wire::DeleteQueue::create(b, &wire::DeleteQueueArgs { name }).as_union_value()
            }
            QueueAsk::List { only, after } => {
                let args = wire::ListQueuesArgs {
                    only: only.as_ref().and_then(|only| text(b, only)),
                    after: after.as_ref().and_then(|after| text(b, after)),
                };
                wire::ListQueues::create(b, &args).as_union_value()
            }
            QueueAsk::Describe { name, first } => {
                let (name, first) = (text(b, name), *first);
                let args = wire::DescribeQueueArgs { name, first };
                wire::DescribeQueue::create(b, &args).as_union_value()
            }
            QueueAsk::Purge { name } => {
                let name = text(b, name);
                wire::PurgeQueue::create(b, &wire::PurgeQueueArgs { name }).as_union_value()
            }
            QueueAsk::Held { name, partition } => {
                let (name, partition) = (text(b, name), partition.0);
                let args = wire::HeldRecordsArgs { name, partition };
                wire::HeldRecords::create(b, &args).as_union_value()
            }
            QueueAsk::Join { name, at_most_once } => {
                let (name, at_most_once) = (text(b, name), *at_most_once);
                let args = wire::JoinQueueArgs { name, at_most_once };
                wire::JoinQueue::create(b, &args).as_union_value()
            }
        };
        self.finish(correlation, ask.body_type(), body, 0, out)
    }
}
