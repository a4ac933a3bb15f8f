//! The entry: finds the broker, asks about topics, changes them, and makes producers and consumers.

use super::connection::Connection;
use super::{Consumer, ConsumerOptions, Delivery, Dialer, Producer, ProducerOptions, StartAt};
use crate::base::clients::CoreClients;
use crate::base::limits::{CLIENT_ROWS_MAX, REQUEST_PARTITIONS_MAX, TOPICS_MAX};
use crate::base::{Offset, PartitionKey, PartitionNo, TimestampMs};
use crate::client::backoff::BackoffOptions;
use crate::client::session::{Ledger, Outbox, Session};
use crate::client::{ClientError, Cluster};
use crate::protocol::native::{
    CoreAddress, CoreStages, MetadataPage, MetadataQuery, NewTopic, OffsetEntry, OffsetQuery,
    PartitionInfo, Reply, TooLarge, TopicChange, TopicInfo, TopicRef,
};
use std::time::Duration;

/// How a client behaves.
#[derive(Clone, Copy, Debug)]
pub struct ClientOptions {
    /// How long a connection or an answer may take. A fetch may take its own wait longer.
    pub timeout: Duration,
    /// How lost connections are made again.
    pub backoff: BackoffOptions,
    /// Whether to dial the core that owns a partition (the default), or only the address given.
    pub steering: bool,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(30),
            backoff: BackoffOptions::default(),
            steering: true,
        }
    }
}

/// A client of one broker.
pub struct Client {
    dialer: Dialer,
    connection: Option<Connection>,
}

impl Client {
    /// Connects to the first of `bootstrap` (`host:port`, at least one) that answers: a port of any core of the broker.
    /// One attempt each: a broker that is not there is told at once.
    pub fn connect<S: Into<String>>(
        bootstrap: impl IntoIterator<Item = S>,
        options: ClientOptions,
    ) -> Result<Self, ClientError> {
        let bootstrap: Vec<String> = bootstrap.into_iter().map(Into::into).collect();
        let dialer = Dialer {
            cluster: Cluster::new(bootstrap, options.steering),
            backoff: options.backoff,
            timeout: options.timeout,
        };
        let connection = Some(dialer.open_any()?);
        Ok(Self { dialer, connection })
    }

    /// All topics, by name, and where the cores listen.
    pub fn topics(&mut self) -> Result<(Vec<TopicInfo>, Vec<CoreAddress>), ClientError> {
        let mut topics: Vec<TopicInfo> = Vec::new();
        loop {
            let known = topics.len();
            let after = topics.last().map(|topic| topic.name.clone());
            let page = self.metadata(&MetadataQuery::All { after })?;
            for topic in page.topics {
                let topic = topic?;
                if topics.len() == TOPICS_MAX || topics.last().is_some_and(|t| t.name >= topic.name)
                {
                    return Err(self.odd("topics without order or end"));
                }
                topics.push(topic);
            }
            if !page.more || topics.len() == known {
                return Ok((topics, page.cores));
            }
        }
    }

    /// One topic.
    pub fn topic(&mut self, name: &str) -> Result<TopicInfo, ClientError> {
        let query = MetadataQuery::Topics(vec![TopicRef::Name(name.to_owned())]);
        let page = self.metadata(&query)?;
        let first = page.topics.into_iter().next();
        Ok(first.ok_or_else(|| self.odd("no answer for the topic asked"))??)
    }

    /// Makes a topic. A lost connection is not tried again: the topic may have been made.
    pub fn create_topic(&mut self, topic: &NewTopic) -> Result<TopicInfo, ClientError> {
        self.call(
            false,
            |outbox, ledger| outbox.create_topic(ledger, topic),
            |reply| match reply {
                Reply::TopicCreated(info) => Some(info),
                _ => None,
            },
        )
    }

    /// Changes a topic: its settings, or to more partitions. A lost connection is not tried again: whoever asks may
    /// look what became of it.
    pub fn alter_topic(
        &mut self,
        topic: &TopicRef,
        change: &TopicChange,
    ) -> Result<TopicInfo, ClientError> {
        self.call(
            false,
            |outbox, ledger| outbox.alter_topic(ledger, topic, change),
            |reply| match reply {
                Reply::TopicAltered(info) => Some(info),
                _ => None,
            },
        )
    }

    /// Gives up the records of a partition below `before`, or all that can be read; returns the first offset that still can
    /// be.
    pub fn trim(
        &mut self,
        of: PartitionKey,
        before: Option<Offset>,
    ) -> Result<Offset, ClientError> {
        self.call(
            true,
            |outbox, ledger| outbox.trim(ledger, of, before),
            |reply| match reply {
                Reply::PartitionTrimmed(start) => Some(start),
                _ => None,
            },
        )
    }

    /// Deletes a topic and its records. A lost connection is not tried again: the topic may have been deleted.
    pub fn delete_topic(&mut self, topic: &TopicRef) -> Result<(), ClientError> {
        self.call(
            false,
            |outbox, ledger| outbox.delete_topic(ledger, topic),
            |reply| matches!(reply, Reply::TopicDeleted).then_some(()),
        )
    }

    /// A topic and the state of each of its partitions.
    pub fn describe_topic(
        &mut self,
        topic: &TopicRef,
    ) -> Result<(TopicInfo, Vec<PartitionInfo>), ClientError> {
        let mut states: Vec<PartitionInfo> = Vec::new();
        loop {
            let first = states.len() as u32;
            let page = self.call(
                true,
                |outbox, ledger| outbox.describe_topic(ledger, topic, first),
                |reply| match reply {
                    Reply::TopicDescribed(page) => Some(page),
                    _ => None,
                },
            )?;
            if page.first != first {
                return Err(self.odd("other partitions than asked for"));
            }
            let empty = page.partitions.is_empty();
            if states.len() + page.partitions.len() > page.topic.partitions as usize {
                return Err(self.odd("more partitions than the topic has"));
            }
            states.extend(page.partitions);
            if empty || states.len() >= page.topic.partitions as usize {
                return Ok((page.topic, states));
            }
        }
    }

    /// Offsets of a topic's partitions, in the order asked: the offset, and the timestamp found where one was searched.
    pub fn list_offsets(
        &mut self,
        topic: &TopicInfo,
        queries: &[(PartitionNo, OffsetQuery)],
    ) -> Result<Vec<(Offset, Option<TimestampMs>)>, ClientError> {
        let mut found = Vec::with_capacity(queries.len());
        for queries in queries.chunks(REQUEST_PARTITIONS_MAX) {
            let entry = |(partition, query): &(PartitionNo, OffsetQuery)| OffsetEntry {
                key: PartitionKey::new(topic.id, *partition),
                query: *query,
            };
            let entries: Vec<_> = queries.iter().map(entry).collect();
            let answers = self.call(
                true,
                |outbox, ledger| outbox.list_offsets(ledger, &entries),
                |reply| match reply {
                    Reply::OffsetsListed(listed) => Some(listed.entries().collect::<Vec<_>>()),
                    _ => None,
                },
            )?;
            for answer in answers {
                found.push(answer?);
            }
        }
        Ok(found)
    }

    /// Where the time of each core goes, since its start: asks every core (without steering, the one that the address
    /// given leads to).
    pub fn stages(&mut self) -> Result<Vec<CoreStages>, ClientError> {
        self.each_core(|connection| {
            let Session { outbox, ledger, .. } = connection.session();
            outbox.stages(ledger)?;
            connection.send(&[])?;
            match connection.receive()?.1 {
                Reply::Refused(refusal) => Err(refusal.into()),
                Reply::Stages(stages) => Ok(stages),
                _ => unreachable!("the session holds replies against requests"),
            }
        })
    }

    /// Who has asked each core for what, since its start: asks every core, as [`Client::stages`] does.
    pub fn clients(&mut self) -> Result<Vec<CoreClients>, ClientError> {
        self.each_core(|connection| {
            let mut clients = Vec::new();
            loop {
                let Session { outbox, ledger, .. } = connection.session();
                outbox.clients(ledger, clients.len() as u32)?;
                connection.send(&[])?;
                let told = match connection.receive()?.1 {
                    Reply::Refused(refusal) => return Err(refusal.into()),
                    Reply::Clients(told) => told,
                    _ => unreachable!("the session holds replies against requests"),
                };
                clients.extend(told.clients);
                // More than any broker keeps: one that goes on for ever.
                let is_end = !told.more || clients.len() > 2 * CLIENT_ROWS_MAX;
                if is_end {
                    let core = told.core;
                    return Ok(CoreClients {
                        core,
                        clients,
                        more: false,
                    });
                }
            }
        })
    }

    /// Asks every core on a connection of its own.
    fn each_core<T>(
        &mut self,
        ask: impl Fn(&mut Connection) -> Result<T, ClientError>,
    ) -> Result<Vec<T>, ClientError> {
        let cores = self.metadata(&MetadataQuery::All { after: None })?.cores;
        let cluster = &self.dialer.cluster;
        let mut addresses: Vec<_> = cores.iter().map(|at| cluster.address(at.core)).collect();
        addresses.dedup();
        let asked = addresses
            .iter()
            .map(|address| ask(&mut self.dialer.open(address)?));
        asked.collect()
    }

    /// A producer for one topic. `delivered` is told what became of each batch, from inside the producer's calls.
    pub fn producer(
        &mut self,
        topic: &str,
        options: ProducerOptions,
        delivered: impl FnMut(&Delivery) + Send + 'static,
    ) -> Result<Producer, ClientError> {
        let topic = self.topic(topic)?;
        let dialer = self.dialer.clone();
        Ok(Producer::new(dialer, topic, options, Box::new(delivered)))
    }

    /// A consumer of a topic's `partitions`, or of all (`None`).
    pub fn consumer(
        &mut self,
        topic: &str,
        partitions: Option<&[u32]>,
        options: ConsumerOptions,
    ) -> Result<Consumer, ClientError> {
        let topic = self.topic(topic)?;
        let partitions = match partitions {
            Some(some) => some.to_vec(),
            None => (0..topic.partitions).collect(),
        };
        if let Some(&partition) = partitions.iter().find(|p| **p >= topic.partitions) {
            return Err(ClientError::NoPartition {
                partition,
                partitions: topic.partitions,
                topic: topic.name,
            });
        }
        let starts = self.starts(&topic, &partitions, options.start)?;
        Ok(Consumer::start(&self.dialer, topic, &starts, options))
    }

    pub(super) fn starts(
        &mut self,
        topic: &TopicInfo,
        partitions: &[u32],
        start: StartAt,
    ) -> Result<Vec<(u32, Offset)>, ClientError> {
        let mut ask = |query: OffsetQuery| -> Result<Vec<Offset>, ClientError> {
            let queries: Vec<_> = partitions
                .iter()
                .map(|p| (PartitionNo(*p), query))
                .collect();
            let found = self.list_offsets(topic, &queries)?;
            Ok(found.into_iter().map(|(offset, _)| offset).collect())
        };
        let offsets = start.resolve(partitions.len(), &mut ask)?;
        Ok(partitions.iter().copied().zip(offsets).collect())
    }

    pub(super) fn dialer(&self) -> &Dialer {
        &self.dialer
    }

    fn metadata(&mut self, query: &MetadataQuery) -> Result<MetadataPage, ClientError> {
        let page = self.call(
            true,
            |outbox, ledger| outbox.metadata(ledger, query),
            |reply| match reply {
                Reply::Metadata(page) => Some(page),
                _ => None,
            },
        )?;
        self.dialer.cluster.learn(page.cores.clone());
        Ok(page)
    }

    /// One request and its answer. With `repeat`, a failure that may pass is tried again; without, only a connection
    /// that could not be made, since then nothing was sent.
    pub(super) fn call<T>(
        &mut self,
        repeat: bool,
        ask: impl Fn(&mut Outbox, &mut Ledger) -> Result<u32, TooLarge>,
        take: impl Fn(Reply<'_>) -> Option<T>,
    ) -> Result<T, ClientError> {
        let mut backoff = self.dialer.backoff();
        loop {
            let error = match self.call_once(&ask, &take) {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let unsent = matches!(error, ClientError::Connect { .. });
            if !(unsent || repeat && error.is_transient()) {
                return Err(error);
            }
            let Some(wait) = backoff.wait() else {
                return Err(error);
            };
            std::thread::sleep(wait);
        }
    }

    fn call_once<T>(
        &mut self,
        ask: &impl Fn(&mut Outbox, &mut Ledger) -> Result<u32, TooLarge>,
        take: &impl Fn(Reply<'_>) -> Option<T>,
    ) -> Result<T, ClientError> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.dialer.open_any()?,
        };
        let Session { outbox, ledger, .. } = connection.session();
        if let Err(error) = ask(outbox, ledger) {
            self.connection = Some(connection);
            return Err(error.into());
        }
        connection.send(&[])?;
        let answer = match connection.receive()?.1 {
            Reply::Refused(refusal) => Err(ClientError::from(refusal)),
            reply => Ok(take(reply).expect("the session holds replies against requests")),
        };
        self.connection = Some(connection);
        answer
    }

    pub(super) fn odd(&self, what: &'static str) -> ClientError {
        ClientError::Session {
            address: self.dialer.cluster.bootstrap()[0].clone(),
            cause: crate::client::session::SessionError::Unasked(what),
        }
    }
}
