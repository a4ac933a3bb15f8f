//! A fetch: what is there now, and waiting for more.
//!
//! ```text
//!  read what is there ── enough, or an error, or no time to wait ──> answer
//!        │ too little
//!        ▼
//!  wait: each core that owns some of it watches its own partitions ── enough / error / time ──> read again, answer
//! ```
//! The waiting is in `watch`.

use crate::base::limits::{BATCH_BYTES_MAX, FETCH_BYTES_MAX, FETCH_WAIT_MS_MAX};
use crate::base::{CoreId, Offset};
use crate::engine::{EngineError, FetchPartition, FetchRequest};
use crate::io::Io;
use crate::log::Portion;
use crate::shard::core::Core;
use crate::shard::hosted::Fetched;
use crate::shard::message::{Reply, Request, unpack};
use crate::shard::watch::await_bytes;
use std::rc::Rc;
use std::time::Duration;

/// The first batch of an answer comes whatever its size, so this leaves room for one whole batch.
const BYTES_MAX: usize = FETCH_BYTES_MAX - BATCH_BYTES_MAX;
const _: () = assert!(BYTES_MAX > 0);

/// Serves a connection's fetch.
pub(super) async fn fetch<I: Io>(
    core: &Rc<Core<I>>,
    request: &FetchRequest,
    reply: &mut Vec<Fetched<I>>,
) {
    let wait_max = request
        .wait_max
        .min(Duration::from_millis(FETCH_WAIT_MS_MAX));
    let deadline = core.io.now().plus(wait_max);
    let bytes_min = u64::from(
        request
            .bytes_min
            .min(request.bytes_max)
            .min(BYTES_MAX as u32),
    );
    fetch_now(core, request, reply).await;
    if is_short(reply, bytes_min) && !wait_max.is_zero() && !core.stopping.get() {
        core.stats.borrow_mut().fetches_waited += 1;
        // What was found must not be held while nobody reads it.
        reply.iter_mut().for_each(|one| one.body.clear());
        await_bytes(core, &request.partitions, bytes_min, deadline).await;
        fetch_now(core, request, reply).await;
    }
    let mut stats = core.stats.borrow_mut();
    stats.fetches += 1;
    stats.fetched_bytes += reply.iter().map(|one| one.body.bytes).sum::<u64>();
}

fn is_short<C, S>(reply: &[crate::engine::FetchedPartition<C, S>], bytes_min: u64) -> bool {
    let bytes: u64 = reply.iter().map(|one| one.body.bytes).sum();
    !reply.is_empty() && bytes < bytes_min && reply.iter().all(|one| one.error.is_none())
}

/// Reads what is there: first the partitions of this core, then core after core what is left of the budget. One after
/// the other because the budget is one: at least one batch in all, and no other that does not fit into `bytes_max`. A client
/// may close on an answer that is larger (librdkafka, at its `receive.message.max.bytes`), and would ask the same again.
async fn fetch_now<I: Io>(core: &Rc<Core<I>>, request: &FetchRequest, reply: &mut Vec<Fetched<I>>) {
    prepare(&request.partitions, reply);
    let mut budget = Portion {
        bytes_max: u64::from(request.bytes_max.clamp(1, BYTES_MAX as u32)),
        at_least_a_batch: true,
    };
    let mut is_all_local = true;
    for (asked, one) in request.partitions.iter().zip(reply.iter_mut()) {
        if core.owns(asked.key) {
            read_local(core, asked, budget, one).await;
            spend(&mut budget, one);
        } else {
            is_all_local = false;
        }
    }
    if !is_all_local {
        for owner in core.post.others() {
            fetch_from(core, owner, &request.partitions, &mut budget, reply).await;
        }
    }
}

fn spend<C, S>(budget: &mut Portion, found: &crate::engine::FetchedPartition<C, S>) {
    let bytes = found.body.bytes;
    budget.bytes_max = budget.bytes_max.saturating_sub(bytes);
    budget.at_least_a_batch &= bytes == 0;
}

/// One cleared entry per partition asked; keeps the memory of the entries that are there.
fn prepare<C, S>(asked: &[FetchPartition], reply: &mut Vec<crate::engine::FetchedPartition<C, S>>) {
    reply.truncate(asked.len());
    for (one, asked) in reply.iter_mut().zip(asked) {
        one.key = asked.key;
        one.error = None;
        one.high_watermark = Offset(0);
        one.log_start = Offset(0);
        one.body.clear();
    }
    for asked in &asked[reply.len()..] {
        reply.push(crate::engine::FetchedPartition {
            key: asked.key,
            error: None,
            high_watermark: Offset(0),
            log_start: Offset(0),
            body: crate::base::Body::default(),
        });
    }
}

async fn read_local<I: Io>(
    core: &Core<I>,
    asked: &FetchPartition,
    budget: Portion,
    reply: &mut Fetched<I>,
) {
    match core.find(asked.key) {
        Ok(hosted) => hosted.read(asked, budget, reply).await,
        Err(error) => reply.error = Some(error),
    }
}

/// For another core: only partitions of this one, nothing waits.
pub(super) async fn fetch_owned<I: Io>(
    core: &Core<I>,
    request: &FetchRequest,
    at_least_a_batch: bool,
) -> Vec<Fetched<I>> {
    let mut reply = Vec::new();
    prepare(&request.partitions, &mut reply);
    let mut budget = Portion {
        bytes_max: u64::from(request.bytes_max),
        at_least_a_batch,
    };
    for (asked, one) in request.partitions.iter().zip(reply.iter_mut()) {
        read_local(core, asked, budget, one).await;
        spend(&mut budget, one);
    }
    reply
}

async fn fetch_from<I: Io>(
    core: &Rc<Core<I>>,
    owner: CoreId,
    asked: &[FetchPartition],
    budget: &mut Portion,
    reply: &mut [Fetched<I>],
) {
    let indexes: Vec<usize> = (0..asked.len())
        .filter(|index| core.owner(asked[*index].key) == owner)
        .collect();
    if indexes.is_empty() {
        return;
    }
    core.stats.borrow_mut().forwarded += 1;
    let request = Request::Fetch {
        request: FetchRequest {
            partitions: indexes.iter().map(|index| asked[*index]).collect(),
            bytes_min: 0,
            wait_max: Duration::ZERO,
            bytes_max: budget.bytes_max as u32,
        },
        at_least_a_batch: budget.at_least_a_batch,
    };
    match core.post.ask(owner, request).await {
        Reply::Fetched(fetched) => {
            assert_eq!(fetched.len(), indexes.len());
            for (index, carried) in indexes.into_iter().zip(fetched) {
                spend(budget, &carried);
                reply[index] = unpack(carried);
            }
        }
        Reply::Stopping => {
            for index in indexes {
                reply[index].error = Some(EngineError::Stopping);
            }
        }
        other => panic!("a fetch was answered with {}", other.kind()),
    }
}
