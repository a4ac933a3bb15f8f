"""kafka-python: create, produce with every codec, consume from the beginning, by time, at the tail;
settings changed, a topic cut and widened."""
import sys
import time

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient, NewTopic

SERVERS, TOPIC, PARTITIONS = sys.argv[1], "kafka-python", 2


def produce(values, **options):
    producer = KafkaProducer(bootstrap_servers=SERVERS, **options)
    sent = [producer.send(TOPIC, value.encode(), partition=number % PARTITIONS) for number, value in enumerate(values)]
    offsets = [one.get(20).offset for one in sent]
    producer.close()
    return offsets


def consume(consumer, count):
    values = [message.value.decode() for _, message in zip(range(count), consumer)]
    assert len(values) == count, f"{len(values)} of {count}"
    return values


admin = KafkaAdminClient(bootstrap_servers=SERVERS)
admin.create_topics([NewTopic(TOPIC, PARTITIONS, 1)])
sent = []
for codec in [None, "gzip", "snappy", "lz4", "zstd"]:
    for idempotent in [False, True]:
        values = [f"{codec}-{idempotent}-{number}" for number in range(500)]
        offsets = produce(values, compression_type=codec, enable_idempotence=idempotent)
        assert offsets[0] == len(sent) // PARTITIONS, offsets[0]
        sent += values
consumer = KafkaConsumer(bootstrap_servers=SERVERS, consumer_timeout_ms=10_000)
partitions = [TopicPartition(TOPIC, number) for number in range(PARTITIONS)]
consumer.assign(partitions)
consumer.seek_to_beginning()
assert sorted(consume(consumer, len(sent))) == sorted(sent)

time.sleep(0.05)
now = int(time.time() * 1000)
produce(["late"] * PARTITIONS)
at = consumer.offsets_for_times({partition: now for partition in partitions})
ends = consumer.end_offsets(partitions)
assert {partition: found.offset + 1 for partition, found in at.items()} == ends, (at, ends)
for partition, found in at.items():
    consumer.seek(partition, found.offset)
assert consume(consumer, PARTITIONS) == ["late"] * PARTITIONS

consumer.seek_to_end()
assert not consumer.poll(timeout_ms=300)
produce(["tail"] * PARTITIONS)
assert consume(consumer, PARTITIONS) == ["tail"] * PARTITIONS

for incremental in [False, True]:
    settings = {"message.timestamp.type": "LogAppendTime", "segment.ms": f"{70_000 + incremental}"}
    topic = ConfigResource(ConfigResourceType.TOPIC, TOPIC, configs=settings)
    admin.alter_configs([topic], incremental=incremental)
    told = str(admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, TOPIC)]))
    assert all(value in told for value in settings.values()), told
producer = KafkaProducer(bootstrap_servers=SERVERS)
appended = producer.send(TOPIC, b"append", partition=0, timestamp_ms=1000).get(20)
assert appended.timestamp >= now, appended
producer.close()
told = admin.delete_records({partitions[0]: 500})
assert told[partitions[0]]["low_watermark"] == 500, told
assert consumer.beginning_offsets(partitions) == {partitions[0]: 500, partitions[1]: 0}
admin.create_partitions({TOPIC: PARTITIONS + 1})
[described] = admin.describe_topics([TOPIC])
assert len(described["partitions"]) == PARTITIONS + 1, described
admin.delete_topics([TOPIC])
assert TOPIC not in admin.list_topics()
