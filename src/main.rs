//! The `millrace` binary: wires the command line to the rooms and holds no logic.

use mimalloc::MiMalloc;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    millrace::cli::run(std::env::args_os())
}
