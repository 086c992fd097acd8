#!/bin/sh
# The public test-suite of the emulator kinesalite, whose expectations its author took from the real service between 2014
# and 2020, against our server: every case passes but those in expected-failures.txt, which contradict today's service
# (docs/simulator-differences.md says how each is known). A listed case that passes is a failure here too.
#
# Usage: tests/interop/kinesalite/run.sh (see ../common.sh for the variables it takes)
#   KINESALITE_SUITE=<folder>  a checkout of kinesalite 3.3.3: the npm package comes without its test/
name=kinesalite
. "$(dirname "$0")/../common.sh"

if [ -n "${KINESALITE_SUITE:-}" ] && [ ! -f "$KINESALITE_SUITE/test/helpers.js" ]; then
    fail "KINESALITE_SUITE=$KINESALITE_SUITE has no test/helpers.js: name a checkout of kinesalite 3.3.3"
fi
# kinesalite for the suite's own arithmetic (and its tests, should a version ship them); the rest is what the suite uses.
install_node kinesalite@3.3.3 mocha@6.2.3 should@13.2.3 aws4@1.13.2 async@2.6.4 once@1.4.0 bignumber.js@9.1.2 cbor@5.2.0
suite=${KINESALITE_SUITE:-$node_modules/kinesalite}
[ -f "$suite/test/helpers.js" ] ||
    skip 'the npm package comes without its tests (check out tag v3.3.3 of its repository and set KINESALITE_SUITE)'

# The suite's own shard limit is 50, and one case asks for 1,000 shards to exceed it.
start_server --tls-port 0 --limits aws --shard-limit 50 --state-delay-ms 300

# One case waits more than five minutes for an iterator to expire; tests/ of kinesis-sim does that in virtual time.
KINESIS_PORT=$port KINESIS_TLS_PORT=$tls_port KINESALITE_MODULES=$node_home \
    node "$node_modules/mocha/bin/mocha" --exit --require "$here/preload.js" --require should --timeout 8s \
    --reporter json --grep 'has expired' --invert "$suite/test/*.js" >"$scratch/report.json" 2>"$scratch/report.err" || true

node "$here/compare.js" "$scratch/report.json" "$here/expected-failures.txt" || {
    head -c 2000 "$scratch/report.err" >&2
    exit 1
}
