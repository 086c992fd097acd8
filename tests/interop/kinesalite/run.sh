#!/bin/sh
# The public test-suite of the emulator kinesalite, whose expectations its author took from the real service between 2014
# and 2020, against our server: every case passes but those in expected-failures.txt, which contradict today's service
# (docs/simulator-differences.md says how each is known). A listed case that passes is a failure here too.
#
# Usage: tests/interop/kinesalite/run.sh
#   KINESIS_SIM=<program>      the built server (default: target/debug/kinesis-sim)
#   KINESALITE_SUITE=<folder>  a checkout of kinesalite 3.3.3: the npm package comes without its test/
#   WORK=<directory>           where the packages are installed (default: a new one, removed at the end)
set -eu

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)
sim=${KINESIS_SIM:-${CARGO_TARGET_DIR:-$root/target}/debug/kinesis-sim}
# kinesalite for the suite's own arithmetic (and its tests, should a version ship them); the rest is what the suite uses.
packages='kinesalite@3.3.3 mocha@6.2.3 should@13.2.3 aws4@1.13.2 async@2.6.4 once@1.4.0 bignumber.js@9.1.2 cbor@5.2.0'

skip() {
    echo "skip: kinesalite: $1"
    exit 0
}

command -v node >/dev/null || skip 'node is not installed (https://nodejs.org)'
command -v npm >/dev/null || skip 'npm is not installed (https://nodejs.org)'
[ -x "$sim" ] || skip "$sim is not built (cargo build -p kinesis-sim --features server)"
if [ -n "${KINESALITE_SUITE:-}" ] && [ ! -f "$KINESALITE_SUITE/test/helpers.js" ]; then
    echo "kinesalite: KINESALITE_SUITE=$KINESALITE_SUITE has no test/helpers.js: name a checkout of kinesalite 3.3.3" >&2
    exit 1
fi

made=
server=
cleanup() {
    [ -z "$server" ] || kill "$server" 2>/dev/null || true
    [ -z "$made" ] || rm -rf "$made"
}
trap cleanup EXIT
trap 'exit 1' INT TERM
if [ -z "${WORK:-}" ]; then
    made=$(mktemp -d)
    WORK=$made
fi
mkdir -p "$WORK"

# Without install scripts: the one native addition is a store that the suite does not touch.
# Unquoted on purpose: several arguments.
# shellcheck disable=SC2086
npm install --prefix "$WORK" --no-save --no-audit --no-fund --ignore-scripts --loglevel=error $packages >/dev/null ||
    skip 'npm could not install it and its test libraries'
suite=${KINESALITE_SUITE:-$WORK/node_modules/kinesalite}
[ -f "$suite/test/helpers.js" ] ||
    skip 'the npm package comes without its tests (check out tag v3.3.3 of its repository and set KINESALITE_SUITE)'

# The suite's own shard limit is 50, and one case asks for 1,000 shards to exceed it.
"$sim" --port 0 --tls-port 0 --limits aws --shard-limit 50 --state-delay-ms 300 >"$WORK/server.out" 2>&1 &
server=$!
tries=0
until grep -q 'listening on https://' "$WORK/server.out"; do
    tries=$((tries + 1))
    if [ $tries -gt 100 ] || ! kill -0 "$server" 2>/dev/null; then
        echo 'kinesalite: the server did not start:' >&2
        cat "$WORK/server.out" >&2
        exit 1
    fi
    sleep 0.1
done
port() {
    sed -n "s|.*$1://[^ ]*:\([0-9][0-9]*\).*|\1|p" "$WORK/server.out" | head -n 1
}

# One case waits more than five minutes for an iterator to expire; tests/ of kinesis-sim does that in virtual time.
AWS_ACCESS_KEY_ID=any AWS_SECRET_ACCESS_KEY=any AWS_REGION=us-east-1 \
    KINESIS_PORT=$(port http) KINESIS_TLS_PORT=$(port https) KINESALITE_MODULES=$WORK \
    node "$WORK/node_modules/mocha/bin/mocha" --exit --require "$here/preload.js" --require should --timeout 8s \
    --reporter json --grep 'has expired' --invert "$suite/test/*.js" >"$WORK/report.json" 2>"$WORK/report.err" || true

node "$here/compare.js" "$WORK/report.json" "$here/expected-failures.txt" || {
    head -c 2000 "$WORK/report.err" >&2
    exit 1
}
