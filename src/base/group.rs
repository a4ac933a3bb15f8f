//! The nouns of consumer groups: what any protocol asks of a group's coordinator, and what it answers.
//!
//! They stand here because the bridge (`engine`) carries them and the room `group` decides about them, and neither may
//! import the other. Names, states and rules are those of the classic protocol of Kafka (KIP-62, 134, 345, 394, 814).

use crate::base::{Offset, PartitionKey, TimestampMs};
use bytes::Bytes;
use thiserror::Error;

/// Counts the rebalances of a group; -1 on the wire of who is no member.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Generation(pub i32);

impl Generation {
    /// What a commit from outside of any membership says.
    pub const NONE: Self = Self(-1);
}

/// Who speaks for a member of a group.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Identity {
    /// As the coordinator gave it out; empty for who has none yet.
    pub member: String,
    /// The name that a static member keeps over its restarts.
    pub instance: Option<String>,
}

/// A member asks to take part in the next generation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JoinGroup {
    /// The group.
    pub group: String,
    /// Who.
    pub identity: Identity,
    /// What the client calls itself.
    pub client: String,
    /// Where it comes from.
    pub host: String,
    /// It is taken for dead after this much silence, in milliseconds.
    pub session_ms: u32,
    /// How long a rebalance waits for it, in milliseconds.
    pub rebalance_ms: u32,
    /// The kind of group, such as `consumer`.
    pub protocol_type: String,
    /// The ways of assigning that it knows, the dearest first, each with what it says to the leader.
    pub protocols: Vec<(String, Bytes)>,
    /// It can take a member id and ask again with it (JoinGroup from version 4).
    pub takes_member_id: bool,
    /// It can lead without assigning anew (JoinGroup from version 9).
    pub can_skip_assignment: bool,
}

/// The answer to a [`JoinGroup`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Joined {
    /// The generation that was joined.
    pub generation: Generation,
    /// The kind of group.
    pub protocol_type: String,
    /// The way of assigning that was chosen.
    pub protocol: String,
    /// The member that assigns.
    pub leader: String,
    /// Who asked.
    pub member: String,
    /// For the leader: every member, with what it said under the chosen protocol.
    pub members: Vec<JoinedMember>,
    /// The leader is to keep the assignment that there is.
    pub skip_assignment: bool,
}

/// A member, as its leader sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JoinedMember {
    /// Who.
    pub identity: Identity,
    /// What it says to the leader.
    pub metadata: Bytes,
}

/// A member asks for its assignment; the leader brings everybody's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SyncGroup {
    /// The group.
    pub group: String,
    /// Who.
    pub identity: Identity,
    /// Of which generation.
    pub generation: Generation,
    /// The kind of group that it thinks it is in, if it says so.
    pub protocol_type: Option<String>,
    /// The way of assigning that it thinks was chosen, if it says so.
    pub protocol: Option<String>,
    /// From the leader: what each member is assigned.
    pub assignments: Vec<(String, Bytes)>,
}

/// The answer to a [`SyncGroup`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Synced {
    /// The kind of group.
    pub protocol_type: String,
    /// The way of assigning.
    pub protocol: String,
    /// What the member is assigned.
    pub assignment: Bytes,
}

/// An offset that a group has committed: where its members go on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Committed {
    /// The next record to be read.
    pub offset: Offset,
    /// The leader epoch of the record before it, -1 if it was not told.
    pub leader_epoch: i32,
    /// What the client wants to find again.
    pub metadata: String,
    /// When it was committed.
    pub at: TimestampMs,
}

/// What is asked of the coordinator of one group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum GroupRequest {
    /// Answered when the rebalance is complete.
    Join(JoinGroup),
    /// Answered when the leader has assigned.
    Sync(SyncGroup),
    /// A member lives.
    Heartbeat {
        /// The group.
        group: String,
        /// Who.
        identity: Identity,
        /// Of which generation.
        generation: Generation,
    },
    /// Members go.
    Leave {
        /// The group.
        group: String,
        /// Who; a static member may be named by its instance alone.
        members: Vec<Identity>,
    },
    /// Keeps offsets; durable when it is answered.
    Commit {
        /// The group.
        group: String,
        /// Who; empty for who is no member.
        identity: Identity,
        /// Of which generation; [`Generation::NONE`] for who is no member.
        generation: Generation,
        /// What is committed. Its time is set by the coordinator.
        offsets: Vec<(PartitionKey, Committed)>,
    },
    /// Reads committed offsets.
    FetchOffsets {
        /// The group.
        group: String,
        /// Of which partitions; `None`: of all that have one.
        partitions: Option<Vec<PartitionKey>>,
    },
    /// Tells what a group is made of.
    Describe {
        /// The group.
        group: String,
    },
    /// Removes a group that has no members, with its offsets.
    Delete {
        /// The group.
        group: String,
    },
    /// Removes committed offsets of a group.
    DeleteOffsets {
        /// The group.
        group: String,
        /// Which.
        partitions: Vec<PartitionKey>,
        /// The generation whose members were seen to want none of these partitions; only then may there be members.
        unwanted_in: Option<Generation>,
    },
}

impl GroupRequest {
    /// The group that it is about.
    pub fn group(&self) -> &str {
        match self {
            Self::Join(join) => &join.group,
            Self::Sync(sync) => &sync.group,
            Self::Heartbeat { group, .. }
            | Self::Leave { group, .. }
            | Self::Commit { group, .. }
            | Self::FetchOffsets { group, .. }
            | Self::Describe { group }
            | Self::Delete { group }
            | Self::DeleteOffsets { group, .. } => group,
        }
    }
}

/// What a coordinator answers, each to the request of the same name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum GroupReply {
    /// To a join.
    Joined(Result<Joined, GroupError>),
    /// To a sync.
    Synced(Result<Synced, GroupError>),
    /// To a heartbeat.
    Alive(Result<(), GroupError>),
    /// To a leave: for each member, as asked.
    Left(Vec<Result<(), GroupError>>),
    /// To a commit: for each partition, as asked.
    Committed(Vec<Result<(), GroupError>>),
    /// To a fetch of offsets: what was asked for and is there, by partition.
    Offsets(Vec<(PartitionKey, Committed)>),
    /// To a describe; nothing: there is no such group.
    Described(Option<Box<GroupDescription>>),
    /// To a delete.
    Deleted(Result<(), GroupError>),
    /// To a delete of offsets.
    OffsetsDeleted(Result<(), GroupError>),
}

/// Where a group stands. A group that does not exist is called dead.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GroupState {
    /// No members; perhaps offsets.
    Empty,
    /// It waits for its members to join.
    PreparingRebalance,
    /// It waits for its leader to assign.
    CompletingRebalance,
    /// Everybody knows its part.
    Stable,
}

impl GroupState {
    /// The name that clients know it by.
    pub fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::PreparingRebalance => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Stable => "Stable",
        }
    }
}

/// A group in a list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupListing {
    /// Its name.
    pub group: String,
    /// The kind of group; empty if it never had a member.
    pub protocol_type: String,
    /// Where it stands.
    pub state: GroupState,
}

/// A group from inside.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupDescription {
    /// As in a list.
    pub listing: GroupListing,
    /// Its generation.
    pub generation: Generation,
    /// The way of assigning, while the group rebalances the last one; empty while there is none.
    pub protocol: String,
    /// Its members, in the order in which they came.
    pub members: Vec<MemberDescription>,
}

/// A member of a described group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MemberDescription {
    /// Who.
    pub identity: Identity,
    /// What the client calls itself.
    pub client: String,
    /// Where it comes from.
    pub host: String,
    /// What it says under the chosen protocol; empty if it does not know that.
    pub metadata: Bytes,
    /// What it is assigned; empty while the group is not stable.
    pub assignment: Bytes,
}

/// Why a coordinator refuses: a variant per decision that a client can take.
#[derive(Error, Clone, PartialEq, Eq, Debug)]
pub enum GroupError {
    /// Empty or too long.
    #[error(
        "group name must have 1 to {} bytes",
        crate::base::limits::GROUP_NAME_BYTES_MAX
    )]
    InvalidName,
    /// Outside its limits.
    #[error("session timeout is outside of what the broker allows")]
    InvalidSession,
    /// Another kind of group, or no way of assigning that all members know.
    #[error("the members of the group share no protocol with this one")]
    InconsistentProtocol,
    /// Join again, with this id.
    #[error("join again with the member id {0}")]
    MemberIdRequired(String),
    /// No such member: join again without an id.
    #[error("the group has no such member")]
    UnknownMember,
    /// Another process took over the instance.
    #[error("another member took over this instance")]
    FencedInstance,
    /// The group has moved on: join again.
    #[error("the group is in another generation")]
    IllegalGeneration,
    /// Join again.
    #[error("the group is rebalancing")]
    Rebalancing,
    /// Too many members, or too much that they say.
    #[error("the group is full")]
    Full,
    /// What a member or a leader says is too long.
    #[error(
        "assignments of a group may take {} bytes",
        crate::base::limits::GROUP_BYTES_MAX
    )]
    TooLarge,
    /// A commit's metadata is too long.
    #[error(
        "metadata of an offset may take {} bytes",
        crate::base::limits::OFFSET_METADATA_BYTES_MAX
    )]
    MetadataTooLarge,
    /// No such group.
    #[error("no such group")]
    NotFound,
    /// It has members, or commits on their way.
    #[error("the group is in use")]
    NotEmpty,
    /// It could not be stored, or not be known to be: try again.
    #[error("not stored: {0}")]
    NotStored(String),
}
