//! How queues and the state of their partitions are printed.

use super::backoff_text;
use crate::base::queue::{Counts, QueueSettings};
use crate::cli::print::{Output, json, table};
use crate::client::blocking::{PartitionState, QueueStates};
use crate::client::{QueueInfo, Refusal};
use serde::Serialize;

#[derive(Serialize)]
struct QueueRow<'a> {
    name: &'a str,
    topic: &'a str,
    partitions: usize,
    dead_letter: Option<&'a str>,
    lease_ms: u32,
    max_deliveries: Option<u32>,
    backoff: String,
    key_order: bool,
    reads_headers: bool,
}

impl<'a> QueueRow<'a> {
    fn new(queue: &'a QueueInfo) -> Self {
        let QueueSettings {
            lease_ms,
            deliveries_max,
            ref retry,
            key_order,
            reads_headers,
            ..
        } = queue.settings;
        Self {
            name: &queue.name,
            topic: &queue.topic,
            partitions: queue.owners.len(),
            dead_letter: queue.dead_letters.as_deref(),
            lease_ms,
            max_deliveries: deliveries_max,
            backoff: backoff_text(retry),
            key_order,
            reads_headers,
        }
    }
}

pub(super) fn queues(queues: &[QueueInfo], output: Output) -> String {
    let rows: Vec<_> = queues.iter().map(QueueRow::new).collect();
    if output == Output::Json {
        return json(&rows);
    }
    let cells = |row: &QueueRow<'_>| {
        let max = row.max_deliveries.map(|max| max.to_string());
        vec![
            row.name.to_owned(),
            row.topic.to_owned(),
            row.partitions.to_string(),
            row.lease_ms.to_string(),
            max.unwrap_or_else(|| "-".to_owned()),
            row.backoff.clone(),
            row.dead_letter.unwrap_or("-").to_owned(),
            if row.key_order { "key" } else { "partition" }.to_owned(),
        ]
    };
    let rows: Vec<_> = rows.iter().map(cells).collect();
    let header = [
        "QUEUE",
        "TOPIC",
        "PARTITIONS",
        "LEASE MS",
        "MAX DELIVERIES",
        "BACKOFF",
        "DEAD LETTERS",
        "ORDER",
    ];
    table(&header, &[2, 3, 4], &rows)
}

#[derive(Serialize)]
struct StateRow {
    partition: u32,
    core: u16,
    error: Option<String>,
    consumers: u32,
    ready: u64,
    leased: u64,
    delayed: u64,
    blocked: u64,
    dying: u64,
    acked: u64,
    dead: u64,
    expired: u64,
    purged: u64,
    absent: u64,
    lost: u64,
    begin: u64,
    floor: u64,
    visible: u64,
}

impl StateRow {
    fn new(state: &PartitionState) -> Self {
        let counts = state.counts.as_ref().copied().unwrap_or_default();
        let Counts { totals, .. } = counts;
        Self {
            partition: state.partition.0,
            core: state.core.0,
            error: state.counts.as_ref().err().map(Refusal::to_string),
            consumers: counts.consumers,
            ready: counts.ready,
            leased: counts.leased,
            delayed: counts.delayed,
            blocked: counts.blocked,
            dying: counts.dying,
            acked: totals.acked,
            dead: totals.dead,
            expired: totals.expired,
            purged: totals.purged,
            absent: totals.absent,
            lost: totals.lost,
            begin: counts.begin.0,
            floor: counts.floor.0,
            visible: counts.visible.0,
        }
    }
}

#[derive(Serialize)]
struct Described<'a> {
    #[serde(flatten)]
    queue: QueueRow<'a>,
    state: Vec<StateRow>,
}

pub(super) fn described(states: &QueueStates, output: Output) -> String {
    let described = Described {
        queue: QueueRow::new(&states.queue),
        state: states.partitions.iter().map(StateRow::new).collect(),
    };
    if output == Output::Json {
        return json(&described);
    }
    let cells = |row: &StateRow| {
        if let Some(error) = &row.error {
            let mut cells = vec![row.partition.to_string(), row.core.to_string()];
            cells.resize(10, "-".to_owned());
            cells.push(error.clone());
            return cells;
        }
        let numbers = [
            u64::from(row.partition),
            u64::from(row.core),
            u64::from(row.consumers),
            row.ready,
            row.leased,
            row.delayed + row.blocked,
            row.acked,
            row.dead + row.dying,
            row.expired + row.purged,
            row.floor,
        ];
        let mut cells = numbers.map(|number| number.to_string()).to_vec();
        cells.push(String::new());
        cells
    };
    let rows: Vec<_> = described.state.iter().map(cells).collect();
    let header = [
        "PARTITION",
        "CORE",
        "CONSUMERS",
        "READY",
        "LEASED",
        "WAITING",
        "ACKED",
        "DEAD",
        "GIVEN UP",
        "DONE BELOW",
        "",
    ];
    let queue = queues(std::slice::from_ref(&states.queue), output);
    let right: Vec<usize> = (0..10).collect();
    format!("{queue}\n{}", table(&header, &right, &rows))
}

#[derive(Serialize)]
struct Purged {
    purged: u64,
}

pub(super) fn purged(purged: u64, output: Output) -> String {
    match output {
        Output::Json => json(&Purged { purged }),
        Output::Table => format!("{purged} messages given up\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::queue::Retry;
    use crate::base::{CoreId, PartitionNo, TopicId};
    use crate::protocol::native::ErrorCode;

    fn states() -> QueueStates {
        let queue = QueueInfo {
            id: TopicId(1),
            name: "jobs".to_owned(),
            topic_id: TopicId(2),
            topic: "work".to_owned(),
            dead_letters: None,
            settings: QueueSettings {
                retry: Retry::Schedule(vec![1_000, 5_000]),
                deliveries_max: Some(3),
                ..QueueSettings::default()
            },
            owners: vec![CoreId(0), CoreId(1)],
        };
        let counts = Counts {
            ready: 5,
            leased: 2,
            consumers: 1,
            ..Counts::default()
        };
        let state = |no, counts| PartitionState {
            partition: PartitionNo(no),
            core: CoreId(no as u16),
            counts,
        };
        let damaged = Refusal::new(ErrorCode::Damaged, Some("it is damaged"));
        QueueStates {
            queue,
            partitions: vec![state(0, Ok(counts)), state(1, Err(damaged))],
        }
    }

    #[test]
    fn queues_print_as_table_and_json() {
        let text = described(&states(), Output::Table);
        let words = |line: &str| {
            let words = line.split_whitespace().map(str::to_owned);
            words.collect::<Vec<_>>()
        };
        let lines: Vec<_> = text.lines().map(words).collect();
        assert_eq!(
            lines[1],
            ["jobs", "work", "2", "30000", "3", "1s,5s", "-", "partition"]
        );
        assert_eq!(lines[4], ["0", "0", "1", "5", "2", "0", "0", "0", "0", "0"]);
        assert!(
            text.lines()
                .last()
                .is_some_and(|last| last.ends_with("it is damaged"))
        );
        let json = described(&states(), Output::Json);
        assert!(json.contains("\"ready\":5") && json.contains("\"error\":\"it is damaged\""));
        assert_eq!(purged(7, Output::Json), "{\"purged\":7}\n");
    }
}
