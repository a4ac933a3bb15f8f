//! protocol/kafka: the wire of Apache Kafka, the broker's end of it, sans-IO.
//!
//! Does: frames, the table of APIs and versions, requests and answers of each API.
//! May import: base, engine (the plain data that crosses the bridge, never the trait).
//! Must not know: sockets, cores, who answers; sibling protocols.
//!
//! ```text
//!   bytes ─ frame::split ─ frame::header ─┬─ Produce::parse ─ walk ─> slices of the receive buffer   (hot, by hand)
//!            (api, version, correlation)  ├─ Fetch::parse ── walk ─> engine::FetchRequest            (hot, by hand)
//!                                         └─ Cold::decode ─> one struct of a schema                  (all others)
//!   bytes <─ frame::respond <─ one struct of a schema;  produce::answer, fetch::answer + bodies
//! ```
//! One more API is: a row in `api`, a file with its messages and the pure part of its answer, a variant of [`Cold`], and
//! an arm where net answers.
//!
//! Invariants:
//! - What a request says of its sizes costs memory only as far as bytes are there, and 4 MiB at most.
//! - What has been parsed cannot fail later.
//! - A field that a version lacks is neither read nor written; tagged fields are read over, none is written.
//!
//! Decided: the messages are made by a macro here (`wire`), not by the crate kafka-protocol. Its decoders (0.18) allocate
//! whatever an array's count claims: 30 bytes that announce 2^31 topics ask for 200 GB and end the process. Source: the
//! schemas of Apache Kafka 4.1, clients/src/main/resources/common/message.

pub mod admin;
pub mod alter_configs;
pub mod api;
pub mod api_versions;
pub mod create_partitions;
pub mod create_topics;
pub mod delete_groups;
pub mod delete_records;
pub mod delete_topics;
pub mod describe_acls;
pub mod describe_cluster;
pub mod describe_configs;
pub mod describe_groups;
pub mod describe_log_dirs;
mod echo;
pub mod error;
pub mod fetch;
pub mod find_coordinator;
pub mod frame;
pub mod group;
pub mod heartbeat;
pub mod init_producer_id;
pub mod join_group;
pub mod leader_epoch;
pub mod leave_group;
pub mod list_groups;
pub mod list_offsets;
pub mod metadata;
pub mod offset_commit;
pub mod offset_fetch;
pub mod produce;
pub mod reassignments;
pub mod sync_group;
#[cfg(test)]
mod tests;
pub mod topic_settings;
pub mod wire;
pub mod zstd;

pub use admin::Admin;
pub use api::Api;
pub use echo::{Echo, Topic};
pub use fetch::Fetch;
pub use frame::{Asked, Header, Split, split};
pub use group::Group;
pub use metadata::Cluster;
pub use produce::Produce;
pub use wire::Malformed;

use api::key;
use wire::{Field, Reader, Shape};

/// The most partitions that one produce or fetch names: all that one topic can have, and then some.
pub const PARTITIONS_MAX: usize = 16_384;
const _: () = assert!(PARTITIONS_MAX >= crate::base::limits::TOPIC_PARTITIONS_MAX as usize);

/// From this version on, produces and fetches name topics by their ids.
pub const TOPIC_IDS_FROM: i16 = 13;

/// A request of an API that is not counted in nanoseconds.
#[derive(Clone, PartialEq, Debug)]
#[allow(missing_docs, reason = "each is the API of that name")]
pub enum Cold {
    ApiVersions(api_versions::ApiVersionsRequest),
    Metadata(metadata::MetadataRequest),
    ListOffsets(list_offsets::ListOffsetsRequest),
    InitProducerId(init_producer_id::InitProducerIdRequest),
    CreateTopics(create_topics::CreateTopicsRequest),
    DeleteTopics(delete_topics::DeleteTopicsRequest),
    Group(Group),
    Admin(Admin),
}

impl Cold {
    /// Decodes the body of a request of `api`. Returns the memory that it holds, too, in bytes.
    pub fn decode(api: &Api, shape: Shape, body: &[u8]) -> Result<(Self, usize), Malformed> {
        let mut reader = Reader::new(body);
        let reader_of = &mut reader;
        let request = match api.key {
            key::API_VERSIONS => read(reader_of, shape, Self::ApiVersions)?,
            key::METADATA => read(reader_of, shape, Self::Metadata)?,
            key::LIST_OFFSETS => read(reader_of, shape, Self::ListOffsets)?,
            key::INIT_PRODUCER_ID => read(reader_of, shape, Self::InitProducerId)?,
            key::CREATE_TOPICS => read(reader_of, shape, Self::CreateTopics)?,
            key::DELETE_TOPICS => read(reader_of, shape, Self::DeleteTopics)?,
            key if Admin::has(key) => Admin::decode(key, reader_of, shape).map(Self::Admin)?,
            _ => Group::decode(api.key, reader_of, shape).map(Self::Group)?,
        };
        Ok((request, reader.memory_bytes()))
    }
}

fn read<T: Field>(
    reader: &mut Reader<'_>,
    shape: Shape,
    wrap: impl FnOnce(T) -> Cold,
) -> Result<Cold, Malformed> {
    T::read(reader, shape).map(wrap)
}
