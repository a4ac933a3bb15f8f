//! The text of a workload file as checked values, each with its line.
//!
//! Decided: saphyr-parser, for its events with their lines, out of which an error can name the place. It is kept, pure
//! Rust without unsafe, and pulls in arraydeque alone. serde_yaml is archived, serde_yaml_ng and serde_norway have had no
//! release since 2024 and stand on a translated C library; serde-saphyr is kept, and ten times as much code for 17 keys.

use saphyr_parser::{Event, Parser, ScalarStyle, Span};
use std::collections::BTreeMap;

/// What is wrong, before the file is known.
#[derive(Debug)]
pub(super) struct Wrong {
    pub(super) line: usize,
    pub(super) cause: String,
}

pub(super) fn wrong(line: usize, cause: impl Into<String>) -> Wrong {
    Wrong {
        line,
        cause: cause.into(),
    }
}

/// One value with its place.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    key: &'static str,
    pub(super) text: String,
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

/// What a file says, by key.
pub(super) struct Fields {
    entries: Entries,
}

impl Fields {
    /// Reads the one flat mapping that a workload is.
    pub(super) fn read(text: &str) -> Result<Self, Wrong> {
        Ok(Self {
            entries: entries(text)?,
        })
    }

    pub(super) fn get(&self, key: &'static str) -> Option<&Entry> {
        self.entries.get(key)
    }

    /// The value of a key as a number of a range; `default` where it is absent, an error where there is none.
    pub(super) fn number(
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

    pub(super) fn whole(
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

    pub(super) fn flag(&self, key: &'static str) -> Result<bool, Wrong> {
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
    pub(super) fn refuse<T>(
        &self,
        key: &'static str,
        cause: &str,
        remedy: &str,
    ) -> Result<T, Wrong> {
        Err(match self.entries.get(key) {
            Some(entry) => entry.wrong(cause, remedy),
            None => wrong(1, format!("{key}: {cause}; {remedy}")),
        })
    }
}

impl Entry {
    pub(super) fn wrong(&self, cause: &str, remedy: &str) -> Wrong {
        wrong(
            self.line,
            format!("{}: {}: {cause}; {remedy}", self.key, self.text),
        )
    }
}
