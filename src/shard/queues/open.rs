//! Ledgers come and go: read back at a start, made with their queue or a new partition, deleted with their queue.
//!
//! | found of a journal | then |
//! |---|---|
//! | records that fit together | replay them |
//! | nothing | the queue was being made, or the partition: it begins as if it were new |
//! | a gap that a repair has left | replay what there is; records that contradict it do not count |
//! | anything that cannot be read | keep it; the queue does not serve this partition until it is repaired |

use crate::base::planted::{Bug, planted};
use crate::base::{AckLevel, Offset, PartitionKey, PartitionNo, TopicSettings};
use crate::catalog::Queue as Entry;
use crate::engine::EngineError;
use crate::io::{Io, Signal};
use crate::log::SegmentSettings;
use crate::queue::{Ledger, Output, decode_all};
use crate::shard::core::Core;
use crate::shard::hosted::Hosted;
use crate::shard::queues::attend::attend;
use crate::shard::queues::part::Part;
use crate::shard::queues::{Queue, moment};
use crate::shard::replay::{Found, read_all};
use crate::shard::start::{StartReport, remedy};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;

/// What a start has read back, until appends may begin.
pub(in crate::shard) struct Opened<I: Io> {
    queue: Rc<Queue<I>>,
    parts: Vec<(PartitionNo, OpenedPart<I>)>,
}

/// A partition, the journal of its ledger, and that.
type OpenedPart<I> = (Rc<Hosted<I>>, Rc<Hosted<I>>, Ledger);

/// How the journals of ledgers are cut: they are short, and their beginning goes with each checkpoint.
fn segment_settings() -> SegmentSettings {
    SegmentSettings {
        segment_bytes: crate::base::limits::SEGMENT_BYTES_MIN,
        segment_ms: crate::base::limits::SEGMENT_MS_MAX,
    }
}

/// Nobody reads a journal but its start; what level each record must reach is said with the record.
fn host<I: Io>(log: crate::log::PartitionLog<I>) -> Rc<Hosted<I>> {
    let settings = TopicSettings {
        ack: AckLevel::Written,
        ..TopicSettings::default()
    };
    Hosted::new(log, settings)
}

impl<I: Io> Queue<I> {
    fn new(entry: &Entry) -> Rc<Self> {
        Rc::new(Self {
            id: entry.id,
            name: entry.name.clone(),
            dead_letters: entry.dead_letters,
            parts: RefCell::default(),
            takers: RefCell::default(),
            hungry: RefCell::default(),
            news: Signal::new(),
            is_closed: Cell::new(false),
        })
    }
}

/// The partitions of this core that a queue has a ledger for, from number `first` on.
fn owned<I: Io>(core: &Core<I>, entry: &Entry, first: u32) -> Vec<PartitionKey> {
    let catalog = core.catalog.borrow();
    let topic = catalog.by_id(entry.topic);
    let partitions = topic.map_or(0, |topic| topic.partitions);
    let keys = (first..partitions).map(|no| PartitionKey::new(entry.topic, PartitionNo(no)));
    keys.filter(|key| core.owns(*key)).collect()
}

fn journal_key(entry: &Entry, no: PartitionNo) -> PartitionKey {
    PartitionKey::new(entry.id, no)
}

/// Reads back the ledgers of this core. `found` is what recovery found for this core, with its damage. Nothing is appended
/// before [`serve`].
pub(in crate::shard) async fn open<I: Io>(
    core: &Core<I>,
    found: &BTreeMap<PartitionKey, Option<String>>,
    data: &Path,
    report: &mut StartReport,
) -> Vec<Opened<I>> {
    let entries: Vec<Entry> = core.catalog.borrow().queues().cloned().collect();
    let mut all = Vec::new();
    for entry in entries {
        let queue = Queue::new(&entry);
        let mut parts = Vec::new();
        for key in owned(core, &entry, 0) {
            let journal = journal_key(&entry, key.partition);
            match open_one(core, &entry, key, found.get(&journal)).await {
                Ok(opened) => parts.push((key.partition, opened)),
                Err(EngineError::Damaged(damage)) => {
                    let remedy = remedy(data, &journal.to_string());
                    let damage = format!("{damage}; {remedy}");
                    report.damaged.push((journal, damage.clone()));
                    let error = EngineError::Damaged(damage);
                    queue.parts.borrow_mut().insert(key.partition, Err(error));
                }
                Err(error) => {
                    queue.parts.borrow_mut().insert(key.partition, Err(error));
                }
            }
        }
        all.push(Opened { queue, parts });
    }
    all
}

async fn open_one<I: Io>(
    core: &Core<I>,
    entry: &Entry,
    key: PartitionKey,
    found: Option<&Option<String>>,
) -> Result<OpenedPart<I>, EngineError> {
    if let Some(Some(damage)) = found {
        return Err(EngineError::Damaged(damage.clone()));
    }
    let source = core.find(key)?;
    let journal = journal_key(entry, key.partition);
    let log = core.log.open(journal, segment_settings()).await;
    let log = log.map_err(|error| EngineError::StorageFailed(error.to_string()))?;
    let begin = begin_of(entry, &source);
    let mut ledger = Ledger::new(entry.settings.clone(), begin, &moment(&core.io));
    let replayed = replay(&core.io, &log, &mut ledger).await;
    replayed.map_err(EngineError::Damaged)?;
    if !planted(Bug::KeepLostOffsets) {
        ledger.lost_from(source.frontiers().appended);
    }
    Ok((source, host(log), ledger))
}

/// Where a ledger that has nothing stored begins.
fn begin_of<I: Io>(entry: &Entry, source: &Hosted<I>) -> Offset {
    match entry.from_end {
        true => source.high_watermark(),
        false => source.frontiers().start,
    }
}

async fn replay<I: Io>(
    io: &I,
    log: &crate::log::PartitionLog<I>,
    ledger: &mut Ledger,
) -> Result<(), String> {
    let mut has_lost = false;
    read_all(io, log, |found| {
        let Found::Record(_, value) = found else {
            has_lost = true;
            return Ok(());
        };
        let value = value.ok_or("a record without value")?;
        let records = decode_all(value).map_err(|error| error.to_string())?;
        for record in records {
            let record = record.map_err(|error| error.to_string())?;
            match ledger.replay(record) {
                Err(error) if !has_lost => return Err(error.to_string()),
                _ => {}
            }
        }
        Ok(())
    })
    .await
}

/// Appends may begin: every ledger takes part from here on. Its checkpoint is on stable storage when this returns; what
/// lay before it goes by itself.
pub(in crate::shard) async fn serve<I: Io>(core: &Rc<Core<I>>, opened: Vec<Opened<I>>) {
    let mut begun = Vec::new();
    for Opened { queue, parts } in opened {
        for (no, opened) in parts {
            let part = begin(core, no, opened);
            begun.push((Rc::clone(&queue), no, part));
        }
        host_queue(core, &queue);
    }
    // All are in the log before the first is waited for: they share their writes.
    for (queue, no, part) in begun {
        let part = match part {
            Ok((part, from, until)) => part.synced(until).await.map(|()| (part, from)),
            Err(error) => Err(error),
        };
        let part = part.map(|(part, from)| {
            let trimmed = Rc::clone(&part);
            core.io.spawn(async move { trimmed.trim(from).await });
            part
        });
        queue.parts.borrow_mut().insert(no, part);
        queue.news.notify();
    }
}

/// A ledger takes part: appends its checkpoint.
fn begin<I: Io>(
    core: &Core<I>,
    no: PartitionNo,
    (source, journal, mut ledger): OpenedPart<I>,
) -> Result<(Rc<Part<I>>, Offset, Offset), EngineError> {
    let mut out = Output::default();
    ledger.recovered(&moment(&core.io), &mut out);
    let part = Part::new(no, source, journal, ledger);
    let (from, until) = part.append_as_checkpoint(core, &out.records)?;
    part.doom(&mut out.doomed);
    Ok((part, from, until))
}

fn host_queue<I: Io>(core: &Rc<Core<I>>, queue: &Rc<Queue<I>>) {
    let mut all = core.queues.all.borrow_mut();
    all.insert(queue.id, Rc::clone(queue));
    core.io.spawn(attend(Rc::clone(core), Rc::clone(queue)));
}

/// A queue was made: its ledgers on this core are durable when this returns. Returns what went wrong.
pub(in crate::shard) async fn create<I: Io>(core: &Rc<Core<I>>, entry: &Entry) -> Vec<String> {
    let queue = Queue::new(entry);
    let failures = make_parts(core, &queue, entry, 0).await;
    host_queue(core, &queue);
    failures
}

/// A topic has more partitions: its queues have them, too.
pub(in crate::shard) async fn add_partitions<I: Io>(
    core: &Rc<Core<I>>,
    topic: crate::base::TopicId,
    first: u32,
) -> Vec<String> {
    let entries: Vec<Entry> = core.catalog.borrow().queues_on(topic).cloned().collect();
    let mut failures = Vec::new();
    for entry in entries {
        let queue = core.queues.all.borrow().get(&entry.id).map(Rc::clone);
        let queue = queue.expect("every queue of the catalog is hosted");
        failures.extend(make_parts(core, &queue, &entry, first).await);
        queue.news.notify();
    }
    failures
}

async fn make_parts<I: Io>(
    core: &Rc<Core<I>>,
    queue: &Rc<Queue<I>>,
    entry: &Entry,
    first: u32,
) -> Vec<String> {
    let mut failures = Vec::new();
    for key in owned(core, entry, first) {
        let made = make_part(core, entry, key).await;
        if let Err(error) = &made {
            failures.push(format!(
                "queue {}, partition {}: {error}",
                entry.name, key.partition
            ));
        }
        let part = made.as_ref().map(Rc::clone).ok();
        queue.parts.borrow_mut().insert(key.partition, made);
        let takers: Vec<_> = queue.takers.borrow().values().map(Rc::clone).collect();
        for (taker, part) in takers.iter().zip(part.iter().cycle()) {
            if let Err(error) = queue.admit(core, part, taker) {
                failures.push(error.to_string());
            }
        }
    }
    failures
}

async fn make_part<I: Io>(
    core: &Core<I>,
    entry: &Entry,
    key: PartitionKey,
) -> Result<Rc<Part<I>>, EngineError> {
    let opened = open_one(core, entry, key, None).await?;
    let (part, _, until) = begin(core, key.partition, opened)?;
    part.synced(until).await?;
    Ok(part)
}

/// A queue was deleted: whoever waits on it is told, and its journals on this core go. Returns what went wrong.
pub(in crate::shard) async fn close<I: Io>(core: &Core<I>, entry: &Entry) -> Vec<String> {
    let queue = core.queues.all.borrow_mut().remove(&entry.id);
    if let Some(queue) = queue {
        queue.is_closed.set(true);
        queue.news.notify();
        for part in queue.serving() {
            part.journal.mark_deleted();
        }
        for taker in queue.takers.borrow().values() {
            taker.arrived.notify();
        }
    }
    let mut failures = Vec::new();
    for key in owned(core, entry, 0) {
        let journal = journal_key(entry, key.partition);
        if let Err(error) = core.log.delete(journal).await {
            failures.push(format!("queue {}, {journal}: {error}", entry.name));
        }
    }
    failures
}
