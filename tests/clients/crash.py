"""A broker is killed (SIGKILL) while a client produces, and started again: what was acked is there, and what an idempotent
producer sent is there once. The client is a process that sends the lines of its input and prints `acked VALUE`.

crash.py CLIENT produce SERVER ACKED    runs the client until all is sent, and writes what it says to ACKED
crash.py CLIENT check SERVER ACKED      reads the topic
A client of another language: MILLRACE_CRASH is its program with words.
"""
import os
import subprocess
import sys
import time

CLIENT, WHAT, SERVERS, ACKED = sys.argv[1:5]
TOPIC, PARTITIONS, COUNT, PER_SECOND = f"crash-{CLIENT}", 4, 6000, 1000


def say(*words):
    print(*words, flush=True)


def confluent_client():
    from confluent_kafka import Producer

    producer = Producer({
        "bootstrap.servers": SERVERS, "enable.idempotence": True, "linger.ms": 2, "message.timeout.ms": 60000,
        "reconnect.backoff.max.ms": 500,
    })
    for line in sys.stdin:
        value = line.strip()
        told = lambda error, message, value=value: say("failed" if error else "acked", value, error or "")
        producer.produce(TOPIC, value, partition=int(value) % PARTITIONS, on_delivery=told)
        producer.poll(0)
    producer.flush(60)


def kafka_python_client():
    from kafka import KafkaProducer

    producer = KafkaProducer(
        bootstrap_servers=SERVERS, enable_idempotence=True, linger_ms=2, delivery_timeout_ms=60000,
        request_timeout_ms=5000, reconnect_backoff_max_ms=500)
    for line in sys.stdin:
        value = line.strip()
        sent = producer.send(TOPIC, value.encode(), partition=int(value) % PARTITIONS)
        sent.add_callback(lambda _, value=value: say("acked", value))
        sent.add_errback(lambda error, value=value: say("failed", value, error))
    producer.flush(60)
    producer.close()


def aiokafka_client():
    import asyncio
    from aiokafka import AIOKafkaProducer

    async def one(producer, value):
        try:
            sent = await producer.send(TOPIC, value.encode(), partition=int(value) % PARTITIONS)
            await sent
            say("acked", value)
        except Exception as error:
            say("failed", value, error)

    async def main():
        producer = AIOKafkaProducer(
            bootstrap_servers=SERVERS, enable_idempotence=True, linger_ms=2, request_timeout_ms=60000)
        await producer.start()
        loop, tasks = asyncio.get_running_loop(), []
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            tasks.append(asyncio.ensure_future(one(producer, line.strip())))
        await asyncio.gather(*tasks)
        await producer.stop()

    asyncio.run(main())


def produce():
    from confluent_kafka.admin import AdminClient, NewTopic

    admin = AdminClient({"bootstrap.servers": SERVERS})
    admin.create_topics([NewTopic(TOPIC, PARTITIONS)])[TOPIC].result()
    command = [sys.executable, os.path.abspath(__file__), CLIENT, "client", SERVERS, ACKED]
    if "MILLRACE_CRASH" in os.environ:
        command = [*os.environ["MILLRACE_CRASH"].split(), SERVERS, TOPIC]
    with open(ACKED, "w") as acked:
        client = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=acked, text=True)
        began = time.time()
        for number in range(COUNT):
            client.stdin.write(f"{number}\n")
            if number % 50 == 49:
                client.stdin.flush()
                time.sleep(max(0, began + number / PER_SECOND - time.time()))
        client.stdin.close()
        assert client.wait(100) == 0, client.returncode


def check():
    from confluent_kafka import Consumer, TopicPartition

    with open(ACKED) as file:
        told = [line.split() for line in file]
    acked = {int(words[1]) for words in told if words[0] == "acked"}
    failed = [words for words in told if words[0] == "failed"]
    consumer = Consumer({"bootstrap.servers": SERVERS, "group.id": TOPIC, "enable.auto.commit": False})
    ends = [consumer.get_watermark_offsets(TopicPartition(TOPIC, part), timeout=10)[1] for part in range(PARTITIONS)]
    consumer.assign([TopicPartition(TOPIC, part, 0) for part in range(PARTITIONS)])
    found, until = [], time.time() + 30
    while len(found) < sum(ends):
        assert time.time() < until, (len(found), ends)
        for message in consumer.consume(1000, 0.2):
            assert not message.error(), message.error()
            found.append(int(message.value()))
    consumer.close()
    lost = sorted(acked - set(found))
    twice = sorted({value for value in found if found.count(value) > 1}) if len(found) > len(set(found)) else []
    say(f"{CLIENT}: {len(acked)} acked, {len(failed)} failed, {len(found)} stored, {len(lost)} lost, {len(twice)} twice")
    assert len(acked) > COUNT // 2, f"only {len(acked)} acked: {failed[:3]}"
    assert not lost and not twice, (lost[:10], twice[:10])


{
    "produce": produce,
    "check": check,
    "client": {
        "confluent": confluent_client, "kafka-python": kafka_python_client, "aiokafka": aiokafka_client,
    }.get(CLIENT),
}[WHAT]()
