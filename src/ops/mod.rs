//! ops: reads everything, decides nothing: preflight checks, options, what is reported.
//!
//! May import: base, io, engine, shard, net. Nobody but cli imports it.
//! Must not know: protocols, partitions, the log; it reads what rooms offer and changes nothing in them.
//!
//! Invariants:
//! - [`preflight`] runs before any core and leaves behind what it was asked for: a data directory and a lock on it.

pub mod node;
pub mod preflight;

pub use preflight::{DataLock, PreflightError};
