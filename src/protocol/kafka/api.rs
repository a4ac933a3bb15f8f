//! The APIs and their versions: what is told, what is served, and from which version on an API is flexible.

use crate::protocol::kafka::wire::Shape;

/// An API of the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Api {
    /// Its key on the wire.
    pub key: i16,
    /// Its name in Kafka's schemas.
    pub name: &'static str,
    /// The first version that is served …
    pub first: i16,
    /// … and the last.
    pub last: i16,
    /// The first version that clients are told of: lower than the first served where a client would draw a wrong
    /// conclusion from the truth.
    pub told_first: i16,
    /// The first version with compact lengths and tagged fields.
    pub flexible_from: i16,
}

impl Api {
    /// How the requests and answers of `version` lie on the wire.
    pub fn shape(&self, version: i16) -> Shape {
        Shape {
            version,
            is_flexible: version >= self.flexible_from,
        }
    }

    /// The place of a version that is served among all pairs of an API and such a version, below [`PLACES`].
    pub fn place(&self, version: i16) -> usize {
        let first = FIRST_PLACES[self.key as usize];
        usize::from(first) + (version - self.first) as usize
    }

    /// Whether requests of this version are served.
    pub fn serves(&self, version: i16) -> bool {
        (self.first..=self.last).contains(&version)
    }
}

const fn api(key: i16, name: &'static str, (first, last): (i16, i16), flexible_from: i16) -> Api {
    Api {
        key,
        name,
        first,
        last,
        told_first: first,
        flexible_from,
    }
}

/// The keys that code asks for by name.
pub mod key {
    #![allow(missing_docs, reason = "each is the key of the API of that name")]
    pub const PRODUCE: i16 = 0;
    pub const FETCH: i16 = 1;
    pub const LIST_OFFSETS: i16 = 2;
    pub const METADATA: i16 = 3;
    pub const OFFSET_COMMIT: i16 = 8;
    pub const OFFSET_FETCH: i16 = 9;
    pub const FIND_COORDINATOR: i16 = 10;
    pub const JOIN_GROUP: i16 = 11;
    pub const HEARTBEAT: i16 = 12;
    pub const LEAVE_GROUP: i16 = 13;
    pub const SYNC_GROUP: i16 = 14;
    pub const DESCRIBE_GROUPS: i16 = 15;
    pub const LIST_GROUPS: i16 = 16;
    pub const API_VERSIONS: i16 = 18;
    pub const CREATE_TOPICS: i16 = 19;
    pub const DELETE_TOPICS: i16 = 20;
    pub const DELETE_RECORDS: i16 = 21;
    pub const INIT_PRODUCER_ID: i16 = 22;
    pub const OFFSET_FOR_LEADER_EPOCH: i16 = 23;
    pub const DESCRIBE_ACLS: i16 = 29;
    pub const DESCRIBE_CONFIGS: i16 = 32;
    pub const ALTER_CONFIGS: i16 = 33;
    pub const DESCRIBE_LOG_DIRS: i16 = 35;
    pub const CREATE_PARTITIONS: i16 = 37;
    pub const DELETE_GROUPS: i16 = 42;
    pub const ELECT_LEADERS: i16 = 43;
    pub const INCREMENTAL_ALTER_CONFIGS: i16 = 44;
    pub const ALTER_PARTITION_REASSIGNMENTS: i16 = 45;
    pub const LIST_PARTITION_REASSIGNMENTS: i16 = 46;
    pub const OFFSET_DELETE: i16 = 47;
    pub const DESCRIBE_CLUSTER: i16 = 60;
}

/// Every API that is served, in the order of the keys.
///
/// Produce is told from 0, although 0 to 2 carry batches of a format that is not stored: librdkafka 2.0.2 sends
/// uncompressed, in silence, where a broker does not claim the versions that it knows compression by.
pub const APIS: &[Api] = &[
    Api {
        told_first: 0,
        ..api(key::PRODUCE, "Produce", (3, 13), 9)
    },
    api(key::FETCH, "Fetch", (4, 18), 12),
    api(key::LIST_OFFSETS, "ListOffsets", (1, 10), 6),
    api(key::METADATA, "Metadata", (0, 13), 9),
    api(key::OFFSET_COMMIT, "OffsetCommit", (2, 9), 8),
    api(key::OFFSET_FETCH, "OffsetFetch", (1, 9), 6),
    api(key::FIND_COORDINATOR, "FindCoordinator", (0, 6), 3),
    api(key::JOIN_GROUP, "JoinGroup", (0, 9), 6),
    api(key::HEARTBEAT, "Heartbeat", (0, 4), 4),
    api(key::LEAVE_GROUP, "LeaveGroup", (0, 5), 4),
    api(key::SYNC_GROUP, "SyncGroup", (0, 5), 4),
    api(key::DESCRIBE_GROUPS, "DescribeGroups", (0, 6), 5),
    api(key::LIST_GROUPS, "ListGroups", (0, 5), 3),
    api(key::API_VERSIONS, "ApiVersions", (0, 4), 3),
    api(key::CREATE_TOPICS, "CreateTopics", (2, 7), 5),
    api(key::DELETE_TOPICS, "DeleteTopics", (1, 6), 4),
    api(key::DELETE_RECORDS, "DeleteRecords", (0, 2), 2),
    api(key::INIT_PRODUCER_ID, "InitProducerId", (0, 5), 2),
    api(
        key::OFFSET_FOR_LEADER_EPOCH,
        "OffsetForLeaderEpoch",
        (2, 4),
        4,
    ),
    api(key::DESCRIBE_ACLS, "DescribeAcls", (1, 3), 2),
    api(key::DESCRIBE_CONFIGS, "DescribeConfigs", (1, 4), 4),
    api(key::ALTER_CONFIGS, "AlterConfigs", (0, 2), 2),
    api(key::DESCRIBE_LOG_DIRS, "DescribeLogDirs", (1, 4), 2),
    api(key::CREATE_PARTITIONS, "CreatePartitions", (0, 3), 2),
    api(key::DELETE_GROUPS, "DeleteGroups", (0, 2), 2),
    api(key::ELECT_LEADERS, "ElectLeaders", (0, 2), 2),
    api(
        key::INCREMENTAL_ALTER_CONFIGS,
        "IncrementalAlterConfigs",
        (0, 1),
        1,
    ),
    api(
        key::ALTER_PARTITION_REASSIGNMENTS,
        "AlterPartitionReassignments",
        (0, 1),
        0,
    ),
    api(
        key::LIST_PARTITION_REASSIGNMENTS,
        "ListPartitionReassignments",
        (0, 0),
        0,
    ),
    api(key::OFFSET_DELETE, "OffsetDelete", (0, 0), i16::MAX),
    api(key::DESCRIBE_CLUSTER, "DescribeCluster", (0, 2), 0),
];

/// By key, the place of the first version of an API that is served.
const FIRST_PLACES: [u16; KEYS] = {
    let (mut places, mut row, mut next) = ([0; KEYS], 0, 0);
    while row < APIS.len() {
        places[APIS[row].key as usize] = next;
        next += (APIS[row].last - APIS[row].first + 1) as u16;
        row += 1;
    }
    places
};
const KEYS: usize = APIS[APIS.len() - 1].key as usize + 1;

/// How many pairs of an API and a version are served.
pub const PLACES: usize = {
    let last = &APIS[APIS.len() - 1];
    FIRST_PLACES[KEYS - 1] as usize + (last.last - last.first + 1) as usize
};

/// Every pair of an API and a version that is served, in the order of their places.
pub fn places() -> impl Iterator<Item = (&'static Api, i16)> {
    let versions = |api: &'static Api| (api.first..=api.last).map(move |version| (api, version));
    APIS.iter().flat_map(versions)
}

/// The API with a key, if it is served.
pub fn find(key: i16) -> Option<&'static Api> {
    APIS.iter().find(|api| api.key == key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_in_order_and_make_sense() {
        assert!(APIS.windows(2).all(|pair| pair[0].key < pair[1].key));
        for api in APIS {
            assert!(0 <= api.told_first && api.told_first <= api.first && api.first <= api.last);
            assert!(api.flexible_from >= 0);
            assert_eq!(find(api.key), Some(api));
        }
        assert_eq!(find(4), None, "between brokers only");
    }

    #[test]
    fn every_pair_of_an_api_and_a_version_has_its_place() {
        let mut next = 0;
        for (api, version) in places() {
            assert_eq!(api.place(version), next, "{} {version}", api.name);
            next += 1;
        }
        assert_eq!(next, PLACES);
    }
}
