//! Waiting until a fetch finds enough.
//!
//! With several cores, none knows the sum. Each is given a threshold of its own: what it has plus an equal share of
//! what is missing. If the sum reaches the minimum, at least one core has passed its threshold, so nobody sleeps too
//! long; and each round brings what is missing down by a share, so the rounds are few. Example, two cores, minimum
//! 1000, they hold 100 and 300: thresholds 400 and 600; when the second reports 650, 250 are missing: 225 and 775.

use crate::base::CoreId;
use crate::engine::FetchPartition;
use crate::io::signal::Wait;
use crate::io::{Io, Monotonic, Signal};
use crate::shard::core::Core;
use crate::shard::hosted::Hosted;
use crate::shard::message::{Readiness, Reply, Request, RequestId};
use crate::shard::post::Pending;
use futures_lite::future::or;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};

/// The waits that other cores started here, by who asked.
pub(super) type Waits = BTreeMap<(CoreId, RequestId), Rc<Hurry>>;

/// Tells a wait to answer now.
#[derive(Debug, Default)]
pub(super) struct Hurry {
    now: Cell<bool>,
    changed: Signal,
}

impl Hurry {
    pub(super) fn hurry(&self) {
        self.now.set(true);
        self.changed.notify();
    }
}

/// Waits until `bytes_min` can be read of `asked`, or one has an error to tell, or the deadline, or the broker stops.
pub(super) async fn await_bytes<I: Io>(
    core: &Rc<Core<I>>,
    asked: &[FetchPartition],
    bytes_min: u64,
    deadline: Monotonic,
) {
    if asked.iter().all(|one| core.owns(one.key)) {
        await_owned(core, asked, bytes_min, deadline, &Hurry::default()).await;
        return;
    }
    let mut watchers = watchers(core, asked);
    loop {
        if ask_watchers(core, &mut watchers, deadline).await == Readiness::Error {
            return;
        }
        let have: u64 = watchers.iter().map(|watcher| watcher.bytes).sum();
        if have >= bytes_min || core.io.now() >= deadline || core.stopping.get() {
            return;
        }
        let share = (bytes_min - have).div_ceil(watchers.len() as u64);
        for watcher in &mut watchers {
            watcher.threshold = watcher.bytes + share;
        }
    }
}

/// A core's part in a wait over several.
struct Watcher {
    core: CoreId,
    partitions: Vec<FetchPartition>,
    bytes: u64,
    threshold: u64,
}

fn watchers<I: Io>(core: &Core<I>, asked: &[FetchPartition]) -> Vec<Watcher> {
    let mut by_core: BTreeMap<CoreId, Vec<FetchPartition>> = BTreeMap::new();
    for one in asked {
        by_core.entry(core.owner(one.key)).or_default().push(*one);
    }
    by_core
        .into_iter()
        .map(|(core, partitions)| Watcher {
            core,
            partitions,
            bytes: 0,
            threshold: 0,
        })
        .collect()
}

/// Asks all watchers, and as soon as the first has reached its threshold, all others for what they have.
async fn ask_watchers<I: Io>(
    core: &Rc<Core<I>>,
    watchers: &mut [Watcher],
    deadline: Monotonic,
) -> Readiness {
    let hurry = Hurry::default();
    let mut found: Vec<Option<Readiness>> = vec![None; watchers.len()];
    {
        let mut asked: Vec<Asked<'_, I>> = watchers
            .iter()
            .map(|watcher| ask(core, watcher, deadline, &hurry))
            .collect();
        poll_fn(|context| {
            loop {
                poll_asked(&mut asked, &mut found, context);
                if found.iter().all(Option::is_some) {
                    return Poll::Ready(());
                }
                if hurry.now.get() || found.iter().all(Option::is_none) {
                    return Poll::Pending;
                }
                // The first answer. Once more around, so that the wait on this core sees the hurry.
                hurry.hurry();
                asked.iter().for_each(Asked::hurry);
            }
        })
        .await;
    }
    note(watchers, &found)
}

/// A question to one core.
enum Asked<'a, I: Io> {
    Here(Pin<Box<dyn Future<Output = Readiness> + 'a>>),
    There(Pending<I>),
    Answered,
}

impl<I: Io> Asked<'_, I> {
    fn hurry(&self) {
        if let Self::There(pending) = self {
            pending.hurry();
        }
    }
}

fn ask<'a, I: Io>(
    core: &'a Rc<Core<I>>,
    watcher: &'a Watcher,
    deadline: Monotonic,
    hurry: &'a Hurry,
) -> Asked<'a, I> {
    let (partitions, threshold) = (&watcher.partitions, watcher.threshold);
    if watcher.core == core.here() {
        let wait = await_owned(core, partitions, threshold, deadline, hurry);
        return Asked::Here(Box::pin(wait));
    }
    let request = Request::Await {
        partitions: partitions.clone(),
        bytes_min: threshold,
        wait_max: deadline.since(core.io.now()),
    };
    Asked::There(core.post.ask(watcher.core, request))
}

fn poll_asked<I: Io>(
    asked: &mut [Asked<'_, I>],
    found: &mut [Option<Readiness>],
    context: &mut Context<'_>,
) {
    for (asked, found) in asked.iter_mut().zip(found) {
        let answer = match asked {
            Asked::Here(wait) => wait.as_mut().poll(context),
            Asked::There(pending) => Pin::new(pending).poll(context).map(readiness_of),
            Asked::Answered => continue,
        };
        if let Poll::Ready(readiness) = answer {
            *found = Some(readiness);
            *asked = Asked::Answered;
        }
    }
}

fn readiness_of<S>(answer: Reply<S>) -> Readiness {
    match answer {
        Reply::Ready(readiness) => readiness,
        Reply::Stopping => Readiness::Error,
        other => panic!("a wait was answered with {}", other.kind()),
    }
}

fn note(watchers: &mut [Watcher], found: &[Option<Readiness>]) -> Readiness {
    let mut total = 0;
    for (watcher, found) in watchers.iter_mut().zip(found) {
        match found {
            Some(Readiness::Bytes(bytes)) => {
                watcher.bytes = *bytes;
                total += bytes;
            }
            Some(Readiness::Error) | None => return Readiness::Error,
        }
    }
    Readiness::Bytes(total)
}

/// Waits on partitions of this core.
pub(super) async fn await_owned<I: Io>(
    core: &Core<I>,
    asked: &[FetchPartition],
    bytes_min: u64,
    deadline: Monotonic,
    hurry: &Hurry,
) -> Readiness {
    let hosted: Result<Vec<_>, _> = asked.iter().map(|one| core.find(one.key)).collect();
    let Ok(hosted) = hosted else {
        return Readiness::Error;
    };
    let mut timeout = pin!(core.io.sleep(deadline.since(core.io.now())));
    let mut waits: Vec<Wait> = Vec::with_capacity(hosted.len() + 2);
    loop {
        waits.clear();
        waits.extend(hosted.iter().map(|one| one.log().progress().wait()));
        waits.extend([core.stops.wait(), hurry.changed.wait()]);
        let readiness = readiness(&hosted, asked);
        let is_enough = match readiness {
            Readiness::Bytes(bytes) => bytes >= bytes_min,
            Readiness::Error => true,
        };
        if is_enough || hurry.now.get() || core.stopping.get() || core.io.now() >= deadline {
            return readiness;
        }
        let changed = async {
            any(&mut waits).await;
            false
        };
        let timed_out = async {
            timeout.as_mut().await;
            true
        };
        if or(changed, timed_out).await {
            return self::readiness(&hosted, asked);
        }
    }
}

fn readiness<I: Io>(hosted: &[Rc<Hosted<I>>], asked: &[FetchPartition]) -> Readiness {
    let mut total = 0;
    for (one, asked) in hosted.iter().zip(asked) {
        match one.readable_bytes(asked.from) {
            Some(bytes) => total += bytes,
            None => return Readiness::Error,
        }
    }
    Readiness::Bytes(total)
}

/// Ready with the first of `waits`.
pub(super) async fn any(waits: &mut [Wait]) {
    poll_fn(|context| {
        let is_ready = |wait: &mut Wait| Pin::new(wait).poll(context).is_ready();
        if waits.iter_mut().any(is_ready) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}
