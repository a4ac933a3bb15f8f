//! Polls over the native protocol, between a client and a shard, on a simulated machine: what hurries a poll, what credit
//! allows, and what becomes of the records of a connection that is lost.

use millrace::base::limits::PRODUCER_EXPIRATION_MS_DEFAULT;
use millrace::base::queue::QueueSettings;
use millrace::base::record::BatchBuilder;
use millrace::base::{AckLevel, NodeId, PartitionKey, PartitionNo, TimestampMs};
use millrace::client::driver::{Receiver, Sender, connect};
use millrace::client::{
    AnswerKind, Delivered, NewQueue, NewTopic, Polling, QueueAnswer, QueueAsk, QueueTold, Reply,
    TopicRef, TopicSettings,
};
use millrace::engine::CoreAddress;
use millrace::io::Io;
use millrace::io::Listener;
use millrace::io::sim::{Sim, SimIo};
use millrace::log::{self, recover};
use millrace::net::{self, Net};
use millrace::protocol::native::ErrorCode;
use millrace::shard::{self, Shard, share};
use std::cell::Cell;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

const DATA: &str = "/data";
const NODE: NodeId = NodeId(7);
const QUEUE: &str = "jobs";

/// A broker of one core on a simulated machine, with a topic of one partition and a queue on it, and `script` beside it.
fn on_broker<F: Future<Output = ()> + 'static>(script: impl FnOnce(Place) -> F + 'static) {
    let sim = Sim::new(11);
    let recovered = sim.run(|io| async move { recover(&io, Path::new(DATA)).await });
    let recovered = recovered.done().remove(0).unwrap();
    let log = log::Options::new(DATA.into(), NODE, recovered.epoch);
    let share = Cell::new(share(recovered, 1).into_iter().next());
    let script = Cell::new(Some(script));
    let ran = sim.run_cores(1, |io: SimIo, mailbox| {
        let (share, script) = (share.take().unwrap(), script.take().unwrap());
        let log = log.clone();
        async move {
            let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
            let listener = io.listen(any_port).await.unwrap();
            let address = listener.local_addr();
            let options = shard::Options {
                cores: 1,
                address: CoreAddress {
                    core: io.core(),
                    host: "127.0.0.1".to_owned(),
                    port: address.port(),
                },
                log,
                producer_expiration: Duration::from_millis(PRODUCER_EXPIRATION_MS_DEFAULT),
            };
            let (shard, _) = Shard::start(io.clone(), mailbox, options, share)
                .await
                .unwrap();
            let net = Net::new(io.clone(), shard.clone(), net::Options::new(NODE));
            net.serve(listener);
            script(Place::new(io, address).await).await;
            net.stop().await;
            shard.stop().await.unwrap();
        }
    });
    ran.done();
}

/// The broker, and the partition that its queue is on.
struct Place {
    io: SimIo,
    address: SocketAddr,
    key: PartitionKey,
}

/// A connection.
struct Peer {
    sender: Sender<SimIo>,
    receiver: Receiver<SimIo>,
}

impl Place {
    async fn new(io: SimIo, address: SocketAddr) -> Self {
        let mut place = Self {
            io,
            address,
            key: PartitionKey::new(millrace::base::TopicId(0), PartitionNo(0)),
        };
        let mut peer = place.dial().await;
        let topic = NewTopic {
            name: "work".to_owned(),
            partitions: 1,
            settings: TopicSettings::default(),
        };
        let asked = peer
            .sender
            .ask(&[], |outbox, ledger| outbox.create_topic(ledger, &topic));
        asked.await.unwrap();
        let Reply::TopicCreated(made) = peer.receiver.next().await.unwrap().1 else {
            panic!("a topic was asked for")
        };
        place.key.topic = made.id;
        let queue = NewQueue {
            name: QUEUE.to_owned(),
            topic: TopicRef::Id(made.id),
            dead_letters: None,
            from_end: false,
            settings: QueueSettings::default(),
        };
        let made = peer.queue(QueueAsk::Create(queue)).await;
        assert!(matches!(made, Ok(QueueTold::Created(_))), "{made:?}");
        place
    }

    async fn dial(&self) -> Peer {
        let dialled = connect(&self.io, self.address, 16).await;
        let (sender, receiver, _) = dialled.unwrap();
        Peer { sender, receiver }
    }

    async fn join(&self, at_most_once: bool) -> Peer {
        let mut peer = self.dial().await;
        let name = QUEUE.to_owned();
        let told = peer.queue(QueueAsk::Join { name, at_most_once }).await;
        assert_eq!(told, Ok(QueueTold::Joined));
        peer
    }

    /// Writes so many records, in one batch.
    async fn produce(&self, count: u64) {
        let mut peer = self.dial().await;
        let mut builder = BatchBuilder::new();
        for value in 0..count {
            builder.push(TimestampMs(5), None, Some(&value.to_le_bytes()), &[]);
        }
        let batch = builder.finish();
        let asked = peer.sender.produce(AckLevel::Written, self.key, batch);
        asked.await.unwrap();
        let Reply::Produced(produced) = peer.receiver.next().await.unwrap().1 else {
            panic!("a produce was asked for")
        };
        assert!(produced.entries().all(|entry| entry.is_ok()));
    }
}

impl Peer {
    async fn queue(&mut self, ask: QueueAsk) -> Result<QueueTold, ErrorCode> {
        let asked = self
            .sender
            .ask(&[], |outbox, ledger| outbox.queue(ledger, &ask));
        asked.await.unwrap();
        match self.receiver.next().await.unwrap().1 {
            Reply::Queue(told) => Ok(told),
            Reply::Refused(refusal) => Err(refusal.code),
            other => panic!("{other:?}"),
        }
    }

    async fn send(&mut self, delivered_max: u64, wait: Duration, answers: Vec<QueueAnswer>) {
        let mut polling = Polling {
            delivered_max,
            ..Polling::default()
        };
        polling.poll.answers = answers;
        polling.poll.wait_max = wait;
        polling.poll.bytes_max = 1 << 20;
        let asked = self
            .sender
            .ask(&[], |outbox, ledger| outbox.poll_queue(ledger, &polling));
        asked.await.unwrap();
    }

    /// What the oldest poll brought: records taken and too late, and deliveries.
    async fn polled(&mut self) -> Result<(u64, u64, Vec<Delivered>), ErrorCode> {
        match self.receiver.next().await.unwrap().1 {
            Reply::QueuePolled(polled) => {
                let taken = polled.answered().map(|one| one.taken).sum();
                let stale = polled.answered().map(|one| one.stale).sum();
                let deliveries = polled.deliveries().map(|(delivered, _)| delivered);
                Ok((taken, stale, deliveries.collect()))
            }
            Reply::Refused(refusal) => Err(refusal.code),
            other => panic!("{other:?}"),
        }
    }
}

fn count(deliveries: &[Delivered]) -> u64 {
    let each = deliveries
        .iter()
        .map(|one| one.span.until.0 - one.span.from.0);
    each.sum()
}

fn acks(deliveries: &[Delivered]) -> Vec<QueueAnswer> {
    let ack = |one: &Delivered| QueueAnswer {
        partition: one.partition,
        span: one.span,
        kind: AnswerKind::Ack,
    };
    deliveries.iter().map(ack).collect()
}

const LONG: Duration = Duration::from_secs(50);

#[test]
fn records_are_pushed_to_a_poll_that_waits_and_answers_never_wait_behind_one() {
    on_broker(|place| async move {
        let mut peer = place.join(false).await;
        let began = place.io.now();
        peer.send(10, LONG, Vec::new()).await;
        place.produce(4).await;
        let (_, _, got) = peer.polled().await.unwrap();
        assert_eq!(count(&got), 4);
        // One waits; the answers come behind it and are taken at once.
        peer.send(10, LONG, Vec::new()).await;
        peer.send(14, LONG, acks(&got)).await;
        assert_eq!(peer.polled().await, Ok((0, 0, Vec::new())));
        peer.send(14, LONG, acks(&got)).await;
        assert_eq!(peer.polled().await, Ok((4, 0, Vec::new())));
        peer.send(14, Duration::ZERO, Vec::new()).await;
        assert_eq!(peer.polled().await, Ok((0, 4, Vec::new())), "acked already");
        assert_eq!(peer.polled().await, Ok((0, 0, Vec::new())));
        assert!(place.io.now().since(began) < Duration::from_secs(5));
        // Nobody hurries this one.
        peer.send(14, Duration::from_secs(7), Vec::new()).await;
        assert_eq!(peer.polled().await, Ok((0, 0, Vec::new())));
        assert!(place.io.now().since(began) >= Duration::from_secs(7));
    });
}

#[test]
fn what_is_delivered_is_never_more_than_was_allowed_however_polls_cross() {
    on_broker(|place| async move {
        let mut peer = place.join(false).await;
        place.produce(100).await;
        for _ in 0..5 {
            peer.send(7, LONG, Vec::new()).await;
        }
        peer.send(9, Duration::ZERO, Vec::new()).await;
        let mut got = Vec::new();
        for _ in 0..6 {
            got.extend(peer.polled().await.unwrap().2);
        }
        assert_eq!(count(&got), 9);
        peer.send(9, Duration::from_millis(100), acks(&got)).await;
        assert_eq!(peer.polled().await, Ok((9, 0, Vec::new())));
    });
}

#[test]
fn what_a_lost_connection_had_is_delivered_to_another_consumer_at_once() {
    on_broker(|place| async move {
        place.produce(10).await;
        let mut first = place.join(false).await;
        first.send(6, LONG, Vec::new()).await;
        let (_, _, got) = first.polled().await.unwrap();
        assert_eq!((count(&got), got[0].span.deliveries), (6, 1));
        let mut second = place.join(false).await;
        second.send(10, LONG, Vec::new()).await;
        let (_, _, others) = second.polled().await.unwrap();
        assert_eq!((count(&others), others[0].span.from.0), (4, 6));
        // Another poll waits on the connection when it goes.
        first.send(12, LONG, Vec::new()).await;
        let began = place.io.now();
        second.send(20, LONG, acks(&others)).await;
        first.sender.stop();
        drop(first);
        let (taken, _, mut again) = second.polled().await.unwrap();
        assert_eq!(taken, 4);
        while count(&again) < 6 {
            second.send(20, LONG, Vec::new()).await;
            again.extend(second.polled().await.unwrap().2);
        }
        assert_eq!((count(&again), again[0].span.from.0), (6, 0));
        assert!(again.iter().all(|one| one.span.deliveries == 2));
        let waited = place.io.now().since(began);
        assert!(
            waited < Duration::from_secs(5),
            "a lease has 30 s: {waited:?}"
        );
        second.send(20, Duration::ZERO, acks(&again)).await;
        assert_eq!(second.polled().await.unwrap().0, 6);
    });
}

#[test]
fn what_is_acked_on_delivery_does_not_come_again() {
    on_broker(|place| async move {
        // One that waits and goes takes nothing with it.
        let mut early = place.join(true).await;
        early.send(10, LONG, Vec::new()).await;
        early.sender.stop();
        drop(early);
        place.io.sleep(Duration::from_millis(100)).await;
        place.produce(10).await;
        let mut first = place.join(true).await;
        first.send(6, LONG, Vec::new()).await;
        assert_eq!(count(&first.polled().await.unwrap().2), 6);
        first.sender.stop();
        drop(first);
        let mut second = place.join(false).await;
        second.send(10, LONG, Vec::new()).await;
        let (_, _, got) = second.polled().await.unwrap();
        assert_eq!((count(&got), got[0].span.from.0), (4, 6));
    });
}

#[test]
fn who_is_no_consumer_or_two_is_refused() {
    on_broker(|place| async move {
        let mut peer = place.dial().await;
        peer.send(1, LONG, Vec::new()).await;
        assert_eq!(peer.polled().await, Err(ErrorCode::InvalidRequest));
        let join = |name: &str| QueueAsk::Join {
            name: name.to_owned(),
            at_most_once: false,
        };
        let none = peer.queue(join("nothing")).await;
        assert_eq!(none, Err(ErrorCode::UnknownQueue));
        assert_eq!(peer.queue(join(QUEUE)).await, Ok(QueueTold::Joined));
        let twice = peer.queue(join(QUEUE)).await;
        assert_eq!(twice, Err(ErrorCode::InvalidRequest));
        // A queue that goes tells those who wait on it.
        peer.send(1, LONG, Vec::new()).await;
        let mut other = place.dial().await;
        let name = QUEUE.to_owned();
        let deleted = other.queue(QueueAsk::Delete { name }).await;
        assert_eq!(deleted, Ok(QueueTold::Deleted));
        let _ = peer.polled().await;
        peer.send(1, LONG, Vec::new()).await;
        assert_eq!(peer.polled().await, Err(ErrorCode::UnknownQueue));
    });
}
