//! What the connections of a core count.

use crate::base::stages::{Counter, Stage, Stages, encode};
use crate::engine::CoreStages;
use crate::io::Monotonic;
use crate::net::clients::Clients;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

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
    /// Receives that brought bytes.
    pub receives: u64,
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes sent.
    pub bytes_out: u64,
    /// What receive buffers have grown by, now, in bytes.
    pub receive_bytes: u64,
}

/// The same, being counted, and the histograms of net's stages.
#[derive(Debug)]
pub(super) struct Counters {
    stats: Cell<Stats>,
    stages: RefCell<Stages>,
    clients: Rc<Clients>,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            stats: Cell::default(),
            clients: Rc::default(),
            stages: RefCell::new(Stages::of(&[
                Stage::Receive,
                Stage::Decode,
                Stage::Reply,
                Stage::FetchMemory,
                Stage::FetchFile,
            ])),
        }
    }
}

impl Counters {
    pub(super) fn stats(&self) -> Stats {
        self.stats.get()
    }

    /// Who asks for what.
    pub(super) fn clients(&self) -> &Rc<Clients> {
        &self.clients
    }

    /// One of `stage` took from `from` to `to`.
    pub(super) fn took(&self, stage: Stage, from: Monotonic, to: Monotonic) {
        let nanos = to.0.saturating_sub(from.0);
        self.stages.borrow_mut().record(stage, nanos);
    }

    /// Adds to what the engine tells what was counted before its door; `connections` are open now.
    pub(super) fn add_to(&self, told: &mut CoreStages, connections: usize) {
        let stages = self.stages.borrow();
        let rows = stages.rows();
        told.stages
            .extend(rows.map(|(stage, histogram)| (stage, encode(histogram))));
        let stats = self.stats.get();
        told.counters.extend([
            (Counter::Receives, stats.receives),
            (Counter::ReceivedBytes, stats.bytes_in),
            (Counter::SentBytes, stats.bytes_out),
            (Counter::Requests, stats.requests),
            (Counter::Connections, connections as u64),
        ]);
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
        self.change(|stats| {
            stats.receives += 1;
            stats.bytes_in += bytes as u64;
        });
    }

    pub(super) fn sent(&self, bytes: u64) {
        self.change(|stats| stats.bytes_out += bytes);
    }

    fn change(&self, change: impl FnOnce(&mut Stats)) {
        let mut stats = self.stats.get();
        change(&mut stats);
        self.stats.set(stats);
    }
}
