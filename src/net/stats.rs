//! What the connections of a core count.

use std::cell::Cell;

/// Counts since the start of this core, and how many connections there are now. Plain data, pulled by whoever shows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stats {
    /// Connections that are open now.
    pub connections: u64,
    /// Connections that were accepted.
    pub accepted: u64,
    /// Connections that were closed at once because there were too many.
    pub refused: u64,
    /// Failures to accept, such as too many open files.
    pub accept_errors: u64,
    /// Connections that were ended because the peer was too slow.
    pub overdue: u64,
    /// Requests that were read.
    pub requests: u64,
    /// Bytes that were no request.
    pub malformed: u64,
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes sent.
    pub bytes_out: u64,
    /// What receive buffers have grown by, now, in bytes.
    pub receive_bytes: u64,
}

/// The same, being counted.
#[derive(Debug, Default)]
pub(super) struct Counters(Cell<Stats>);

impl Counters {
    pub(super) fn stats(&self) -> Stats {
        self.0.get()
    }

    pub(super) fn accepted(&self) {
        self.change(|stats| stats.accepted += 1);
    }

    pub(super) fn refused(&self) {
        self.change(|stats| stats.refused += 1);
    }

    pub(super) fn accept_error(&self) {
        self.change(|stats| stats.accept_errors += 1);
    }

    pub(super) fn overdue(&self) {
        self.change(|stats| stats.overdue += 1);
    }

    pub(super) fn request(&self) {
        self.change(|stats| stats.requests += 1);
    }

    pub(super) fn malformed(&self) {
        self.change(|stats| stats.malformed += 1);
    }

    pub(super) fn received(&self, bytes: usize) {
        self.change(|stats| stats.bytes_in += bytes as u64);
    }

    pub(super) fn sent(&self, bytes: u64) {
        self.change(|stats| stats.bytes_out += bytes);
    }

    fn change(&self, change: impl FnOnce(&mut Stats)) {
        let mut stats = self.0.get();
        change(&mut stats);
        self.0.set(stats);
    }
}
