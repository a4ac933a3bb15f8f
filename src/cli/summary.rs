//! What `produce` tells at its end: how much, how fast, and what became of each message.

use crate::cli::exit::{Exit, Failure};
use crate::cli::print::{bytes_text, per_second, time_text};
use serde::Serialize;
use std::time::Duration;

/// Counts of one run of `produce`. Every message taken from the input is in exactly one of the last three.
#[derive(Serialize, Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tally {
    /// Messages taken from the input.
    pub messages: u64,
    /// Their bytes: keys and values.
    pub bytes: u64,
    /// Stored, at the level that was asked for.
    pub acked: u64,
    /// Certainly not stored.
    pub failed: u64,
    /// Sent, and nobody can tell.
    pub unknown: u64,
}

impl Tally {
    /// One line for a person.
    pub fn line(&self, time: Duration) -> String {
        let rate = per_second(self.messages, time);
        let mega = per_second(self.bytes, time) / 1e6;
        format!(
            "{} messages, {} in {} ({rate:.0} msg/s, {mega:.1} MB/s): {} acked, {} failed, {} unknown",
            self.messages,
            bytes_text(self.bytes),
            time_text(time),
            self.acked,
            self.failed,
            self.unknown
        )
    }

    /// A failure unless every message was acked. `cause` is the first refusal, if one is known.
    pub fn verdict(&self, cause: Option<&str>) -> Result<(), Failure> {
        if self.acked == self.messages {
            return Ok(());
        }
        let cause = cause.unwrap_or("the broker did not acknowledge");
        let remedy = if self.unknown > 0 {
            "look for the unknown ones in the topic before sending them again"
        } else {
            "none of the failed is stored: send them again"
        };
        let missing = self.messages - self.acked;
        let line = format!(
            "{missing} of {} messages not acked: {cause}; {remedy}",
            self.messages
        );
        Err(Failure::new(Exit::Failed, line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_has_every_count() {
        let tally = Tally {
            messages: 10,
            bytes: 2_000_000,
            acked: 7,
            failed: 2,
            unknown: 1,
        };
        assert_eq!(
            tally.line(Duration::from_secs(2)),
            "10 messages, 1.9 MiB in 2.00 s (5 msg/s, 1.0 MB/s): 7 acked, 2 failed, 1 unknown"
        );
        assert!(Tally::default().line(Duration::ZERO).contains("(0 msg/s"));
    }

    #[test]
    fn only_all_acked_is_done_and_unknown_is_not_failed() {
        let tally = |acked, failed, unknown| Tally {
            messages: 3,
            bytes: 3,
            acked,
            failed,
            unknown,
        };
        assert_eq!(tally(3, 0, 0).verdict(None), Ok(()));
        assert_eq!(Tally::default().verdict(None), Ok(()));
        let failed = tally(1, 2, 0)
            .verdict(Some("disk is full"))
            .expect_err("not all");
        assert_eq!(failed.exit, Exit::Failed);
        assert!(failed.line.contains("2 of 3") && failed.line.contains("disk is full"));
        assert!(failed.line.contains("send them again"), "{}", failed.line);
        let unknown = tally(2, 0, 1).verdict(None).expect_err("not all");
        assert!(
            unknown.line.contains("before sending them again"),
            "{}",
            unknown.line
        );
    }
}
