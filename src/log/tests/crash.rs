//! A crash at every effect, on the simulated disk. Goal: after the death of the process everything acknowledged at
//! `written` is there, after a power cut everything acknowledged at `synced`; in both cases what is there is what was
//! appended, in order, and the log goes on. A trim that was answered never goes back, and takes no more than was asked for. Method: run the same program with the crash one effect later each time
//! until it ends by itself; recover each state, crash inside recovery too.

use crate::base::prng::Prng;
use crate::base::{AckLevel, Body, Offset};
use crate::io::sim::{DiskSnapshot, Sim, SimDisk, SimIo};
use crate::io::{Io, Signal};
use crate::log::ReadError;
use crate::log::tests::steps::{SMALL, append, check_all, key, reached, start};
use std::cell::{Cell, RefCell};
use std::path::Path;
use std::rc::Rc;

const DATA: &str = "/data";
const PARTITIONS: u32 = 3;

/// What the program was told.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Acked {
    written: Offset,
    synced: Offset,
    appended: Offset,
    /// Trims: how far they were answered, and asked for.
    trimmed: Offset,
    trim_asked: Offset,
}

pub(super) type Ledger = Rc<RefCell<[Acked; PARTITIONS as usize]>>;

/// How the machine dies.
#[derive(Clone, Copy, Debug)]
pub(super) enum Death {
    Kill,
    PowerCut,
}

/// Appends for a while, notes what is acknowledged, stops.
pub(super) async fn program(io: SimIo, seed: u64, rounds: u64, ledger: Ledger) {
    append_and_trim(io, seed, rounds, ledger, false).await;
}

/// The same with trims in between. Apart, because a trim writes again what a bug may have left out.
async fn trimming_program(io: SimIo, seed: u64, rounds: u64, ledger: Ledger) {
    append_and_trim(io, seed, rounds, ledger, true).await;
}

async fn append_and_trim(io: SimIo, seed: u64, rounds: u64, ledger: Ledger, trims: bool) {
    let mut rng = Prng::new(seed);
    let (log, _) = start(&io, Path::new(DATA)).await.expect("starts");
    for _ in 0..rounds {
        let number = rng.below(u64::from(PARTITIONS)) as u32;
        let partition = log.open(key(number), SMALL).await.expect("opens");
        let (count, bytes) = match rng.below(8) {
            0 => (1, 90_000),
            1 => (40, 400),
            _ => (1 + rng.below(4), rng.below(3_000) as usize),
        };
        let level = if rng.chance(1, 3) {
            AckLevel::Synced
        } else {
            AckLevel::Written
        };
        let next = append(&partition, count, bytes, level);
        ledger.borrow_mut()[number as usize].appended = next;
        let watcher = partition.clone();
        let noted = Rc::clone(&ledger);
        io.clone().spawn(async move {
            assert!(reached(&watcher, next, level).await);
            note(&noted, number, &watcher);
        });
        if rng.chance(1, 2) {
            assert!(reached(&partition, next, level).await);
            note(&ledger, number, &partition);
            if trims && rng.chance(1, 3) {
                let before = Offset(rng.below(next.0 + 1));
                trim(&ledger, number, &partition, before).await;
            }
        }
    }
    log.stop().await.expect("stops");
    for number in 0..PARTITIONS {
        let mut ledger = ledger.borrow_mut();
        let acked = &mut ledger[number as usize];
        acked.synced = acked.appended;
    }
}

async fn trim(
    ledger: &Ledger,
    number: u32,
    partition: &crate::log::PartitionLog<SimIo>,
    before: Offset,
) {
    note_max(&mut ledger.borrow_mut()[number as usize].trim_asked, before);
    if partition.trim(before).await.is_ok() {
        assert!(partition.frontiers().start >= before);
        note_max(&mut ledger.borrow_mut()[number as usize].trimmed, before);
    }
}

fn note_max(noted: &mut Offset, offset: Offset) {
    *noted = offset.max(*noted);
}

fn note(ledger: &Ledger, number: u32, partition: &crate::log::PartitionLog<SimIo>) {
    let frontiers = partition.frontiers();
    let acked = &mut ledger.borrow_mut()[number as usize];
    acked.written = acked.written.max(frontiers.written);
    acked.synced = acked.synced.max(frontiers.synced);
}

/// Recovers, compares with what was promised, appends more, stops, and looks again.
async fn check(io: SimIo, promised: [Acked; PARTITIONS as usize], death: Death) {
    for round in 0..2 {
        let (log, report) = start(&io, Path::new(DATA)).await.expect("starts");
        assert!(report.damaged.is_empty(), "{report:?}");
        assert!(
            round == 0 || report.clean,
            "the second time after a clean stop"
        );
        for number in 0..PARTITIONS {
            let partition = log.open(key(number), SMALL).await.expect("opens");
            let acked = promised[number as usize];
            let least = match death {
                Death::Kill => acked.written.max(acked.synced),
                Death::PowerCut => acked.synced,
            };
            let found = partition.frontiers().appended;
            assert!(
                found >= least,
                "partition {number}: {found} found, {acked:?} acknowledged"
            );
            assert!(
                round > 0 || found <= acked.appended,
                "nothing that was never appended"
            );
            let start = partition.frontiers().start;
            assert!(
                (acked.trimmed..=acked.trim_asked).contains(&start),
                "partition {number} begins at {start}, {acked:?}"
            );
            assert_eq!(
                check_all(&io, &partition, start, found, 30_000).await,
                found.0 - start.0
            );
            if let Some(below) = start.0.checked_sub(1) {
                let mut body = Body::default();
                let read = partition.read(Offset(below), found, 1, &mut body).await;
                assert_eq!(read, Err(ReadError::OutOfRange));
            }
            let next = append(&partition, 3, 500, AckLevel::Synced);
            assert!(reached(&partition, next, AckLevel::Synced).await);
        }
        log.stop().await.expect("stops");
    }
}

pub(super) fn die(disk: &SimDisk, death: Death) {
    match death {
        Death::Kill => disk.kill(),
        Death::PowerCut => disk.power_cut(),
    }
}

/// Crashes inside the recovery of `state` too, at every `stride`-th effect, then checks.
fn check_with_crashes(
    seed: u64,
    disk: &SimDisk,
    state: &DiskSnapshot,
    promised: [Acked; PARTITIONS as usize],
    death: Death,
    stride: u64,
) {
    for effect in (0..).step_by(stride as usize) {
        disk.restore(state);
        disk.crash_at(effect);
        let sim = Sim::with_disk(seed + effect, disk.clone());
        let end = sim.run(|io| async move {
            let _ = start(&io, Path::new(DATA)).await;
        });
        if !end.is_crashed() {
            assert!(effect > 10, "a start has more effects than {effect}");
            return;
        }
        die(disk, death);
        let sim = Sim::with_disk(seed + 1, disk.clone());
        sim.run(|io| check(io, promised, death)).done();
    }
}

/// Tries every crash of one program. Returns how many states were checked.
fn every_crash(seed: u64, rounds: u64, deaths: &[Death], inner: Option<(u64, u64)>) -> u64 {
    every_crash_of(program, seed, rounds, deaths, inner)
}

fn every_crash_of<F: Future<Output = ()> + 'static>(
    program: fn(SimIo, u64, u64, Ledger) -> F,
    seed: u64,
    rounds: u64,
    deaths: &[Death],
    inner: Option<(u64, u64)>,
) -> u64 {
    let mut states = 0;
    for effect in 0.. {
        let ledger = Ledger::default();
        let disk = SimDisk::new(seed);
        disk.crash_at(effect);
        let noted = Rc::clone(&ledger);
        let end = Sim::with_disk(seed, disk.clone()).run(|io| program(io, seed, rounds, noted));
        let snapshot = disk.snapshot();
        let promised = *ledger.borrow();
        for (number, death) in deaths.iter().enumerate() {
            disk.restore(&snapshot);
            die(&disk, *death);
            let after = disk.snapshot();
            let sim = Sim::with_disk(seed + number as u64, disk.clone());
            sim.run(|io| check(io, promised, *death)).done();
            states += 1;
            if let Some((every, stride)) = inner
                && effect % every == 0
            {
                check_with_crashes(seed, &disk, &after, promised, *death, stride);
            }
        }
        if !end.is_crashed() {
            assert!(
                effect > 60,
                "the program has too few effects to tell anything: {effect}"
            );
            assert!(
                promised.iter().all(|acked| acked.synced > Offset(0)),
                "{promised:?}"
            );
            return states;
        }
    }
    unreachable!("the loop ends when the program does");
}

#[test]
fn what_was_written_survives_a_kill_at_every_effect() {
    for seed in 0..3 {
        assert!(every_crash(seed, 25, &[Death::Kill], None) > 60);
    }
}

#[test]
fn what_was_trimmed_stays_so_after_a_crash_at_every_effect() {
    for seed in 0..2 {
        let deaths = [Death::Kill, Death::PowerCut];
        assert!(every_crash_of(trimming_program, seed, 25, &deaths, None) > 120);
    }
}

#[test]
fn what_was_synced_survives_a_power_cut_at_every_effect() {
    for seed in 10..13 {
        assert!(every_crash(seed, 25, &[Death::PowerCut, Death::PowerCut], None) > 120);
    }
}

/// Appends without ever waiting, so that as many cycles are in flight as may be; makes and deletes a partition meanwhile.
async fn busy_program(io: SimIo, seed: u64, rounds: u64, ledger: Ledger) {
    let mut rng = Prng::new(seed);
    let (log, _) = start(&io, Path::new(DATA)).await.expect("starts");
    let mut partitions = Vec::new();
    for number in 0..PARTITIONS {
        partitions.push(log.open(key(number), SMALL).await.expect("opens"));
    }
    let (other, other_io) = (log.clone(), io.clone());
    let (over, is_over) = (Signal::new(), Rc::new(Cell::new(false)));
    let (told, tells) = (over.clone(), Rc::clone(&is_over));
    io.spawn(async move {
        for number in PARTITIONS..PARTITIONS + 3 {
            let passing = other.open(key(number), SMALL).await.expect("opens");
            let next = append(&passing, 1, 30_000, AckLevel::Written);
            assert!(reached(&passing, next, AckLevel::Written).await);
            other.delete(passing.key()).await.expect("deletes");
            other_io.sleep(std::time::Duration::from_micros(200)).await;
        }
        tells.set(true);
        told.notify();
    });
    for _ in 0..rounds {
        let number = rng.below(u64::from(PARTITIONS)) as usize;
        let bytes = [600, 20_000, 90_000][rng.below(3) as usize];
        let level = match rng.chance(1, 4) {
            true => AckLevel::Synced,
            false => AckLevel::Written,
        };
        let next = append(&partitions[number], 1, bytes, level);
        ledger.borrow_mut()[number].appended = next;
        let (watcher, noted) = (partitions[number].clone(), Rc::clone(&ledger));
        io.spawn(async move {
            assert!(reached(&watcher, next, level).await);
            note(&noted, number as u32, &watcher);
        });
        io.sleep(std::time::Duration::from_micros(rng.below(60)))
            .await;
    }
    for (number, partition) in partitions.iter().enumerate() {
        let next = ledger.borrow()[number].appended;
        assert!(reached(partition, next, AckLevel::Written).await);
        note(&ledger, number as u32, partition);
    }
    while !is_over.get() {
        over.wait().await;
    }
    log.stop().await.expect("stops");
    for acked in &mut *ledger.borrow_mut() {
        acked.synced = acked.appended;
    }
}

#[test]
fn what_was_acked_survives_with_many_cycles_in_flight() {
    for seed in 30..34 {
        let deaths = [Death::Kill, Death::PowerCut];
        assert!(every_crash_of(busy_program, seed, 30, &deaths, None) > 120);
    }
}

#[test]
fn recovery_survives_a_crash_at_every_effect_of_its_own() {
    for death in [Death::Kill, Death::PowerCut] {
        assert!(every_crash(20, 12, &[death], Some((9, 3))) > 60);
    }
}
