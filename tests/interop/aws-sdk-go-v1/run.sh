#!/bin/sh
# A PutRecords loop on aws-sdk-go v1 and the Scan of github.com/harlow/kinesis-consumer, as many services run them: the consumer
# scans from the beginning while a shard splits, finds the children at its next look, and stops on a signal. Meanwhile the
# producer is throttled, entry by entry and as a whole, and iterators expire. Every line must come out exactly once.
#
# Usage: tests/interop/aws-sdk-go-v1/run.sh (see ../common.sh for the variables it takes)
name=aws-sdk-go-v1
. "$(dirname "$0")/../common.sh"

need curl 'https://curl.se'
install_go
build_go producer consumer
start_server --stream orders:2

rule() {
    curl --silent --fail --noproxy '*' --data "$1" "$endpoint/_sim/rules" >/dev/null || fail "no such rule: $1"
}
rule '{"operation":"PutRecords","probability":0.5,"verdict":{"fail_entries":{"probability":0.1,"error":"throttled"}}}'
rule '{"operation":"PutRecords","probability":0.2,"times":3,"verdict":"throttle"}'
rule '{"operation":"PutRecords","probability":0.2,"times":2,"verdict":"fail"}'
rule '{"operation":"GetRecords","probability":0.1,"times":5,"verdict":"expire_iterator"}'

"$scratch/consumer" -stream orders -endpoint "$endpoint" >"$scratch/got" 2>"$scratch/consumer.err" &
consumer=$!
later_stop $consumer

lines() {
    awk "BEGIN { for (i = $1; i < $1 + 2000; i++) printf \"order-%05d\\n\", i }"
}
lines 0 | "$scratch/producer" -stream orders -endpoint "$endpoint" >"$scratch/first" || fail 'the producer failed'
# A split through the API, by a request that any client could send.
curl --silent --fail --noproxy '*' --output /dev/null "$endpoint/" \
    --header 'Content-Type: application/x-amz-json-1.1' --header 'X-Amz-Target: Kinesis_20131202.SplitShard' \
    --header 'X-Amz-Date: 20260101T000000Z' \
    --header 'Authorization: AWS4-HMAC-SHA256 Credential=any/20260101/us-east-1/kinesis/aws4_request, SignedHeaders=host, Signature=0' \
    --data '{"StreamName":"orders","ShardToSplit":"shardId-000000000000","NewStartingHashKey":"85070591730234615865843651857942052864"}' ||
    fail 'the split was refused'
sleep 1
lines 2000 | "$scratch/producer" -stream orders -endpoint "$endpoint" >"$scratch/second" || fail 'the producer failed'

# The consumer looks for new shards every 30 seconds.
tries=0
until [ "$(wc -l <"$scratch/got")" -ge 4000 ]; do
    tries=$((tries + 1))
    if [ $tries -gt 450 ] || ! kill -0 $consumer 2>/dev/null; then
        cat "$scratch/consumer.err" >&2
        fail "$(wc -l <"$scratch/got") of 4000 records were read"
    fi
    sleep 0.1
done
sleep 0.5
kill $consumer
wait $consumer || fail 'the consumer did not stop cleanly'
{ lines 0 && lines 2000; } >"$scratch/put"
sort "$scratch/got" | cmp - "$scratch/put" >&2 || fail 'what was read is not what was put'
grep -q 'closed shardId-000000000000' "$scratch/consumer.err" || fail 'the consumer did not see the end of the parent'
again=$(sed 's/.*again=//' "$scratch/first" "$scratch/second" | awk '{ sum += $1 } END { print sum }')
[ "$again" -gt 50 ] || fail "only $again entries were refused"
stop_server
echo "$name: Scan read 4000 records exactly once through a split; $again entries were refused and put again"
