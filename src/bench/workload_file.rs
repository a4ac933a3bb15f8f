//! Workloads of the OpenMessaging Benchmark: its YAML (the fields of its class `Workload`) as our settings.
//!
//! | key | becomes |
//! |---|---|
//! | `name` | the row's name |
//! | `topics` | must be 1 |
//! | `partitionsPerTopic` | partitions |
//! | `messageSize`, `payloadFile` | bytes of a message; the lines of a file, each a message, of `messageSize` bytes each |
//! | `useRandomizedPayloads`, `randomBytesRatio`, `randomizedPayloadPoolSize` | random bytes, the rest of each message zeros |
//! | `keyDistributor` | none, in turn, or 10,000 at random |
//! | `producersPerTopic`, `producerRate` | connections, messages a second in all, on a schedule |
//! | `subscriptionsPerTopic`, `consumerPerSubscription` | at most 1; readers. None: what is measured is producing alone |
//! | `consumerBacklogSizeGB`, `backlogDrainRatio` | must be 0; without effect then |
//! | `warmupDurationMinutes`, `testDurationMinutes` | the same, in parts of minutes too |
//!
//! What cannot be run as it is meant is an error, never left out in silence. Batches are not in a workload: theirs are
//! in the driver's configuration, which waits 1 ms for more in its usual ones. So a batch here is what a connection is due
//! to send in 1 ms. With readers the times are end to end, but with lines of a file, which carry no time.
//!
//! Decided: saphyr-parser, for its events with their lines, out of which an error can name the place. It is kept, pure
//! Rust without unsafe, and pulls in arraydeque alone. serde_yaml is archived, serde_yaml_ng and serde_norway have had no
//! release since 2024 and stand on a translated C library; serde-saphyr is kept, and ten times as much code for 17 keys.

use crate::bench::settings::{Keys, Kind, Payload, Rate, Settings};
use saphyr_parser::{Event, Parser, ScalarStyle, Span};
use std::collections::BTreeMap;
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

/// What is wrong, before the file is known.
#[derive(Debug)]
struct Wrong {
    line: usize,
    cause: String,
}

fn wrong(line: usize, cause: impl Into<String>) -> Wrong {
    Wrong {
        line,
        cause: cause.into(),
    }
}

/// One value with its place.
#[derive(Clone, Debug)]
struct Entry {
    key: &'static str,
    text: String,
    is_quoted: bool,
    line: usize,
}

type Entries = BTreeMap<&'static str, Entry>;

/// Every key of a workload. Another one is an error.
const KEYS: [&str; 17] = [
    "name",
    "topics",
    "partitionsPerTopic",
    "keyDistributor",
    "messageSize",
    "useRandomizedPayloads",
    "randomBytesRatio",
    "randomizedPayloadPoolSize",
    "payloadFile",
    "subscriptionsPerTopic",
    "producersPerTopic",
    "consumerPerSubscription",
    "producerRate",
    "consumerBacklogSizeGB",
    "backlogDrainRatio",
    "testDurationMinutes",
    "warmupDurationMinutes",
];

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
    entries(text)
        .and_then(|entries| workload(&Fields { entries }, base))
        .map_err(|Wrong { line, cause }| WorkloadError::At {
            path: path.to_owned(),
            line,
            cause,
        })
}

/// The one flat mapping that a workload is.
fn entries(text: &str) -> Result<Entries, Wrong> {
    let mut events = Events {
        parser: Parser::new_from_str(text),
        line: 1,
    };
    let not_flat = |line| {
        wrong(
            line,
            "a workload is a list of `key: value`; write one to a line",
        )
    };
    loop {
        match events.next()? {
            Some((Event::StreamStart | Event::DocumentStart(_), _)) => {}
            Some((Event::MappingStart(..), _)) => break,
            Some((_, line)) => return Err(not_flat(line)),
            None => {
                return Err(wrong(
                    1,
                    "it is empty; see the example workloads of the benchmark",
                ));
            }
        }
    }
    let mut entries = Entries::new();
    loop {
        let (key, line) = match events.next()? {
            Some((Event::Scalar(key, ..), line)) => (key.into_owned(), line),
            Some((Event::MappingEnd, _)) => break,
            Some((_, line)) => return Err(not_flat(line)),
            None => return Err(not_flat(events.line)),
        };
        let entry = entry(&mut events, &key, line)?;
        if let Some(first) = entries.insert(entry.key, entry) {
            let cause = format!(
                "{key} stands twice, first in line {}; remove one",
                first.line
            );
            return Err(wrong(line, cause));
        }
    }
    match events.next()? {
        Some((Event::DocumentEnd, _)) => {}
        _ => return Err(not_flat(events.line)),
    }
    match events.next()? {
        Some((Event::StreamEnd, _)) | None => Ok(entries),
        Some((_, line)) => Err(wrong(
            line,
            "a second document begins; give it a file of its own",
        )),
    }
}

fn entry(events: &mut Events<'_>, key: &str, line: usize) -> Result<Entry, Wrong> {
    let Some(known) = KEYS.iter().find(|known| **known == key) else {
        let cause = format!(
            "{key}: no key of a workload; the keys are {}",
            KEYS.join(", ")
        );
        return Err(wrong(line, cause));
    };
    match events.next()? {
        Some((Event::Scalar(text, style, _, None), _)) => Ok(Entry {
            key: known,
            text: text.into_owned(),
            is_quoted: style != ScalarStyle::Plain,
            line,
        }),
        _ => Err(wrong(
            line,
            format!("{key}: not one plain value; write `{key}: value`"),
        )),
    }
}

/// The parser's events, each with its line, and its errors as ours.
struct Events<'a> {
    parser: Parser<'a, saphyr_parser::StrInput<'a>>,
    line: usize,
}

impl<'a> Events<'a> {
    fn next(&mut self) -> Result<Option<(Event<'a>, usize)>, Wrong> {
        match self.parser.next_event() {
            None => Ok(None),
            Some(Ok((event, Span { start, .. }))) => {
                self.line = start.line().max(1);
                Ok(Some((event, self.line)))
            }
            Some(Err(error)) => {
                let cause = format!("this is no YAML ({}); correct it", error.info());
                Err(wrong(error.marker().line().max(1), cause))
            }
        }
    }
}

struct Fields {
    entries: Entries,
}

impl Fields {
    /// The value of a key as a number of a range; `default` where it is absent, an error where there is none.
    fn number(
        &self,
        key: &'static str,
        range: (f64, f64),
        default: Option<f64>,
    ) -> Result<f64, Wrong> {
        let Some(entry) = self.entries.get(key) else {
            return default.ok_or_else(|| wrong(1, format!("{key} is missing; add it")));
        };
        let (least, greatest) = range;
        entry
            .text
            .parse::<f64>()
            .ok()
            .filter(|number| !entry.is_quoted && (least..=greatest).contains(number))
            .ok_or_else(|| {
                let cause = format!("not a number from {least} to {greatest}");
                entry.wrong(&cause, "correct it")
            })
    }

    fn whole(
        &self,
        key: &'static str,
        range: (u32, u32),
        default: Option<u32>,
    ) -> Result<u32, Wrong> {
        let (least, greatest) = range;
        let number = self.number(key, (least.into(), greatest.into()), default.map(f64::from))?;
        match (number.fract() == 0.0, self.entries.get(key)) {
            (false, Some(entry)) => Err(entry.wrong("not a whole number", "correct it")),
            _ => Ok(number as u32),
        }
    }

    fn flag(&self, key: &'static str) -> Result<bool, Wrong> {
        match self.entries.get(key) {
            None => Ok(false),
            Some(entry) => match entry.text.as_str() {
                "true" | "True" | "TRUE" if !entry.is_quoted => Ok(true),
                "false" | "False" | "FALSE" if !entry.is_quoted => Ok(false),
                _ => Err(entry.wrong("neither true nor false", "correct it")),
            },
        }
    }

    /// An error at a key that is there because it is not what it would be by default.
    fn refuse<T>(&self, key: &'static str, cause: &str, remedy: &str) -> Result<T, Wrong> {
        Err(match self.entries.get(key) {
            Some(entry) => entry.wrong(cause, remedy),
            None => wrong(1, format!("{key}: {cause}; {remedy}")),
        })
    }
}

impl Entry {
    fn wrong(&self, cause: &str, remedy: &str) -> Wrong {
        wrong(
            self.line,
            format!("{}: {}: {cause}; {remedy}", self.key, self.text),
        )
    }
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
            .entries
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
    let Some(entry) = fields.entries.get("keyDistributor") else {
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
        .entries
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

#[cfg(test)]
mod tests {
    //! Goal: files as the benchmark has them are run as they are meant, and everything else is told with its line and
    //! its key. Method: a file of each shape; each refusal with the words that must be in it; cut at every index.

    use super::*;

    const USUAL: &str = "\
# A comment.
name: 1 producer / 1 consumer on 1 topic

topics: 1
partitionsPerTopic: 16
messageSize: 1024
#payloadFile: \"payload/payload-1Kb.data\"
useRandomizedPayloads: true
randomBytesRatio: 0.5
randomizedPayloadPoolSize: 1000

subscriptionsPerTopic: 1
consumerPerSubscription: 2
producersPerTopic: 4
producerRate: 50000
consumerBacklogSizeGB: 0
testDurationMinutes: 15
";

    fn parsed(text: &str) -> Result<Workload, String> {
        let base = Settings::default();
        parse(Path::new("w.yaml"), text, &base).map_err(|error| error.to_string())
    }

    fn usual_with(from: &str, to: &str) -> Result<Workload, String> {
        assert!(USUAL.contains(from), "{from}");
        parsed(&USUAL.replace(from, to))
    }

    #[test]
    fn a_usual_file_is_run_as_it_is_meant() {
        let workload = parsed(USUAL).expect("good");
        assert_eq!(workload.name, "1 producer / 1 consumer on 1 topic");
        let expected = Settings {
            kind: Kind::EndToEnd,
            message_bytes: 1024,
            batch_messages: 12,
            connections: 4,
            partitions: 16,
            in_flight: IN_FLIGHT,
            payload: Payload::Random {
                seed: 7_420,
                random_share: 0.5,
            },
            rate: Rate::PerSecond(50_000.0),
            warm_up: Duration::from_secs(60),
            duration: Duration::from_secs(900),
            readers: 2,
            ..Settings::default()
        };
        assert_eq!(workload.settings, expected);
    }

    #[test]
    fn a_payload_file_is_lines_and_no_consumer_is_producing_alone() {
        let lines =
            usual_with("useRandomizedPayloads: true", "payloadFile: \"a b.data\"").expect("good");
        assert_eq!(lines.settings.payload, Payload::Lines("a b.data".into()));
        assert_eq!(lines.settings.kind, Kind::Tail);
        let alone =
            usual_with("consumerPerSubscription: 2", "consumerPerSubscription: 0").expect("good");
        assert_eq!(
            (alone.settings.kind, alone.settings.readers),
            (Kind::Produce, 1)
        );
    }

    #[test]
    fn optional_keys_are_honoured() {
        let keyed = parsed(&format!(
            "{USUAL}keyDistributor: RANDOM_NANO\nwarmupDurationMinutes: 0.5\nbacklogDrainRatio: 0.9\n"
        ));
        let settings = keyed.expect("good").settings;
        assert_eq!(settings.keys, Keys::Random(RANDOM_KEYS));
        assert_eq!(settings.warm_up, Duration::from_secs(30));
    }

    #[test]
    fn what_cannot_be_run_names_line_and_key_and_remedy() {
        for (from, to, line, words) in [
            (
                "topics: 1",
                "topics: 10",
                4,
                "topics: 10: a load has one topic; use one topic",
            ),
            ("topics: 1", "topics: one", 4, "topics: one: not a number"),
            ("topics: 1", "topics: \"1\"", 4, "topics: 1: not a number"),
            ("topics: 1", "topics: 1.5", 4, "not a whole number"),
            ("topics: 1", "topics: [1]", 4, "topics: not one plain value"),
            (
                "topics: 1\n",
                "topics: 1\ntopics: 1\n",
                5,
                "topics stands twice, first in line 4",
            ),
            (
                "topics: 1",
                "topicz: 1",
                4,
                "topicz: no key of a workload; the keys are name",
            ),
            (
                "messageSize: 1024",
                "messageSize: 0",
                6,
                "messageSize: 0: not a number from 1",
            ),
            (
                "messageSize: 1024\n",
                "",
                1,
                "messageSize is missing; add it",
            ),
            (
                "messageSize: 1024",
                "messageSize: NaN",
                6,
                "messageSize: NaN: not a number",
            ),
            (
                "subscriptionsPerTopic: 1",
                "subscriptionsPerTopic: 2",
                12,
                "once; use 1",
            ),
            ("producerRate: 50000", "producerRate: 0", 15, "--find-max"),
            ("SizeGB: 0", "SizeGB: 100", 16, "bench consume --fill"),
            (
                "testDurationMinutes: 15",
                "testDurationMinutes: 0",
                17,
                "give its length",
            ),
            (
                "useRandomizedPayloads: true",
                "useRandomizedPayloads: 1",
                8,
                "neither true nor false",
            ),
            (
                "useRandomizedPayloads: true\n",
                "",
                1,
                "payloadFile is missing",
            ),
            (
                "#payloadFile",
                "payloadFile",
                7,
                "randomized payloads too; remove it",
            ),
            (
                "name: 1",
                "keyDistributor: HASH\nname: 1",
                2,
                "HASH: no key distributor; use NO_KEY",
            ),
            (
                "topics: 1",
                "topics:\n  - 1",
                4,
                "topics: not one plain value",
            ),
        ] {
            let error = usual_with(from, to).expect_err(to);
            assert!(error.contains(words), "{to}: {error}");
            assert!(!error.contains('\n'), "{error}");
            let place = format!("w.yaml:{line}: ");
            assert!(error.starts_with(&place), "{to}: {place} {error}");
        }
    }

    #[test]
    fn what_is_no_list_of_values_is_refused() {
        for text in [
            "",
            "# nothing\n",
            "- 1\n- 2\n",
            "plain",
            "{",
            "a: b: c",
            "\t",
            "? [a]\n: b",
            "*x",
        ] {
            let error = parsed(text).expect_err(text);
            assert!(
                error.starts_with("w.yaml:") && error.contains("; "),
                "{text:?}: {error}"
            );
        }
        let two = parsed(&format!("{USUAL}---\n{USUAL}")).expect_err("two documents");
        assert!(two.contains("a second document"), "{two}");
    }

    #[test]
    fn a_file_cut_anywhere_is_a_workload_or_an_error() {
        let mut good = 0;
        for cut in 0..USUAL.len() {
            good += usize::from(parsed(&USUAL[..cut]).is_ok());
        }
        // Only the last value may be cut and be a value still: `1` and `15`.
        assert_eq!(good, 2);
    }

    #[test]
    fn a_file_with_any_byte_changed_is_a_workload_or_an_error() {
        for index in 0..USUAL.len() {
            for byte in [
                b'\0', b'\n', b' ', b'-', b':', b'[', b'{', b'&', b'*', b'"', b'|', b'%', b'9',
                0x7f,
            ] {
                let mut bytes = USUAL.as_bytes().to_vec();
                bytes[index] = byte;
                let text = String::from_utf8(bytes).expect("ASCII");
                if let Err(error) = parsed(&text) {
                    assert!(error.starts_with("w.yaml:"), "{error}");
                }
            }
        }
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let error = read(Path::new("/nonexistent/w.yaml"), &Settings::default());
        let line = error.expect_err("nothing").to_string();
        assert!(
            line.starts_with("/nonexistent/w.yaml: ") && line.contains("; "),
            "{line}"
        );
    }

    #[test]
    fn a_batch_is_what_a_millisecond_brings_within_bounds() {
        for (rate, connections, bytes, messages) in [
            (50_000.0, 1, 1024, 50),
            (100.0, 1, 1024, 1),
            (1e7, 1, 100, 1_000),
            (1e7, 1, 65_536, 15),
            (1e12, 1, 1 << 20, 1),
        ] {
            assert_eq!(
                batch_messages(rate, connections, bytes),
                messages,
                "{rate} {bytes}"
            );
        }
    }
}
