//! The disk's free space: what is left of it above the reserve, so that appends are refused before the reserve is used.
//!
//! Asked of the file system off the core: every second, four times a second while it is low, and in between once half of
//! what was left has been claimed. What a core claims (room for segments; journals have theirs) is subtracted at once,
//! times the number of cores that share the disk: until the next look, the others may have claimed as much.

use crate::io::Io;
use crate::log::FLUSH_INTERVAL;
use crate::log::core::Core;
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

/// How often the file system is asked while it has too little.
const LOOK_INTERVAL_LOW: Duration = Duration::from_millis(250);

/// See the module's words.
pub(crate) struct Space {
    /// Bytes above the reserve.
    left: Cell<i64>,
    /// What was claimed since the file system was asked, as it is subtracted.
    claimed: Cell<i64>,
    is_asking: Cell<bool>,
}

impl Space {
    pub(crate) fn new() -> Self {
        Self {
            left: Cell::new(i64::MAX),
            claimed: Cell::new(0),
            is_asking: Cell::new(false),
        }
    }

    /// Whether nothing is left above the reserve.
    pub(crate) fn is_low(&self) -> bool {
        self.left.get() <= 0
    }

    /// The file system has refused: whatever it said before, there is nothing left.
    pub(crate) fn exhaust(&self) {
        self.left.set(0);
    }

    /// How much a file may be grown ahead of its need: little where little is left.
    pub(crate) fn ahead_bytes_max(&self) -> u64 {
        self.left.get().max(0) as u64 / 16
    }
}

/// A file was given so much room.
pub(crate) fn claim<I: Io>(core: &Rc<Core<I>>, bytes: u64) {
    let space = &core.space;
    let bytes = bytes.saturating_mul(core.options.disk_sharers).min(1 << 50) as i64;
    space.left.set(space.left.get().saturating_sub(bytes));
    space.claimed.set(space.claimed.get().saturating_add(bytes));
    if space.claimed.get() > space.left.get() && !space.is_asking.get() {
        let core = Rc::clone(core);
        core.io.clone().spawn(async move { look(&core).await });
    }
}

/// Asks the file system. Where it does not answer, what was known stays.
pub(crate) async fn look<I: Io>(core: &Core<I>) {
    let space = &core.space;
    space.is_asking.set(true);
    let free = core.io.free_bytes(&core.options.data).await;
    space.is_asking.set(false);
    if let Ok(free) = free {
        let free = free.min(1 << 60) as i64;
        let reserve = core.options.disk_reserve_bytes.min(1 << 60) as i64;
        space.left.set(free - reserve);
        space.claimed.set(0);
    }
}

/// Runs until the log is stopped or has failed.
pub(crate) async fn watch<I: Io>(core: Rc<Core<I>>) {
    while !core.is_over() {
        let interval = match core.space.is_low() {
            true => LOOK_INTERVAL_LOW,
            false => FLUSH_INTERVAL,
        };
        core.io.sleep(interval).await;
        if !core.is_over() {
            look(&core).await;
        }
    }
}
