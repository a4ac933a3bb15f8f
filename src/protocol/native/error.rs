//! Error codes of the wire: a row per refusal, both ways.

use super::wire;
use crate::engine::EngineError;
use std::fmt::{self, Display};

/// What went wrong, as a client decides by it. Unlike [`EngineError`] it has no details: those are in the message.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ErrorCode {
    /// No topic of that name or id.
    UnknownTopic,
    /// The topic has fewer partitions.
    UnknownPartition,
    /// The name is taken.
    TopicExists,
    /// A name, count or setting outside its limits.
    InvalidRequest,
    /// A record batch failed a check; nothing was appended.
    BadBatch,
    /// The offset is outside what the partition holds.
    OffsetOutOfRange,
    /// The disk is full; nothing was appended.
    DiskFull,
    /// The partition is damaged and was refused at start.
    Damaged,
    /// A write or a sync failed: whether the records are stored is unknown.
    StorageFailed,
    /// The broker is stopping; nothing was appended.
    Stopping,
    /// Too much is in flight; nothing was appended; try again.
    Overloaded,
    /// No queue of that name.
    UnknownQueue,
    /// The name is taken.
    QueueExists,
    /// A queue needs the topic.
    TopicInUse,
    /// The request cannot be read; the broker closes the connection.
    Malformed,
    /// No version in common; the broker closes the connection.
    UnsupportedVersion,
    /// A request before hello, or a second hello; the broker closes the connection.
    HelloFirst,
    /// A kind of request that this broker does not know.
    UnknownRequest,
    /// More entries or bytes than one request may have.
    LimitExceeded,
    /// A code that this build does not know.
    Other(u16),
}

/// A row per code: its number on the wire, whether the same request may succeed later, and what it says by itself
/// where the message was left out for want of room.
const ROWS: [(ErrorCode, wire::ErrorCode, bool, &str); 19] = {
    use ErrorCode as E;
    use wire::ErrorCode as W;
    [
        (E::UnknownTopic, W::UnknownTopic, false, "unknown topic"),
        (
            E::UnknownPartition,
            W::UnknownPartition,
            false,
            "unknown partition",
        ),
        (
            E::TopicExists,
            W::TopicExists,
            false,
            "topic exists already",
        ),
        (
            E::InvalidRequest,
            W::InvalidRequest,
            false,
            "invalid request",
        ),
        (E::BadBatch, W::BadBatch, false, "record batch refused"),
        (
            E::OffsetOutOfRange,
            W::OffsetOutOfRange,
            false,
            "offset out of range",
        ),
        (E::DiskFull, W::DiskFull, true, "disk is full"),
        (E::Damaged, W::Damaged, false, "partition is damaged"),
        (
            E::StorageFailed,
            W::StorageFailed,
            false,
            "storage failed, the outcome is unknown",
        ),
        (E::Stopping, W::Stopping, true, "broker is stopping"),
        (E::Overloaded, W::Overloaded, true, "broker is overloaded"),
        (E::UnknownQueue, W::UnknownQueue, false, "unknown queue"),
        (
            E::QueueExists,
            W::QueueExists,
            false,
            "queue exists already",
        ),
        (
            E::TopicInUse,
            W::TopicInUse,
            false,
            "a queue needs the topic",
        ),
        (E::Malformed, W::Malformed, false, "malformed request"),
        (
            E::UnsupportedVersion,
            W::UnsupportedVersion,
            false,
            "no protocol version in common",
        ),
        (
            E::HelloFirst,
            W::HelloFirst,
            false,
            "the first request must be hello, and only the first",
        ),
        (
            E::UnknownRequest,
            W::UnknownRequest,
            false,
            "unknown kind of request",
        ),
        (
            E::LimitExceeded,
            W::LimitExceeded,
            false,
            "request is above a limit",
        ),
    ]
};

impl ErrorCode {
    /// The number on the wire.
    pub fn code(self) -> u16 {
        match self {
            Self::Other(code) => code,
            known => known.row().map_or(0, |row| row.1.0),
        }
    }

    /// What a number on the wire stands for; `None` for success.
    pub fn from_code(code: u16) -> Option<Self> {
        if code == wire::ErrorCode::Ok.0 {
            return None;
        }
        let row = ROWS.iter().find(|row| row.1.0 == code);
        Some(row.map_or(Self::Other(code), |row| row.0))
    }

    /// Whether the same request may succeed later. For a produce it also says that nothing was appended.
    pub fn is_transient(self) -> bool {
        self.row().is_some_and(|row| row.2)
    }

    pub(super) fn on_wire(self) -> wire::ErrorCode {
        wire::ErrorCode(self.code())
    }

    fn row(self) -> Option<&'static (Self, wire::ErrorCode, bool, &'static str)> {
        ROWS.iter().find(|row| row.0 == self)
    }
}

impl Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self, self.row()) {
            (_, Some(row)) => f.write_str(row.3),
            (_, None) => write!(f, "error code {}", self.code()),
        }
    }
}

impl From<&EngineError> for ErrorCode {
    fn from(error: &EngineError) -> Self {
        match error {
            EngineError::UnknownTopic(_) => Self::UnknownTopic,
            EngineError::UnknownPartition(_) => Self::UnknownPartition,
            EngineError::TopicExists(_) => Self::TopicExists,
            EngineError::UnknownQueue(_) => Self::UnknownQueue,
            EngineError::QueueExists(_) => Self::QueueExists,
            EngineError::TopicInUse(_) => Self::TopicInUse,
            EngineError::InvalidRequest(_)
            | EngineError::InvalidPartitions(_)
            | EngineError::InvalidSetting(_)
            | EngineError::OutOfOrder { .. }
            | EngineError::Fenced { .. } => Self::InvalidRequest,
            EngineError::BadBatch(_)
            | EngineError::BatchTooLarge { .. }
            | EngineError::InvalidTimestamp { .. } => Self::BadBatch,
            EngineError::OffsetOutOfRange { .. } => Self::OffsetOutOfRange,
            EngineError::DiskFull => Self::DiskFull,
            EngineError::Damaged(_) => Self::Damaged,
            EngineError::StorageFailed(_) => Self::StorageFailed,
            EngineError::Stopping => Self::Stopping,
            EngineError::Overloaded(_) => Self::Overloaded,
        }
    }
}

/// A refusal as a client sees it: a code to decide by, one line for a person.
#[derive(thiserror::Error, Clone, PartialEq, Eq, Debug)]
#[error("{message}")]
pub struct Refusal {
    /// What to decide by.
    pub code: ErrorCode,
    /// What to show.
    pub message: String,
}

impl Refusal {
    /// A refusal with its message; without one, with what the code says by itself.
    pub fn new(code: ErrorCode, message: Option<&str>) -> Self {
        Self {
            code,
            message: message.map_or_else(|| code.to_string(), str::to_owned),
        }
    }
}

impl From<&EngineError> for Refusal {
    fn from(error: &EngineError) -> Self {
        Self {
            code: error.into(),
            message: error.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_of_the_schema_has_one_row_and_comes_back() {
        for known in wire::ErrorCode::ENUM_VALUES {
            let Some(code) = ErrorCode::from_code(known.0) else {
                assert_eq!(*known, wire::ErrorCode::Ok);
                continue;
            };
            assert!(!matches!(code, ErrorCode::Other(_)), "{known:?} has no row");
            assert_eq!(code.code(), known.0);
            assert_eq!(ROWS.iter().filter(|row| row.1 == *known).count(), 1);
        }
        assert_eq!(ROWS.len() + 1, wire::ErrorCode::ENUM_VALUES.len());
    }

    #[test]
    fn an_unknown_number_is_kept() {
        assert_eq!(ErrorCode::from_code(999), Some(ErrorCode::Other(999)));
        assert_eq!(ErrorCode::Other(999).code(), 999);
        assert_eq!(ErrorCode::Other(999).to_string(), "error code 999");
    }

    #[test]
    fn an_unknown_outcome_is_never_called_transient() {
        assert!(!ErrorCode::from(&EngineError::StorageFailed(String::new())).is_transient());
        assert!(ErrorCode::from(&EngineError::Overloaded("")).is_transient());
    }
}
