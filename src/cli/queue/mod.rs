//! cli/queue: `millrace queue`: its verbs. What is asked once stands here, how it is printed in `show`.
//!
//! `consume` takes messages and answers for them, `redrive` brings dead letters back.

mod consume;
mod peek;
mod redrive;
mod show;

use crate::base::limits::QUEUE_LEASE_MS_DEFAULT;
use crate::base::queue::{QueueSettings, Retry};
use crate::cli::bench::values::parse_time;
use crate::cli::broker;
use crate::cli::exit::Failure;
use crate::cli::print::{Output, emit};
use crate::cli::repair::agree;
use crate::cli::values::Endpoint;
use crate::client::{NewQueue, TopicRef};
use std::io::IsTerminal;

/// The verbs of `queue`.
#[derive(clap::Subcommand, Clone, PartialEq, Eq, Debug)]
pub enum QueueCommand {
    /// Make a queue on a topic
    Create(CreateArgs),
    /// List all queues
    List,
    /// Show a queue and where its messages are
    Describe {
        /// Which
        name: String,
    },
    /// Show the first messages of a queue that are not done with, and take none
    Peek(peek::PeekArgs),
    /// Take messages from a queue: print them, or run a command for each
    Consume(consume::ConsumeArgs),
    /// Write the dead letters of a queue to its topic again
    Redrive(redrive::RedriveArgs),
    /// Give up the messages of a queue that no consumer has, for good; in the topic they stay
    Purge {
        /// Which
        name: String,

        /// Do it without asking
        #[arg(long)]
        yes: bool,
    },
    /// Delete a queue, with what it knows of its messages; in the topic they stay
    Delete {
        /// Which
        name: String,

        /// Do it without asking
        #[arg(long)]
        yes: bool,
    },
}

/// Asks the broker, and prints what it answers.
pub fn run(command: &QueueCommand, server: &Endpoint, output: Output) -> Result<(), Failure> {
    match command {
        QueueCommand::Consume(args) => return consume::run(args, server, output),
        QueueCommand::Redrive(args) => return redrive::run(args, server, output),
        _ => {}
    }
    let mut client = broker::connect(server)?;
    match command {
        QueueCommand::Create(args) => {
            let queue = client.create_queue(&args.queue())?;
            emit(&show::queues(&[queue], output))
        }
        QueueCommand::List => emit(&show::queues(&client.queues()?, output)),
        QueueCommand::Describe { name } => {
            emit(&show::described(&client.describe_queue(name)?, output))
        }
        QueueCommand::Peek(args) => peek::run(args, &mut client, output),
        QueueCommand::Purge { name, yes } => {
            let queue = client.queue(name)?;
            if !yes {
                agree(std::io::stdin().is_terminal())?;
            }
            emit(&show::purged(client.purge_queue(&queue.name)?, output))
        }
        QueueCommand::Delete { name, yes } => {
            let queue = client.queue(name)?;
            if !yes {
                agree(std::io::stdin().is_terminal())?;
            }
            Ok(client.delete_queue(&queue.name)?)
        }
        QueueCommand::Consume(_) | QueueCommand::Redrive(_) => unreachable!("done above"),
    }
}

/// The flags of `queue create`.
#[derive(clap::Args, Clone, PartialEq, Eq, Debug)]
pub struct CreateArgs {
    /// 1 to 249 of letters, digits, dot, dash and underscore
    pub name: String,

    /// The topic whose messages it hands out
    #[arg(long, value_name = "TOPIC")]
    pub topic: String,

    /// Where messages go that were delivered too often or refused; else they only stay in the topic
    #[arg(long, value_name = "TOPIC")]
    pub dead_letter: Option<String>,

    /// After so many deliveries a message is dead [default: no limit]
    #[arg(long, value_name = "N")]
    pub max_deliveries: Option<u32>,

    /// How long a consumer has a message, in milliseconds, until it is delivered again
    #[arg(long, value_name = "MS", default_value_t = QUEUE_LEASE_MS_DEFAULT)]
    pub lease_ms: u32,

    /// How long a message that was given back waits: by its deliveries, such as 1s,5s,30s (the last from there on), or twice
    /// as long each time, such as 100ms..30s [default: not at all]
    #[arg(long, value_name = "TIMES", value_parser = parse_backoff)]
    pub backoff: Option<Retry>,

    /// A later message of a key waits for the earlier ones
    #[arg(long)]
    pub key_order: bool,

    /// Do not look for priority, expiry and delay in the headers of messages: costs less
    #[arg(long)]
    pub ignore_headers: bool,

    /// Begin behind what the topic has now
    #[arg(long)]
    pub from_end: bool,
}

impl CreateArgs {
    /// The queue to ask the broker for.
    pub fn queue(&self) -> NewQueue {
        let topic = |name: &String| TopicRef::Name(name.clone());
        NewQueue {
            name: self.name.clone(),
            topic: topic(&self.topic),
            dead_letters: self.dead_letter.as_ref().map(topic),
            from_end: self.from_end,
            settings: QueueSettings {
                lease_ms: self.lease_ms,
                deliveries_max: self.max_deliveries,
                retry: self.backoff.clone().unwrap_or_default(),
                key_order: self.key_order,
                reads_headers: !self.ignore_headers,
                has_dead_letters: self.dead_letter.is_some(),
            },
        }
    }
}

fn parse_backoff(text: &str) -> Result<Retry, String> {
    let ms = |text: &str| {
        let ms = parse_time(text)?.as_millis();
        u32::try_from(ms).map_err(|_| format!("{text} is too long"))
    };
    match text.split_once("..") {
        Some((first, cap)) => Ok(Retry::Exponential {
            first_ms: ms(first)?,
            cap_ms: ms(cap)?,
        }),
        None => Ok(Retry::Schedule(
            text.split(',').map(ms).collect::<Result<_, _>>()?,
        )),
    }
}

/// A backoff as [`parse_backoff`] reads it.
fn backoff_text(retry: &Retry) -> String {
    let text = |ms: &u32| match ms % 1_000 {
        0 => format!("{}s", ms / 1_000),
        _ => format!("{ms}ms"),
    };
    match retry {
        Retry::AtOnce => "-".to_owned(),
        Retry::Exponential { first_ms, cap_ms } => format!("{}..{}", text(first_ms), text(cap_ms)),
        Retry::Schedule(steps) => steps.iter().map(text).collect::<Vec<_>>().join(","),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoffs_are_read_and_print_as_they_are_read() {
        let schedule = Retry::Schedule(vec![1_000, 5_500, 120_000]);
        assert_eq!(parse_backoff("1s,5500ms,2m"), Ok(schedule.clone()));
        assert_eq!(backoff_text(&schedule), "1s,5500ms,120s");
        let doubling = Retry::Exponential {
            first_ms: 100,
            cap_ms: 30_000,
        };
        assert_eq!(parse_backoff("100ms..30s"), Ok(doubling.clone()));
        assert_eq!(backoff_text(&doubling), "100ms..30s");
        assert_eq!(backoff_text(&Retry::AtOnce), "-");
        for bad in ["", "1s,", "x", "1s..", "100000h"] {
            assert!(parse_backoff(bad).is_err(), "{bad}");
        }
    }
}
