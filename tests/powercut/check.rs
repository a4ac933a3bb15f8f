//! What a client reads after a cut, and whether that is what it must be.

use crate::load::{Fate, Known, Lane, Moment, Name, Place, Topic};
use millrace::base::{AckLevel, Offset};
use millrace::client::blocking::{ConsumerOptions, StartAt};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long a topic may take to read.
const PATIENCE: Duration = Duration::from_secs(60);

/// By topic and partition: every record, in order.
pub(crate) type Content = BTreeMap<String, Vec<Vec<Name>>>;

/// By topic id: its name.
pub(crate) type Ids = BTreeMap<String, String>;

/// Where each life of the broker was cut, in the log of its disk.
pub(crate) type Cuts = Vec<usize>;

/// Whether it was before its life was cut.
fn was(moment: Moment, cuts: &Cuts) -> bool {
    cuts.get(moment.life).is_none_or(|cut| moment.at <= *cut)
}

/// Reads every partition of every topic from offset 0. An error is a failure of the state: what is not sound is
/// refused by the broker.
pub(crate) fn read(place: &Place) -> Result<(Content, Ids), String> {
    let mut client = place.client()?;
    let (topics, _) = client
        .topics()
        .map_err(|error| format!("topics: {error}"))?;
    let (mut content, mut ids) = (Content::new(), Ids::new());
    for topic in topics {
        ids.insert(topic.id.to_string(), topic.name.clone());
        let options = ConsumerOptions {
            start: StartAt::Offset(Offset(0)),
            wait_max: Duration::from_millis(20),
            ..ConsumerOptions::default()
        };
        let mut partitions = vec![Vec::new(); topic.partitions as usize];
        let consumer = client.consumer(&topic.name, None, options);
        let mut consumer = consumer.map_err(|error| format!("{}: {error}", topic.name))?;
        let until = Instant::now() + PATIENCE;
        while !consumer.is_caught_up() {
            if Instant::now() > until {
                return Err(format!("{}: it cannot be read to its end", topic.name));
            }
            let records = consumer.poll(Duration::from_secs(1));
            for record in records.map_err(|error| format!("{}: {error}", topic.name))? {
                let record = record.map_err(|error| format!("{}: {error}", topic.name))?;
                let at = (&topic.name, record.partition, record.offset);
                let partition = &mut partitions[record.partition as usize];
                if record.offset.0 != partition.len() as u64 {
                    return Err(format!("{at:?}: a gap, {} was next", partition.len()));
                }
                let name = Name::of(record.value.unwrap_or_default());
                partition.push(name.ok_or_else(|| format!("{at:?}: nobody sent these bytes"))?);
            }
        }
        content.insert(topic.name, partitions);
    }
    Ok((content, ids))
}

/// What a state was held against.
#[derive(Default, Debug)]
pub(crate) struct Judged {
    /// Records that had to be there, and were.
    pub(crate) acked: u64,
    /// Records that were there and might have been lost.
    pub(crate) others: u64,
}

/// Holds what was read after the last of `cuts` against what clients know.
pub(crate) fn judge(known: &Known, cuts: &Cuts, content: &Content) -> Result<Judged, String> {
    let mut judged = Judged::default();
    let found = topics(known, cuts, content)?;
    let lanes: BTreeMap<(u32, u32, u32), &Lane> = known
        .lanes
        .iter()
        .map(|lane| ((lane.topic, lane.partition, lane.producer), lane))
        .collect();
    for (name, partitions) in content {
        for (number, records) in partitions.iter().enumerate() {
            sent_once(&lanes, number as u32, records).map_err(|why| format!("{name}/{why}"))?;
            judged.others += records.len() as u64;
        }
    }
    for lane in &known.lanes {
        if lane.level == AckLevel::Synced && found.contains(&lane.topic) {
            judged.acked += acked_is_there(known, cuts, content, lane)?;
        }
    }
    judged.others -= judged.acked;
    Ok(judged)
}

/// It was made before the cut, and nobody had asked to delete it.
fn must_be(topic: &Topic, cuts: &Cuts) -> bool {
    let is_before = |moment: Option<Moment>| moment.is_some_and(|moment| was(moment, cuts));
    is_before(topic.made) && !is_before(topic.removal_asked)
}

/// A partition whose directory was missing may be of a topic that nobody heard of yet, and of no other.
pub(crate) fn made_empty(
    errors: &str,
    ids: &Ids,
    known: &Known,
    cuts: &Cuts,
) -> Result<(), String> {
    for line in errors.lines().filter(|line| line.contains("made empty")) {
        let id = line.split([' ', '/']).nth(1).unwrap_or_default();
        let mut makings = known.topics.iter();
        let is_owed = makings.any(|topic| ids.get(id) == Some(&topic.name) && must_be(topic, cuts));
        if is_owed {
            return Err(format!("{line} (topic {}), though it was acked", ids[id]));
        }
    }
    Ok(())
}

/// The makings that a topic of this name may come from.
pub(crate) fn possible(known: &Known, cuts: &Cuts, name: &str) -> Vec<u32> {
    let is_gone = |topic: &Topic| topic.removed.is_some_and(|moment| was(moment, cuts));
    (0..known.topics.len() as u32)
        .filter(|number| {
            let topic = &known.topics[*number as usize];
            topic.name == name && was(topic.asked, cuts) && !is_gone(topic)
        })
        .collect()
}

/// Which makings of topics must be there. Fails if one is not, or if there is one that cannot be.
fn topics(known: &Known, cuts: &Cuts, content: &Content) -> Result<Vec<u32>, String> {
    let mut must = Vec::new();
    for (number, topic) in known.topics.iter().enumerate() {
        if must_be(topic, cuts) {
            if !content.contains_key(&topic.name) {
                return Err(format!("lost: topic {} (making {number})", topic.name));
            }
            must.push(number as u32);
        }
    }
    for (name, partitions) in content {
        let possible = possible(known, cuts, name);
        let Some(last) = possible.last() else {
            return Err(format!(
                "topic {name} is there, and was deleted or never made"
            ));
        };
        let stray = partitions.iter().flatten();
        let stray = stray
            .clone()
            .find(|record| !possible.contains(&record.topic));
        if let Some(stray) = stray {
            return Err(format!("{name}: {stray:?} is of another making"));
        }
        if possible.len() == 1 && known.topics[*last as usize].partitions != partitions.len() as u32
        {
            return Err(format!("{name} has {} partitions", partitions.len()));
        }
    }
    Ok(must)
}

/// Each record was sent to this partition, in its producer's order, and is there at most once; what was acked is
/// where it was acked, what failed is not there.
fn sent_once(
    lanes: &BTreeMap<(u32, u32, u32), &Lane>,
    partition: u32,
    records: &[Name],
) -> Result<(), String> {
    let mut nexts: BTreeMap<u32, u32> = BTreeMap::new();
    for (offset, name) in records.iter().enumerate() {
        let at = format!("{partition}@{offset}: {name:?}");
        let lane = lanes.get(&(name.topic, partition, name.producer));
        let fate = lane.and_then(|lane| lane.fates.get(name.sequence as usize));
        match fate {
            None => return Err(format!("{at} was not sent here")),
            Some(Fate::Acked(acked, _)) if acked.0 != offset as u64 => {
                return Err(format!("{at} was acked at {acked}"));
            }
            Some(Fate::Failed) => return Err(format!("{at} is stored although it failed")),
            Some(Fate::Acked(..) | Fate::Unknown) => {}
            Some(Fate::Open) => return Err(format!("{at}: nothing was told about it")),
        }
        let next = nexts.entry(name.producer).or_default();
        if name.sequence < *next {
            return Err(format!("{at} is there twice, or out of order"));
        }
        *next = name.sequence + 1;
    }
    Ok(())
}

/// Everything of this lane that was acked before the cut is there, where it was acked.
fn acked_is_there(
    known: &Known,
    cuts: &Cuts,
    content: &Content,
    lane: &Lane,
) -> Result<u64, String> {
    let topic = &known.topics[lane.topic as usize].name;
    let records = &content[topic][lane.partition as usize];
    let mut there = 0;
    for (sequence, fate) in lane.fates.iter().enumerate() {
        let Fate::Acked(offset, moment) = fate else {
            continue;
        };
        if !was(*moment, cuts) {
            continue;
        }
        let record = records.get(offset.0 as usize);
        let is_it = record.is_some_and(|record| {
            let of = (record.topic, record.producer, record.sequence as usize);
            of == (lane.topic, lane.producer, sequence)
        });
        if !is_it {
            let (partition, end) = (lane.partition, records.len());
            return Err(format!(
                "lost: {topic}/{partition}@{offset}, acked at {moment:?} before the cut at {cuts:?}; there is \
                 {record:?}, the end is {end}"
            ));
        }
        there += 1;
    }
    Ok(there)
}

/// What one life of the broker has shown its readers, the next ones show too.
pub(crate) fn still_there(seen: &Content, content: &Content) -> Result<(), String> {
    for (topic, partitions) in seen {
        let now = content
            .get(topic)
            .ok_or_else(|| format!("lost: topic {topic}, which had been read"))?;
        for (number, (before, now)) in partitions.iter().zip(now).enumerate() {
            if !now.starts_with(before) {
                let (before, now) = (before.len(), now.len());
                return Err(format!(
                    "lost: {topic}/{number} held {before} records when it was read, and not the same now: {now}"
                ));
            }
        }
    }
    Ok(())
}
