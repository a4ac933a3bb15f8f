//! One rule after the other, each by its shortest example.

use super::*;
use crate::base::PartitionNo;
use crate::base::limits::QUEUE_RUNS_MAX;
use crate::queue::{Cause, Evidence};

#[test]
fn what_is_ready_is_shared_in_order_by_credit() {
    let mut rig = Rig::new(settings(), 10);
    rig.join(1, Flow::Prefetch(2));
    rig.join(2, Flow::Prefetch(100));
    // Half of ten each, as far as the credit goes; the rest goes to who has some left.
    let handed = rig.hand_out();
    assert_eq!(handed, [(1, span(0, 2, 1)), (2, span(2, 10, 1))]);
    assert_eq!(rig.ack(1, span(0, 1, 1)), taken(1));
    rig.ledger.reached(Offset(13));
    assert_eq!(rig.hand_out(), [(2, span(10, 12, 1)), (1, span(12, 13, 1))]);
    assert_eq!(rig.ledger.counts().floor, Offset(1));
}

#[test]
fn a_lease_that_ended_is_over_and_its_record_goes_first() {
    let mut rig = Rig::new(settings(), 3);
    rig.join(1, Flow::Prefetch(2));
    assert_eq!(rig.hand_out(), [(1, span(0, 2, 1))]);
    rig.pass(u64::from(LEASE_MS));
    assert_eq!(
        rig.ack(1, span(1, 2, 1)),
        taken(1),
        "a lease is never cut short"
    );
    rig.pass(1);
    assert_eq!(rig.ack(1, span(0, 1, 1)), stale(1));
    assert_eq!(rig.hand_out(), [(1, span(0, 1, 2)), (1, span(2, 3, 1))]);
    assert_eq!(
        rig.ack(1, span(0, 1, 1)),
        stale(1),
        "the number of an earlier delivery"
    );
    assert_eq!(
        rig.ack(2, span(0, 1, 2)),
        stale(1),
        "it is with another consumer"
    );
    assert_eq!(rig.ack(1, span(0, 1, 2)), taken(1));
    assert_eq!(rig.ack(1, span(0, 1, 2)), stale(1), "acked twice");
}

#[test]
fn a_consumer_that_is_gone_gives_everything_back_at_once() {
    let mut rig = Rig::new(settings(), 4);
    rig.join(1, Flow::Prefetch(4));
    rig.hand_out();
    rig.ack(1, span(1, 2, 1));
    rig.ledger.leave(consumer(1), &mut rig.out);
    rig.join(2, Flow::Prefetch(9));
    assert_eq!(rig.hand_out(), [(2, span(0, 1, 2)), (2, span(2, 4, 2))]);
    assert!(rig.ledger.next_deadline().is_some());
}

#[test]
fn an_extended_lease_lives_longer_and_the_others_do_not() {
    let mut rig = Rig::new(settings(), 3);
    rig.join(1, Flow::Prefetch(3));
    rig.hand_out();
    let longer = rig
        .ledger
        .extend(consumer(1), span(1, 2, 1), 5_000, &rig.now);
    assert_eq!(longer, taken(1));
    rig.pass(u64::from(LEASE_MS) + 1);
    assert_eq!(rig.ack(1, span(0, 3, 1)), Answered { taken: 1, stale: 2 });
    assert_eq!(rig.hand_out(), [(1, span(0, 1, 2)), (1, span(2, 3, 2))]);
}

#[test]
fn what_is_given_back_waits_as_the_schedule_says_also_across_a_restart() {
    let mut rig = Rig::new(
        QueueSettings {
            retry: Retry::Schedule(vec![100, 3_000]),
            ..settings()
        },
        2,
    );
    rig.join(1, Flow::Prefetch(1));
    rig.hand_out();
    assert_eq!(rig.nack(1, span(0, 1, 1), Nack::Retry), taken(1));
    assert_eq!(rig.hand_out(), [(1, span(1, 2, 1))], "others go on");
    rig.ack(1, span(1, 2, 1));
    rig.pass(100);
    assert_eq!(rig.hand_out(), [], "not a moment early");
    rig.pass(1);
    assert_eq!(rig.hand_out(), [(1, span(0, 1, 2))]);
    rig.nack(1, span(0, 1, 2), Nack::Retry);
    rig.pass(1_000);
    rig.restart();
    rig.join(2, Flow::Prefetch(1));
    assert_eq!(rig.ledger.counts().delayed, 1);
    rig.pass(2_000);
    assert_eq!(rig.hand_out(), []);
    rig.pass(1);
    assert_eq!(rig.hand_out(), [(2, span(0, 1, 3))]);
}

#[test]
fn a_wall_clock_that_is_set_moves_no_delay() {
    const DAY_MS: i64 = 86_400_000;
    for jump_ms in [DAY_MS, -DAY_MS] {
        for restarts in [false, true] {
            let mut rig = Rig::new(settings(), 1);
            rig.join(1, Flow::Prefetch(1));
            rig.hand_out();
            rig.nack(1, span(0, 1, 1), Nack::After(10_000));
            rig.now.wall.0 += jump_ms;
            if restarts {
                rig.restart();
                rig.join(1, Flow::Prefetch(1));
            }
            // Across a restart a clock that was set forward cannot be told from time that has passed.
            let is_over = restarts && jump_ms > 0;
            rig.pass(9_999);
            assert_eq!(rig.hand_out().len(), usize::from(is_over));
            rig.pass(2);
            assert_eq!(
                rig.hand_out().len(),
                usize::from(!is_over),
                "nor longer than it was"
            );
        }
    }
}

#[test]
fn what_was_tried_too_often_or_refused_is_moved_once() {
    let mut rig = Rig::new(
        QueueSettings {
            deliveries_max: Some(2),
            has_dead_letters: true,
            ..settings()
        },
        2,
    );
    rig.join(1, Flow::Prefetch(2));
    rig.hand_out();
    rig.nack(1, span(1, 2, 1), Nack::Reject);
    rig.nack(1, span(0, 1, 1), Nack::Retry);
    rig.hand_out();
    rig.pass(u64::from(LEASE_MS) + 1);
    assert_eq!(rig.hand_out(), []);
    let causes: Vec<_> = rig
        .out
        .doomed
        .iter()
        .map(|one| (one.offset.0, one.cause))
        .collect();
    assert_eq!(causes, [(1, Cause::Rejected), (0, Cause::Deliveries)]);
    assert_eq!(rig.out.doomed[1].deliveries, 2);
    let evidence = Evidence {
        partition: PartitionNo(3),
        from: Offset(40),
    };
    assert!(rig.ledger.moving(Offset(1), evidence, &mut rig.out));
    rig.store();
    // Nobody knows whether it was written: the start says where to look.
    rig.restart();
    let found: Vec<_> = rig
        .out
        .doomed
        .iter()
        .map(|one| (one.offset.0, one.evidence))
        .collect();
    assert_eq!(found, [(0, None), (1, Some(evidence))]);
    assert_eq!(rig.out.doomed[1].cause, Cause::Rejected);
    rig.ledger.moved(Offset(0), &mut rig.out);
    rig.ledger.moved(Offset(1), &mut rig.out);
    rig.ledger.moved(Offset(1), &mut rig.out);
    let counts = rig.ledger.counts();
    assert_eq!(
        (counts.totals.dead, counts.dying, counts.floor),
        (2, 0, Offset(2))
    );
}

#[test]
fn without_dead_letters_the_dead_stay_in_the_log_alone() {
    let mut rig = Rig::new(settings(), 1);
    rig.join(1, Flow::Prefetch(1));
    rig.hand_out();
    rig.nack(1, span(0, 1, 1), Nack::Reject);
    assert_eq!(rig.ledger.counts().totals.dead, 1);
    assert_eq!(rig.out.doomed, []);
}

#[test]
fn what_is_delivered_at_most_once_is_acked_before_it_leaves() {
    let mut rig = Rig::new(settings(), 5);
    rig.join(1, Flow::AtMostOnce);
    assert_eq!(rig.hand_out(), [], "no credit, no records");
    rig.ledger.grant(consumer(1), 3);
    assert_eq!(rig.hand_out(), [(1, span(0, 3, 1))]);
    assert_eq!(rig.ledger.counts().totals.acked, 3);
    assert_eq!(rig.hand_out(), []);
    rig.restart();
    assert_eq!(rig.ledger.counts().floor, Offset(3));
}

#[test]
fn credit_that_was_not_used_is_taken_back() {
    let mut rig = Rig::new(settings(), 2);
    rig.join(1, Flow::Granted);
    rig.ledger.grant(consumer(1), 5);
    assert_eq!(rig.hand_out(), [(1, span(0, 2, 1))]);
    rig.ack(1, span(0, 2, 1));
    assert_eq!(rig.ledger.take_back(consumer(1)), 3);
    rig.ledger.reached(Offset(4));
    assert_eq!(rig.hand_out(), []);
}

#[test]
fn a_key_waits_for_its_earlier_records_and_other_keys_flow() {
    let mut rig = Rig::new(
        QueueSettings {
            key_order: true,
            ..settings()
        },
        6,
    );
    // Offsets 0, 2, 4 are of one key, 1 and 3 of another, 5 of none.
    let facts = |offset: u64| Facts {
        key: (offset < 5).then_some(offset % 2),
        ..Facts::default()
    };
    rig.join(1, Flow::Prefetch(9));
    let handed = rig.hand_out_with(facts);
    assert_eq!(
        handed,
        [(1, span(0, 1, 1)), (1, span(1, 2, 1)), (1, span(5, 6, 1))]
    );
    assert_eq!(rig.ledger.counts().blocked, 3);
    rig.ack(1, span(1, 2, 1));
    rig.nack(1, span(0, 1, 1), Nack::After(500));
    assert_eq!(
        rig.hand_out(),
        [(1, span(3, 4, 1))],
        "a delayed one holds back its key"
    );
    rig.pass(501);
    assert_eq!(rig.hand_out(), [(1, span(0, 1, 2))]);
    rig.nack(1, span(0, 1, 2), Nack::Reject);
    assert_eq!(rig.hand_out(), [(1, span(2, 3, 1))], "a dead one does not");
    rig.restart();
    rig.join(2, Flow::Prefetch(9));
    let handed = rig.hand_out_with(facts);
    let offsets: Vec<u64> = handed.iter().map(|(_, span)| span.from.0).collect();
    assert_eq!(offsets, [2, 3, 5]);
}

#[test]
fn priorities_go_first_and_what_is_too_old_or_too_early_does_not_go() {
    let mut rig = Rig::new(
        QueueSettings {
            reads_headers: true,
            ..settings()
        },
        6,
    );
    let now = rig.now.wall;
    let facts = |offset: u64| Facts {
        priority: [0, 0, 9, 5, 0, 0][offset as usize],
        expires: (offset == 3).then_some(now),
        not_before: (offset == 4).then_some(TimestampMs(now.0 + 250)),
        ..Facts::default()
    };
    rig.join(1, Flow::Prefetch(9));
    let handed = rig.hand_out_with(facts);
    let expected = [(1, span(2, 3, 1)), (1, span(0, 2, 1)), (1, span(5, 6, 1))];
    assert_eq!(handed, expected);
    assert_eq!(rig.ledger.counts().totals.expired, 1);
    rig.pass(250);
    assert_eq!(rig.hand_out(), []);
    rig.pass(1);
    assert_eq!(rig.hand_out(), [(1, span(4, 5, 1))]);
}

#[test]
fn a_purge_takes_what_nobody_has_and_a_trim_takes_everything() {
    let mut rig = Rig::new(settings(), 10);
    rig.join(1, Flow::Prefetch(3));
    rig.hand_out();
    rig.nack(1, span(1, 2, 1), Nack::After(9_999));
    rig.ledger.purge(Offset(8), &mut rig.out);
    let counts = rig.ledger.counts();
    assert_eq!((counts.ready, counts.leased, counts.delayed), (2, 2, 0));
    assert_eq!(counts.totals.purged, 6);
    rig.ledger.trimmed(Offset(9), &mut rig.out);
    assert_eq!(rig.ledger.counts().totals.purged, 9);
    assert_eq!(rig.ack(1, span(0, 1, 1)), stale(1));
    assert_eq!(rig.hand_out(), [(1, span(9, 10, 1))]);
}

#[test]
fn offsets_without_a_record_are_counted_apart() {
    let mut rig = Rig::new(settings(), 10);
    rig.join(1, Flow::Prefetch(4));
    rig.hand_out();
    rig.ledger.absent(Offset(2), Offset(6), &mut rig.out);
    assert_eq!(rig.ledger.counts().totals.absent, 4);
    assert_eq!(rig.hand_out(), [(1, span(6, 8, 1))]);
}

/// Goal: memory is bounded however large the backlog is. Method: ten million records, a consumer that settles every second
/// one of what it gets and keeps the others.
#[test]
fn ten_million_records_that_nobody_acks_take_no_more_than_the_window() {
    for needs_facts in [false, true] {
        let mut rig = Rig::new(
            QueueSettings {
                reads_headers: needs_facts,
                lease_ms: 1_000_000,
                ..settings()
            },
            10_000_000,
        );
        rig.join(1, Flow::Prefetch(100));
        loop {
            let handed = rig.hand_out();
            if handed.is_empty() {
                break;
            }
            for (_, span) in handed {
                for offset in (span.from.0..span.until.0).filter(|offset| offset % 2 == 0) {
                    rig.ack(1, super::span(offset, offset + 1, 1));
                }
            }
            assert!(rig.ledger.window.len() <= QUEUE_RUNS_MAX);
            // It is given credit for what it keeps, too.
            rig.ledger.grant(consumer(1), 50);
        }
        assert!(rig.ledger.room() == 0, "nothing else has stopped it");
        let kept = rig.ledger.counts().leased;
        assert!(kept > 100 && kept <= QUEUE_RUNS_MAX as u64, "{kept}");
        rig.ledger.leave(consumer(1), &mut rig.out);
        rig.join(2, Flow::Prefetch(10));
        let handed = rig.hand_out();
        assert_eq!(handed[0], (2, span(1, 2, 2)), "and it goes on");
    }
}
