//! A client that looks at topics, makes them, trims them and deletes them; and what it expects of the catalog: what was
//! made is there until somebody asks for its end, what was deleted never comes back, and nothing is there that nobody
//! asked for.

use crate::history::Event;
use crate::world::{Existence, Topic, World, pause};
use millrace::base::prng::Prng;
use millrace::base::{AckLevel, Offset};
use millrace::client::driver::{Receiver, Sender};
use millrace::client::{NewTopic, Refusal, Reply, TopicInfo, TopicRef, TopicSettings};
use millrace::io::sim::SimIo;
use millrace::protocol::native::{ErrorCode, MetadataQuery, OffsetEntry, OffsetQuery};
use std::rc::Rc;
use std::time::Duration;

/// Topics that a seed has at most.
const TOPICS_MAX: usize = 5;

/// Makes, trims and deletes topics, `changes` times.
pub(crate) async fn run(io: SimIo, world: Rc<World>, mut dice: Prng, changes: u64) {
    for _ in 0..changes {
        pause(&io, &mut dice, Duration::from_millis(15)).await;
        let core = dice.below(u64::from(world.cores.get())) as u16;
        let Some((mut sender, mut receiver)) = world.connect(&io, core, 1).await else {
            continue;
        };
        if dice.chance(1, 2) {
            trim(&world, (&mut sender, &mut receiver), &mut dice).await;
            continue;
        }
        let doomed: Vec<usize> = {
            let topics = world.topics.borrow();
            let lives = |topic: &usize| topics[*topic].existence == Existence::Lives;
            (0..topics.len()).filter(lives).collect()
        };
        if world.topics.borrow().len() >= TOPICS_MAX || (doomed.len() > 1 && dice.chance(1, 2)) {
            if let Some(topic) = doomed.get(dice.below(doomed.len().max(1) as u64) as usize) {
                delete(&world, (&mut sender, &mut receiver), *topic).await;
            }
        } else {
            create(&world, (&mut sender, &mut receiver), &mut dice).await;
        }
    }
}

type Halves<'a> = (&'a mut Sender<SimIo>, &'a mut Receiver<SimIo>);

/// Makes a topic; whether it was answered.
pub(crate) async fn create(world: &World, (sender, receiver): Halves<'_>, dice: &mut Prng) -> bool {
    let ack = [AckLevel::Written, AckLevel::Synced][dice.below(2) as usize];
    let new = NewTopic {
        // Names come back: what was under one before must not.
        name: format!("t{}", world.topics.borrow().len() % (TOPICS_MAX - 2)),
        partitions: 1 + dice.below(3) as u32,
        settings: TopicSettings {
            ack,
            segment_bytes: 1 << 20,
            segment_ms: [1_000, 60_000][dice.below(2) as usize],
            ..TopicSettings::default()
        },
    };
    let topic = {
        let mut topics = world.topics.borrow_mut();
        topics.push(Topic::asked(&new));
        topics.len() - 1
    };
    let asked = sender.ask(&[], |outbox, ledger| outbox.create_topic(ledger, &new));
    if asked.await.is_err() {
        return false;
    }
    match receiver.next().await {
        Ok((_, Reply::TopicCreated(info))) => {
            world.count("topics made", 1);
            world.identify(topic, &info);
            world.topics.borrow_mut()[topic].existence = Existence::Lives;
            world.open(topic);
            true
        }
        Ok((_, Reply::Refused(refusal))) => {
            not_created(world, topic, &new, &refusal);
            false
        }
        Ok((_, other)) => {
            world.problem(format!("a create was answered with {other:?}"));
            false
        }
        Err(_) => false,
    }
}

fn not_created(world: &World, topic: usize, new: &NewTopic, refusal: &Refusal) {
    let mut topics = world.topics.borrow_mut();
    let taken = topics[..topic]
        .iter()
        .any(|other| other.name == new.name && other.existence != Existence::Gone);
    let nothing_done = match refusal.code {
        ErrorCode::TopicExists if taken => true,
        ErrorCode::Stopping | ErrorCode::StorageFailed => false,
        ErrorCode::DiskFull => true,
        _ => {
            drop(topics);
            return world.problem(format!("making topic {} was refused: {refusal}", new.name));
        }
    };
    if nothing_done {
        topics[topic].existence = Existence::Gone;
    }
}

/// Gives up the beginning of a place: below an offset that some reader has come to, or all that can be read.
async fn trim(world: &World, (sender, receiver): Halves<'_>, dice: &mut Prng) {
    let places = world.open_places();
    let Some(place) = places.get(dice.below(places.len().max(1) as u64) as usize) else {
        return;
    };
    let read = {
        let cursors = world.cursors.borrow();
        let of_place = cursors.iter().filter(|((_, at), _)| at == place);
        of_place.map(|(_, cursor)| *cursor).max().unwrap_or(0)
    };
    let before = (!dice.chance(1, 4)).then(|| Offset(dice.below(read + 1)));
    world.trimming(*place, before.map_or(u64::MAX, |before| before.0));
    let key = world.key(*place);
    let asked = sender.ask(&[], |outbox, ledger| outbox.trim(ledger, key, before));
    if asked.await.is_err() {
        return;
    }
    match receiver.next().await {
        Ok((_, Reply::PartitionTrimmed(Offset(start)))) => {
            world.count("trims", 1);
            world.trimmed(*place, start);
        }
        Ok((_, Reply::Refused(refusal))) => match refusal.code {
            ErrorCode::Stopping | ErrorCode::StorageFailed => {}
            ErrorCode::UnknownTopic if world.is_deleting(*place) => {}
            ErrorCode::Damaged if world.may_lie() => {}
            _ => world.problem(format!("trimming place {place} was refused: {refusal}")),
        },
        Ok((_, other)) => world.problem(format!("a trim was answered with {other:?}")),
        Err(error) => world.judge(&error),
    }
}

async fn delete(world: &World, (sender, receiver): Halves<'_>, topic: usize) {
    let id = world.topics.borrow()[topic].id;
    let which = TopicRef::Id(id.expect("a topic that lives has one"));
    world.may_go(topic);
    let asked = sender.ask(&[], |outbox, ledger| outbox.delete_topic(ledger, &which));
    if asked.await.is_err() {
        return;
    }
    match receiver.next().await {
        Ok((_, Reply::TopicDeleted)) => {
            world.count("topics deleted", 1);
            world.topics.borrow_mut()[topic].existence = Existence::Gone;
        }
        Ok((_, Reply::Refused(refusal))) => match refusal.code {
            ErrorCode::Stopping | ErrorCode::StorageFailed | ErrorCode::DiskFull => {}
            _ => world.problem(format!("deleting topic {topic} was refused: {refusal}")),
        },
        Ok((_, other)) => world.problem(format!("a delete was answered with {other:?}")),
        Err(_) => {}
    }
}

/// The first look at a broker that has just started: which topics there are, and how far each partition goes. False: the
/// connection did not last.
pub(crate) async fn look(world: &World, (sender, receiver): Halves<'_>) -> bool {
    let all = MetadataQuery::All { after: None };
    let asked = sender.ask(&[], |outbox, ledger| outbox.metadata(ledger, &all));
    if asked.await.is_err() {
        return false;
    }
    let listed: Vec<TopicInfo> = match receiver.next().await {
        Ok((_, Reply::Metadata(page))) => page.topics.into_iter().flatten().collect(),
        Ok((_, other)) => {
            world.problem(format!("a listing was answered with {other:?}"));
            return false;
        }
        Err(_) => return false,
    };
    compare(world, &listed);
    for info in &listed {
        if !ends(world, (&mut *sender, &mut *receiver), info).await {
            return false;
        }
    }
    true
}

/// Holds a listing of all topics against what was asked for.
fn compare(world: &World, listed: &[TopicInfo]) {
    for info in listed {
        let known = |topic: &Topic| topic.id == Some(info.id);
        let found = world.topics.borrow().iter().position(known);
        let asked = || {
            let topics = world.topics.borrow();
            let fits = |topic: &Topic| topic.could_be(info);
            topics.iter().position(fits)
        };
        match found.or_else(asked) {
            None => world.problem(format!(
                "nobody asked for topic {} ({})",
                info.name, info.id
            )),
            Some(topic) => {
                world.identify(topic, info);
                let state = &mut world.topics.borrow_mut()[topic];
                let is_back = state.existence == Existence::Gone;
                if is_back && world.lied.get() {
                    // The catalog's last record, of its deletion, may go as well. It is there until somebody deletes it again.
                    world.count("topics back by a lie", 1);
                    state.existence = Existence::Unknown;
                } else if is_back {
                    world.problem(format!("topic {} is back: {}", info.name, info.id));
                } else if !state.deleting {
                    state.existence = Existence::Lives;
                }
            }
        }
    }
    for topic in world.topics.borrow_mut().iter_mut() {
        let is_listed = listed.iter().any(|info| Some(info.id) == topic.id);
        match topic.existence {
            // The last records of the catalog may go as those of any partition do; their topics go with them.
            Existence::Lives if !is_listed && world.lied.get() => {
                world.count("topics lost to a lie", 1);
                topic.existence = Existence::Gone;
                topic.deleting = true;
                for place in &topic.places {
                    world.note(Event::Deleting { place: *place });
                }
            }
            Existence::Lives if !is_listed => {
                world.problem(format!("topic {} is lost: {:?}", topic.name, topic.id));
            }
            // Nobody who asked for it lives any more: it will not come.
            Existence::Unknown if !is_listed => topic.existence = Existence::Gone,
            _ => {}
        }
    }
}

/// Asks where each partition of a topic begins and ends.
async fn ends(world: &World, (sender, receiver): Halves<'_>, info: &TopicInfo) -> bool {
    let places = {
        let topics = world.topics.borrow();
        let topic = topics.iter().find(|topic| topic.id == Some(info.id));
        topic.map(|topic| topic.places.clone()).unwrap_or_default()
    };
    let entry = |place: &u32| {
        let key = world.key(*place);
        [OffsetQuery::Earliest, OffsetQuery::Latest].map(|query| OffsetEntry { key, query })
    };
    let entries: Vec<OffsetEntry> = places.iter().flat_map(entry).collect();
    let asked = sender.ask(&[], |outbox, ledger| outbox.list_offsets(ledger, &entries));
    if entries.is_empty() || asked.await.is_err() {
        return entries.is_empty();
    }
    match receiver.next().await {
        Ok((_, Reply::OffsetsListed(listed))) => {
            let topic = places.first().map(|place| world.topic_of(*place));
            if let (Some(topic), true) = (topic, listed.entries().all(|answer| answer.is_ok())) {
                world.topics.borrow_mut()[topic].was_open = true;
            }
            let answers: Vec<_> = listed.entries().collect();
            for (place, answer) in places.iter().zip(answers.chunks_exact(2)) {
                match (&answer[0], &answer[1]) {
                    (Ok((Offset(start), _)), Ok((Offset(end), _))) => {
                        world.starts(*place, *start);
                        world.found(*place, *end);
                    }
                    (Err(refusal), _) | (_, Err(refusal)) => {
                        let allowed = match refusal.code {
                            ErrorCode::Damaged => world.may_lie(),
                            ErrorCode::StorageFailed => world.has_failed(),
                            _ => false,
                        };
                        if !allowed {
                            world.problem(format!("place {place} does not serve: {refusal}"));
                        }
                    }
                }
            }
            true
        }
        Ok((_, other)) => {
            world.problem(format!("a query of offsets was answered with {other:?}"));
            false
        }
        Err(_) => false,
    }
}

impl Topic {
    fn asked(new: &NewTopic) -> Self {
        Self {
            name: new.name.clone(),
            partitions: new.partitions,
            settings: new.settings,
            id: None,
            existence: Existence::Unknown,
            deleting: false,
            was_open: false,
            places: Vec::new(),
        }
    }

    /// Whether a listed topic may be this one, of whose making nothing was heard.
    fn could_be(&self, info: &TopicInfo) -> bool {
        self.id.is_none()
            && self.existence == Existence::Unknown
            && (&self.name, self.partitions, self.settings)
                == (&info.name, info.partitions, info.settings)
    }
}
