//! Goal: whatever dies when, what was acked is done with, what was not is delivered again, no oftener than its queue allows,
//! and what is dead is in the queue or in the dead letters, never in both or in neither.

use super::super::crash::crash_everywhere;
use super::*;

/// What the program was told before it died.
#[derive(Clone, Default)]
struct Told {
    is_made: bool,
    produced: BTreeSet<u64>,
    acked: BTreeSet<u64>,
    ack_begun: BTreeSet<u64>,
    refused: BTreeSet<u64>,
    /// The highest number under which a record was seen.
    seen: BTreeMap<u64, u32>,
}

type Ledger = Rc<RefCell<Told>>;

/// One batch whose records begin with these numbers.
fn padded(values: &[u64], padding: usize) -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    for value in values {
        let bytes = [&value.to_le_bytes()[..], &vec![7; padding]].concat();
        builder.push(TimestampMs(*value as i64), None, Some(&bytes), &[]);
    }
    builder.finish().to_vec()
}

async fn program(broker: Broker, told: Ledger, ack: AckLevel, padding: usize) {
    let (work, _) = broker.create_work(2, ack).await;
    let made = broker
        .shard(1)
        .create_queue(new_queue(short(), Some("dead")));
    made.await.expect("made");
    told.borrow_mut().is_made = true;
    for partition in 0..2 {
        let values: Vec<u64> = (0..6).map(|no| u64::from(partition) * 10 + no).collect();
        let batch = padded(&values, padding);
        let ticket = broker.shard(0).produce(key(&work, partition), ack, &batch);
        broker.shard(0).produced(ticket).await.expect("taken");
        told.borrow_mut().produced.extend(values);
    }
    for round in 0..2 {
        for consumer in broker.consumers() {
            step(&broker, &consumer, &told, round).await;
        }
    }
    broker.settle().await;
}

/// Of each partition: the first two are acked, the next is refused, the next given back, and the others are left alone.
async fn step(broker: &Broker, consumer: &Consumer<SimIo>, told: &Ledger, round: u64) {
    let reply = broker.poll(consumer, Vec::new(), 6).await.expect("serves");
    let values = numbers(&reply);
    for (value, deliveries) in &values {
        let mut told = told.borrow_mut();
        let before = told.seen.insert(*value, *deliveries);
        assert!(before.is_none_or(|before| before < *deliveries));
    }
    let mut answers = Vec::new();
    let (mut acks, mut refusals) = (Vec::new(), Vec::new());
    let spans = reply.deliveries.iter().flat_map(|one| {
        (one.span.from.0..one.span.until.0).map(|from| {
            let mut one = *one;
            (one.span.from, one.span.until) = (Offset(from), Offset(from + 1));
            one
        })
    });
    for (of, (value, _)) in spans.zip(&values) {
        let kind = match value % 10 {
            0 | 1 => AnswerKind::Ack,
            2 => AnswerKind::Nack(Nack::Reject),
            3 => AnswerKind::Nack(Nack::Retry),
            _ if round == 1 && value % 2 == 0 => AnswerKind::Ack,
            _ => continue,
        };
        match kind {
            AnswerKind::Ack => acks.push(*value),
            AnswerKind::Nack(Nack::Reject) => refusals.push(*value),
            _ => {}
        }
        answers.push(answer(&of, kind));
    }
    told.borrow_mut().ack_begun.extend(&acks);
    let reply = broker.poll(consumer, answers, 0).await.expect("serves");
    assert!(reply.answered.iter().all(|one| one.stale == 0));
    told.borrow_mut().acked.extend(acks);
    told.borrow_mut().refused.extend(refusals);
}

async fn check(broker: Broker, told: Told) {
    for report in &broker.reports {
        assert!(
            report.unknown.is_empty() && report.damaged.is_empty(),
            "{report:?}"
        );
        assert!(report.closed.is_empty(), "{report:?}");
    }
    if broker.shard(0).queues(Some(QUEUE)).is_err() {
        assert!(!told.is_made, "the queue is gone");
        return;
    }
    broker.settle().await;
    let delivered = broker.drain().await;
    let dead = broker.dead().await;
    for value in &told.acked {
        assert!(
            !delivered.contains_key(value),
            "{value} was acked and came again"
        );
        assert!(!dead.contains(value), "{value} was acked and is dead");
    }
    for value in &told.refused {
        assert!(
            dead.contains(value),
            "{value} was refused for good and lives"
        );
    }
    for (value, deliveries) in &delivered {
        assert!(!dead.contains(value), "{value} is in both");
        let seen = told.seen.get(value).copied().unwrap_or(0);
        assert!(
            *deliveries > seen && *deliveries <= 2,
            "{value}: {deliveries}, seen {seen}"
        );
    }
    for value in &told.produced {
        let is_somewhere =
            delivered.contains_key(value) || dead.contains(value) || told.ack_begun.contains(value);
        assert!(is_somewhere, "{value} is in neither");
    }
    for counts in broker.counts().await {
        assert_eq!(counts.totals.settled(), counts.visible.0 - counts.begin.0);
    }
    // It goes on: offsets that were lost are given out again, and what is new under them is delivered.
    let topics = broker
        .shard(0)
        .topics(Some(&[TopicRef::Name("work".to_owned())]));
    let work = topics[0].clone().expect("lives");
    for partition in 0..2 {
        let values: Vec<u64> = (100..109)
            .map(|no| no + u64::from(partition) * 10)
            .collect();
        let produced = broker.produce(1, key(&work, partition), AckLevel::Written, &values);
        produced.await.expect("taken");
    }
    let fresh: BTreeSet<u64> = broker.drain().await.into_keys().collect();
    let expected: BTreeSet<u64> = (100..109).chain(110..119).collect();
    assert_eq!(fresh, expected);
}

async fn at_written(broker: Broker, told: Ledger) {
    program(broker, told, AckLevel::Written, 0).await;
}

/// Its records go straight to their segment, which the power may take and leave what the journal says.
async fn at_written_and_large(broker: Broker, told: Ledger) {
    program(broker, told, AckLevel::Written, 16 << 10).await;
}

async fn at_synced(broker: Broker, told: Ledger) {
    program(broker, told, AckLevel::Synced, 0).await;
}

fn no_record_is_lost<F: Future<Output = ()> + 'static>(
    is_promised: bool,
    die: impl Fn(&crate::io::sim::SimDisk),
    program: fn(Broker, Ledger) -> F,
) {
    let crashes = crash_everywhere(die, program, |sim, mut told| {
        if !is_promised {
            // A topic at `written` may lose its end with the power, and what was said about it.
            told = Told {
                is_made: told.is_made,
                ..Told::default()
            };
        }
        run_well(sim, 2, move |broker| check(broker, told));
        run_well(sim, 3, |broker| async move {
            if broker.shard(0).queues(Some(QUEUE)).is_ok() {
                assert_eq!(broker.drain().await, BTreeMap::new(), "settled for good");
            }
        });
    });
    assert!(crashes > 60, "only {crashes} effects");
}

#[test]
fn no_record_is_lost_or_comes_twice_after_a_kill_at_any_effect() {
    no_record_is_lost(true, crate::io::sim::SimDisk::kill, at_written);
}

#[test]
fn no_record_is_lost_or_comes_twice_after_a_power_cut_at_any_effect() {
    no_record_is_lost(true, crate::io::sim::SimDisk::power_cut, at_synced);
}

/// Goal: where the end of a topic is lost with the power, so is what its queue knew of it: nothing new is taken for old.
#[test]
fn what_the_power_took_is_not_missed_and_what_comes_after_is_new() {
    no_record_is_lost(
        false,
        crate::io::sim::SimDisk::power_cut,
        at_written_and_large,
    );
}
