//! The client's end of one connection, sans-IO: requests in, bytes out; bytes in, replies out.
//!
//! ```text
//!   request ──Outbox──> bytes to send            bytes received ──Inbox──> reply
//!                └──note──> Ledger: what was asked, in order <──settle──┘
//! ```
//! Three parts, because a driver may hold its sending half and its receiving half apart; [`Session`] is all three.

use crate::base::{AckLevel, Offset, PartitionKey};
use crate::protocol::native::{
    Caps, FetchRequest, FrameError, GroupAsk, MetadataQuery, NewTopic, OffsetEntry, Polling,
    QueueAsk, Reply, ReplyError, RequestWriter, Split, TooLarge, TopicChange, TopicRef, split,
};
use std::collections::VecDeque;
use thiserror::Error;

/// How much room there is for one receive, at least.
const RECEIVE_BYTES: usize = 256 << 10;

/// The largest buffer that is ever needed: one reply as large as they get, and a receive.
const INBOX_BYTES_MAX: usize =
    16 + Caps::REPLY.header_bytes_max + Caps::REPLY.body_bytes_max + RECEIVE_BYTES;

/// What this software calls itself in hello.
const SOFTWARE: &str = "millrace";

/// Why the bytes of a broker cannot be followed any further. The connection must be closed.
#[derive(Error, Clone, PartialEq, Eq, Debug)]
pub enum SessionError {
    /// Not a frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// Not a reply.
    #[error(transparent)]
    Reply(#[from] ReplyError),
    /// A reply that nothing asked for, or not that one, or not now.
    #[error("the broker's reply does not fit what was asked: {0}")]
    Unasked(&'static str),
}

/// What was asked, as far as a reply can be held against it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Hello,
    Metadata,
    CreateTopic,
    AlterTopic,
    Trim,
    DeleteTopic,
    DescribeTopic,
    Produce,
    Fetch,
    ListOffsets,
    Stages,
    Clients,
    Group(u8),
    Queue(u8),
    PollQueue,
}

#[derive(Clone, Copy, Debug)]
struct Asked {
    correlation: u32,
    kind: Kind,
    entries: usize,
}

/// Requests that were written and not yet answered, in order.
#[derive(Debug, Default)]
pub struct Ledger {
    asked: VecDeque<Asked>,
}

/// Writes requests into a buffer that the driver sends and clears.
#[derive(Default)]
pub struct Outbox {
    writer: RequestWriter,
    bytes: Vec<u8>,
    next: u32,
}

/// Collects received bytes and cuts replies from them, without copying a body.
#[derive(Debug)]
pub struct Inbox {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// Bytes that the frame at `start` needs in all, as far as is known.
    wanted: usize,
}

/// All of one connection's state.
#[derive(Default)]
pub struct Session {
    /// What was asked.
    pub ledger: Ledger,
    /// Requests.
    pub outbox: Outbox,
    /// Replies.
    pub inbox: Inbox,
}

impl Session {
    /// A session whose outbox holds hello already.
    pub fn new() -> Self {
        let mut session = Self::default();
        session.outbox.hello(&mut session.ledger);
        session
    }

    /// The next reply that has arrived whole, checked against what was asked, with its correlation id.
    pub fn reply(&mut self) -> Result<Option<(u32, Reply<'_>)>, SessionError> {
        let Some((correlation, reply)) = self.inbox.next()? else {
            return Ok(None);
        };
        self.ledger.settle(correlation, &reply)?;
        Ok(Some((correlation, reply)))
    }
}

impl Ledger {
    /// How many requests wait for their reply.
    pub fn len(&self) -> usize {
        self.asked.len()
    }

    /// Whether none does.
    pub fn is_empty(&self) -> bool {
        self.asked.is_empty()
    }

    /// Takes the oldest request off, if `reply` answers it.
    pub fn settle(&mut self, correlation: u32, reply: &Reply<'_>) -> Result<(), SessionError> {
        let asked = self.asked.front().ok_or(SessionError::Unasked("nothing"))?;
        if asked.correlation != correlation {
            return Err(SessionError::Unasked("another correlation id"));
        }
        check_fit(asked, reply)?;
        self.asked.pop_front();
        Ok(())
    }
}

fn check_fit(asked: &Asked, reply: &Reply<'_>) -> Result<(), SessionError> {
    let (fits, entries) = match reply {
        Reply::Refused(_) => (true, asked.entries),
        Reply::Welcome(_) => (asked.kind == Kind::Hello, 0),
        Reply::Metadata(_) => (asked.kind == Kind::Metadata, 0),
        Reply::TopicCreated(_) => (asked.kind == Kind::CreateTopic, 0),
        Reply::TopicAltered(_) => (asked.kind == Kind::AlterTopic, 0),
        Reply::PartitionTrimmed(_) => (asked.kind == Kind::Trim, 0),
        Reply::TopicDeleted => (asked.kind == Kind::DeleteTopic, 0),
        Reply::TopicDescribed(_) => (asked.kind == Kind::DescribeTopic, 0),
        Reply::Produced(produced) => (asked.kind == Kind::Produce, produced.count()),
        Reply::Fetched(fetched) => (asked.kind == Kind::Fetch, fetched.count()),
        Reply::OffsetsListed(listed) => (asked.kind == Kind::ListOffsets, listed.count()),
        Reply::Stages(_) => (asked.kind == Kind::Stages, 0),
        Reply::Clients(_) => (asked.kind == Kind::Clients, 0),
        Reply::Group(told) => (asked.kind == Kind::Group(told.kind()), 0),
        Reply::Queue(told) => (asked.kind == Kind::Queue(told.kind()), 0),
        Reply::QueuePolled(polled) => (asked.kind == Kind::PollQueue, polled.count()),
    };
    if !fits {
        return Err(SessionError::Unasked("another kind"));
    }
    if entries != asked.entries {
        return Err(SessionError::Unasked("another count of entries"));
    }
    Ok(())
}

impl Outbox {
    /// The bytes to be sent next. The body of a produce is not among them, but for what [`Outbox::body`] copied: it must
    /// follow its frame.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Forgets the bytes, once they were sent.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    /// Says hello. The first request of a connection.
    pub fn hello(&mut self, ledger: &mut Ledger) {
        let version = env!("CARGO_PKG_VERSION");
        self.ask(ledger, Kind::Hello, 0, |writer, id, out| {
            writer.hello(id, SOFTWARE, version, out)
        })
        .expect("our own name fits a header");
    }

    /// Asks for cores and topics.
    pub fn metadata(
        &mut self,
        ledger: &mut Ledger,
        query: &MetadataQuery,
    ) -> Result<u32, TooLarge> {
        self.ask(ledger, Kind::Metadata, 0, |writer, id, out| {
            writer.metadata(id, query, out)
        })
    }

    /// Makes a topic.
    pub fn create_topic(&mut self, ledger: &mut Ledger, topic: &NewTopic) -> Result<u32, TooLarge> {
        self.ask(ledger, Kind::CreateTopic, 0, |writer, id, out| {
            writer.create_topic(id, topic, out)
        })
    }

    /// Changes a topic.
    pub fn alter_topic(
        &mut self,
        ledger: &mut Ledger,
        topic: &TopicRef,
        change: &TopicChange,
    ) -> Result<u32, TooLarge> {
        self.ask(ledger, Kind::AlterTopic, 0, |writer, id, out| {
            writer.alter_topic(id, topic, change, out)
        })
    }

    /// Gives up the records of a partition below `before`, or all that can be read.
    pub fn trim(
        &mut self,
        ledger: &mut Ledger,
        of: PartitionKey,
        before: Option<Offset>,
    ) -> Result<u32, TooLarge> {
        self.ask(ledger, Kind::Trim, 0, |writer, id, out| {
            writer.trim(id, of, before, out)
        })
    }

    /// Deletes a topic.
    pub fn delete_topic(&mut self, ledger: &mut Ledger, topic: &TopicRef) -> Result<u32, TooLarge> {
        self.ask(ledger, Kind::DeleteTopic, 0, |writer, id, out| {
            writer.delete_topic(id, topic, out)
        })
    }

    /// Asks for the state of a topic's partitions from `first` on.
    pub fn describe_topic(
        &mut self,
        ledger: &mut Ledger,
        topic: &TopicRef,
        first: u32,
    ) -> Result<u32, TooLarge> {
        self.ask(ledger, Kind::DescribeTopic, 0, |writer, id, out| {
            writer.describe_topic(id, topic, first, out)
        })
    }

    /// Asks where the time of the core on the other end goes.
    pub fn stages(&mut self, ledger: &mut Ledger) -> Result<u32, TooLarge> {
        self.ask(ledger, Kind::Stages, 0, |writer, id, out| {
            writer.stages(id, out)
        })
    }

    /// Asks who asks the core on the other end for what: the clients behind the first `first`.
    pub fn clients(&mut self, ledger: &mut Ledger, first: u32) -> Result<u32, TooLarge> {
        self.ask(ledger, Kind::Clients, 0, |writer, id, out| {
            writer.clients(id, first, out)
        })
    }

    /// Asks about consumer groups.
    pub fn group(&mut self, ledger: &mut Ledger, ask: &GroupAsk) -> Result<u32, TooLarge> {
        self.ask(ledger, Kind::Group(ask.kind()), 0, |writer, id, out| {
            writer.group(id, ask, out)
        })
    }

    /// Asks about queues.
    pub fn queue(&mut self, ledger: &mut Ledger, ask: &QueueAsk) -> Result<u32, TooLarge> {
        self.ask(ledger, Kind::Queue(ask.kind()), 0, |writer, id, out| {
            writer.queue(id, ask, out)
        })
    }

    /// Answers for what a queue has delivered, and asks for more.
    pub fn poll_queue(&mut self, ledger: &mut Ledger, polling: &Polling) -> Result<u32, TooLarge> {
        let count = polling.poll.answers.len();
        self.ask(ledger, Kind::PollQueue, count, |writer, id, out| {
            writer.poll_queue(id, polling, out)
        })
    }

    /// Begins a produce. The driver sends the entries' record batches right behind these bytes, in order.
    pub fn produce(
        &mut self,
        ledger: &mut Ledger,
        level: AckLevel,
        entries: impl ExactSizeIterator<Item = (PartitionKey, u32)>,
    ) -> Result<u32, TooLarge> {
        let count = entries.len();
        self.ask(ledger, Kind::Produce, count, |writer, id, out| {
            writer.produce(id, level, entries, out)
        })
    }

    /// Puts a copy of the next part of a produce's body behind its frame, for a driver that sends both from here.
    pub fn body(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Asks for record batches.
    pub fn fetch(&mut self, ledger: &mut Ledger, request: &FetchRequest) -> Result<u32, TooLarge> {
        let count = request.partitions.len();
        self.ask(ledger, Kind::Fetch, count, |writer, id, out| {
            writer.fetch(id, request, out)
        })
    }

    /// Asks for offsets.
    pub fn list_offsets(
        &mut self,
        ledger: &mut Ledger,
        entries: &[OffsetEntry],
    ) -> Result<u32, TooLarge> {
        let count = entries.len();
        self.ask(ledger, Kind::ListOffsets, count, |writer, id, out| {
            writer.list_offsets(id, entries.iter().copied(), out)
        })
    }

    fn ask(
        &mut self,
        ledger: &mut Ledger,
        kind: Kind,
        entries: usize,
        write: impl FnOnce(&mut RequestWriter, u32, &mut Vec<u8>) -> Result<(), TooLarge>,
    ) -> Result<u32, TooLarge> {
        let correlation = self.next;
        write(&mut self.writer, correlation, &mut self.bytes)?;
        self.next = correlation.wrapping_add(1);
        ledger.asked.push_back(Asked {
            correlation,
            kind,
            entries,
        });
        Ok(correlation)
    }
}

impl Default for Inbox {
    fn default() -> Self {
        Self {
            buffer: vec![0; RECEIVE_BYTES],
            start: 0,
            end: 0,
            wanted: 0,
        }
    }
}

impl Inbox {
    /// Where to receive next; never empty. Grows with the largest reply, within the protocol's limits.
    pub fn space(&mut self) -> &mut [u8] {
        let have = self.end - self.start;
        let needed = self.wanted.saturating_sub(have).max(RECEIVE_BYTES);
        if self.buffer.len() - self.end < needed {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, have);
        }
        if self.buffer.len() - self.end < needed {
            let grown = (self.end + needed).next_power_of_two().min(INBOX_BYTES_MAX);
            assert!(grown > self.end, "a reply is never larger than its cap");
            self.buffer.resize(grown, 0);
        }
        &mut self.buffer[self.end..]
    }

    /// Says that `bytes` were received into [`Inbox::space`].
    pub fn filled(&mut self, bytes: usize) {
        assert!(bytes <= self.buffer.len() - self.end);
        self.end += bytes;
    }

    /// The next whole reply, and its correlation id. It borrows the buffer: be done with it before receiving more.
    #[expect(clippy::should_implement_trait, reason = "the item borrows from self")]
    pub fn next(&mut self) -> Result<Option<(u32, Reply<'_>)>, SessionError> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
        match split(&self.buffer[self.start..self.end], Caps::REPLY)? {
            Split::NeedMore(wanted) => {
                self.wanted = wanted;
                Ok(None)
            }
            Split::Frame(frame) => {
                self.start += frame.total;
                self.wanted = 0;
                let reply = Reply::decode(frame.header, frame.body)?;
                Ok(Some((frame.correlation, reply)))
            }
        }
    }

    /// Whether a whole frame has arrived: then [`Inbox::next`] yields it without receiving more.
    pub fn holds_reply(&mut self) -> Result<bool, SessionError> {
        match split(&self.buffer[self.start..self.end], Caps::REPLY)? {
            Split::NeedMore(wanted) => {
                self.wanted = wanted;
                Ok(false)
            }
            Split::Frame(_) => Ok(true),
        }
    }

    /// Gives the buffer away for another one, and says where its received bytes end: for a reader that hands whole
    /// replies to somebody else. Only between replies, when nothing more has arrived.
    pub fn swap(&mut self, buffer: &mut Vec<u8>) -> usize {
        assert!(
            self.start == self.end,
            "bytes of a later reply would be lost"
        );
        let end = self.end;
        std::mem::swap(&mut self.buffer, buffer);
        (self.start, self.end) = (0, 0);
        end
    }

    /// Whether all that was received has been taken.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::record::BatchBuilder;
    use crate::base::{Offset, PartitionNo, TimestampMs};
    use crate::client::fake::{FakeBroker, settings};
    use crate::protocol::native::{ErrorCode, FetchPartition, OffsetQuery, TopicInfo};
    use std::time::Duration;

    /// Sends what the session has (and a body), and lets the answer arrive in pieces of `piece` bytes.
    fn exchange(session: &mut Session, broker: &mut FakeBroker, body: &[u8], piece: usize) {
        let sent = [session.outbox.bytes(), body].concat();
        session.outbox.clear();
        let mut answer = Vec::new();
        assert_eq!(broker.answer(&sent, &mut answer), sent.len());
        for piece in answer.chunks(piece) {
            let space = session.inbox.space();
            space[..piece.len()].copy_from_slice(piece);
            session.inbox.filled(piece.len());
        }
    }

    fn open(broker: &mut FakeBroker) -> Session {
        let mut session = Session::new();
        exchange(&mut session, broker, b"", 7);
        let (_, reply) = session.reply().expect("good").expect("whole");
        assert!(matches!(reply, Reply::Welcome(w) if w.version == 1));
        session
    }

    fn create(session: &mut Session, broker: &mut FakeBroker, partitions: u32) -> TopicInfo {
        let new = NewTopic {
            name: "t".to_owned(),
            partitions,
            settings: settings(),
        };
        let asked = session.outbox.create_topic(&mut session.ledger, &new);
        asked.expect("small");
        exchange(session, broker, b"", usize::MAX);
        match session.reply().expect("good").expect("whole").1 {
            Reply::TopicCreated(topic) => topic,
            other => panic!("{other:?}"),
        }
    }

    fn batch(value: &[u8]) -> Vec<u8> {
        let mut builder = BatchBuilder::new();
        builder.push(TimestampMs(5), None, Some(value), &[]);
        builder.finish().to_vec()
    }

    #[test]
    fn requests_are_pipelined_and_answered_in_order_whatever_the_pieces() {
        let mut broker = FakeBroker::new(1);
        let mut session = open(&mut broker);
        let topic = create(&mut session, &mut broker, 1);
        let key = PartitionKey::new(topic.id, PartitionNo(0));
        let batch = batch(&[7; 3_000]);
        for piece in [1, 13, 4_096, usize::MAX] {
            let entry = [(key, batch.len() as u32)].into_iter();
            let Session { ledger, outbox, .. } = &mut session;
            let first = outbox
                .produce(ledger, AckLevel::Written, entry)
                .expect("small");
            exchange(&mut session, &mut broker, &batch, piece);
            let Session { ledger, outbox, .. } = &mut session;
            let fetch = FetchRequest {
                partitions: vec![FetchPartition {
                    key,
                    from: Offset(0),
                    bytes_max: 1 << 20,
                }],
                bytes_min: 1,
                wait_max: Duration::ZERO,
                bytes_max: 1 << 20,
            };
            let second = outbox.fetch(ledger, &fetch).expect("small");
            let latest = [OffsetEntry {
                key,
                query: OffsetQuery::Latest,
            }];
            let third = outbox.list_offsets(ledger, &latest).expect("small");
            exchange(&mut session, &mut broker, b"", piece);
            assert_eq!(session.ledger.len(), 3);
            let mut seen = Vec::new();
            while let Some((correlation, reply)) = session.reply().expect("in order") {
                if let Reply::Fetched(fetched) = &reply {
                    let entry = fetched.entries().next().expect("one entry");
                    assert!(entry.error.is_none() && entry.batches.len() % batch.len() == 0);
                }
                seen.push(correlation);
            }
            assert_eq!(seen, [first, second, third]);
            assert!(session.ledger.is_empty() && session.inbox.is_empty());
        }
    }

    #[test]
    fn a_refusal_answers_any_request() {
        let mut broker = FakeBroker::new(1);
        let mut session = open(&mut broker);
        let nobody = TopicRef::Name("nobody".to_owned());
        let asked = session.outbox.delete_topic(&mut session.ledger, &nobody);
        asked.expect("small");
        exchange(&mut session, &mut broker, b"", usize::MAX);
        let (_, reply) = session.reply().expect("good").expect("whole");
        assert!(matches!(reply, Reply::Refused(r) if r.code == ErrorCode::UnknownTopic));
    }

    #[test]
    fn a_reply_that_does_not_fit_is_refused() {
        let mut broker = FakeBroker::new(1);
        let mut session = open(&mut broker);
        create(&mut session, &mut broker, 1);
        let all = MetadataQuery::All { after: None };
        let asked = session.outbox.metadata(&mut session.ledger, &all);
        asked.expect("small");
        exchange(&mut session, &mut broker, b"", usize::MAX);
        let (correlation, reply) = session.inbox.next().expect("good").expect("whole");
        let refused = |asked: Asked| {
            Ledger {
                asked: [asked].into(),
            }
            .settle(correlation, &reply)
        };
        let right = Asked {
            correlation,
            kind: Kind::Metadata,
            entries: 0,
        };
        assert_eq!(refused(right), Ok(()));
        let wrong = [
            Asked {
                correlation: correlation + 1,
                ..right
            },
            Asked {
                kind: Kind::DeleteTopic,
                ..right
            },
            Asked {
                entries: 2,
                ..right
            },
        ];
        for asked in wrong {
            assert!(matches!(refused(asked), Err(SessionError::Unasked(_))));
        }
        assert!(Ledger::default().settle(correlation, &reply).is_err());
    }

    #[test]
    fn a_stranger_on_the_other_side_is_named() {
        let mut session = Session::new();
        let greeting = b"SSH-2.0-OpenSSH_9.6\r\n";
        session.inbox.space()[..greeting.len()].copy_from_slice(greeting);
        session.inbox.filled(greeting.len());
        assert!(matches!(
            session.reply(),
            Err(SessionError::Frame(FrameError::Foreign("SSH")))
        ));
    }

    #[test]
    fn a_buffer_changes_hands_between_replies_only() {
        let mut broker = FakeBroker::new(1);
        let mut session = Session::new();
        exchange(&mut session, &mut broker, b"", usize::MAX);
        assert!(session.reply().expect("good").is_some());
        let mut other = vec![0; 64];
        let end = session.inbox.swap(&mut other);
        assert!(end > 0 && other.len() >= end);
        assert!(session.inbox.is_empty() && !session.inbox.space().is_empty());
    }
}
