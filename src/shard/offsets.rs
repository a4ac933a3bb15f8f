//! Telling which offset is meant: the first, the last, or that of a record with a time.

use crate::base::{Offset, PartitionKey, TimestampMs};
use crate::engine::{EngineError, OffsetQuery};
use crate::io::Io;
use crate::shard::core::Core;
use crate::shard::message::{Reply, Request};

/// An offset and, where a record was searched by its time, its timestamp.
pub(super) type Told = Result<(Offset, Option<TimestampMs>), EngineError>;

/// Of a partition of whichever core.
pub(super) async fn list<I: Io>(core: &Core<I>, of: PartitionKey, query: OffsetQuery) -> Told {
    if core.owns(of) {
        return here(core, of, query).await;
    }
    core.check_known(of)?;
    core.stats.borrow_mut().forwarded += 1;
    let request = Request::ListOffset { of, query };
    match core.post.ask(core.owner(of), request).await {
        Reply::Offset(result) => result,
        Reply::Stopping => Err(EngineError::Stopping),
        other => panic!("an offset query was answered with {}", other.kind()),
    }
}

/// Of a partition of this core. One search at a time: each holds a batch and what it unpacks to, 16 MiB at most.
pub(super) async fn here<I: Io>(core: &Core<I>, of: PartitionKey, query: OffsetQuery) -> Told {
    let hosted = core.find(of)?;
    let _turn = match query {
        OffsetQuery::AtTime(_) | OffsetQuery::Youngest => Some(core.search_turn.take().await),
        OffsetQuery::Earliest | OffsetQuery::Latest => None,
    };
    hosted.find(query).await
}
