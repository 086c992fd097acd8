#!/bin/sh
# The two small boto3 programs that everybody writes first: one puts a random tick with one key every so often, the other
# describes the stream, takes an iterator and gets records, two at a time, at the service's five calls a second. Neither
# knows of the engine: AWS_ENDPOINT_URL leads them there. What the consumer prints must be what the producer printed.
#
# Usage: tests/interop/python-scripts/run.sh (see ../common.sh for the variables it takes)
name=python-scripts
. "$(dirname "$0")/../common.sh"

install_python
start_server --stream ticks:1
export AWS_ENDPOINT_URL=$endpoint

"$python" "$here/producer.py" ticks >"$scratch/put" 2>"$scratch/producer.err" &
producer=$!
later_stop $producer
"$python" "$here/consumer.py" ticks >"$scratch/got" 2>"$scratch/consumer.err" &
consumer=$!
later_stop $consumer

wanted=30
tries=0
until [ "$(wc -l <"$scratch/got")" -ge $wanted ]; do
    tries=$((tries + 1))
    if [ $tries -gt 300 ] || ! kill -0 $producer 2>/dev/null || ! kill -0 $consumer 2>/dev/null; then
        cat "$scratch/producer.err" "$scratch/consumer.err" >&2
        fail "after $tries tenths of a second: $(wc -l <"$scratch/put") put, $(wc -l <"$scratch/got") read"
    fi
    sleep 0.1
done
# A producer that is stopped between its line and its put has printed one more than it put.
stop $producer
put=$(wc -l <"$scratch/put")
tries=0
until [ "$(wc -l <"$scratch/got")" -ge $((put - 1)) ] || [ $tries -gt 50 ]; do
    tries=$((tries + 1))
    sleep 0.1
done
sleep 0.5
stop $consumer
got=$(wc -l <"$scratch/got")
[ "$got" -ge $((put - 1)) ] || fail "$put records were put, but only $got read"
head -n "$got" "$scratch/put" | cmp - "$scratch/got" >&2 || fail 'what was read is not what was put'
stop_server
echo "$name: the consumer printed the producer's $got records, in order"
