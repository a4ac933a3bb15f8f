//! Who asks for what: both ends, and pages that never pass a header's limit.

use super::*;
use crate::base::clients::{
    ClientCounts, ClientWire, CoreClients, ErrorCount, NamedBy, RequestCount,
};
use crate::base::limits::{CLIENT_NAME_BYTES_MAX, CLIENT_ROWS_MAX};
use crate::protocol::native::{KIND_PLACES, kind_name, kind_places};

pub(super) fn told() -> CoreClients {
    let request = |api, version, is_served| RequestCount {
        api,
        version,
        is_served,
        count: 1 << 40,
    };
    let client = |wire, named_by, name: &str| ClientCounts {
        wire,
        named_by,
        name: name.to_owned(),
        version: "2.0.2".to_owned(),
        open: 3,
        connections: 1 << 33,
        requests: vec![request(0, 7, true), request(0, 2, false)],
        errors: vec![ErrorCount { code: -1, count: 5 }],
    };
    CoreClients {
        core: CoreId(3),
        clients: vec![
            client(ClientWire::Kafka, NamedBy::Software, "librdkafka"),
            client(ClientWire::Kafka, NamedBy::Id, "an id"),
            client(ClientWire::Native, NamedBy::Nothing, ""),
        ],
        more: false,
    }
}

#[test]
fn both_ends_agree_on_requests_and_replies() {
    let asked = frame(|o| RequestWriter::new().clients(1, 7, o).expect("fits"));
    assert!(matches!(request(&asked), Request::Clients { first: 7 }));
    let answered = frame(|o| ReplyWriter::new().clients(1, &told(), o));
    assert!(matches!(reply(&answered), Reply::Clients(found) if found == told()));
}

#[test]
fn the_fullest_clients_come_in_pages_that_fit() {
    let requests = (0..190).map(|version| RequestCount {
        api: 60,
        version,
        is_served: true,
        count: u64::MAX,
    });
    let full = ClientCounts {
        name: "n".repeat(CLIENT_NAME_BYTES_MAX),
        version: "v".repeat(CLIENT_NAME_BYTES_MAX),
        requests: requests.collect(),
        errors: (-1..135)
            .map(|code| ErrorCount { code, count: 1 })
            .collect(),
        ..told().clients[0].clone()
    };
    let all = vec![full; CLIENT_ROWS_MAX];
    let (mut found, mut writer) = (0, ReplyWriter::new());
    while found < all.len() {
        let rest = CoreClients {
            clients: all[found..].to_vec(),
            ..told()
        };
        let bytes = frame(|o| writer.clients(1, &rest, o));
        let Reply::Clients(page) = reply(&bytes) else {
            panic!()
        };
        assert!(!page.clients.is_empty() && page.clients[0] == all[0]);
        found += page.clients.len();
        assert_eq!(page.more, found < all.len());
    }
    assert_eq!(found, all.len());
}

#[test]
fn every_kind_of_request_has_its_own_place_and_name() {
    let mut places: Vec<usize> = requests()
        .iter()
        .map(|(_, bytes)| request(bytes).place(1))
        .collect();
    places.sort_unstable();
    places.dedup();
    // Two requests each for metadata, for changes of a topic and for groups are of one kind.
    let kinds = requests().len() - 3;
    assert_eq!((places.len(), KIND_PLACES), (kinds, kinds));
    let pairs: Vec<_> = kind_places().collect();
    for (_, bytes) in requests() {
        let request = request(&bytes);
        let (kind, version) = pairs[request.place(1)];
        let name = kind_name(kind).expect("a kind of this build");
        let says = format!("{request:?}").replace(['(', ')'], "");
        let is_named = says.starts_with(name)
            || ["Group", "Queue"].iter().any(|kind| says.starts_with(kind))
            || name == "TrimPartition";
        assert!(is_named && version == 1, "{name}: {says}");
    }
    assert_eq!(kind_name(0), None);
    assert_eq!(kind_name(KIND_PLACES as i16 + 1), None);
}
