//! SyncGroup: a member's part of the work; from the leader, everybody's.

use crate::base::group::{Generation, GroupError, Identity, SyncGroup, Synced};
use crate::protocol::kafka::error;
use crate::protocol::kafka::wire::{Blob, message};

message! {
    /// Who asks, and what the leader has decided.
    pub struct SyncGroupRequest {
        group_id: String [0],
        generation_id: i32 [0],
        member_id: String [0],
        group_instance_id: Option<String> [3],
        protocol_type: Option<String> [5],
        protocol_name: Option<String> [5],
        assignments: Vec<SyncGroupRequestAssignment> [0],
    }
}

message! {
    /// What a member is assigned.
    pub struct SyncGroupRequestAssignment {
        member_id: String [0],
        assignment: Blob [0],
    }
}

message! {
    /// The answer.
    pub struct SyncGroupResponse {
        throttle_time_ms: i32 [1],
        error_code: i16 [0],
        protocol_type: Option<String> [5],
        protocol_name: Option<String> [5],
        assignment: Blob [0],
    }
}

/// What is asked of the coordinator.
pub fn asked(request: SyncGroupRequest) -> SyncGroup {
    let assignments = request.assignments.into_iter();
    SyncGroup {
        group: request.group_id,
        identity: Identity {
            member: request.member_id,
            instance: request.group_instance_id,
        },
        generation: Generation(request.generation_id),
        protocol_type: request.protocol_type,
        protocol: request.protocol_name,
        assignments: assignments
            .map(|one| (one.member_id, one.assignment.0.into()))
            .collect(),
    }
}

/// The answer.
pub fn answer(synced: Result<Synced, GroupError>) -> SyncGroupResponse {
    match synced {
        Ok(synced) => SyncGroupResponse {
            protocol_type: Some(synced.protocol_type),
            protocol_name: Some(synced.protocol),
            assignment: Blob(synced.assignment.into()),
            ..SyncGroupResponse::default()
        },
        Err(refusal) => SyncGroupResponse {
            error_code: error::group_code(&refusal),
            ..SyncGroupResponse::default()
        },
    }
}
