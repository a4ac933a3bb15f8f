//! Goal: whatever bytes a connection brings, the broker answers it or closes it, and nobody else notices: its memory
//! stays flat, a good client is served throughout, and what is stored is what was sent.
//!
//! Method: the real binary and plain sockets. A valid conversation (hello, produce, fetch) is cut at every byte, changed
//! at every byte (as it is, and with the checksums made right again, so that what lies behind them is reached), and
//! given every length that could matter; other protocols knock; hundreds of half frames are held open; answers are
//! asked for and never read. A good client writes and reads all the while, and every phase waits until it has come
//! forward. Memory is the process's own peak, from `/proc`.
#![allow(clippy::unwrap_used, reason = "a test may panic; the line says where")]

#[path = "hostile/attacks.rs"]
mod attacks;
#[path = "hostile/good.rs"]
mod good;
#[path = "process/mod.rs"]
mod process;
#[path = "hostile/wire.rs"]
mod wire;

use good::Good;
use millrace::client::blocking::{Client, ClientOptions};
use process::{Broker, Directory, cpus};
use std::net::SocketAddr;
use std::time::Instant;
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
    attacks::flood(address, &Conversation::new(&mud), 192 << 20);
    let good = Good::start(&broker.addresses());
    good.wait_for(50);
    let warm = memory(broker.pid(), "VmRSS:");
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
