//! scrub: reads sealed segments again and again, slowly, so that damage at rest is found before somebody needs what it hit.
//!
//! One task a core, one slice of memory. It reads past the page cache, checks every batch (its checksum, that it follows
//! the one before) and the end; after each slice it sleeps as long as the rate asks for, and a little more while the core has
//! appends to write. What it finds is noted at the partition, which then does not serve it, counted, and told
//! ([`crate::log::Log::take_notices`]). It repairs nothing.

use crate::base::Offset;
use crate::base::batch_stream::BatchStream;
use crate::io::{File, Io, OpenMode};
use crate::log::core::Core;
use crate::log::partition::Partition;
use crate::log::paths;
use crate::log::segment::Segment;
use std::rc::Rc;
use std::time::Duration;

/// What is read at once.
const SLICE_BYTES: u64 = 256 << 10;
/// The least time from the beginning of one round over all segments to the next.
const ROUND_MIN: Duration = Duration::from_secs(3_600);
/// How often, and for how long, a slice waits for a core that has appends to write: then it goes on all the same.
const YIELDS_MAX: u32 = 20;
const YIELD: Duration = Duration::from_millis(10);
/// How often it looks whether the log is over while it has nothing to do.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Where a sealed segment cannot be believed any more.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Spot {
    /// The first offset in doubt, and the one after the segment.
    pub(crate) from: Offset,
    pub(crate) until: Offset,
    pub(crate) what: String,
}

/// Runs until the log is stopped or has failed. A rate of 0 is none.
pub(crate) async fn scrub<I: Io>(core: Rc<Core<I>>) {
    let rate = core.options.scrub_bytes_per_second;
    while rate > 0 && !core.is_over() {
        let began = core.now();
        let partitions: Vec<_> = core.partitions.borrow().values().map(Rc::clone).collect();
        for partition in partitions {
            let segments: Vec<_> = partition.segments.borrow().iter().map(Rc::clone).collect();
            for segment in segments {
                if is_at_rest(&segment) && !partition.deleting.get() && !core.is_over() {
                    scrub_segment(&core, &partition, &segment, rate).await;
                }
            }
        }
        core.meter.count(|stats| stats.scrub_rounds += 1);
        while !core.is_over() && core.now().since(began) < ROUND_MIN {
            core.io.sleep(LOOK_INTERVAL).await;
        }
    }
}

/// Nothing will be written to it any more, and its file holds all of it.
fn is_at_rest<I: Io>(segment: &Segment<I>) -> bool {
    segment.sealed.get() && segment.file.borrow().is_none() && segment.end.get().pos > 0
}

async fn scrub_segment<I: Io>(
    core: &Core<I>,
    partition: &Partition<I>,
    segment: &Segment<I>,
    rate: u64,
) {
    let found = read_through(core, partition, segment, rate).await;
    let Err((from, what)) = found else { return };
    if core.is_over() || partition.deleting.get() || !partition.holds(segment.base) {
        return;
    }
    let until = segment.end.get().next_offset;
    let what = format!("segment {} {what}", segment.base);
    if partition.note_spot(Spot {
        from,
        until,
        what: what.clone(),
    }) {
        core.meter.count(|stats| stats.scrub_damaged += 1);
        core.tell(partition.key, format!("offset {from}, {what}"));
    }
}

/// Reads all batches of the segment. The error: the offset from which on it is in doubt, where that is and why.
async fn read_through<I: Io>(
    core: &Core<I>,
    partition: &Partition<I>,
    segment: &Segment<I>,
    rate: u64,
) -> Result<(), (Offset, String)> {
    let path = paths::segment(&segment.dir, segment.base);
    let (end, mut pos) = (segment.end.get(), 0);
    let mut stream = BatchStream::new(0, segment.base);
    let opened = core.io.open(&path, OpenMode::Existing).await;
    let file = opened.map_err(|error| (segment.base, format!("cannot be opened: {error}")))?;
    while pos < end.pos && !core.is_over() && !partition.deleting.get() {
        wait_while_busy(core).await;
        let read = file.read_at(pos, SLICE_BYTES as usize).await;
        let read = read.map_err(|error| (stream.at().1, format!("at {pos}: {error}")))?;
        let bytes = (read.as_ref().len() as u64).min(end.pos - pos) as usize;
        let is_sound = bytes > 0 && stream.feed(&read.as_ref()[..bytes]);
        drop(read);
        if !is_sound {
            break;
        }
        pos += bytes as u64;
        core.meter
            .count(|stats| stats.scrubbed_bytes += bytes as u64);
        let nanos = bytes as u64 * 1_000_000_000 / rate;
        core.io.sleep(Duration::from_nanos(nanos)).await;
    }
    file.close().await;
    if core.is_over() || partition.deleting.get() {
        return Ok(());
    }
    let (sound, offset) = stream.at();
    match stream.damage() {
        Some(damage) => Err((offset, format!("at {sound}: {damage}"))),
        None if (sound, offset) == (end.pos, end.next_offset) => Ok(()),
        None => Err((
            offset,
            format!("at {sound}: it ends too early, at {} it should", end.pos),
        )),
    }
}

async fn wait_while_busy<I: Io>(core: &Core<I>) {
    for _ in 0..YIELDS_MAX {
        if core.pending.get() == 0 {
            return;
        }
        core.io.sleep(YIELD).await;
    }
}
