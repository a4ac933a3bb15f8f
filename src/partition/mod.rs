//! partition: what one partition decides: which batches it takes, who may read what, when a produce is answered, what goes.
//!
//! Does: the checks of a produce ([`CheckedBatches`]), who may have his batch appended ([`Producers`]), the high watermark
//! ([`Visibility`]), the verdict on a fetch ([`fetch_verdict`]), what has been kept long enough ([`retained`]).
//! May import: base, queue.
//! Must not know: io, log, engine. Synchronous and pure: frontiers in, verdicts out.
//!
//! ```text
//!  log start                  high watermark         written                 appended
//!  ──┼──────────────────────────────┼────────────────────┼───────────────────────┼──>
//!    │ may be read                  │ a batch that asked │ in the append buffer  │
//!    │                              │ for `synced` holds │                       │
//!    │                              │ back what follows  │                       │
//! ```
//! Invariants:
//! - The high watermark never moves back: no read is ever taken back.
//! - A record can be read only once it reached both the topic's level and the level that its producer asked for.
//! - Bytes of a client reach an append only as [`CheckedBatches`].

mod fetch;
mod frontiers;
mod produce;
mod producers;
mod retention;
mod visibility;

pub use fetch::{FetchVerdict, fetch_verdict};
pub use frontiers::Frontiers;
pub use produce::{CheckedBatches, ProduceRefusal};
pub use producers::{Memory, Numbered, Place, Producers, Verdict};
pub use retention::{Held, Retained, retained};
pub use visibility::Visibility;
