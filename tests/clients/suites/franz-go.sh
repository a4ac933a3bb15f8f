#!/usr/bin/env bash
# The tests of franz-go's client, pkg/kgo, of the version that tests/clients/go pins.
#
#   franz-go.sh install FOLDER             gets and builds them
#   franz-go.sh list FOLDER                a line for each test
#   franz-go.sh run FOLDER SERVER TEST...  runs some against a broker: passed, failed or skipped, and its name
set -euo pipefail
folder=$2 tests=$2/kgo.test
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export PATH=$PATH:/usr/local/go/bin

install() {
    mkdir -p "$folder"
    (cd "$here/../go" && go test -c -vet=off -o "$tests" github.com/twmb/franz-go/pkg/kgo)
}

list() { "$tests" -test.list '^Test'; }

# One process for each test, four at a time: what one leaves behind is not in the way of another.
one() {
    local server=$1 test=$2 run=$folder/run
    KGO_SEEDS=$server KGO_TEST_RF=1 KGO_TEST_RECORDS=${KGO_TEST_RECORDS:-20000} KGO_TEST_MAX_TOPIC_PARTS=7 KGO_LOG_LEVEL=info \
        "$tests" -test.run "^$test\$" -test.v -test.timeout 120s >"$run/$test.log" 2>&1 || true
    if grep -q "^--- PASS: $test " "$run/$test.log"; then echo "passed $test"
    elif grep -q "^--- SKIP: $test " "$run/$test.log"; then echo "skipped $test"
    else echo "failed $test"; fi
}

run() {
    local server=${1%%,*}
    shift
    mkdir -p "$folder/run"
    rm -f "$folder"/run/*
    export -f one
    export folder tests
    printf '%s\n' "$@" | xargs -P 4 -I TEST bash -c "one $server TEST"
}

"$1" "${@:3}"
