//! Goal: whatever bytes a connection brings, the broker answers it or closes it, and nobody else notices: its memory
//! stays flat, a good client is served throughout, and what is stored is what was sent.
//!
//! Method: the real binary and plain sockets. A valid conversation (hello, produce, fetch) is cut at every byte, changed
//! at every byte (as it is, and with the checksums made right again, so that what lies behind them is reached), and
//! given every length that could matter; other protocols knock; hundreds of half frames are held open; answers are
//! asked for and never read. A good client writes and reads all the while, and every phase waits until it has come
//! forward. Memory is the process's own peak, from `/proc`.
//!
//! The campaign: clients that mean well write and read at a fixed rate and measure, while one attack after the other goes
//! on (tests/hostile/siege.rs), each in turns with a time of peace. Memory, file descriptors, panics and the stop are
//! checked always. That the p99 of the good at most doubles is a time, so it is asserted in the long form alone
//! (MILLRACE_SIEGE_TURNS of 5 or more), over the medians of the turns of war and of peace; the short form prints it.
//!
//! Short, 1 turn each (.ci/run):  cargo test --profile campaign --test hostile -- --ignored --nocapture
//! Long, 30 turns each:           MILLRACE_SIEGE_TURNS=30 MILLRACE_SIEGE_CONNECTIONS=5000 cargo test ... (as above)
#![allow(clippy::unwrap_used, reason = "a test may panic; the line says where")]

#[path = "hostile/attacks.rs"]
mod attacks;
mod campaign;
#[path = "hostile/good.rs"]
mod good;
#[path = "hostile/load.rs"]
mod load;
#[path = "process/mod.rs"]
mod process;
#[path = "hostile/siege.rs"]
mod siege;
#[path = "hostile/wire.rs"]
mod wire;

use campaign::Campaign;
use good::Good;
use load::{Load, Seen, percentile};
use millrace::client::blocking::{Client, ClientOptions};
use process::{Broker, Directory, cpus};
use siege::{ATTACKS, Attack, Ground};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use wire::Conversation;

/// What the broker's memory may grow by, at its highest, once it has been warmed up.
const GROWTH_MAX: u64 = 64 << 20;

/// The broker under attack.
struct Siege {
    broker: Broker,
    address: SocketAddr,
    good: Good,
    warm: u64,
}

impl Siege {
    /// Runs one attack and checks that it changed nothing for anybody else.
    fn phase(&mut self, name: &str, attack: impl FnOnce(SocketAddr)) {
        let began = Instant::now();
        reset_peak(self.broker.pid());
        let before = self.good.rounds();
        attack(self.address);
        self.good.wait_for(before + 3);
        assert!(self.broker.lives(), "{name}: the broker has ended");
        let peak = memory(self.broker.pid(), "VmHWM:");
        let grown = peak.saturating_sub(self.warm);
        let took = began.elapsed().as_millis();
        println!("{name}: {took} ms, at most {} KiB of memory", peak >> 10);
        assert!(grown < GROWTH_MAX, "{name}: memory grew by {grown} bytes");
    }
}

/// A line of `/proc/PID/status`, in bytes.
fn memory(pid: u32, line: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let rest = status.lines().find_map(|l| l.strip_prefix(line)).unwrap();
    let kib = rest.trim().strip_suffix(" kB").unwrap();
    kib.parse::<u64>().unwrap() << 10
}

/// From here on, `VmHWM` is the peak of what follows.
fn reset_peak(pid: u32) {
    std::fs::write(format!("/proc/{pid}/clear_refs"), "5").unwrap();
}

/// Floods until that takes no more memory, and tells the peak: how deep one flood fills the buffers is chance, and how much
/// of it was given back is the allocator's affair.
fn warm_up(pid: u32, flood: impl Fn()) -> u64 {
    /// In a row, without growth worth the name.
    const CALM: u32 = 3;
    const NOISE: u64 = 1 << 20;
    let (mut warm, mut calm) = (0, 0);
    while calm < CALM {
        flood();
        let peak = memory(pid, "VmHWM:");
        calm = if peak > warm + NOISE { 0 } else { calm + 1 };
        warm = warm.max(peak);
    }
    warm
}

#[test]
fn hostile_bytes_harm_nobody() {
    let data = Directory::new("hostile");
    let broker = Broker::start(data.path(), &cpus(1));
    let address: SocketAddr = broker.addresses()[0].parse().unwrap();
    let mut client = Client::connect(broker.addresses(), ClientOptions::default()).unwrap();
    let target = wire::topic(&mut client, "target");
    let mud = wire::topic(&mut client, "mud");
    wire::topic(&mut client, "good");
    let talk = Conversation::new(&target);
    // What the broker holds in memory by design, hot records and receive buffers, is there before it counts.
    let good = Good::start(&broker.addresses());
    good.wait_for(50);
    let warm = warm_up(broker.pid(), || {
        attacks::flood(address, &Conversation::new(&mud), 192 << 20);
    });
    println!("warm: {} KiB", warm >> 10);
    let mut siege = Siege {
        good,
        broker,
        address,
        warm,
    };
    siege.phase("cut", |address| attacks::cut(address, &talk));
    siege.phase("flipped", |address| attacks::flipped(address, &talk));
    siege.phase("resealed", |address| attacks::resealed(address, &talk));
    siege.phase("batches", |address| {
        attacks::batches(address, &Conversation::new(&mud));
    });
    siege.phase("lengths", |address| attacks::lengths(address, &talk));
    siege.phase("strangers", attacks::strangers);
    siege.phase("flood", |address| {
        attacks::flood(address, &Conversation::new(&mud), 96 << 20)
    });
    siege.phase("unread fetches", |address| {
        attacks::unread_fetches(address, &mud)
    });
    siege.phase("unread rest", |address| {
        attacks::unread_rest(address, &talk)
    });
    let good = siege.good.rounds();
    let held = attacks::hold_half_frames(address, &talk);
    siege.phase("half frames", |_| ());
    drop(held);
    println!("the good client made {good} rounds");
    siege.good.end();
    good::check_all(&mut client);
    wire::check_copies(&mut client, "target", &talk.value);
    wire::check_readable(&mut client, "mud");
    let (status, said) = siege.broker.stop();
    assert!(status.success(), "{status} {said:#?}");
    assert!(!said.err.contains("panicked"), "{said:#?}");
}

/// How long a turn of war or of peace is.
const TURN: Duration = Duration::from_millis(1_200);
/// From so many turns on, the medians mean something.
const TURNS_TO_ASSERT: usize = 5;
/// Between the noise of a machine that also runs the attackers and a latency that anybody would notice.
const FLOOR_MICROS: u64 = 2_000;

/// What the good measured in one turn: the p99 from due to acknowledged, and to read, in microseconds.
#[derive(Clone, Copy, Debug)]
struct Turn {
    acked: u64,
    read: u64,
}

fn turn(load: &Load) -> Turn {
    load.take();
    std::thread::sleep(TURN);
    let Seen {
        mut acked,
        mut read,
    } = load.take();
    assert!(
        acked.len() > 10 && read.len() > 10,
        "the good are not served"
    );
    Turn {
        acked: percentile(&mut acked, 99),
        read: percentile(&mut read, 99),
    }
}

/// One turn of an attack; how many blows there were.
fn war(load: &Load, ground: &mut Ground, attack: &Attack) -> (Turn, u64) {
    *ground.stop.get_mut() = false;
    *ground.blows.get_mut() = 0;
    let ground = &*ground;
    let measured = std::thread::scope(|scope| {
        for _ in 0..attack.threads {
            scope.spawn(|| {
                let own = rustix::thread::gettid();
                rustix::process::setpriority_process(Some(own), 19).unwrap();
                (attack.run)(ground);
            });
        }
        // Let it get going.
        std::thread::sleep(TURN / 4);
        let measured = turn(load);
        ground.stop.store(true, Ordering::SeqCst);
        measured
    });
    (measured, ground.blows.load(Ordering::SeqCst))
}

fn median(turns: &[Turn], of: impl Fn(&Turn) -> u64) -> u64 {
    let mut all: Vec<u64> = turns.iter().map(of).collect();
    percentile(&mut all, 50)
}

/// How many file descriptors a process has open.
fn descriptors(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .count()
}

/// Waits until connections that were given up have been let go.
fn settled_descriptors(pid: u32, expected: usize) -> usize {
    let until = Instant::now() + Duration::from_secs(60);
    while descriptors(pid) > expected && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(50));
    }
    descriptors(pid)
}

#[test]
#[ignore = "a campaign; see the head of this file"]
fn the_good_are_served_while_others_attack() {
    let turns: usize = campaign::number("MILLRACE_SIEGE_TURNS", 1);
    let campaign = Campaign::begin("hostile", "turns");
    let data = Directory::new("siege");
    let mut broker = Broker::start(data.path(), &cpus(1));
    let (pid, address) = (broker.pid(), broker.addresses()[0].parse().unwrap());
    let mut client = Client::connect(broker.addresses(), ClientOptions::default()).unwrap();
    let pulse = wire::topic(&mut client, "pulse");
    let mud = wire::topic(&mut client, "mud");
    // What the broker holds in memory by design is there before it counts.
    attacks::flood(address, &Conversation::new(&mud), 192 << 20);
    let load = Load::start(address, &pulse);
    turn(&load);
    let (warm, open) = (memory(pid, "VmRSS:"), descriptors(pid));
    let mut ground = Ground {
        address,
        mud,
        connections: campaign::number("MILLRACE_SIEGE_CONNECTIONS", siege::CONNECTIONS),
        stop: AtomicBool::new(false),
        blows: AtomicU64::new(0),
    };
    let (mut blows, mut slow) = (0, Vec::new());
    for attack in ATTACKS {
        reset_peak(pid);
        let (mut peaces, mut wars) = (Vec::new(), Vec::new());
        for _ in 0..turns {
            peaces.push(turn(&load));
            let (measured, struck) = war(&load, &mut ground, attack);
            wars.push(measured);
            assert!(struck > 0, "{}: nothing was done", attack.name);
            blows += struck;
            assert!(broker.lives(), "{}: the broker has ended", attack.name);
        }
        let grown = memory(pid, "VmHWM:").saturating_sub(warm);
        let left = settled_descriptors(pid, open);
        slow.extend(compare(attack.name, &peaces, &wars, grown));
        assert!(
            grown <= GROWTH_MAX,
            "{}: memory grew by {grown} bytes",
            attack.name
        );
        assert!(
            left <= open,
            "{}: {left} descriptors, {open} before",
            attack.name
        );
    }
    load.end();
    wire::check_all_readable(&mut client, "pulse");
    drop(client);
    let (status, said) = broker.stop();
    assert!(status.success(), "{status} {said:#?}");
    assert!(!said.err.contains("panicked"), "{said:#?}");
    let count = (2 * turns * ATTACKS.len()) as u64;
    campaign.end(count, blows, slow.len() as u64);
    assert!(turns < TURNS_TO_ASSERT || slow.is_empty(), "{slow:#?}");
}

/// Prints what an attack did to the good; the complaint, if it did more than it may.
fn compare(name: &str, peaces: &[Turn], wars: &[Turn], grown: u64) -> Option<String> {
    let both = |of: fn(&Turn) -> u64| (median(peaces, of), median(wars, of));
    let (acked, read) = (both(|turn| turn.acked), both(|turn| turn.read));
    let line = format!(
        "{name}: p99 to the ack {} -> {} us, to the reader {} -> {} us, memory {} KiB more",
        acked.0,
        acked.1,
        read.0,
        read.1,
        grown >> 10
    );
    println!("{line}");
    let is_slow = |(peace, war): (u64, u64)| war > 2 * peace.max(FLOOR_MICROS / 2);
    (is_slow(acked) || is_slow(read)).then_some(line)
}
