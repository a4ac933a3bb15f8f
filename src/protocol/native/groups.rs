//! Requests about consumer groups and their replies, both ends of them: for tools, which look at groups, set their
//! offsets and delete them. Members speak Kafka's protocol.

use super::reply::ReplyError;
use super::request::{RequestError, check_entries, key, malformed as malformed_request};
use super::request_writer::{RequestWriter, TooLarge, check};
use super::wire::{self, ReplyBody, RequestBody};
use super::{ReplyWriter, Scratch};
use crate::base::group::{
    Committed, Generation, GroupDescription, GroupListing, GroupState, Identity, MemberDescription,
};
use crate::base::limits::{FRAME_HEADER_BYTES_MAX, GROUP_NAME_BYTES_MAX, REQUEST_PARTITIONS_MAX};
use crate::base::{Offset, PartitionKey, TimestampMs};
use flatbuffers::WIPOffset;

/// The longest text of a client's own that is told, in bytes.
const TEXT_BYTES_MAX: usize = 512;
/// The most groups, members and offsets of one reply.
const PAGE_GROUPS_MAX: usize = 256;
const PAGE_MEMBERS_MAX: usize = 256;
const PAGE_OFFSETS_MAX: usize = 512;
/// A group or a member as it lies in a header, with room for its table.
const ITEM_BYTES_MAX: usize = GROUP_NAME_BYTES_MAX + 4 * TEXT_BYTES_MAX + 256;
/// Members are told until a header has so many bytes; offsets take the rest.
const MEMBERS_UNTIL_BYTES: usize = 32 << 10;
const _: () = assert!(
    MEMBERS_UNTIL_BYTES
        + 2 * ITEM_BYTES_MAX
        + PAGE_OFFSETS_MAX * size_of::<wire::CommittedEntry>()
        + (4 << 10)
        <= FRAME_HEADER_BYTES_MAX
);

/// What a tool asks about groups.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum GroupAsk {
    /// All whose names come after this one, or all.
    List {
        /// The last name of the page before.
        after: Option<String>,
    },
    /// One of them, with its committed offsets from one on.
    Describe {
        /// Which.
        group: String,
        /// How many offsets are known already.
        first: u32,
    },
    /// Sets committed offsets.
    Commit {
        /// Of which group; it must not have members.
        group: String,
        /// What is set: 1 to `REQUEST_PARTITIONS_MAX`.
        offsets: Vec<(PartitionKey, Offset)>,
    },
    /// Deletes a group without members.
    Delete {
        /// Which.
        group: String,
    },
}

/// What a tool is told about groups.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum GroupTold {
    /// Some of the groups, by name, and whether there are more.
    Listed(Vec<GroupListing>, bool),
    /// A group, with some of its offsets.
    Described(Box<GroupPage>),
    /// The offsets are set.
    Committed,
    /// The group is deleted.
    Deleted,
}

/// A group with some of its members and offsets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupPage {
    /// The group; of its members as many as fit, without what they say to each other.
    pub group: GroupDescription,
    /// How many members there are.
    pub member_count: u32,
    /// How many offsets come before these.
    pub first: u32,
    /// How many offsets there are.
    pub offset_count: u32,
    /// Offset and time of each, by partition.
    pub offsets: Vec<(PartitionKey, Offset, TimestampMs)>,
}

/// A member, as a page tells it.
pub type PageMember = MemberDescription;

impl GroupAsk {
    /// Whether a told answers this.
    pub fn fits(&self, told: &GroupTold) -> bool {
        self.kind() == told.kind()
    }

    /// Which of the four it is.
    pub(crate) fn kind(&self) -> u8 {
        match self {
            Self::List { .. } => 0,
            Self::Describe { .. } => 1,
            Self::Commit { .. } => 2,
            Self::Delete { .. } => 3,
        }
    }

    /// The same as the schema has it.
    pub(super) fn body_type(&self) -> RequestBody {
        match self {
            Self::List { .. } => RequestBody::ListGroups,
            Self::Describe { .. } => RequestBody::DescribeGroup,
            Self::Commit { .. } => RequestBody::CommitOffsets,
            Self::Delete { .. } => RequestBody::DeleteGroup,
        }
    }

    /// The memory that it holds besides its struct, in bytes.
    pub fn held_bytes(&self) -> usize {
        match self {
            Self::List { after } => after.as_ref().map_or(0, String::capacity),
            Self::Describe { group, .. } | Self::Delete { group } => group.capacity(),
            Self::Commit { group, offsets } => {
                group.capacity() + offsets.capacity() * size_of::<(PartitionKey, Offset)>()
            }
        }
    }
}

impl GroupTold {
    pub(crate) fn kind(&self) -> u8 {
        match self {
            Self::Listed(..) => 0,
            Self::Described(_) => 1,
            Self::Committed => 2,
            Self::Deleted => 3,
        }
    }
}

/// Reads a request about groups; `None` if it is of another kind.
pub(super) fn decode_ask(root: &wire::Request<'_>) -> Result<Option<GroupAsk>, RequestError> {
    if let Some(list) = root.body_as_list_groups() {
        let after = list.after().map(name).transpose()?;
        return Ok(Some(GroupAsk::List { after }));
    }
    if let Some(describe) = root.body_as_describe_group() {
        return Ok(Some(GroupAsk::Describe {
            group: name(describe.group())?,
            first: describe.first(),
        }));
    }
    if let Some(commit) = root.body_as_commit_offsets() {
        check_entries(commit.entries().len())?;
        let entries = commit.entries().iter();
        let offset = |entry: &wire::CommitEntry| {
            let key = key(entry.topic(), entry.partition());
            i64::try_from(entry.offset())
                .map(|_| (key, Offset(entry.offset())))
                .map_err(|_| malformed_request("an offset that no record can have"))
        };
        return Ok(Some(GroupAsk::Commit {
            group: name(commit.group())?,
            offsets: entries.map(offset).collect::<Result<_, _>>()?,
        }));
    }
    if let Some(delete) = root.body_as_delete_group() {
        let group = name(delete.group())?;
        return Ok(Some(GroupAsk::Delete { group }));
    }
    Ok(None)
}

fn name(name: &str) -> Result<String, RequestError> {
    if name.len() > GROUP_NAME_BYTES_MAX {
        return Err(RequestError::Limit {
            what: "bytes of a group's name",
            limit: GROUP_NAME_BYTES_MAX,
        });
    }
    Ok(name.to_owned())
}

impl RequestWriter {
    /// A request about groups.
    pub fn group(
        &mut self,
        correlation: u32,
        ask: &GroupAsk,
        out: &mut Vec<u8>,
    ) -> Result<(), TooLarge> {
        let b = self.begin();
        let body = match ask {
            GroupAsk::List { after } => {
                let after = after.as_deref().map(|after| b.create_string(after));
                let body = wire::ListGroups::create(b, &wire::ListGroupsArgs { after });
                body.as_union_value()
            }
            GroupAsk::Describe { group, first } => {
                let args = wire::DescribeGroupArgs {
                    group: Some(b.create_string(group)),
                    first: *first,
                };
                let body = wire::DescribeGroup::create(b, &args);
                body.as_union_value()
            }
            GroupAsk::Commit { group, offsets } => {
                check("entries", offsets.len(), REQUEST_PARTITIONS_MAX)?;
                let entry = |(key, offset): &(PartitionKey, Offset)| {
                    wire::CommitEntry::new(&key.topic.into(), offset.0, key.partition.0)
                };
                let args = wire::CommitOffsetsArgs {
                    group: Some(b.create_string(group)),
                    entries: Some(b.create_vector_from_iter(offsets.iter().map(entry))),
                };
                let body = wire::CommitOffsets::create(b, &args);
                body.as_union_value()
            }
            GroupAsk::Delete { group } => {
                let group = Some(b.create_string(group));
                let body = wire::DeleteGroup::create(b, &wire::DeleteGroupArgs { group });
                body.as_union_value()
            }
        };
        self.finish(correlation, ask.body_type(), body, 0, out)
    }
}

impl ReplyWriter {
    /// The groups that come after those known, as many as fit.
    pub fn groups_listed(&mut self, correlation: u32, groups: &[GroupListing], out: &mut Vec<u8>) {
        let b = self.begin();
        let mut told = Vec::new();
        for listing in groups.iter().take(PAGE_GROUPS_MAX) {
            if b.unfinished_data().len() + 2 * ITEM_BYTES_MAX > FRAME_HEADER_BYTES_MAX {
                break;
            }
            told.push(group(b, listing));
        }
        let args = wire::GroupsListedArgs {
            groups: Some(b.create_vector(&told)),
            more: told.len() < groups.len(),
        };
        let body = wire::GroupsListed::create(b, &args).as_union_value();
        self.finish(correlation, ReplyBody::GroupsListed, body, 0, out);
    }

    /// A group; of all its offsets those behind the first `first` ones, as many as fit.
    pub fn group_described(
        &mut self,
        correlation: u32,
        described: &GroupDescription,
        first: u32,
        offsets: &[(PartitionKey, Committed)],
        out: &mut Vec<u8>,
    ) {
        let b = self.begin();
        let mut members = Vec::new();
        for one in described.members.iter().take(PAGE_MEMBERS_MAX) {
            if b.unfinished_data().len() > MEMBERS_UNTIL_BYTES {
                break;
            }
            members.push(member(b, one));
        }
        let rest = offsets.get(first as usize..).unwrap_or(&[]);
        let page = rest.iter().take(PAGE_OFFSETS_MAX).map(|(key, committed)| {
            let (offset, at) = (committed.offset.0, committed.at.0);
            wire::CommittedEntry::new(&key.topic.into(), offset, at, key.partition.0)
        });
        let args = wire::GroupDescribedArgs {
            group: Some(group(b, &described.listing)),
            generation: described.generation.0,
            protocol: Some(b.create_string(cut(&described.protocol))),
            member_count: described.members.len() as u32,
            members: Some(b.create_vector(&members)),
            first,
            offset_count: offsets.len() as u32,
            offsets: Some(b.create_vector_from_iter(page)),
        };
        let body = wire::GroupDescribed::create(b, &args).as_union_value();
        self.finish(correlation, ReplyBody::GroupDescribed, body, 0, out);
    }

    /// The offsets are set.
    pub fn offsets_committed(&mut self, correlation: u32, out: &mut Vec<u8>) {
        let b = self.begin();
        let body = wire::OffsetsCommitted::create(b, &wire::OffsetsCommittedArgs {});
        let body = body.as_union_value();
        self.finish(correlation, ReplyBody::OffsetsCommitted, body, 0, out);
    }

    /// The group is deleted.
    pub fn group_deleted(&mut self, correlation: u32, out: &mut Vec<u8>) {
        let b = self.begin();
        let body = wire::GroupDeleted::create(b, &wire::GroupDeletedArgs {}).as_union_value();
        self.finish(correlation, ReplyBody::GroupDeleted, body, 0, out);
    }
}

const STATES: [(GroupState, wire::GroupState); 4] = [
    (GroupState::Empty, wire::GroupState::Empty),
    (
        GroupState::PreparingRebalance,
        wire::GroupState::PreparingRebalance,
    ),
    (
        GroupState::CompletingRebalance,
        wire::GroupState::CompletingRebalance,
    ),
    (GroupState::Stable, wire::GroupState::Stable),
];

fn group(b: &mut Scratch, listing: &GroupListing) -> WIPOffset<wire::Group<'static>> {
    let row = STATES.iter().find(|row| row.0 == listing.state);
    let args = wire::GroupArgs {
        name: Some(b.create_string(&listing.group)),
        protocol_type: Some(b.create_string(cut(&listing.protocol_type))),
        state: row.expect("every state has a row").1,
    };
    wire::Group::create(b, &args)
}

fn member(b: &mut Scratch, member: &MemberDescription) -> WIPOffset<wire::GroupMember<'static>> {
    let instance = member.identity.instance.as_deref();
    let args = wire::GroupMemberArgs {
        member: Some(b.create_string(cut(&member.identity.member))),
        instance: instance.map(|instance| b.create_string(cut(instance))),
        client: Some(b.create_string(cut(&member.client))),
        host: Some(b.create_string(cut(&member.host))),
    };
    wire::GroupMember::create(b, &args)
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(TEXT_BYTES_MAX)]
}

/// Reads a reply about groups; `None` if it is of another kind.
pub(super) fn decode_told(root: &wire::Reply<'_>) -> Result<Option<GroupTold>, ReplyError> {
    if let Some(listed) = root.body_as_groups_listed() {
        let groups = listed.groups().iter().map(|group| listing(&group));
        let groups = groups.collect::<Result<_, _>>()?;
        return Ok(Some(GroupTold::Listed(groups, listed.more())));
    }
    if let Some(page) = root.body_as_group_described() {
        return described(&page).map(|page| Some(GroupTold::Described(Box::new(page))));
    }
    if root.body_as_offsets_committed().is_some() {
        return Ok(Some(GroupTold::Committed));
    }
    Ok(root.body_as_group_deleted().map(|_| GroupTold::Deleted))
}

fn listing(group: &wire::Group<'_>) -> Result<GroupListing, ReplyError> {
    let row = STATES.iter().find(|row| row.1 == group.state());
    let unknown = || ReplyError::Malformed("unknown state of a group".to_owned());
    Ok(GroupListing {
        group: group.name().to_owned(),
        protocol_type: group.protocol_type().to_owned(),
        state: row.ok_or_else(unknown)?.0,
    })
}

fn described(page: &wire::GroupDescribed<'_>) -> Result<GroupPage, ReplyError> {
    let members = page.members().iter().map(|member| MemberDescription {
        identity: Identity {
            member: member.member().to_owned(),
            instance: member.instance().map(str::to_owned),
        },
        client: member.client().to_owned(),
        host: member.host().to_owned(),
        metadata: bytes::Bytes::new(),
        assignment: bytes::Bytes::new(),
    });
    let offsets = page.offsets().iter().map(|entry| {
        let key = key(entry.topic(), entry.partition());
        (key, Offset(entry.offset()), TimestampMs(entry.time_ms()))
    });
    Ok(GroupPage {
        group: GroupDescription {
            listing: listing(&page.group())?,
            generation: Generation(page.generation()),
            protocol: page.protocol().to_owned(),
            members: members.collect(),
        },
        member_count: page.member_count(),
        first: page.first(),
        offset_count: page.offset_count(),
        offsets: offsets.collect(),
    })
}
