//! cli: the command line: parses arguments, wires rooms, prints.
//!
//! May import: all.
//! Must not know: anything that a room would have to ask it for; nobody imports it, and it holds no logic of the broker.
