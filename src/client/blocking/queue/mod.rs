//! client/blocking/queue: takes records from a queue, and answers for each.
//!
//! ```text
//!   lane, one for each core that has partitions of the queue:
//!     thread:   receive ─> chunk ──────────────────────> QueueConsumer::poll: check, unpack, records
//!               └─ no poll waits any more: the next one        │
//!     answers ──> neighbours together ──> a poll <── Answerer: ack, retry, reject, extend
//! ```
//! One poll always waits at the broker, and each that brings answers hurries the one before: so records come by themselves,
//! as far as the credit goes, and answers never wait behind them.
//!
//! The credit is shared out evenly between the cores: what a lane was delivered and has not been answered is at most its
//! share. So each record that was handed out has to be answered, once; what comes of that is told by
//! [`QueueConsumer::flush`].
//!
//! A connection that is lost is made again. What was in hand then is given to others: answers for it are counted as lost,
//! which says that their records may come again.

mod chunk;
mod lane;

use super::consumer::Record;
use super::{Client, Dialer};
use crate::base::queue::{Nack, Span};
use crate::base::{Offset, PartitionNo, TimestampMs};
use crate::client::ClientError;
use crate::protocol::native::{AnswerKind, QueueAnswer, QueueInfo};
use chunk::{Chunk, Portion};
use lane::{Arrived, Lane, Runner};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// How a consumer of a queue behaves.
#[derive(Clone, Copy, Debug)]
pub struct QueueOptions {
    /// How many records it has in hand at a time, over all cores; at least one from each.
    pub prefetch: u32,
    /// What it gets is acked before it leaves: delivered once, or, if it is lost on the way, not at all.
    pub at_most_once: bool,
    /// How long the broker holds a poll that finds nothing.
    pub wait_max: Duration,
    /// At most about this many bytes come in one reply.
    pub bytes_max: u32,
}

impl Default for QueueOptions {
    fn default() -> Self {
        Self {
            prefetch: 100,
            at_most_once: false,
            wait_max: Duration::from_secs(30),
            bytes_max: 1 << 20,
        }
    }
}

/// One delivery of one record: what is answered for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Receipt {
    /// The partition.
    pub partition: u32,
    /// The offset in the partition.
    pub offset: Offset,
    /// Which delivery of it this is, from 1.
    pub deliveries: u32,
    lane: u16,
    epoch: u64,
}

/// A record that was delivered, borrowed from the consumer until its next call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QueueRecord<'a> {
    /// The record.
    pub record: Record<'a>,
    /// When it was first delivered to anybody.
    pub first: TimestampMs,
    /// What to answer for.
    pub receipt: Receipt,
}

/// What became of answers, by records, since the consumer was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Settled {
    /// They count, and are as durable as the topic's records.
    pub taken: u64,
    /// They came too late: the lease had ended. The records are delivered again, or were.
    pub stale: u64,
    /// The connection was lost before the broker told. The records may be delivered again.
    pub lost: u64,
}

/// Answers for deliveries, from any thread.
#[derive(Clone)]
pub struct Answerer {
    lanes: Arc<[Lane]>,
}

/// A consumer of a queue.
pub struct QueueConsumer {
    queue: QueueInfo,
    lanes: Arc<[Lane]>,
    threads: Vec<JoinHandle<()>>,
    arrived: Receiver<Arrived>,
    current: Option<Chunk>,
    portion: Portion,
    at_most_once: bool,
    timeout: Duration,
}

impl Client {
    /// A consumer of a queue: of every partition that the topic has now.
    pub fn queue_consumer(
        &mut self,
        name: &str,
        options: QueueOptions,
    ) -> Result<QueueConsumer, ClientError> {
        let queue = self.queue(name)?;
        // Where the cores are.
        self.topic(&queue.topic)?;
        Ok(QueueConsumer::start(self.dialer(), queue, options))
    }
}

impl QueueConsumer {
    fn start(dialer: &Dialer, queue: QueueInfo, options: QueueOptions) -> Self {
        let cores: BTreeSet<_> = queue.owners.iter().copied().collect();
        let count = cores.len() as u32;
        let shares = (0..count).map(|no| {
            let rest = u32::from(no < options.prefetch % count);
            Lane::new((options.prefetch / count + rest).max(1), options)
        });
        let lanes: Arc<[Lane]> = shares.collect();
        let (out, arrived) = channel();
        let threads = cores.into_iter().enumerate().map(|(no, core)| {
            let runner = Runner {
                number: no as u16,
                lanes: Arc::clone(&lanes),
                dialer: dialer.clone(),
                core,
                queue: queue.name.clone(),
                options,
                out: out.clone(),
            };
            std::thread::spawn(move || runner.run())
        });
        Self {
            threads: threads.collect(),
            queue,
            lanes,
            arrived,
            current: None,
            portion: Portion::default(),
            at_most_once: options.at_most_once,
            timeout: dialer.timeout,
        }
    }

    /// Sends what was answered, then returns the next records: what one reply brought, or as much of it as unpacks to some
    /// 32 MiB; none, if `timeout` passed. A batch that cannot be read is an error in its place: its records stay unanswered.
    /// After a failure that trying again does not mend, that core's partitions bring nothing more; the other cores' do.
    pub fn poll(
        &mut self,
        timeout: Duration,
    ) -> Result<impl Iterator<Item = Result<QueueRecord<'_>, ClientError>> + use<'_>, ClientError>
    {
        self.answerer().send();
        self.portion.clear();
        if self.current.as_ref().is_none_or(Chunk::is_used_up) {
            self.current = match self.arrived.recv_timeout(timeout) {
                Ok(arrived) => Some(arrived?),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => {
                    std::thread::sleep(timeout);
                    None
                }
            };
        }
        if let Some(chunk) = &mut self.current {
            let lane = &self.lanes[usize::from(chunk.lane)];
            match lane.epoch() == chunk.epoch {
                true => {
                    let done = chunk.open(self.at_most_once, &mut self.portion);
                    lane.done(chunk.epoch, done);
                }
                // Its connection is gone, and with it what it brought.
                false => self.current = None,
            }
        }
        let chunk = self.current.as_ref();
        Ok(chunk
            .into_iter()
            .flat_map(|chunk| chunk.records(&self.queue.topic, &self.portion)))
    }

    /// Whether records have arrived that [`QueueConsumer::poll`] has not handed out.
    pub fn has_more(&self) -> bool {
        self.current
            .as_ref()
            .is_some_and(|chunk| !chunk.is_used_up())
    }

    /// To answer with.
    pub fn answerer(&self) -> Answerer {
        Answerer {
            lanes: Arc::clone(&self.lanes),
        }
    }

    /// Sends all answers and waits until it is known what became of them, at most as long as an answer of the broker may take.
    pub fn flush(&mut self) -> Result<Settled, ClientError> {
        self.answerer().send();
        for lane in self.lanes.iter() {
            lane.wait(self.timeout)?;
        }
        Ok(self.settled())
    }

    /// What is known of the answers so far.
    pub fn settled(&self) -> Settled {
        let all = self.lanes.iter().map(Lane::settled);
        all.fold(Settled::default(), |sum, one| Settled {
            taken: sum.taken + one.taken,
            stale: sum.stale + one.stale,
            lost: sum.lost + one.lost,
        })
    }

    /// The queue, as it was when the consumer was made.
    pub fn queue(&self) -> &QueueInfo {
        &self.queue
    }
}

impl Drop for QueueConsumer {
    /// Ends the connections and waits for the threads: nothing of a consumer outlives it. What is in hand goes to others.
    fn drop(&mut self) {
        for lane in self.lanes.iter() {
            lane.stop();
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Answerer {
    /// It is done with.
    pub fn ack(&self, receipt: Receipt) {
        self.answer(receipt, AnswerKind::Ack);
    }

    /// It is to be tried again, after the queue's delay.
    pub fn retry(&self, receipt: Receipt) {
        self.answer(receipt, AnswerKind::Nack(Nack::Retry));
    }

    /// It is to be tried again, after so many milliseconds.
    pub fn retry_after(&self, receipt: Receipt, wait_ms: u32) {
        self.answer(receipt, AnswerKind::Nack(Nack::After(wait_ms)));
    }

    /// It is not to be tried again: it is dead.
    pub fn reject(&self, receipt: Receipt) {
        self.answer(receipt, AnswerKind::Nack(Nack::Reject));
    }

    /// It is needed for so many milliseconds from now on. It has to be answered still.
    pub fn extend(&self, receipt: Receipt, lease_ms: u32) {
        self.answer(receipt, AnswerKind::Extend { lease_ms });
    }

    /// Sends what was answered. [`QueueConsumer::poll`] does so, too.
    pub fn send(&self) {
        self.lanes.iter().for_each(Lane::send);
    }

    fn answer(&self, receipt: Receipt, kind: AnswerKind) {
        let answer = QueueAnswer {
            partition: PartitionNo(receipt.partition),
            span: Span {
                from: receipt.offset,
                until: Offset(receipt.offset.0 + 1),
                deliveries: receipt.deliveries,
            },
            kind,
        };
        self.lanes[usize::from(receipt.lane)].answer(receipt.epoch, answer);
    }
}
