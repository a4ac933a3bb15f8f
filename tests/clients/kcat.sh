#!/usr/bin/env bash
# kcat (librdkafka 2.0.2 in Debian 12): produce with every codec to a topic that is made by that, list it, consume from
# the beginning, by time, at the tail.
set -euo pipefail
servers=$1 topic=kcat

kc() { timeout 30 kcat -q -b "$servers" "$@"; }
same() { [[ $1 == "$2" ]] || { echo "wanted $2, got $1" >&2; exit 1; }; }

wanted=
for codec in none gzip snappy lz4 zstd; do
    values=$(seq -f "$codec-%g" 200)
    kc -P -t "$topic" -z "$codec" <<<"$values"
    wanted+=$values$'\n'
done
same "$(kc -C -t "$topic" -o beginning -e)" "${wanted%$'\n'}"
same "$(kc -L -J | grep -c "\"topic\":\"$topic\"")" 1

sleep 0.05
now=$(date +%s%3N)
kc -P -t "$topic" <<<late
same "$(kc -Q -t "$topic:0:$now")" "$topic [0] offset 1000"
same "$(kc -C -t "$topic" -o "s@$now" -e)" late
same "$(kc -C -t "$topic" -o -2 -e)" $'zstd-200\nlate'

kc -C -t "$topic" -o end -c 1 >"$2" &
consumer=$!
# Until it stands at the tail there is nothing to see of it.
for _ in $(seq 50); do
    kc -P -t "$topic" <<<tail
    sleep 0.2
    kill -0 $consumer 2>/dev/null || break
done
wait $consumer
same "$(cat "$2")" tail
