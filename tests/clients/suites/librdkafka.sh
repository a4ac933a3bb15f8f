#!/usr/bin/env bash
# librdkafka's own tests, of the version in Debian: from its source package, with the library as Debian built it.
#
#   librdkafka.sh install FOLDER                  gets the sources and Kafka's own tools, and builds the tests
#   librdkafka.sh list FOLDER                     a line for each test
#   librdkafka.sh run FOLDER SERVER ASKED TEST... runs some: passed, empty or skipped, and its name; ASKED is a broker that
#                                                 makes topics only when it is asked to, which some of them want
# A test is chosen by its number: what has the same number runs with it.
set -euo pipefail
folder=$2 source=$2/source/tests kafka=4.3.0
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

# In quick mode nothing is left of these but their names.
never_quick=" 0018 0019 0022 0026 0045 0061 0082 0102 0122 0132 0137 "
# They bend the sockets of their process, and disturb each other and all else in it: each has one of its own.
sockets=" 0049 0068 0075 0076 0086 0088 0094 "

install() {
    [[ -e $folder/installed ]] && return
    rm -rf "$folder"
    mkdir -p "$folder/lists/partial" "$folder/source" "$folder/kafka/bin"
    apt-get install -y -qq g++ make librdkafka-dev libssl-dev zlib1g-dev rapidjson-dev >/dev/null
    # Only here, and not on the machine, are sources a thing to be had.
    echo "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian bookworm main" \
        >"$folder/sources.list"
    local apt=(apt-get -qq -o "Dir::Etc::sourcelist=$folder/sources.list" -o Dir::Etc::sourceparts=-
        -o "Dir::State::lists=$folder/lists" -o APT::Sandbox::User=root)
    "${apt[@]}" update
    (cd "$folder" && "${apt[@]}" source --download-only librdkafka &&
        tar xf librdkafka_*.orig.tar.* -C source --strip-components 1)
    bash "$here/librdkafka.sh" build "$folder" >"$folder/build.log" 2>&1 || { tail -5 "$folder/build.log" >&2; exit 1; }
    # Kafka's own tool, where the tests look for it.
    mvn -q -f "$here/../java/pom.xml" dependency:copy-dependencies -Dkafka="$kafka" -DoutputDirectory="$folder/kafka/jars" >/dev/null
    printf '#!/bin/sh\nexec java -cp "%s/*" org.apache.kafka.tools.TopicCommand "$@"\n' "$folder/kafka/jars" \
        >"$folder/kafka/bin/kafka-topics.sh"
    chmod +x "$folder/kafka/bin/kafka-topics.sh"
    touch "$folder/installed"
}

# All steps of its makefile but the last, which would link another library than Debian's.
build() {
    (cd "$folder/source" && ./configure --disable-sasl)
    cd "$source"
    touch ../src/librdkafka.a ../src-cpp/librdkafka++.a
    local objects
    objects=$(make -pn | sed -n 's/^test-runner: //p' | tr ' ' '\n' | grep '\.o$')
    make -j "$(nproc)" CPPFLAGS="-fPIC -I../src -I../../src" CFLAGS="-O0 -w" CXXFLAGS="-O0 -w -I../src-cpp" $objects
    g++ -rdynamic $objects -o test-runner -lrdkafka++ -lrdkafka -lm -lpthread -lz -ldl -lrt
}

list() {
    sed -n '/^struct test tests/,/NULL}}/s/^ *_TEST(\([0-9a-z_]*\).*/\1/p' "$source/test.c"
}

# Runs tests in a process of their own, twelve at a time, and tells of each. One that ends in no time did nothing.
process() {
    local name=$1 scenario=$2 server=$3 mode=$4 run=$folder/run/$1 numbers
    shift 4
    (($#)) || return 0
    mkdir -p "$run"
    printf 'bootstrap.servers=%s\nbroker.address.family=v4\n' "$server" >"$run/test.conf"
    numbers=("${@%%_*}")
    (cd "$source" && TESTS=${numbers[*]} TEST_KAFKA_VERSION=3.9.0 TEST_SCENARIO=$scenario RDKAFKA_TEST_CONF=$run/test.conf \
        KAFKA_PATH=$folder/kafka BROKERS=$server timeout 150 stdbuf -oL ./test-runner -p12 -L $mode >"$run/log" 2>&1) || true
    sed 's/\x1b\[[0-9;]*m//g' "$run/log" | awk -v asked="$*" '
        BEGIN { split(asked, names, " "); for (n in names) is_asked[names[n]] = 1 }
        match($0, /[0-9][0-9][0-9][0-9]_[0-9a-z_]+: duration [0-9.]+ms$/) {
            split(substr($0, RSTART, RLENGTH), words, /: duration |ms/); took[words[1]] = words[2]
        }
        match($0, /=+ Test [0-9][0-9][0-9][0-9]_[0-9a-z_]+ (PASSED|SKIPPED) =+/) {
            split(substr($0, RSTART, RLENGTH), words, " ")
            how = words[4] == "SKIPPED" ? "skipped" : (words[3] in took) && took[words[3]] < 1 ? "empty" : "passed"
            if (words[3] in is_asked) print how, words[3]
        }'
}

run() {
    local server=${1%%,*} asked=${2%%,*} test
    local -A groups=()
    # The names in the rows of the table that have the scenario.
    local want_asked
    want_asked=" $(tr -d '\n' <"$source/test.c" | sed 's/_TEST(/\n/g' | sed -n 's/^\([0-9a-z_]*\),.*"noautocreate".*/\1/p' | xargs) "
    shift 2
    rm -rf "$folder/run"
    for test in "$@"; do
        if [[ $want_asked == *" $test "* ]]; then groups[asked]+=" $test"
        elif [[ $sockets == *" ${test%%_*} "* ]]; then groups[sockets]+=" $test"
        elif [[ $never_quick == *" ${test%%_*} "* ]]; then groups[full]+=" $test"
        else groups[quick]+=" $test"; fi
    done
    process quick default "$server" -Q ${groups[quick]:-} &
    process full default "$server" "" ${groups[full]:-} &
    # By another name than the brokers have, so that the leader is one that is dialled anew: 0086 wants to catch it at that.
    for test in ${groups[sockets]:-}; do
        process "$test" default "${server/127.0.0.1/localhost}" -Q "$test" &
    done
    # The other test of this scenario's number hangs (see the list).
    SUBTESTS=non_exist_and_partchange process asked noautocreate "$asked" "" ${groups[asked]:-} &
    wait
}

"$1" "${@:3}"
