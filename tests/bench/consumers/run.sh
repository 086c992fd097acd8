#!/bin/sh
# Consumers side by side: each drains the same stream of the engine from its beginning to its end over real sockets, and must
# prove by a count and a digest that it got every record once. Ours (polling, enhanced fan-out, scan; leases in
# DynamoDB, SQLite, memory), the Java KCL 2.x and kcl-rs (polling and fan-out), harlow/kinesis-consumer, and as the floor a plain loop of
# GetRecords with the SDK. Whoever keeps leases or checkpoints in DynamoDB keeps them in the same dynalite. Runs alternate; medians.
#
# Usage: tests/bench/consumers/run.sh [--rounds 3] [--records 2000000] [--shards 64] [--only WORD,WORD] [--json FILE]
#   --only   of the consumers: sdk-loop kcl kcl-memory kcl-sqlite kcl-fan-out scan java-kcl java-kcl-fan-out kcl-rs kcl-rs-fan-out
#            go-harlow; of the scenarios: aggregated plain limited
# Aggregated and plain run with every limit off. Limited is aggregated on an eighth of the shards and half of the records with the
# service's limits in force: two MiB and five calls a second and shard, which nobody can be faster than.
# Builds what it measures with optimisation. A tool that is missing gets a skip line. KINESIS_SIM, DRAIN: programs that were built before; WORK: see ../../interop/common.sh.
#
# The JSON: {"suite":"consumers","settings":{...},"rows":[{"name","scenario","rounds","records_per_s":{"min","median","max"},
#   "cpu_s":{...},"peak_rss_mib":{...},"start_s":{...},"engine_cpu_s":{...},"table_cpu_s":{...}}]}
name=consumers
. "$(dirname "$0")/../../interop/common.sh"
. "$(dirname "$0")/../../interop/java/build.sh"
. "$(dirname "$0")/peers.sh"

rounds=3
records=2000000
shards=64
only=
json=
while [ $# -gt 0 ]; do
    [ $# -gt 1 ] || fail "$1 needs a value"
    case $1 in
    --rounds) rounds=$2 ;;
    --records) records=$2 ;;
    --shards) shards=$2 ;;
    --only) only=$2 ;;
    --json) json=$2 ;;
    *) fail "there is no option $1" ;;
    esac
    shift 2
done

consumers=$(chosen sdk-loop kcl kcl-memory kcl-sqlite kcl-fan-out scan java-kcl java-kcl-fan-out kcl-rs kcl-rs-fan-out go-harlow)
scenarios=$(chosen aggregated plain limited)
all=$records

build_ours
find_java
find_kcl_rs
find_go
export DYNAMODB_LIFETIME=7200
dynamodb=$("$root/tests/interop/dynamodb/start.sh" "$scratch") || { [ $? = 75 ] && exit 0; exit 1; }
table_server=$(cat "$scratch/dynamodb.pid")
later_stop "$table_server"
table=http://127.0.0.1:$dynamodb

# command_of <consumer>: sets $application and $run, or nothing if its tool is missing.
command_of() {
    run=
    application=$1-$scenario-$round
    case $1 in
    sdk-loop | kcl | kcl-memory | kcl-sqlite | kcl-fan-out | scan) run="$drain read $1 $records $endpoint $table load $application" ;;
    java-kcl) run="$java_measured $endpoint $table load $application worker polling read $records" ;;
    java-kcl-fan-out) run="$java_measured $endpoint $table load $application worker fanout read $records" ;;
    kcl-rs) run="$python_measured load $application worker POLLING read $records" ;;
    kcl-rs-fan-out) run="$python_measured load $application worker FANOUT read $records" ;;
    go-harlow) run="$go_measured $endpoint $table load $scenario $records" ;;
    esac
    case $1 in
    java-*) [ -n "$java_measured" ] || run= ;;
    kcl-rs*) [ -n "$python_measured" ] || run= ;;
    go-*) [ -n "$go_measured" ] || run= ;;
    esac
}

ticks_a_second=$(getconf CLK_TCK)
# cpu_of <process>: seconds of all its threads, as the system counts them.
cpu_of() {
    sed 's/.*) //' "/proc/$1/stat" | awk -v ticks="$ticks_a_second" '{ print ($12 + $13) / ticks }'
}
peak_of() {
    awk '/^VmHWM/ { print $2 / 1024 }' "/proc/$1/status"
}

results=$scratch/results
# prepare <consumer>: its lease table is there, with a lease for each shard that nobody holds. Without one the Java KCL and kcl-rs
# wait for half a minute, each time another while.
prepare() {
    case $1 in
    sdk-loop | kcl-memory | kcl-sqlite | go-harlow) ;;
    *) "$drain" leases "$endpoint" "$table" load "$application" || fail 'no leases could be made' ;;
    esac
}

# measure <consumer>: one line of results, or a line on stderr that says why not.
measure() {
    # What the one before wrote is not to be taken for this one's.
    : >"$scratch/out"
    engine_before=$(cpu_of "$server")
    table_before=$(cpu_of "$table_server")
    began=$(date +%s%3N)
    # Unquoted on purpose: commands with their arguments.
    # shellcheck disable=SC2086
    TMPDIR=$scratch AWS_ENDPOINT_URL_KINESIS=$endpoint AWS_ENDPOINT_URL_DYNAMODB=$table AWS_ENDPOINT_URL_CLOUDWATCH=$table $run \
        >"$scratch/out" 2>"$scratch/err" &
    consumer=$!
    later_stop "$consumer"
    waited=0
    # A minute and a half: what takes longer is not measured.
    until grep -q '^result ' "$scratch/out"; do
        waited=$((waited + 1))
        if [ $waited -gt 1800 ] || ! kill -0 "$consumer" 2>/dev/null; then
            tail -n 5 "$scratch/err" >&2
            echo "$name: $1, $scenario: no result in this round" >&2
            kill -9 "$consumer" 2>/dev/null || true
            return 0
        fi
        sleep 0.05
    done
    cpu=$(cpu_of "$consumer")
    peak=$(peak_of "$consumer")
    engine=$(awk "BEGIN { print $(cpu_of "$server") - $engine_before }")
    lease=$(awk "BEGIN { print $(cpu_of "$table_server") - $table_before }")
    kill -9 "$consumer" 2>/dev/null || true
    wait "$consumer" 2>/dev/null || true
    # shellcheck disable=SC2046 # words: result, count, digest, first, last
    set -- "$1" $(grep '^result ' "$scratch/out")
    if [ "$3 $4" != "$records $digest" ]; then
        echo "$name: $1, $scenario: delivered $3 records with digest $4 instead of $records with $digest" >&2
        echo "$scenario $1 wrong" >>"$results"
        return 0
    fi
    echo "$scenario $1 $(awk "BEGIN { print $records / ($6 - $5) * 1000 }") $cpu $peak $(awk "BEGIN { print ($5 - $began) / 1000 }") $engine $lease $records" >>"$results"
}

: >"$results"
echo "load before: $(cut -d ' ' -f 1-3 /proc/loadavg); $(nproc) cores; $versions"
for scenario in $scenarios; do
    # One engine for a scenario: reading takes nothing out.
    records=$all
    case $scenario in
    limited) records=$((all / 2)) && start_server --stream "load:$((shards / 8))" ;;
    *) start_server --limits off --stream "load:$shards" ;;
    esac
    filled=$("$drain" fill "$scenario" "$endpoint" load "$records") || fail 'the stream could not be filled'
    digest=${filled##* }
    round=0
    while [ "$round" -lt "$rounds" ]; do
        round=$((round + 1))
        for which in $consumers; do
            command_of "$which"
            [ -n "$run" ] || continue
            echo "$scenario, round $round: $which" >&2
            prepare "$which"
            # The service lets a shard's readers wait for up to 5 s after one large read: each begins with what is its own.
            [ "$scenario" != limited ] || sleep 6
            measure "$which"
        done
    done
    stop_server
done
[ -s "$results" ] || fail 'nothing was measured'
awk -v json="$json" -v settings="\"records\":$all,\"shards\":$shards,\"rounds\":$rounds,\"versions\":\"$versions\"" \
    -f "$here/table.awk" "$results"
# A peer that delivers some records again, as at least once allows, was told of above.
! grep -qE ' (sdk-loop|kcl|kcl-memory|kcl-sqlite|kcl-fan-out|scan) wrong$' "$results" || fail 'ours did not deliver every record once'
