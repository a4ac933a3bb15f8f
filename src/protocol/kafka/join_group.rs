//! JoinGroup: taking part in the next generation of a group.

use crate::base::group::{GroupError, Identity, JoinGroup, Joined};
use crate::protocol::kafka::error;
use crate::protocol::kafka::wire::{Blob, message};

message! {
    /// Who wants to join, and what it can do.
    pub struct JoinGroupRequest {
        group_id: String [0],
        session_timeout_ms: i32 [0],
        rebalance_timeout_ms: i32 [1] = -1,
        member_id: String [0],
        group_instance_id: Option<String> [5],
        protocol_type: String [0],
        protocols: Vec<JoinGroupRequestProtocol> [0],
        reason: Option<String> [8],
    }
}

message! {
    /// A way of assigning.
    pub struct JoinGroupRequestProtocol {
        name: String [0],
        metadata: Blob [0],
    }
}

message! {
    /// The answer.
    pub struct JoinGroupResponse {
        throttle_time_ms: i32 [2],
        error_code: i16 [0],
        generation_id: i32 [0] = -1,
        protocol_type: Option<String> [7],
        protocol_name: String [0],
        leader: String [0],
        skip_assignment: bool [9],
        member_id: String [0],
        members: Vec<JoinGroupResponseMember> [0],
    }
}

message! {
    /// A member, for the leader.
    pub struct JoinGroupResponseMember {
        member_id: String [0],
        group_instance_id: Option<String> [5],
        metadata: Blob [0],
    }
}

/// What is asked of the coordinator, by a client of that name at that address.
pub fn asked(request: JoinGroupRequest, version: i16, client: String, host: String) -> JoinGroup {
    // A negative time is one that no coordinator allows.
    let session_ms = u32::try_from(request.session_timeout_ms).unwrap_or(0);
    let protocols = request.protocols.into_iter();
    JoinGroup {
        group: request.group_id,
        identity: Identity {
            member: request.member_id,
            instance: request.group_instance_id,
        },
        client,
        host,
        session_ms,
        rebalance_ms: u32::try_from(request.rebalance_timeout_ms).unwrap_or(session_ms),
        protocol_type: request.protocol_type,
        protocols: protocols
            .map(|protocol| (protocol.name, protocol.metadata.0.into()))
            .collect(),
        takes_member_id: version >= 4,
        can_skip_assignment: version >= 9,
    }
}

/// The answer to `member`, who asked.
pub fn answer(member: String, joined: Result<Joined, GroupError>) -> JoinGroupResponse {
    match joined {
        Ok(joined) => JoinGroupResponse {
            generation_id: joined.generation.0,
            protocol_type: Some(joined.protocol_type),
            protocol_name: joined.protocol,
            leader: joined.leader,
            skip_assignment: joined.skip_assignment,
            member_id: joined.member,
            members: joined
                .members
                .into_iter()
                .map(|member| JoinGroupResponseMember {
                    member_id: member.identity.member,
                    group_instance_id: member.identity.instance,
                    metadata: Blob(member.metadata.into()),
                })
                .collect(),
            ..JoinGroupResponse::default()
        },
        Err(refusal) => JoinGroupResponse {
            error_code: error::group_code(&refusal),
            member_id: match refusal {
                GroupError::MemberIdRequired(id) => id,
                _ => member,
            },
            ..JoinGroupResponse::default()
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_that_a_version_lacks_are_the_session() {
        let request = |rebalance_timeout_ms| JoinGroupRequest {
            session_timeout_ms: 10_000,
            rebalance_timeout_ms,
            ..JoinGroupRequest::default()
        };
        let join = |request, version| asked(request, version, String::new(), String::new());
        assert_eq!(join(request(-1), 0).rebalance_ms, 10_000);
        assert_eq!(join(request(300_000), 3).rebalance_ms, 300_000);
        assert!(!join(request(1), 3).takes_member_id);
        assert!(join(request(1), 4).takes_member_id);
        let negative = JoinGroupRequest {
            session_timeout_ms: -5,
            ..request(-1)
        };
        assert_eq!(join(negative, 4).session_ms, 0);
    }

    #[test]
    fn a_refusal_tells_the_id_to_come_back_with() {
        let required = GroupError::MemberIdRequired("new".to_owned());
        let told = answer(String::new(), Err(required));
        assert_eq!(told.error_code, error::MEMBER_ID_REQUIRED);
        assert_eq!(told.member_id, "new");
        let told = answer("old".to_owned(), Err(GroupError::UnknownMember));
        assert_eq!((told.generation_id, told.member_id.as_str()), (-1, "old"));
    }
}
