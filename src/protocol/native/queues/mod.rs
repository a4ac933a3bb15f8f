//! Requests about queues and their replies, both ends of them: making, looking at and deleting them and becoming a consumer
//! (`asks`, `tells`), and what a consumer does then (`polls`).

mod asks;
mod polls;
mod tells;

pub(super) use asks::decode_ask;
pub use polls::{PollQueue, PolledReply, Polling};
pub(super) use tells::decode_told;

use super::wire::{self, RequestBody};
use super::{Refusal, Scratch};
use crate::base::limits::TOPIC_NAME_BYTES_MAX;
use crate::base::queue::{Counts, Held, QueueSettings, Retry};
use crate::base::{CoreId, PartitionNo};
use crate::engine::{NewQueue, QueueInfo};
use flatbuffers::WIPOffset;

/// What is asked about queues.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum QueueAsk {
    /// Makes one.
    Create(NewQueue),
    /// Deletes one.
    Delete {
        /// Which.
        name: String,
    },
    /// The queue of one name, or all.
    List {
        /// This one, if there is any.
        only: Option<String>,
        /// Of all, those whose names come after this one.
        after: Option<String>,
    },
    /// Where its records are.
    Describe {
        /// Which.
        name: String,
        /// How many partitions are known already.
        first: u32,
    },
    /// Gives up the records that nobody has.
    Purge {
        /// Which.
        name: String,
    },
    /// The first records of one partition.
    Held {
        /// Of which queue.
        name: String,
        /// Of which partition.
        partition: PartitionNo,
    },
    /// Becomes a consumer.
    Join {
        /// Of which queue.
        name: String,
        /// What it gets is acked before it leaves.
        at_most_once: bool,
    },
}

/// What is told about queues.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum QueueTold {
    /// The queue that was made.
    Created(QueueInfo),
    /// It is deleted.
    Deleted,
    /// Some queues, by name, and whether there are more.
    Listed(Vec<QueueInfo>, bool),
    /// A queue with some of its partitions.
    Described(Box<QueuePage>),
    /// So many records were given up.
    Purged(u64),
    /// The first records of a partition.
    Held(Held),
    /// There is a consumer on this connection.
    Joined,
}

/// A queue with some of its partitions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct QueuePage {
    /// The queue.
    pub queue: QueueInfo,
    /// How many partitions come before these.
    pub first: u32,
    /// How many there are.
    pub partition_count: u32,
    /// The state of each, or why it does not serve.
    pub partitions: Vec<PageState>,
}

/// The state of one partition of a queue, as a client is told it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PageState {
    /// Which.
    pub partition: PartitionNo,
    /// The core that owns it.
    pub core: CoreId,
    /// Where its records are, or why it does not serve.
    pub counts: Result<Counts, Refusal>,
}

/// The kinds, by their number: what is asked, as the schema has it.
const KINDS: [RequestBody; 7] = [
    RequestBody::CreateQueue,
    RequestBody::DeleteQueue,
    RequestBody::ListQueues,
    RequestBody::DescribeQueue,
    RequestBody::PurgeQueue,
    RequestBody::HeldRecords,
    RequestBody::JoinQueue,
];

impl QueueAsk {
    /// Which of them it is.
    pub(crate) fn kind(&self) -> u8 {
        match self {
            Self::Create(_) => 0,
            Self::Delete { .. } => 1,
            Self::List { .. } => 2,
            Self::Describe { .. } => 3,
            Self::Purge { .. } => 4,
            Self::Held { .. } => 5,
            Self::Join { .. } => 6,
        }
    }

    /// The same as the schema has it.
    pub(super) fn body_type(&self) -> RequestBody {
        KINDS[usize::from(self.kind())]
    }

    /// The memory that it holds besides its struct, in bytes.
    pub fn held_bytes(&self) -> usize {
        match self {
            // Names and a few steps, each checked when it was read.
            Self::Create(_) => 4 * TOPIC_NAME_BYTES_MAX,
            Self::List { only, after } => {
                let bytes = |name: &Option<String>| name.as_ref().map_or(0, String::capacity);
                bytes(only) + bytes(after)
            }
            Self::Delete { name }
            | Self::Describe { name, .. }
            | Self::Purge { name }
            | Self::Held { name, .. }
            | Self::Join { name, .. } => name.capacity(),
        }
    }
}

impl QueueTold {
    pub(crate) fn kind(&self) -> u8 {
        match self {
            Self::Created(_) => 0,
            Self::Deleted => 1,
            Self::Listed(..) => 2,
            Self::Described(_) => 3,
            Self::Purged(_) => 4,
            Self::Held(_) => 5,
            Self::Joined => 6,
        }
    }
}

/// What both ends read. `None`: it contradicts itself.
fn settings_of(settings: &wire::QueueSettings<'_>) -> Option<QueueSettings> {
    let unasked = QueueSettings::default();
    let steps = settings.retry_steps_ms();
    let retry = match (settings.retry_first_ms(), settings.retry_cap_ms(), steps) {
        (None, None, None) => Retry::AtOnce,
        (Some(first_ms), Some(cap_ms), None) => Retry::Exponential { first_ms, cap_ms },
        (None, None, Some(steps)) => Retry::Schedule(steps.iter().collect()),
        _ => return None,
    };
    Some(QueueSettings {
        lease_ms: settings.lease_ms().unwrap_or(unasked.lease_ms),
        deliveries_max: settings.deliveries_max(),
        retry,
        key_order: settings.key_order(),
        reads_headers: settings.reads_headers(),
        has_dead_letters: false,
    })
}

fn write_settings(
    b: &mut Scratch,
    settings: &QueueSettings,
) -> WIPOffset<wire::QueueSettings<'static>> {
    let (mut first, mut cap, mut steps) = (None, None, None);
    match &settings.retry {
        Retry::AtOnce => {}
        Retry::Exponential { first_ms, cap_ms } => (first, cap) = (Some(*first_ms), Some(*cap_ms)),
        Retry::Schedule(all) => steps = Some(b.create_vector(all)),
    }
    let args = wire::QueueSettingsArgs {
        lease_ms: Some(settings.lease_ms),
        deliveries_max: settings.deliveries_max,
        retry_first_ms: first,
        retry_cap_ms: cap,
        retry_steps_ms: steps,
        key_order: settings.key_order,
        reads_headers: settings.reads_headers,
    };
    wire::QueueSettings::create(b, &args)
}
