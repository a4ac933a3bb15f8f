//! The nouns of queues: what one is set to, what its consumers are handed, and how they answer.
//!
//! They stand here because the catalog keeps the settings, the bridge (`engine`) carries the deliveries and the room
//! `queue` decides about them, and none of these may import another.

use crate::base::limits::{
    QUEUE_DELAY_MS_MAX, QUEUE_DELIVERIES_MAX, QUEUE_LEASE_MS_DEFAULT, QUEUE_LEASE_MS_MAX,
    QUEUE_LEASE_MS_MIN, QUEUE_RETRY_STEPS_MAX,
};
use crate::base::{Offset, TimestampMs};
use thiserror::Error;

/// A consumer of queues, as whoever holds its connection names it. Never used twice while the broker runs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ConsumerId(pub u64);

/// How long a record that was given back waits until it is delivered again.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Retry {
    /// Not at all.
    #[default]
    AtOnce,
    /// This long after its first delivery, twice as long after each further one, up to a cap.
    Exponential {
        /// After the first, in milliseconds.
        first_ms: u32,
        /// Never longer, in milliseconds.
        cap_ms: u32,
    },
    /// As listed, in milliseconds, by the number of the delivery; the last one from there on.
    Schedule(Vec<u32>),
}

impl Retry {
    /// The wait after delivery number `deliveries` (from 1), in milliseconds.
    pub fn delay_ms(&self, deliveries: u32) -> u32 {
        let before = deliveries.saturating_sub(1);
        match self {
            Self::AtOnce => 0,
            Self::Exponential { first_ms, cap_ms } => {
                let doubled = u64::from(*first_ms) << before.min(32);
                doubled.min(u64::from(*cap_ms)) as u32
            }
            Self::Schedule(steps) => {
                let last = steps.len().saturating_sub(1);
                steps.get((before as usize).min(last)).copied().unwrap_or(0)
            }
        }
    }
}

/// What a queue is set to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct QueueSettings {
    /// How long a consumer has a record before it is delivered again, in milliseconds.
    pub lease_ms: u32,
    /// After so many deliveries a record is dead.
    pub deliveries_max: Option<u32>,
    /// What happens to a record that is given back.
    pub retry: Retry,
    /// A later record of a key waits for the earlier ones.
    pub key_order: bool,
    /// What the headers of records say of priority, expiry and delay counts. Without, nobody looks into them.
    pub reads_headers: bool,
    /// Dead records are moved to another topic; otherwise they only stay where they are in the log.
    pub has_dead_letters: bool,
}

impl Default for QueueSettings {
    fn default() -> Self {
        Self {
            lease_ms: QUEUE_LEASE_MS_DEFAULT,
            deliveries_max: None,
            retry: Retry::AtOnce,
            key_order: false,
            reads_headers: true,
            has_dead_letters: false,
        }
    }
}

/// Why a queue cannot be set to that.
#[derive(Error, Clone, PartialEq, Eq, Debug)]
pub enum QueueSettingError {
    /// The lease.
    #[error("lease of {0} ms: it must be {QUEUE_LEASE_MS_MIN} to {QUEUE_LEASE_MS_MAX} ms")]
    Lease(u32),
    /// The limit of deliveries.
    #[error("{0} deliveries: the limit must be 1 to {QUEUE_DELIVERIES_MAX}")]
    Deliveries(u32),
    /// A delay of a retry.
    #[error("delay of {0} ms: it must be at most {QUEUE_DELAY_MS_MAX} ms")]
    Delay(u32),
    /// A schedule that is none.
    #[error("retry schedule of {0} steps: it must have 1 to {QUEUE_RETRY_STEPS_MAX}")]
    Steps(usize),
    /// A cap below what it caps.
    #[error(
        "backoff from {first_ms} ms up to {cap_ms} ms: the first must be 1 ms or more, and below the cap"
    )]
    Cap {
        /// The first delay.
        first_ms: u32,
        /// The longest.
        cap_ms: u32,
    },
}

impl QueueSettings {
    /// Whether a record is looked into before it is handed out.
    pub fn needs_facts(&self) -> bool {
        self.key_order || self.reads_headers
    }

    /// Whether every value is within its limits.
    pub fn check(&self) -> Result<(), QueueSettingError> {
        if !(QUEUE_LEASE_MS_MIN..=QUEUE_LEASE_MS_MAX).contains(&self.lease_ms) {
            return Err(QueueSettingError::Lease(self.lease_ms));
        }
        match self.deliveries_max {
            Some(max) if !(1..=QUEUE_DELIVERIES_MAX).contains(&max) => {
                return Err(QueueSettingError::Deliveries(max));
            }
            _ => {}
        }
        match &self.retry {
            Retry::AtOnce => Ok(()),
            Retry::Exponential { first_ms, cap_ms } => {
                let (first_ms, cap_ms) = (*first_ms, *cap_ms);
                if first_ms == 0 || first_ms > cap_ms {
                    return Err(QueueSettingError::Cap { first_ms, cap_ms });
                }
                check_delay(cap_ms)
            }
            Retry::Schedule(steps) => {
                if !(1..=QUEUE_RETRY_STEPS_MAX).contains(&steps.len()) {
                    return Err(QueueSettingError::Steps(steps.len()));
                }
                steps.iter().try_for_each(|step| check_delay(*step))
            }
        }
    }
}

fn check_delay(delay_ms: u32) -> Result<(), QueueSettingError> {
    match delay_ms <= QUEUE_DELAY_MS_MAX {
        true => Ok(()),
        false => Err(QueueSettingError::Delay(delay_ms)),
    }
}

/// Neighbouring records that a consumer was handed together, as it names them when it settles them or some of them. A
/// record of that offset is delivered under that number once, ever: so an answer that comes too late is told from one
/// that counts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Span {
    /// The first.
    pub from: Offset,
    /// After the last.
    pub until: Offset,
    /// Which delivery of each of them it was, from 1.
    pub deliveries: u32,
}

/// Neighbouring records for a consumer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Delivery {
    /// Who gets them.
    pub consumer: ConsumerId,
    /// What it gets.
    pub span: Span,
    /// When they were first delivered to anybody.
    pub first: TimestampMs,
}

/// What a consumer that does not want records any more asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Nack {
    /// To be tried again, after the delay that the queue is set to.
    Retry,
    /// To be tried again after so many milliseconds.
    After(u32),
    /// Not to be tried again: they are dead.
    Reject,
}

/// What became of an answer of a consumer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Answered {
    /// Records for which it counts.
    pub taken: u64,
    /// Records that were not with that consumer under that number: their lease had ended, or they were settled.
    pub stale: u64,
}

/// Where a record stands that is not done with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// May be handed out.
    Ready,
    /// With a consumer.
    Leased,
    /// Waits for a time.
    Delayed,
    /// Waits for an earlier record of its key.
    Blocked,
    /// On its way to the dead letters.
    Dying,
}

/// Neighbouring records that are not done with and that stand alike.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HeldRun {
    /// Which, and how often they were delivered.
    pub span: Span,
    /// When they were first delivered, if they ever were.
    pub first: Option<TimestampMs>,
    /// Where they stand.
    pub standing: Standing,
}

/// What a queue has of one partition.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Held {
    /// The first runs of records that it has looked at or handed out, in order.
    pub runs: Vec<HeldRun>,
    /// Whether others follow.
    pub more: bool,
    /// From where up to where nothing has happened to the records. What lies between is done with.
    pub backlog: (Offset, Offset),
}

/// How many records have been done with, ever, by how.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Totals {
    /// A consumer was done with them.
    pub acked: u64,
    /// Given up.
    pub dead: u64,
    /// Too old.
    pub expired: u64,
    /// Not wanted any more.
    pub purged: u64,
    /// Offsets without a record.
    pub absent: u64,
    /// Done with and then lost with the end of the log: these are counted twice.
    pub lost: u64,
}

impl Totals {
    /// Offsets of the log as it is that are done with.
    pub fn settled(&self) -> u64 {
        let all = [
            self.acked,
            self.dead,
            self.expired,
            self.purged,
            self.absent,
        ];
        let all = all.into_iter().fold(0, u64::saturating_add);
        all.saturating_sub(self.lost)
    }
}

/// Where the records of the queue are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// May be handed out, looked at or not.
    pub ready: u64,
    /// With a consumer.
    pub leased: u64,
    /// Wait for a time.
    pub delayed: u64,
    /// Wait for an earlier record of their key.
    pub blocked: u64,
    /// On their way to the dead letters.
    pub dying: u64,
    /// Done with.
    pub totals: Totals,
    /// The first record that the queue covers.
    pub begin: Offset,
    /// Everything below is done with.
    pub floor: Offset,
    /// After the last record that may be handed out.
    pub visible: Offset,
    /// Who takes part.
    pub consumers: u32,
}

/// What a record may say about its own delivery, read from its key and headers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Facts {
    /// A hash of its key, if it has one and the queue keeps the order of keys.
    pub key: Option<u64>,
    /// 0 to 9: a higher one goes first.
    pub priority: u8,
    /// Not delivered from then on.
    pub expires: Option<TimestampMs>,
    /// Not delivered before.
    pub not_before: Option<TimestampMs>,
}

/// Why a record is dead.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cause {
    /// It was delivered as often as its queue allows, and not acked.
    Deliveries,
    /// A consumer refused it for good.
    Rejected,
}

impl Cause {
    /// The name that dead letters and people know it by.
    pub fn name(self) -> &'static str {
        match self {
            Self::Deliveries => "max-deliveries",
            Self::Rejected => "rejected",
        }
    }

    /// The number that stands for it on disk.
    pub fn code(self) -> u8 {
        match self {
            Self::Deliveries => 1,
            Self::Rejected => 2,
        }
    }

    /// The cause that a code stands for, if any.
    pub fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Deliveries),
            2 => Some(Self::Rejected),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_wait_as_they_are_told() {
        let waits = |retry: &Retry| [1, 2, 3, 4, 40].map(|deliveries| retry.delay_ms(deliveries));
        assert_eq!(waits(&Retry::AtOnce), [0; 5]);
        let (first_ms, cap_ms) = (100, 500);
        let exponential = Retry::Exponential { first_ms, cap_ms };
        assert_eq!(waits(&exponential), [100, 200, 400, 500, 500]);
        let schedule = Retry::Schedule(vec![1_000, 5_000, 30_000]);
        assert_eq!(waits(&schedule), [1_000, 5_000, 30_000, 30_000, 30_000]);
    }

    #[test]
    fn settings_out_of_their_limits_are_refused() {
        let with = |change: fn(&mut QueueSettings)| {
            let mut settings = QueueSettings::default();
            change(&mut settings);
            settings.check()
        };
        assert_eq!(with(|_| ()), Ok(()));
        for refused in [
            with(|settings| settings.lease_ms = 0),
            with(|settings| settings.deliveries_max = Some(0)),
            with(|settings| settings.retry = Retry::Schedule(Vec::new())),
            with(|settings| settings.retry = Retry::Schedule(vec![u32::MAX])),
            with(|settings| {
                settings.retry = Retry::Exponential {
                    first_ms: 9,
                    cap_ms: 8,
                };
            }),
        ] {
            let line = refused.expect_err("out of its limits").to_string();
            assert!(
                line.contains("must be") || line.contains("must have"),
                "{line}"
            );
        }
    }

    #[test]
    fn causes_round_trip() {
        for cause in [Cause::Deliveries, Cause::Rejected] {
            assert_eq!(Cause::from_code(cause.code()), Some(cause));
        }
        assert_eq!(Cause::from_code(0), None);
    }
}
