//! A log of one core in a directory of its own.

use millrace::base::record::BatchBuilder;
use millrace::base::{AckLevel, NodeId, Offset, PartitionKey, PartitionNo, TimestampMs, TopicId};
use millrace::io::uring::Uring;
use millrace::io::{Io, Signal};
use millrace::log::{self, Log, PartitionLog, SegmentSettings};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// A directory that goes with the value.
pub(crate) struct Dir(PathBuf);

impl Dir {
    /// Below `--dir`, or where the build keeps its own.
    pub(crate) fn make(below: Option<&str>, name: &str) -> Self {
        let below = below.unwrap_or(env!("CARGO_TARGET_TMPDIR"));
        let path = Path::new(below).join(format!("millrace-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).expect("creates");
        Self(path)
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.0.clone()
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Recovers what is in `data` and starts a log there, as a broker does.
pub(crate) async fn start(io: &Uring, data: PathBuf) -> Log<Uring> {
    let recovered = log::recover(io, &data).await.expect("recovers");
    let options = log::Options::new(data, NodeId(1), recovered.epoch);
    let log = Log::start(io.clone(), options, recovered.partitions).await;
    let log = log.expect("starts");
    let retired = log::retire_journals(io, &recovered.retired).await;
    retired.expect("retires");
    log
}

/// The first partitions of a topic, by number.
pub(crate) async fn open(
    io: &Uring,
    log: &Log<Uring>,
    partitions: u32,
) -> Vec<PartitionLog<Uring>> {
    let settings = SegmentSettings {
        segment_bytes: 256 << 20,
        segment_ms: u64::MAX,
    };
    let open = |number| {
        let key = PartitionKey::new(TopicId(1), PartitionNo(number));
        let log = log.clone();
        async move { log.open(key, settings).await.expect("opens") }
    };
    // The first makes the topic's directory. The others together: each waits for the disk several times.
    let mut handles = vec![open(0).await];
    let (opened, left) = (Rc::new(RefCell::new(BTreeMap::new())), Signal::new());
    for number in 1..partitions {
        let (opening, opened, left) = (open(number), Rc::clone(&opened), left.clone());
        io.spawn(async move {
            let handle = opening.await;
            opened.borrow_mut().insert(number, handle);
            left.notify();
        });
    }
    while opened.borrow().len() + 1 < partitions as usize {
        left.wait().await;
    }
    handles.extend(opened.take().into_values());
    handles
}

/// Waits until everything below `next` is acked at `level`.
pub(crate) async fn acked(partition: &PartitionLog<Uring>, next: Offset, level: AckLevel) {
    loop {
        let moved = partition.progress().wait();
        let frontiers = partition.frontiers();
        let reached = match level {
            AckLevel::None => frontiers.appended,
            AckLevel::Written => frontiers.written,
            AckLevel::Synced => frontiers.synced,
        };
        if reached >= next {
            return;
        }
        assert!(!partition.has_failed(), "{:?}", partition.failed());
        moved.await;
    }
}

/// A batch of `records` of 100 B.
pub(crate) fn batch(records: u64) -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    for record in 0..records {
        builder.push(TimestampMs(record as i64), None, Some(&[b'x'; 100]), &[]);
    }
    builder.finish().to_vec()
}
