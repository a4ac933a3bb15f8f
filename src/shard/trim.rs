//! Giving up the beginning of a partition, from whichever core.

use crate::base::{Offset, PartitionKey};
use crate::engine::EngineError;
use crate::io::Io;
use crate::shard::core::Core;
use crate::shard::message::{Reply, Request};
use std::rc::Rc;

/// Trims a partition. On its own core too that runs in a task of its own: a connection that goes away must not leave a
/// trim recorded and not told to readers.
pub(super) async fn trim<I: Io>(
    core: &Rc<Core<I>>,
    of: PartitionKey,
    before: Option<Offset>,
) -> Result<Offset, EngineError> {
    core.check_known(of)?;
    let pending = if core.owns(of) {
        let pending = core.post.reserve(core.here(), 0);
        let (id, core) = (pending.id(), Rc::clone(core));
        core.io.clone().spawn(async move {
            let reply = match core.gate.enter() {
                Some(_pass) => Reply::Trimmed(here(&core, of, before).await),
                None => Reply::Stopping,
            };
            core.post.settle(id, reply);
        });
        pending
    } else {
        core.stats.borrow_mut().forwarded += 1;
        core.post.ask(core.owner(of), Request::Trim { of, before })
    };
    match pending.await {
        Reply::Trimmed(result) => result,
        Reply::Stopping => Err(EngineError::Stopping),
        other => panic!("a trim was answered with {}", other.kind()),
    }
}

/// Trims a partition of this core.
pub(super) async fn here<I: Io>(
    core: &Core<I>,
    of: PartitionKey,
    before: Option<Offset>,
) -> Result<Offset, EngineError> {
    core.find(of)?.trim(before).await
}
