//! What several fuzz targets share: fuzz_targets/ has one file for each, which says its goal and its input.
//!
//! - [`script`]: bytes as what a connection sends, with the checksums of its frames made right.
//! - [`engine`], [`serve`]: net over the simulated network, in front of an engine that remembers little, or of the broker.
//! - [`store`]: the log on the simulated disk; everything that it serves is checked.
//! - [`damage`]: edits of a data directory, again with the checksums made right.
//! - [`steps`]: a history of commands and deaths against a model of the log.
//!
//! All of it is a function of the input: the simulator's seeds are constants, so that a crash replays.

pub mod damage;
pub mod engine;
pub mod script;
pub mod serve;
pub mod steps;
pub mod store;
