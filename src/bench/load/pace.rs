//! The open loop's clock, which hands every request to its connection when it is due; and what keeps a core awake, so
//! that neither the clock nor a reply waits for the core's own waking up.
//!
//! Decided, each measured (one request in flight, synced; one machine of two virtual CPUs):
//! - A load that sleeps adds its waking up to every response, some 80 us of 500; so where its CPU is its own, it does not.
//! - The executor's own spinning before it sleeps makes no system call, and the kernel (6.18, lazy preemption) lets a
//!   worker that another CPU has woken here wait for the next tick: p99 4 ms instead of 1, as if the broker were slow.
//!   Hence the system call in every turn.
//! - A task that merely yields keeps the executor from looking at completions, for 10 ms at a time. A timer that has
//!   expired when it is looked at makes a whole turn: completions, timers, tasks, and no sleep.

use super::produce::Lane;
use super::shift::Shift;
use crate::bench::schedule::Schedule;
use crate::io::Io;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

/// So short that it has passed when the executor comes to look at its timers.
const MOMENT: Duration = Duration::from_nanos(300);

/// Hands out what is due until the window ends.
pub(super) async fn pace(shift: Rc<Shift>, lanes: Vec<Rc<Lane>>, mut schedule: Schedule) {
    while shift.goes_on(schedule.next_due()) {
        let now = shift.io.now();
        while shift.goes_on(schedule.next_due())
            && let Some((lane, due)) = schedule.take(now)
        {
            lanes[lane].expect(due);
        }
        let wait = schedule.next_due().since(shift.io.now());
        shift.io.sleep(wait).await;
    }
    for lane in lanes {
        lane.end_schedule();
    }
}

/// Keeps the core from sleeping until it ends.
pub(super) async fn stay_awake<I: Io>(io: I) {
    loop {
        turn(&io).await;
    }
}

/// One turn of the executor, and of everybody else who wants this CPU.
async fn turn<I: Io>(io: &I) {
    let mut moment = pin!(io.sleep(MOMENT));
    poll_fn(|context| {
        let passed = moment.as_mut().poll(context);
        if passed.is_pending() {
            rustix::thread::sched_yield();
        }
        passed
    })
    .await;
}
