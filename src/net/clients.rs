//! Counting who asks for what.
//!
//! ```text
//!   connection ─ seat ─> a row per client: requests by API and version, errors by code
//!                        name: of its software (ApiVersions from version 3 on, hello), else its client id
//! ```
//! A connection finds its row once, by its first request; from then on a request is one addition in a table of that row.
//! What clients may make up is bounded: of software and ids so many rows, and beyond those one row for each wire.
//! A row is 2.7 KB, so all of a core are 260 KB.

use crate::base::CoreId;
use crate::base::clients::{
    ClientCounts, ClientWire, CoreClients, ErrorCount, NamedBy, RequestCount,
};
use crate::base::limits::{CLIENT_ID_ROWS_MAX, CLIENT_NAME_BYTES_MAX, CLIENT_ROWS_MAX};
use crate::protocol::{kafka, native};
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// Both wires' codes lie between these: Kafka has -1 for what it has no name for.
const CODE_MIN: i16 = -1;
const CODES: usize = 136;
/// Of what is asked for and not served, so many pairs are told apart.
const UNSERVED_MAX: usize = 8;

/// A client as it names itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Name<'a> {
    pub(super) wire: ClientWire,
    pub(super) named_by: NamedBy,
    pub(super) name: &'a str,
    pub(super) version: &'a str,
}

/// What the clients of one core have asked for.
#[derive(Debug, Default)]
pub(super) struct Clients {
    rows: RefCell<Vec<Row>>,
}

#[derive(Debug)]
struct Row {
    wire: ClientWire,
    named_by: NamedBy,
    name: String,
    version: String,
    open: u32,
    connections: u64,
    /// By the place of API and version.
    requests: Box<[u64]>,
    unserved: Vec<RequestCount>,
    /// By code, from `CODE_MIN` on.
    errors: Box<[u64; CODES]>,
}

/// A connection's place among the clients, until dropped.
#[derive(Debug)]
pub(super) struct Seat {
    clients: Rc<Clients>,
    row: Cell<Option<usize>>,
}

impl Clients {
    /// The place of a connection that has not said who it is.
    pub(super) fn seat(self: &Rc<Self>) -> Seat {
        Seat {
            clients: Rc::clone(self),
            row: Cell::new(None),
        }
    }

    /// The row of a client; makes it if there is room, else it is the one for all others.
    fn row_of(&self, client: Name<'_>) -> usize {
        let name = cut(client.name);
        let client = Name {
            name,
            version: cut(client.version),
            ..client
        };
        let mut rows = self.rows.borrow_mut();
        if let Some(found) = rows.iter().position(|row| row.is(client)) {
            return found;
        }
        let ids = rows.iter().filter(|row| row.named_by == NamedBy::Id);
        let is_room = match client.named_by {
            NamedBy::Id => ids.count() < CLIENT_ID_ROWS_MAX,
            NamedBy::Software | NamedBy::Nothing => true,
        };
        if !is_room || rows.len() >= CLIENT_ROWS_MAX {
            let others = Name {
                named_by: NamedBy::Nothing,
                name: "",
                version: "",
                ..client
            };
            if let Some(found) = rows.iter().position(|row| row.is(others)) {
                return found;
            }
            rows.push(Row::new(others));
        } else {
            rows.push(Row::new(client));
        }
        rows.len() - 1
    }

    /// The clients behind the first `first`.
    pub(super) fn told(&self, core: CoreId, first: usize) -> CoreClients {
        let rows = self.rows.borrow();
        CoreClients {
            core,
            clients: rows.iter().skip(first).map(Row::counts).collect(),
            more: false,
        }
    }
}

impl Row {
    fn new(client: Name<'_>) -> Self {
        let places = match client.wire {
            ClientWire::Native => native::KIND_PLACES,
            ClientWire::Kafka => kafka::api::PLACES,
        };
        Self {
            wire: client.wire,
            named_by: client.named_by,
            name: client.name.to_owned(),
            version: client.version.to_owned(),
            open: 0,
            connections: 0,
            requests: vec![0; places].into_boxed_slice(),
            unserved: Vec::new(),
            errors: Box::new([0; CODES]),
        }
    }

    fn is(&self, client: Name<'_>) -> bool {
        let named = (self.wire, self.named_by) == (client.wire, client.named_by);
        named && self.name == client.name && self.version == client.version
    }

    fn counts(&self) -> ClientCounts {
        let count = |(api, version): (i16, i16), count: u64| RequestCount {
            api,
            version,
            is_served: true,
            count,
        };
        let counted = self.requests.iter().copied();
        let mut requests: Vec<_> = match self.wire {
            ClientWire::Native => native::kind_places()
                .zip(counted)
                .map(|(pair, n)| count(pair, n))
                .collect(),
            ClientWire::Kafka => kafka::api::places()
                .zip(counted)
                .map(|((api, version), n)| count((api.key, version), n))
                .collect(),
        };
        requests.retain(|one| one.count > 0);
        requests.extend(&self.unserved);
        let errors = (CODE_MIN..).zip(self.errors.iter());
        let errors = errors.filter(|(_, count)| **count > 0);
        ClientCounts {
            wire: self.wire,
            named_by: self.named_by,
            name: self.name.clone(),
            version: self.version.clone(),
            open: self.open,
            connections: self.connections,
            requests,
            errors: errors
                .map(|(code, &count)| ErrorCount { code, count })
                .collect(),
        }
    }
}

impl Seat {
    /// Whether the connection has said who it is.
    pub(super) fn is_taken(&self) -> bool {
        self.row.get().is_some()
    }

    /// The connection is `client`'s. One that has said something else before is no longer that one's.
    pub(super) fn take(&self, client: Name<'_>) {
        let row = self.clients.row_of(client);
        let before = self.row.replace(Some(row));
        if before == Some(row) {
            return;
        }
        let mut rows = self.clients.rows.borrow_mut();
        if let Some(before) = before {
            rows[before].open -= 1;
            rows[before].connections -= 1;
        }
        rows[row].open += 1;
        rows[row].connections += 1;
    }

    /// A request of the pair of API and version at `place`.
    #[inline]
    pub(super) fn asked(&self, place: usize) {
        self.with(|row| row.requests[place] += 1);
    }

    /// A request that is not served.
    pub(super) fn asked_unserved(&self, api: i16, version: i16) {
        self.with(|row| {
            let same = |one: &&mut RequestCount| (one.api, one.version) == (api, version);
            if let Some(found) = row.unserved.iter_mut().find(same) {
                found.count += 1;
            } else if row.unserved.len() < UNSERVED_MAX {
                row.unserved.push(RequestCount {
                    api,
                    version,
                    is_served: false,
                    count: 1,
                });
            }
        });
    }

    /// An error that is answered.
    pub(super) fn refused(&self, code: impl Into<i32>) {
        self.with(|row| {
            let place = usize::try_from(code.into() - i32::from(CODE_MIN));
            if let Some(count) = place.ok().and_then(|place| row.errors.get_mut(place)) {
                *count += 1;
            }
        });
    }

    fn with(&self, change: impl FnOnce(&mut Row)) {
        if let Some(row) = self.row.get() {
            change(&mut self.clients.rows.borrow_mut()[row]);
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.with(|row| row.open -= 1);
    }
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(CLIENT_NAME_BYTES_MAX)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kafka(named_by: NamedBy, name: &str) -> Name<'_> {
        Name {
            wire: ClientWire::Kafka,
            named_by,
            name,
            version: "1",
        }
    }

    fn told(clients: &Clients) -> Vec<ClientCounts> {
        clients.told(CoreId(0), 0).clients
    }

    #[test]
    fn a_connection_counts_for_whom_it_says_it_is() {
        let clients = Rc::new(Clients::default());
        let seat = clients.seat();
        seat.asked(0);
        assert!(told(&clients).is_empty() && !seat.is_taken());
        seat.take(kafka(NamedBy::Id, "an id"));
        seat.asked(kafka::api::PLACES - 1);
        seat.take(kafka(NamedBy::Software, "soft"));
        seat.asked(0);
        seat.asked(0);
        seat.refused(-1);
        seat.refused(100);
        seat.refused(i16::MAX);
        seat.refused(i16::MIN);
        for _ in 0..2 {
            seat.asked_unserved(0, 2);
        }
        let second = clients.seat();
        second.take(kafka(NamedBy::Software, "soft"));
        drop(seat);
        let [by_id, soft] = &told(&clients)[..] else {
            panic!("two rows");
        };
        assert_eq!((by_id.open, by_id.connections), (0, 0));
        let last = by_id.requests[0];
        let served = (last.api, last.version, last.count);
        assert_eq!(served, (kafka::api::key::DESCRIBE_CLUSTER, 2, 1));
        assert_eq!((soft.open, soft.connections), (1, 2));
        let counts = soft.requests.iter();
        let counts: Vec<_> = counts
            .map(|one| (one.api, one.version, one.count, one.is_served))
            .collect();
        assert_eq!(counts, [(0, 3, 2, true), (0, 2, 2, false)]);
        let errors: Vec<_> = soft
            .errors
            .iter()
            .map(|one| (one.code, one.count))
            .collect();
        assert_eq!(errors, [(-1, 1), (100, 1)]);
    }

    #[test]
    fn whoever_makes_up_names_gets_no_more_than_some_rows() {
        let clients = Rc::new(Clients::default());
        let long = "é".repeat(CLIENT_NAME_BYTES_MAX);
        clients.seat().take(kafka(NamedBy::Software, &long));
        assert_eq!(told(&clients)[0].name.len(), CLIENT_NAME_BYTES_MAX);
        for number in 0..200 {
            let seat = clients.seat();
            seat.take(kafka(NamedBy::Id, &format!("id {number}")));
            seat.asked(0);
        }
        assert_eq!(told(&clients).len(), 1 + CLIENT_ID_ROWS_MAX + 1);
        for number in 0..200 {
            let name = format!("software {number}");
            clients.seat().take(kafka(NamedBy::Software, &name));
        }
        let native = Name {
            wire: ClientWire::Native,
            ..kafka(NamedBy::Software, "late")
        };
        clients.seat().take(native);
        let all = told(&clients);
        assert_eq!(
            all.len(),
            CLIENT_ROWS_MAX + 1,
            "and the others of the second wire"
        );
        let others = |wire| {
            let found = all
                .iter()
                .find(|one| (one.wire, one.named_by) == (wire, NamedBy::Nothing));
            found.expect("a row").connections
        };
        assert_eq!(others(ClientWire::Native), 1);
        let rows = all.iter().filter(|one| one.wire == ClientWire::Kafka);
        assert_eq!(rows.map(|one| one.connections).sum::<u64>(), 401);
        assert!(others(ClientWire::Kafka) > 200);
    }
}
