//! bench: measures a broker, and says what the machine under it could do.
//!
//! Does: the nouns of a measurement ([`settings`]: what to run, [`outcome`]: what came of it), the broker under test, the
//! load, the machine and a probe of its limits, and the writers of reports.
//! May import: base, io, client, ops, protocol/kafka (the wire alone: the client of it is in [`kafka`]).
//! Must not know: the broker's rooms: it sees what any client sees, and what Linux tells about any process.
//!
//! ```text
//!  flags, suite, workload file ──> Settings ──> broker (child process, or an address)
//!                                      │            ^ /proc: CPU, memory, writes
//!                                      └──> load ───┘ loopback; on cores of its own, through client::driver or kafka::driver
//!                                            │
//!  machine, probe ──────────────────────> Report ──> output: table, JSON, hgrm, interval log, HTML
//! ```
//! Invariants:
//! - Response time counts from the time at which a request was due, service time from when it was sent; both are kept,
//!   and neither is ever called just "latency". At rate `max` a request is due when it is sent, so both are equal.
//! - A reply that is an error, a connection that is lost, an offset that is wrong: the run fails, and says so.
//! - Histograms hold nanoseconds at 3 significant digits, one per core, added up at the end.

pub mod batches;
pub mod broker;
pub mod figures;
pub mod kafka;
pub mod load;
pub mod look;
pub mod machine;
pub mod outcome;
pub mod output;
pub mod placement;
pub mod probe;
pub mod process;
pub mod row;
pub mod run;
mod scene;
pub mod schedule;
pub mod search;
pub mod settings;
pub mod suite;
pub mod workload_file;

pub use outcome::Report;
pub use settings::Settings;
