"""confluent-kafka (librdkafka): create, produce with every codec, consume from the beginning, by time, at the tail;
settings changed, a topic cut and widened."""
import sys
import time

from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import (
    AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewPartitions, NewTopic, OffsetSpec, ResourceType)

SERVERS, TOPIC, PARTITIONS = sys.argv[1], "confluent", 4


def produce(values, **options):
    errors = []
    producer = Producer({"bootstrap.servers": SERVERS, "linger.ms": 5, **options})
    for number, value in enumerate(values):
        told = lambda error, _: error and errors.append(str(error))
        producer.produce(TOPIC, value, partition=number % PARTITIONS, on_delivery=told)
    assert producer.flush(20) == 0 and not errors, (options, errors)


def consume(consumer, count):
    values, until = [], time.time() + 20
    while len(values) < count:
        assert time.time() < until, f"{len(values)} of {count}"
        for message in consumer.consume(1000, 0.2):
            assert not message.error(), message.error()
            values.append(message.value().decode())
    return values


admin = AdminClient({"bootstrap.servers": SERVERS})
admin.create_topics([NewTopic(TOPIC, PARTITIONS)])[TOPIC].result()
sent = []
for codec in ["none", "gzip", "snappy", "lz4", "zstd"]:
    for idempotent in [False, True]:
        values = [f"{codec}-{idempotent}-{number}" for number in range(1000)]
        produce(values, **{"compression.type": codec, "enable.idempotence": idempotent})
        sent += values
for acks in [0, 1, "all"]:
    values = [f"acks-{acks}-{number}" for number in range(100)]
    produce(values, acks=acks)
    sent += values
consumer = Consumer({"bootstrap.servers": SERVERS, "group.id": TOPIC, "enable.auto.commit": False})
partitions = [TopicPartition(TOPIC, number, 0) for number in range(PARTITIONS)]
consumer.assign(partitions)
assert sorted(consume(consumer, len(sent))) == sorted(sent)

time.sleep(0.05)
now = int(time.time() * 1000)
produce(["late"] * PARTITIONS)
at = consumer.offsets_for_times([TopicPartition(TOPIC, number, now) for number in range(PARTITIONS)])
ends = [consumer.get_watermark_offsets(partition)[1] for partition in partitions]
assert [found.offset for found in at] == [end - 1 for end in ends], (at, ends)
consumer.assign(at)
assert consume(consumer, PARTITIONS) == ["late"] * PARTITIONS

consumer.assign([TopicPartition(TOPIC, number, end) for number, end in enumerate(ends)])
assert not consumer.consume(1, 0.3)
produce(["tail"] * PARTITIONS)
assert consume(consumer, PARTITIONS) == ["tail"] * PARTITIONS

# The record itself, also in the middle of a compressed batch: one batch of each codec, all of them with a lull in their times.
TIMES = TOPIC + "-times"
admin.create_topics([NewTopic(TIMES, 1)])[TIMES].result()
times = [1_000, 5_000, 3_000, 9_000, 9_000, 2_000]
for round, codec in enumerate(["none", "gzip", "snappy", "lz4", "zstd"]):
    base, later = round * len(times), round * 10_000
    producer = Producer({"bootstrap.servers": SERVERS, "linger.ms": 100, "compression.type": codec})
    for number in times:
        producer.produce(TIMES, "v" * 200, partition=0, timestamp=later + number)
    assert producer.flush(20) == 0
    for wanted, offset in [(1_001, 1), (5_001, 3), (9_000, 3), (9_001, None)]:
        found = consumer.offsets_for_times([TopicPartition(TIMES, 0, later + wanted)])[0].offset
        assert found == (-1 if offset is None else base + offset), (codec, wanted, found)
    part = TopicPartition(TIMES, 0)
    youngest = admin.list_offsets({part: OffsetSpec.max_timestamp()})[part].result()
    assert (youngest.offset, youngest.timestamp) == (base + 3, later + 9_000), (codec, youngest)


def alter(name, value):
    entry = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, TOPIC, incremental_configs=[entry])
    admin.incremental_alter_configs([resource])[resource].result()


alter("message.timestamp.type", "LogAppendTime")
topic = ConfigResource(ResourceType.TOPIC, TOPIC)
settings = admin.describe_configs([topic])[topic].result()
assert settings["message.timestamp.type"].value == "LogAppendTime"
assert not settings["message.timestamp.type"].is_default and settings["segment.ms"].is_default
alter("retention.ms", "86400000")
alter("retention.bytes", "-1")
settings = admin.describe_configs([topic])[topic].result()
assert settings["retention.ms"].value == "86400000" and settings["retention.bytes"].value == "-1"
for name, value in [("no.such.thing", "1"), ("cleanup.policy", "compact")]:
    try:
        alter(name, value)
        assert False, f"{name} was taken"
    except KafkaException as error:
        assert name in str(error), error
before, told = time.time() * 1000 - 1, []
producer = Producer({"bootstrap.servers": SERVERS})
producer.produce(TOPIC, "append", partition=0, timestamp=1000, on_delivery=lambda error, message: told.append(message))
assert producer.flush(20) == 0 and not told[0].error()
end = consumer.get_watermark_offsets(partitions[0])[1]
consumer.assign([TopicPartition(TOPIC, 0, end - 1)])
[read] = consumer.consume(1, 20)
assert read.value() == b"append" and read.timestamp()[0] == TIMESTAMP_LOG_APPEND_TIME
assert read.timestamp()[1] >= before and told[0].timestamp() == read.timestamp(), (told[0].timestamp(), read.timestamp())

cut = TopicPartition(TOPIC, 0, 500)
assert admin.delete_records([cut])[cut].result().low_watermark == 500
assert consumer.get_watermark_offsets(partitions[0])[0] == 500
consumer.assign([TopicPartition(TOPIC, 0, 500)])
assert consumer.consume(1, 20)[0].offset() == 500

admin.create_partitions([NewPartitions(TOPIC, PARTITIONS + 1)])[TOPIC].result()
assert len(admin.list_topics(TOPIC, timeout=10).topics[TOPIC].partitions) == PARTITIONS + 1
# A client of its own: the others learn of the partition when their metadata is old enough.
wider = Producer({"bootstrap.servers": SERVERS})
wider.produce(TOPIC, "wider", partition=PARTITIONS)
assert wider.flush(20) == 0
consumer.assign([TopicPartition(TOPIC, PARTITIONS, 0)])
assert consume(consumer, 1) == ["wider"]
admin.delete_topics([TOPIC])[TOPIC].result()
assert TOPIC not in admin.list_topics(timeout=10).topics
