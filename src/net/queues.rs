//! Queues for clients that speak the native protocol. A connection holds at most one consumer, in its writing half: with
//! that half it goes, and what it had is given to others.

use crate::base::queue::Held;
use crate::engine::{Engine, EngineError, QueueInfo, QueuePolled, QueueState};
use crate::io::Io;
use crate::net::answer::Answering;
use crate::protocol::native::{Polling, QueueAsk, ReplyWriter};
use futures_lite::future::or;
use std::io;

/// A reply's batches are read into a buffer that is kept up to this size.
const SPARE_BATCH_BYTES_MAX: usize = 256 << 10;

/// Who takes records of a queue on this connection, and how far it is.
pub(super) struct Joined<C> {
    consumer: C,
    /// Offsets that were delivered, ever.
    delivered: u64,
}

/// What is to be told, before it is cut into a page.
pub(super) enum Told {
    Created(QueueInfo),
    Deleted,
    Listed(Vec<QueueInfo>),
    Described(Box<(QueueInfo, Vec<QueueState>)>, u32),
    Purged(u64),
    Held(Held),
    Joined,
}

impl Told {
    pub(super) fn write(&self, correlation: u32, writer: &mut ReplyWriter, out: &mut Vec<u8>) {
        match self {
            Self::Created(queue) => writer.queue_created(correlation, queue, out),
            Self::Deleted => writer.queue_deleted(correlation, out),
            Self::Listed(queues) => writer.queues_listed(correlation, queues, out),
            Self::Described(described, first) => {
                writer.queue_described(correlation, described, *first, out);
            }
            Self::Purged(records) => writer.queue_purged(correlation, *records, out),
            Self::Held(held) => writer.records_held(correlation, held, out),
            Self::Joined => writer.queue_joined(correlation, out),
        }
    }
}

impl<I: Io, E: Engine<Source = I::Source>> Answering<'_, I, E> {
    pub(super) async fn ask_queue(&mut self, ask: QueueAsk) -> Result<Told, EngineError> {
        let engine = &self.shared.engine;
        match ask {
            QueueAsk::Create(queue) => engine.create_queue(queue).await.map(Told::Created),
            QueueAsk::Delete { name } => engine.delete_queue(name).await.map(|()| Told::Deleted),
            QueueAsk::List { only, after } => {
                let mut queues = engine.queues(only.as_deref())?;
                queues.retain(|queue| Some(&queue.name) > after.as_ref());
                Ok(Told::Listed(queues))
            }
            QueueAsk::Describe { name, first } => {
                let described = engine.describe_queue(name).await?;
                Ok(Told::Described(Box::new(described), first))
            }
            QueueAsk::Purge { name } => engine.purge_queue(name).await.map(Told::Purged),
            QueueAsk::Held { name, partition } => {
                engine.held_by_queue(name, partition).await.map(Told::Held)
            }
            QueueAsk::Join { name, at_most_once } => {
                if self.joined.is_some() {
                    let line = "this connection has a consumer already: open another one";
                    return Err(EngineError::InvalidRequest(line.to_owned()));
                }
                let consumer = engine.join_queue(&name, at_most_once)?;
                self.joined = Some(Joined {
                    consumer,
                    delivered: 0,
                });
                Ok(Told::Joined)
            }
        }
    }

    /// A consumer answers, and waits for more until something else is owed on its connection.
    pub(super) async fn poll_queue(
        &mut self,
        correlation: u32,
        mut polling: Polling,
    ) -> io::Result<()> {
        let polled = self.await_poll(&mut polling).await;
        self.shared.queue.keep_poll(polling);
        self.note_ready();
        match polled {
            Ok(()) => self.send_polled(correlation).await,
            Err(error) => {
                self.count_errors([&error].into_iter());
                let mut replies = self.shared.pool.writer();
                replies.queue_refused(correlation, &error, &mut self.out);
                Ok(())
            }
        }
    }

    /// What became of the answers, and what is delivered, is in `polled` then.
    async fn await_poll(&mut self, polling: &mut Polling) -> Result<(), EngineError> {
        let (shared, life) = (self.shared, self.shared.life());
        let Some(joined) = &mut self.joined else {
            let line = "no consumer on this connection: join a queue first";
            return Err(EngineError::InvalidRequest(line.to_owned()));
        };
        let credit = polling.delivered_max.saturating_sub(joined.delivered);
        polling.poll.credit = u32::try_from(credit).unwrap_or(u32::MAX);
        // Nobody takes what is handed to one who has gone; acked on delivery, it would be lost.
        if shared.queue.has_ended() || life.is_closing() {
            polling.poll.credit = 0;
        }
        let hurried = || or(shared.queue.hurried(), life.closing());
        let (consumer, polled) = (&joined.consumer, &mut self.polled);
        let engine = &shared.engine;
        engine
            .poll_queue(consumer, &polling.poll, hurried(), polled)
            .await?;
        // The engine waits for what it may deliver. Without credit, too, a poll waits: a client that always has one would
        // ask in circles.
        if polling.poll.credit == 0 && polled.deliveries.is_empty() {
            or(hurried(), self.sender.io.sleep(polling.poll.wait_max)).await;
        }
        let offsets = polled.deliveries.iter();
        let offsets = offsets.map(|one| one.span.until.0 - one.span.from.0);
        joined.delivered += offsets.sum::<u64>();
        Ok(())
    }

    async fn send_polled(&mut self, correlation: u32) -> io::Result<()> {
        {
            let mut replies = self.shared.pool.writer();
            replies.queue_polled(correlation, &self.polled, &mut self.out);
        }
        let QueuePolled { batches, .. } = &mut self.polled;
        if batches.is_empty() {
            return Ok(());
        }
        let began = self.sender.io.now();
        self.sender.send_both(&self.out, batches, began).await?;
        let bytes = self.out.len() + batches.len();
        self.shared.counters.sent(bytes as u64);
        self.out.clear();
        if batches.capacity() > SPARE_BATCH_BYTES_MAX {
            *batches = Vec::new();
        }
        Ok(())
    }
}
