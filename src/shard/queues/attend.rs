//! One task for each queue: ends leases and delays, looks at records before they are handed out, and hands out what is there
//! to those who are hungry.

use crate::base::PartitionNo;
use crate::engine::EngineError;
use crate::io::Io;
use crate::io::signal::Wait;
use crate::shard::core::Core;
use crate::shard::queues::part::Part;
use crate::shard::queues::{NANOS_PER_MS, Queue, Taker, dead, deliver, facts};
use crate::shard::watch::any;
use futures_lite::future::or;
use std::rc::Rc;
use std::time::Duration;

/// How many bytes of records are looked at in one go.
const LOOK_BYTES: u32 = 256 << 10;
/// Among how many consumers one step shares what there is; the others come next.
const SHARED_MAX: usize = 64;

/// Runs until the queue is closed or the core stops. While nobody is hungry, it sleeps through what producers do.
pub(super) async fn attend<I: Io>(core: Rc<Core<I>>, queue: Rc<Queue<I>>) {
    let mut waits: Vec<Wait> = Vec::new();
    loop {
        // Before the look: what changes during it is looked at again.
        waits.clear();
        waits.extend([queue.news.wait(), core.stops.wait()]);
        if core.stopping.get() || queue.is_closed.get() {
            return;
        }
        let parts = queue.serving();
        if queue.is_hungry() {
            let progress = |part: &Rc<Part<I>>| part.source.log().progress().wait();
            waits.extend(parts.iter().map(progress));
        }
        for part in &parts {
            if let Err(error) = look_after(&core, &queue, part).await {
                queue.fail(part.no, error);
            }
        }
        let due = parts.iter().filter_map(|part| part.next_deadline()).min();
        match due {
            None => any(&mut waits).await,
            Some(due_ms) => {
                let due = due_ms.saturating_mul(NANOS_PER_MS);
                let wait = Duration::from_nanos(due.saturating_sub(core.io.now().0));
                or(any(&mut waits), core.io.sleep(wait)).await;
            }
        }
    }
}

/// What there is to do for one partition now.
async fn look_after<I: Io>(
    core: &Rc<Core<I>>,
    queue: &Rc<Queue<I>>,
    part: &Rc<Part<I>>,
) -> Result<(), EngineError> {
    let now_ms = core.io.now().0 / NANOS_PER_MS;
    if part.next_deadline().is_some_and(|due_ms| due_ms <= now_ms) {
        queue.act(core, part, |ledger, now, out| ledger.tick(now, out))?;
    }
    let start = part.source.frontiers().start;
    if part.look(|ledger| ledger.counts().floor) < start {
        queue.act(core, part, |ledger, _, out| ledger.trimmed(start, out))?;
    }
    loop {
        queue.hand_out(core, part)?;
        if !queue.is_hungry() {
            break;
        }
        let Some(from) = part.look(|ledger| ledger.wants()) else {
            break;
        };
        let bytes = match deliver::read(core, &part.source, from, LOOK_BYTES).await {
            Ok(bytes) => bytes,
            // Trimmed meanwhile: the next look begins with that.
            Err(EngineError::OffsetOutOfRange { .. }) => {
                queue.news.notify();
                break;
            }
            Err(error) => return Err(error),
        };
        if bytes.is_empty() {
            break;
        }
        // What was read may be more than the ledger has heard of.
        part.reach();
        let fed = |ledger: &mut _, now: &_, out: &mut _| facts::feed(ledger, &bytes, now, out);
        queue.act(core, part, fed)?.0?;
    }
    dead::move_if_any(core, queue, part);
    Ok(())
}

impl<I: Io> Queue<I> {
    pub(super) fn is_hungry(&self) -> bool {
        !self.hungry.borrow().is_empty()
    }

    /// A partition serves no longer. Whoever asks is told; whoever waits, too.
    fn fail(&self, no: PartitionNo, error: EngineError) {
        // Stopping is over soon.
        if matches!(error, EngineError::Stopping) {
            return;
        }
        self.parts.borrow_mut().insert(no, Err(error));
        for taker in self.takers.borrow().values() {
            taker.arrived.notify();
        }
    }

    /// Hands out what a ledger has to those who are hungry, as far as that needs no look into the records.
    pub(super) fn hand_out(
        self: &Rc<Self>,
        core: &Rc<Core<I>>,
        part: &Rc<Part<I>>,
    ) -> Result<(), EngineError> {
        part.reach();
        while self.is_hungry() && part.look(|ledger| ledger.available()) > 0 {
            let hungry = self.hungry.borrow();
            let some: Vec<Rc<Taker<I>>> = hungry.iter().take(SHARED_MAX).map(Rc::clone).collect();
            drop(hungry);
            let (handed, _) = self.act(core, part, |ledger, now, out| {
                for taker in &some {
                    ledger.grant(taker.id, taker.credit.get());
                }
                let before = out.deliveries.len();
                ledger.hand_out(now, out);
                for taker in &some {
                    taker.credit.set(ledger.take_back(taker.id));
                }
                out.deliveries.len() - before
            })?;
            let mut hungry = self.hungry.borrow_mut();
            hungry.retain(|taker| taker.credit.get() > 0);
            // Who stands first gets what cannot be shared: next time it is another one.
            if !hungry.is_empty() {
                hungry.rotate_left(1);
            }
            if handed == 0 {
                break;
            }
        }
        Ok(())
    }
}
