//! The requests about consumer groups.

use crate::protocol::kafka::api::key;
use crate::protocol::kafka::wire::{Field, Malformed, Reader, Shape};
use crate::protocol::kafka::{
    delete_groups, describe_groups, find_coordinator, heartbeat, join_group, leave_group,
    list_groups, offset_commit, offset_fetch, sync_group,
};

/// A request about a consumer group.
#[derive(Clone, PartialEq, Debug)]
#[allow(missing_docs, reason = "each is the API of that name")]
pub enum Group {
    FindCoordinator(find_coordinator::FindCoordinatorRequest),
    Join(join_group::JoinGroupRequest),
    Sync(sync_group::SyncGroupRequest),
    Heartbeat(heartbeat::HeartbeatRequest),
    Leave(leave_group::LeaveGroupRequest),
    Commit(offset_commit::OffsetCommitRequest),
    FetchOffsets(offset_fetch::OffsetFetchRequest),
    Describe(describe_groups::DescribeGroupsRequest),
    List(list_groups::ListGroupsRequest),
    Delete(delete_groups::DeleteGroupsRequest),
    DeleteOffsets(delete_groups::OffsetDeleteRequest),
}

impl Group {
    /// Takes a request of the API with this key off the front of `reader`.
    pub fn decode(key: i16, reader: &mut Reader<'_>, shape: Shape) -> Result<Self, Malformed> {
        match key {
            key::FIND_COORDINATOR => read(reader, shape, Self::FindCoordinator),
            key::JOIN_GROUP => read(reader, shape, Self::Join),
            key::SYNC_GROUP => read(reader, shape, Self::Sync),
            key::HEARTBEAT => read(reader, shape, Self::Heartbeat),
            key::LEAVE_GROUP => read(reader, shape, Self::Leave),
            key::OFFSET_COMMIT => read(reader, shape, Self::Commit),
            key::OFFSET_FETCH => read(reader, shape, Self::FetchOffsets),
            key::DESCRIBE_GROUPS => read(reader, shape, Self::Describe),
            key::LIST_GROUPS => read(reader, shape, Self::List),
            key::DELETE_GROUPS => read(reader, shape, Self::Delete),
            key::OFFSET_DELETE => read(reader, shape, Self::DeleteOffsets),
            _ => Err(Malformed::Field("api")),
        }
    }
}

fn read<T: Field>(
    reader: &mut Reader<'_>,
    shape: Shape,
    wrap: impl FnOnce(T) -> Group,
) -> Result<Group, Malformed> {
    T::read(reader, shape).map(wrap)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::kafka::api;
    use crate::protocol::kafka::offset_fetch::OffsetFetchTopic;
    use crate::protocol::kafka::wire::Blob;

    fn text(text: &str) -> String {
        text.to_owned()
    }

    fn bytes_of(request: &Group, shape: Shape) -> Vec<u8> {
        let mut out = Vec::new();
        match request {
            Group::FindCoordinator(request) => request.write(&mut out, shape),
            Group::Join(request) => request.write(&mut out, shape),
            Group::Sync(request) => request.write(&mut out, shape),
            Group::Heartbeat(request) => request.write(&mut out, shape),
            Group::Leave(request) => request.write(&mut out, shape),
            Group::Commit(request) => request.write(&mut out, shape),
            Group::FetchOffsets(request) => request.write(&mut out, shape),
            Group::Describe(request) => request.write(&mut out, shape),
            Group::List(request) => request.write(&mut out, shape),
            Group::Delete(request) => request.write(&mut out, shape),
            Group::DeleteOffsets(request) => request.write(&mut out, shape),
        }
        out
    }

    fn samples() -> Vec<(i16, Group)> {
        let topics = vec![offset_commit::OffsetCommitRequestTopic {
            name: text("t"),
            partitions: vec![offset_commit::OffsetCommitRequestPartition {
                committed_metadata: Some(text("m")),
                ..Default::default()
            }],
        }];
        let asked = vec![OffsetFetchTopic {
            name: text("t"),
            partition_indexes: vec![0, 1],
        }];
        let join = join_group::JoinGroupRequest {
            group_id: text("g"),
            group_instance_id: Some(text("i")),
            protocols: vec![join_group::JoinGroupRequestProtocol {
                name: text("range"),
                metadata: Blob(vec![1; 9]),
            }],
            ..Default::default()
        };
        let sync = sync_group::SyncGroupRequest {
            group_id: text("g"),
            assignments: vec![sync_group::SyncGroupRequestAssignment {
                member_id: text("m"),
                assignment: Blob(vec![2; 9]),
            }],
            ..Default::default()
        };
        let fetch = offset_fetch::OffsetFetchRequest {
            group_id: text("g"),
            topics: Some(asked.clone()),
            groups: vec![offset_fetch::OffsetFetchGroup {
                group_id: text("g"),
                topics: Some(asked),
                ..Default::default()
            }],
            require_stable: true,
        };
        let find = find_coordinator::FindCoordinatorRequest {
            key: text("g"),
            coordinator_keys: vec![text("g")],
            ..Default::default()
        };
        let leave = leave_group::LeaveGroupRequest {
            group_id: text("g"),
            members: vec![leave_group::MemberIdentity::default()],
            ..Default::default()
        };
        let commit = offset_commit::OffsetCommitRequest {
            group_id: text("g"),
            topics,
            ..Default::default()
        };
        let delete_offsets = delete_groups::OffsetDeleteRequest {
            group_id: text("g"),
            topics: vec![delete_groups::OffsetDeleteRequestTopic {
                name: text("t"),
                partitions: vec![1, 2],
            }],
        };
        let describe = describe_groups::DescribeGroupsRequest {
            groups: vec![text("g")],
            include_authorized_operations: true,
        };
        let list = list_groups::ListGroupsRequest {
            states_filter: vec![text("Stable")],
            types_filter: vec![text("classic")],
        };
        let delete = delete_groups::DeleteGroupsRequest {
            groups_names: vec![text("g")],
        };
        vec![
            (key::FIND_COORDINATOR, Group::FindCoordinator(find)),
            (key::JOIN_GROUP, Group::Join(join)),
            (key::SYNC_GROUP, Group::Sync(sync)),
            (key::HEARTBEAT, Group::Heartbeat(Default::default())),
            (key::LEAVE_GROUP, Group::Leave(leave)),
            (key::OFFSET_COMMIT, Group::Commit(commit)),
            (key::OFFSET_FETCH, Group::FetchOffsets(fetch)),
            (key::DESCRIBE_GROUPS, Group::Describe(describe)),
            (key::LIST_GROUPS, Group::List(list)),
            (key::DELETE_GROUPS, Group::Delete(delete)),
            (key::OFFSET_DELETE, Group::DeleteOffsets(delete_offsets)),
        ]
    }

    /// Goal: in every version that is served, a request is read as it was written, and cut anywhere it is refused.
    #[test]
    fn every_version_round_trips_and_no_cut_passes() {
        for (key, sample) in samples() {
            let api = api::find(key).expect("it is served");
            for version in api.first..=api.last {
                let shape = api.shape(version);
                let bytes = bytes_of(&sample, shape);
                let mut reader = Reader::new(&bytes);
                let read = Group::decode(key, &mut reader, shape).expect("just written");
                assert!(reader.rest().is_empty(), "{} {version}", api.name);
                assert_eq!(bytes_of(&read, shape), bytes);
                for cut in 0..bytes.len() {
                    let read = Group::decode(key, &mut Reader::new(&bytes[..cut]), shape);
                    assert!(read.is_err(), "{} {version} cut at {cut}", api.name);
                }
            }
        }
    }

    /// Goal: the bytes are Kafka's. Method: requests of a real client (librdkafka 2.x), taken down by hand from its schemas.
    #[test]
    fn a_join_reads_as_kafka_has_it() {
        let mut bytes = vec![
            0, 1, b'g', 0, 0, 0x27, 0x10, 0, 4, 0x93, 0xe0, 0, 0, 0xff, 0xff,
        ];
        bytes.extend_from_slice(b"\0\x08consumer\0\0\0\x01\0\x05range\0\0\0\x02\x09\x08");
        let shape = api::find(key::JOIN_GROUP).expect("served").shape(5);
        let mut reader = Reader::new(&bytes);
        let Ok(Group::Join(join)) = Group::decode(key::JOIN_GROUP, &mut reader, shape) else {
            panic!("it is one");
        };
        assert_eq!(
            (join.group_id.as_str(), join.session_timeout_ms),
            ("g", 10_000)
        );
        assert_eq!(
            (join.rebalance_timeout_ms, join.member_id.as_str()),
            (300_000, "")
        );
        assert_eq!(join.group_instance_id, None);
        assert_eq!(join.protocol_type, "consumer");
        assert_eq!(join.protocols[0].name, "range");
        assert_eq!(join.protocols[0].metadata, Blob(vec![9, 8]));
        assert!(reader.rest().is_empty());
    }
}
