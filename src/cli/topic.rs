//! `millrace topic`: its verbs, and how topics and partitions are printed.

use crate::base::AckLevel;
use crate::base::limits::{SEGMENT_BYTES_DEFAULT, SEGMENT_MS_DEFAULT};
use crate::cli::broker;
use crate::cli::exit::Failure;
use crate::cli::print::{Output, bytes_text, emit, json, table};
use crate::cli::values::{Endpoint, parse_bytes};
use crate::engine::{NewTopic, PartitionInfo, TopicInfo, TopicRef, TopicSettings};
use serde::Serialize;

/// The verbs of `topic`.
#[derive(clap::Subcommand, Clone, PartialEq, Eq, Debug)]
pub enum TopicCommand {
    /// Make a topic
    Create(CreateArgs),
    /// List all topics
    List,
    /// Show a topic and its partitions
    Describe {
        /// Which
        name: String,
    },
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
        TopicCommand::List => emit(&print_topics(&client.topics()?.0, output)),
        TopicCommand::Describe { name } => {
            let topic = TopicRef::Name(name.clone());
            let (topic, partitions) = client.describe_topic(&topic)?;
            emit(&print_described(&topic, &partitions, output))
        }
        TopicCommand::Delete { name } => Ok(client.delete_topic(&TopicRef::Name(name.clone()))?),
    }
}

/// The flags of `topic create`.
#[derive(clap::Args, Clone, PartialEq, Eq, Debug)]
pub struct CreateArgs {
    /// 1 to 249 of letters, digits, dot, dash and underscore
    pub name: String,

    /// How many partitions; order is kept inside each
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub partitions: u32,

    /// What an ack promises unless a producer asks for more: written (survives kill -9) or synced (survives power loss)
    #[arg(long, value_name = "LEVEL", default_value_t = AckLevel::Written, value_parser = parse_topic_ack)]
    pub ack: AckLevel,

    /// Size at which a segment is sealed, such as 64M or 1G
    #[arg(long, value_name = "BYTES", default_value_t = SEGMENT_BYTES_DEFAULT, value_parser = parse_bytes)]
    pub segment_bytes: u64,
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
            settings: TopicSettings {
                ack: self.ack,
                segment_bytes: self.segment_bytes,
                segment_ms: SEGMENT_MS_DEFAULT,
            },
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
}

impl<'a> TopicRow<'a> {
    fn new(topic: &'a TopicInfo) -> Self {
        Self {
            name: &topic.name,
            id: topic.id.to_string(),
            partitions: topic.partitions,
            ack: topic.settings.ack.to_string(),
            segment_bytes: topic.settings.segment_bytes,
            segment_ms: topic.settings.segment_ms,
        }
    }
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
    format!(
        "{}\n{body}",
        print_topics(std::slice::from_ref(topic), output)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{CoreId, Offset, TopicId};
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
        assert_eq!(plain.settings.segment_bytes, SEGMENT_BYTES_DEFAULT);
        let flags = [
            "logs",
            "--partitions",
            "4",
            "--ack",
            "synced",
            "--segment-bytes",
            "64M",
        ];
        let full = create(&flags).expect("good");
        assert_eq!((full.partitions, full.settings.ack), (4, AckLevel::Synced));
        assert_eq!(full.settings.segment_bytes, 64 << 20);
        for bad in [
            &["x", "--ack", "none"][..],
            &["x", "--partitions", "-1"],
            &[],
        ] {
            assert_eq!(create(bad), None);
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
