//! What goes in and what comes out.

use crate::base::TimestampMs;
use crate::base::group::GroupReply;
use crate::group::OffsetRecord;

/// When something happens, and the chance that comes with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Moment {
    /// Milliseconds of a clock that never goes back: for deadlines.
    pub monotonic_ms: u64,
    /// The wall clock: for what is stored.
    pub wall: TimestampMs,
    /// Random bits, fresh for each request: for a member's id.
    pub chance: u128,
}

/// Names a request that waits for its answer, as whoever handed it in likes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Ticket(pub u128);

/// Names a set of records that is to be stored. Counts up.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct StoreId(pub u64);

/// What is to be done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Answer.
    Reply(Ticket, GroupReply),
    /// Store these records, all or none, behind those of earlier ids of the same group; then call
    /// [`crate::group::Coordinator::stored`].
    Store {
        /// Under which name to report.
        id: StoreId,
        /// All of one group.
        records: Vec<OffsetRecord>,
    },
}
