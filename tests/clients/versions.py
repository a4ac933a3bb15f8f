"""Every version of the APIs that store, read and look, through an encoder and a decoder that are not ours: those that
kafka-python makes of Kafka's schemas. Every answer is decoded, encoded again, and the same bytes.

versions.py SERVER SCRATCH
"""
import uuid

import kafka.protocol.admin as admin
from kafka.protocol.consumer import (
    FetchRequest, FetchResponse, ListOffsetsRequest, ListOffsetsResponse, OffsetForLeaderEpochRequest,
    OffsetForLeaderEpochResponse)
from kafka.protocol.metadata import ApiVersionsRequest, ApiVersionsResponse, MetadataRequest, MetadataResponse
from kafka.protocol.producer import InitProducerIdRequest, InitProducerIdResponse, ProduceRequest, ProduceResponse
from kafka.record import MemoryRecordsBuilder

from exchange import ask

RANGES = {
    api.api_key: (api.min_version, api.max_version) for api in ask(ApiVersionsRequest, ApiVersionsResponse, 0).api_keys}


def versions(request, first=0):
    low, high = RANGES[request.API_KEY]
    return range(max(low, first), high + 1)


def batch(value):
    builder = MemoryRecordsBuilder(magic=2, compression_type=0, batch_size=0)
    builder.append(timestamp=1000, key=None, value=value, headers=[])
    builder.close()
    return builder.buffer()


for version in versions(ApiVersionsRequest):
    told = ask(
        ApiVersionsRequest, ApiVersionsResponse, version, client_software_name="test", client_software_version="1")
    assert told.error_code == 0 and len(told.api_keys) == len(RANGES), told

for version in versions(admin.CreateTopicsRequest):
    one = admin.CreateTopicsRequest.CreatableTopic
    topics = [
        one(version=version, name=name, num_partitions=1, replication_factor=1, assignments=[], configs=[])
        for name in [f"versions-{version}", "no/name"]]
    told = ask(
        admin.CreateTopicsRequest, admin.CreateTopicsResponse, version, topics=topics, timeout_ms=5000, validate_only=False)
    assert [topic.error_code for topic in told.topics] == [0, 17], told
TOPIC = f"versions-{version}"

topic_id = None
for version in versions(MetadataRequest):
    one = MetadataRequest.MetadataRequestTopic
    topics = [one(version=version, name=TOPIC, topic_id=uuid.UUID(int=0))]
    told = ask(MetadataRequest, MetadataResponse, version, topics=topics, allow_auto_topic_creation=True)
    assert (told.topics[0].error_code, told.topics[0].name) == (0, TOPIC), told
    topic_id = told.topics[0].topic_id if version >= 10 else None

for version in versions(InitProducerIdRequest):
    told = ask(
        InitProducerIdRequest, InitProducerIdResponse, version, transactional_id=None, transaction_timeout_ms=1000,
        producer_id=-1, producer_epoch=-1)
    assert told.error_code == 0 and told.producer_id >= 0, told

stored = []
for version in versions(ProduceRequest, 3):
    one = ProduceRequest.TopicProduceData
    records = batch(b"of version %d" % version)
    parts = [one.PartitionProduceData(version=version, index=index, records=records) for index in [0, 9]]
    topic = one(version=version, name=TOPIC, topic_id=topic_id, partition_data=parts)
    told = ask(
        ProduceRequest, ProduceResponse, version, transactional_id=None, acks=-1, timeout_ms=5000, topic_data=[topic])
    good, bad = told.responses[0].partition_responses
    assert (good.error_code, good.base_offset, bad.error_code) == (0, len(stored), 3), told
    stored.append(bytes(records))

for version in versions(FetchRequest):
    one = FetchRequest.FetchTopic
    parts = [
        one.FetchPartition(
            version=version, partition=index, current_leader_epoch=-1, fetch_offset=2, last_fetched_epoch=-1,
            log_start_offset=-1, partition_max_bytes=1)
        for index in [0, 9]]
    topic = one(version=version, topic=TOPIC, topic_id=topic_id, partitions=parts)
    told = ask(
        FetchRequest, FetchResponse, version, replica_id=-1, max_wait_ms=0, min_bytes=0, max_bytes=1 << 20,
        isolation_level=1, session_id=0, session_epoch=-1, topics=[topic], forgotten_topics_data=[], rack_id="")
    good, bad = told.responses[0].partitions
    assert (good.error_code, good.high_watermark, bad.error_code) == (0, len(stored), 3), told
    assert bytes(good.records)[16:] == stored[2][16:], told

part = FetchRequest.FetchTopic.FetchPartition(version=version, partition=0, fetch_offset=0, partition_max_bytes=1)
topic = FetchRequest.FetchTopic(version=version, topic_id=uuid.UUID(int=99), partitions=[part])
told = ask(
    FetchRequest, FetchResponse, version, max_wait_ms=0, min_bytes=0, max_bytes=1, session_epoch=-1, topics=[topic],
    forgotten_topics_data=[], rack_id="")
assert told.responses[0].partitions[0].error_code == 100, told

for version in versions(ListOffsetsRequest):
    one = ListOffsetsRequest.ListOffsetsTopic
    # Each negative number, the version that it came with, and what it stands for: the first, the last, the youngest, the first
    # that is kept here, the last that is kept elsewhere.
    special = [(-2, 1, 0), (-1, 1, len(stored)), (-3, 7, 0), (-4, 8, 0), (-5, 9, -1), (-6, 99, None)]
    for timestamp, since, offset in special + [(1000, 1, 0), (2000, 1, -1)]:
        part = one.ListOffsetsPartition(
            version=version, partition_index=0, current_leader_epoch=-1, timestamp=timestamp)
        told = ask(
            ListOffsetsRequest, ListOffsetsResponse, version, replica_id=-1, isolation_level=0,
            topics=[one(version=version, name=TOPIC, partitions=[part])], timeout_ms=1000)
        found = told.topics[0].partitions[0]
        wanted = (0, offset) if version >= since else (35, -1)
        assert (found.error_code, found.offset) == wanted, (timestamp, told)

for version in versions(OffsetForLeaderEpochRequest):
    one = OffsetForLeaderEpochRequest.OffsetForLeaderTopic
    part = one.OffsetForLeaderPartition(version=version, partition=0, current_leader_epoch=-1, leader_epoch=0)
    told = ask(
        OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse, version, replica_id=-1,
        topics=[one(version=version, topic=TOPIC, partitions=[part])])
    assert told.topics[0].partitions[0].end_offset == len(stored), told

for version in versions(admin.DescribeConfigsRequest):
    one = admin.DescribeConfigsRequest.DescribeConfigsResource
    wanted = [one(version=version, resource_type=2, resource_name=TOPIC, configuration_keys=None)]
    told = ask(
        admin.DescribeConfigsRequest, admin.DescribeConfigsResponse, version, resources=wanted, include_synonyms=True,
        include_documentation=True)
    assert "segment.bytes" in [config.name for config in told.results[0].configs], told

for version in versions(admin.DescribeLogDirsRequest):
    told = ask(admin.DescribeLogDirsRequest, admin.DescribeLogDirsResponse, version, topics=None)
    assert told.results[0].error_code == 0, told

for version in versions(admin.DescribeClusterRequest):
    told = ask(
        admin.DescribeClusterRequest, admin.DescribeClusterResponse, version, include_cluster_authorized_operations=False,
        endpoint_type=1, include_fenced_brokers=False)
    assert told.brokers, told

for version in versions(admin.DescribeAclsRequest):
    told = ask(
        admin.DescribeAclsRequest, admin.DescribeAclsResponse, version, resource_type_filter=1, resource_name_filter=None,
        pattern_type_filter=1, principal_filter=None, host_filter=None, operation=1, permission_type=1)
    assert (told.error_code, told.resources) == (54, []), told

for version in versions(admin.ListPartitionReassignmentsRequest):
    told = ask(
        admin.ListPartitionReassignmentsRequest, admin.ListPartitionReassignmentsResponse, version, timeout_ms=1000,
        topics=None)
    assert (told.error_code, told.topics) == (0, []), told

for version in versions(admin.AlterPartitionReassignmentsRequest):
    one = admin.AlterPartitionReassignmentsRequest.ReassignableTopic
    part = one.ReassignablePartition(version=version, partition_index=0, replicas=None)
    told = ask(
        admin.AlterPartitionReassignmentsRequest, admin.AlterPartitionReassignmentsResponse, version, timeout_ms=1000,
        allow_replication_factor_change=True, topics=[one(version=version, name=TOPIC, partitions=[part])])
    assert told.responses[0].partitions[0].error_code == 85, told

for version in versions(admin.ElectLeadersRequest):
    one = admin.ElectLeadersRequest.TopicPartitions
    told = ask(
        admin.ElectLeadersRequest, admin.ElectLeadersResponse, version, election_type=0, timeout_ms=1000,
        topic_partitions=[one(version=version, topic=TOPIC, partitions=[0])])
    assert told.replica_election_results[0].partition_result[0].error_code == 84, told

for version in versions(admin.DeleteTopicsRequest):
    name = f"versions-{version + 1}"
    if version >= 6:
        one = admin.DeleteTopicsRequest.DeleteTopicState
        fields = {"topics": [one(version=version, name=name, topic_id=uuid.UUID(int=0))]}
    else:
        fields = {"topic_names": [name]}
    told = ask(admin.DeleteTopicsRequest, admin.DeleteTopicsResponse, version, timeout_ms=5000, **fields)
    assert told.responses[0].error_code == 0, told
