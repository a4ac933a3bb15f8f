//! ApiVersions: what is served. No tagged field is ever sent: librdkafka before 2.2 does not skip them here.

use crate::protocol::kafka::api::{self, APIS};
use crate::protocol::kafka::error;
use crate::protocol::kafka::frame::respond;
use crate::protocol::kafka::wire::message;

message! {
    /// Who asks.
    pub struct ApiVersionsRequest {
        client_software_name: String [3],
        client_software_version: String [3],
    }
}

impl ApiVersionsRequest {
    /// The software that asks and its version, if both are what KIP-511 lets them be: letters, digits, dots and dashes, with
    /// neither of the latter at an end.
    pub fn software(&self) -> Option<(&str, &str)> {
        let inner = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
        let is_name = |text: &str| {
            let bytes = text.as_bytes();
            let ends = [bytes.first(), bytes.last()];
            let ends = ends
                .iter()
                .all(|end| end.is_some_and(u8::is_ascii_alphanumeric));
            ends && bytes.iter().all(inner)
        };
        let (name, version) = (&self.client_software_name, &self.client_software_version);
        (is_name(name) && is_name(version)).then_some((name, version))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn software_is_told_by_names_that_are_names() {
        for (name, version, is_told) in [
            ("librdkafka", "2.0.2", true),
            ("apache-kafka-java", "3", true),
            ("", "1", false),
            ("a", "", false),
            ("-a", "1", false),
            ("a.", "1", false),
            ("a b", "1", false),
            ("a", "1\n", false),
        ] {
            let request = ApiVersionsRequest {
                client_software_name: name.to_owned(),
                client_software_version: version.to_owned(),
            };
            let told = is_told.then_some((name, version));
            assert_eq!(request.software(), told, "{name:?} {version:?}");
        }
    }
}
