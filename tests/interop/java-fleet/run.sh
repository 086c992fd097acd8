#!/bin/sh
# One application, two workers of the Java KCL 2.x and two of our kcl on one lease table, while our kpl puts: random starts,
# clean stops and kill -9 of either kind, and a split of every shard half way. Every record must be delivered where it was put,
# in order within each holding, children after parents; in the end no lease is stuck, and Java's logs tell of no row that
# it could not read.
#
# Usage: tests/interop/java-fleet/run.sh (see ../common.sh for the variables it takes)
#   FLEET_SECONDS=<n>  for how long workers come and go once both kinds deliver (default: 40; the long form is 600)
#   FLEET_SEED=<n>     decides who comes and goes when (default: 1)
#   FLEET_STREAMS=<n>  how many streams the application reads, with Java's keys for several (default: 1)
name=${name:-java-fleet}
. "$(dirname "$0")/../common.sh"
. "$(dirname "$0")/../java/build.sh"
. "$(dirname "$0")/../helper/build.sh"

build_java kcl 2.7.2
build_helper
dynamodb=$("$root/tests/interop/dynamodb/start.sh" "$scratch") || { [ $? = 75 ] && exit 0; exit 1; }
later_stop "$(cat "$scratch/dynamodb.pid")"
streams=fleet
set -- --stream fleet:4
if [ "${FLEET_STREAMS:-1}" -gt 1 ]; then
    streams=
    set --
    while [ $# -lt $((FLEET_STREAMS * 2)) ]; do
        stream=fleet-$(($# / 2 + 1))
        streams=$streams${streams:+,}$stream
        set -- "$@" --stream "$stream:2"
    done
fi
start_server --state-delay-ms 300 "$@"

mkdir "$scratch/fleet"
# Unquoted on purpose: $java is a command with its options.
# shellcheck disable=SC2086
"$helper" fleet --endpoint "$endpoint" --stream "$streams" --dynamodb "http://127.0.0.1:$dynamodb" \
    --seconds "${FLEET_SECONDS:-40}" --seed "${FLEET_SEED:-1}" --directory "$scratch/fleet" -- \
    $java -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -cp "$classpath" KclWorker \
    >"$scratch/out" 2>"$scratch/err" || {
    cat "$scratch/err" "$scratch/out" >&2
    for log in "$scratch"/fleet/*.log; do
        echo "--- $(basename "$log")" >&2
        grep -v '^[[:space:]]*at ' "$log" | tail -n 15 >&2
    done
    fail 'the fleet lost something, mixed something up, or left something stuck'
}
# The serializer and what it reads attributes with, in a message or in a stack trace. A lease that is gone is not among it:
# a worker that was late finds the lease of a finished shard cleaned up, and says so.
unreadable='LeaseSerializer|DynamoUtils|eserializ|NumberFormatException|ClassCastException|NullPointerException'
if grep -hE "$unreadable" "$scratch"/fleet/java-*.log >"$scratch/unreadable"; then
    head -n 20 "$scratch/unreadable" >&2
    fail 'a Java worker could not read a row'
fi
echo "$name: $(cat "$scratch/out")"
stop_server
