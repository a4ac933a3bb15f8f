//! A broker on a simulated machine, wired as `cli/serving.rs` wires the real one: recovery alone, then every core binds,
//! starts its shard and serves the network until it is asked to stop.

use crate::world::{World, address};
use millrace::base::NodeId;
use millrace::base::limits::PRODUCER_EXPIRATION_MS_DEFAULT;
use millrace::engine::CoreAddress;
use millrace::io::sim::{Outcome, SimIo, SimMailbox, SimSource};
use millrace::io::{Io, Signal};
use millrace::log::{self, Recovered, recover};
use millrace::net::{self, Net};
use millrace::shard::{self, Message, Shard, Share, StartReport, share};
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

const DATA: &str = "/data";
const NODE: NodeId = NodeId(7);
/// A journal file: room for entries that take what a partition may have inline (64 KiB) and a little more, so that the
/// smallest workload fills it.
const JOURNAL_BYTES: u64 = 320 << 10;
/// Little, so that reads reach the files.
const HOT_BYTES: usize = 48 << 10;
const RESERVE_BYTES: u64 = 128 << 10;

/// How a life has ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Ended {
    /// All cores have stopped; what each says, if anything.
    Stopped(Vec<String>),
    /// The machine was killed.
    Crashed,
    /// The broker did not start.
    Refused(String),
    /// It neither ended nor went on.
    Hung(String),
}

/// How one core has ended.
#[derive(Debug)]
enum CoreEnd {
    Stopped(Option<String>),
    Refused(String),
}

/// What the cores of a life share.
#[derive(Default)]
struct Meeting {
    bound: Cell<u16>,
    changed: Signal,
}

/// Recovers what is on the disk.
pub(crate) fn recovered(world: &World) -> Result<Recovered, Ended> {
    let outcome = world
        .sim
        .run(|io| async move { recover(&io, Path::new(DATA)).await });
    match ended(outcome)?.remove(0) {
        Ok(recovered) => Ok(recovered),
        Err(error) => Err(Ended::Refused(error.to_string())),
    }
}

/// The values of a run that ended by itself.
fn ended<T>(outcome: Outcome<T>) -> Result<Vec<T>, Ended> {
    match outcome {
        Outcome::Done(values) => Ok(values),
        Outcome::Crashed { .. } => Err(Ended::Crashed),
        Outcome::Stuck { waiting } => Err(Ended::Hung(format!("stuck: {waiting:?}"))),
        Outcome::Exhausted { steps, time } => Err(Ended::Hung(format!(
            "not at its end after {steps} steps and {time:?}"
        ))),
    }
}

/// Starts `cores` cores on what was recovered, runs `script` beside them, and stops them when the world says that the
/// clients' time is over.
pub(crate) fn live<F>(
    world: &Rc<World>,
    recovered: Recovered,
    cores: u16,
    script: impl FnOnce(SimIo) -> F + 'static,
) -> Ended
where
    F: Future<Output = ()> + 'static,
{
    let mut log = log::Options::new(DATA.into(), NODE, recovered.epoch);
    log.journal_file_bytes = JOURNAL_BYTES;
    log.hot_bytes_max = HOT_BYTES;
    log.disk_reserve_bytes = RESERVE_BYTES;
    let shares = share(recovered, cores).into_iter().map(Some);
    let shares = RefCell::new(shares.collect::<Vec<_>>());
    let (meeting, script) = (Rc::new(Meeting::default()), Cell::new(Some(script)));
    world.over.set(false);
    world.cores.set(cores);
    let outcome = world.sim.run_cores(cores, |io: SimIo, mailbox| {
        let core = io.core().0;
        let share = shares.borrow_mut()[usize::from(core)].take();
        let script = if core == 0 { script.take() } else { None };
        let host = "127.0.0.1".to_owned();
        let port = address(core).port();
        let options = shard::Options {
            cores,
            address: CoreAddress {
                core: io.core(),
                host,
                port,
            },
            log: log.clone(),
            producer_expiration: Duration::from_millis(PRODUCER_EXPIRATION_MS_DEFAULT),
        };
        let share = share.expect("one each");
        let (world, meeting) = (Rc::clone(world), Rc::clone(&meeting));
        serve(world, meeting, io, mailbox, options, share, script)
    });
    match ended(outcome) {
        Ok(ends) => ended_by_core(ends),
        Err(other) => other,
    }
}

fn ended_by_core(ends: Vec<CoreEnd>) -> Ended {
    let mut said = Vec::new();
    for end in ends {
        match end {
            CoreEnd::Refused(reason) => return Ended::Refused(reason),
            CoreEnd::Stopped(reason) => said.extend(reason),
        }
    }
    Ended::Stopped(said)
}

/// The life of one core.
async fn serve<F>(
    world: Rc<World>,
    meeting: Rc<Meeting>,
    io: SimIo,
    mailbox: SimMailbox<Message<SimSource>>,
    options: shard::Options,
    share: Share,
    script: Option<impl FnOnce(SimIo) -> F>,
) -> CoreEnd
where
    F: Future<Output = ()> + 'static,
{
    let bound = io.listen(address(io.core().0)).await;
    let listener = bound.expect("nobody else is there");
    meeting.bound.set(meeting.bound.get() + 1);
    meeting.changed.notify();
    loop {
        let changed = meeting.changed.wait();
        if meeting.bound.get() == options.cores {
            break;
        }
        changed.await;
    }
    let (shard, report) = match Shard::start(io.clone(), mailbox, options, share).await {
        Ok(started) => started,
        Err(error) => return CoreEnd::Refused(error.to_string()),
    };
    judge(&world, &report);
    let net = Net::new(io.clone(), shard.clone(), net::Options::new(NODE));
    net.serve(listener);
    if let Some(script) = script {
        io.spawn(script(io.clone()));
    }
    loop {
        let ended = world.ended.wait();
        if world.over.get() {
            break;
        }
        ended.await;
    }
    net.stop().await;
    let stopped = shard.stop().await;
    CoreEnd::Stopped(stopped.err().map(|error| error.to_string()))
}

/// What a start must not report.
fn judge(world: &World, report: &StartReport) {
    world.count("partitions refused", report.damaged.len() as u64);
    world.count("partitions made at start", report.made.len() as u64);
    world.count("partitions removed at start", report.removed.len() as u64);
    if world.may_lie() {
        return;
    }
    let failed = world.has_failed();
    if !report.damaged.is_empty() || !report.unknown.is_empty() {
        world.problem(format!("an honest disk, and the start says {report:?}"));
    }
    if !report.closed.is_empty() && !failed {
        world.problem(format!("nothing failed, and the start says {report:?}"));
    }
    for key in &report.made {
        let topics = world.topics.borrow();
        let made = topics.iter().find(|topic| topic.id == Some(key.topic));
        if made.is_some_and(|topic| topic.was_open) {
            world.problem(format!(
                "partition {key} was served before, and is made anew"
            ));
        }
    }
}
