//! `millrace repair`: says what letting a damaged partition serve again would lose, asks, keeps copies, does it.
//!
//! With `-o json` one document: `data`, `topic`, `partition`, `losses` (each with `segment`, `position`, `from`, `until`,
//! `bytes`, `why`), `next_offset` (what the next append gets), `files` (rewritten or removed, copied before), `bytes` (of
//! those files), `copies` (the directory, or null: nothing was done yet).

use crate::base::{Offset, PartitionKey, PartitionNo, TopicId};
use crate::catalog::{CATALOG_KEY, Catalog};
use crate::cli::exit::{Exit, Failure};
use crate::cli::offline::{boot, claim};
use crate::cli::print::{Output, bytes_text, emit, json, note, table};
use crate::cli::verify::look;
use crate::log::repair::{Goal, Performed, Plan, RepairError, perform, plan};
use crate::ops::node;
use serde::Serialize;
use std::io::{BufRead, IsTerminal};
use std::path::{Path, PathBuf};

const AFTER_HELP: &str = "\
--cut-at OFFSET keeps everything below OFFSET, where a batch must begin, and nothing from it on.

--accept-loss keeps every batch that can be read. Offsets stay what they were: those whose records are lost are passed
over by readers. Of the catalog (whose records build on each other) it keeps what comes before the first loss.

What is changed or removed is first copied to DIR/repaired/NUMBER, durably; journals are moved to DIR/journal/kept-*. A
repair that is interrupted leaves the partition refused, and can be asked for again.";

/// The flags of `repair`.
#[derive(clap::Args, Clone, PartialEq, Eq, Debug)]
#[command(after_help = AFTER_HELP, group(clap::ArgGroup::new("goal").required(true)))]
pub struct RepairArgs {
    /// The data directory; no broker may serve it meanwhile
    #[arg(value_name = "DIR")]
    pub data: PathBuf,

    /// The partition, as verify names it: its topic's name or id, and its number
    #[arg(long, value_name = "TOPIC/P")]
    pub partition: String,

    /// Keep everything below this offset
    #[arg(long, value_name = "OFFSET", group = "goal")]
    pub cut_at: Option<u64>,

    /// Keep everything that can be read
    #[arg(long, group = "goal")]
    pub accept_loss: bool,

    /// Do it without asking
    #[arg(long)]
    pub yes: bool,
}

/// Plans, asks, repairs.
pub fn run(args: &RepairArgs, output: Output) -> Result<(), Failure> {
    let _lock = claim(&args.data)?;
    let node = node::read(&args.data).map_err(|error| config(&error))?;
    let node = node.ok_or_else(|| {
        let line = format!(
            "{} holds nothing yet; there is nothing to repair",
            args.data.display()
        );
        Failure::new(Exit::Usage, line)
    })?;
    let catalog = look(&args.data, Some(CATALOG_KEY))?.catalog;
    let key = partition(&args.partition, catalog.as_ref())?;
    let goal = match args.cut_at {
        Some(offset) => Goal::CutAt(Offset(offset)),
        None if key == CATALOG_KEY => Goal::CutAtDamage,
        None => Goal::AcceptLoss,
    };
    let data = args.data.clone();
    let planned = boot(move |io| {
        let data = data.clone();
        async move { plan(&io, &data, key, goal).await }
    })?;
    let planned = planned.map_err(|error| refused(&error))?;
    if !args.yes {
        emit(&print(args, &planned, None, output))?;
        agree(std::io::stdin().is_terminal())?;
    }
    let (data, about) = (args.data.clone(), print(args, &planned, None, Output::Json));
    let done = boot(move |io| {
        let (data, about) = (data.clone(), about.clone());
        async move { perform(&io, &data, node, key, goal, &about).await }
    })?;
    let Performed { plan, copies } = done.map_err(|error| refused(&error))?;
    emit(&print(args, &plan, Some(&copies), output))
}

fn config(error: &dyn std::fmt::Display) -> Failure {
    Failure::new(Exit::Config, error.to_string())
}

fn refused(error: &RepairError) -> Failure {
    let exit = match error {
        RepairError::Log(_) => Exit::Io,
        _ => Exit::Failed,
    };
    Failure::new(exit, error.to_string())
}

/// `TOPIC/P`, the topic by its name or its id.
fn partition(text: &str, catalog: Option<&Catalog>) -> Result<PartitionKey, Failure> {
    let parts = text.rsplit_once('/');
    let number = |number: &str| number.parse().ok().map(PartitionNo);
    let topic = |name: &str| {
        let named = catalog.and_then(|catalog| catalog.by_name(name));
        let by_id = || {
            (name.len() == 32)
                .then(|| name.parse::<TopicId>().ok())
                .flatten()
        };
        named.map(|topic| topic.id).or_else(by_id)
    };
    let key = parts.and_then(|(name, p)| Some(PartitionKey::new(topic(name)?, number(p)?)));
    key.ok_or_else(|| {
        let why = match catalog {
            Some(_) => "is no partition here",
            None => "cannot be found by its name, for the catalog is damaged",
        };
        let line =
            format!("--partition {text} {why}; `millrace verify` names those that are there");
        Failure::new(Exit::Usage, line)
    })
}

/// Asks on a terminal; without one, wants to be told beforehand.
pub(in crate::cli) fn agree(is_terminal: bool) -> Result<(), Failure> {
    let nothing = "nothing was changed";
    if !is_terminal {
        let line = format!("{nothing}: nobody can be asked here; add --yes to go on");
        return Err(Failure::new(Exit::Usage, line));
    }
    note("go on? yes or no:");
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    match read {
        Ok(_) if answer.trim() == "yes" => Ok(()),
        _ => Err(Failure::new(Exit::Failed, nothing)),
    }
}

#[derive(Serialize)]
struct LossRow {
    segment: u64,
    position: u64,
    from: u64,
    until: u64,
    bytes: u64,
    why: String,
}

#[derive(Serialize)]
struct Document<'a> {
    data: String,
    topic: &'a str,
    partition: u32,
    losses: Vec<LossRow>,
    next_offset: u64,
    files: Vec<String>,
    bytes: u64,
    copies: Option<String>,
}

/// What is lost, for people or for programs.
fn print(args: &RepairArgs, plan: &Plan, copies: Option<&Path>, output: Output) -> String {
    let losses = plan.losses.iter().map(|loss| LossRow {
        segment: loss.segment.0,
        position: loss.position,
        from: loss.from.0,
        until: loss.until.0,
        bytes: loss.bytes,
        why: loss.why.clone(),
    });
    let losses: Vec<LossRow> = losses.collect();
    match output {
        Output::Json => json(&Document {
            data: args.data.display().to_string(),
            topic: args
                .partition
                .rsplit_once('/')
                .map_or("", |(topic, _)| topic),
            partition: plan.key.partition.0,
            losses,
            next_offset: plan.next_offset.0,
            files: plan
                .files
                .iter()
                .map(|path| path.display().to_string())
                .collect(),
            bytes: plan.bytes,
            copies: copies.map(|path| path.display().to_string()),
        }),
        Output::Table => text(args, plan, &losses, copies),
    }
}

fn text(args: &RepairArgs, plan: &Plan, losses: &[LossRow], copies: Option<&Path>) -> String {
    let lost: u64 = losses.iter().map(|loss| loss.until - loss.from).sum();
    let mut out = format!(
        "partition {}: {lost} offsets {} lost, appends go on at offset {}\n",
        args.partition,
        if copies.is_some() { "are" } else { "would be" },
        plan.next_offset
    );
    let cells = |loss: &LossRow| {
        vec![
            loss.from.to_string(),
            (loss.until - 1).to_string(),
            format!("{:020}.log", loss.segment),
            loss.position.to_string(),
            bytes_text(loss.bytes),
            loss.why.clone(),
        ]
    };
    if !losses.is_empty() {
        let header = ["FROM", "TO", "SEGMENT", "AT", "BYTES", "WHY"];
        let cells: Vec<_> = losses.iter().map(cells).collect();
        out += &table(&header, &[0, 1, 3, 4], &cells);
    }
    let (count, bytes) = (plan.files.len(), bytes_text(plan.bytes));
    out += &match copies {
        Some(dir) => format!("repaired; what was changed is kept in {}\n", dir.display()),
        None => format!("{count} files, {bytes}, would be copied and then changed or removed\n"),
    };
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        repair: RepairArgs,
    }

    #[test]
    fn one_goal_is_wanted() {
        let parse = |flags: &[&str]| {
            let line = [&["repair", "d", "--partition", "logs/0"], flags].concat();
            Line::try_parse_from(line).map(|line| line.repair)
        };
        assert!(parse(&[]).is_err());
        assert!(parse(&["--accept-loss", "--cut-at", "5"]).is_err());
        assert_eq!(
            parse(&["--cut-at", "5"]).map(|args| args.cut_at).ok(),
            Some(Some(5))
        );
        assert!(parse(&["--accept-loss"]).is_ok_and(|args| args.accept_loss && !args.yes));
    }

    #[test]
    fn partitions_are_named_by_id_too() {
        let id = format!("{:032x}/7", 0xabcu128);
        let key = PartitionKey::new(TopicId(0xabc), PartitionNo(7));
        assert_eq!(partition(&id, None), Ok(key));
        for bad in ["logs/0", "logs", "/", "abc/7", &format!("{:032x}/x", 1)] {
            assert_eq!(
                partition(bad, None).map_err(|failure| failure.exit),
                Err(Exit::Usage),
                "{bad}"
            );
        }
    }
}
