//! Starting all cores together.
//!
//! ```text
//!  recover (once, before any core) ──shares──> every core: Log::start
//!  core 0: open and replay the catalog ──Topics──> every core: open its partitions, remove what was deleted
//!  every core ──Opened──> core 0: retire the old journals ──Serve──> every core serves
//! ```
//! No append is taken anywhere before the old journals are gone, and they go only when every core has made its own
//! start durable: so a crash at any point of this finds the same records again. One core that cannot start keeps all
//! from starting: a broker that serves a part of its partitions by accident would look like one that lost the others.

use crate::base::{CoreId, PartitionKey};
use crate::catalog::{CATALOG_KEY, Catalog};
use crate::engine::CoreAddress;
use crate::io::{Io, Signal};
use crate::log::{
    Log, LogError, Recovered, RecoveredPartition, RetiredJournals, SegmentSettings, retire_journals,
};
use crate::shard::Shard;
use crate::shard::core::Core;
use crate::shard::groups::{self, Groups};
use crate::shard::hosted::{Hosted, Seat};
use crate::shard::message::{FIRST_CORE, Letter, Life, Message};
use crate::shard::post::Post;
use crate::shard::producer_ids::ProducerIds;
use crate::shard::queues::{self, Queues};
use crate::shard::{forwarded, numbered, replay, retention, topics};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;
use thiserror::Error;

/// What a core is started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many cores run.
    pub cores: u16,
    /// Where this core listens, as clients should dial it. Its listener must be bound already.
    pub address: CoreAddress,
    /// Of its log.
    pub log: crate::log::Options,
    /// How long a producer that numbers its batches is remembered while it is silent.
    pub producer_expiration: Duration,
}

/// What recovery found, as far as one core needs it. Plain data: made before any core runs, sent to each.
#[derive(Debug)]
pub struct Share {
    partitions: Vec<RecoveredPartition>,
    retired: RetiredJournals,
    is_catalog_missing: bool,
}

/// Divides what was recovered among `cores` cores, in their order.
pub fn share(recovered: Recovered, cores: u16) -> Vec<Share> {
    let all = &recovered.partitions;
    let is_catalog_missing =
        !all.is_empty() && all.iter().all(|partition| partition.key != CATALOG_KEY);
    let share = |_| Share {
        partitions: Vec::new(),
        retired: recovered.retired.clone(),
        is_catalog_missing,
    };
    let mut shares: Vec<Share> = (0..cores).map(share).collect();
    for partition in recovered.partitions {
        let owner = partition.key.core(cores);
        shares[usize::from(owner.0)].partitions.push(partition);
    }
    shares
}

/// What an operator should hear about the start of a core. Empty where all is as the catalog has it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct StartReport {
    /// Partitions of topics that live, which recovery refused: they answer with an error, their bytes are kept.
    pub damaged: Vec<(PartitionKey, String)>,
    /// Partitions that could not be opened now.
    pub closed: Vec<String>,
    /// Partitions on disk that the catalog has never heard of: kept and not served.
    pub unknown: Vec<PartitionKey>,
    /// Partitions that the catalog knows and the disk did not: made empty. Normal only after a crash while their
    /// topic was made.
    pub made: Vec<PartitionKey>,
    /// What a crash had left of deleted topics: removed.
    pub removed: Vec<PartitionKey>,
}

/// Why the cores do not start.
#[derive(Error, Debug)]
pub enum StartError {
    /// This core's log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The stored catalog cannot be understood.
    #[error("the catalog is damaged, so nothing is served; its bytes are kept: {0}")]
    Catalog(String),
    /// There are partitions and no catalog.
    #[error(
        "the data directory holds partitions and no catalog (topics/{}): restore it; an empty one would hide them",
        CATALOG_KEY
    )]
    CatalogMissing,
    /// Another core.
    #[error("core {core} did not start: {reason}")]
    OtherCore {
        /// Which.
        core: CoreId,
        /// Why.
        reason: String,
    },
}

impl<I: Io> Shard<I> {
    /// Starts this core; to be called on every core, and returns on all of them together. `mailbox` is this core's end
    /// of the mailboxes.
    pub async fn start(
        io: I,
        mailbox: I::Mailbox<Message<I::Source>>,
        options: Options,
        share: Share,
    ) -> Result<(Self, StartReport), StartError> {
        let post = Post::open(&io, mailbox, options.cores);
        match start_here(&io, &post, options, share).await {
            Ok(started) => Ok(started),
            Err(error) => {
                give_up(&io, &post, &error).await;
                Err(error)
            }
        }
    }
}

async fn start_here<I: Io>(
    io: &I,
    post: &Rc<Post<I>>,
    options: Options,
    share: Share,
) -> Result<(Shard<I>, StartReport), StartError> {
    let is_first = io.core() == FIRST_CORE;
    if share.is_catalog_missing && is_first {
        return Err(StartError::CatalogMissing);
    }
    let found: BTreeMap<PartitionKey, Option<String>> = share
        .partitions
        .iter()
        .map(|partition| (partition.key, partition.damage().map(str::to_owned)))
        .collect();
    if let Some(Some(damage)) = found.get(&CATALOG_KEY) {
        return Err(StartError::Catalog(damage.clone()));
    }
    let log = Log::start(io.clone(), options.log.clone(), share.partitions).await?;
    let catalog = match is_first {
        true => Some(open_catalog(io, &log).await?),
        false => None,
    };
    let core = new_core(io, Rc::clone(post), log, catalog, &options);
    io.spawn(forwarded::receive(Rc::clone(&core)));
    exchange_topics(&core).await?;
    let mut report = open_partitions(&core, &found, &options.log.data).await;
    groups::open(&core, &found, &options.log.data, &mut report).await;
    let opened = queues::open(&core, &found, &options.log.data, &mut report).await;
    if is_first {
        let addresses = all_opened(&core, &options.address).await?;
        retire_journals(io, &share.retired).await?;
        for other in core.post.others() {
            core.post
                .send(other, Letter::Life(Life::Serve(addresses.clone())));
        }
        *core.addresses.borrow_mut() = addresses;
    } else {
        let opened = Life::Opened(Ok(Box::new(options.address)));
        core.post.send(FIRST_CORE, Letter::Life(opened));
        match core.next_life().await {
            (_, Life::Serve(addresses)) => *core.addresses.borrow_mut() = addresses,
            (from, other) => return Err(unexpected(from, other)),
        }
    }
    queues::serve(&core, opened).await;
    core.serves.set(true);
    core.begins_to_serve.notify();
    io.spawn(groups::keep_time(Rc::clone(&core)));
    io.spawn(numbered::forget(Rc::clone(&core)));
    io.spawn(retention::keep(Rc::clone(&core)));
    Ok((Shard { core }, report))
}

fn new_core<I: Io>(
    io: &I,
    post: Rc<Post<I>>,
    log: Log<I>,
    catalog: Option<(Catalog, Rc<Hosted<I>>)>,
    options: &Options,
) -> Rc<Core<I>> {
    let (catalog, catalog_partition) = match catalog {
        Some((catalog, partition)) => (catalog, Some(partition)),
        None => (Catalog::new(), None),
    };
    Rc::new(Core {
        io: io.clone(),
        cores: options.cores,
        log,
        post,
        catalog: RefCell::new(catalog),
        catalog_partition,
        catalog_turn: Default::default(),
        search_turn: Default::default(),
        seats: RefCell::new(HashMap::new()),
        addresses: RefCell::default(),
        stats: RefCell::default(),
        producers: ProducerIds::new(options.log.epoch, io.core()),
        producer_expiration: options.producer_expiration,
        started: io.now(),
        produces: Default::default(),
        waits: RefCell::default(),
        groups: Groups::new(),
        queues: Queues::new(),
        serves: Cell::new(false),
        begins_to_serve: Signal::new(),
        gate: Default::default(),
        stopping: Cell::new(false),
        stops: Signal::new(),
        life: RefCell::default(),
        life_arrived: Signal::new(),
    })
}

async fn open_catalog<I: Io>(io: &I, log: &Log<I>) -> Result<(Catalog, Rc<Hosted<I>>), StartError> {
    let settings = SegmentSettings {
        segment_bytes: crate::base::limits::SEGMENT_BYTES_DEFAULT,
        segment_ms: crate::base::limits::SEGMENT_MS_MAX,
    };
    let partition = log.open(CATALOG_KEY, settings).await?;
    let catalog = replay::replay(io, &partition).await;
    let hosted = Hosted::new_own(partition);
    Ok((catalog.map_err(StartError::Catalog)?, hosted))
}

/// Core 0 tells what exists; the others wait for it.
async fn exchange_topics<I: Io>(core: &Core<I>) -> Result<(), StartError> {
    if core.here() == FIRST_CORE {
        for other in core.post.others() {
            let catalog = Box::new(core.catalog.borrow().clone());
            core.post.send(other, Letter::Life(Life::Topics(catalog)));
        }
        return Ok(());
    }
    match core.next_life().await {
        (_, Life::Topics(catalog)) => {
            *core.catalog.borrow_mut() = *catalog;
            Ok(())
        }
        (from, other) => Err(unexpected(from, other)),
    }
}

/// Holds what was found on disk against the catalog.
///
/// | on disk | in the catalog | then |
/// |---|---|---|
/// | sound | lives | serve |
/// | damaged | lives | refuse it alone, keep the bytes |
/// | nothing | lives | make it empty, and say so |
/// | anything | was deleted | finish the delete |
/// | anything | never heard of | keep it, do not serve it, say so |
async fn open_partitions<I: Io>(
    core: &Core<I>,
    found: &BTreeMap<PartitionKey, Option<String>>,
    data: &Path,
) -> StartReport {
    let mut report = StartReport::default();
    let topics: Vec<_> = core.catalog.borrow().topics().cloned().collect();
    for topic in &topics {
        let owned = topics::keys(topic).filter(|key| core.owns(*key));
        for key in owned {
            match found.get(&key) {
                Some(Some(damage)) => {
                    let remedy = remedy(data, &format!("{}/{}", topic.name, key.partition));
                    let damage = format!("{damage}; {remedy}");
                    let seat = Seat::Damaged(damage.clone());
                    core.seats.borrow_mut().insert(key, seat);
                    report.damaged.push((key, damage));
                    continue;
                }
                Some(None) => {}
                None => report.made.push(key),
            }
            report.closed.extend(topics::open(core, topic, key).await);
        }
    }
    for key in found.keys().filter(|key| !key.topic.is_own()) {
        let is_deleted = core.catalog.borrow().is_deleted(key.topic);
        if is_deleted {
            match core.log.delete(*key).await {
                Ok(()) => report.removed.push(*key),
                Err(error) => report.closed.push(format!("partition {key}: {error}")),
            }
        } else if !core.catalog.borrow().has_partition(*key)
            && !core.catalog.borrow().has_ledger(*key)
        {
            report.unknown.push(*key);
        }
    }
    report
}

impl<I: Io> Shard<I> {
    /// What this core has found since this was called last and an operator should hear of, in lines. `data` is the data
    /// directory.
    pub fn take_notices(&self, data: &Path) -> Vec<String> {
        let notices = self.core.log.take_notices();
        let line = |(key, what): (PartitionKey, String)| {
            let catalog = self.core.catalog.borrow();
            let topic = catalog.by_id(key.topic).map(|topic| topic.name.clone());
            let name = topic.unwrap_or_else(|| key.topic.to_string());
            let name = format!("{name}/{}", key.partition);
            format!(
                "partition {name} is damaged: {what}; {}",
                remedy(data, &name)
            )
        };
        notices.into_iter().map(line).collect()
    }
}

/// What an operator does about a partition that is refused.
pub fn remedy(data: &Path, partition: &str) -> String {
    let data = data.display();
    format!(
        "stop the broker, see `millrace verify {data}`, then `millrace repair {data} --partition {partition} --accept-loss`"
    )
}

/// On core 0: waits for all others; returns where every core listens, by core.
async fn all_opened<I: Io>(
    core: &Core<I>,
    own: &CoreAddress,
) -> Result<Vec<CoreAddress>, StartError> {
    let mut addresses = vec![own.clone()];
    for _ in core.post.others() {
        match core.next_life().await {
            (_, Life::Opened(Ok(address))) => addresses.push(*address),
            (core, Life::Opened(Err(reason))) => {
                return Err(StartError::OtherCore { core, reason });
            }
            (from, other) => return Err(unexpected(from, other)),
        }
    }
    addresses.sort_by_key(|address| address.core);
    Ok(addresses)
}

fn unexpected(core: CoreId, life: Life) -> StartError {
    let reason = match life {
        Life::Abort(reason) => reason,
        other => panic!("core {core} is out of step: {other:?}"),
    };
    StartError::OtherCore { core, reason }
}

/// Tells those who would wait for this core for ever.
async fn give_up<I: Io>(io: &I, post: &Post<I>, error: &StartError) {
    if io.core() == FIRST_CORE {
        for other in post.others() {
            post.send(other, Letter::Life(Life::Abort(error.to_string())));
        }
    } else if !matches!(error, StartError::OtherCore { .. }) {
        let opened = Life::Opened(Err(error.to_string()));
        post.send(FIRST_CORE, Letter::Life(opened));
    }
    post.flush().await;
}
