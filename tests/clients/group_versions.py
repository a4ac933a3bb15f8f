"""Every version of the group APIs that the broker tells of, through an encoder and a decoder that are not ours: those that
kafka-python makes of Kafka's schemas. A whole life of a group in each version; every answer is decoded, encoded again, and
the same bytes.

group_versions.py SERVER SCRATCH
"""
import struct
import sys

from kafka.protocol.admin import (
    DeleteGroupsRequest, DeleteGroupsResponse, DescribeGroupsRequest, DescribeGroupsResponse,
    ListGroupsRequest, ListGroupsResponse)
from kafka.protocol.consumer import (
    HeartbeatRequest, HeartbeatResponse, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, LeaveGroupResponse,
    OffsetCommitRequest, OffsetCommitResponse, OffsetDeleteRequest, OffsetDeleteResponse, OffsetFetchRequest,
    OffsetFetchResponse, SyncGroupRequest, SyncGroupResponse)
from kafka.protocol.metadata import (
    ApiVersionsRequest, ApiVersionsResponse, FindCoordinatorRequest, FindCoordinatorResponse)

from exchange import ask, host, port

TOPIC = "group-versions"
OTHER = "group-versions-other"
# A consumer's metadata: version 0, one topic, no user data.
SAID = struct.pack(">hih", 0, 1, len(TOPIC)) + TOPIC.encode() + struct.pack(">i", -1)


def ranges():
    told = ask(ApiVersionsRequest, ApiVersionsResponse, 0)
    return {api.api_key: (api.min_version, api.max_version) for api in told.api_keys}


def ok(response):
    assert response.error_code == 0, response
    return response


def delete_offsets(group, name):
    topic = OffsetDeleteRequest.OffsetDeleteRequestTopic
    partition = topic.OffsetDeleteRequestPartition(version=0, partition_index=0)
    told = ask(
        OffsetDeleteRequest, OffsetDeleteResponse, 0, group_id=group,
        topics=[topic(version=0, name=name, partitions=[partition])])
    return ok(told).topics[0].partitions[0].error_code


def live(versions):
    """A group from its first member to its end; `versions` picks one for an API."""
    group = "versions-" + "-".join(str(version) for version in versions.values())
    pick = lambda request: versions[request.API_KEY]
    version = pick(FindCoordinatorRequest)
    keys = {"coordinator_keys": [group]} if version >= 4 else {"key": group}
    found = ask(FindCoordinatorRequest, FindCoordinatorResponse, version, key_type=0, **keys)
    found = found.coordinators[0] if version >= 4 else found
    assert found.error_code == 0 and found.host and found.port, found

    version = pick(JoinGroupRequest)
    protocol = JoinGroupRequest.JoinGroupRequestProtocol(version=version, name="range", metadata=SAID)
    join = dict(
        group_id=group, session_timeout_ms=10000, rebalance_timeout_ms=10000, member_id="", group_instance_id=None,
        protocol_type="consumer", protocols=[protocol], reason="test")
    joined = ask(JoinGroupRequest, JoinGroupResponse, version, **join)
    if joined.error_code == 79:
        join["member_id"] = joined.member_id
        joined = ask(JoinGroupRequest, JoinGroupResponse, version, **join)
    ok(joined)
    assert joined.leader == joined.member_id and joined.members[0].metadata == SAID, joined
    member = dict(group_id=group, generation_id=joined.generation_id, member_id=joined.member_id, group_instance_id=None)

    version = pick(SyncGroupRequest)
    part = SyncGroupRequest.SyncGroupRequestAssignment(version=version, member_id=joined.member_id, assignment=b"part")
    synced = ask(
        SyncGroupRequest, SyncGroupResponse, version, protocol_type="consumer", protocol_name="range", assignments=[part],
        **member)
    assert ok(synced).assignment == b"part", synced
    ok(ask(HeartbeatRequest, HeartbeatResponse, pick(HeartbeatRequest), **member))

    version = pick(OffsetCommitRequest)
    one = OffsetCommitRequest.OffsetCommitRequestTopic
    partition = one.OffsetCommitRequestPartition(
        version=version, partition_index=0, committed_offset=5, committed_leader_epoch=3, committed_metadata="kept")
    topic = one(version=version, name=TOPIC, partitions=[partition])
    told = ask(
        OffsetCommitRequest, OffsetCommitResponse, version, group_id=group, generation_id_or_member_epoch=joined.generation_id,
        member_id=joined.member_id, group_instance_id=None, topics=[topic])
    assert told.topics[0].partitions[0].error_code == 0, told

    version = pick(OffsetFetchRequest)
    for is_all in [False, True]:
        if version >= 8:
            several = OffsetFetchRequest.OffsetFetchRequestGroup
            topic = several.OffsetFetchRequestTopics(version=version, name=TOPIC, partition_indexes=[0])
            fields = dict(groups=[several(
                version=version, group_id=group, member_id=None, member_epoch=-1, topics=None if is_all else [topic])])
        else:
            topic = OffsetFetchRequest.OffsetFetchRequestTopic(version=version, name=TOPIC, partition_indexes=[0])
            fields = dict(group_id=group, topics=None if is_all and version >= 2 else [topic])
        told = ask(OffsetFetchRequest, OffsetFetchResponse, version, require_stable=False, **fields)
        told = told.groups[0] if version >= 8 else told
        partition = told.topics[0].partitions[0]
        assert (told.topics[0].name, partition.committed_offset, partition.metadata) == (TOPIC, 5, "kept"), told
        assert version < 5 or partition.committed_leader_epoch == 3, told

    told = ask(
        DescribeGroupsRequest, DescribeGroupsResponse, pick(DescribeGroupsRequest), groups=[group],
        include_authorized_operations=False)
    described = told.groups[0]
    assert (described.group_state, described.protocol_data) == ("Stable", "range"), told
    assert (described.members[0].client_id, described.members[0].client_host) == ("versions", "/127.0.0.1"), told
    told = ask(ListGroupsRequest, ListGroupsResponse, pick(ListGroupsRequest), states_filter=[], types_filter=[])
    is_here = (found.host, found.port) == (host, int(port))
    assert (group in [one.group_id for one in ok(told).groups]) == is_here, (found, told)

    assert delete_offsets(group, TOPIC) == 86, "a member wants the topic"
    assert delete_offsets(group, OTHER) == 0, "no member wants the topic"
    version = pick(LeaveGroupRequest)
    who = {"member_id": joined.member_id}
    if version >= 3:
        who = {"members": [LeaveGroupRequest.MemberIdentity(
            version=version, member_id=joined.member_id, group_instance_id=None, reason="test")]}
    left = ok(ask(LeaveGroupRequest, LeaveGroupResponse, version, group_id=group, **who))
    assert version < 3 or left.members[0].error_code == 0, left

    assert delete_offsets(group, TOPIC) == 0
    told = ask(DeleteGroupsRequest, DeleteGroupsResponse, pick(DeleteGroupsRequest), groups_names=[group])
    assert told.results[0].error_code == 0, told


from kafka.admin import KafkaAdminClient, NewTopic

admin = KafkaAdminClient(bootstrap_servers=sys.argv[1])
admin.create_topics([NewTopic(TOPIC, 1, 1), NewTopic(OTHER, 1, 1)])
told = ranges()
APIS = [8, 9, 10, 11, 12, 13, 14, 15, 16, 42]
for step in range(max(told[api][1] - told[api][0] for api in APIS) + 1):
    live({api: min(told[api][0] + step, told[api][1]) for api in APIS})
admin.delete_topics([TOPIC, OTHER])
