//! Faults that do not kill: each kind does what it says, once, at its number.

use super::{BLOCK, durable_file, filled};
use crate::base::limits::BLOCK_BYTES;
use crate::io::sim::{EffectKind, Fault, Sim, SimIo};
use crate::io::{AlignedBuffer, File, Io, OpenMode};
use std::io::{ErrorKind, Result};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

/// Effects 0 and 1 make the file; the write is effect 2, the sync after it 3, and so on.
fn write_with(fault: Option<Fault>, seed: u64) -> (Sim, Result<usize>, Duration) {
    let sim = Sim::new(seed);
    if let Some(fault) = fault {
        sim.disk().fail_at(2, fault);
    }
    let main = |io: SimIo| async move {
        let file = durable_file(&io, "/f").await;
        let start = io.now();
        let result = file.write_at(filled(&io, 3, 7), BLOCK).await;
        (result, io.now().since(start))
    };
    let (result, time) = sim.run(main).done().remove(0);
    (sim, result, time)
}

fn content(sim: &Sim) -> Vec<u8> {
    sim.disk().read_file("/f").expect("made")
}

#[test]
fn direct_io_takes_whole_blocks_only() {
    let main = |io: SimIo| async move {
        let file = durable_file(&io, "/f").await;
        let mut short = io.buffer(BLOCK_BYTES);
        short.truncate(512);
        let short = file.write_at(Rc::new(short), 0).await;
        let astray = file.write_at(filled(&io, 1, 1), 512).await;
        let reads = [
            file.read_at(1, BLOCK_BYTES).await,
            file.read_at(0, 100).await,
        ];
        let kinds = reads.map(|read| read.expect_err("not aligned").kind());
        assert_eq!(kinds, [ErrorKind::InvalidInput; 2]);
        [short, astray].map(|write| write.expect_err("not aligned").kind())
    };
    let sim = Sim::new(1);
    assert_eq!(sim.run(main).done(), [[ErrorKind::InvalidInput; 2]]);
    assert_eq!((content(&sim).len(), sim.disk().effects()), (0, 2));
}

#[test]
fn a_read_ends_with_the_file() {
    let main = |io: SimIo| async move {
        let file = durable_file(&io, "/f").await;
        file.allocate(3 * BLOCK).await.expect("space");
        file.write_at(filled(&io, 1, 9), BLOCK)
            .await
            .expect("space");
        file.set_len(2 * BLOCK + 100).await.expect("no fault");
        assert_eq!(file.size().await.expect("open"), 2 * BLOCK + 100);
        let all = file.read_at(0, 8 * BLOCK_BYTES).await.expect("open");
        let none = file.read_at(8 * BLOCK, BLOCK_BYTES).await.expect("open");
        assert!(none.as_ref().is_empty());
        all.as_ref().to_vec()
    };
    let bytes = Sim::new(2).run(main).done().remove(0);
    let expected = [vec![0; BLOCK_BYTES], vec![9; BLOCK_BYTES], vec![0; 100]];
    assert_eq!(bytes, expected.concat());
}

#[test]
fn a_short_write_says_what_it_kept() {
    let (sim, result, _) = write_with(Some(Fault::ShortWrite(5_000)), 3);
    assert_eq!(result.expect("short is not failed"), 5_000);
    let expected = [vec![0; BLOCK_BYTES], vec![7; 5_000]].concat();
    assert_eq!(content(&sim), expected);
}

#[test]
fn a_failed_write_may_have_landed_in_part() {
    let mut parts = 0;
    for seed in 0..30 {
        let (sim, result, _) = write_with(Some(Fault::Eio), seed);
        assert_eq!(result.expect_err("planned").raw_os_error(), Some(5));
        parts += u32::from(content(&sim).contains(&7));
    }
    assert!((5..25).contains(&parts), "{parts}");
    let (sim, result, _) = write_with(Some(Fault::Enospc), 1);
    assert_eq!(result.expect_err("planned").kind(), ErrorKind::StorageFull);
    assert!(content(&sim).is_empty());
}

#[test]
fn a_misdirected_write_claims_success() {
    for seed in 0..20 {
        let (sim, result, _) = write_with(Some(Fault::Misdirected), seed);
        assert_eq!(result.expect("it lies"), 3 * BLOCK_BYTES);
        let right = [vec![0; BLOCK_BYTES], vec![7; 3 * BLOCK_BYTES]].concat();
        assert_ne!(content(&sim), right);
        assert_eq!(
            content(&sim).iter().filter(|b| **b == 7).count(),
            3 * BLOCK_BYTES
        );
    }
}

#[test]
fn a_slow_write_takes_its_time() {
    let more = Duration::from_millis(700);
    let (_, result, time) = write_with(Some(Fault::SlowBy(more)), 4);
    assert!(result.is_ok() && time >= more);
    assert!(write_with(None, 4).2 < Duration::from_millis(1));
}

#[test]
fn after_a_failed_sync_the_next_succeeds_and_the_bytes_are_gone() {
    for seed in 0..20 {
        let sim = Sim::new(seed);
        sim.disk().fail_at(3, Fault::SyncFails);
        let main = |io: SimIo| async move {
            let file = durable_file(&io, "/f").await;
            file.write_at(filled(&io, 1, 1), 0).await.expect("space");
            assert!(file.sync().await.is_err());
            file.sync().await.expect("it lies, as Linux does");
            let seen = file.read_at(0, BLOCK_BYTES).await.expect("cached");
            assert_eq!(seen.as_ref(), [1; BLOCK_BYTES]);
            file.write_at(filled(&io, 1, 2), BLOCK)
                .await
                .expect("space");
            file.sync().await.expect("no fault");
        };
        sim.run(main).done();
        sim.disk().power_cut();
        let bytes = content(&sim);
        assert_eq!(bytes[..BLOCK_BYTES], [0; BLOCK_BYTES]);
        assert_eq!(bytes[BLOCK_BYTES..], [2; BLOCK_BYTES]);
    }
}

#[test]
fn a_failed_directory_sync_loses_the_names_it_should_have_kept() {
    let sim = Sim::new(6);
    sim.disk().fail_at(1, Fault::Eio);
    let main = |io: SimIo| async move {
        let root = Path::new("/");
        let file = io.open(Path::new("/f"), OpenMode::CreateNew).await;
        file.expect("new").close().await;
        assert!(io.sync_dir(root).await.is_err());
        io.sync_dir(root).await.expect("it lies");
    };
    sim.run(main).done();
    assert_eq!(sim.disk().list_files().len(), 1);
    sim.disk().power_cut();
    assert!(sim.disk().list_files().is_empty());
}

#[test]
fn a_full_disk_refuses_and_takes_again_when_space_returns() {
    let sim = Sim::new(7);
    sim.disk().set_capacity(6 * BLOCK);
    let main = |io: SimIo| async move {
        let root = Path::new("/");
        let (a, b) = (durable_file(&io, "/a").await, durable_file(&io, "/b").await);
        a.allocate(4 * BLOCK).await.expect("4 of 6");
        let full = |result: Result<()>| result.expect_err("full").kind();
        assert_eq!(full(b.allocate(3 * BLOCK).await), ErrorKind::StorageFull);
        assert_eq!(io.free_bytes(root).await.expect("root"), 2 * BLOCK);
        let short = b.write_at(filled(&io, 3, 1), 0).await.expect("in part");
        assert_eq!(short, 2 * BLOCK_BYTES);
        let none = b.write_at(filled(&io, 1, 1), 2 * BLOCK).await;
        assert_eq!(full(none.map(drop)), ErrorKind::StorageFull);
        let reserved = a.write_at(filled(&io, 4, 2), 0).await;
        assert_eq!(reserved.expect("it was reserved"), 4 * BLOCK_BYTES);
        a.close().await;
        io.remove_file(Path::new("/a")).await.expect("there");
        let after = b.write_at(filled(&io, 4, 1), 2 * BLOCK).await;
        assert_eq!(after.expect("space is back"), 4 * BLOCK_BYTES);
    };
    sim.run(main).done();
}

#[test]
fn a_read_fails_at_its_number_and_decay_shows() {
    let sim = Sim::new(8);
    let disk = sim.disk();
    disk.fail_read_at(1);
    let main = |io: SimIo| async move {
        let file = durable_file(&io, "/f").await;
        file.write_at(filled(&io, 1, 1), 0).await.expect("space");
        assert!(file.read_at(0, BLOCK_BYTES).await.is_ok());
        let source = io.open_source(Path::new("/f")).await.expect("there");
        assert!(io.read_source(&source, 0, 10).await.is_err());
        assert!(disk.corrupt("/f", 5, &[8, 8]) && !disk.corrupt("/g", 5, &[8]));
        let bytes = io.read_source(&source, 3, 5).await.expect("planned once");
        assert_eq!(bytes, [1, 1, 8, 8, 1]);
        file.sync().await.expect("no fault");
    };
    sim.run(main).done();
    assert_eq!(sim.disk().reads(), 3);
}

#[test]
fn a_plan_ends_with_its_run() {
    let sim = Sim::new(9);
    sim.disk().crash_at(3);
    sim.disk().fail_at(4, Fault::Eio);
    let main = |path: &'static str, writes: u64| {
        move |io: SimIo| async move {
            let file = durable_file(&io, path).await;
            for position in 0..writes {
                let write = file.write_at(filled(&io, 1, 1), position * BLOCK).await;
                assert_eq!(write.expect("not reached"), BLOCK_BYTES);
            }
        }
    };
    sim.run(main("/a", 1)).done();
    sim.run(main("/b", 3)).done();
    sim.disk().crash_at(3);
    assert!(sim.run(main("/c", 3)).is_crashed());
    sim.run(main("/d", 3)).done();
}

#[test]
fn a_lost_write_and_a_lost_sync_claim_success() {
    for seed in 0..20 {
        let (sim, result, _) = write_with(Some(Fault::Lost), seed);
        assert_eq!(result.expect("it lies"), 3 * BLOCK_BYTES);
        assert!(!content(&sim).contains(&7));
        let sim = Sim::new(seed);
        sim.disk().fail_next(EffectKind::Sync, 0, Fault::Lost);
        let main = |io: SimIo| async move {
            let file = durable_file(&io, "/f").await;
            let written = file.write_at(filled(&io, 1, 1), 0).await;
            written.expect("space");
            file.sync().await.expect("it lies");
        };
        sim.run(main).done();
        let snapshot = sim.disk().snapshot();
        let lost = (0..50).any(|_| {
            sim.disk().restore(&snapshot);
            sim.disk().power_cut();
            !content(&sim).contains(&1)
        });
        assert!(lost, "nothing was made durable");
    }
}

#[test]
fn a_fault_of_a_kind_waits_for_its_turn_and_is_told_once_it_has_happened() {
    let sim = Sim::new(11);
    let disk = sim.disk();
    let main = |io: SimIo| async move {
        let file = durable_file(&io, "/f").await;
        disk.fail_next(EffectKind::Write, 1, Fault::ShortWrite(512));
        disk.fail_next(EffectKind::Write, 1, Fault::Eio);
        disk.fail_next(EffectKind::Name, 0, Fault::Eio);
        let write = async || file.write_at(filled(&io, 1, 1), 0).await;
        assert!(disk.fired().is_empty());
        assert_eq!(write().await.expect("the first goes well"), BLOCK_BYTES);
        assert_eq!(write().await.expect("short"), 512);
        // The second plan has counted from the same effect on, but one effect has one fault.
        assert!(write().await.is_err());
        assert!(io.remove_file(Path::new("/f")).await.is_err());
        assert_eq!(write().await.expect("no more plans"), BLOCK_BYTES);
        let fired = disk.fired();
        let faults: Vec<Fault> = fired.iter().map(|fired| fired.fault).collect();
        assert_eq!(faults, [Fault::ShortWrite(512), Fault::Eio, Fault::Eio]);
        assert_eq!(fired[0].path.as_deref(), Some(Path::new("/f")));
        assert_eq!(fired[2].kind, EffectKind::Name);
    };
    sim.run(main).done();
}
