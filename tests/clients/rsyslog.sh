#!/usr/bin/env bash
# rsyslog's omkafka (librdkafka 2.0.2 in Debian 12) ships a log file: every line, in order, while the file grows.
#
# rsyslog.sh SERVER SCRATCH
set -euo pipefail
server=$1 folder=$2.rsyslog topic=rsyslog
mkdir -p "$folder"
trap 'kill "$shipper" 2>/dev/null || true; rm -rf "$folder"' EXIT
# Not the log of whoever runs this: what a machine writes when packages come and go, as many lines as there are.
seq -f 'Nov 21 10:00:00 web-1 nginx[42]: GET /item/%g HTTP/1.1 200 a line of a log like any other' 3000 >"$folder/log"
cat >"$folder/conf" <<CONF
global(workDirectory="$folder")
module(load="imfile")
module(load="omkafka")
template(name="line" type="string" string="%msg%")
input(type="imfile" file="$folder/log" tag="log" ruleset="ship" addMetadata="off")
ruleset(name="ship") {
    action(type="omkafka" broker=["$server"] topic="$topic" template="line"
        confParam=["compression.codec=snappy", "queue.buffering.max.ms=50"])
}
CONF
rsyslogd -n -f "$folder/conf" -i "$folder/pid" &
shipper=$!
read_all() { timeout 40 kcat -q -b "$server" -C -t "$topic" -o beginning -c "$1"; }
for _ in $(seq 100); do
    kcat -q -b "$server" -L | grep -q "topic \"$topic\"" && break
    sleep 0.1
done
read_all 3000 | cmp - "$folder/log"
seq -f 'Nov 21 10:00:01 web-1 nginx[42]: GET /late/%g HTTP/1.1 404' 500 >>"$folder/log"
read_all 3500 | cmp - "$folder/log"
