//! journal: what promises small things: entries (one per commit cycle) and the files that they are appended to.

pub(crate) mod entry;
pub(crate) mod files;
