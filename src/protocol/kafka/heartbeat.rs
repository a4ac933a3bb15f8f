//! Heartbeat: a member lives.

use crate::protocol::kafka::wire::message;

message! {
    /// Who.
    pub struct HeartbeatRequest {
        group_id: String [0],
        generation_id: i32 [0],
        member_id: String [0],
        group_instance_id: Option<String> [3],
    }
}

message! {
    /// Whether it is still a member, and of this generation.
    pub struct HeartbeatResponse {
        throttle_time_ms: i32 [1],
        error_code: i16 [0],
    }
}
