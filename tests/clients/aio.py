"""aiokafka: produce with every codec to a topic that is made by that, consume from the beginning, by time, at the tail."""
import asyncio
import sys
import time

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

SERVERS, TOPIC = sys.argv[1], "aiokafka"
PARTITION = TopicPartition(TOPIC, 0)


async def produce(values, **options):
    producer = AIOKafkaProducer(bootstrap_servers=SERVERS, **options)
    await producer.start()
    sent = [await producer.send(TOPIC, value.encode()) for value in values]
    offsets = [(await one).offset for one in sent]
    await producer.stop()
    return offsets


async def consume(consumer, count):
    values, until = [], time.time() + 20
    while len(values) < count:
        assert time.time() < until, f"{len(values)} of {count}"
        for messages in (await consumer.getmany(timeout_ms=200)).values():
            values += [message.value.decode() for message in messages]
    return values


async def main():
    sent = []
    for codec in [None, "gzip", "snappy", "lz4", "zstd"]:
        for idempotent in [False, True]:
            values = [f"{codec}-{idempotent}-{number}" for number in range(300)]
            offsets = await produce(values, compression_type=codec, enable_idempotence=idempotent)
            assert offsets == list(range(len(sent), len(sent) + 300)), offsets
            sent += values
    consumer = AIOKafkaConsumer(bootstrap_servers=SERVERS)
    await consumer.start()
    consumer.assign([PARTITION])
    await consumer.seek_to_beginning(PARTITION)
    assert await consume(consumer, len(sent)) == sent

    await asyncio.sleep(0.05)
    now = int(time.time() * 1000)
    await produce(["late"])
    at = (await consumer.offsets_for_times({PARTITION: now}))[PARTITION].offset
    assert at == len(sent), at
    consumer.seek(PARTITION, at)
    assert await consume(consumer, 1) == ["late"]

    await consumer.seek_to_end(PARTITION)
    assert not await consumer.getmany(timeout_ms=300)
    await produce(["tail"])
    assert await consume(consumer, 1) == ["tail"]
    await consumer.stop()


asyncio.run(main())
