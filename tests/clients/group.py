"""Groups of three members of one client: they share the partitions, one leaves, one is killed, and the next goes on where
they stopped. The members are processes of their own, so that one can die; they print what they are assigned and read.

group.py CLIENT SERVER SCRATCH       the scenario; a client of another language: MILLRACE_MEMBER is its program with words
group.py CLIENT-member SERVER GROUP  a member
"""
import os
import re
import signal
import subprocess
import sys
import threading
import time

CLIENT, SERVERS = sys.argv[1], sys.argv[2]
TOPIC, PARTITIONS, SESSION_MS = f"group-{CLIENT}", 6, 6000


def say(*words):
    print(*words, flush=True)


def ended():
    """Set when the member is asked to leave."""
    event = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: event.set())
    return event


def confluent_member(strategy):
    from confluent_kafka import Consumer, KafkaError, KafkaException

    end = ended()
    # What was read before a rebalance may be too late to be committed: it is read again.
    passing = [KafkaError.REBALANCE_IN_PROGRESS, KafkaError.ILLEGAL_GENERATION]
    consumer = Consumer({
        "bootstrap.servers": SERVERS, "group.id": sys.argv[3], "auto.offset.reset": "earliest",
        "session.timeout.ms": SESSION_MS, "heartbeat.interval.ms": 500, "enable.auto.commit": False,
        "partition.assignment.strategy": strategy,
    })
    consumer.subscribe([sys.argv[3]])
    told = None
    while not end.is_set():
        message = consumer.poll(0.1)
        parts = sorted(part.partition for part in consumer.assignment())
        if parts != told:
            told = parts
            say("assigned", *parts)
        if message is not None:
            assert not message.error(), message.error()
            say("value", message.value().decode())
            try:
                consumer.commit(message, asynchronous=False)
            except KafkaException as error:
                if error.args[0].code() not in passing:
                    raise
    consumer.close()


def say_polled(consumer, polled, told):
    """Says what was read, and what is assigned if that is not what was told last. Returns what is."""
    parts = sorted(part.partition for part in consumer.assignment())
    if parts != told:
        say("assigned", *parts)
    for message in [message for messages in polled.values() for message in messages]:
        say("value", message.value.decode())
    return parts


def kafka_python_member():
    from kafka import KafkaConsumer

    end = ended()
    consumer = KafkaConsumer(
        sys.argv[3], bootstrap_servers=SERVERS, group_id=sys.argv[3], auto_offset_reset="earliest",
        session_timeout_ms=SESSION_MS, heartbeat_interval_ms=500, enable_auto_commit=False)
    told = None
    while not end.is_set():
        polled = consumer.poll(timeout_ms=100)
        told = say_polled(consumer, polled, told)
        if polled:
            consumer.commit()
    consumer.close()


def aiokafka_member():
    import asyncio
    from aiokafka import AIOKafkaConsumer

    async def main():
        end = ended()
        consumer = AIOKafkaConsumer(
            sys.argv[3], bootstrap_servers=SERVERS, group_id=sys.argv[3], auto_offset_reset="earliest",
            session_timeout_ms=SESSION_MS, heartbeat_interval_ms=500, enable_auto_commit=False)
        await consumer.start()
        told = None
        while not end.is_set():
            polled = await consumer.getmany(timeout_ms=100)
            told = say_polled(consumer, polled, told)
            if polled:
                await consumer.commit()
        await consumer.stop()

    asyncio.run(main())


class Member:
    """A member in a process of its own."""

    def __init__(self):
        here = os.path.dirname(os.path.abspath(__file__))
        if "MILLRACE_MEMBER" in os.environ:
            command = [*os.environ["MILLRACE_MEMBER"].split(), SERVERS, TOPIC]
        elif CLIENT == "kafkajs":
            command = ["node", os.path.join(here, "group_member.cjs"), SERVERS, TOPIC]
        elif CLIENT == "kcat":
            settings = [f"session.timeout.ms={SESSION_MS}", "heartbeat.interval.ms=500", "auto.offset.reset=earliest",
                        "auto.commit.interval.ms=200"]
            flags = [word for setting in settings for word in ("-X", setting)]
            command = ["kcat", "-b", SERVERS, *flags, "-u", "-f", "value %s\\n", "-G", TOPIC, TOPIC]
        else:
            command = [sys.executable, os.path.abspath(__file__), f"{CLIENT}-member", SERVERS, TOPIC]
        self.parts, self.values = [], []
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        for line in self.process.stdout:
            kind, *words = line.split() or [""]
            if kind == "assigned":
                self.parts = [int(word) for word in words]
            elif kind == "value":
                self.values.append(int(words[0]))
            elif "assigned: " in line:  # as kcat says it
                self.parts = [int(word) for word in re.findall(r"\[(\d+)\]", line.split("assigned: ")[1])]
            elif "revoked: " in line:
                self.parts = []
            else:
                print(line, end="", file=sys.stderr)

    def end(self, with_signal):
        self.process.send_signal(with_signal)
        self.process.wait(20)


def until(what, seconds=40):
    give_up = time.time() + seconds
    while not what():
        told = [(member.parts, member.process.poll()) for member in members]
        assert time.time() < give_up, f"{told} {len(read())}"
        time.sleep(0.05)


def read():
    return {value for member in members + gone for value in member.values}


def shared(count):
    """Whether so many members share all partitions, each once, as evenly as can be."""
    parts = [member.parts for member in members]
    whole = sorted(part for some in parts for part in some) == list(range(PARTITIONS))
    return whole and [len(some) for some in parts] == [PARTITIONS // count] * count


def produce(values):
    from confluent_kafka import Producer

    producer = Producer({"bootstrap.servers": SERVERS})
    for value in values:
        producer.produce(TOPIC, str(value), partition=value % PARTITIONS)
    assert producer.flush(20) == 0


if CLIENT.endswith("-member"):
    {
        "confluent-member": lambda: confluent_member("range,roundrobin"),
        "cooperative-member": lambda: confluent_member("cooperative-sticky"),
        "kafka-python-member": kafka_python_member,
        "aiokafka-member": aiokafka_member,
    }[CLIENT]()
    sys.exit()

from confluent_kafka.admin import AdminClient, NewTopic

admin = AdminClient({"bootstrap.servers": SERVERS})
admin.create_topics([NewTopic(TOPIC, PARTITIONS)])[TOPIC].result()
gone, members = [], [Member() for _ in range(3)]
until(lambda: shared(3))
produce(range(600))
until(lambda: read() == set(range(600)))

leaver = members.pop()
leaver.end(signal.SIGTERM)
gone.append(leaver)
until(lambda: shared(2), 20)
produce(range(600, 900))
until(lambda: read() == set(range(900)))

victim = members.pop()
victim.end(signal.SIGKILL)
gone.append(victim)
until(lambda: shared(1), 3 * SESSION_MS / 1000)
produce(range(900, 1200))
until(lambda: read() == set(range(1200)))

last = members.pop()
last.end(signal.SIGTERM)
described = admin.describe_consumer_groups([TOPIC])[TOPIC].result()
assert described.state.name == "EMPTY", described.state
listed = admin.list_consumer_groups().result().valid
assert TOPIC in [group.group_id for group in listed], listed

gone = []
members.append(Member())
until(lambda: shared(1))
produce([1200])
until(lambda: 1200 in read())
# What was read last may not have been committed; what was read long before must have been.
again = read() - {1200}
assert all(value >= 900 for value in again), sorted(again)[:10]
members.pop().end(signal.SIGTERM)
admin.delete_consumer_groups([TOPIC])[TOPIC].result()
listed = admin.list_consumer_groups().result().valid
assert TOPIC not in [group.group_id for group in listed], listed
admin.delete_topics([TOPIC])[TOPIC].result()
