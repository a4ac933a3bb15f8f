//! protocol: wires, sans-IO: bytes in, requests out; replies in, bytes out.
//!
//! May import: base, engine.
//! Must not know: sockets, cores, files; sibling protocols.

pub mod kafka;
pub mod native;
