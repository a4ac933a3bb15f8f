//! shard: one core's world: its partitions, its log, the requests of others' connections; implements `engine::Engine`.
//!
//! May import: base, io, engine, log, partition, catalog.
//! Must not know: protocols, net.
