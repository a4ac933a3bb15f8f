//! Millrace: a message broker for Linux in one binary.
//!
//! The house (who may import whom) is drawn in the README and guarded by `tests/tidy.rs`; every room's `mod.rs` is
//! its door: what it does, what it may import, what it must not know.

pub mod base;
pub mod bench;
pub mod catalog;
pub mod cli;
pub mod client;
pub mod engine;
pub mod group;
pub mod io;
pub mod log;
pub mod net;
pub mod ops;
pub mod partition;
pub mod protocol;
pub mod queue;
pub mod shard;
