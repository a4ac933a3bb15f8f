#!/usr/bin/env bash
# Kafka's own console and performance tools: they produce to a topic and read it from the beginning.
#
# java_tools.sh JARS SERVER SCRATCH
set -euo pipefail
jars=$1 server=$2

tool() { timeout 60 java -cp "$jars/*" "org.apache.kafka.tools.$@" 2>/dev/null; }

tool TopicCommand --bootstrap-server "$server" --create --topic tools --partitions 3 >/dev/null
sent=$(tool ProducerPerformance --topic tools --num-records 20000 --record-size 100 --throughput -1 \
    --producer-props bootstrap.servers="$server" acks=all compression.type=lz4)
grep -q '^20000 records sent' <<<"$sent" || { echo "ProducerPerformance said: $sent" >&2; exit 1; }
read=$(tool consumer.ConsoleConsumer --bootstrap-server "$server" --topic tools --from-beginning --max-messages 20000 | wc)
[[ $(awk '{print $1, $3}' <<<"$read") == "20000 2020000" ]] || { echo "ConsoleConsumer read $read" >&2; exit 1; }
printf '%s\n' one two | tool ConsoleProducer --bootstrap-server "$server" --topic tools-console
said=$(tool consumer.ConsoleConsumer --bootstrap-server "$server" --topic tools-console --from-beginning --max-messages 2)
[[ $said == $'one\ntwo' ]] || { echo "the console's consumer read $said" >&2; exit 1; }
tool TopicCommand --bootstrap-server "$server" --delete --topic 'tools.*' >/dev/null
