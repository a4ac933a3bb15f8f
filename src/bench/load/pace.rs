//! The open loop's clock: hands every request to its connection when it is due.
//!
//! Decided: a timer of the ring fires 50 us late and more, and a core that sleeps takes as long to wake up; so the last
//! part of a wait is spent looking at the clock, while other tasks of the core take their turns. Only where the core has
//! its CPU for itself: else it would take the CPU from the broker.

use super::produce::Lane;
use super::shift::Shift;
use crate::bench::schedule::Schedule;
use crate::io::Io;
use std::rc::Rc;
use std::time::Duration;

/// What of a wait is not slept.
const LOOK: Duration = Duration::from_micros(300);

pub(super) async fn pace(shift: Rc<Shift>, lanes: Vec<Rc<Lane>>, mut schedule: Schedule) {
    let look = if shift.orders.spin {
        LOOK
    } else {
        Duration::ZERO
    };
    while shift.goes_on(schedule.next_due()) {
        let now = shift.io.now();
        while shift.goes_on(schedule.next_due())
            && let Some((lane, due)) = schedule.take(now)
        {
            lanes[lane].expect(due);
        }
        let wait = schedule.next_due().since(now);
        if wait > look {
            shift.io.sleep(wait - look).await;
        } else {
            shift.io.yield_now().await;
        }
    }
    for lane in lanes {
        lane.end_schedule();
    }
}
