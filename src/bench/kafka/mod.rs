//! bench/kafka: a Kafka client of the bench's own, for any broker that speaks Kafka, ours or another.
//!
//! Does: asks a broker for its versions, its brokers and topics, and makes those ([`admin`], blocking); produces and
//! fetches on cores ([`driver`], pipelined; [`wire`], the frames).
//! May import: base, io, client's nouns, protocol/kafka.
//! Must not know: what is measured.
//!
//! ```text
//!   admin ── ApiVersions ──> Versions ─┐
//!         ── Metadata ────> TopicInfo ─┴──> driver ── wire ──> socket
//! ```
//! A version is the highest that both ends have: topics go by their names or by their ids as the version has it.

pub mod admin;
pub mod driver;
pub mod wire;

use crate::protocol::kafka::api::{self, Api, key};

/// What this software calls itself.
const SOFTWARE: &str = "millrace-bench";

/// The versions that a load speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Versions {
    /// Of Produce.
    pub produce: i16,
    /// Of Fetch.
    pub fetch: i16,
}

/// The API with a key of [`key`].
fn api(key: i16) -> &'static Api {
    api::find(key).expect("the table has every key that code names")
}

/// ApiVersions, as every connection begins: its version 3 is the first that says who asks.
fn greeting(correlation: i32, out: &mut Vec<u8>) {
    let request = crate::protocol::kafka::api_versions::ApiVersionsRequest {
        client_software_name: SOFTWARE.to_owned(),
        client_software_version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    wire::request(api(key::API_VERSIONS), GREETING, correlation, &request, out);
}

/// The version of [`greeting`].
const GREETING: i16 = 3;
