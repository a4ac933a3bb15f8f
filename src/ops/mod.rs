//! ops: reads everything, decides nothing: preflight checks, options, what is reported.
//!
//! May import: base, io, engine, shard, net. Nobody but cli imports it.
