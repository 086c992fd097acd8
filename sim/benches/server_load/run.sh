#!/bin/sh
# The engine beside its peers, by one command: installs each peer through its ordinary package client into WORK, and
# runs the benchmark, whose arguments are this script's. A peer whose client is missing is skipped with a line.
set -eu

root=$(cd "$(dirname "$0")/../../.." && pwd)
WORK=${WORK:-${CARGO_TARGET_DIR:-$root/target}/bench/peers}
mkdir -p "$WORK"
WORK=$(cd "$WORK" && pwd)

ferrokinesis=0.7.0
kinesalite=3.3.3
kinesis_local=0.6.2
moto=5.2.5

if [ ! -x "$WORK/cargo/bin/ferrokinesis" ]; then
    CARGO_TARGET_DIR="$WORK/cargo-target" cargo install --quiet --locked --root "$WORK/cargo" "ferrokinesis@$ferrokinesis" ||
        echo "skip: ferrokinesis: cargo install failed"
    rm -rf "$WORK/cargo-target"
fi
echo "$ferrokinesis" >"$WORK/ferrokinesis.version"

if [ ! -e "$WORK/npm/node_modules/kinesalite" ]; then
    if command -v npm >/dev/null; then
        mkdir -p "$WORK/npm"
        (cd "$WORK/npm" && npm install --silent --no-audit --no-fund --prefix . "kinesalite@$kinesalite" "kinesis-local@$kinesis_local") ||
            echo "skip: kinesalite, kinesis-local: npm install failed"
    else
        echo "skip: kinesalite, kinesis-local: npm is not installed"
    fi
fi
echo "$kinesalite" >"$WORK/kinesalite.version"
echo "$kinesis_local" >"$WORK/kinesis-local.version"

if [ ! -x "$WORK/py/bin/moto_server" ]; then
    if python3 -m venv "$WORK/py" 2>/dev/null; then
        "$WORK/py/bin/pip" install --quiet "moto[server]==$moto" || echo "skip: moto: pip install failed"
    else
        echo "skip: moto: python3 with venv is not installed"
    fi
fi
echo "$moto" >"$WORK/moto.version"

cd "$root"
exec cargo bench -p kinesis-sim --features server --bench server_load -- --peers "$WORK" "$@"
