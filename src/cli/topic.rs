//! `millrace topic`: its verbs, and how topics and partitions are printed.

use crate::base::limits::TIMESTAMP_SPAN_MS_MAX;
use crate::base::{AckLevel, KEEP_ALL, Offset, PartitionKey, PartitionNo, TimestampType};
use crate::cli::broker;
use crate::cli::exit::Failure;
use crate::cli::print::{Output, bytes_text, emit, json, table};
use crate::cli::values::{ALL, Endpoint, parse_bytes, parse_retention_bytes, parse_retention_ms};
use crate::client::blocking::Client;
use crate::engine::{NewTopic, PartitionInfo, TopicChange, TopicInfo, TopicRef, TopicSettings};
use serde::Serialize;

/// The verbs of `topic`.
#[derive(clap::Subcommand, Clone, PartialEq, Eq, Debug)]
pub enum TopicCommand {
    /// Make a topic
    Create(CreateArgs),
    /// List all topics
    List,
    /// Change a topic: its settings, or to more partitions
    Alter(AlterArgs),
    /// Show a topic, its settings and its partitions
    Describe {
        /// Which
        name: String,
    },
    /// Give up the oldest records of a topic's partitions, for good
    Trim(TrimArgs),
    /// Delete a topic with all its records
    Delete {
        /// Which
        name: String,
    },
}

/// Asks the broker, and prints what it answers.
pub fn run(command: &TopicCommand, server: &Endpoint, output: Output) -> Result<(), Failure> {
    let mut client = broker::connect(server)?;
    match command {
        TopicCommand::Create(args) => {
            let topic = client.create_topic(&args.topic())?;
            emit(&print_topics(&[topic], output))
        }
        TopicCommand::Alter(args) => {
            let topic = TopicRef::Name(args.name.clone());
            let topic = client.alter_topic(&topic, &args.change())?;
            emit(&print_topics(&[topic], output))
        }
        TopicCommand::Trim(args) => trim(&mut client, args, output),
        TopicCommand::List => emit(&print_topics(&client.topics()?.0, output)),
        TopicCommand::Describe { name } => {
            let topic = TopicRef::Name(name.clone());
            let (topic, partitions) = client.describe_topic(&topic)?;
            emit(&print_described(&topic, &partitions, output))
        }
        TopicCommand::Delete { name } => Ok(client.delete_topic(&TopicRef::Name(name.clone()))?),
    }
}

/// The flags of `topic trim`.
#[derive(clap::Args, Clone, PartialEq, Eq, Debug)]
#[command(group(clap::ArgGroup::new("what").required(true).args(["before", "all"])))]
pub struct TrimArgs {
    /// Which
    pub name: String,

    /// Only this partition
    #[arg(long, value_name = "N")]
    pub partition: Option<u32>,

    /// Give up all records below this offset of the partition
    #[arg(long, value_name = "OFFSET", requires = "partition")]
    pub before: Option<u64>,

    /// Give up all records that can be read
    #[arg(long)]
    pub all: bool,
}

#[derive(Serialize)]
struct Trimmed {
    partition: u32,
    log_start: u64,
}

fn trim(client: &mut Client, args: &TrimArgs, output: Output) -> Result<(), Failure> {
    let topic = client.topic(&args.name)?;
    let numbers = match args.partition {
        Some(number) => number..number.saturating_add(1),
        None => 0..topic.partitions,
    };
    let mut trimmed = Vec::new();
    for partition in numbers {
        let of = PartitionKey::new(topic.id, PartitionNo(partition));
        let log_start = client.trim(of, args.before.map(Offset))?.0;
        trimmed.push(Trimmed {
            partition,
            log_start,
        });
    }
    if output == Output::Json {
        return emit(&json(&trimmed));
    }
    let cells = |one: &Trimmed| vec![one.partition.to_string(), one.log_start.to_string()];
    let cells: Vec<_> = trimmed.iter().map(cells).collect();
    emit(&table(&["PARTITION", "START"], &[0, 1], &cells))
}

/// The flags of `topic create`.
#[derive(clap::Args, Clone, PartialEq, Eq, Debug)]
pub struct CreateArgs {
    /// 1 to 249 of letters, digits, dot, dash and underscore
    pub name: String,

    /// How many partitions; order is kept inside each
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub partitions: u32,

    #[command(flatten)]
    settings: SettingArgs,
}

/// The flags of `topic alter`.
#[derive(clap::Args, Clone, PartialEq, Eq, Debug)]
pub struct AlterArgs {
    /// Which
    pub name: String,

    /// How many partitions it is to have in all: more than now. Keys go to other partitions from then on
    #[arg(long, value_name = "N")]
    pub partitions: Option<u32>,

    #[command(flatten)]
    settings: SettingArgs,
}

/// What a topic can be set to. What is not said stays, and at first is the default.
#[derive(clap::Args, Clone, PartialEq, Eq, Debug)]
struct SettingArgs {
    /// What an ack promises unless a producer asks for more: written (survives kill -9, the default) or synced (survives
    /// power loss)
    #[arg(long, value_name = "LEVEL", value_parser = parse_topic_ack)]
    ack: Option<AckLevel>,

    /// Size at which a segment is sealed, such as 64M or 1G [default: 256M]
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    segment_bytes: Option<u64>,

    /// Age at which a segment is sealed, in milliseconds [default: a week]
    #[arg(long, value_name = "MS")]
    segment_ms: Option<u64>,

    /// The largest record batch that is taken, such as 1M [default: 8M, the most that can be]
    #[arg(long, value_name = "BYTES", value_parser = parse_batch_bytes)]
    batch_bytes_max: Option<u32>,

    /// Whose clock timestamps are of: create (the producer's, the default) or append (the broker's)
    #[arg(long, value_name = "TYPE", value_parser = parse_timestamp_type)]
    timestamp_type: Option<TimestampType>,

    /// How far a producer's timestamp may lie before the broker's time, in milliseconds [default: no limit]
    #[arg(long, value_name = "MS")]
    timestamp_before_ms_max: Option<u64>,

    /// How far it may lie after it, in milliseconds [default: no limit]
    #[arg(long, value_name = "MS")]
    timestamp_after_ms_max: Option<u64>,

    /// Records this much older than the broker's time are dropped, in milliseconds or such as 12h or 7d; all: none for its
    /// age [default: all]
    #[arg(long, value_name = "MS", value_parser = parse_retention_ms)]
    retention_ms: Option<u64>,

    /// The oldest records of a partition are dropped while so many bytes of it stay, such as 10G; all: none for size
    /// [default: all]
    #[arg(long, value_name = "BYTES", value_parser = parse_retention_bytes)]
    retention_bytes: Option<u64>,
}

impl SettingArgs {
    fn change(&self) -> TopicChange {
        TopicChange {
            partitions: None,
            ack: self.ack,
            segment_bytes: self.segment_bytes,
            segment_ms: self.segment_ms,
            batch_bytes_max: self.batch_bytes_max,
            timestamp_type: self.timestamp_type,
            timestamp_before_ms_max: self.timestamp_before_ms_max,
            timestamp_after_ms_max: self.timestamp_after_ms_max,
            retention_ms: self.retention_ms,
            retention_bytes: self.retention_bytes,
        }
    }
}

impl AlterArgs {
    /// The change to ask the broker for.
    pub fn change(&self) -> TopicChange {
        TopicChange {
            partitions: self.partitions,
            ..self.settings.change()
        }
    }
}

fn parse_batch_bytes(text: &str) -> Result<u32, String> {
    let bytes = parse_bytes(text)?;
    u32::try_from(bytes).map_err(|_| format!("{text} is more than a record batch can have"))
}

/// A retention for a person: its unit is told by `unit`.
fn retention_text(limit: Option<u64>, unit: impl Fn(u64) -> String) -> String {
    limit.map_or_else(|| ALL.to_string(), unit)
}

fn parse_timestamp_type(text: &str) -> Result<TimestampType, String> {
    match text {
        "create" => Ok(TimestampType::Create),
        "append" => Ok(TimestampType::Append),
        _ => Err("timestamps are of create or append".to_string()),
    }
}

fn timestamp_type_text(kind: TimestampType) -> &'static str {
    match kind {
        TimestampType::Create => "create",
        TimestampType::Append => "append",
    }
}

/// A topic's own level is never `none`: its records must be stored before anybody may read them.
fn parse_topic_ack(text: &str) -> Result<AckLevel, String> {
    match text.parse()? {
        AckLevel::None => Err("a topic is written or synced; none is for a producer".to_string()),
        level => Ok(level),
    }
}

impl CreateArgs {
    /// The topic to ask the broker for.
    pub fn topic(&self) -> NewTopic {
        NewTopic {
            name: self.name.clone(),
            partitions: self.partitions,
            settings: self.settings.change().applied_to(TopicSettings::default()),
        }
    }
}

#[derive(Serialize)]
struct TopicRow<'a> {
    name: &'a str,
    id: String,
    partitions: u32,
    ack: String,
    segment_bytes: u64,
    segment_ms: u64,
    batch_bytes_max: u32,
    timestamp_type: &'static str,
    timestamp_before_ms_max: u64,
    timestamp_after_ms_max: u64,
    /// None: all are kept.
    retention_ms: Option<u64>,
    retention_bytes: Option<u64>,
}

impl<'a> TopicRow<'a> {
    fn new(topic: &'a TopicInfo) -> Self {
        let limit = |retention: u64| (retention != KEEP_ALL).then_some(retention);
        Self {
            name: &topic.name,
            id: topic.id.to_string(),
            partitions: topic.partitions,
            ack: topic.settings.ack.to_string(),
            segment_bytes: topic.settings.segment_bytes,
            segment_ms: topic.settings.segment_ms,
            batch_bytes_max: topic.settings.batch_bytes_max,
            timestamp_type: timestamp_type_text(topic.settings.timestamp_type),
            timestamp_before_ms_max: topic.settings.timestamp_before_ms_max,
            timestamp_after_ms_max: topic.settings.timestamp_after_ms_max,
            retention_ms: limit(topic.settings.retention_ms),
            retention_bytes: limit(topic.settings.retention_bytes),
        }
    }
}

/// The settings that the row of a topic has no room for.
fn print_settings(topic: &TopicInfo) -> String {
    let row = TopicRow::new(topic);
    let span = |ms: u64| match ms {
        TIMESTAMP_SPAN_MS_MAX => "no limit".to_string(),
        ms => format!("{ms} ms"),
    };
    let cells = [
        ("segment-ms", format!("{} ms", row.segment_ms)),
        (
            "batch-bytes-max",
            bytes_text(u64::from(row.batch_bytes_max)),
        ),
        ("timestamp-type", row.timestamp_type.to_string()),
        ("timestamp-before-ms-max", span(row.timestamp_before_ms_max)),
        ("timestamp-after-ms-max", span(row.timestamp_after_ms_max)),
        (
            "retention-ms",
            retention_text(row.retention_ms, |ms| format!("{ms} ms")),
        ),
        (
            "retention-bytes",
            retention_text(row.retention_bytes, bytes_text),
        ),
    ];
    let cells = cells.map(|(name, value)| vec![name.to_string(), value]);
    table(&["SETTING", "VALUE"], &[], &cells)
}

/// The topics of a broker, or the one that was made.
pub fn print_topics(topics: &[TopicInfo], output: Output) -> String {
    let rows: Vec<TopicRow<'_>> = topics.iter().map(TopicRow::new).collect();
    if output == Output::Json {
        return json(&rows);
    }
    let cells = |row: &TopicRow<'_>| {
        vec![
            row.name.to_string(),
            row.partitions.to_string(),
            row.ack.clone(),
            bytes_text(row.segment_bytes),
            row.id.clone(),
        ]
    };
    let cells: Vec<_> = rows.iter().map(cells).collect();
    table(
        &["TOPIC", "PARTITIONS", "ACK", "SEGMENT", "ID"],
        &[1, 3],
        &cells,
    )
}

#[derive(Serialize)]
struct PartitionRow {
    partition: usize,
    core: u16,
    log_start: u64,
    high_watermark: u64,
    next_offset: u64,
    bytes: u64,
    segments: u32,
}

#[derive(Serialize)]
struct Described<'a> {
    #[serde(flatten)]
    topic: TopicRow<'a>,
    state: Vec<PartitionRow>,
}

/// One topic with the state of its partitions, by partition number.
pub fn print_described(topic: &TopicInfo, partitions: &[PartitionInfo], output: Output) -> String {
    let row = |(partition, info): (usize, &PartitionInfo)| PartitionRow {
        partition,
        core: info.core.0,
        log_start: info.log_start.0,
        high_watermark: info.high_watermark.0,
        next_offset: info.next_offset.0,
        bytes: info.bytes,
        segments: info.segments,
    };
    let state: Vec<PartitionRow> = partitions.iter().enumerate().map(row).collect();
    if output == Output::Json {
        let topic = TopicRow::new(topic);
        return json(&Described { topic, state });
    }
    let cells = |row: &PartitionRow| {
        let numbers = [
            row.partition as u64,
            u64::from(row.core),
            row.log_start,
            row.high_watermark,
            row.next_offset,
        ];
        let mut cells: Vec<String> = numbers.iter().map(u64::to_string).collect();
        cells.extend([bytes_text(row.bytes), row.segments.to_string()]);
        cells
    };
    let cells: Vec<_> = state.iter().map(cells).collect();
    let header = [
        "PARTITION",
        "CORE",
        "START",
        "VISIBLE TO",
        "NEXT",
        "BYTES",
        "SEGMENTS",
    ];
    let body = table(&header, &[0, 1, 2, 3, 4, 5, 6], &cells);
    let head = print_topics(std::slice::from_ref(topic), output);
    format!("{head}\n{}\n{body}", print_settings(topic))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{CoreId, TopicId};
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        create: CreateArgs,
    }

    fn create(flags: &[&str]) -> Option<NewTopic> {
        let line = Line::try_parse_from([&["create"], flags].concat()).ok()?;
        Some(line.create.topic())
    }

    fn logs() -> TopicInfo {
        let topic = create(&["logs"]).expect("good");
        TopicInfo {
            id: TopicId(7),
            name: topic.name,
            partitions: 1,
            settings: topic.settings,
            owners: vec![CoreId(0)],
        }
    }

    const STATE: PartitionInfo = PartitionInfo {
        core: CoreId(1),
        log_start: Offset(0),
        high_watermark: Offset(20),
        next_offset: Offset(21),
        bytes: 2048,
        segments: 1,
    };

    #[test]
    fn flags_make_a_topic() {
        let plain = create(&["logs"]).expect("good");
        assert_eq!(
            (plain.partitions, plain.settings.ack),
            (1, AckLevel::Written)
        );
        assert_eq!(plain.settings, TopicSettings::default());
        let flags = [
            "logs",
            "--partitions",
            "4",
            "--ack",
            "synced",
            "--segment-bytes",
            "64M",
            "--timestamp-type",
            "append",
            "--batch-bytes-max",
            "1M",
        ];
        let full = create(&flags).expect("good");
        assert_eq!((full.partitions, full.settings.ack), (4, AckLevel::Synced));
        assert_eq!(full.settings.segment_bytes, 64 << 20);
        assert_eq!(full.settings.timestamp_type, TimestampType::Append);
        assert_eq!(full.settings.batch_bytes_max, 1 << 20);
        for bad in [
            &["x", "--ack", "none"][..],
            &["x", "--partitions", "-1"],
            &["x", "--timestamp-type", "CreateTime"],
            &["x", "--batch-bytes-max", "5G"],
            &[],
        ] {
            assert_eq!(create(bad), None);
        }
    }

    #[test]
    fn a_change_says_only_what_its_flags_say() {
        #[derive(Parser)]
        struct Line {
            #[command(flatten)]
            alter: AlterArgs,
        }
        let flags = ["alter", "logs", "--partitions", "9", "--segment-ms", "5000"];
        let line = Line::try_parse_from(flags).expect("good");
        let expected = TopicChange {
            partitions: Some(9),
            segment_ms: Some(5_000),
            ..TopicChange::default()
        };
        assert_eq!(
            (line.alter.name.as_str(), line.alter.change()),
            ("logs", expected)
        );
    }

    #[test]
    fn a_trim_says_what_goes_and_where() {
        #[derive(Parser)]
        struct Line {
            #[command(flatten)]
            trim: TrimArgs,
        }
        let parse = |flags: &[&str]| Line::try_parse_from([&["trim", "logs"], flags].concat()).ok();
        let one = parse(&["--partition", "2", "--before", "70"])
            .expect("good")
            .trim;
        assert_eq!(
            (one.partition, one.before, one.all),
            (Some(2), Some(70), false)
        );
        assert!(parse(&["--all"]).is_some_and(|line| line.trim.partition.is_none()));
        assert!(parse(&["--all", "--partition", "0"]).is_some());
        for bad in [
            &[][..],
            &["--before", "7"],
            &["--partition", "1"],
            &["--all", "--before", "7", "--partition", "1"],
        ] {
            assert!(parse(bad).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn topics_print_as_table_and_json() {
        assert_eq!(
            print_topics(&[logs()], Output::Table),
            "TOPIC  PARTITIONS  ACK        SEGMENT  ID\n\
             logs            1  written  256.0 MiB  00000000000000000000000000000007\n"
        );
        let json = print_topics(&[logs()], Output::Json);
        assert!(
            json.starts_with("[{\"name\":\"logs\",\"id\":\"0000"),
            "{json}"
        );
        assert_eq!(print_topics(&[], Output::Json), "[]\n");
    }

    #[test]
    fn a_described_topic_has_its_partitions() {
        let text = print_described(&logs(), &[STATE], Output::Table);
        let last = text.lines().last().expect("lines");
        let cells: Vec<&str> = last.split_whitespace().collect();
        assert_eq!(cells, ["0", "1", "0", "20", "21", "2.0", "KiB", "1"]);
        let json = print_described(&logs(), &[STATE], Output::Json);
        assert!(
            json.contains("\"state\":[{\"partition\":0,\"core\":1,"),
            "{json}"
        );
        assert!(json.contains("\"high_watermark\":20"), "{json}");
    }
}
