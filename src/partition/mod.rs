//! partition: what one partition decides: who may read what, and when.
//!
//! May import: base, queue.
//! Must not know: io, log, engine. Synchronous and pure.
