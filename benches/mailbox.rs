//! mailbox: messages of 64 B from core 0 to core 1 and back, with 1, 64 and 1,024 on their way.
//!
//! Sketch, per message there and back: two copies of 64 B through a ring in shared memory, twice two cache lines that
//! change cores (about 100 ns each), no system call while both cores are awake. With one on its way each message meets a
//! sleeping core and pays for waking it up: an eventfd write and an io_uring wait on either side, 20 to 50 us on a VM.
//! With many, both stay awake: some 0.3 us of CPU a message and core.
//!
//! Seen otherwise: 2.3 us of CPU with 64 on their way: both cores still go to sleep between bursts.
//!
//! `cargo bench --bench mailbox -- [--smoke] [--only NAME]`. With one CPU both cores run on it, and the figures are those
//! of its scheduler.

#[path = "rig/cores.rs"]
mod cores;
mod rig;

use cores::cores;
use millrace::base::CoreId;
use millrace::io::uring::{self, Uring, UringMailbox};
use millrace::io::{Io, Mailbox};
use rig::{Args, Took, Watch};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Instant;

/// What goes there and comes back.
type Message = [u64; 8];

const LAST: u64 = u64::MAX;

fn main() {
    let args = Args::read();
    for (in_flight, count) in [(1u64, 20_000), (64, 1_000_000), (1_024, 1_000_000)] {
        let count = args.scale(count, 2_000);
        let name = format!("mailbox there and back, {in_flight} on their way");
        args.row(&name, "messages", || {
            let ran = uring::run_cores(cores(2), move |io: Uring, mailbox| async move {
                match io.core() {
                    CoreId(0) => Some(ask(&io, &mailbox, in_flight, count).await),
                    _ => {
                        answer(&mailbox).await;
                        None
                    }
                }
            });
            let mut ran = ran.expect("both cores run");
            ran.remove(0).expect("core 0 measures")
        });
    }
}

/// Sends back what comes, until the last.
async fn answer(mailbox: &UringMailbox<Message>) {
    while let Some((from, message)) = mailbox.receive().await {
        assert!(mailbox.send(from, message).await);
        if message[0] == LAST {
            return;
        }
    }
}

/// Keeps `in_flight` messages on their way; they come back in order.
async fn ask(io: &Uring, mailbox: &UringMailbox<Message>, in_flight: u64, count: u64) -> Took {
    let sent: Rc<RefCell<VecDeque<Instant>>> = Rc::default();
    let room = Rc::new(Cell::new(in_flight));
    let eased = millrace::io::Signal::new();
    let mut watch = Watch::start();
    let sender = {
        let (mailbox, sent) = (mailbox.clone(), Rc::clone(&sent));
        let (room, eased) = (Rc::clone(&room), eased.clone());
        async move {
            for number in 0..count {
                while room.get() == 0 {
                    eased.wait().await;
                }
                room.set(room.get() - 1);
                sent.borrow_mut().push_back(Instant::now());
                assert!(mailbox.send(CoreId(1), [number; 8]).await);
            }
        }
    };
    io.spawn(sender);
    for number in 0..count {
        let (from, message) = mailbox.receive().await.expect("core 1 lives");
        assert_eq!((from, message), (CoreId(1), [number; 8]));
        watch.note(sent.borrow_mut().pop_front().expect("sent before"));
        room.set(room.get() + 1);
        eased.notify();
    }
    let took = watch.stop(count, String::new());
    assert!(mailbox.send(CoreId(1), [LAST; 8]).await);
    assert!(mailbox.receive().await.is_some());
    took
}
