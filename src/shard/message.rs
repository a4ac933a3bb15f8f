//! What cores say to each other: plain data, owned bytes, nothing that must die at home.

use crate::base::queue::{Counts, Held};
use crate::base::{AckLevel, Body, CoreId, Offset, PartitionKey, PartitionNo, TimestampMs};
use crate::catalog::{Catalog, Record};
use crate::engine::{
    AlterTopic, CoreAddress, DeleteTopic, EngineError, FetchPartition, FetchRequest,
    FetchedPartition, GroupListing, GroupReply, GroupRequest, NewQueue, NewTopic, OffsetQuery,
    PartitionInfo, Produced, QueueInfo, TopicInfo,
};
use std::convert::Infallible;
use std::time::Duration;

/// A message between cores. `S` is the file handle of fetched spans (`Io::Source`); it may cross.
#[derive(Debug)]
pub struct Message<S>(pub(super) Letter<S>);

#[derive(Debug)]
pub(super) enum Letter<S> {
    /// Do this, and answer under this id.
    Request { id: RequestId, request: Request },
    /// The answer.
    Reply { id: RequestId, reply: Reply<S> },
    /// Whoever asked under this id wants the answer now, or none at all.
    Hurry { id: RequestId },
    /// The steps of starting and stopping together.
    Life(Life),
}

/// Names a request of the core that sent it. A slot is used again, a pair of slot and generation is not (within 2^32
/// uses of one slot).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct RequestId {
    pub(super) slot: u32,
    pub(super) generation: u32,
}

#[derive(Debug)]
pub(super) enum Request {
    Produce(ForwardedProduce),
    /// Read what is there now; waits for nothing.
    Fetch {
        request: FetchRequest,
        /// Nothing was found on other cores: the first batch comes whatever its size.
        at_least_a_batch: bool,
    },
    /// Answer when this many bytes can be read, or at the first error, or in time.
    Await {
        partitions: Vec<FetchPartition>,
        bytes_min: u64,
        wait_max: Duration,
    },
    ListOffset {
        of: PartitionKey,
        query: OffsetQuery,
    },
    /// Give up what lies below, or all that can be read.
    Trim {
        of: PartitionKey,
        before: Option<Offset>,
    },
    Describe(Vec<PartitionKey>),
    /// For core 0.
    Create(NewTopic),
    /// For core 0.
    Alter(Box<AlterTopic>),
    /// For core 0.
    Delete(DeleteTopic),
    /// From core 0: this record is stored, act on it.
    Apply(Record),
    /// For the core of the group. May be answered late.
    Group(Box<GroupRequest>),
    /// All groups of a core.
    Groups,
    /// For every core that has a part of the queue of this name.
    Queue(String, QueueAsk),
    /// For core 0.
    CreateQueue(Box<NewQueue>),
    /// For core 0.
    DeleteQueue(String),
}

/// What is asked of a core's part of a queue.
#[derive(Clone, Debug)]
pub(super) enum QueueAsk {
    Counts,
    Purge,
    Held(PartitionNo),
}

/// The answer, each to the question of that name.
#[derive(Debug)]
pub(super) enum QueueTold {
    Counts(Vec<(PartitionNo, Result<Counts, EngineError>)>),
    Purged(Result<u64, EngineError>),
    Held(Result<Held, EngineError>),
}

#[derive(Debug)]
pub(super) struct ForwardedProduce {
    pub(super) to: PartitionKey,
    pub(super) level: AckLevel,
    pub(super) batches: Vec<u8>,
}

#[derive(Debug)]
pub(super) enum Reply<S> {
    Produced(Result<Produced, EngineError>),
    Fetched(Vec<Carried<S>>),
    Ready(Readiness),
    Offset(Result<(Offset, Option<TimestampMs>), EngineError>),
    Trimmed(Result<Offset, EngineError>),
    Described(Vec<Result<PartitionInfo, EngineError>>),
    Topic(Result<TopicInfo, EngineError>),
    Deleted(Result<(), EngineError>),
    Applied(Result<(), String>),
    Group(Result<GroupReply, EngineError>),
    Groups(Vec<GroupListing>),
    Queue(Result<QueueTold, EngineError>),
    QueueMade(Result<QueueInfo, EngineError>),
    /// The core is stopping, or gone.
    Stopping,
}

impl<S> Reply<S> {
    /// What it is, for the message of a failed assertion: a reply of the wrong kind is a bug of ours.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Produced(_) => "produced",
            Self::Fetched(_) => "fetched",
            Self::Ready(_) => "ready",
            Self::Offset(_) => "offset",
            Self::Trimmed(_) => "trimmed",
            Self::Described(_) => "described",
            Self::Topic(_) => "topic",
            Self::Deleted(_) => "deleted",
            Self::Applied(_) => "applied",
            Self::Group(_) => "group",
            Self::Groups(_) => "groups",
            Self::Queue(_) => "queue",
            Self::QueueMade(_) => "queue made",
            Self::Stopping => "stopping",
        }
    }
}

/// A fetched partition without pieces of memory that belong to another core: those were copied.
pub(super) type Carried<S> = FetchedPartition<Infallible, S>;

/// What can be read of some partitions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Readiness {
    /// About so many bytes.
    Bytes(u64),
    /// One of them has an error to tell: there is nothing to wait for.
    Error,
}

#[derive(Debug)]
pub(super) enum Life {
    /// Core 0 to all: what exists. The others then open their partitions.
    Topics(Box<Catalog>),
    /// To core 0: my partitions are open; my listener is there.
    Opened(Result<Box<CoreAddress>, String>),
    /// Core 0 to all: every core is open, the old journals are gone, appends may begin.
    Serve(Vec<CoreAddress>),
    /// Core 0 to all: a core could not start, so none does.
    Abort(String),
    /// To core 0: my log is drained and synced, or not.
    Stopped(Result<(), String>),
}

/// Copies what cannot leave its core; spans of files go as they are. The order of the pieces stays.
pub(super) fn carry<C: AsRef<[u8]>, S>(fetched: FetchedPartition<C, S>) -> Carried<S> {
    use crate::base::Part;
    let mut body = Body::default();
    for part in fetched.body.parts {
        match part {
            Part::Memory { chunk, from, until } => body.push_copy(&chunk.as_ref()[from..until]),
            Part::Copied { from, until } => body.push_copy(&fetched.body.copied[from..until]),
            Part::File {
                source,
                position,
                bytes,
            } => body.push_file(source, position, bytes),
        }
    }
    Carried {
        key: fetched.key,
        error: fetched.error,
        high_watermark: fetched.high_watermark,
        log_start: fetched.log_start,
        body,
    }
}

/// The other end of [`carry`].
pub(super) fn unpack<C, S>(carried: Carried<S>) -> FetchedPartition<C, S> {
    use crate::base::Part;
    let parts = carried.body.parts.into_iter().map(|part| match part {
        Part::Memory { chunk, .. } => match chunk {},
        Part::Copied { from, until } => Part::Copied { from, until },
        Part::File {
            source,
            position,
            bytes,
        } => Part::File {
            source,
            position,
            bytes,
        },
    });
    FetchedPartition {
        key: carried.key,
        error: carried.error,
        high_watermark: carried.high_watermark,
        log_start: carried.log_start,
        body: Body {
            parts: parts.collect(),
            copied: carried.body.copied,
            bytes: carried.body.bytes,
        },
    }
}

/// The core where the catalog lives and everything that must be decided once is decided.
pub(super) const FIRST_CORE: CoreId = CoreId(0);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Part, TopicId};

    #[test]
    fn a_carried_body_keeps_its_bytes_and_their_order() {
        let mut body: Body<Vec<u8>, &'static str> = Body::default();
        body.push_memory(vec![0, 1, 2, 3], 1, 3);
        body.push_file("segment", 4096, 100);
        body.push_copy(&[9]);
        let fetched = FetchedPartition {
            key: PartitionKey::new(TopicId(1), PartitionNo(2)),
            error: None,
            high_watermark: Offset(7),
            log_start: Offset(3),
            body,
        };
        let back: FetchedPartition<Vec<u8>, _> = unpack(carry(fetched));
        assert_eq!(back.body.bytes, 103);
        assert_eq!(back.body.copied, [1, 2, 9]);
        assert!(matches!(
            back.body.parts[0],
            Part::Copied { from: 0, until: 2 }
        ));
        let Part::File {
            source: "segment",
            position: 4096,
            bytes: 100,
        } = back.body.parts[1]
        else {
            panic!("the span comes second");
        };
        assert!(matches!(
            back.body.parts[2],
            Part::Copied { from: 2, until: 3 }
        ));
    }
}
