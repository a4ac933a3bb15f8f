//! What this core does for the connections of other cores: the receive loop and what it starts.
//!
//! The loop itself never waits for anything but the next letter: each request becomes a task, and produces go through
//! one queue, so that their order stays and a full log holds back produces only.

use crate::base::CoreId;
use crate::base::planted::{Bug, planted};
use crate::engine::EngineError;
use crate::io::{Io, Signal};
use crate::shard::core::Core;
use crate::shard::fetch::fetch_owned;
use crate::shard::message::{ForwardedProduce, Letter, Reply, Request, RequestId, carry};
use crate::shard::watch::{Hurry, await_owned};
use crate::shard::{admin, groups, offsets, produce, queues, topics, trim};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

/// Produces of other cores, in the order of their arrival. Bounded by what those cores may have on its way.
#[derive(Default)]
pub(super) struct ProduceQueue {
    waiting: RefCell<VecDeque<(CoreId, RequestId, ForwardedProduce)>>,
    arrived: Signal,
}

/// Takes letters until all other cores are gone. One task per core, from before the core serves.
pub(super) async fn receive<I: Io>(core: Rc<Core<I>>) {
    core.io.spawn(append_queued(Rc::clone(&core)));
    while let Some((from, letter)) = core.post.receive().await {
        match letter {
            Letter::Request { id, request } => take(&core, from, id, request),
            Letter::Reply { id, reply } => core.post.settle(id, reply),
            Letter::Hurry { id } => {
                if let Some(hurry) = core.waits.borrow().get(&(from, id)) {
                    hurry.hurry();
                }
            }
            Letter::Life(life) => {
                core.life.borrow_mut().push_back((from, life));
                core.life_arrived.notify();
            }
        }
    }
    for other in core.post.others() {
        core.post.lose(other);
    }
}

fn take<I: Io>(core: &Rc<Core<I>>, from: CoreId, id: RequestId, request: Request) {
    if core.stopping.get() {
        return answer(core, from, id, refusal_while_stopping(&request));
    }
    core.stats.borrow_mut().served_for_others += 1;
    match request {
        Request::Produce(produce) => {
            let mut waiting = core.produces.waiting.borrow_mut();
            waiting.push_back((from, id, produce));
            core.produces.arrived.notify();
        }
        Request::Await { .. } => {
            // Before the task runs: a hurry may come right behind.
            let hurry = Rc::new(Hurry::default());
            core.waits
                .borrow_mut()
                .insert((from, id), Rc::clone(&hurry));
            core.io
                .spawn(watch(Rc::clone(core), from, id, request, hurry));
        }
        Request::Group(request) => groups::take(core, groups::ticket(from, id), *request),
        Request::Groups => answer(core, from, id, Reply::Groups(groups::list_here(core))),
        other => core.io.spawn(serve(Rc::clone(core), from, id, other)),
    }
}

/// `Stopping` for a produce means that nothing was appended.
fn refusal_while_stopping<S>(request: &Request) -> Reply<S> {
    match request {
        Request::Produce(_) => Reply::Produced(Err(EngineError::Stopping)),
        _ => Reply::Stopping,
    }
}

pub(super) fn answer<I: Io>(core: &Core<I>, to: CoreId, id: RequestId, reply: Reply<I::Source>) {
    core.post.send(to, Letter::Reply { id, reply });
}

/// Appends what other cores sent, when the log has room for it.
async fn append_queued<I: Io>(core: Rc<Core<I>>) {
    core.serving().await;
    loop {
        let arrived = core.produces.arrived.wait();
        if core.produces.waiting.borrow().is_empty() {
            arrived.await;
            continue;
        }
        core.log.room().await;
        let next = match planted(Bug::ForwardLastFirst) {
            true => core.produces.waiting.borrow_mut().pop_back(),
            false => core.produces.waiting.borrow_mut().pop_front(),
        };
        let (from, id, sent) = next.expect("one task takes from this queue");
        let Some(pass) = core.gate.enter() else {
            answer(&core, from, id, Reply::Produced(Err(EngineError::Stopping)));
            continue;
        };
        match produce::append(&core, sent.to, sent.level, &sent.batches) {
            Err(error) => answer(&core, from, id, Reply::Produced(Err(error))),
            Ok(appended) => {
                let core_of_task = Rc::clone(&core);
                core.io.spawn(async move {
                    let result = appended.settled().await;
                    answer(&core_of_task, from, id, Reply::Produced(result));
                    drop(pass);
                });
            }
        }
    }
}

async fn watch<I: Io>(
    core: Rc<Core<I>>,
    from: CoreId,
    id: RequestId,
    request: Request,
    hurry: Rc<Hurry>,
) {
    let Request::Await {
        partitions,
        bytes_min,
        wait_max,
    } = request
    else {
        panic!("only waits are watched");
    };
    let deadline = core.io.now().plus(wait_max);
    let readiness = await_owned(&core, &partitions, bytes_min, deadline, &hurry).await;
    core.waits.borrow_mut().remove(&(from, id));
    answer(&core, from, id, Reply::Ready(readiness));
}

async fn serve<I: Io>(core: Rc<Core<I>>, from: CoreId, id: RequestId, request: Request) {
    let Some(_pass) = core.gate.enter() else {
        return answer(&core, from, id, Reply::Stopping);
    };
    let reply = match request {
        Request::Fetch {
            request,
            at_least_a_batch,
        } => {
            let fetched = fetch_owned(&core, &request, at_least_a_batch).await;
            Reply::Fetched(fetched.into_iter().map(carry).collect())
        }
        Request::ListOffset { of, query } => Reply::Offset(offsets::here(&core, of, query).await),
        Request::Trim { of, before } => Reply::Trimmed(trim::here(&core, of, before).await),
        Request::Describe(keys) => Reply::Described(topics::infos(&core, &keys)),
        Request::Create(topic) => Reply::Topic(admin::create(&core, topic).await),
        Request::Alter(asked) => Reply::Topic(admin::alter(&core, *asked).await),
        Request::Delete(topic) => Reply::Deleted(admin::delete(&core, topic).await),
        Request::CreateQueue(queue) => Reply::QueueMade(admin::create_queue(&core, *queue).await),
        Request::DeleteQueue(name) => Reply::Deleted(admin::delete_queue(&core, name).await),
        Request::Queue(name, what) => Reply::Queue(queues::answer(&core, &name, what).await),
        Request::Apply(record) => Reply::Applied(topics::apply(&core, &record).await),
        Request::Produce(_) | Request::Await { .. } | Request::Group(_) | Request::Groups => {
            panic!("taken before")
        }
    };
    answer(&core, from, id, reply);
}
