//! log: the append-only log of one core: journal, segments, indexes, recovery.
//!
//! May import: base, io.
//! Must not know: topics, queues, groups, protocols.
