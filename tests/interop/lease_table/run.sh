#!/bin/sh
# The lease store in DynamoDB against servers that we did not write: the conformance suite of kcl, paging and segments,
# foreign and broken items, a table with a wrong key. Each server is started in turn, and the last lines say on which ones
# the suite ran:
#   - dynalite, from npm (tests/interop/dynamodb), which sends no item with a refusal: the store reads it itself then,
#   - moto, from PyPI.
# Not DynamoDB Local, whose licence is the vendor's own; the suite takes any endpoint:
#   DYNAMODB_ENDPOINT=http://127.0.0.1:8000 cargo test -p kcl --test lease_dynamodb server
#
# Usage: tests/interop/lease_table/run.sh [dynalite] [moto]    (default: both)
name=lease_table
. "$(dirname "$0")/../common.sh"

moto_package='moto[server,dynamodb]==5.2.5'

need cargo 'https://rustup.rs'
export AWS_EC2_METADATA_DISABLED=true

# suite <server> <port>
suite() {
    if ! (cd "$root" && DYNAMODB_ENDPOINT=http://127.0.0.1:$2 \
        cargo test --quiet -p kcl --test lease_dynamodb server -- --nocapture) >"$scratch/$1.out" 2>&1; then
        cat "$scratch/$1.out" >&2
        fail "the lease store does not conform on $1"
    fi
    checks=$(sed -n 's/^\(.*[^0-9]\)\{0,1\}\([0-9][0-9]* checks passed\).*/\2/p' "$scratch/$1.out")
    [ -n "$checks" ] || fail "the suite did not run on $1"
    ran="$ran $1 ($checks);"
}

# until_up <process id> <port>
until_up() {
    tries=0
    until python3 -c "import socket; socket.create_connection(('127.0.0.1', $2), 1)" 2>/dev/null; do
        tries=$((tries + 1))
        [ $tries -le 300 ] && kill -0 "$1" 2>/dev/null || return 1
        sleep 0.1
    done
}

free_port() {
    python3 -c "import socket; s = socket.socket(); s.bind(('127.0.0.1', 0)); print(s.getsockname()[1])"
}

on_dynalite() {
    status=0
    port=$("$root/tests/interop/dynamodb/start.sh" "$scratch/dynalite") || status=$?
    [ $status -ne 75 ] || return 0
    [ $status -eq 0 ] || fail 'dynalite did not start'
    later_stop "$(cat "$scratch/dynalite/dynamodb.pid")"
    suite dynalite "$port"
}

on_moto() {
    command -v python3 >/dev/null 2>&1 || {
        echo "skip: $name: python3 is not installed, so moto was not tried"
        return 0
    }
    venv=$tools/moto
    if [ "$(cat "$venv/installed" 2>/dev/null)" != "$moto_package" ]; then
        rm -rf "$venv"
        if ! python3 -m venv "$venv" >/dev/null 2>&1 ||
            ! "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "$moto_package"; then
            echo "skip: $name: pip could not install $moto_package"
            return 0
        fi
        printf '%s' "$moto_package" >"$venv/installed"
    fi
    port=$(free_port)
    "$venv/bin/moto_server" -H 127.0.0.1 -p "$port" >"$scratch/moto.log" 2>&1 &
    moto=$!
    later_stop "$moto"
    until_up "$moto" "$port" || {
        cat "$scratch/moto.log" >&2
        fail 'moto did not start'
    }
    suite moto "$port"
}

ran=
[ $# -gt 0 ] || set -- dynalite moto
for server in "$@"; do
    "on_$server"
done
[ -n "$ran" ] || exit 0
echo "$name: the lease store conforms on:${ran%;}"
