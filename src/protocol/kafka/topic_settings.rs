//! What a topic is set to, under the names that Kafka has for it: a row for each setting, walked by CreateTopics,
//! AlterConfigs, IncrementalAlterConfigs and DescribeConfigs. A name that has no row is refused by it.

use crate::base::{KEEP_ALL, TimestampType, TopicChange, TopicSettings};
use crate::protocol::kafka::error;

/// A code and a line for a person.
pub type Refusal = (i16, String);

/// The kinds of values, as DescribeConfigs numbers them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "each is Kafka's type of that name")]
pub enum Kind {
    Boolean = 1,
    String = 2,
    Int = 3,
    Long = 5,
    List = 7,
}

/// A setting.
#[derive(Debug)]
pub struct Setting {
    /// Its name.
    pub name: &'static str,
    /// The name of what a broker sets topics to that do not say: where a default comes from.
    pub broker_name: &'static str,
    /// What values are.
    pub kind: Kind,
    /// What it does, for a person.
    pub help: &'static str,
    access: Access,
}

#[derive(Debug)]
enum Access {
    /// It has this value and no other.
    Fixed(&'static str),
    Open {
        /// What values may be, for a person.
        values: &'static str,
        read: fn(&TopicSettings) -> String,
        /// Puts a value into a change; false: no such value.
        set: fn(&mut TopicChange, &str) -> bool,
    },
}

const BYTES: &str = "a number of bytes";
const MS: &str = "a number of milliseconds";
const BYTES_OR_ALL: &str = "a number of bytes, or -1";
const MS_OR_ALL: &str = "a number of milliseconds, or -1";
/// How Kafka writes that nothing is dropped.
const ALL: &str = "-1";

/// Every setting that means something here, by name.
#[rustfmt::skip]
pub const SETTINGS: &[Setting] = &[
    Setting {
        name: "cleanup.policy", broker_name: "log.cleanup.policy", kind: Kind::List,
        help: "what becomes of old records: they are dropped as retention.ms and retention.bytes say",
        access: Access::Fixed("delete"),
    },
    Setting {
        name: "compression.type", broker_name: "compression.type", kind: Kind::String,
        help: "batches are stored as they come",
        access: Access::Fixed("producer"),
    },
    Setting {
        name: "max.message.bytes", broker_name: "message.max.bytes", kind: Kind::Int,
        help: "the largest record batch that is taken, header included",
        access: Access::Open {
            values: BYTES,
            read: |settings| settings.batch_bytes_max.to_string(),
            set: |change, value| put(&mut change.batch_bytes_max, value.parse().ok()),
        },
    },
    Setting {
        name: "message.timestamp.after.max.ms", broker_name: "log.message.timestamp.after.max.ms", kind: Kind::Long,
        help: "how far a producer's timestamp may lie after the broker's time",
        access: Access::Open {
            values: MS,
            read: |settings| settings.timestamp_after_ms_max.to_string(),
            set: |change, value| put(&mut change.timestamp_after_ms_max, value.parse().ok()),
        },
    },
    Setting {
        name: "message.timestamp.before.max.ms", broker_name: "log.message.timestamp.before.max.ms", kind: Kind::Long,
        help: "how far a producer's timestamp may lie before the broker's time",
        access: Access::Open {
            values: MS,
            read: |settings| settings.timestamp_before_ms_max.to_string(),
            set: |change, value| put(&mut change.timestamp_before_ms_max, value.parse().ok()),
        },
    },
    Setting {
        name: "message.timestamp.type", broker_name: "log.message.timestamp.type", kind: Kind::String,
        help: "whose clock the timestamps are of: the producer's or the broker's",
        access: Access::Open {
            values: "CreateTime or LogAppendTime",
            read: |settings| settings.timestamp_type.name().to_owned(),
            set: |change, value| put(&mut change.timestamp_type, TimestampType::from_name(value)),
        },
    },
    Setting {
        name: "millrace.ack", broker_name: "millrace.ack", kind: Kind::String,
        help: "what records must have survived before they are read: the process (written) or the power (synced)",
        access: Access::Open {
            values: "written or synced",
            read: |settings| settings.ack.to_string(),
            set: |change, value| put(&mut change.ack, value.parse().ok()),
        },
    },
    Setting {
        name: "min.insync.replicas", broker_name: "min.insync.replicas", kind: Kind::Int,
        help: "a single node keeps one replica",
        access: Access::Fixed("1"),
    },
    Setting {
        name: "retention.bytes", broker_name: "log.retention.bytes", kind: Kind::Long,
        help: "the oldest records of a partition are dropped while so many bytes of it stay; -1: never",
        access: Access::Open {
            values: BYTES_OR_ALL,
            read: |settings| kept(settings.retention_bytes),
            set: |change, value| put(&mut change.retention_bytes, keep(value)),
        },
    },
    Setting {
        name: "retention.ms", broker_name: "log.retention.ms", kind: Kind::Long,
        help: "records this much older than the broker's time are dropped; -1: never",
        access: Access::Open {
            values: MS_OR_ALL,
            read: |settings| kept(settings.retention_ms),
            set: |change, value| put(&mut change.retention_ms, keep(value)),
        },
    },
    Setting {
        name: "segment.bytes", broker_name: "log.segment.bytes", kind: Kind::Long,
        help: "a segment is sealed before it grows past this",
        access: Access::Open {
            values: BYTES,
            read: |settings| settings.segment_bytes.to_string(),
            set: |change, value| put(&mut change.segment_bytes, value.parse().ok()),
        },
    },
    Setting {
        name: "segment.ms", broker_name: "log.roll.ms", kind: Kind::Long,
        help: "a segment is sealed when its first record is this old",
        access: Access::Open {
            values: MS,
            read: |settings| settings.segment_ms.to_string(),
            set: |change, value| put(&mut change.segment_ms, value.parse().ok()),
        },
    },
];

/// A retention, as Kafka writes it.
fn kept(retention: u64) -> String {
    match i64::try_from(retention) {
        Ok(limit) => limit.to_string(),
        Err(_) => ALL.to_owned(),
    }
}

/// The retention that Kafka writes so.
fn keep(value: &str) -> Option<u64> {
    match value {
        ALL => Some(KEEP_ALL),
        limit => u64::try_from(limit.parse::<i64>().ok()?).ok(),
    }
}

fn put<T>(field: &mut Option<T>, value: Option<T>) -> bool {
    let is_value = value.is_some();
    *field = value;
    is_value
}

impl Setting {
    /// The value that it has among `settings`.
    pub fn value(&self, settings: &TopicSettings) -> String {
        match &self.access {
            Access::Fixed(value) => (*value).to_owned(),
            Access::Open { read, .. } => read(settings),
        }
    }

    /// Whether it has one value and no other.
    pub fn is_fixed(&self) -> bool {
        matches!(self.access, Access::Fixed(_))
    }

    /// Adds the setting to a change. A fixed one may be set to what it is.
    pub fn set(&self, change: &mut TopicChange, value: &str) -> Result<(), Refusal> {
        let name = self.name;
        let line = match &self.access {
            Access::Fixed(fixed) if value == *fixed => return Ok(()),
            Access::Fixed(fixed) => {
                format!("{name}={value} is not supported: it is {fixed}, leave it out")
            }
            Access::Open { set, .. } if set(change, value) => return Ok(()),
            Access::Open { values, .. } => format!("{name} must be {values}, not {value:?}"),
        };
        Err((error::INVALID_CONFIG, line))
    }
}

/// The setting of that name.
pub fn find(name: &str) -> Result<&'static Setting, Refusal> {
    let found = SETTINGS.iter().find(|setting| setting.name == name);
    found.ok_or_else(|| {
        let line = format!("the setting {name} is not supported: leave it out");
        (error::INVALID_CONFIG, line)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_in_order_and_every_value_can_be_set_to_itself() {
        assert!(SETTINGS.windows(2).all(|pair| pair[0].name < pair[1].name));
        let settings = TopicSettings {
            batch_bytes_max: 5,
            timestamp_type: TimestampType::Append,
            timestamp_before_ms_max: 6,
            timestamp_after_ms_max: 7,
            segment_bytes: 8,
            segment_ms: 9,
            ack: crate::base::AckLevel::Synced,
            retention_ms: 10,
            retention_bytes: KEEP_ALL,
        };
        let mut change = TopicChange::default();
        for setting in SETTINGS {
            let value = setting.value(&settings);
            assert_eq!(setting.set(&mut change, &value), Ok(()), "{}", setting.name);
        }
        assert_eq!(
            change,
            TopicChange::to(settings),
            "each row sets what it reads"
        );
    }

    #[test]
    fn what_is_no_value_is_refused_by_name() {
        let refused = |name: &str, value: &str| {
            let setting = find(name)?;
            setting.set(&mut TopicChange::default(), value)
        };
        for (name, value) in [
            ("flush.messages", "1"),
            ("cleanup.policy", "compact"),
            ("retention.ms", "-2"),
            ("retention.ms", "9223372036854775808"),
            ("retention.bytes", "1G"),
            ("compression.type", "gzip"),
            ("min.insync.replicas", "2"),
            ("segment.ms", "-1"),
            ("max.message.bytes", "1e3"),
            ("max.message.bytes", "4294967296"),
            ("message.timestamp.type", "createtime"),
            ("millrace.ack", "all"),
        ] {
            let (code, line) = refused(name, value).expect_err(name);
            assert_eq!(code, error::INVALID_CONFIG);
            assert!(line.contains(name), "{line}");
        }
    }
}
