#!/bin/sh
# Lease tables side by side: what workers of ours, of the Java KCL 2.x and of kcl-rs ask of the same DynamoDB-compatible server, and how
# long a shard stands still when its worker is stopped or killed. Failover time 10 s, which kcl-rs has built in, everywhere.
#
# Traffic: fleets of one and of two workers each on 8 shards, a record a second into each, a checkpoint every 10 s, all
# fleets at the same time; the server writes down each request, and they are counted in windows after a start.
# Gaps: two workers share 4 shards, a record each 50 ms into each; one is stopped (SIGTERM) or killed (SIGKILL); the gap of each shard
# that it had is from then to the first record that the other one gets. Every setting that is not named is the library's default,
# the pause between two reads among them: 1 s here and in kcl-rs' options, 1.5 s in the Java KCL.
#
# Usage: tests/bench/consumers/leases.sh [--windows 3] [--window-seconds 120] [--warm-up-seconds 120] [--rounds 3] [--only WORD,WORD] [--json FILE]
#   --only   of: traffic gaps; of the libraries: kcl kcl-longest java-kcl kcl-rs
# Takes about 8 minutes for the traffic and 15 for the gaps. A tool that is missing gets a skip line.
#
# The JSON: {"suite":"consumer-leases","settings":{...},"rows":[{"name","scenario","unit","values":{"min","median","max"},"samples"}]}
name=consumer-leases
. "$(dirname "$0")/../../interop/common.sh"
. "$(dirname "$0")/../../interop/java/build.sh"
. "$(dirname "$0")/peers.sh"

windows=3
window=120
warm_up=120
rounds=3
only=
json=
while [ $# -gt 0 ]; do
    [ $# -gt 1 ] || fail "$1 needs a value"
    case $1 in
    --windows) windows=$2 ;;
    --window-seconds) window=$2 ;;
    --warm-up-seconds) warm_up=$2 ;;
    --rounds) rounds=$2 ;;
    --only) only=$2 ;;
    --json) json=$2 ;;
    *) fail "there is no option $1" ;;
    esac
    shift 2
done
parts=$(chosen traffic gaps)
libraries=$(chosen kcl kcl-longest java-kcl kcl-rs)
shards=8

build_ours
find_java
find_kcl_rs
export DYNAMODB_REQUESTS="$scratch/requests" DYNAMODB_LIFETIME=7200
dynamodb=$("$root/tests/interop/dynamodb/start.sh" "$scratch") || { [ $? = 75 ] && exit 0; exit 1; }
later_stop "$(cat "$scratch/dynamodb.pid")"
table=http://127.0.0.1:$dynamodb
results=$scratch/results
: >"$results"

# worker_of <library> <stream> <application> <worker> <file>: sets $run, or nothing if its tool is missing.
worker_of() {
    run=
    case $1 in
    kcl) run="$drain worker $endpoint $table $2 $3 $4 10000 0 $5" ;;
    kcl-longest) run="$drain worker $endpoint $table $2 $3 $4 10000 5900 $5" ;;
    java-kcl) [ -z "$java_measured" ] || run="$java_measured $endpoint $table $2 $3 $4 polling work 10000 $5" ;;
    kcl-rs) [ -z "$python_measured" ] || run="$python_measured $2 $3 $4 POLLING work 10 $5" ;;
    esac
}

# Its own option takes one endpoint for everything.
start_engine() {
    start_server --limits off --stream "$1:$2"
    export AWS_ENDPOINT_URL_KINESIS="$endpoint" AWS_ENDPOINT_URL_DYNAMODB="$table" AWS_ENDPOINT_URL_CLOUDWATCH="$table"
    "$drain" tick "$endpoint" "$1" "$3" >"$scratch/tick" 2>&1 &
    ticking=$!
    later_stop $ticking
}

end_engine() {
    stop "$ticking"
    stop_server
}

traffic() {
    start_engine traffic $shards 1000
    workers=
    for library in $libraries; do
        for fleet in 1 2; do
            number=0
            while [ $number -lt $fleet ]; do
                number=$((number + 1))
                worker_of "$library" traffic "$library-$fleet" "worker-$number" "$scratch/$library-$fleet-$number.got"
                [ -n "$run" ] || continue
                # Unquoted on purpose: a command with its arguments.
                # shellcheck disable=SC2086
                $run >"$scratch/$library-$fleet-$number.log" 2>&1 &
                workers="$workers $!"
                later_stop $!
            done
        done
    done
    sleep "$warm_up"
    from=$(date +%s%3N)
    sleep $((windows * window))
    for worker in $workers; do
        kill -0 "$worker" || fail 'a worker ended by itself'
        kill -9 "$worker"
    done
    end_engine
    awk -v from="$from" -v windows="$windows" -v seconds="$window" -v shards=$shards -v libraries="$libraries" -f "$here/traffic.awk" \
        "$scratch/requests" >>"$results"
    for library in $libraries; do
        for got in "$scratch/$library"-[12]-*.got; do
            [ -s "$got" ] || continue
            echo "# $(basename "$got" .got): $(cut -f 1 "$got" | sort -u | wc -l) shards, a batch every $(awk -F '\t' -v s=$shards '
                NR == 1 { first = $NF } { last = $NF } END { printf "%.2f", (last - first) / NR / 1000 }' "$got") s"
        done
    done
}

gaps() {
    start_engine gaps 4 50
    mkdir "$scratch/gaps"
    measures=
    for how in stop kill; do
        for library in $libraries; do
            worker_of "$library" gaps '{app}' '{worker}' '{out}'
            [ -n "$run" ] || continue
            mkdir "$scratch/gaps/$library-$how"
            # Unquoted on purpose: a command with its arguments.
            # shellcheck disable=SC2086
            "$drain" gaps $how "$rounds" 15 "$scratch/gaps/$library-$how" -- $run >"$scratch/gaps/$library-$how.out" 2>&1 &
            measures="$measures $!"
            later_stop $!
        done
    done
    for measure in $measures; do
        wait "$measure" || echo "$name: a measure of gaps failed" >&2
    done
    for out in "$scratch"/gaps/*.out; do
        grep -v '^gap ' "$out" >&2 || true
        library=$(basename "$out" .out)
        sed -n "s/^gap \([a-z]*\) [0-9]* \([0-9]*\)/${library%-*} \1 s \2/p" "$out" | awk '{ $4 /= 1000; print }' >>"$results"
    done
    end_engine
}

echo "load before: $(cut -d ' ' -f 1-3 /proc/loadavg); $(nproc) cores; $versions"
for part in $parts; do
    $part
done
[ -s "$results" ] || fail 'nothing was measured'
echo "load after: $(cut -d ' ' -f 1-3 /proc/loadavg)"
awk -v json="$json" -v settings="\"failover_time_s\":10,\"checkpoint_interval_s\":10,\"rounds\":$rounds,\"windows\":$windows,\"window_s\":$window,\"versions\":\"$versions\"" \
    -f "$here/spread.awk" "$results"
