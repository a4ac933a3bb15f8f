//! The writing half of a connection: answers in order, as many in one send as are ready.

use crate::base::Stage;
use crate::base::planted::{Bug, planted};
use crate::engine::{
    Engine, EngineError, FetchRequest, FetchedPartition, Produced, QueuePolled, TopicInfo,
};
use crate::io::{Io, Monotonic, Writer};
use crate::net::connection::Shared;
use crate::net::groups;
use crate::net::queue::{Owed, Rare};
use crate::net::queues::Joined;
use crate::net::send::Sender;
use crate::net::{TURN, TURN_STEPS};
use crate::protocol::native::{ErrorCode, QueueAsk};
use futures_lite::future::or;
use std::io::Result;
use std::rc::Rc;
use std::time::Duration;

/// Encoded answers are sent once there are so many bytes, although more may be ready.
const SEND_BYTES: usize = 64 << 10;

/// Writes until nothing more is owed, the peer does not take it, or the connection is doomed; then ends it, and with
/// it the reading half.
pub(super) async fn write<I: Io, E: Engine<Source = I::Source>>(
    io: I,
    mut writer: I::Writer,
    shared: Rc<Shared<E>>,
) {
    let answering = Answering {
        shared: &shared,
        sender: Sender {
            io: &io,
            life: shared.life(),
            writer: &mut writer,
        },
        out: Vec::new(),
        ready_at: Monotonic::default(),
        results: Vec::new(),
        fetched: Vec::new(),
        cuts: Vec::new(),
        joined: None,
        polled: QueuePolled::default(),
    };
    let answered = async {
        // A peer that is gone is told nothing: there is nobody to report an error to.
        let _ = answering.run().await;
    };
    or(answered, shared.life().doomed()).await;
    shared.life().write_by(None);
    shared.life().close();
    writer.shutdown();
}

/// The writing half. Its answers to Kafka clients are in `kafka`.
pub(super) struct Answering<'a, I: Io, E: Engine> {
    pub(super) shared: &'a Shared<E>,
    pub(super) sender: Sender<'a, I>,
    /// Encoded and not yet sent; lent by the pool while there is something to encode.
    pub(super) out: Vec<u8>,
    /// When the first of what is in `out` was ready to be encoded.
    ready_at: Monotonic,
    pub(super) results: Vec<std::result::Result<Produced, EngineError>>,
    pub(super) fetched: Vec<FetchedPartition<E::Chunk, E::Source>>,
    /// Where the bodies of an answer go between its heads.
    pub(super) cuts: Vec<usize>,
    /// The consumer of a queue, if there is one.
    pub(super) joined: Option<Joined<E::Consumer>>,
    /// What it was told last.
    pub(super) polled: QueuePolled,
}

impl<I: Io, E: Engine<Source = I::Source>> Answering<'_, I, E> {
    async fn run(mut self) -> Result<()> {
        let (mut turn_began, mut steps) = (self.sender.io.now(), 0);
        loop {
            // One who asks without pause has always something ready.
            steps += 1;
            if steps % TURN_STEPS == 0 && self.sender.io.now().since(turn_began) >= TURN {
                self.sender.io.yield_now().await;
                turn_began = self.sender.io.now();
            }
            let (shared, engine) = (self.shared, &self.shared.engine);
            let is_ready = shared.queue.is_ready(|ticket| engine.is_settled(ticket));
            if !self.out.is_empty() && (!is_ready || self.out.len() >= SEND_BYTES) {
                self.flush().await?;
                continue;
            }
            if let Some((correlation, owed)) = shared.queue.pop() {
                self.answer(correlation, owed).await?;
                continue;
            }
            self.rest();
            let closing = async {
                shared.life().closing().await;
                false
            };
            if !or(shared.queue.filled(), closing).await {
                return Ok(());
            }
        }
    }

    async fn flush(&mut self) -> Result<()> {
        self.sender.send(&self.out, self.ready_at).await?;
        let counters = &self.shared.counters;
        counters.took(Stage::Reply, self.ready_at, self.sender.io.now());
        counters.sent(self.out.len() as u64);
        self.out.clear();
        Ok(())
    }

    async fn answer(&mut self, correlation: u32, owed: Owed) -> Result<()> {
        match owed {
            Owed::Produce { entries } => {
                self.settle(entries as usize).await;
                let refusals = self
                    .results
                    .iter()
                    .filter_map(|result| result.as_ref().err());
                self.count_errors(refusals);
                if planted(Bug::AnswerOutOfOrder) {
                    self.results.reverse();
                }
                self.note_ready();
                let mut replies = self.shared.pool.writer();
                replies.produced(correlation, &self.results, &mut self.out);
                Ok(())
            }
            Owed::Fetch(request) => self.fetch(correlation, request).await,
            Owed::Poll(polling) => self.poll_queue(correlation, polling).await,
            Owed::Rare(rare) => {
                let is_first = self.out.is_empty();
                self.rare(correlation, *rare).await;
                self.note_seldom(is_first);
                Ok(())
            }
            Owed::Kafka(hot) if hot.is_fetch => self.kafka_fetch(correlation, hot).await,
            Owed::Kafka(hot) => self.kafka_produce(correlation, hot).await,
            Owed::KafkaCold(cold) => {
                let is_first = self.out.is_empty();
                self.lend();
                self.kafka_cold(correlation, *cold).await;
                self.note_seldom(is_first);
                Ok(())
            }
        }
    }

    /// Awaits the next `count` tickets; what became of them is in `results`.
    pub(super) async fn settle(&mut self, count: usize) {
        self.results.clear();
        for _ in 0..count {
            let ticket = self.shared.queue.pop_ticket();
            let result = self.shared.engine.produced(ticket).await;
            self.results.push(result);
        }
    }

    /// A rare request was answered. Only now: what such a request waits for is another core, or the disk.
    fn note_seldom(&mut self, is_first: bool) {
        if is_first {
            self.ready_at = self.sender.io.now();
        }
    }

    /// What comes next into `out` is ready.
    pub(super) fn note_ready(&mut self) {
        if self.out.is_empty() {
            self.ready_at = self.sender.io.now();
            self.lend();
        }
    }

    /// Makes sure that there is a buffer to encode into.
    pub(super) fn lend(&mut self) {
        if self.out.capacity() == 0 {
            self.out = self.shared.pool.lend_replies();
        }
    }

    /// Nothing is owed now: gives the buffer back.
    fn rest(&mut self) {
        if self.out.capacity() > 0 {
            let out = std::mem::take(&mut self.out);
            self.shared.pool.give_back_replies(out);
        }
    }

    async fn fetch(&mut self, correlation: u32, mut request: FetchRequest) -> Result<()> {
        self.await_fetch(&mut request).await;
        self.count_errors(self.fetched.iter().filter_map(|one| one.error.as_ref()));
        self.lend();
        let body = {
            let mut replies = self.shared.pool.writer();
            replies.fetched(correlation, &self.fetched, &mut self.out)
        };
        self.cuts.clear();
        self.send_fetched(body).await?;
        self.shared.queue.keep(request);
        Ok(())
    }

    /// Counts what the engine refused a native client.
    pub(super) fn count_errors<'e>(&self, refusals: impl Iterator<Item = &'e EngineError>) {
        let seat = &self.shared.seat;
        refusals.for_each(|refusal| seat.refused(ErrorCode::from(refusal).code()));
    }

    /// Fetches into `fetched`; at once, when the connection is to close.
    pub(super) async fn await_fetch(&mut self, request: &mut FetchRequest) {
        let (engine, life) = (&self.shared.engine, self.shared.life());
        let waited = async {
            engine.fetch(request, &mut self.fetched).await;
            true
        };
        let cut_short = async {
            life.closing().await;
            false
        };
        if !or(waited, cut_short).await {
            request.wait_max = Duration::ZERO;
            engine.fetch(request, &mut self.fetched).await;
        }
    }

    /// Sends the answer to a fetch: its head is in `out`, cut at `cuts`, its bodies of so many bytes in `fetched`.
    pub(super) async fn send_fetched(&mut self, body: usize) -> Result<()> {
        let began = self.sender.io.now();
        let sender = &mut self.sender;
        let sending = sender.send_bodies(&self.out, &self.cuts, &self.fetched, began);
        let spans = sending.await?;
        let stage = match spans {
            0 => Stage::FetchMemory,
            _ => Stage::FetchFile,
        };
        let counters = &self.shared.counters;
        counters.took(stage, began, self.sender.io.now());
        counters.sent((self.out.len() + body) as u64);
        self.out.clear();
        // Chunks and files must not be held until the next fetch.
        self.fetched.iter_mut().for_each(|one| one.body.clear());
        Ok(())
    }

    async fn rare(&mut self, correlation: u32, rare: Rare) {
        self.lend();
        let (engine, out) = (&self.shared.engine, &mut self.out);
        let replies = || self.shared.pool.writer();
        match rare {
            Rare::Refused(refusal) => {
                replies().refused(correlation, refusal.code, &refusal.message, out);
            }
            Rare::Welcome { version } => {
                let (node, core) = (self.shared.node, self.shared.core);
                replies().welcome(correlation, version, node, core, out);
            }
            Rare::AllTopics { after } => {
                let topics = topics_after(engine.topics(None), after.as_deref());
                replies().metadata(correlation, &engine.cores(), &topics, out);
            }
            Rare::Topics(topics) => {
                let topics = engine.topics(Some(&topics));
                replies().metadata(correlation, &engine.cores(), &topics, out);
            }
            Rare::Create(topic) => {
                let created = engine.create_topic(topic).await;
                replies().topic_created(correlation, &created, out);
            }
            Rare::Alter(change) => {
                let altered = engine.alter_topic(change).await;
                replies().topic_altered(correlation, &altered, out);
            }
            Rare::Trim(of, before) => {
                let trimmed = engine.trim(of, before).await;
                replies().partition_trimmed(correlation, &trimmed, out);
            }
            Rare::Delete(topic) => {
                let deleted = engine.delete_topic(topic).await;
                replies().topic_deleted(correlation, &deleted, out);
            }
            Rare::Describe { topic, first } => {
                let described = engine.describe_topic(topic).await;
                replies().topic_described(correlation, &described, first, out);
            }
            Rare::ListOffsets(entries) => {
                let mut offsets = Vec::with_capacity(entries.len());
                for (key, query) in entries {
                    offsets.push(engine.list_offset(key, query).await);
                }
                replies().offsets_listed(correlation, &offsets, out);
            }
            Rare::Stages => {
                let mut told = engine.stages();
                let connections = self.shared.place.count();
                self.shared.counters.add_to(&mut told, connections);
                replies().stages(correlation, &told, out);
            }
            Rare::Clients { first } => {
                let clients = self.shared.counters.clients();
                let told = clients.told(self.shared.core, first as usize);
                replies().clients(correlation, &told, out);
            }
            Rare::Group(ask) => match groups::ask(engine, ask).await {
                Ok(told) => told.write(correlation, &mut replies(), out),
                Err(error) => {
                    replies().refused(correlation, (&error).into(), &error.to_string(), out);
                }
            },
            Rare::Queue(ask) => self.queue(correlation, ask).await,
        }
    }

    async fn queue(&mut self, correlation: u32, ask: QueueAsk) {
        let told = self.ask_queue(ask).await;
        let mut replies = self.shared.pool.writer();
        match told {
            Ok(told) => told.write(correlation, &mut replies, &mut self.out),
            Err(error) => replies.queue_refused(correlation, &error, &mut self.out),
        }
    }
}

/// The topics whose names come after `after`; `all` are in the order of their names.
fn topics_after(
    mut all: Vec<std::result::Result<TopicInfo, EngineError>>,
    after: Option<&str>,
) -> Vec<std::result::Result<TopicInfo, EngineError>> {
    if let Some(after) = after {
        all.retain(|topic| {
            topic
                .as_ref()
                .is_ok_and(|topic| topic.name.as_str() > after)
        });
    }
    all
}
