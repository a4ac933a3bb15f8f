//! One connection on one core, over any [`Io`]: the client for load, and for programs that run on cores themselves.
//!
//! ```text
//!   task A   Sender ──room?──> request ──> socket        socket ──> Receiver ──reply──>   task B
//!               ^                 └── Ledger (shared) <── settle ──┘  │
//!               └──────────────────── Signal: answered ───────────────┘
//! ```
//! The halves belong to two tasks of the same core: sending never waits for a reply but through the bound on requests
//! in flight. A produce sends header and batch with one system call and copies neither; after warm-up nothing is
//! allocated per request. Receive until the last reply before dropping the halves; [`Sender::stop`] ends a connection
//! at once.

use crate::base::{AckLevel, PartitionKey};
use crate::client::in_flight::{Closed, InFlight};
use crate::client::session::{Inbox, Ledger, Outbox, SessionError};
use crate::io::{Io, Reader, Writer};
use crate::protocol::native::{Refusal, Reply, TooLarge, Welcome};
use std::net::SocketAddr;
use std::rc::Rc;
use thiserror::Error;

/// Why a connection ended, or a request was not sent.
#[derive(Error, Debug)]
pub enum DriveError {
    /// The socket failed.
    #[error("connection failed: {0}")]
    Io(#[from] std::io::Error),
    /// The broker closed the connection, or the other half has ended.
    #[error(transparent)]
    Closed(#[from] Closed),
    /// The broker's bytes make no sense.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The broker refused hello.
    #[error("the broker refused the connection: {0}")]
    Refused(Refusal),
    /// The request is above a limit of the protocol; nothing was sent.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
}

/// The half that asks.
pub struct Sender<I: Io> {
    writer: I::Writer,
    outbox: Outbox,
    shared: Rc<InFlight<Ledger>>,
}

/// The half that is answered.
pub struct Receiver<I: Io> {
    reader: I::Reader,
    inbox: Inbox,
    shared: Rc<InFlight<Ledger>>,
}

/// Connects, says hello and waits for the welcome. At most `in_flight_max` requests will wait for replies at a time.
pub async fn connect<I: Io>(
    io: &I,
    address: SocketAddr,
    in_flight_max: usize,
) -> Result<(Sender<I>, Receiver<I>, Welcome), DriveError> {
    let (reader, writer) = io.connect(address).await?;
    let shared = Rc::new(InFlight::new(Ledger::default(), in_flight_max));
    let mut sender = Sender::<I> {
        writer,
        outbox: Outbox::default(),
        shared: Rc::clone(&shared),
    };
    let mut receiver = Receiver::<I> {
        reader,
        inbox: Inbox::default(),
        shared,
    };
    sender.outbox.hello(&mut sender.shared.ledger.borrow_mut());
    sender.send(&[]).await?;
    let welcome = match receiver.next().await? {
        (_, Reply::Welcome(welcome)) => welcome,
        (_, Reply::Refused(refusal)) => return Err(DriveError::Refused(refusal)),
        _ => return Err(SessionError::Unasked("hello").into()),
    };
    Ok((sender, receiver, welcome))
}

impl<I: Io> Sender<I> {
    /// Waits until another request may be in flight.
    pub async fn room(&self) -> Result<(), DriveError> {
        Ok(self.shared.room().await?)
    }

    /// How many requests wait for their reply.
    pub fn in_flight(&self) -> usize {
        self.shared.count()
    }

    /// Sends one record batch to one partition, once there is room. Returns the request's correlation id.
    pub async fn produce(
        &mut self,
        level: AckLevel,
        to: PartitionKey,
        batch: &[u8],
    ) -> Result<u32, DriveError> {
        let bytes = u32::try_from(batch.len()).unwrap_or(u32::MAX);
        let entry = [(to, bytes)].into_iter();
        self.ask(batch, |outbox, ledger| outbox.produce(ledger, level, entry))
            .await
    }

    /// Puts a produce with a copy of its batch behind what the next [`Sender::flush`] sends: for small batches, of which
    /// one system call carries many. There must be room for it.
    pub fn push(
        &mut self,
        level: AckLevel,
        to: PartitionKey,
        batch: &[u8],
    ) -> Result<u32, TooLarge> {
        assert!(self.shared.has_room(), "ask for room first");
        let ledger = &mut self.shared.ledger.borrow_mut();
        let bytes = u32::try_from(batch.len()).unwrap_or(u32::MAX);
        let entry = [(to, bytes)].into_iter();
        let correlation = self.outbox.produce(ledger, level, entry)?;
        self.outbox.body(batch);
        Ok(correlation)
    }

    /// Sends what was pushed.
    pub async fn flush(&mut self) -> Result<(), DriveError> {
        self.send(&[]).await
    }

    /// Asks where the time of the core on the other end goes, once there is room. Returns the request's correlation id.
    pub async fn stages(&mut self) -> Result<u32, DriveError> {
        self.ask(&[], |outbox, ledger| outbox.stages(ledger)).await
    }

    /// Sends what `write` puts into the outbox, once there is room, and `body` behind it (of a produce, else empty).
    pub async fn ask(
        &mut self,
        body: &[u8],
        write: impl FnOnce(&mut Outbox, &mut Ledger) -> Result<u32, TooLarge>,
    ) -> Result<u32, DriveError> {
        self.room().await?;
        let correlation = write(&mut self.outbox, &mut self.shared.ledger.borrow_mut())?;
        self.send(body).await?;
        Ok(correlation)
    }

    /// Ends the connection in both directions; the receiver's wait returns.
    pub fn stop(&mut self) {
        self.writer.shutdown();
        self.shared.close();
    }

    async fn send(&mut self, body: &[u8]) -> Result<(), DriveError> {
        let header = self.outbox.bytes();
        let sent = if body.is_empty() {
            self.writer.write_all(header).await
        } else {
            self.writer.write_vectored(&[header, body]).await
        };
        self.outbox.clear();
        if sent.is_err() {
            self.stop();
        }
        Ok(sent?)
    }
}

impl<I: Io> Receiver<I> {
    /// The next reply and its correlation id, in the order of the requests. Waits for it; without a request in flight,
    /// it waits until one is made and answered. Never drop this future before it is done: bytes would be lost.
    pub async fn next(&mut self) -> Result<(u32, Reply<'_>), DriveError> {
        let shared = &self.shared;
        while !self.inbox.holds_reply().inspect_err(|_| shared.close())? {
            let received = self.reader.read(self.inbox.space()).await;
            match received {
                Ok(0) => {
                    self.shared.close();
                    return Err(self.shared.closed().into());
                }
                Ok(bytes) => self.inbox.filled(bytes),
                Err(error) => {
                    self.shared.close();
                    return Err(error.into());
                }
            }
        }
        let (correlation, reply) = self.inbox.next()?.expect("seen above");
        let settled = self.shared.ledger.borrow_mut().settle(correlation, &reply);
        if settled.is_err() {
            self.shared.close();
        }
        settled?;
        self.shared.note_answer();
        Ok((correlation, reply))
    }
}

impl<I: Io> Drop for Receiver<I> {
    /// A sender that waits for room must not wait for a receiver that is gone.
    fn drop(&mut self) {
        self.shared.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::record::BatchBuilder;
    use crate::base::{Offset, PartitionNo, TimestampMs, TopicId};
    use crate::client::fake::serve;
    use crate::io::uring::{Options, Uring, run_cores};
    use futures_lite::future::zip;

    fn on_core<T: Send + 'static>(main: impl AsyncFn(Uring) -> T + Send + Clone + 'static) -> T {
        let options = Options {
            cpus: vec![None],
            memory_bytes: 1 << 20,
            mailbox_messages: 4,
            name: "driver".to_owned(),
            spin: None,
        };
        let run = move |io: Uring, _| {
            let main = main.clone();
            async move { main(io).await }
        };
        let mut all = run_cores::<(), _, _, _>(options, run).expect("io_uring is there");
        all.remove(0)
    }

    #[test]
    fn produces_are_pipelined_within_their_bound_and_answered_in_order() {
        let server = serve(1);
        let address = server.address();
        let key = server.with(|broker| broker.topic("t", 1)).key(0);
        let offsets = on_core(async move |io: Uring| {
            let connected = connect(&io, address, 4).await.expect("it listens");
            let (mut sender, mut receiver, welcome) = connected;
            assert_eq!(welcome.version, 1);
            let mut builder = BatchBuilder::new();
            builder.push(TimestampMs(1), None, Some(&[1; 500]), &[]);
            let batch = builder.finish();
            let send = async {
                for _ in 0..50 {
                    let sent = sender.produce(AckLevel::Written, key, batch).await;
                    sent.expect("the connection lives");
                    assert!(sender.in_flight() <= 4);
                }
            };
            zip(send, base_offsets(&mut receiver, 50)).await.1
        });
        assert_eq!(offsets, (0..50).map(Offset).collect::<Vec<_>>());
    }

    /// Where the next `count` produces were appended.
    async fn base_offsets(receiver: &mut Receiver<Uring>, count: usize) -> Vec<Offset> {
        let mut offsets = Vec::new();
        while offsets.len() < count {
            let (_, reply) = receiver.next().await.expect("answered");
            let Reply::Produced(produced) = reply else {
                panic!("{reply:?}")
            };
            let first = produced.entries().next().expect("one entry");
            offsets.push(first.expect("appended").base_offset);
        }
        offsets
    }

    #[test]
    fn produces_that_were_pushed_go_out_together_with_their_bodies() {
        let server = serve(1);
        let address = server.address();
        let key = server.with(|broker| broker.topic("t", 1)).key(0);
        let offsets = on_core(async move |io: Uring| {
            let connected = connect(&io, address, 3).await.expect("it listens");
            let (mut sender, mut receiver, _) = connected;
            let mut builder = BatchBuilder::new();
            builder.push(TimestampMs(1), None, Some(b"small"), &[]);
            let batch = builder.finish();
            for _ in 0..3 {
                let pushed = sender.push(AckLevel::Written, key, batch);
                pushed.expect("a small request");
            }
            sender.flush().await.expect("the connection lives");
            base_offsets(&mut receiver, 3).await
        });
        assert_eq!(offsets, [Offset(0), Offset(1), Offset(2)]);
    }

    #[test]
    fn a_broker_that_goes_away_ends_both_halves() {
        let server = serve(1);
        let address = server.address();
        server.with(|broker| broker.hang_up_at = Some(2));
        let (unanswered, error) = on_core(async move |io: Uring| {
            let connected = connect(&io, address, 2).await.expect("it listens");
            let (mut sender, mut receiver, _) = connected;
            let key = PartitionKey::new(TopicId(1), PartitionNo(0));
            let waits = async {
                while sender.produce(AckLevel::None, key, b"x").await.is_ok() {}
                sender.in_flight()
            };
            let receives = async {
                loop {
                    if let Err(error) = receiver.next().await {
                        break error.to_string();
                    }
                }
            };
            zip(waits, receives).await
        });
        assert!(unanswered >= 1, "{error}");
    }
}
