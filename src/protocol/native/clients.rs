//! The request for who asks a core for what, and its reply, both ends; and the kinds of native requests that are counted.

use super::reply::{ReplyError, malformed};
use super::request::Request;
use super::request_writer::{RequestWriter, TooLarge};
use super::wire::{self, ReplyBody, RequestBody};
use super::{ReplyWriter, Scratch, VERSIONS};
use crate::base::CoreId;
use crate::base::clients::{
    ClientCounts, ClientWire, CoreClients, ErrorCount, NamedBy, RequestCount,
};
use crate::base::limits::{CLIENT_NAME_BYTES_MAX, FRAME_HEADER_BYTES_MAX};
use flatbuffers::WIPOffset;

/// A client as it lies in a header: its name and version, a request of each kind there is and an error of each code, the
/// table and the vectors' lengths.
const CLIENT_BYTES_MAX: usize = 2 * CLIENT_NAME_BYTES_MAX
    + 256 * size_of::<wire::RequestCount>()
    + 256 * size_of::<wire::ErrorCount>()
    + 256;
/// What stands around the clients of a page.
const PAGE_SLACK_BYTES: usize = 4 << 10;
const _: () = assert!(CLIENT_BYTES_MAX + PAGE_SLACK_BYTES <= FRAME_HEADER_BYTES_MAX);

/// The kinds of requests: the last one's number in the schema, which begins at 1.
const KINDS: usize = RequestBody::ENUM_MAX as usize;

/// How many pairs there are of a kind of request and a version.
pub const KIND_PLACES: usize = KINDS * (*VERSIONS.end() - *VERSIONS.start() + 1) as usize;

/// Every pair of a kind's number and a version, in the order of their places.
pub fn kind_places() -> impl Iterator<Item = (i16, i16)> {
    VERSIONS.flat_map(|version| (1..=KINDS as i16).map(move |kind| (kind, version as i16)))
}

/// What a kind of request is called in the schema; none: this build knows no such kind.
pub fn kind_name(kind: i16) -> Option<&'static str> {
    let kind = u8::try_from(kind).ok().filter(|kind| *kind != 0)?;
    RequestBody(kind).variant_name()
}

impl Request<'_> {
    /// The place of its kind and of the version that it is of, below [`KIND_PLACES`].
    pub fn place(&self, version: u16) -> usize {
        let kind = usize::from(self.kind().0) - 1;
        usize::from(version - *VERSIONS.start()) * KINDS + kind
    }

    fn kind(&self) -> RequestBody {
        match self {
            Self::Hello(_) => RequestBody::Hello,
            Self::Metadata(_) => RequestBody::Metadata,
            Self::CreateTopic(_) => RequestBody::CreateTopic,
            Self::AlterTopic(_) => RequestBody::AlterTopic,
            Self::Trim { .. } => RequestBody::TrimPartition,
            Self::DeleteTopic(_) => RequestBody::DeleteTopic,
            Self::DescribeTopic { .. } => RequestBody::DescribeTopic,
            Self::Produce(_) => RequestBody::Produce,
            Self::Fetch(_) => RequestBody::Fetch,
            Self::ListOffsets(_) => RequestBody::ListOffsets,
            Self::Stages => RequestBody::Stages,
            Self::Clients { .. } => RequestBody::Clients,
            Self::Group(ask) => ask.body_type(),
            Self::Queue(ask) => ask.body_type(),
            Self::PollQueue(_) => RequestBody::PollQueue,
        }
    }
}

impl RequestWriter {
    /// Asks who asks the core on the other end for what: the clients behind the first `first`.
    pub fn clients(
        &mut self,
        correlation: u32,
        first: u32,
        out: &mut Vec<u8>,
    ) -> Result<(), TooLarge> {
        let b = self.begin();
        let body = wire::Clients::create(b, &wire::ClientsArgs { first }).as_union_value();
        self.finish(correlation, RequestBody::Clients, body, 0, out)
    }
}

impl ReplyWriter {
    /// Answers with as many clients as fit one header, and says whether more are left.
    pub fn clients(&mut self, correlation: u32, of: &CoreClients, out: &mut Vec<u8>) {
        let b = self.begin();
        let mut told = Vec::new();
        for one in &of.clients {
            let used = b.unfinished_data().len() + PAGE_SLACK_BYTES;
            if used + CLIENT_BYTES_MAX > FRAME_HEADER_BYTES_MAX {
                break;
            }
            told.push(client(b, one));
        }
        let args = wire::ClientsReplyArgs {
            core: of.core.0,
            clients: Some(b.create_vector(&told)),
            more: of.more || told.len() < of.clients.len(),
        };
        let body = wire::ClientsReply::create(b, &args).as_union_value();
        self.finish(correlation, ReplyBody::ClientsReply, body, 0, out);
    }
}

const WIRES: [(ClientWire, wire::ClientWire); 2] = [
    (ClientWire::Native, wire::ClientWire::Native),
    (ClientWire::Kafka, wire::ClientWire::Kafka),
];

const NAMES: [(NamedBy, wire::NamedBy); 3] = [
    (NamedBy::Software, wire::NamedBy::Software),
    (NamedBy::Id, wire::NamedBy::Id),
    (NamedBy::Nothing, wire::NamedBy::Nothing),
];

fn client(b: &mut Scratch, one: &ClientCounts) -> WIPOffset<wire::Client<'static>> {
    let requests = one.requests.iter().map(|request| {
        let RequestCount { api, version, .. } = *request;
        wire::RequestCount::new(request.count, api, version, request.is_served)
    });
    let errors = one.errors.iter();
    let errors = errors.map(|error| wire::ErrorCount::new(error.count, error.code));
    let on_wire = |row: &(ClientWire, _)| row.0 == one.wire;
    let named_by = |row: &(NamedBy, _)| row.0 == one.named_by;
    let args = wire::ClientArgs {
        wire: WIRES.into_iter().find(on_wire).expect("a row for each").1,
        named_by: NAMES.into_iter().find(named_by).expect("a row for each").1,
        name: Some(b.create_string(&one.name)),
        version: Some(b.create_string(&one.version)),
        open: one.open,
        connections: one.connections,
        requests: Some(b.create_vector_from_iter(requests)),
        errors: Some(b.create_vector_from_iter(errors)),
    };
    wire::Client::create(b, &args)
}

/// The other end of [`ReplyWriter::clients`].
pub(super) fn decode(reply: &wire::ClientsReply<'_>) -> Result<CoreClients, ReplyError> {
    let clients = reply.clients().iter().map(|one| decode_client(&one));
    Ok(CoreClients {
        core: CoreId(reply.core()),
        clients: clients.collect::<Result<_, _>>()?,
        more: reply.more(),
    })
}

fn decode_client(one: &wire::Client<'_>) -> Result<ClientCounts, ReplyError> {
    let on_wire = WIRES.into_iter().find(|row| row.1 == one.wire());
    let named_by = NAMES.into_iter().find(|row| row.1 == one.named_by());
    let (Some((wire, _)), Some((named_by, _))) = (on_wire, named_by) else {
        return Err(malformed("a client of an unknown kind"));
    };
    let requests = one.requests().iter().map(|request| RequestCount {
        api: request.api(),
        version: request.version(),
        is_served: request.is_served(),
        count: request.count(),
    });
    let errors = one.errors().iter().map(|error| ErrorCount {
        code: error.code(),
        count: error.count(),
    });
    Ok(ClientCounts {
        wire,
        named_by,
        name: one.name().to_owned(),
        version: one.version().to_owned(),
        open: one.open(),
        connections: one.connections(),
        requests: requests.collect(),
        errors: errors.collect(),
    })
}
