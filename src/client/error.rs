//! Why a call of the client fails.

use crate::base::{CoreId, Offset};
use crate::client::session::SessionError;
use crate::protocol::native::{Refusal, TooLarge};
use std::time::Duration;
use thiserror::Error;

/// A failure. `Display` is one line for a person: the cause, and where from.
#[derive(Error, Debug)]
pub enum ClientError {
    /// Nobody answers there; nothing was sent.
    #[error("cannot connect to {address}: {cause}")]
    Connect {
        /// The address dialled.
        address: String,
        /// Why not.
        cause: std::io::Error,
    },
    /// The connection ended before the answer: whether the request was carried out is unknown.
    #[error("connection to {address} lost: {cause}")]
    Lost {
        /// The address.
        address: String,
        /// Why.
        cause: String,
    },
    /// No answer in time: whether the request was carried out is unknown.
    #[error("no answer from {address} within {} ms", after.as_millis())]
    Timeout {
        /// The address.
        address: String,
        /// How long was waited.
        after: Duration,
    },
    /// What answers is no broker of ours, or a broken one.
    #[error("{address}: {cause}")]
    Session {
        /// The address.
        address: String,
        /// What is wrong.
        cause: SessionError,
    },
    /// The broker refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A request above a limit of the protocol; nothing was sent.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
    /// A record above the largest batch; it was not taken.
    #[error("a record of {bytes} bytes is above the limit of {limit}")]
    RecordTooLarge {
        /// Its bytes.
        bytes: usize,
        /// What is allowed.
        limit: usize,
    },
    /// The topic has fewer partitions.
    #[error("topic {topic} has no partition {partition}, only {partitions}")]
    NoPartition {
        /// The topic.
        topic: String,
        /// What was asked for.
        partition: u32,
        /// How many there are.
        partitions: u32,
    },
    /// Another core answers than the one that has what is wanted.
    #[error(
        "{address} leads to core {found}, not {wanted}: a consumer of a queue must reach the port of every core"
    )]
    WrongCore {
        /// The address.
        address: String,
        /// The core that was wanted.
        wanted: CoreId,
        /// The one that answers.
        found: CoreId,
    },
    /// Bytes came back that are no records, or not those that were stored.
    #[error("topic {topic} partition {partition} at offset {offset}: {cause}")]
    Damaged {
        /// The topic.
        topic: String,
        /// The partition.
        partition: u32,
        /// The first offset that cannot be read.
        offset: Offset,
        /// What is wrong.
        cause: String,
    },
    /// A batch that this client cannot unpack.
    #[error(
        "topic {topic} partition {partition} at offset {offset}: a compressed batch cannot be read: {cause}; begin behind it"
    )]
    Compressed {
        /// The topic.
        topic: String,
        /// The partition.
        partition: u32,
        /// The first offset of the batch.
        offset: Offset,
        /// What is wrong.
        cause: String,
    },
}

impl ClientError {
    /// Whether the same call may succeed later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Lost { .. } | Self::Timeout { .. } => true,
            Self::Refused(refusal) => refusal.code.is_transient(),
            _ => false,
        }
    }

    /// Whether the request may have been carried out although no answer came.
    pub fn is_unknown(&self) -> bool {
        matches!(
            self,
            Self::Lost { .. } | Self::Timeout { .. } | Self::Session { .. }
        )
    }
}
