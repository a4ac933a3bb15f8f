//! DescribeGroups: groups from inside.

use crate::base::group::{GroupDescription, GroupState};
use crate::protocol::kafka::error;
use crate::protocol::kafka::wire::{Blob, message};

message! {
    /// Which.
    pub struct DescribeGroupsRequest {
        groups: Vec<String> [0],
        include_authorized_operations: bool [3],
    }
}

message! {
    /// The answer.
    pub struct DescribeGroupsResponse {
        throttle_time_ms: i32 [1],
        groups: Vec<DescribedGroup> [0],
    }
}

message! {
    /// A group.
    pub struct DescribedGroup {
        error_code: i16 [0],
        error_message: Option<String> [6],
        group_id: String [0],
        group_state: String [0],
        protocol_type: String [0],
        protocol_data: String [0],
        members: Vec<DescribedGroupMember> [0],
        authorized_operations: i32 [3] = i32::MIN,
    }
}

message! {
    /// A member.
    pub struct DescribedGroupMember {
        member_id: String [0],
        group_instance_id: Option<String> [4],
        client_id: String [0],
        client_host: String [0],
        member_metadata: Blob [0],
        member_assignment: Blob [0],
    }
}

/// A group as it is; one that is not there is called dead, and from version 6 on an error.
pub fn describe(
    group_id: String,
    described: Option<GroupDescription>,
    version: i16,
) -> DescribedGroup {
    let Some(group) = described else {
        let is_told = version >= 6;
        return DescribedGroup {
            error_code: if is_told {
                error::GROUP_ID_NOT_FOUND
            } else {
                error::NONE
            },
            error_message: is_told.then(|| format!("group {group_id} not found")),
            group_id,
            group_state: "Dead".to_owned(),
            ..DescribedGroup::default()
        };
    };
    // As Kafka has it: what is under way is not told.
    let is_stable = group.listing.state == GroupState::Stable;
    let members = group.members.into_iter();
    DescribedGroup {
        group_id,
        group_state: group.listing.state.name().to_owned(),
        protocol_type: group.listing.protocol_type,
        protocol_data: if is_stable {
            group.protocol
        } else {
            String::new()
        },
        members: members
            .map(|member| DescribedGroupMember {
                member_id: member.identity.member,
                group_instance_id: member.identity.instance,
                client_id: member.client,
                client_host: member.host,
                member_metadata: Blob(match is_stable {
                    true => member.metadata.into(),
                    false => Vec::new(),
                }),
                member_assignment: Blob(member.assignment.into()),
            })
            .collect(),
        ..DescribedGroup::default()
    }
}
