//! io/sim: the whole machine in one thread, decided by a seed.
//!
//! Does: implements the trait `Io` with an executor and a clock of its own, a disk and a network in memory that can be
//! made to fail, and the mailboxes between cores. Two runs with the same seed, disk and program are the same run.
//! May import: base, the traits of io. Must not know: io/uring, threads, the clocks of the host.
//!
//! ```text
//!   Sim ──run_cores──> main(SimIo, SimMailbox) for each core ─┐
//!    │                                                         v
//!    ├─ disk() ─> SimDisk   crash_at, fail_at, kill, ...     World: tasks (tasks.rs), events and clock (world.rs)
//!    └─ net()  ─> SimNet    drop, stall, refuse, ...            │ device.rs: effects take time, then land
//!                                                               v
//!                                                             disk/: two levels, faults   net/: bounded pipes
//! ```
//! A test that cannot be passed by luck loops over every effect of a program:
//!
//! ```text
//! for n in 0.. {
//!     let disk = SimDisk::new(seed);          disk.crash_at(n);
//!     let end = Sim::with_disk(seed, disk.clone()).run(write_program);
//!     disk.power_cut();                       // or kill(); or snapshot() first, then many cuts of it
//!     Sim::with_disk(seed + 1, disk).run(check_program).done();
//!     if !end.is_crashed() { break }
//! }
//! ```
//! Invariants:
//! - The clock moves only when nothing is ready to run; which ready task runs is drawn. A yield takes a microsecond.
//! - Effects begin at the first poll of their future and land whether or not the future still lives.
//! - The order of everything drawn is part of the trace; no table is walked in an order that the host chooses.
//! - Fresh buffers hold noise, never zeros.
//! - The rules for what a death leaves are at the doors of disk/mod.rs (bytes) and disk/tree.rs (names).

mod buffer;
mod device;
mod disk;
mod machine;
mod mailbox;
mod net;
mod run;
mod tasks;
mod trace;
mod world;

#[cfg(test)]
mod tests;

pub use buffer::SimBuffer;
pub use device::{SimFile, SimSource};
pub use disk::{DiskSnapshot, EffectKind, Fault, Fired, SimDisk};
pub use machine::SimIo;
pub use mailbox::SimMailbox;
pub use net::{ConnectionId, SimListener, SimNet, SimReader, SimWriter};
pub use run::{Outcome, Sim};
