#!/bin/sh
# Every command of docs/simulator.md, in order, as a reader would type it, with the AWS CLI and curl: only the ports are others.
# The page's builds and examples are left to .ci/run, and its code in Rust to the doc tests.
#
# Usage: tests/interop/simulator-docs/run.sh (see ../common.sh for the variables it takes)
name=simulator-docs
. "$(dirname "$0")/../common.sh"

need curl 'https://curl.se'
install_python
[ -x "$sim" ] || skip "$sim is not built (cargo build -p kinesis-sim --features server)"
# Two free ports: those that a server gets and gives back.
start_server --tls-port 0
stop_server

awk '/^```sh$/ { on = 1; next } /^```$/ { on = 0 } on' "$root/docs/simulator.md" |
    sed -e '/^cargo /d' -e "s/4567/$port/g" -e "s/4568/$tls_port/g" -e 's/^\(server\|secure\)=\$!/&; echo "$!" >>pids/' >"$scratch/commands"
mkdir "$scratch/bin" "$scratch/page"
ln -s "$sim" "$scratch/bin/kinesis-sim"
ln -s "$tools/python/bin/aws" "$scratch/bin/aws"
commands=$(grep -c . "$scratch/commands")
status=0
(cd "$scratch/page" && PATH="$scratch/bin:$PATH" sh -eu "$scratch/commands" >"$scratch/out" 2>&1) || status=$?
if [ -e "$scratch/page/pids" ]; then
    while read -r process; do
        stop "$process"
    done <"$scratch/page/pids"
fi
if [ $status -ne 0 ]; then
    cat "$scratch/out" >&2
    fail "a command of docs/simulator.md fails ($status)"
fi
for wanted in '"status":"ok"' '"open_shards":2' '"hits":0,"id":0,"operation":"PutRecords","stream":"orders","times":3,"verdict":"throttle"' \
    'PutRecord orders' '"hits":1' 'shardId-00000000000'; do
    grep -qF "$wanted" "$scratch/out" || {
        cat "$scratch/out" >&2
        fail "nothing printed $wanted"
    }
done
echo "$name: all $commands lines of commands in docs/simulator.md work"
