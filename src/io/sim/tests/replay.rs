//! The promise that the simulator stands on: the same seed is the same run.

use super::{BLOCK, filled};
use crate::base::CoreId;
use crate::io::sim::{Fault, Sim, SimIo, SimMailbox};
use crate::io::{File, Io, Listener, Mailbox, OpenMode, Reader, Writer};
use std::cell::Cell;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

/// Core 0 serves: what it receives it writes to its file, answers, and tells to one of the others, who call it.
async fn main(io: SimIo, mail: SimMailbox<u64>) -> u64 {
    let server = SocketAddr::from(([127, 0, 0, 1], 7_000));
    if io.core() == CoreId(0) {
        serve(&io, &mail, server).await;
        return 0;
    }
    let sum = Rc::new(Cell::new(0u64));
    let (inbox, received) = (mail.clone(), Rc::clone(&sum));
    io.spawn(async move {
        while let Some((_, number)) = inbox.receive().await {
            received.set(received.get().wrapping_mul(31).wrapping_add(number));
        }
    });
    io.sleep(Duration::from_micros(100)).await;
    call(&io, server).await;
    io.sleep(Duration::from_millis(20)).await;
    sum.get()
}

async fn serve(io: &SimIo, mail: &SimMailbox<u64>, server: SocketAddr) {
    let path = PathBuf::from(format!("/core{}", io.core()));
    let file = io.open(&path, OpenMode::CreateNew).await.expect("new");
    let listener = io.listen(server).await.expect("free");
    for position in 0..2 {
        let (mut reader, mut writer, _) = listener.accept().await.expect("open");
        let mut byte = [0];
        while reader.read(&mut byte).await.expect("no fault") == 1 {
            let buffer = filled(io, 2, byte[0]);
            file.write_at(buffer, position * 2 * BLOCK).await.ok();
            file.sync().await.ok();
            writer.write_all(&byte).await.ok();
            let to = CoreId(u16::from(byte[0] % 2) + 1);
            mail.send(to, io.random()).await;
        }
    }
}

async fn call(io: &SimIo, server: SocketAddr) {
    let (mut reader, mut writer) = io.connect(server).await.expect("listening");
    for _ in 0..20 {
        let byte = [io.random() as u8];
        writer.write_all(&byte).await.expect("no fault");
        let mut answer = [0];
        reader.read(&mut answer).await.expect("no fault");
        assert_eq!(answer, byte);
        io.yield_now().await;
    }
}

fn run(seed: u64, talk: bool) -> (Vec<u64>, u64, Option<Vec<u8>>, Vec<String>) {
    let sim = Sim::new(seed);
    if talk {
        sim.keep_log();
    }
    sim.disk().fail_at(20, Fault::Eio);
    sim.disk().fail_at(23, Fault::Misdirected);
    let values = sim.run_cores(3, main).done();
    sim.disk().power_cut();
    let left = sim.disk().read_file("/core0");
    (values, sim.trace_hash(), left, sim.log())
}

#[test]
fn a_seed_is_a_run_and_another_seed_another() {
    let mut hashes = std::collections::BTreeSet::new();
    for seed in 0..15 {
        let (first, second) = (run(seed, false), run(seed, true));
        assert_eq!((first.0, first.1, first.2), (second.0, second.1, second.2));
        assert!(first.3.is_empty() && second.3.len() > 300);
        assert_eq!(run(seed, true).3, second.3);
        hashes.insert(first.1);
    }
    assert_eq!(hashes.len(), 15);
}

#[test]
fn a_crashed_run_is_the_same_crashed_run() {
    let crash = |effect| {
        let sim = Sim::new(77);
        sim.disk().crash_at(effect);
        let crashed = sim.run_cores(3, main).is_crashed();
        sim.disk().kill();
        (crashed, sim.trace_hash(), sim.disk().read_file("/core0"))
    };
    for effect in [0, 5, 30, 60] {
        let first = crash(effect);
        assert!(first.0);
        assert_eq!(first, crash(effect));
    }
}
