#!/bin/sh
# The Java KPL, its native program included, writes to the engine over TLS, through a split; our kcl reads. Every record
# must be where the KPL was told it is, with its key, explicit hash key and data, members of an aggregate numbered from 0.
#
# Usage: tests/interop/java-kpl/run.sh (see ../common.sh for the variables it takes)
name=java-kpl
. "$(dirname "$0")/../common.sh"
. "$(dirname "$0")/../java/build.sh"
. "$(dirname "$0")/../helper/build.sh"

build_java kpl
build_helper
start_server --tls-port 0 --write-ca "$ca" --state-delay-ms 300 --stream kpl:2

count=6000
# Where the native program is unpacked to.
mkdir "$scratch/native"
# Unquoted on purpose: $java is a command with its options.
# shellcheck disable=SC2086
timeout 100 $java -Dorg.slf4j.simpleLogger.defaultLogLevel=warn "-Djava.io.tmpdir=$scratch/native" -cp "$classpath" \
    KplWriter "$tls_port" kpl $count 1000 "$scratch/put" >"$scratch/writer.out" 2>&1 &
writer=$!
later_stop $writer
wait_for began "$scratch/writer.out" $writer 300 || fail 'the KPL puts nothing'
"$helper" split --endpoint "$endpoint" --stream kpl >"$scratch/split"
wait $writer || {
    cat "$scratch/writer.out" >&2
    fail 'the KPL failed'
}
"$helper" scan --endpoint "$endpoint" --stream kpl --expect $count --out "$scratch/got" >"$scratch/scan"
result=$("$helper" check --put "$scratch/put" --got "$scratch/got" --endpoint "$endpoint" --stream kpl) ||
    fail 'what the KPL wrote is not what kcl read'
echo "$name: written by the Java KPL over TLS, $(cat "$scratch/split"): $result"
stop_server
