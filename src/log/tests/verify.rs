//! What verify says. Goal: it finds every kind of damage and names the place; it calls nothing damage that a crash may
//! have left; it changes nothing. Method: on the simulated disk, after a clean stop with a byte flipped in every block
//! of every file, held against what the flipped byte meant; and after a crash at every effect of a program, held against
//! recovery, which accepts all of those. That nothing changes is read off the disk, which counts effects.

use crate::base::limits::BLOCK_BYTES;
use crate::base::{NodeId, PartitionKey, RecordBatch};
use crate::io::sim::{Sim, SimDisk};
use crate::log::recover;
use crate::log::tests::crash::{Death, Ledger, die, program};
use crate::log::tests::damage::fill;
use crate::log::tests::steps::key;
use crate::log::verify::{Kind, Report, Severity, Watch, verify};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const DATA: &str = "/data";

/// Counts records.
#[derive(Default)]
struct Counter {
    records: BTreeMap<PartitionKey, u64>,
}

impl Watch for Counter {
    fn batch(&mut self, key: PartitionKey, batch: &RecordBatch<'_>) {
        *self.records.entry(key).or_default() += u64::from(batch.count());
    }

    fn read(&mut self, _bytes: u64) {}
}

/// Verifies the disk; fails if that has any effect.
pub(super) fn verified(disk: &SimDisk) -> Report {
    let sim = Sim::with_disk(77, disk.clone());
    let report = sim.run(|io| async move {
        let mut counter = Counter::default();
        let report = verify(&io, Path::new(DATA), Some(NodeId(7)), None, &mut counter).await;
        let report = report.expect("the directories can be read");
        let counted: u64 = counter.records.values().sum();
        assert_eq!(counted, report.records);
        report
    });
    let report = report.done().remove(0);
    assert_eq!(disk.effects(), 0, "it only looks");
    report
}

fn filled(seed: u64) -> SimDisk {
    let disk = SimDisk::new(seed);
    Sim::with_disk(seed, disk.clone()).run(fill).done();
    disk
}

fn files(disk: &SimDisk, suffix: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let paths = disk.list_files().into_iter();
    let paths = paths.filter(|path| path.to_string_lossy().ends_with(suffix));
    let read = |path: PathBuf| disk.read_file(&path).map(|bytes| (path, bytes));
    paths.filter_map(read).collect()
}

#[test]
fn after_a_clean_stop_nothing_is_found() {
    let disk = filled(30);
    let report = verified(&disk);
    assert_eq!(report.findings, []);
    assert_eq!((report.partitions.len(), report.records), (4, 4 * 30));
    assert!(
        report.segments > 4 && report.journal_entries > 10,
        "{report:?}"
    );
}

/// Which partition a path of the disk belongs to.
fn partition_of(path: &Path) -> PartitionKey {
    let number = path.parent().and_then(Path::file_name);
    let number = number.and_then(|name| name.to_str()?.parse().ok());
    key(number.expect("a partition's file"))
}

#[test]
fn a_flipped_byte_in_any_block_of_a_segment_is_found_where_it_is() {
    let disk = filled(31);
    let whole = disk.snapshot();
    let (mut found, mut beyond) = (0, 0);
    for (path, bytes) in files(&disk, ".log") {
        for (number, block) in bytes.chunks(BLOCK_BYTES).enumerate() {
            let at = number * BLOCK_BYTES + 12 + number * 97 % (BLOCK_BYTES - 12);
            disk.restore(&whole);
            disk.corrupt(&path, at as u64, &[bytes[at] ^ 0x20]);
            let report = verified(&disk);
            if block.iter().all(|byte| *byte == 0) {
                beyond += 1;
                assert_eq!(report.count(Severity::Damage), 0, "{report:?}");
                continue;
            }
            found += 1;
            let [finding] = &report.findings[..] else {
                panic!("{} at {at}: {report:?}", path.display());
            };
            assert_eq!(finding.path, path.strip_prefix(DATA).expect("below it"));
            assert_eq!(finding.partition, Some(partition_of(&path)));
            let position = finding.position.expect("a place") as usize;
            match finding.kind {
                Kind::Batch => assert!(position <= at && at < position + 90_000, "{finding:?}"),
                Kind::Padding => assert!(position <= at && at < position + BLOCK_BYTES),
                other => panic!("{other:?}"),
            }
        }
    }
    assert!(
        found > 40 && beyond > 0,
        "{found} blocks with data, {beyond} without"
    );
}

#[test]
fn a_flipped_byte_of_an_index_is_harmless_and_found() {
    let disk = filled(32);
    let whole = disk.snapshot();
    let mut found = 0;
    for (path, bytes) in files(&disk, ".idx") {
        for at in (3..bytes.len()).step_by(501) {
            disk.restore(&whole);
            disk.corrupt(&path, at as u64, &[bytes[at] ^ 1]);
            let report = verified(&disk);
            assert_eq!(report.count(Severity::Damage), 0, "{report:?}");
            assert_eq!(report.findings[0].kind, Kind::Index, "{report:?}");
            found += 1;
        }
    }
    assert!(found > 20, "{found}");
}

#[test]
fn an_index_that_lies_with_a_good_checksum_is_found() {
    use crate::base::Offset;
    use crate::log::index::{decode, encode_block};
    let disk = filled(33);
    let whole = disk.snapshot();
    let mut lies = 0;
    for (path, bytes) in files(&disk, ".idx") {
        let key = partition_of(&path);
        let base = path
            .file_stem()
            .and_then(|stem| stem.to_str()?.parse().ok());
        let base = Offset(base.expect("a base offset"));
        let (mut entries, Some(end)) = decode(key, base, &bytes) else {
            continue;
        };
        entries[0].pos += 1;
        let mut block = vec![0; BLOCK_BYTES];
        encode_block(key, base, 0, &entries, end, true, &mut block);
        disk.restore(&whole);
        disk.corrupt(&path, 0, &block);
        let report = verified(&disk);
        assert_eq!(report.findings.len(), 1, "{report:?}");
        assert_eq!(report.findings[0].kind, Kind::IndexDisagrees);
        lies += 1;
    }
    assert!(lies > 2, "{lies}");
}

/// Whether a start says that something is wrong.
fn is_refused(disk: &SimDisk) -> bool {
    let sim = Sim::with_disk(78, disk.clone());
    let found = sim.run(|io| async move { recover(&io, Path::new(DATA)).await });
    match found.done().remove(0) {
        Ok(recovered) => !recovered.report.damaged.is_empty(),
        Err(_) => true,
    }
}

#[test]
fn of_a_journal_it_says_what_a_start_would_say() {
    let disk = filled(34);
    let whole = disk.snapshot();
    let (mut refused, mut accepted) = (0, 0);
    for (path, bytes) in [files(&disk, ".wal"), files(&disk, "clean")].concat() {
        for at in (7..bytes.len()).step_by(BLOCK_BYTES) {
            disk.restore(&whole);
            disk.corrupt(&path, at as u64, &[bytes[at] ^ 0x10]);
            let report = verified(&disk);
            let is_damage = report.count(Severity::Damage) > 0;
            assert_eq!(
                is_damage,
                is_refused(&disk),
                "{} at {at}: {report:?}",
                path.display()
            );
            refused += u64::from(is_damage);
            accepted += u64::from(!is_damage);
        }
    }
    assert!(
        refused > 10 && accepted > 10,
        "{refused} refused, {accepted} not"
    );
}

#[test]
fn nothing_that_a_crash_leaves_is_called_damage() {
    let (mut torn, mut states) = (0, 0);
    for death in [Death::Kill, Death::PowerCut] {
        for effect in 0.. {
            let (ledger, disk) = (Ledger::default(), SimDisk::new(35));
            disk.crash_at(effect);
            let end = Sim::with_disk(35, disk.clone()).run(|io| program(io, 35, 20, ledger));
            die(&disk, death);
            let report = verified(&disk);
            let damage = report.findings.iter();
            let mut damage = damage.filter(|found| found.kind.severity() == Severity::Damage);
            assert_eq!(damage.next(), None, "{death:?} at {effect}");
            assert!(!is_refused(&disk), "{death:?} at {effect}");
            let is_torn = |found: &crate::log::verify::Finding| found.kind == Kind::TornTail;
            torn += u64::from(report.findings.iter().any(is_torn));
            states += 1;
            if !end.is_crashed() {
                assert!(effect > 60, "too few effects: {effect}");
                break;
            }
        }
    }
    assert!(states > 120 && torn > 5, "{states} states, {torn} torn");
}
