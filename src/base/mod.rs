//! base: the nouns that every room shares.
//!
//! Does: ids and offsets, limits with their arithmetic, the record batch as a checked view and its builder, checksums,
//! a seeded random generator, the stages of a message's way and their histograms, what is asked of consumer groups,
//! what topics and queues are set to, which clients ask for what.
//! May import: std, bytes, zerocopy, crc-fast, crc32fast, hdrhistogram, thiserror; the codecs, which only `unpack` uses.
//! Must not know: any other room.
//!
//! Invariants: everything here is synchronous and deterministic; a view that exists has been checked.

pub mod batch;
pub mod batch_stream;
pub mod body;
pub mod checksum;
pub mod clients;
pub mod gap;
pub mod group;
pub mod ids;
pub mod limits;
pub mod planted;
pub mod prng;
pub mod queue;
pub mod record;
pub mod slice;
pub mod stages;
pub mod topic;
pub mod unpack;
pub mod varint;

pub use batch::{BatchError, RecordBatch};
pub use batch_stream::{BatchStream, Damage};
pub use body::{Body, Part};
pub use ids::{AckLevel, CoreId, NodeId, Offset, PartitionKey, PartitionNo, TimestampMs, TopicId};
pub use stages::{Counter, Stage, Stages};
pub use topic::{KEEP_ALL, TimestampType, TopicChange, TopicSettings};
