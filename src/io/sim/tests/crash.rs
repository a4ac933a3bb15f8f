//! Deaths: a small program is stopped at each of its effects, and what is left is held against the rules.

use super::{BLOCK, durable_file, filled};
use crate::base::limits::BLOCK_BYTES;
use crate::io::sim::{Sim, SimDisk, SimFile, SimIo};
use crate::io::{File, Io, OpenMode};
use futures_lite::future::poll_once;
use std::cell::Cell;
use std::collections::BTreeSet;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

/// How far the program got: blocks whose write was told complete, and blocks that a sync covered.
#[derive(Clone, Default)]
struct Progress {
    written: Rc<Cell<u64>>,
    synced: Rc<Cell<u64>>,
}

/// Appends blocks 1, 2, 3, … four at a time, syncs after every second write.
async fn append(io: SimIo, progress: Progress) {
    let file = durable_file(&io, "/log").await;
    for write in 0..6u64 {
        let mut buffer = io.buffer(4 * BLOCK_BYTES);
        for (number, block) in buffer.as_mut().chunks_mut(BLOCK_BYTES).enumerate() {
            block.fill((write * 4 + number as u64 + 1) as u8);
        }
        let bytes = file.write_at(Rc::new(buffer), write * 4 * BLOCK).await;
        assert_eq!(bytes.expect("no fault planned"), 4 * BLOCK_BYTES);
        progress.written.set((write + 1) * 4);
        if write % 2 == 1 {
            file.sync().await.expect("no fault planned");
            progress.synced.set((write + 1) * 4);
        }
    }
}

fn block_is(bytes: &[u8], index: u64, byte: u8) -> bool {
    let block = bytes.chunks(BLOCK_BYTES).nth(index as usize);
    block.is_some_and(|block| block.iter().all(|b| *b == byte))
}

/// Runs `append` to a crash at each effect, lets `death` do its work, and lets `check` look: progress, content.
fn each_crash(death: impl Fn(&SimDisk), mut check: impl FnMut(&Progress, &[u8])) {
    for seed in 0..30 {
        for effect in 0.. {
            let (disk, progress) = (SimDisk::new(seed), Progress::default());
            disk.crash_at(effect);
            let sim = Sim::with_disk(seed, disk.clone());
            let outcome = sim.run(|io| append(io, progress.clone()));
            death(&disk);
            let bytes = disk.read_file("/log").unwrap_or_default();
            check(&progress, &bytes);
            if !outcome.is_crashed() {
                assert_eq!(effect, disk.effects(), "each effect had its crash");
                break;
            }
        }
    }
}

#[test]
fn what_was_synced_survives_power_and_what_was_not_sometimes_does_not() {
    let (mut lost, mut kept, mut torn) = (0, 0, 0);
    each_crash(SimDisk::power_cut, |progress, bytes| {
        for index in 0..progress.synced.get() {
            assert!(block_is(bytes, index, index as u8 + 1), "block {index}");
        }
        for index in progress.synced.get()..progress.written.get() {
            let own = index as u8 + 1;
            if block_is(bytes, index, own) {
                kept += 1;
            } else if block_is(bytes, index, 0) || bytes.len() as u64 <= index * BLOCK {
                lost += 1;
            } else {
                let block = &bytes[index as usize * BLOCK_BYTES..][..BLOCK_BYTES];
                assert!(block.chunks(512).all(|s| s == [own; 512] || s == [0; 512]));
                torn += 1;
            }
        }
    });
    assert!(lost > 20 && kept > 20 && torn > 20, "{lost} {kept} {torn}");
}

#[test]
fn what_was_written_survives_the_process_and_what_was_in_flight_may_be_torn() {
    let (mut torn, mut whole, mut lost) = (0, 0, 0);
    each_crash(SimDisk::kill, |progress, bytes| {
        let written = progress.written.get();
        for index in 0..written {
            assert!(block_is(bytes, index, index as u8 + 1), "block {index}");
        }
        let rest = bytes.get((written * BLOCK) as usize..).unwrap_or_default();
        let blocks = rest.chunks(BLOCK_BYTES).enumerate();
        let own = |index: usize| (written as usize + index + 1) as u8;
        let landed = blocks
            .map(|(index, block)| block.iter().filter(|b| **b == own(index)).count())
            .sum::<usize>();
        match landed {
            0 => lost += 1,
            bytes if bytes == 4 * BLOCK_BYTES => whole += 1,
            bytes => {
                assert!(bytes.is_multiple_of(512), "{bytes}");
                torn += 1;
            }
        }
    });
    assert!(
        torn > 10 && whole > 10 && lost > 10,
        "{torn} {whole} {lost}"
    );
}

#[test]
fn many_deaths_can_be_tried_of_one_run_and_the_machine_knows_which_it_was() {
    let sim = Sim::new(3);
    sim.disk().crash_at(9);
    assert!(sim.run(|io| append(io, Progress::default())).is_crashed());
    let (disk, snapshot) = (sim.disk(), sim.disk().snapshot());
    let boot = |seed| {
        let sim = Sim::with_disk(seed, disk.clone());
        sim.run(|io| async move { io.boot_id() }).done()[0]
    };
    let mut states = BTreeSet::new();
    for _ in 0..40 {
        disk.restore(&snapshot);
        disk.kill();
        let before = boot(1);
        disk.restore(&snapshot);
        disk.power_cut();
        assert_ne!(boot(1), before);
        states.insert(disk.read_file("/log"));
    }
    assert!(states.len() > 10, "{}", states.len());
    let before = boot(5);
    disk.kill();
    assert_eq!(boot(6), before);
}

#[test]
fn a_dropped_write_holds_its_buffer_and_lands_all_the_same() {
    let sim = Sim::new(4);
    let main = |io: SimIo| async move {
        let file = durable_file(&io, "/f").await;
        let buffer = filled(&io, 1, 7);
        let mut write = Box::pin(file.write_at(Rc::clone(&buffer), 0));
        assert!(poll_once(&mut write).await.is_none());
        drop(write);
        assert_eq!(Rc::strong_count(&buffer), 2);
        io.sleep(Duration::from_millis(5)).await;
        assert_eq!(Rc::strong_count(&buffer), 1);
    };
    sim.run(main).done();
    assert_eq!(sim.disk().read_file("/f"), Some(vec![7; BLOCK_BYTES]));
}

#[test]
fn writes_overtake_each_other_and_a_sync_does_not_cover_those_after_it() {
    let mut states = BTreeSet::new();
    for seed in 0..60 {
        let sim = Sim::new(seed);
        let main = |io: SimIo| async move {
            let file = Rc::new(durable_file(&io, "/f").await);
            let write = |byte: u8| {
                let (file, buffer) = (Rc::clone(&file), filled(&io, 1, byte));
                async move { file.write_at(buffer, 0).await.expect("no fault") }
            };
            futures_lite::future::zip(write(1), write(2)).await;
            let later = async {
                write(3).await;
            };
            let sync = async { file.sync().await.expect("no fault") };
            futures_lite::future::zip(sync, later).await;
        };
        sim.run(main).done();
        let before = sim.disk().read_file("/f").expect("synced name")[0];
        sim.disk().power_cut();
        let after = sim.disk().read_file("/f").expect("synced name");
        states.insert((before, after[0]));
    }
    let expected = BTreeSet::from([(3, 1), (3, 2), (3, 3)]);
    assert_eq!(states, expected);
}

#[test]
fn a_name_is_durable_after_the_sync_of_its_directory_alone() {
    let mut left = BTreeSet::new();
    for seed in 0..40 {
        let sim = Sim::new(seed);
        let main = |io: SimIo| async move {
            let path = Path::new;
            io.create_dir_all(path("/data/topics")).await.expect("new");
            io.sync_dir(path("/data")).await.expect("made");
            io.sync_dir(path("/")).await.expect("made");
            let file = io.open(path("/data/topics/a.tmp"), OpenMode::CreateNew);
            let file = file.await.expect("new");
            file.write_at(filled(&io, 1, 1), 0).await.expect("space");
            file.sync().await.expect("no fault");
            io.rename(path("/data/topics/a.tmp"), path("/data/topics/a"))
                .await
                .expect("there");
        };
        sim.run(main).done();
        sim.disk().power_cut();
        left.insert(sim.disk().list_files());
        if let Some(bytes) = sim.disk().read_file("/data/topics/a") {
            assert_eq!(bytes, vec![1; BLOCK_BYTES], "the bytes were synced");
        }
    }
    assert_eq!(left.len(), 3, "{left:?}");
}

#[test]
fn an_open_file_lives_without_its_name() {
    let sim = Sim::new(5);
    let disk = sim.disk();
    let main = |io: SimIo| async move {
        let (root, path) = (Path::new("/"), Path::new("/f"));
        let file: SimFile = durable_file(&io, "/f").await;
        file.write_at(filled(&io, 2, 3), 0).await.expect("space");
        let source = io.open_source(path).await.expect("there");
        file.close().await;
        let full = io.free_bytes(root).await.expect("root");
        io.remove_file(path).await.expect("there");
        io.sync_dir(root).await.expect("root");
        let bytes = io.read_source(&source, BLOCK, 2 * BLOCK_BYTES).await;
        assert_eq!(bytes.expect("alive"), vec![3; BLOCK_BYTES]);
        assert_eq!(io.free_bytes(root).await.expect("root"), full);
        drop(source);
        let free = io.free_bytes(root).await.expect("root");
        assert_eq!(free, full + 2 * BLOCK);
    };
    sim.run(main).done();
    assert!(disk.list_files().is_empty());
}
