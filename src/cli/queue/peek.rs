//! `millrace queue peek`: the first messages that are not done with, read from the topic; nothing is taken.

use crate::base::Offset;
use crate::base::queue::{Held, Standing};
use crate::cli::exit::{Exit, Failure};
use crate::cli::print::{Output, emit, json, table};
use crate::client::blocking::{Client, ConsumerOptions, StartAt};
use serde::Serialize;
use std::time::Duration;

/// How long a message may take to come.
const WAIT: Duration = Duration::from_secs(2);
/// What of a key or a value fits a table, in characters.
const CELL_CHARS: usize = 60;

/// The flags of `queue peek`.
#[derive(clap::Args, Clone, PartialEq, Eq, Debug)]
pub struct PeekArgs {
    /// Which
    pub name: String,

    /// Only this partition
    #[arg(long, value_name = "N")]
    pub partition: Option<u32>,

    /// At most so many messages of each partition
    #[arg(short = 'n', long, value_name = "N", default_value_t = 10)]
    pub count: u64,
}

#[derive(Serialize)]
struct Row {
    partition: u32,
    offset: u64,
    state: &'static str,
    deliveries: u32,
    first_delivery_ms: Option<i64>,
    timestamp_ms: i64,
    /// Bytes that are no UTF-8 are replaced.
    key: Option<String>,
    value: Option<String>,
}

/// Messages that stand alike.
struct Run {
    from: u64,
    until: u64,
    state: &'static str,
    deliveries: u32,
    first: Option<i64>,
}

pub(super) fn run(args: &PeekArgs, client: &mut Client, output: Output) -> Result<(), Failure> {
    let queue = client.queue(&args.name)?;
    let count = queue.owners.len() as u32;
    let partitions = match args.partition {
        Some(no) if no >= count => {
            let line = format!(
                "queue {} has {count} partitions, there is no {no}",
                queue.name
            );
            return Err(Failure::new(Exit::Usage, line));
        }
        Some(no) => no..no + 1,
        None => 0..count,
    };
    let mut rows = Vec::new();
    for partition in partitions {
        let held = client.held_by_queue(&queue.name, partition)?;
        let mut left = args.count;
        for run in runs(&held) {
            let before = rows.len();
            read(client, &queue.topic, partition, &run, left, &mut rows)?;
            left -= (rows.len() - before) as u64;
            if left == 0 {
                break;
            }
        }
    }
    emit(&print(&rows, output))
}

fn runs(held: &Held) -> Vec<Run> {
    let state = |standing| match standing {
        Standing::Ready => "ready",
        Standing::Leased => "leased",
        Standing::Delayed => "delayed",
        Standing::Blocked => "blocked",
        Standing::Dying => "dying",
    };
    let mut runs: Vec<_> = held
        .runs
        .iter()
        .map(|run| Run {
            from: run.span.from.0,
            until: run.span.until.0,
            state: state(run.standing),
            deliveries: run.span.deliveries,
            first: run.first.map(|first| first.0),
        })
        .collect();
    let (from, until) = (held.backlog.0.0, held.backlog.1.0);
    if !held.more && from < until {
        runs.push(Run {
            from,
            until,
            state: "ready",
            deliveries: 0,
            first: None,
        });
    }
    runs
}

fn read(
    client: &mut Client,
    topic: &str,
    partition: u32,
    run: &Run,
    most: u64,
    rows: &mut Vec<Row>,
) -> Result<(), Failure> {
    let options = ConsumerOptions {
        start: StartAt::Offset(Offset(run.from)),
        bytes_max: 64 << 10,
        ..ConsumerOptions::default()
    };
    let mut consumer = client.consumer(topic, Some(&[partition]), options)?;
    let mut left = most;
    let text = |bytes: Option<&[u8]>| bytes.map(|bytes| String::from_utf8_lossy(bytes).into());
    let is_over = |next: Offset| next.0 >= run.until;
    while left > 0 && !consumer.positions().any(|(_, next)| is_over(next)) {
        let before = left;
        for record in consumer.poll(WAIT)? {
            let record = record?;
            if left == 0 || is_over(record.offset) {
                break;
            }
            left -= 1;
            rows.push(Row {
                partition,
                offset: record.offset.0,
                state: run.state,
                deliveries: run.deliveries,
                first_delivery_ms: run.first,
                timestamp_ms: record.timestamp.0,
                key: text(record.key),
                value: text(record.value),
            });
        }
        if before == left && consumer.is_caught_up() {
            break;
        }
    }
    Ok(())
}

fn print(rows: &[Row], output: Output) -> String {
    if output == Output::Json {
        return json(&rows);
    }
    let text = |text: &Option<String>| match text {
        None => "-".to_owned(),
        Some(text) => {
            let escaped: String = text.chars().flat_map(char::escape_default).collect();
            let plain = if text.chars().any(char::is_control) {
                &escaped
            } else {
                text
            };
            plain.chars().take(CELL_CHARS).collect()
        }
    };
    let cells = |row: &Row| {
        vec![
            row.partition.to_string(),
            row.offset.to_string(),
            row.state.to_owned(),
            row.deliveries.to_string(),
            text(&row.key),
            text(&row.value),
        ]
    };
    let rows: Vec<_> = rows.iter().map(cells).collect();
    let header = ["PARTITION", "OFFSET", "STATE", "DELIVERIES", "KEY", "VALUE"];
    table(&header, &[0, 1, 3], &rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::TimestampMs;
    use crate::base::queue::{HeldRun, Span};

    #[test]
    fn what_was_looked_at_comes_before_the_backlog() {
        let run = HeldRun {
            span: Span {
                from: Offset(3),
                until: Offset(5),
                deliveries: 2,
            },
            first: Some(TimestampMs(7)),
            standing: Standing::Delayed,
        };
        let mut held = Held {
            runs: vec![run],
            more: false,
            backlog: (Offset(9), Offset(12)),
        };
        let told = |held: &Held| {
            let runs = runs(held).into_iter();
            let told = runs.map(|run| (run.from, run.until, run.state, run.deliveries));
            told.collect::<Vec<_>>()
        };
        assert_eq!(told(&held), [(3, 5, "delayed", 2), (9, 12, "ready", 0)]);
        held.more = true;
        assert_eq!(told(&held), [(3, 5, "delayed", 2)]);
    }

    #[test]
    fn a_value_cannot_break_the_table() {
        let row = Row {
            partition: 0,
            offset: 1,
            state: "ready",
            deliveries: 0,
            first_delivery_ms: None,
            timestamp_ms: 0,
            key: None,
            value: Some(format!("a\n{}", "x".repeat(100))),
        };
        let text = print(&[row], Output::Table);
        assert_eq!(text.lines().count(), 2);
        assert!(text.contains("a\\nxxx") && text.len() < 220, "{text}");
    }
}
