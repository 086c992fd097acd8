#!/bin/sh
# Our kpl writes; the Java KCL reads, 2.x and 3.x (in the mode compatible with 2.x), each by polling and by enhanced fan-out,
# through a split, its leases in a DynamoDB-compatible server. Each of the four applications must get every record where kpl
# was told it is, with key, explicit hash key and sub-sequence number, in order within a holding and each once, children
# after parents. An aggregate that the split sent astray and kpl put again elsewhere may show as copies: the KCL drops it
# only once it knows the shard.
#
# KCL 3 wants an index on its lease table, which it does not use in this mode; this server makes none, so it logs an error
# once and goes on.
#
# Usage: tests/interop/java-kcl/run.sh (see ../common.sh for the variables it takes)
name=java-kcl
. "$(dirname "$0")/../common.sh"
. "$(dirname "$0")/../java/build.sh"
. "$(dirname "$0")/../helper/build.sh"

build_java kcl 2.7.2
classpath_2=$classpath
build_java kcl 3.5.1
classpath_3=$classpath
build_helper
dynamodb=$("$root/tests/interop/dynamodb/start.sh" "$scratch") || { [ $? = 75 ] && exit 0; exit 1; }
later_stop "$(cat "$scratch/dynamodb.pid")"
start_server --state-delay-ms 300 --stream kcl:2

# start_worker <application> <classpath> <mode>
start_worker() {
    # Unquoted on purpose: $java is a command with its options.
    # shellcheck disable=SC2086
    $java -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -cp "$2" KclWorker "$endpoint" "http://127.0.0.1:$dynamodb" \
        kcl "$1" worker "$3" "$scratch/$1.got" 2000 >"$scratch/$1.log" 2>&1 &
    workers="$workers $!"
    later_stop $!
}
workers=
start_worker polling-2 "$classpath_2" polling
start_worker fan-out-2 "$classpath_2" fanout
start_worker polling-3 "$classpath_3" polling
start_worker fan-out-3 "$classpath_3" fanout
applications='polling-2 fan-out-2 polling-3 fan-out-3'

put() {
    "$helper" put --endpoint "$endpoint" --stream kcl --count 2000 --per-second 1000 "$@" >"$scratch/writer" ||
        fail 'kpl could not put'
}
put --out "$scratch/put1"
# The split happens while all of them read.
for application in $applications; do
    for shard in shardId-000000000000 shardId-000000000001; do
        wait_for "begin $shard" "$scratch/$application.got" "$server" 900 || {
            tail -n 40 "$scratch/$application.log" >&2
            fail "$application does not begin"
        }
    done
done
put --first 2000 --split-after 1000 --out "$scratch/put2"

for application in $applications; do
    tries=0
    until "$helper" check --put "$scratch/put1" --put "$scratch/put2" --got "$scratch/$application.got" >/dev/null 2>&1; do
        tries=$((tries + 1))
        [ $tries -le 180 ] || break
        sleep 0.5
    done
    result=$("$helper" check --put "$scratch/put1" --put "$scratch/put2" --got "$scratch/$application.got" \
        --endpoint "$endpoint" --stream kcl) || {
        tail -n 20 "$scratch/$application.log" >&2
        fail "$application did not read what kpl wrote"
    }
    echo "$name: $application: $result"
done
# Their graceful stop takes longer than this script has to give.
# shellcheck disable=SC2086
kill -9 $workers
stop_server
