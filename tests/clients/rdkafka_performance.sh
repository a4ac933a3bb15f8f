#!/usr/bin/env bash
# librdkafka's own performance tool, of the version in Debian: so many records of 100 B are produced, and read again.
#
#   rdkafka_performance.sh install FOLDER         gets the source package, and builds the tool in FOLDER
#   rdkafka_performance.sh FOLDER SERVER SCRATCH  runs it; MILLRACE_RECORDS: how many records [500000]
set -euo pipefail

install() {
    local folder=$1
    [[ -x $folder/tool ]] && return
    mkdir -p "$folder/lists/partial"
    apt-get install -y -qq librdkafka-dev >/dev/null
    # Only here, and not on the machine, are sources a thing to be had.
    echo "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian bookworm main" \
        >"$folder/sources.list"
    local here=(-o "Dir::Etc::sourcelist=$folder/sources.list" -o Dir::Etc::sourceparts=- -o "Dir::State::lists=$folder/lists"
        -o APT::Sandbox::User=root)
    apt-get -qq "${here[@]}" update
    (cd "$folder" && apt-get -qq "${here[@]}" source --download-only librdkafka && tar xf librdkafka_*.orig.tar.*)
    local source
    source=$(echo "$folder"/librdkafka-*/src)
    # The tool includes a header that includes what a configured source would have.
    touch "$source/../config.h"
    gcc -O2 -w -D_GNU_SOURCE -I/usr/include/librdkafka -I"$source" "$source/../examples/rdkafka_performance.c" \
        -o "$folder/tool" -lrdkafka -lm -lpthread -lz
}

if [[ $1 == install ]]; then
    install "$2"
    exit
fi
tool=$1/tool server=$2 records=${MILLRACE_RECORDS:-500000}
# The same waits and buffers for a million records a second as for a few.
produced=$("$tool" -P -b "$server" -t performance -p 0 -s 100 -c "$records" -a 1 -q -X linger.ms=20 \
    -X queue.buffering.max.messages=2000000 2>/dev/null | tail -1)
echo "$produced"
grep -q " $records delivered (.* 0 failed)" <<<"$produced" || { echo "not all were delivered: $produced" >&2; exit 1; }
consumed=$("$tool" -C -b "$server" -t performance -p 0 -o beginning -c "$records" -q 2>/dev/null | grep consumed)
echo "$consumed"
grep -q "^% $records messages" <<<"$consumed" || { echo "not all were consumed: $consumed" >&2; exit 1; }
