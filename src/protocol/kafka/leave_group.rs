//! LeaveGroup: members go.

use crate::base::group::{GroupError, Identity};
use crate::protocol::kafka::error;
use crate::protocol::kafka::wire::message;

message! {
    /// Who: one, or from version 3 on several.
    pub struct LeaveGroupRequest {
        group_id: String [0],
        member_id: String [0, 2],
        members: Vec<MemberIdentity> [3],
    }
}

message! {
    /// A member, by its id or by its instance.
    pub struct MemberIdentity {
        member_id: String [3],
        group_instance_id: Option<String> [3],
        reason: Option<String> [5],
    }
}

message! {
    /// The answer.
    pub struct LeaveGroupResponse {
        throttle_time_ms: i32 [1],
        error_code: i16 [0],
        members: Vec<MemberResponse> [3],
    }
}

message! {
    /// What became of a member.
    pub struct MemberResponse {
        member_id: String [3],
        group_instance_id: Option<String> [3],
        error_code: i16 [3],
    }
}

impl LeaveGroupRequest {
    /// Who is to go.
    pub fn members(&self, version: i16) -> Vec<Identity> {
        if version < 3 {
            return vec![Identity {
                member: self.member_id.clone(),
                instance: None,
            }];
        }
        let identity = |member: &MemberIdentity| Identity {
            member: member.member_id.clone(),
            instance: member.group_instance_id.clone(),
        };
        self.members.iter().map(identity).collect()
    }
}

/// The answer: before version 3 what became of the one member is what became of the request.
pub fn answer(
    members: Vec<Identity>,
    left: Vec<Result<(), GroupError>>,
    version: i16,
) -> LeaveGroupResponse {
    let mut codes = left.iter().map(error::group_result);
    if version < 3 {
        return LeaveGroupResponse {
            error_code: codes.next().unwrap_or(error::NONE),
            ..LeaveGroupResponse::default()
        };
    }
    let member = |(member, error_code): (Identity, i16)| MemberResponse {
        member_id: member.member,
        group_instance_id: member.instance,
        error_code,
    };
    LeaveGroupResponse {
        members: members.into_iter().zip(codes).map(member).collect(),
        ..LeaveGroupResponse::default()
    }
}
