//! The `millrace` binary: wires the command line to the rooms and holds no logic.

fn main() {}
