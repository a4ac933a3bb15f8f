//! What a consumer of a queue does, both ends of it: it answers for what it has, and is given more.
//!
//! Hot: after warm-up nothing here allocates.

use crate::base::limits::{
    FETCH_BYTES_MAX, FETCH_WAIT_MS_MAX, FRAME_HEADER_BYTES_MAX, QUEUE_POLL_ITEMS_MAX,
};
use crate::base::queue::{Answered, Nack, Span};
use crate::base::{Offset, PartitionNo, TimestampMs};
use crate::engine::{AnswerKind, Delivered, QueueAnswer, QueuePoll, QueuePolled};
use crate::protocol::native::ReplyWriter;
use crate::protocol::native::reply::{ReplyError, malformed as malformed_reply};
use crate::protocol::native::request::{RequestError, malformed as malformed_request};
use crate::protocol::native::request_writer::{RequestWriter, TooLarge};
use crate::protocol::native::wire::{self, QueueAnswerKind, ReplyBody, RequestBody};
use flatbuffers::Vector;
use std::time::Duration;

const _: () = assert!(
    QUEUE_POLL_ITEMS_MAX * (size_of::<wire::QueueAnswered>() + size_of::<wire::QueueDelivery>())
        + (4 << 10)
        <= FRAME_HEADER_BYTES_MAX
);

/// A poll as it is on the wire: how much a consumer may be given is told as a sum of all times, which polls and
/// deliveries that cross on the way do not make wrong.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Polling {
    /// What the engine is asked; its `credit` follows from what was delivered so far.
    pub poll: QueuePoll,
    /// How many offsets may have been delivered on this connection since the join, in all.
    pub delivered_max: u64,
}

/// A poll as the broker reads it.
#[derive(Clone, Copy, Debug)]
pub struct PollQueue<'a> {
    table: wire::PollQueue<'a>,
}

impl<'a> PollQueue<'a> {
    pub(in crate::protocol::native) fn checked(
        table: wire::PollQueue<'a>,
    ) -> Result<Self, RequestError> {
        let answers = table.answers();
        if answers.is_some_and(|answers| answers.len() > QUEUE_POLL_ITEMS_MAX) {
            return Err(RequestError::Limit {
                what: "answers of a poll",
                limit: QUEUE_POLL_ITEMS_MAX,
            });
        }
        for one in answers.into_iter().flatten() {
            if kind(one).is_none() {
                return Err(malformed_request("unknown kind of answer"));
            }
            if one.from() >= one.until() {
                return Err(malformed_request("an answer for no record"));
            }
        }
        Ok(Self { table })
    }

    /// How many answers there are.
    pub fn count(&self) -> usize {
        self.table.answers().map_or(0, |answers| answers.len())
    }

    /// Writes the poll into `polling`, whose memory is reused. Sizes and times above our limits are cut to them.
    pub fn fill(&self, polling: &mut Polling) {
        let poll = &mut polling.poll;
        polling.delivered_max = self.table.delivered_max();
        poll.credit = 0;
        poll.bytes_max = self.table.bytes_max().min(FETCH_BYTES_MAX as u32);
        let wait_ms = u64::from(self.table.wait_ms()).min(FETCH_WAIT_MS_MAX);
        poll.wait_max = Duration::from_millis(wait_ms);
        poll.answers.clear();
        let answers = self.table.answers().into_iter().flatten();
        poll.answers.extend(answers.map(|one| QueueAnswer {
            partition: PartitionNo(one.partition()),
            span: Span {
                from: Offset(one.from()),
                until: Offset(one.until()),
                deliveries: one.deliveries(),
            },
            kind: kind(one).expect("checked when the request was decoded"),
        }));
    }
}

fn kind(answer: &wire::QueueAnswer) -> Option<AnswerKind> {
    match answer.kind() {
        QueueAnswerKind::Ack => Some(AnswerKind::Ack),
        QueueAnswerKind::Retry => Some(AnswerKind::Nack(Nack::Retry)),
        QueueAnswerKind::RetryAfter => Some(AnswerKind::Nack(Nack::After(answer.ms()))),
        QueueAnswerKind::Reject => Some(AnswerKind::Nack(Nack::Reject)),
        QueueAnswerKind::Extend => Some(AnswerKind::Extend {
            lease_ms: answer.ms(),
        }),
        _ => None,
    }
}

fn answer(answer: &QueueAnswer) -> wire::QueueAnswer {
    let (kind, ms) = match answer.kind {
        AnswerKind::Ack => (QueueAnswerKind::Ack, 0),
        AnswerKind::Nack(Nack::Retry) => (QueueAnswerKind::Retry, 0),
        AnswerKind::Nack(Nack::After(ms)) => (QueueAnswerKind::RetryAfter, ms),
        AnswerKind::Nack(Nack::Reject) => (QueueAnswerKind::Reject, 0),
        AnswerKind::Extend { lease_ms } => (QueueAnswerKind::Extend, lease_ms),
    };
    let Span {
        from,
        until,
        deliveries,
    } = answer.span;
    wire::QueueAnswer::new(from.0, until.0, answer.partition.0, deliveries, ms, kind)
}

impl RequestWriter {
    /// Answers for deliveries, and asks for more.
    pub fn poll_queue(
        &mut self,
        correlation: u32,
        polling: &Polling,
        out: &mut Vec<u8>,
    ) -> Result<(), TooLarge> {
        let poll = &polling.poll;
        if poll.answers.len() > QUEUE_POLL_ITEMS_MAX {
            return Err(TooLarge {
                what: "answers",
                have: poll.answers.len(),
                limit: QUEUE_POLL_ITEMS_MAX,
            });
        }
        let b = self.begin();
        let answers = b.create_vector_from_iter(poll.answers.iter().map(answer));
        let args = wire::PollQueueArgs {
            answers: Some(answers),
            delivered_max: polling.delivered_max,
            wait_ms: u32::try_from(poll.wait_max.as_millis()).unwrap_or(u32::MAX),
            bytes_max: poll.bytes_max,
        };
        let body = wire::PollQueue::create(b, &args).as_union_value();
        self.finish(correlation, RequestBody::PollQueue, body, 0, out)
    }
}

impl ReplyWriter {
    /// Begins the answer to a poll. The caller sends the batches of `polled` behind it.
    pub fn queue_polled(&mut self, correlation: u32, polled: &QueuePolled, out: &mut Vec<u8>) {
        let b = self.begin();
        let answered = polled.answered.iter();
        let answered = answered.map(|one| wire::QueueAnswered::new(one.taken, one.stale));
        let answered = b.create_vector_from_iter(answered);
        let deliveries = polled.deliveries.iter().map(|one| {
            wire::QueueDelivery::new(
                one.span.from.0,
                one.span.until.0,
                one.first.0,
                one.partition.0,
                one.span.deliveries,
                one.bytes,
            )
        });
        let args = wire::QueuePolledArgs {
            answered: Some(answered),
            deliveries: Some(b.create_vector_from_iter(deliveries)),
        };
        let body = wire::QueuePolled::create(b, &args).as_union_value();
        let bytes = polled.batches.len();
        self.finish(correlation, ReplyBody::QueuePolled, body, bytes, out);
    }
}

/// The answer to a poll.
#[derive(Clone, Copy, Debug)]
pub struct PolledReply<'a> {
    answered: Vector<'a, wire::QueueAnswered>,
    deliveries: Vector<'a, wire::QueueDelivery>,
    body: &'a [u8],
}

impl<'a> PolledReply<'a> {
    pub(in crate::protocol::native) fn checked(
        polled: &wire::QueuePolled<'a>,
        body: &'a [u8],
    ) -> Result<Self, ReplyError> {
        let deliveries = polled.deliveries();
        let sum: u64 = deliveries.iter().map(|one| u64::from(one.bytes())).sum();
        if sum != body.len() as u64 {
            return Err(malformed_reply("deliveries do not add up to the body"));
        }
        if deliveries.iter().any(|one| one.from() >= one.until()) {
            return Err(malformed_reply("a delivery of no record"));
        }
        Ok(Self {
            answered: polled.answered(),
            deliveries,
            body,
        })
    }

    /// How many answers this speaks of; the client compares it with what it sent.
    pub fn count(&self) -> usize {
        self.answered.len()
    }

    /// What became of each answer, in order.
    pub fn answered(&self) -> impl Iterator<Item = Answered> + use<'a> {
        self.answered.iter().map(|one| Answered {
            taken: one.taken(),
            stale: one.stale(),
        })
    }

    /// What is delivered, each with its batches, unchecked.
    pub fn deliveries(&self) -> impl Iterator<Item = (Delivered, &'a [u8])> + use<'a> {
        let mut rest = self.body;
        self.deliveries.iter().map(move |one| {
            let (batches, behind) = rest.split_at(one.bytes() as usize);
            rest = behind;
            let delivered = Delivered {
                partition: PartitionNo(one.partition()),
                span: Span {
                    from: Offset(one.from()),
                    until: Offset(one.until()),
                    deliveries: one.deliveries(),
                },
                first: TimestampMs(one.first_ms()),
                bytes: one.bytes(),
            };
            (delivered, batches)
        })
    }
}
