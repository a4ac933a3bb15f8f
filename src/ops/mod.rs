//! ops: reads everything, decides nothing: preflight checks, options, what is reported.
//!
//! May import: base, io, engine, shard, net. Nobody but cli imports it.
//! Must not know: protocols, partitions, the log; it reads what rooms offer and changes nothing in them.
