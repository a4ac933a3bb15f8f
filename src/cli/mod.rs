//! cli: the command line: parses arguments, wires rooms, prints.
//!
//! May import: all. Holds no logic of the broker.
