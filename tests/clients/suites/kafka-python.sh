#!/usr/bin/env bash
# kafka-python's own integration tests, from its source distribution, with the library as it is installed.
#
#   kafka-python.sh install FOLDER             gets both
#   kafka-python.sh list FOLDER                a line for each test
#   kafka-python.sh run FOLDER SERVER ALONE TEST...
#                                              runs some: passed, failed or skipped, and its name; ALONE is all that its clients
#                                              see of a cluster, as some tests want it
set -euo pipefail
version=3.0.12
folder=$2 source=$2/kafka_python-$version
# The release that the tests are to expect; a folder that is there, where they look for a broker to start.
export KAFKA_VERSION=4.1.0 KAFKA_ROOT=/tmp

install() {
    [[ -e $folder/installed ]] && return
    mkdir -p "$folder"
    [[ -d $folder/python ]] || python3 -m venv "$folder/python"
    local pip=("$folder/python/bin/python" -m pip)
    "${pip[@]}" install -q --prefer-binary "kafka-python==$version" pytest==9.2.0 pytest-mock==3.17.0 pytest-timeout==2.4.0 \
        pytest-xdist==3.8.0 trustme==1.2.1 cramjam==2.14.0 lz4==4.4.5 python-snappy==0.7.3 zstandard
    "${pip[@]}" download -q --no-binary :all: --no-deps -d "$folder" "kafka-python==$version"
    rm -rf "$source"
    tar xf "$folder/kafka_python-$version.tar.gz" -C "$folder"
    # What is tested is the library that is installed.
    mv "$source/kafka" "$source/kafka.not-this"
    # Two files of the tests that the distribution lacks: what makes a package of them, and who starts a broker. Here nobody.
    touch "$source/test/__init__.py"
    cat >"$source/test/service.py" <<'PYTHON'
class ExternalService:
    def __init__(self, host, port):
        self.host, self.port = host, port

    def open(self):
        pass

    def stop(self):
        pass


class SpawnedService:
    def __init__(self, *_arguments):
        raise RuntimeError("these tests are pointed at a broker; they start none")
PYTHON
    touch "$folder/installed"
}

pytest() {
    cd "$source"
    "$folder/python/bin/python" -m pytest -p no:cacheprovider -W ignore "$@"
}

list() {
    pytest test/integration --collect-only -q | sed -n 's,^test/integration/,,p'
}

# Runs tests in a session of their own, some at a time, and tells of each.
session() {
    local name=$1 server=${2%%,*} run=$folder/run
    shift 2
    (($#)) || return 0
    KAFKA_URI=kafka://$server pytest -n 4 -q --tb=short --timeout-method=signal --junitxml="$run/$name.xml" \
        "${@/#/test/integration/}" >"$run/$name.log" 2>&1 || true
    python3 - "$run/$name.xml" <<'PYTHON'
import sys
import xml.etree.ElementTree as tree

outcomes = {"failure": "failed", "error": "failed", "skipped": "skipped"}
for case in tree.parse(sys.argv[1]).iter("testcase"):
    _, _, module, *classes = case.get("classname").split(".")
    told = [outcomes[child.tag] for child in case if child.tag in outcomes]
    print(*told[:1] or ["passed"], "::".join([module + ".py", *classes, case.get("name")]))
PYTHON
}

run() {
    local server=$1 alone=$2 test among=() by_itself=()
    shift 2
    rm -rf "$folder/run"
    mkdir -p "$folder/run"
    for test in "$@"; do
        # They put partitions on brokers: with one, that is known beforehand.
        case $test in
        *::test_create_partitions | *::test_alter_partition_reassignments) by_itself+=("$test") ;;
        *) among+=("$test") ;;
        esac
    done
    session among "$server" "${among[@]}"
    session alone "$alone" "${by_itself[@]}"
}

"$1" "${@:3}"
