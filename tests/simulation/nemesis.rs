//! Whoever disturbs the machine while clients are served: the network, the clock, the disk; and its death.

use crate::history::Event;
use crate::plan::{DiskEvent, Life};
use crate::world::{World, address};
use millrace::base::prng::Prng;
use millrace::io::Io;
use millrace::io::sim::{EffectKind, Fault, Fired, SimIo};
use millrace::log::FLUSH_INTERVAL;
use std::rc::Rc;
use std::time::Duration;

/// Lets `event` happen to the disk.
pub(crate) fn befall(world: &World, event: DiskEvent) {
    let disk = world.sim.disk();
    match event {
        DiskEvent::Fault(kind, before, fault) => disk.fail_next(kind, before, fault),
        DiskEvent::Read(before) => {
            world.reads_may_fail.set(true);
            disk.fail_read_at(disk.reads() + before);
        }
        DiskEvent::Full(left, _) => disk.set_capacity(disk.used() + left),
    }
}

/// Disturbs the disk as planned.
pub(crate) async fn disk(io: SimIo, world: Rc<World>, events: Vec<(Duration, DiskEvent)>) {
    let began = io.now();
    for (at, event) in events {
        io.sleep(at.saturating_sub(io.now().since(began))).await;
        befall(&world, event);
        if let DiskEvent::Full(_, time) = event {
            io.sleep(time).await;
            heal_space(&world);
        }
    }
}

/// Notes which core's storage has failed, soon after it has.
pub(crate) async fn watch(io: SimIo, world: Rc<World>) {
    let mut looked_at = world.fired_before.get();
    while !world.over.get() {
        io.sleep(FLUSH_INTERVAL / 2).await;
        let fired = world.sim.disk().fired();
        for fired in &fired[looked_at..] {
            let is_final = matches!(fired.kind, EffectKind::Write | EffectKind::Sync);
            if is_final && !matches!(fired.fault, Fault::SlowBy(_)) {
                let (stream, at) = (journal_of(fired), io.now().0);
                world.note(Event::Failed { stream, at });
            }
        }
        looked_at = fired.len();
    }
}

/// The core whose journal it happened to; none if it was another file.
fn journal_of(fired: &Fired) -> Option<u16> {
    let mut names = fired.path.as_deref()?.iter();
    names.find(|name| *name == "journal")?;
    names.next()?.to_str()?.parse().ok()
}

/// Gives the disk its size back.
pub(crate) fn heal_space(world: &World) {
    world.sim.disk().set_capacity(1 << 40);
}

/// Disturbs the network, and the wall clock.
pub(crate) async fn net(io: SimIo, world: Rc<World>, mut dice: Prng, pause: Duration) {
    let net = world.sim.net();
    while !world.over.get() {
        io.sleep(pause / 2 + Duration::from_nanos(dice.below(pause.as_nanos() as u64)))
            .await;
        let live = net.connections();
        let one = live
            .get(dice.below(live.len().max(1) as u64) as usize)
            .copied();
        let time = Duration::from_micros(100 + dice.below(8_000));
        match (dice.below(8), one) {
            (0..=2, Some(one)) => {
                net.drop_connection(one);
                world.count("fault: connection dropped", 1);
            }
            (3..=5, Some(one)) => {
                net.stall(one, time);
                world.count("fault: connection stalled", 1);
            }
            (6, _) => {
                let core = dice.below(u64::from(world.cores.get())) as u16;
                net.refuse(address(core));
                world.count("fault: connections refused", 1);
                io.sleep(time).await;
                net.allow(address(core));
            }
            _ => {
                let ms = dice.below(2 * 86_400_000) as i64 - 86_400_000;
                world.sim.jump_wall(ms);
                world.count("fault: wall clock jumped", 1);
            }
        }
    }
}

/// Draws how fast the network is.
pub(crate) fn set_latency(world: &World, dice: &mut Prng) {
    let most = [5, 60, 200, 2_000][dice.below(4) as usize];
    let (least, most) = (Duration::from_micros(1), Duration::from_micros(most));
    world.sim.net().set_latency(least, most);
    world
        .sim
        .net()
        .set_pipe_bytes([4 << 10, 64 << 10][dice.below(2) as usize]);
}

/// Ends a life in the way that it should.
pub(crate) async fn kill(io: &SimIo, world: &World, life: &Life) {
    if let Some(more) = life.death_at_effect {
        let disk = world.sim.disk();
        disk.crash_at(disk.effects() + more);
        // If so many effects do not come, it dies all the same.
        io.sleep(Duration::from_millis(20)).await;
    }
    world.sim.crash();
    // It takes hold at the next wait.
    io.sleep(Duration::from_secs(1)).await;
}
