//! The command line as data: nouns, verbs, flags. What a flag means in the broker is not decided here.

use crate::cli::bench::BenchArgs;
use crate::cli::consume::ConsumeArgs;
use crate::cli::demo::DemoArgs;
use crate::cli::exit::exit_help;
use crate::cli::group::GroupCommand;
use crate::cli::print::Output;
use crate::cli::produce::ProduceArgs;
use crate::cli::queue::QueueCommand;
use crate::cli::repair::RepairArgs;
use crate::cli::serve::ServeArgs;
use crate::cli::topic::TopicCommand;
use crate::cli::values::Endpoint;
use crate::cli::verify::VerifyArgs;
use clap::{Parser, Subcommand};

/// Where the broker is looked for when neither `--server` nor the environment says.
pub const SERVER_DEFAULT: &str = "127.0.0.1:7420";

/// The environment's word for `--server`.
pub const SERVER_VARIABLE: &str = "MILLRACE_SERVER";

/// The whole command line.
#[derive(Parser, Debug)]
#[command(
    name = "millrace",
    version,
    about = "A message broker for Linux: an append-only, replayable, partitioned log",
    after_help = exit_help(),
    arg_required_else_help = true
)]
pub struct Args {
    /// Address of any core of the broker [env: MILLRACE_SERVER] [default: 127.0.0.1:7420]
    #[arg(long, global = true, value_name = "HOST:PORT")]
    pub server: Option<Endpoint>,

    /// How results are printed
    #[arg(short, long, global = true, value_enum, default_value_t)]
    pub output: Output,

    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The nouns and verbs.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Run a broker
    Serve(ServeArgs),
    /// Show what the broker does here: ingest log lines, read them back, compare, measure, and clean up
    Demo(DemoArgs),
    /// Measure a broker: throughput, honest percentiles, what it costs, beside what the machine can do
    Bench(Box<BenchArgs>),
    /// Make, list, describe and delete topics
    #[command(subcommand)]
    Topic(TopicCommand),
    /// List and describe consumer groups, set their offsets, delete them
    #[command(subcommand)]
    Group(GroupCommand),
    /// Make, list, describe, purge and delete queues; take messages from one, and bring its dead letters back
    #[command(subcommand)]
    Queue(QueueCommand),
    /// Write lines of a file or of the standard input to a topic, one message each
    Produce(ProduceArgs),
    /// Print the messages of a topic
    Consume(ConsumeArgs),
    /// Check a data directory that no broker serves: every checksum, chain, index and gap; changes nothing
    Verify(VerifyArgs),
    /// Let a damaged partition serve again: cut it, or accept the loss of what cannot be read
    Repair(RepairArgs),
    /// Show where the time of each core of the broker went since its start
    Stages,
    /// Show which clients have connected to the broker since its start, and what each has asked for
    Clients,
    /// Print the version
    Version,
}

impl Args {
    /// The broker to talk to: the flag, else the environment's word, else the default.
    pub fn server(&self, environment: Option<&str>) -> Result<Endpoint, String> {
        if let Some(server) = &self.server {
            return Ok(server.clone());
        }
        match environment {
            Some(text) if !text.is_empty() => text
                .parse()
                .map_err(|error| format!("{SERVER_VARIABLE}: {error}")),
            _ => Ok(SERVER_DEFAULT.parse().expect("the default is an endpoint")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn the_flag_wins_over_the_environment_and_that_over_the_default() {
        let plain = Args::try_parse_from(["millrace", "version"]).expect("good");
        let flagged = ["millrace", "version", "--server", "a:1"];
        let flagged = Args::try_parse_from(flagged).expect("good");
        let server = |args: &Args, env| args.server(env).map(|server| server.to_string());
        assert_eq!(server(&flagged, Some("b:2")), Ok("a:1".to_string()));
        assert_eq!(server(&plain, Some("b:2")), Ok("b:2".to_string()));
        assert_eq!(server(&plain, Some("")), Ok(SERVER_DEFAULT.to_string()));
        assert_eq!(server(&plain, None), Ok(SERVER_DEFAULT.to_string()));
        assert!(server(&plain, Some("b")).is_err());
    }
}
