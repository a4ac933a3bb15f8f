//! Which clients ask a core for what: plain counts, which only ever grow. Net counts them, a wire tells them, whoever asked
//! shows them.

use crate::base::CoreId;

/// What a client speaks.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ClientWire {
    /// The native protocol.
    Native,
    /// Kafka's.
    Kafka,
}

/// How a client is told from others.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum NamedBy {
    /// By its software and the version of that, as it says itself.
    Software,
    /// By its id, for it says nothing of its software.
    Id,
    /// Not at all: those beyond the rows that a core keeps.
    Nothing,
}

/// The clients of one name, and what they have asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClientCounts {
    /// What they speak.
    pub wire: ClientWire,
    /// What the name is.
    pub named_by: NamedBy,
    /// Their name: at most [`CLIENT_NAME_BYTES_MAX`](crate::base::limits::CLIENT_NAME_BYTES_MAX) bytes, of any characters.
    pub name: String,
    /// The version of their software; empty where they do not tell.
    pub version: String,
    /// Their connections that are open now.
    pub open: u32,
    /// Their connections since the core's start.
    pub connections: u64,
    /// What they asked for; only what was asked for at least once.
    pub requests: Vec<RequestCount>,
    /// The errors that they were answered with.
    pub errors: Vec<ErrorCount>,
}

/// Requests of one kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RequestCount {
    /// Kafka's key of the API, or the number of the native request's kind in its schema.
    pub api: i16,
    /// The version of the API, or of the native protocol.
    pub version: i16,
    /// Whether such requests are served: after one that is not, the connection was closed.
    pub is_served: bool,
    /// How many.
    pub count: u64,
}

/// Errors of one kind: an answer about several partitions may hold several.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ErrorCount {
    /// The code, as the wire has it.
    pub code: i16,
    /// How many.
    pub count: u64,
}

/// Clients of one core, in the order in which they first came.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CoreClients {
    /// The core.
    pub core: CoreId,
    /// Some of its clients.
    pub clients: Vec<ClientCounts>,
    /// Whether there are more behind those.
    pub more: bool,
}
