//! Retention: on each core, now and then, what has been kept long enough goes. What goes is decided in `partition`; it goes as
//! a trim does: durably told first, and never under the feet of a reader.
//!
//! A disk that is full but for its reserve is emptied so. One that others fill to the last byte is not: what was appended
//! before must be written first, which waits for room.

use crate::base::TimestampMs;
use crate::io::Io;
use crate::partition::{Held, retained};
use crate::shard::core::Core;
use crate::shard::hosted::Hosted;
use futures_lite::future::or;
use std::rc::Rc;
use std::time::Duration;

/// How often the partitions are looked at.
const INTERVAL: Duration = Duration::from_secs(10);

/// Runs for as long as the core does.
pub(super) async fn keep<I: Io>(core: Rc<Core<I>>) {
    let mut held = Vec::new();
    loop {
        let stops = core.stops.wait();
        if core.stopping.get() {
            return;
        }
        or(core.io.sleep(INTERVAL), stops).await;
        let partitions: Vec<_> = core.seats.borrow().keys().copied().collect();
        for key in partitions {
            let Ok(hosted) = core.find(key) else { continue };
            if hosted.settings().limits_retention() {
                apply(&core, &hosted, &mut held).await;
                core.io.yield_now().await;
            }
        }
    }
}

/// Gives up what one partition has kept long enough. `held` is for use.
async fn apply<I: Io>(core: &Core<I>, hosted: &Hosted<I>, held: &mut Vec<Held>) {
    let Some(_pass) = core.gate.enter() else {
        return;
    };
    held.clear();
    hosted.log().each_segment(|segment| {
        held.push(Held {
            next_offset: segment.next_offset,
            bytes: segment.bytes,
            newest: segment.newest,
        });
    });
    let now = TimestampMs(core.io.wall_ms());
    let retained = retained(&hosted.settings(), held, hosted.high_watermark(), now);
    if let Some(before) = retained.before
        && before > hosted.frontiers().start
        && hosted.trim(Some(before)).await.is_err()
    {
        // A log that has failed says so to all who ask it. Here nobody does.
        return;
    }
    // Not before: on a full disk there is room for the next segment only when the old ones are gone.
    if retained.seal {
        hosted.log().seal();
    }
}
