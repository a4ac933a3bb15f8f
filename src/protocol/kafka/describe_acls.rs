//! DescribeAcls: nobody is authorized, and that is what it tells.

use crate::protocol::kafka::error;
use crate::protocol::kafka::wire::message;

message! {
    /// Which ones.
    pub struct DescribeAclsRequest {
        resource_type_filter: i8 [0],
        resource_name_filter: Option<String> [0],
        pattern_type_filter: i8 [1] = 3,
        principal_filter: Option<String> [0],
        host_filter: Option<String> [0],
        operation: i8 [0],
        permission_type: i8 [0],
    }
}

message! {
    /// The answer. The list of resources is always empty, so what is in it does not matter.
    pub struct DescribeAclsResponse {
        throttle_time_ms: i32 [0],
        error_code: i16 [0],
        error_message: Option<String> [0],
        resources: Vec<i8> [0],
    }
}

/// The answer.
pub fn answer() -> DescribeAclsResponse {
    DescribeAclsResponse {
        error_code: error::SECURITY_DISABLED,
        error_message: Some("there is no authorization".to_owned()),
        ..DescribeAclsResponse::default()
    }
}
