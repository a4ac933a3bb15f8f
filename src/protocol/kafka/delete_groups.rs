//! DeleteGroups, and OffsetDelete, which deletes some of a group's offsets: of a group that lives, those of topics that no
//! member wants.

use crate::base::group::GroupDescription;
use crate::protocol::kafka::wire::{Malformed, Reader, Shape, message};
use std::collections::BTreeSet;

/// The protocol type of the groups whose members say which topics they want.
const CONSUMER: &str = "consumer";

message! {
    /// Which groups.
    pub struct DeleteGroupsRequest {
        groups_names: Vec<String> [0],
    }
}

message! {
    /// The answer.
    pub struct DeleteGroupsResponse {
        throttle_time_ms: i32 [0],
        results: Vec<DeletableGroupResult> [0],
    }
}

message! {
    /// What became of a group.
    pub struct DeletableGroupResult {
        group_id: String [0],
        error_code: i16 [0],
    }
}

message! {
    /// Which offsets.
    pub struct OffsetDeleteRequest {
        group_id: String [0],
        topics: Vec<OffsetDeleteRequestTopic> [0],
    }
}

message! {
    /// Which of a topic.
    pub struct OffsetDeleteRequestTopic {
        name: String [0],
        partitions: Vec<i32> [0],
    }
}

message! {
    /// The answer.
    pub struct OffsetDeleteResponse {
        error_code: i16 [0],
        throttle_time_ms: i32 [0],
        topics: Vec<OffsetDeleteResponseTopic> [0],
    }
}

message! {
    /// For a topic.
    pub struct OffsetDeleteResponseTopic {
        name: String [0],
        partitions: Vec<OffsetDeleteResponsePartition> [0],
    }
}

message! {
    /// For a partition.
    pub struct OffsetDeleteResponsePartition {
        partition_index: i32 [0],
        error_code: i16 [0],
    }
}

/// Which topics the members of a group want.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Wanted {
    /// There are no members, or of a kind that says nothing about topics.
    Unsaid,
    /// These.
    Topics(BTreeSet<String>),
    /// Perhaps any: a member has not told it in words that we know.
    Unknown,
}

impl Wanted {
    /// What the members of `group` want.
    pub fn of(group: &GroupDescription) -> Self {
        if group.members.is_empty() || group.listing.protocol_type != CONSUMER {
            return Self::Unsaid;
        }
        let mut wanted = BTreeSet::new();
        for member in &group.members {
            match subscription(&member.metadata) {
                Ok(topics) => wanted.extend(topics),
                Err(_) => return Self::Unknown,
            }
        }
        Self::Topics(wanted)
    }

    /// Whether a member may want this topic.
    pub fn has(&self, topic: &str) -> bool {
        match self {
            Self::Unsaid => false,
            Self::Topics(topics) => topics.contains(topic),
            Self::Unknown => true,
        }
    }
}

/// The topics in a consumer's metadata: version, topics, and what later versions add.
fn subscription(metadata: &[u8]) -> Result<Vec<String>, Malformed> {
    let shape = Shape {
        version: 0,
        is_flexible: false,
    };
    let mut reader = Reader::new(metadata);
    let _version = reader.i16()?;
    let count = reader.count(shape)?.unwrap_or_default();
    let topic = |_| {
        let name = reader.string(shape)?;
        name.map(str::to_owned).ok_or(Malformed::Field("null"))
    };
    (0..count).map(topic).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::group::{Generation, GroupListing, GroupState, Identity, MemberDescription};

    /// A consumer's metadata of version 1, as Kafka's clients write it.
    fn metadata(topics: &[&str]) -> Vec<u8> {
        let mut bytes = vec![0, 1];
        bytes.extend((topics.len() as i32).to_be_bytes());
        for topic in topics {
            bytes.extend((topic.len() as i16).to_be_bytes());
            bytes.extend_from_slice(topic.as_bytes());
        }
        // No user data, no partitions.
        bytes.extend([0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
        bytes
    }

    fn group(protocol_type: &str, members: &[Vec<u8>]) -> GroupDescription {
        let members = members.iter().map(|metadata| MemberDescription {
            identity: Identity::default(),
            client: String::new(),
            host: String::new(),
            metadata: metadata.clone().into(),
            assignment: Default::default(),
        });
        GroupDescription {
            listing: GroupListing {
                group: "one".to_owned(),
                protocol_type: protocol_type.to_owned(),
                state: GroupState::Stable,
            },
            generation: Generation(1),
            protocol: "range".to_owned(),
            members: members.collect(),
        }
    }

    #[test]
    fn a_topic_is_wanted_if_a_member_says_so() {
        let members = [metadata(&["a", "b"]), metadata(&[]), metadata(&["c"])];
        let wanted = Wanted::of(&group(CONSUMER, &members));
        let has: Vec<_> = ["a", "b", "c", "d"]
            .into_iter()
            .filter(|topic| wanted.has(topic))
            .collect();
        assert_eq!(has, ["a", "b", "c"]);
        assert_eq!(Wanted::of(&group("connect", &members)), Wanted::Unsaid);
        assert_eq!(Wanted::of(&group(CONSUMER, &[])), Wanted::Unsaid);
    }

    #[test]
    fn what_a_member_says_in_unknown_words_may_be_any_topic() {
        let whole = metadata(&["a", "b"]);
        // What later versions add is not looked at.
        let read = whole.len() - 8;
        for end in 0..whole.len() {
            let wanted = Wanted::of(&group(CONSUMER, &[whole[..end].to_vec()]));
            assert_eq!(wanted == Wanted::Unknown, end < read, "cut at {end}");
            assert_eq!(wanted.has("d"), end < read, "cut at {end}");
        }
        let mut many = whole;
        many[2..6].copy_from_slice(&i32::MAX.to_be_bytes());
        assert_eq!(Wanted::of(&group(CONSUMER, &[many])), Wanted::Unknown);
    }
}
