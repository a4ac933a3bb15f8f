//! One seed: the lives of its machine one after the other, the healed one at the end, and the verdict.

use crate::admin;
use crate::broker::{self, Ended};
use crate::consumer;
use crate::history::{Death, Event, History, Rules, check};
use crate::nemesis;
use crate::plan::{Life, Plan};
use crate::producer;
use crate::tally::Tally;
use crate::world::{World, address};
use futures_lite::future::or;
use millrace::base::prng::Prng;
use millrace::io::Io;
use millrace::io::sim::{EffectKind, Fault, Fired, Sim, SimIo};
use millrace::log::FLUSH_INTERVAL;
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

/// A record that was written is synced within the background flush's interval, what a slow sync takes, and some more.
const FLUSHED_AFTER: Duration = FLUSH_INTERVAL.saturating_mul(3);
/// How long a healthy broker may take for anything that a client asks of it.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);
/// Far beyond what a life takes.
const STEPS_MAX: u64 = 3_000_000;
const TIME_MAX: Duration = Duration::from_secs(120);
/// Readers that go on where they stood in the life before, and the one that reads everything at the end.
const LAST_READER: u32 = 1_000;

/// What came of a seed.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) trace_hash: u64,
    pub(crate) history: History,
    pub(crate) tally: Tally,
    /// What must not have happened. Empty: the seed passes.
    pub(crate) failures: Vec<String>,
    pub(crate) trace: Vec<String>,
}

/// Runs a seed once.
pub(crate) fn run(seed: u64, keep_trace: bool) -> Report {
    let (plan, mut dice) = Plan::of(seed);
    let sim = Sim::new(seed);
    sim.set_budget(STEPS_MAX, TIME_MAX);
    if keep_trace {
        sim.keep_log();
    }
    let world = World::new(&sim, plan.class);
    let mut cores = 0;
    let mut ended = Ok(());
    for life in &plan.lives {
        ended = ended.and_then(|()| live(&world, life, &mut dice, &mut cores));
    }
    if let Err(problem) = ended.and_then(|()| last(&world, plan.last_cores, &mut dice)) {
        world.problem(problem);
    }
    let rules = Rules {
        flushed_after: FLUSHED_AFTER.as_nanos() as u64,
    };
    let history = world.history.take();
    let mut failures = world.problems.take();
    let anomalies = check(&history, rules);
    failures.extend(anomalies.iter().map(ToString::to_string));
    Report {
        trace_hash: sim.trace_hash(),
        history,
        tally: world.tally.take(),
        failures,
        trace: sim.log(),
    }
}

/// One planned life and its death. An error ends the seed.
fn live(world: &Rc<World>, life: &Life, dice: &mut Prng, cores: &mut u16) -> Result<(), String> {
    begin(world);
    if *cores != 0 && *cores != life.cores {
        world.count("starts on other cores", 1);
    }
    *cores = life.cores;
    nemesis::set_latency(world, dice);
    let disk = world.sim.disk();
    if let Some(event) = life.disk_in_recovery {
        nemesis::befall(world, event);
    }
    if let Some(effect) = life.dies_in_recovery {
        disk.crash_at(effect);
    }
    let ended = match broker::recovered(world) {
        Err(ended) => {
            let died = u64::from(ended == Ended::Crashed);
            world.count("deaths in recovery", died);
            ended
        }
        Ok(recovered) => {
            nemesis::heal_space(world);
            if let Some(event) = life.disk_in_start {
                nemesis::befall(world, event);
            }
            if let Some(effect) = life.dies_in_start {
                disk.crash_at(effect);
            }
            let (shared, life, dice) = (Rc::clone(world), life.clone(), fork(dice));
            let cores = life.cores;
            broker::live(world, recovered, cores, |io| script(io, shared, life, dice))
        }
    };
    nemesis::heal_space(world);
    bury(world, life, ended)
}

fn fork(dice: &mut Prng) -> Prng {
    Prng::new(dice.next_u64())
}

fn begin(world: &World) {
    world.count("lives", 1);
    (0..crate::plan::CORES_MAX).for_each(|core| world.sim.net().allow(address(core)));
    world.fired_before.set(world.sim.disk().fired().len());
    world.reads_before.set(world.sim.disk().failed_reads());
    world.reads_may_fail.set(false);
}

/// Counts what happened in a life, judges how it ended, and lets its death do its work.
fn bury(world: &World, life: &Life, ended: Ended) -> Result<(), String> {
    let disk = world.sim.disk();
    let failed = world.has_failed();
    for fired in &disk.fired()[world.fired_before.get()..] {
        world.count(fault_name(fired), 1);
        if matches!(fired.fault, Fault::Lost | Fault::Misdirected) {
            world.note(Event::Lied);
            world.lied.set(true);
        }
    }
    let failed_reads = disk.failed_reads() - world.reads_before.get();
    world.count("fault: read fails", failed_reads);
    let mut death = life.death;
    match ended {
        Ended::Crashed => world.count("deaths", 1),
        Ended::Stopped(said) => {
            death = Death::Stop;
            if !said.is_empty() {
                // It could not sync what it had: as good as a kill.
                death = Death::Kill;
                if !failed {
                    world.problem(format!("nothing failed, and a stop says {said:?}"));
                }
            } else {
                world.count("clean stops", 1);
            }
        }
        Ended::Refused(reason) => {
            world.count("refused starts", 1);
            if !failed && !world.may_lie() {
                return Err(format!("nothing failed, and the start says: {reason}"));
            }
            death = death.max(Death::Kill);
        }
        Ended::Hung(how) => return Err(how),
    }
    match death {
        Death::Stop => {}
        Death::Kill => {
            world.count("kills", 1);
            disk.kill();
        }
        Death::Power => {
            world.count("power cuts", 1);
            disk.power_cut();
        }
    }
    let (sim, now) = (&world.sim, Rc::new(Cell::new(0)));
    let clock = Rc::clone(&now);
    sim.run(|io| async move { clock.set(io.now().0) });
    world.died(death, now.get());
    Ok(())
}

fn fault_name(fired: &Fired) -> &'static str {
    match (fired.kind, fired.fault) {
        (EffectKind::Write, Fault::Eio) => "fault: write fails",
        (EffectKind::Write, Fault::ShortWrite(_)) => "fault: write is short",
        (EffectKind::Write, Fault::Misdirected) => "fault: write is misdirected",
        (EffectKind::Write, Fault::Lost) => "fault: write is lost",
        (EffectKind::Sync, Fault::Lost) => "fault: sync is lost",
        (_, Fault::SlowBy(_)) => "fault: slow",
        (_, Fault::Enospc) => "fault: no space",
        (EffectKind::Sync | EffectKind::SyncDir, _) => "fault: sync fails",
        _ => "fault: names or space fail",
    }
}

/// What happens beside the cores of a life.
async fn script(io: SimIo, world: Rc<World>, life: Life, mut dice: Prng) {
    if !first_look(&io, &world, &mut dice).await {
        return world.end();
    }
    let budget = Rc::new(Cell::new(life.records));
    for _ in 0..life.producers {
        let (io, world, dice) = (io.clone(), Rc::clone(&world), fork(&mut dice));
        io.clone()
            .spawn(producer::run(io, world, dice, Rc::clone(&budget)));
    }
    for reader in 0..life.consumers as u32 {
        let (io, world, dice) = (io.clone(), Rc::clone(&world), fork(&mut dice));
        io.clone().spawn(consumer::run(io, world, dice, reader));
    }
    if life.changes > 0 {
        let (io, world, dice) = (io.clone(), Rc::clone(&world), fork(&mut dice));
        io.clone().spawn(admin::run(io, world, dice, life.changes));
    }
    if let Some(pause) = life.net_pause {
        let (io, world, dice) = (io.clone(), Rc::clone(&world), fork(&mut dice));
        io.clone().spawn(nemesis::net(io, world, dice, pause));
    }
    io.spawn(nemesis::watch(io.clone(), Rc::clone(&world)));
    io.spawn(nemesis::disk(
        io.clone(),
        Rc::clone(&world),
        life.disk.clone(),
    ));
    io.sleep(life.time).await;
    if life.death != Death::Stop {
        nemesis::kill(&io, &world, &life).await;
    }
    world.end();
}

/// Looks at what the start found, and sees to it that there is a topic. False: the broker cannot do that.
async fn first_look(io: &SimIo, world: &World, dice: &mut Prng) -> bool {
    let looked = async {
        loop {
            let core = dice.below(u64::from(world.cores.get())) as u16;
            let Some((mut sender, mut receiver)) = world.connect(io, core, 1).await else {
                io.sleep(Duration::from_millis(1)).await;
                continue;
            };
            if !admin::look(world, (&mut sender, &mut receiver)).await {
                continue;
            }
            world.lied.set(false);
            if world.open_places().is_empty() {
                admin::create(world, (&mut sender, &mut receiver), dice).await;
            }
            return true;
        }
    };
    let too_late = async {
        io.sleep(ANSWERS_WITHIN).await;
        false
    };
    let looked = or(looked, too_late).await;
    if !looked && !world.has_failed() {
        world.problem("a broker that has started does not answer".to_owned());
    }
    looked
}

/// The healed life: everything works again, and everything is read.
fn last(world: &Rc<World>, cores: u16, dice: &mut Prng) -> Result<(), String> {
    for round in 0..2 {
        begin(world);
        world
            .sim
            .net()
            .set_latency(Duration::from_micros(1), Duration::from_micros(100));
        let ended = match broker::recovered(world) {
            Err(ended) => ended,
            Ok(recovered) => {
                let (shared, dice) = (Rc::clone(world), fork(dice));
                broker::live(world, recovered, cores, move |io| {
                    healed(io, shared, dice, round)
                })
            }
        };
        match ended {
            Ended::Stopped(said) if said.is_empty() => {}
            // What a lie has damaged may keep all from starting: that is told, and nothing is served.
            Ended::Refused(_) if world.may_lie() => {
                world.count("refused for good", 1);
                return Ok(());
            }
            other => return Err(format!("a healed machine ended so: {other:?}")),
        }
        world.died(Death::Stop, 0);
    }
    Ok(())
}

async fn healed(io: SimIo, world: Rc<World>, mut dice: Prng, round: u32) {
    if first_look(&io, &world, &mut dice).await && round == 0 {
        let tried = async {
            prove(&io, &world, &mut dice).await;
            true
        };
        let too_late = async {
            io.sleep(ANSWERS_WITHIN).await;
            false
        };
        if !or(tried, too_late).await {
            world.problem("a healed broker does not answer".to_owned());
        }
    }
    world.end();
}

/// Reads every place from its first offset, writes to it, and sees what was written arrive.
async fn prove(io: &SimIo, world: &World, dice: &mut Prng) {
    for place in world.open_places() {
        let core = dice.below(u64::from(world.cores.get())) as u16;
        let Some((mut sender, mut receiver)) = world.connect(io, core, 2).await else {
            return world.problem("a healed broker takes no connections".to_owned());
        };
        let halves = (&mut sender, &mut receiver);
        if consumer::read_all(world, halves, LAST_READER, place)
            .await
            .is_err()
        {
            world.count("places not whole at the end", 1);
            if !world.may_lie() {
                world.problem(format!("place {place} cannot be read to its end"));
            }
            continue;
        }
        let Some((writer, acks)) = world.connect(io, core, 2).await else {
            return world.problem("a healed broker takes no connections".to_owned());
        };
        let write = producer::one(io, world, (writer, acks), place);
        let halves = (&mut sender, &mut receiver);
        let wait = 2 * ANSWERS_WITHIN;
        let read = consumer::await_more(world, io, halves, LAST_READER, place, wait);
        let (wrote, came) = futures_lite::future::zip(write, read).await;
        if !wrote || !came {
            world.problem(format!("place {place}: written {wrote}, arrived {came}"));
        }
        world.count("places proven at the end", 1);
    }
}
