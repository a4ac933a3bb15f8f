//! append: the log alone, one core, no network.
//!
//! Sketch, per batch of 1000 records of 100 B (about 107 KB): one copy into the append chunk (107 KB at 10 GB/s: 11 us),
//! CRC-32 of the direct blocks (107 KB at 10 GB/s or more: < 11 us), a share of one 4 KiB journal write and one direct
//! write of up to 1 MiB (kernel: block layer and pinning, about 20 us per 100 KB), no allocation per record. So about
//! 40 us per 1000 records, and the disk's 3 GB/s (28 M records/s) is not the limit of one core.
//!
//! `cargo bench --bench append -- [--smoke] [--dir DIR] [--batches N]`

use millrace::base::record::BatchBuilder;
use millrace::base::{
    AckLevel, NodeId, Offset, PartitionKey, PartitionNo, RecordBatch, TimestampMs, TopicId,
};
use millrace::io::Io;
use millrace::io::uring::{self, Uring};
use millrace::log::{self, Log, PartitionLog, SegmentSettings};
use std::cell::Cell;
use std::path::PathBuf;
use std::rc::Rc;

const RECORDS: u64 = 1_000;
const IN_FLIGHT: usize = 32;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let value = |name: &str| {
        args.iter()
            .position(|a| a == name)
            .and_then(|i| args.get(i + 1))
            .cloned()
    };
    let smoke = args.iter().any(|arg| arg == "--smoke");
    let batches: u64 = value("--batches").map_or(if smoke { 200 } else { 40_000 }, |n| {
        n.parse().expect("a number")
    });
    let root = value("--dir").map_or_else(std::env::temp_dir, PathBuf::from);
    for (level, partitions) in [
        (AckLevel::Written, 1),
        (AckLevel::Written, 8),
        (AckLevel::Synced, 8),
        (AckLevel::Written, 100),
    ] {
        for run in 0..if smoke { 1 } else { 3 } {
            let dir = root.join(format!("millrace-bench-{}", std::process::id()));
            std::fs::create_dir_all(&dir).expect("creates");
            let options = uring::Options {
                cpus: vec![Some(0)],
                ..Default::default()
            };
            let data = dir.clone();
            let result = uring::run_cores::<(), _, _, _>(options, move |io, _| {
                measure(io, data.clone(), level, partitions, batches)
            });
            std::fs::remove_dir_all(&dir).expect("removes");
            let (seconds, cpu) = result.expect("runs")[0];
            let records = (batches * RECORDS) as f64;
            println!(
                "append level={level} partitions={partitions} run={run}: {:.2} M records/s, {:.0} MB/s, {:.1} us CPU per 1000",
                records / seconds / 1e6,
                records * 107.0 / seconds / 1e6,
                cpu * 1e6 / (records / 1000.0)
            );
        }
    }
}

async fn measure(
    io: Uring,
    data: PathBuf,
    level: AckLevel,
    partitions: u32,
    batches: u64,
) -> (f64, f64) {
    let recovered = log::recover(&io, &data).await.expect("empty");
    let options = log::Options::new(data, NodeId(1), recovered.epoch);
    let log = Log::start(io.clone(), options, recovered.partitions)
        .await
        .expect("starts");
    let settings = SegmentSettings {
        segment_bytes: 256 << 20,
        segment_ms: u64::MAX,
    };
    let mut handles = Vec::new();
    for number in 0..partitions {
        let key = PartitionKey::new(TopicId(1), PartitionNo(number));
        handles.push(log.open(key, settings).await.expect("opens"));
    }
    let bytes: Rc<[u8]> = batch().into();
    let (begin, cpu) = (io.now(), cpu_seconds());
    let left = Rc::new(Cell::new(IN_FLIGHT));
    let done = millrace::io::Signal::new();
    for worker in 0..IN_FLIGHT {
        let (handles, bytes, left, done) = (
            handles.clone(),
            Rc::clone(&bytes),
            Rc::clone(&left),
            done.clone(),
        );
        io.spawn(async move {
            for round in 0..batches / IN_FLIGHT as u64 {
                let partition = &handles[(worker + round as usize) % handles.len()];
                let batch = RecordBatch::parse(&bytes).expect("built here");
                batch.check().expect("built here");
                let next = partition.append(&batch, level).expect("accepted");
                wait(partition, next, level).await;
            }
            left.set(left.get() - 1);
            done.notify();
        });
    }
    while left.get() > 0 {
        done.wait().await;
    }
    let result = (io.now().since(begin).as_secs_f64(), cpu_seconds() - cpu);
    log.stop().await.expect("stops");
    result
}

async fn wait(partition: &PartitionLog<Uring>, next: Offset, level: AckLevel) {
    loop {
        let moved = partition.progress().wait();
        let frontiers = partition.frontiers();
        let at = if level == AckLevel::Synced {
            frontiers.synced
        } else {
            frontiers.written
        };
        if at >= next {
            return;
        }
        assert!(!partition.has_failed(), "{:?}", partition.failed());
        moved.await;
    }
}

fn batch() -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    for record in 0..RECORDS {
        builder.push(TimestampMs(record as i64), None, Some(&[b'x'; 100]), &[]);
    }
    builder.finish().to_vec()
}

/// User and system time of this process, kernel workers of its rings included.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("readable");
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .expect("has a name")
        .split_whitespace()
        .collect();
    let ticks: f64 =
        fields[11].parse::<f64>().expect("utime") + fields[12].parse::<f64>().expect("stime");
    ticks / 100.0
}
