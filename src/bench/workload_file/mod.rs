//! Workloads of the OpenMessaging Benchmark: its YAML (the fields of its class `Workload`) as our settings.
//!
//! | key | becomes |
//! |---|---|
//! | `name` | the row's name |
//! | `topics` | must be 1 |
//! | `partitionsPerTopic` | partitions |
//! | `messageSize`, `payloadFile` | bytes of a message; the lines of a file, each a message, of `messageSize` bytes each |
//! | `useRandomizedPayloads`, `randomBytesRatio` | random bytes, the rest of each message zeros |
//! | `randomizedPayloadPoolSize` | checked, and without effect: a load repeats its own batches |
//! | `keyDistributor` | none, in turn, or 10,000 at random |
//! | `producersPerTopic`, `producerRate` | connections, messages a second in all, on a schedule |
//! | `subscriptionsPerTopic`, `consumerPerSubscription` | at most 1; readers. None: what is measured is producing alone |
//! | `consumerBacklogSizeGB`, `backlogDrainRatio` | must be 0; without effect then |
//! | `warmupDurationMinutes`, `testDurationMinutes` | the same, in parts of minutes too |
//!
//! What cannot be run as it is meant is an error, never left out in silence. Batches are not in a workload: theirs are
//! in the driver's configuration, which waits 1 ms for more in its usual ones. So a batch here is what a connection is due
//! to send in 1 ms. With readers the times are end to end, but with lines of a file, which carry no time.

mod fields;
#[cfg(test)]
mod tests;

use crate::bench::settings::{Keys, Kind, Payload, Rate, Settings};
use fields::{Fields, Wrong, wrong};
use std::path::{Path, PathBuf};
use std::time::Duration;
use thiserror::Error;

/// Keys that their distributors choose from.
const RANDOM_KEYS: u32 = 10_000;
/// Requests in flight per connection: theirs are bounded by the client's memory; enough that the schedule is what bounds.
const IN_FLIGHT: usize = 32;
/// Of their usual drivers: how long a batch waits for more.
const LINGER_S: f64 = 0.001;
const BATCH_MESSAGES_MAX: u32 = 1_000;
const BATCH_BYTES_MAX: usize = 1 << 20;
/// A file longer than this is no workload.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// More than what a u32 of milliseconds holds is no duration that anybody waits for.
const MINUTES_MAX: f64 = 60.0 * 24.0 * 365.0;

/// A workload as the file has it.
#[derive(Clone, PartialEq, Debug)]
pub struct Workload {
    /// What it calls itself.
    pub name: String,
    /// What to run.
    pub settings: Settings,
}

/// Why a file is not run. One line: the place, the cause, what to do.
#[derive(Error, Debug)]
pub enum WorkloadError {
    /// It cannot be read.
    #[error("{}: {cause}; name a readable file of less than 1 MiB", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// A place in it is not understood, or cannot be run.
    #[error("{}:{line}: {cause}", path.display())]
    At {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong there, with the key, and the remedy.
        cause: String,
    },
}

/// Reads a file. What it does not say comes from `base`: ack level, runs, CPUs.
pub fn read(path: &Path, base: &Settings) -> Result<Workload, WorkloadError> {
    let unreadable = |cause| WorkloadError::Unreadable {
        path: path.to_owned(),
        cause,
    };
    let bytes = std::fs::metadata(path).map_err(unreadable)?.len();
    if bytes > FILE_BYTES_MAX {
        let cause = std::io::Error::other(format!("it has {bytes} bytes"));
        return Err(unreadable(cause));
    }
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    parse(path, &text, base)
}

/// Reads the text of a file; `path` is for its errors.
pub fn parse(path: &Path, text: &str, base: &Settings) -> Result<Workload, WorkloadError> {
    Fields::read(text)
        .and_then(|fields| workload(&fields, base))
        .map_err(|Wrong { line, cause }| WorkloadError::At {
            path: path.to_owned(),
            line,
            cause,
        })
}

fn workload(fields: &Fields, base: &Settings) -> Result<Workload, Wrong> {
    check_what_must_be_plain(fields)?;
    let connections = fields.whole("producersPerTopic", (1, 1 << 16), None)?;
    let message_bytes = fields.whole("messageSize", (1, BATCH_BYTES_MAX as u32), None)? as usize;
    let rate = fields.number("producerRate", (0.0, 1e12), None)?;
    if rate == 0.0 {
        return fields.refuse(
            "producerRate",
            "a search for the highest rate that is kept up, which names no limit",
            "give a rate here, or search one with `millrace bench end-to-end --find-max p99=5ms`",
        );
    }
    let readers = readers(fields)?;
    let payload = payload(fields, base)?;
    let kind = match (readers, &payload) {
        (0, _) => Kind::Produce,
        // A line of a file has no room for the time at which it was due.
        (_, Payload::Lines(_)) => Kind::Tail,
        _ => Kind::EndToEnd,
    };
    let minutes = |key, default| fields.number(key, (0.0, MINUTES_MAX), default);
    let duration = Duration::from_secs_f64(minutes("testDurationMinutes", None)? * 60.0);
    if duration.is_zero() {
        return fields.refuse(
            "testDurationMinutes",
            "a test without end",
            "give its length",
        );
    }
    Ok(Workload {
        name: fields
            .get("name")
            .map_or_else(|| "workload".to_owned(), |entry| entry.text.clone()),
        settings: Settings {
            kind,
            message_bytes,
            batch_messages: batch_messages(rate, connections, message_bytes),
            connections: connections as usize,
            partitions: fields.whole("partitionsPerTopic", (1, 1 << 20), None)?,
            in_flight: IN_FLIGHT,
            keys: keys(fields)?,
            payload,
            rate: Rate::PerSecond(rate),
            warm_up: Duration::from_secs_f64(minutes("warmupDurationMinutes", Some(1.0))? * 60.0),
            duration,
            readers: readers.max(1) as usize,
            ..base.clone()
        },
    })
}

/// Keys that exist and must have the value that a load of ours has.
fn check_what_must_be_plain(fields: &Fields) -> Result<(), Wrong> {
    if fields.whole("topics", (1, u32::MAX), None)? != 1 {
        let remedy = "use one topic with as many partitions (topics: 1, partitionsPerTopic: ..)";
        return fields.refuse("topics", "a load has one topic", remedy);
    }
    if fields.number("consumerBacklogSizeGB", (0.0, 1e9), Some(0.0))? > 0.0 {
        let remedy = "use 0 here, and `millrace bench consume --fill` for a backlog";
        let cause = "a backlog that is drained beside the producers is not measured";
        return fields.refuse("consumerBacklogSizeGB", cause, remedy);
    }
    fields.number("backlogDrainRatio", (0.0, 1.0), Some(1.0))?;
    Ok(())
}

fn readers(fields: &Fields) -> Result<u32, Wrong> {
    let subscriptions = fields.whole("subscriptionsPerTopic", (0, u32::MAX), None)?;
    let consumers = fields.whole("consumerPerSubscription", (0, 1 << 16), None)?;
    match subscriptions {
        0 => Ok(0),
        1 => Ok(consumers),
        _ => fields.refuse(
            "subscriptionsPerTopic",
            "a load reads every message once",
            "use 1",
        ),
    }
}

fn keys(fields: &Fields) -> Result<Keys, Wrong> {
    let Some(entry) = fields.get("keyDistributor") else {
        return Ok(Keys::None);
    };
    match entry.text.as_str() {
        "NO_KEY" => Ok(Keys::None),
        "KEY_ROUND_ROBIN" => Ok(Keys::RoundRobin),
        "RANDOM_NANO" => Ok(Keys::Random(RANDOM_KEYS)),
        _ => Err(entry.wrong(
            "no key distributor",
            "use NO_KEY, KEY_ROUND_ROBIN or RANDOM_NANO",
        )),
    }
}

fn payload(fields: &Fields, base: &Settings) -> Result<Payload, Wrong> {
    let is_random = fields.flag("useRandomizedPayloads")?;
    let random_share = fields.number("randomBytesRatio", (0.0, 1.0), Some(0.0))?;
    fields.whole("randomizedPayloadPoolSize", (0, u32::MAX), Some(0))?;
    let file = fields
        .get("payloadFile")
        .filter(|entry| !entry.text.is_empty());
    let Payload::Random { seed, .. } = Settings::default().payload else {
        return Ok(base.payload.clone());
    };
    match (is_random, file) {
        (true, Some(entry)) => Err(entry.wrong(
            "there are randomized payloads too",
            "remove it, or set useRandomizedPayloads: false",
        )),
        (true, None) => Ok(Payload::Random { seed, random_share }),
        (false, Some(entry)) => Ok(Payload::Lines(PathBuf::from(&entry.text))),
        (false, None) => Err(wrong(
            1,
            "payloadFile is missing; add it, or useRandomizedPayloads: true with randomBytesRatio: 1.0",
        )),
    }
}

/// What a connection is due to send in the time that a batch waits, within what a batch may hold.
fn batch_messages(rate: f64, connections: u32, message_bytes: usize) -> u32 {
    let due = (rate / f64::from(connections) * LINGER_S) as u32;
    let fitting = (BATCH_BYTES_MAX / (message_bytes + 64)) as u32;
    due.clamp(1, BATCH_MESSAGES_MAX.min(fitting.max(1)))
}
