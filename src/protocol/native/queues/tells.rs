//! What is told about queues, both ends.

use super::{PageState, QueuePage, QueueTold, settings_of, write_settings};
use crate::base::limits::{FRAME_HEADER_BYTES_MAX, TOPIC_NAME_BYTES_MAX, TOPIC_PARTITIONS_MAX};
use crate::base::queue::{Counts, Held, HeldRun, QueueSettings, Span, Standing, Totals};
use crate::base::{CoreId, Offset, PartitionNo, TimestampMs, TopicId};
use crate::engine::{EngineError, QueueInfo, QueueState};
use crate::protocol::native::reply::{Messages, ReplyError, malformed, refusal};
use crate::protocol::native::reply_writer::{MESSAGES_BYTES_MAX, ReplyWriter};
use crate::protocol::native::wire::{self, ReplyBody};
use crate::protocol::native::{ErrorCode, Scratch, from_uuid, uuid};
use flatbuffers::WIPOffset;

/// What the largest queue takes of a header: its owners, three names, its settings, and its tables.
const QUEUE_BYTES_MAX: usize = 2 * TOPIC_PARTITIONS_MAX as usize + 3 * TOPIC_NAME_BYTES_MAX + 512;
/// What stands around the items of a page.
const PAGE_SLACK_BYTES: usize = 4 << 10;
/// The most queues of one page: each takes two tables of the 1,024 that a header may have.
const PAGE_QUEUES_MAX: usize = 256;
/// The most partitions of one page; what errors say takes the rest.
const PAGE_PARTITIONS_MAX: usize = 128;
/// The most runs of records that are told.
const PAGE_RUNS_MAX: usize = 1_000;
const _: () = assert!(
    PAGE_PARTITIONS_MAX * size_of::<wire::QueuePartition>()
        + MESSAGES_BYTES_MAX
        + QUEUE_BYTES_MAX
        + PAGE_SLACK_BYTES
        <= FRAME_HEADER_BYTES_MAX
);
const _: () = assert!(
    PAGE_RUNS_MAX * size_of::<wire::HeldRun>() + PAGE_SLACK_BYTES <= FRAME_HEADER_BYTES_MAX
);

fn queue(b: &mut Scratch, info: &QueueInfo) -> WIPOffset<wire::Queue<'static>> {
    let dead_letters = info.dead_letters.as_deref();
    let args = wire::QueueArgs {
        id: Some(&uuid(info.id.0)),
        name: Some(b.create_string(&info.name)),
        topic_id: Some(&uuid(info.topic_id.0)),
        topic: Some(b.create_string(&info.topic)),
        dead_letters: dead_letters.map(|name| b.create_string(name)),
        settings: Some(write_settings(b, &info.settings)),
        owners: Some(b.create_vector_from_iter(info.owners.iter().map(|core| core.0))),
    };
    wire::Queue::create(b, &args)
}

impl ReplyWriter {
    /// A queue was made.
    pub fn queue_created(&mut self, correlation: u32, info: &QueueInfo, out: &mut Vec<u8>) {
        let b = self.begin();
        let queue = Some(queue(b, info));
        let body = wire::QueueCreated::create(b, &wire::QueueCreatedArgs { queue });
        let body = body.as_union_value();
        self.finish(correlation, ReplyBody::QueueCreated, body, 0, out);
    }

    /// A queue was deleted.
    pub fn queue_deleted(&mut self, correlation: u32, out: &mut Vec<u8>) {
        let b = self.begin();
        let body = wire::QueueDeleted::create(b, &wire::QueueDeletedArgs {}).as_union_value();
        self.finish(correlation, ReplyBody::QueueDeleted, body, 0, out);
    }

    /// There is a consumer.
    pub fn queue_joined(&mut self, correlation: u32, out: &mut Vec<u8>) {
        let b = self.begin();
        let body = wire::QueueJoined::create(b, &wire::QueueJoinedArgs {}).as_union_value();
        self.finish(correlation, ReplyBody::QueueJoined, body, 0, out);
    }

    /// So many records were given up.
    pub fn queue_purged(&mut self, correlation: u32, records: u64, out: &mut Vec<u8>) {
        let b = self.begin();
        let body = wire::QueuePurged::create(b, &wire::QueuePurgedArgs { records });
        let body = body.as_union_value();
        self.finish(correlation, ReplyBody::QueuePurged, body, 0, out);
    }

    /// As many of these queues as fit.
    pub fn queues_listed(&mut self, correlation: u32, queues: &[QueueInfo], out: &mut Vec<u8>) {
        let b = self.begin();
        let mut told = Vec::new();
        for info in queues.iter().take(PAGE_QUEUES_MAX) {
            let used = b.unfinished_data().len() + PAGE_SLACK_BYTES;
            if used + QUEUE_BYTES_MAX > FRAME_HEADER_BYTES_MAX {
                break;
            }
            told.push(queue(b, info));
        }
        let args = wire::QueuesListedArgs {
            queues: Some(b.create_vector(&told)),
            more: told.len() < queues.len(),
        };
        let body = wire::QueuesListed::create(b, &args).as_union_value();
        self.finish(correlation, ReplyBody::QueuesListed, body, 0, out);
    }

    /// A queue; of all its partitions those behind the first `first` ones, as many as fit.
    pub fn queue_described(
        &mut self,
        correlation: u32,
        (info, all): &(QueueInfo, Vec<QueueState>),
        first: u32,
        out: &mut Vec<u8>,
    ) {
        self.begin();
        let rest = all.get(first as usize..).unwrap_or(&[]);
        let mut page = Vec::new();
        for state in rest.iter().take(PAGE_PARTITIONS_MAX) {
            let (error, message) = self.note(state.counts.as_ref().err());
            page.push(partition(state, error, message));
        }
        let messages = self.messages();
        let b = self.resume();
        let args = wire::QueueDescribedArgs {
            queue: Some(queue(b, info)),
            first,
            partition_count: all.len() as u32,
            partitions: Some(b.create_vector(&page)),
            messages,
        };
        let body = wire::QueueDescribed::create(b, &args).as_union_value();
        self.finish(correlation, ReplyBody::QueueDescribed, body, 0, out);
    }

    /// The first records of a partition.
    pub fn records_held(&mut self, correlation: u32, held: &Held, out: &mut Vec<u8>) {
        let b = self.begin();
        let runs = held.runs.iter().take(PAGE_RUNS_MAX).map(|run| {
            let Span {
                from,
                until,
                deliveries,
            } = run.span;
            let first_ms = run.first.map_or(0, |first| first.0);
            let row = STANDINGS.iter().find(|row| row.0 == run.standing);
            let standing = row.expect("a row for each").1;
            wire::HeldRun::new(from.0, until.0, first_ms, deliveries, standing)
        });
        let args = wire::RecordsHeldArgs {
            runs: Some(b.create_vector_from_iter(runs)),
            more: held.more || held.runs.len() > PAGE_RUNS_MAX,
            backlog_from: held.backlog.0.0,
            backlog_until: held.backlog.1.0,
        };
        let body = wire::RecordsHeld::create(b, &args).as_union_value();
        self.finish(correlation, ReplyBody::RecordsHeld, body, 0, out);
    }

    /// A request about queues was refused.
    pub fn queue_refused(&mut self, correlation: u32, error: &EngineError, out: &mut Vec<u8>) {
        let text = error.to_string();
        self.refused(correlation, ErrorCode::from(error), &text, out);
    }
}

const STANDINGS: [(Standing, wire::HeldState); 5] = [
    (Standing::Ready, wire::HeldState::Ready),
    (Standing::Leased, wire::HeldState::Leased),
    (Standing::Delayed, wire::HeldState::Delayed),
    (Standing::Blocked, wire::HeldState::Blocked),
    (Standing::Dying, wire::HeldState::Dying),
];

fn partition(state: &QueueState, error: wire::ErrorCode, message: u16) -> wire::QueuePartition {
    let counts = state.counts.as_ref().copied().unwrap_or_default();
    let totals = counts.totals;
    wire::QueuePartition::new(
        counts.ready,
        counts.leased,
        counts.delayed,
        counts.blocked,
        counts.dying,
        totals.acked,
        totals.dead,
        totals.expired,
        totals.purged,
        totals.absent,
        totals.lost,
        counts.begin.0,
        counts.floor.0,
        counts.visible.0,
        state.partition.0,
        counts.consumers,
        state.core.0,
        error,
        message,
    )
}

/// Reads a reply about queues; `None` if it is of another kind.
pub(in crate::protocol::native) fn decode_told(
    root: &wire::Reply<'_>,
) -> Result<Option<QueueTold>, ReplyError> {
    if let Some(created) = root.body_as_queue_created() {
        return Ok(Some(QueueTold::Created(read_queue(&created.queue())?)));
    }
    if root.body_as_queue_deleted().is_some() {
        return Ok(Some(QueueTold::Deleted));
    }
    if root.body_as_queue_joined().is_some() {
        return Ok(Some(QueueTold::Joined));
    }
    if let Some(purged) = root.body_as_queue_purged() {
        return Ok(Some(QueueTold::Purged(purged.records())));
    }
    if let Some(listed) = root.body_as_queues_listed() {
        let queues = listed.queues().iter().map(|queue| read_queue(&queue));
        let queues = queues.collect::<Result<_, _>>()?;
        return Ok(Some(QueueTold::Listed(queues, listed.more())));
    }
    if let Some(page) = root.body_as_queue_described() {
        let partitions = page.partitions().iter();
        let page = QueuePage {
            queue: read_queue(&page.queue())?,
            first: page.first(),
            partition_count: page.partition_count(),
            partitions: partitions
                .map(|one| read_state(one, page.messages()))
                .collect(),
        };
        return Ok(Some(QueueTold::Described(Box::new(page))));
    }
    let held = root.body_as_records_held();
    held.map(|held| read_held(&held).map(QueueTold::Held))
        .transpose()
}

fn read_queue(queue: &wire::Queue<'_>) -> Result<QueueInfo, ReplyError> {
    let owners = queue.owners();
    if owners.len() > TOPIC_PARTITIONS_MAX as usize {
        return Err(malformed("more partitions than a topic may have"));
    }
    let settings = settings_of(&queue.settings());
    let settings = settings.ok_or_else(|| malformed("two ways to wait before a retry"))?;
    let dead_letters = queue.dead_letters().map(str::to_owned);
    Ok(QueueInfo {
        id: TopicId(from_uuid(queue.id())),
        name: queue.name().to_owned(),
        topic_id: TopicId(from_uuid(queue.topic_id())),
        topic: queue.topic().to_owned(),
        settings: QueueSettings {
            has_dead_letters: dead_letters.is_some(),
            ..settings
        },
        dead_letters,
        owners: owners.iter().map(CoreId).collect(),
    })
}

fn read_state(one: &wire::QueuePartition, messages: Messages<'_>) -> PageState {
    let counts = Counts {
        ready: one.ready(),
        leased: one.leased(),
        delayed: one.delayed(),
        blocked: one.blocked(),
        dying: one.dying(),
        totals: Totals {
            acked: one.acked(),
            dead: one.dead(),
            expired: one.expired(),
            purged: one.purged(),
            absent: one.absent(),
            lost: one.lost(),
        },
        begin: Offset(one.begin()),
        floor: Offset(one.floor()),
        visible: Offset(one.visible()),
        consumers: one.consumers(),
    };
    PageState {
        partition: PartitionNo(one.partition()),
        core: CoreId(one.core()),
        counts: refusal(one.error(), one.message(), messages).map_or(Ok(counts), Err),
    }
}

fn read_held(held: &wire::RecordsHeld<'_>) -> Result<Held, ReplyError> {
    let run = |run: &wire::HeldRun| {
        let row = STANDINGS.iter().find(|row| row.1 == run.state());
        let row = row.ok_or_else(|| malformed("unknown state of a record"))?;
        Ok(HeldRun {
            span: Span {
                from: Offset(run.from()),
                until: Offset(run.until()),
                deliveries: run.deliveries(),
            },
            first: (run.deliveries() > 0).then_some(TimestampMs(run.first_ms())),
            standing: row.0,
        })
    };
    Ok(Held {
        runs: held.runs().iter().map(run).collect::<Result<_, _>>()?,
        more: held.more(),
        backlog: (Offset(held.backlog_from()), Offset(held.backlog_until())),
    })
}
