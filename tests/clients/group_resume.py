"""A group commits, its broker is killed, and another member of it goes on at what was committed.

group_resume.py before|after SERVER SCRATCH
"""
import json
import sys
import time

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

PHASE, SERVERS, SCRATCH = sys.argv[1:4]
TOPIC, GROUP, PARTITIONS, COUNT = "group-resume", "group-resume", 4, 400


def consumer():
    made = Consumer({
        "bootstrap.servers": SERVERS, "group.id": GROUP, "auto.offset.reset": "earliest", "enable.auto.commit": False,
    })
    made.subscribe([TOPIC])
    return made


def read(one, count):
    messages, until = [], time.time() + 30
    while len(messages) < count:
        assert time.time() < until, f"{len(messages)} of {count}"
        messages += one.consume(count - len(messages), 0.2)
    assert not [message.error() for message in messages if message.error()]
    return messages


if PHASE == "before":
    admin = AdminClient({"bootstrap.servers": SERVERS})
    admin.create_topics([NewTopic(TOPIC, PARTITIONS)])[TOPIC].result()
    producer = Producer({"bootstrap.servers": SERVERS, "acks": "all"})
    for number in range(COUNT):
        producer.produce(TOPIC, str(number), partition=number % PARTITIONS)
    assert producer.flush(20) == 0
    member = consumer()
    next_offsets = {}
    for message in read(member, COUNT * 3 // 8):
        next_offsets[message.partition()] = message.offset() + 1
    offsets = [TopicPartition(TOPIC, part, at, metadata=f"at {at}") for part, at in next_offsets.items()]
    member.commit(offsets=offsets, asynchronous=False)
    read(member, 50)
    with open(SCRATCH, "w") as file:
        json.dump(next_offsets, file)
    # No close: the broker dies under it.
else:
    with open(SCRATCH) as file:
        next_offsets = {int(part): at for part, at in json.load(file).items()}
    member = consumer()
    found = member.committed([TopicPartition(TOPIC, part) for part in next_offsets], timeout=10)
    assert {one.partition: one.offset for one in found} == next_offsets, found
    assert all(one.metadata == f"at {one.offset}" for one in found), found
    first = {}
    for message in read(member, COUNT - sum(next_offsets.values())):
        first.setdefault(message.partition(), message.offset())
    assert all(first.get(part, at) == at for part, at in next_offsets.items()), (first, next_offsets)
    member.close()
