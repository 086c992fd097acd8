#!/bin/sh
# Producers side by side against the engine, end to end over real sockets: confirmed 100-byte records a second, CPU time a record and
# peak memory of the producer's processes (the engine's are not counted). Ours (over HTTP and over TLS), a plain loop of PutRecords with
# the SDK, the Java KPL over TLS (it speaks nothing else), aiokpl, and aws_kinesis_agg with boto3. Runs alternate; medians. Every limit is
# off, on all sides.
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
versions="kpl of this clone with aws-sdk-kinesis $(sed -n '/^name = "aws-sdk-kinesis"$/{n;s/.*"\(.*\)"/\1/p;}' "$root/Cargo.lock")"
[ -z "$classpath" ] || versions="$versions, Java KPL $(sed -n '/amazon-kinesis-producer/{n;s/.*>\(.*\)<.*/\1/p;}' \
    "$root/tests/interop/java/kpl/pom.xml") on $(java -version 2>&1 | sed -n '1s/"//gp')"

# python_for <folder> <package==version>...: $venv_python, or nothing and a skip line.
python_for() {
    venv=$tools/$1
    shift
    venv_python=
    if ! command -v python3 >/dev/null 2>&1; then
        echo "skip: $name: $1: python3 is not installed (https://www.python.org)"
        return
    fi
    [ -x "$venv/bin/python" ] || python3 -m venv "$venv" || rm -rf "$venv"
    if [ -x "$venv/bin/pip" ] && "$venv/bin/pip" install --quiet --disable-pip-version-check "$@" >"$scratch/pip" 2>&1; then
        venv_python=$venv/bin/python
        versions="$versions, $* on $(python3 --version)"
    else
        echo "skip: $name: it cannot be installed (pip install $*)"
    fi
}
python_for aiokpl-0.2.0 aiokpl==0.2.0
aiokpl=$venv_python
python_for aws-kinesis-agg-1.2.3 aws_kinesis_agg==1.2.3 boto3==1.44.3
agg=$venv_python

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
echo "load before: $(cut -d ' ' -f 1-3 /proc/loadavg); $(nproc) cores; $shards shards, $fast records of 100 bytes, $((fast / 4)) of the SDK loop and the Java KPL, $slow of the others; $versions"
round=0
while [ "$round" -lt "$rounds" ]; do
    round=$((round + 1))
    for which in kpl-http kpl-many-http kpl-tls sdk-http java-kpl-tls aiokpl-http agg-http; do
        case $which in
        java-*) [ -n "$classpath" ] || continue ;;
        aiokpl-*) [ -n "$aiokpl" ] || continue ;;
        agg-*) [ -n "$agg" ] || continue ;;
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
        aiokpl-http) run $which timeout 300 "$aiokpl" "$here/aiokpl_load.py" "$endpoint" load "$slow" ;;
        agg-http) run $which timeout 300 "$agg" "$here/agg_load.py" "$endpoint" load "$slow" ;;
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
        line[++rows] = name; rate_of[rows] = rate; cpu_of[rows] = cpu; peak_of[rows] = median(peaks, n)
        low[rows] = rates[1]; high[rows] = rates[n]; rounds_of[rows] = n
        if (name == "kpl-http") { our_rate = rate; our_cpu = cpu }
    }
    $1 != name { finish(); name = $1; n = 0 }
    { n++; rates[n] = $2 / $3; cpus[n] = $4 * 1e6 / $2; peaks[n] = $5 + 0 }
    END {
        finish()
        printf "%-16s %12s %12s %12s %14s %10s %10s %10s\n", "producer", "records/s", "lowest", "highest", "CPU us/record", "peak MiB", "rate", "CPU"
        for (i = 1; i <= rows; i++) {
            printf "%-16s %12.0f %12.0f %12.0f %14.3f %10.1f %9.2fx %9.2fx\n", line[i], rate_of[i], low[i], high[i], cpu_of[i], peak_of[i], our_rate / rate_of[i], cpu_of[i] / our_cpu
            if (json != "") printf "%s{\"producer\":\"%s\",\"records_per_second\":%.0f,\"lowest\":%.0f,\"highest\":%.0f,\"cpu_us_per_record\":%.4f,\"peak_mib\":%.1f,\"rounds\":%d}%s\n", (i == 1 ? "[\n" : ""), line[i], rate_of[i], low[i], high[i], cpu_of[i], peak_of[i], rounds_of[i], (i == rows ? "\n]" : ",") >json
        }
        print "rate: how many times faster kpl-http is; CPU: how many times as much CPU time a record takes"
    }'
