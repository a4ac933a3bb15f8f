//! Goal: whatever dies while topics are made, changed and deleted, the next start finds each topic whole or not at all, and
//! what was promised. Method: the same program with the crash one effect later each time, by kill and by power cut,
//! until it ends by itself.

use super::*;
use crate::engine::{AlterTopic, DeleteTopic, TopicChange, TopicRef};

/// What the program was told before it died.
#[derive(Clone, Default)]
struct Told {
    made: Vec<String>,
    deleted: Vec<String>,
    begun: Vec<String>,
    altered: Vec<String>,
    produced: u64,
}

/// The one change of the program.
const WIDER: TopicChange = TopicChange {
    partitions: Some(3),
    segment_ms: Some(5_000),
    ..TopicChange::NONE
};

type Ledger = Rc<RefCell<Told>>;

async fn program(broker: Broker, ledger: Ledger) {
    for round in 0..6 {
        let name = format!("t{round}");
        // Topics of one partition: some of them have nothing on core 0, whose journal then promises the catalog alone.
        let partitions = if round < 2 { 2 } else { 1 };
        let made =
            broker
                .shard(round % 2)
                .create_topic(new_topic(&name, partitions, AckLevel::Written));
        let topic = made.await.expect("made");
        ledger.borrow_mut().made.push(name.clone());
        if round == 0 {
            let values: Vec<u64> = (0..50).collect();
            let produced = broker.produce(1, key(&topic, 0), AckLevel::Synced, &values);
            produced.await.expect("taken");
            ledger.borrow_mut().produced = 50;
        }
        if round == 2 {
            let change = AlterTopic {
                topic: TopicRef::Name(name.clone()),
                change: WIDER,
                is_trial: false,
            };
            let altered = broker.shard(1).alter_topic(change).await;
            assert_eq!(altered.expect("altered").partitions, 3);
            ledger.borrow_mut().altered.push(name.clone());
        }
        if round == 1 {
            ledger.borrow_mut().begun.push(name.clone());
            let topic = TopicRef::Name(name.clone());
            let deleted = broker.shard(0).delete_topic(DeleteTopic { topic }).await;
            deleted.expect("deleted");
            ledger.borrow_mut().deleted.push(name);
        }
    }
}

async fn check(broker: Broker, told: Told) {
    let names: Vec<String> = broker
        .shard(1)
        .topics(None)
        .into_iter()
        .map(|topic| topic.expect("listed").name)
        .collect();
    for name in &told.made {
        let may_be_gone = told.begun.contains(name);
        assert!(names.contains(name) || may_be_gone, "{name} of {names:?}");
    }
    for name in &told.deleted {
        assert!(!names.contains(name), "{name} came back");
    }
    for name in &names {
        let topic = broker
            .shard(1)
            .topics(Some(&[TopicRef::Name(name.clone())]));
        let topic = topic[0].clone().expect("listed");
        let is_altered = topic.partitions == 3;
        assert!(
            is_altered || !told.altered.contains(name),
            "{name} was changed back"
        );
        let segment_ms = if is_altered { 5_000 } else { 60_000 };
        assert_eq!(
            topic.settings.segment_ms, segment_ms,
            "all of a change or none"
        );
        if name == "t0" {
            let stored = broker.read_all(1, key(&topic, 0)).await.len() as u64;
            assert!(stored == 50 || (stored == 0 && told.produced == 0));
        }
        for partition in 0..topic.partitions {
            let produced = broker.produce(0, key(&topic, partition), AckLevel::Synced, &[7]);
            produced.await.expect("every partition of a topic serves");
        }
    }
    for report in &broker.reports {
        assert!(
            report.unknown.is_empty() && report.damaged.is_empty(),
            "{report:?}"
        );
        assert!(report.closed.is_empty(), "{report:?}");
        // Made empty at start: only partitions of a topic whose making was not answered.
        assert!(report.made.len() <= 2, "{report:?}");
    }
}

/// Runs `program` on two cores with the crash one effect later each time, until it ends by itself; after each, `look` gets
/// the machine and what the program had noted. How many crashes there were.
pub(super) fn crash_everywhere<L, F>(
    die: impl Fn(&crate::io::sim::SimDisk),
    program: fn(Broker, Rc<RefCell<L>>) -> F,
    look: impl Fn(&Sim, L),
) -> u32
where
    L: Clone + Default + 'static,
    F: Future<Output = ()> + 'static,
{
    for effect in 0.. {
        let sim = Sim::new(3);
        let disk = sim.disk();
        let ledger = Rc::new(RefCell::new(L::default()));
        let (kept, plan) = (Rc::clone(&ledger), disk.clone());
        let crash = move || plan.crash_at(effect);
        let ended = run_after(&sim, 2, crash, move |broker| program(broker, kept));
        die(&disk);
        if !ended.is_crashed() {
            return effect as u32;
        }
        look(&sim, ledger.borrow().clone());
    }
    unreachable!("the loop ends when the program does")
}

fn topics_are_whole(die: impl Fn(&crate::io::sim::SimDisk)) {
    let crashes = crash_everywhere(die, program, |sim, told| {
        run_well(sim, 2, move |broker| check(broker, told));
        run_well(sim, 3, |broker| async move {
            assert!(
                broker
                    .reports
                    .iter()
                    .all(|report| *report == StartReport::default())
            );
        });
    });
    assert!(crashes > 50, "only {crashes} effects");
}

#[test]
fn topics_are_whole_after_a_kill_at_any_effect() {
    topics_are_whole(crate::io::sim::SimDisk::kill);
}

#[test]
fn topics_are_whole_after_a_power_cut_at_any_effect() {
    topics_are_whole(crate::io::sim::SimDisk::power_cut);
}
