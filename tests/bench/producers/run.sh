#!/bin/sh
# Producers side by side against the engine, end to end over real sockets: confirmed 100-byte records a second, and CPU time a record
# of the producer's processes (the engine's is not counted). Ours (over HTTP and over TLS), a plain loop of PutRecords with the SDK, the
# Java KPL over TLS (it speaks nothing else), and aiokpl. Runs alternate; medians. Every limit is off, on all sides.
#
# Usage: tests/bench/producers/run.sh [rounds, 3] [records of a fast producer, 2000000] [JSON file]
# Builds what it measures with optimisation. A tool that is missing gets a skip line.
name=producers
. "$(dirname "$0")/../../interop/common.sh"
. "$(dirname "$0")/../../interop/java/build.sh"

rounds=${1:-3}
fast=${2:-2000000}
json=${3:-}
slow=$((fast / 20))
shards=32

target=${CARGO_TARGET_DIR:-$root/target}
(cd "$root" && cargo build --release --quiet -p kpl --example load &&
    { [ -n "${KINESIS_SIM:-}" ] || cargo build --release --quiet -p kinesis-sim --features server --bin kinesis-sim; }) ||
    fail 'what is to be measured does not build'
load=$target/release/examples/load
sim=${KINESIS_SIM:-$target/release/kinesis-sim}

# In a shell of its own: what skips there only leaves a line here.
said=$(build_java kpl && echo "classpath $classpath")
case $said in
"classpath "*) classpath=${said#classpath } ;;
*) echo "$said" && classpath= ;;
esac
python=
if command -v python3 >/dev/null 2>&1; then
    venv=$tools/aiokpl-0.2.0
    [ -x "$venv/bin/python" ] || python3 -m venv "$venv" || rm -rf "$venv"
    if [ -x "$venv/bin/pip" ] && "$venv/bin/pip" install --quiet --disable-pip-version-check aiokpl==0.2.0 >"$scratch/pip" 2>&1; then
        python=$venv/bin/python
    else
        echo "skip: $name: aiokpl cannot be installed (pip install aiokpl)"
    fi
else
    echo "skip: $name: python3 is not installed (https://www.python.org)"
fi

# run <name in the table> <command>: on an engine that is empty, since one log is kept in memory.
results=$scratch/results
run() {
    label=$1
    shift
    echo "$label" >&2
    if "$@" >"$scratch/out" 2>&1 && grep '^result ' "$scratch/out" >"$scratch/line"; then
        sed "s/^result [^ ]*/$label/" "$scratch/line" >>"$results"
    else
        tail -n 20 "$scratch/out" >&2
        echo "$name: $label failed in this round" >&2
    fi
}

mkdir "$scratch/native"
round=0
while [ "$round" -lt "$rounds" ]; do
    round=$((round + 1))
    for which in kpl-http kpl-many-http kpl-tls sdk-http java-kpl-tls aiokpl-http; do
        case $which in
        java-*) [ -n "$classpath" ] || continue ;;
        aiokpl-*) [ -n "$python" ] || continue ;;
        esac
        start_server --limits off --tls-port 0 --write-ca "$ca" --stream "load:$shards"
        case $which in
        kpl-http) run $which "$load" kpl "$endpoint" load "$fast" ;;
        kpl-many-http) run $which "$load" kpl-many "$endpoint" load "$fast" ;;
        kpl-tls) run $which "$load" kpl "$tls_endpoint" load "$fast" "$ca" ;;
        sdk-http) run $which "$load" sdk "$endpoint" load $((fast / 4)) ;;
        # shellcheck disable=SC2086 # $java is a command with its options
        java-kpl-tls) run $which timeout 300 $java -XX:TieredStopAtLevel=4 -Dorg.slf4j.simpleLogger.defaultLogLevel=warn \
            "-Djava.io.tmpdir=$scratch/native" -cp "$classpath" KplLoad "$tls_port" load $((fast / 4)) ;;
        aiokpl-http) run $which timeout 300 "$python" "$here/aiokpl_load.py" "$endpoint" load "$slow" ;;
        esac
        stop_server
    done
done

[ -s "$results" ] || fail 'nothing was measured'
sort -k1,1 "$results" | awk -v json="$json" '
    function median(list, count,   i, j, t) {
        for (i = 2; i <= count; i++)
            for (j = i; j > 1 && list[j] < list[j - 1]; j--) { t = list[j]; list[j] = list[j - 1]; list[j - 1] = t }
        return list[int((count + 1) / 2)]
    }
    function finish(   rate, cpu) {
        if (name == "") return
        rate = median(rates, n); cpu = median(cpus, n)
        line[++rows] = name; rate_of[rows] = rate; cpu_of[rows] = cpu
        low[rows] = rates[1]; high[rows] = rates[n]; rounds_of[rows] = n
        if (name == "kpl-http") { our_rate = rate; our_cpu = cpu }
    }
    $1 != name { finish(); name = $1; n = 0 }
    { n++; rates[n] = $2 / $3; cpus[n] = $4 * 1e6 / $2 }
    END {
        finish()
        printf "%-16s %12s %12s %12s %14s %10s %10s\n", "producer", "records/s", "lowest", "highest", "CPU us/record", "rate", "CPU"
        for (i = 1; i <= rows; i++) {
            printf "%-16s %12.0f %12.0f %12.0f %14.3f %9.2fx %9.2fx\n", line[i], rate_of[i], low[i], high[i], cpu_of[i], our_rate / rate_of[i], cpu_of[i] / our_cpu
            if (json != "") printf "%s{\"producer\":\"%s\",\"records_per_second\":%.0f,\"lowest\":%.0f,\"highest\":%.0f,\"cpu_us_per_record\":%.4f,\"rounds\":%d}%s\n", (i == 1 ? "[\n" : ""), line[i], rate_of[i], low[i], high[i], cpu_of[i], rounds_of[i], (i == rows ? "\n]" : ",") >json
        }
        print "rate: how many times faster kpl-http is; CPU: how many times as much CPU time a record takes"
    }'
