//! ApiVersions: what is served. No tagged field is ever sent: librdkafka before 2.2 does not skip them here.

use crate::protocol::kafka::api::{self, APIS};
use crate::protocol::kafka::error;
use crate::protocol::kafka::frame::respond;
use crate::protocol::kafka::wire::message;

message! {
    /// Who asks; nothing is done with it.
    pub struct ApiVersionsRequest {
        client_software_name: String [3],
        client_software_version: String [3],
    }
}

message! {
    /// One API.
    pub struct ApiVersion {
        api_key: i16 [0],
        min_version: i16 [0],
        max_version: i16 [0],
    }
}

message! {
    /// All of them.
    pub struct ApiVersionsResponse {
        error_code: i16 [0],
        api_keys: Vec<ApiVersion> [0],
        throttle_time_ms: i32 [1],
    }
}

/// The answer.
pub fn answer(error_code: i16) -> ApiVersionsResponse {
    let row = |api: &api::Api| ApiVersion {
        api_key: api.key,
        min_version: api.told_first,
        max_version: api.last,
    };
    ApiVersionsResponse {
        error_code,
        api_keys: APIS.iter().map(row).collect(),
        throttle_time_ms: 0,
    }
}

/// Appends the answer to a request of a version that is not known: in version 0, which every client can read.
pub fn refuse_version(correlation: i32, out: &mut Vec<u8>) {
    let api = api::find(api::key::API_VERSIONS).expect("it is in the table");
    respond(
        api,
        0,
        correlation,
        &answer(error::UNSUPPORTED_VERSION),
        out,
    );
}
