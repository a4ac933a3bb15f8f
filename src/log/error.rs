//! Errors of the log, one enum per operation.

use crate::base::PartitionKey;
use std::path::PathBuf;
use thiserror::Error;

/// Why an append was refused. Nothing of the batch was taken.
#[derive(Error, Clone, PartialEq, Eq, Debug)]
pub enum AppendError {
    /// The disk is full or below its reserve; goes away by itself when space is back.
    #[error("disk is full")]
    DiskFull,
    /// The log is being stopped, or the partition deleted.
    #[error("log is stopping")]
    Stopping,
    /// A write or sync failed earlier: nothing is taken until a restart.
    #[error("storage failed: {0}")]
    Failed(String),
}

/// Why a read failed.
#[derive(Error, Clone, PartialEq, Eq, Debug)]
pub enum ReadError {
    /// The offset lies outside what the partition holds.
    #[error("offset out of range")]
    OutOfRange,
    /// The bytes are there and wrong.
    #[error("damaged: {0}")]
    Damaged(String),
    /// The file could not be read.
    #[error("cannot read: {0}")]
    Io(String),
}

/// Why the log could not be opened, changed or stopped.
#[derive(Error, Debug)]
pub enum LogError {
    /// A file or directory operation failed.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's word.
        #[source]
        source: std::io::Error,
    },
    /// What was written may be gone, whatever the reason, and a second try would not tell: it is final.
    #[error("cannot sync {path}: {source}")]
    Sync {
        /// Which file or directory.
        path: PathBuf,
        /// The system's word.
        #[source]
        source: std::io::Error,
    },
    /// The partition was refused at start, its bytes kept.
    #[error("partition {key} is damaged: {reason}")]
    Damaged {
        /// Which.
        key: PartitionKey,
        /// Why.
        reason: String,
    },
    /// The journal cannot be understood as a whole.
    #[error("journal {path}: {reason}")]
    Journal {
        /// Which file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A write or sync failed: nothing more is taken until a restart.
    #[error("storage failed: {0}")]
    Failed(String),
}

impl LogError {
    /// For `map_err`: names the action and the path.
    pub(crate) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }

    /// For `map_err` behind a sync: names the path.
    pub(crate) fn sync(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Sync { path, source }
    }
}
