//! A connection that does nothing, until it counts no longer.

use super::shift::{Link, Shift};
use crate::io::Io;
use std::rc::Rc;

pub(super) fn start(shift: Rc<Shift>, link: Link) {
    let io = shift.io.clone();
    io.spawn(async move {
        // Both halves are held: dropping one would end the connection.
        let held = link;
        shift
            .io
            .sleep(shift.window.until.since(shift.io.now()))
            .await;
        drop(held);
        shift.leave();
    });
}
