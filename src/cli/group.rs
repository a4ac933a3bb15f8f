//! `millrace group`: consumer groups, where they are and how far behind, and setting them elsewhere.

use crate::base::group::GroupListing;
use crate::base::{Offset, PartitionKey, PartitionNo, TopicId};
use crate::cli::broker;
use crate::cli::exit::{Exit, Failure};
use crate::cli::print::{Output, emit, json, table};
use crate::cli::values::{Endpoint, Start};
use crate::client::blocking::{Client, ConsumerOptions, GroupState, StartAt};
use crate::client::{ClientError, TopicInfo, TopicRef};
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How long the record that a group would read next may take to come.
const NEXT_WAIT: Duration = Duration::from_secs(2);

/// The verbs of `group`.
#[derive(clap::Subcommand, Clone, PartialEq, Eq, Debug)]
pub enum GroupCommand {
    /// List all groups
    List,
    /// Show a group: its members, what it has committed, and how far behind it is
    Describe {
        /// Which
        name: String,
    },
    /// Make a group without members go on elsewhere in a topic
    ResetOffsets(ResetArgs),
    /// Delete a group without members, with its offsets
    Delete {
        /// Which
        name: String,
    },
}

/// The flags of `group reset-offsets`.
#[derive(clap::Args, Clone, PartialEq, Eq, Debug)]
pub struct ResetArgs {
    /// The group; made, if there is none
    pub name: String,

    /// In which topic
    pub topic: String,

    /// Where to go on: begin, end, an offset, -N (the last N), or @TIME (RFC 3339 or milliseconds since 1970)
    #[arg(long, value_name = "WHERE", allow_hyphen_values = true)]
    pub to: Start,

    /// In this partition; may be repeated. All, if absent
    #[arg(long, value_name = "N")]
    pub partition: Vec<u32>,
}

/// Asks the broker, and prints what it answers.
pub fn run(command: &GroupCommand, server: &Endpoint, output: Output) -> Result<(), Failure> {
    let mut client = broker::connect(server)?;
    match command {
        GroupCommand::List => emit(&print_groups(&client.groups()?, output)),
        GroupCommand::Describe { name } => {
            let state = client.describe_group(name)?;
            let lags = lags(&mut client, &state)?;
            emit(&print_described(&state, &lags, output))
        }
        GroupCommand::ResetOffsets(args) => {
            let set = reset(&mut client, args)?;
            emit(&print_reset(&args.topic, &set, output))
        }
        GroupCommand::Delete { name } => Ok(client.delete_group(name)?),
    }
}

fn reset(client: &mut Client, args: &ResetArgs) -> Result<Vec<(u32, Offset)>, Failure> {
    let topic = client.topic(&args.topic)?;
    let partitions: Vec<u32> = match args.partition.as_slice() {
        [] => (0..topic.partitions).collect(),
        some => some.to_vec(),
    };
    if let Some(no) = partitions.iter().find(|no| **no >= topic.partitions) {
        let line = format!(
            "topic {} has {} partitions, there is no partition {no}",
            topic.name, topic.partitions
        );
        return Err(Failure::new(Exit::Usage, line));
    }
    let offsets = client.resolve(&topic, &partitions, args.to.into())?;
    let commits: Vec<_> = offsets
        .iter()
        .map(|(no, offset)| (PartitionKey::new(topic.id, PartitionNo(*no)), *offset))
        .collect();
    client.commit_offsets(&args.name, &commits)?;
    Ok(offsets)
}

/// How far behind a group is in one partition.
#[derive(Serialize, Clone, PartialEq, Debug)]
struct Lag {
    topic: String,
    partition: u32,
    committed: u64,
    /// The offset behind the last record that can be read.
    end: u64,
    /// Records between the two.
    records: u64,
    /// The age of the first of them; nothing, if it could not be read.
    seconds: Option<f64>,
}

/// Held against what there is now. Offsets of topics that are gone are left out.
fn lags(client: &mut Client, state: &GroupState) -> Result<Vec<Lag>, Failure> {
    let mut by_topic: BTreeMap<TopicId, Vec<(u32, Offset)>> = BTreeMap::new();
    for (key, offset, _) in &state.offsets {
        let offsets = by_topic.entry(key.topic).or_default();
        offsets.push((key.partition.0, *offset));
    }
    let mut lags = Vec::new();
    for (id, offsets) in by_topic {
        let (topic, states) = match client.describe_topic(&TopicRef::Id(id)) {
            Err(ClientError::Refused(_)) => continue,
            described => described?,
        };
        for (partition, committed) in offsets {
            let Some(info) = states.get(partition as usize) else {
                continue;
            };
            let end = info.high_watermark;
            let next = committed.max(info.log_start);
            let records = end.0.saturating_sub(next.0);
            lags.push(Lag {
                topic: topic.name.clone(),
                partition,
                committed: committed.0,
                end: end.0,
                records,
                seconds: match records {
                    0 => Some(0.0),
                    _ => age(client, &topic, partition, next),
                },
            });
        }
    }
    lags.sort_by(|one, other| (&one.topic, one.partition).cmp(&(&other.topic, other.partition)));
    Ok(lags)
}

/// How old the record at an offset is, in seconds.
fn age(client: &mut Client, topic: &TopicInfo, partition: u32, at: Offset) -> Option<f64> {
    let options = ConsumerOptions {
        start: StartAt::Offset(at),
        bytes_max: 1,
        ..ConsumerOptions::default()
    };
    let mut consumer = client
        .consumer(&topic.name, Some(&[partition]), options)
        .ok()?;
    let timestamp = consumer.poll(NEXT_WAIT).ok()?.next()?.ok()?.timestamp;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    let age_ms = i64::try_from(now.as_millis()).ok()? - timestamp.0;
    Some(age_ms.max(0) as f64 / 1000.0)
}

#[derive(Serialize)]
struct GroupRow<'a> {
    group: &'a str,
    state: &'static str,
    protocol_type: &'a str,
}

impl<'a> GroupRow<'a> {
    fn new(listing: &'a GroupListing) -> Self {
        Self {
            group: &listing.group,
            state: listing.state.name(),
            protocol_type: &listing.protocol_type,
        }
    }
}

fn print_groups(groups: &[GroupListing], output: Output) -> String {
    let rows: Vec<_> = groups.iter().map(GroupRow::new).collect();
    if output == Output::Json {
        return json(&rows);
    }
    let cells = |row: &GroupRow<'_>| [row.group, row.state, row.protocol_type].map(str::to_owned);
    let cells: Vec<_> = rows.iter().map(|row| cells(row).to_vec()).collect();
    table(&["GROUP", "STATE", "TYPE"], &[], &cells)
}

#[derive(Serialize)]
struct MemberRow<'a> {
    member: &'a str,
    instance: Option<&'a str>,
    client: &'a str,
    host: &'a str,
}

#[derive(Serialize)]
struct Described<'a> {
    #[serde(flatten)]
    group: GroupRow<'a>,
    generation: i32,
    protocol: &'a str,
    member_count: u32,
    members: Vec<MemberRow<'a>>,
    offsets: &'a [Lag],
}

fn print_described(state: &GroupState, lags: &[Lag], output: Output) -> String {
    let group = &state.group;
    let members = group.members.iter().map(|member| MemberRow {
        member: &member.identity.member,
        instance: member.identity.instance.as_deref(),
        client: &member.client,
        host: &member.host,
    });
    let described = Described {
        group: GroupRow::new(&group.listing),
        generation: group.generation.0,
        protocol: &group.protocol,
        member_count: state.member_count,
        members: members.collect(),
        offsets: lags,
    };
    if output == Output::Json {
        return json(&described);
    }
    let mut text = print_groups(std::slice::from_ref(&group.listing), output);
    let cells = |row: &MemberRow<'_>| {
        let texts = [
            row.member,
            row.instance.unwrap_or("-"),
            row.client,
            row.host,
        ];
        texts.map(str::to_owned).to_vec()
    };
    if !described.members.is_empty() {
        let rows: Vec<_> = described.members.iter().map(cells).collect();
        let header = ["MEMBER", "INSTANCE", "CLIENT", "HOST"];
        text += &format!("\n{}", table(&header, &[], &rows));
    }
    if !lags.is_empty() {
        text += &format!("\n{}", print_lags(lags));
    }
    text
}

fn print_lags(lags: &[Lag]) -> String {
    let cells = |lag: &Lag| {
        let seconds = lag.seconds.map(|seconds| format!("{seconds:.1}"));
        vec![
            lag.topic.clone(),
            lag.partition.to_string(),
            lag.committed.to_string(),
            lag.end.to_string(),
            lag.records.to_string(),
            seconds.unwrap_or_else(|| "-".to_owned()),
        ]
    };
    let rows: Vec<_> = lags.iter().map(cells).collect();
    let header = [
        "TOPIC",
        "PARTITION",
        "COMMITTED",
        "END",
        "LAG",
        "LAG SECONDS",
    ];
    table(&header, &[1, 2, 3, 4, 5], &rows)
}

#[derive(Serialize)]
struct ResetRow<'a> {
    topic: &'a str,
    partition: u32,
    committed: u64,
}

fn print_reset(topic: &str, set: &[(u32, Offset)], output: Output) -> String {
    let rows: Vec<_> = set
        .iter()
        .map(|(partition, offset)| ResetRow {
            topic,
            partition: *partition,
            committed: offset.0,
        })
        .collect();
    if output == Output::Json {
        return json(&rows);
    }
    let cells = |row: &ResetRow<'_>| {
        let (partition, committed) = (row.partition.to_string(), row.committed.to_string());
        vec![row.topic.to_owned(), partition, committed]
    };
    let rows: Vec<_> = rows.iter().map(cells).collect();
    table(&["TOPIC", "PARTITION", "COMMITTED"], &[1, 2], &rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::group::{Generation, GroupDescription, GroupState as State};

    fn listing() -> GroupListing {
        GroupListing {
            group: "readers".to_owned(),
            protocol_type: "consumer".to_owned(),
            state: State::Empty,
        }
    }

    #[test]
    fn groups_print_as_table_and_json() {
        assert_eq!(
            print_groups(&[listing()], Output::Table),
            "GROUP    STATE  TYPE\nreaders  Empty  consumer\n"
        );
        let json = print_groups(&[listing()], Output::Json);
        assert!(
            json.starts_with("[{\"group\":\"readers\",\"state\":\"Empty\""),
            "{json}"
        );
    }

    #[test]
    fn a_described_group_tells_its_lag() {
        let state = GroupState {
            group: GroupDescription {
                listing: listing(),
                generation: Generation(3),
                protocol: String::new(),
                members: Vec::new(),
            },
            member_count: 0,
            offsets: Vec::new(),
        };
        let lag = |seconds| Lag {
            topic: "logs".to_owned(),
            partition: 1,
            committed: 5,
            end: 12,
            records: 7,
            seconds,
        };
        let text = print_described(&state, &[lag(Some(1.25)), lag(None)], Output::Table);
        let last: Vec<Vec<&str>> = text
            .lines()
            .rev()
            .take(2)
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!(last[1], ["logs", "1", "5", "12", "7", "1.2"]);
        assert_eq!(last[0], ["logs", "1", "5", "12", "7", "-"]);
        let json = print_described(&state, &[lag(None)], Output::Json);
        assert!(json.contains("\"generation\":3"), "{json}");
        assert!(json.contains("\"seconds\":null"), "{json}");
    }
}
