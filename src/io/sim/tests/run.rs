//! Runs: how they end, what time does, what mailboxes promise.

use crate::base::CoreId;
use crate::io::sim::{Outcome, Sim, SimMailbox};
use crate::io::{Io, Mailbox, Monotonic, Signal};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);

#[test]
fn time_passes_only_where_somebody_waits_for_it() {
    let sim = Sim::new(1);
    let other = sim.clone();
    let times = sim.run(|io| async move {
        let (start, wall) = (io.now(), io.wall_ms());
        io.sleep(3_600_000 * MS).await;
        let slept = io.now();
        other.jump_wall(-10_000_000);
        (slept.since(start), io.now() == slept, io.wall_ms() - wall)
    });
    let hour = 3_600_000;
    assert_eq!(times.done(), [(hour as u32 * MS, true, hour - 10_000_000)]);
}

#[test]
fn sleeps_end_in_the_order_of_their_deadlines() {
    let sim = Sim::new(2);
    let order = Rc::new(RefCell::new(Vec::new()));
    let seen = Rc::clone(&order);
    let main = |io: crate::io::sim::SimIo| async move {
        for ms in [5, 1, 4, 2, 3u32] {
            let (task, seen) = (io.clone(), Rc::clone(&seen));
            io.spawn(async move {
                task.sleep(ms * MS).await;
                seen.borrow_mut().push(ms);
            });
        }
        io.sleep(10 * MS).await;
    };
    sim.run(main).done();
    assert_eq!(*order.borrow(), [1, 2, 3, 4, 5]);
}

#[test]
fn the_seed_decides_which_ready_task_runs_next() {
    let order_of = |seed| {
        let order = Rc::new(RefCell::new(Vec::new()));
        let seen = Rc::clone(&order);
        let main = |io: crate::io::sim::SimIo| async move {
            for task in 0..6 {
                let seen = Rc::clone(&seen);
                io.spawn(async move { seen.borrow_mut().push(task) });
            }
            io.sleep(MS).await;
        };
        Sim::new(seed).run(main).done();
        order.take()
    };
    let orders: std::collections::BTreeSet<Vec<i32>> = (0..20).map(order_of).collect();
    assert!(orders.len() > 5, "{orders:?}");
}

#[test]
fn a_loop_of_yields_reaches_its_deadline() {
    let main = |io: crate::io::sim::SimIo| async move {
        let deadline = io.now().plus(MS);
        while io.now() < deadline {
            io.yield_now().await;
        }
    };
    Sim::new(3).run(main).done();
}

#[test]
fn a_deadlock_is_told_with_the_names_of_those_who_wait() {
    async fn waits_for_nobody() {
        Signal::new().wait().await;
    }
    let sim = Sim::new(4);
    let outcome: Outcome<()> = sim.run(|io| async move {
        io.spawn(waits_for_nobody());
        Signal::new().wait().await;
    });
    let Outcome::Stuck { waiting } = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!(waiting.len(), 2, "{waiting:?}");
    assert!(waiting[1].starts_with("core 0: ") && waiting[1].contains("waits_for_nobody"));
}

#[test]
fn a_run_without_end_uses_up_its_budget_and_the_next_run_works() {
    let sim = Sim::new(5);
    sim.set_budget(1_000_000, 50 * MS);
    let outcome: Outcome<()> = sim.run(|io| async move {
        loop {
            io.sleep(MS).await;
        }
    });
    assert!(matches!(outcome, Outcome::Exhausted { time, .. } if time > 50 * MS));
    sim.set_budget(100, 50 * MS);
    let outcome: Outcome<()> = sim.run(|io| async move {
        loop {
            io.yield_now().await;
        }
    });
    assert!(matches!(outcome, Outcome::Exhausted { steps: 100, .. }));
    assert_eq!(sim.run(|io| async move { io.core() }).done(), [CoreId(0)]);
}

#[test]
#[should_panic(expected = "seed 11, time 5ms, 0 effects and 0 reads begun: a bug")]
fn a_panic_says_where_the_world_stood() {
    let main = |io: crate::io::sim::SimIo| async move {
        io.sleep(5 * MS).await;
        panic!("a bug");
    };
    let _: Outcome<()> = Sim::new(11).run(main);
}

#[test]
fn a_crash_can_be_called_at_any_time() {
    let sim = Sim::new(10);
    let hand = sim.clone();
    let outcome: Outcome<()> = sim.run(|io| async move {
        let timer = io.clone();
        io.spawn(async move {
            timer.sleep(5 * MS).await;
            hand.crash();
        });
        loop {
            assert!(io.now() <= Monotonic(5_000_000), "nothing runs after it");
            io.yield_now().await;
        }
    });
    assert_eq!(outcome, Outcome::Crashed { effect: 0 });
}

#[test]
fn tasks_live_until_all_mains_have_returned_and_are_dropped_then() {
    struct Told(Rc<Cell<Monotonic>>, crate::io::sim::SimIo);
    impl Drop for Told {
        fn drop(&mut self) {
            self.0.set(self.1.now());
            self.1.spawn(async { unreachable!("the run is over") });
        }
    }
    let end = Rc::new(Cell::new(Monotonic(0)));
    let sim = Sim::new(6);
    let outcome = sim.run_cores(2, |io, _: SimMailbox<()>| {
        let end = Rc::clone(&end);
        async move {
            if io.core() == CoreId(0) {
                let told = Told(end, io.clone());
                io.spawn(async move {
                    Signal::new().wait().await;
                    drop(told);
                });
            } else {
                io.sleep(7 * MS).await;
            }
        }
    });
    outcome.done();
    assert_eq!(end.get(), Monotonic(7_000_000));
}

#[test]
fn mail_of_one_sender_keeps_its_order_and_a_full_box_makes_senders_wait() {
    let sim = Sim::new(7);
    let most_ahead = Rc::new(Cell::new(0u32));
    let sent = Rc::new(Cell::new(0u32));
    let outcome = sim.run_cores(3, |io, mail: SimMailbox<u32>| {
        let (most_ahead, sent) = (Rc::clone(&most_ahead), Rc::clone(&sent));
        async move {
            if io.core() != CoreId(0) {
                for number in 0..200 {
                    assert!(mail.send(CoreId(0), number).await);
                    sent.set(sent.get() + 1);
                }
                return Vec::new();
            }
            let mut next = vec![0; 3];
            let mut taken = 0;
            while let Some((from, number)) = mail.receive().await {
                assert_eq!(number, next[usize::from(from.0)]);
                next[usize::from(from.0)] += 1;
                taken += 1;
                most_ahead.set(most_ahead.get().max(sent.get() - taken.min(sent.get())));
                io.yield_now().await;
            }
            next
        }
    });
    assert_eq!(outcome.done()[0], [0, 200, 200]);
    assert!(most_ahead.get() <= 2 * 17, "{} ahead", most_ahead.get());
}

#[test]
fn a_stopped_core_takes_no_mail() {
    let sim = Sim::new(8);
    let outcome = sim.run_cores(2, |io, mail: SimMailbox<u8>| async move {
        if io.core() == CoreId(0) {
            return true;
        }
        io.sleep(MS).await;
        let refused = !mail.send(CoreId(0), 1).await;
        refused && mail.receive().await.is_none()
    });
    assert_eq!(outcome.done(), [true, true]);
}

#[test]
fn a_core_may_write_to_itself() {
    let sim = Sim::new(9);
    let outcome = sim.run_cores(1, |io, mail: SimMailbox<u8>| async move {
        let late = (io.clone(), mail.clone());
        io.spawn(async move {
            late.0.sleep(MS).await;
            assert!(late.1.send(CoreId(0), 9).await);
        });
        mail.receive().await
    });
    assert_eq!(outcome.done(), [Some((CoreId(0), 9))]);
}
