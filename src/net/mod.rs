//! net: listeners and connections; moves bytes between sockets, protocols and the engine.
//!
//! May import: base, io, engine, protocol.
//! Must not know: shard, partition, log.
