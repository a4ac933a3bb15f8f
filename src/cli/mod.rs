//! cli: the command line: parses arguments, wires rooms, prints.
//!
//! Does: noun-verb commands in one binary. Every command is a file; what parses, cuts, formats and counts is pure and
//! stands apart from what talks to a broker.
//! May import: all.
//! Must not know: anything that a room would have to ask it for; nobody imports it, and it holds no logic of the broker.
//!
//! ```text
//!   arguments ──args, values──> a command ──client──> broker
//!                                   │
//!         stdin ──lines──>          └──format, print──> stdout      failures ──exit──> one line, one code
//! ```
//! Invariants:
//! - Results go to stdout, everything else to stderr. A reader that closes the pipe ends the command quietly.
//! - A failure is one line, `error: cause; remedy`, and an exit code from the table in `exit`.

pub mod args;
pub mod bench;
pub mod broker;
pub mod clients;
pub mod consume;
pub mod demo;
pub mod exit;
pub mod format;
pub mod group;
pub mod interrupt;
mod kafka;
pub mod lines;
pub mod offline;
pub mod print;
pub mod produce;
pub mod pump;
pub mod queue;
pub mod repair;
pub mod serve;
pub mod serving;
pub mod sink;
pub mod stages;
pub mod summary;
pub mod topic;
pub mod values;
pub mod verify;

use args::{Args, Command, SERVER_VARIABLE};
use clap::Parser;
use exit::{Exit, Failure};
use serde::Serialize;
use std::ffi::OsString;
use std::process::ExitCode;
use values::Endpoint;

/// Runs the command that the arguments name (the first is the name of the program).
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args = match Args::try_parse_from(arguments) {
        Ok(args) => args,
        Err(error) => return explain(&error),
    };
    match perform(&args) {
        Ok(()) => Exit::Done.into(),
        Err(failure) => {
            if failure.exit != Exit::Done {
                print::note(&format!("error: {failure}"));
            }
            failure.exit.into()
        }
    }
}

/// Help and version go to stdout and are no failure; anything else is a usage error.
fn explain(error: &clap::Error) -> ExitCode {
    let asked = !error.use_stderr();
    // Whoever closed the pipe does not want the text.
    let _ = error.print();
    if asked { Exit::Done } else { Exit::Usage }.into()
}

fn perform(args: &Args) -> Result<(), Failure> {
    match &args.command {
        Command::Topic(command) => topic::run(command, &server(args)?, args.output),
        Command::Group(command) => group::run(command, &server(args)?, args.output),
        Command::Queue(command) => queue::run(command, &server(args)?, args.output),
        Command::Produce(flags) => produce::run(flags, &server(args)?, args.output),
        Command::Consume(flags) => consume::run(flags, &server(args)?, args.output),
        Command::Serve(args) => serve::run(args),
        Command::Demo(flags) => demo::run(flags, args.output),
        // Never by the environment's word: a load is nothing to send somewhere by accident.
        Command::Bench(flags) => bench::run(flags, args.server.as_ref(), args.output),
        Command::Repair(flags) => repair::run(flags, args.output),
        Command::Verify(flags) => verify::run(flags, args.output),
        Command::Stages => stages::run(&server(args)?, args.output),
        Command::Clients => clients::run(&server(args)?, args.output),
        Command::Version => version(args),
    }
}

fn server(args: &Args) -> Result<Endpoint, Failure> {
    let environment = std::env::var(SERVER_VARIABLE).ok();
    args.server(environment.as_deref())
        .map_err(|line| Failure::new(Exit::Usage, line))
}

#[derive(Serialize)]
struct Version {
    name: &'static str,
    version: &'static str,
}

fn version(args: &Args) -> Result<(), Failure> {
    let version = Version {
        name: env!("CARGO_PKG_NAME"),
        version: env!("CARGO_PKG_VERSION"),
    };
    match args.output {
        print::Output::Table => print::emit(&format!("{} {}\n", version.name, version.version)),
        print::Output::Json => print::emit(&print::json(&version)),
    }
}
