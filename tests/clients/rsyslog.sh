#!/usr/bin/env bash
# rsyslog's omkafka (librdkafka 2.0.2 in Debian 12) ships a log file: every line, in order, while the file grows. The file is
# what another rsyslog writes for the programs of a machine: they log by `logger`, as scripts do, what the package manager has
# written of this machine's packages, among it those of this test.
#
# rsyslog.sh SERVER SCRATCH
set -euo pipefail
server=$1 folder=$2.rsyslog topic=rsyslog packages=/var/log/dpkg.log
mkdir -p "$folder"
writer='' shipper=''
trap 'kill $writer $shipper 2>/dev/null || true; wait; rm -rf "$folder"' EXIT
cat >"$folder/writer.conf" <<CONF
global(workDirectory="$folder")
module(load="imuxsock" SysSock.Use="off")
input(type="imuxsock" socket="$folder/socket" ruleset="write" rateLimit.interval="0")
ruleset(name="write") {
    action(type="omfile" file="$folder/log" template="RSYSLOG_TraditionalFileFormat")
}
CONF
cat >"$folder/shipper.conf" <<CONF
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
# Until a condition holds; at most 20 s.
until_true() {
    for _ in $(seq 200); do
        if "$@"; then return; fi
        sleep 0.1
    done
    echo "not within 20 s: $*" >&2
    return 1
}
lines() { wc -l <"$folder/log"; }
has_lines() { (($(lines) >= $1)); }
has_topic() { kcat -q -b "$server" -L | grep -q "topic \"$topic\""; }
log() { logger -u "$folder/socket" -t "$@"; }

rsyslogd -n -f "$folder/writer.conf" -i "$folder/writer.pid" &
writer=$!
until_true test -S "$folder/socket"
head -n 5000 "$packages" >"$folder/said"
log dpkg -f "$folder/said"
said=$(grep -c . "$folder/said")
((said > 100))
until_true has_lines "$said"
rsyslogd -n -f "$folder/shipper.conf" -i "$folder/shipper.pid" &
shipper=$!
until_true has_topic
shipped() { timeout 40 kcat -q -b "$server" -C -t "$topic" -o beginning -c "$(lines)" | cmp - "$folder/log"; }
shipped
# While it is shipped, the log grows.
for number in $(seq 300); do
    log cron "(root) CMD (true $number)"
done
until_true has_lines "$((said + 300))"
shipped
echo "shipped $(lines) lines, $said of them from $packages"
