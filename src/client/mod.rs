//! client: the native client: a sans-IO session and its drivers.
//!
//! May import: base, io, protocol/native.
//! Must not know: the broker's rooms.

pub mod driver;
#[cfg(test)]
mod fake;
pub mod session;
