//! catalog: which topics exist, with their settings; a state machine over catalog records.
//!
//! May import: base.
//! Must not know: async, files, clocks, the other deciding rooms.
