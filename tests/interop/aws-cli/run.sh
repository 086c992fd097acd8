#!/bin/sh
# A first session with the AWS CLI, command by command as people type them: create a stream, wait for it, describe and list
# it, put records, take an iterator, get the records; then consumers, a split, tags, retention, and what a wrong name is
# told. What each command prints is checked.
#
# Usage: tests/interop/aws-cli/run.sh (see ../common.sh for the variables it takes)
name=aws-cli
. "$(dirname "$0")/../common.sh"

install_python
start_server
export AWS_ENDPOINT_URL=$endpoint

commands=0
aws() {
    "$tools/python/bin/aws" "$@"
}
# prints <wanted> <arguments of aws kinesis>...: with white space squeezed, as the CLI's columns are.
prints() {
    wanted=$1
    shift
    printed=$(aws kinesis "$@" | tr -s '[:space:]' ' ' | sed 's/ $//')
    [ "$printed" = "$wanted" ] || fail "aws kinesis $*: wanted '$wanted', got '$printed'"
    commands=$((commands + 1))
}
# refused <text> <arguments of aws kinesis>...
refused() {
    wanted=$1
    shift
    if printed=$(aws kinesis "$@" 2>&1); then
        fail "aws kinesis $* was not refused"
    fi
    case $printed in
        *"$wanted"*) commands=$((commands + 1)) ;;
        *) fail "aws kinesis $*: wanted an error with '$wanted', got '$printed'" ;;
    esac
}
arn=arn:aws:kinesis:us-east-1:000000000000:stream/Foo

prints '' create-stream --stream-name Foo --shard-count 1
prints '' wait stream-exists --stream-name Foo
prints 'Foo ACTIVE 24 1 NONE PROVISIONED' describe-stream-summary --stream-name Foo --output text --query \
    'StreamDescriptionSummary.[StreamName,StreamStatus,RetentionPeriodHours,OpenShardCount,EncryptionType,StreamModeDetails.StreamMode]'
prints "$arn shardId-000000000000 0 340282366920938463463374607431768211455" describe-stream --stream-name Foo --output text \
    --query 'StreamDescription.[StreamARN,Shards[0].ShardId,Shards[0].HashKeyRange.StartingHashKey,Shards[0].HashKeyRange.EndingHashKey]'
prints '{ "StreamNames": [ "Foo" ] }' list-streams --query '{StreamNames: StreamNames}'

# The number that a put answers is the one that the record is read with.
put=$(aws kinesis put-record --stream-name Foo --partition-key 123 --data testdata --output text --query '[ShardId,SequenceNumber]')
number=${put#shardId-000000000000?}
[ ${#number} -eq 56 ] || fail "put-record answered '$put'"
prints 0 put-records --stream-name Foo --records Data=two,PartitionKey=456 Data=three,PartitionKey=789 \
    --query FailedRecordCount
iterator=$(aws kinesis get-shard-iterator --shard-id shardId-000000000000 --shard-iterator-type TRIM_HORIZON --stream-name Foo \
    --output text --query ShardIterator)
# dGVzdGRhdGE= is testdata, dHdv is two, dGhyZWU= is three.
prints "$number 123 dGVzdGRhdGE=" get-records --shard-iterator "$iterator" --limit 1 --output text \
    --query 'Records[].[SequenceNumber,PartitionKey,Data]'
prints '123 dGVzdGRhdGE= 456 dHdv 789 dGhyZWU=' get-records --shard-iterator "$iterator" --output text \
    --query 'Records[].[PartitionKey,Data]'
prints 0 get-records --shard-iterator "$iterator" --query MillisBehindLatest
after=$(aws kinesis get-shard-iterator --shard-id shardId-000000000000 --shard-iterator-type AFTER_SEQUENCE_NUMBER \
    --starting-sequence-number "$number" --stream-name Foo --output text --query ShardIterator)
prints 'dHdv dGhyZWU=' get-records --shard-iterator "$after" --output text --query 'Records[].Data'

prints '' add-tags-to-stream --stream-name Foo --tags team=payments,env=test
prints 'env test team payments' list-tags-for-stream --stream-name Foo --output text --query 'Tags[].[Key,Value]'
prints '' increase-stream-retention-period --stream-name Foo --retention-period-hours 48
prints 48 describe-stream --stream-name Foo --query StreamDescription.RetentionPeriodHours
prints CREATING register-stream-consumer --stream-arn $arn --consumer-name reader --output text --query Consumer.ConsumerStatus
# The CLI has no waiter for consumers.
tries=0
until [ "$(aws kinesis describe-stream-consumer --stream-arn $arn --consumer-name reader --output text \
    --query ConsumerDescription.ConsumerStatus)" = ACTIVE ]; do
    tries=$((tries + 1))
    [ $tries -lt 20 ] || fail 'the consumer is not ACTIVE after 20 looks'
done
prints 'reader ACTIVE' list-stream-consumers --stream-arn $arn --output text --query 'Consumers[].[ConsumerName,ConsumerStatus]'
prints '' split-shard --stream-name Foo --shard-to-split shardId-000000000000 \
    --new-starting-hash-key 170141183460469231731687303715884105728
prints '' wait stream-exists --stream-name Foo
prints 'shardId-000000000000 None shardId-000000000001 shardId-000000000000 shardId-000000000002 shardId-000000000000' \
    list-shards --stream-name Foo --output text --query 'Shards[].[ShardId,ParentShardId]'

refused 'An error occurred (ResourceNotFoundException) when calling the DescribeStream operation: Stream Bar under account 000000000000 not found.' \
    describe-stream --stream-name Bar
refused 'ResourceInUseException' create-stream --stream-name Foo --shard-count 1
refused 'ResourceInUseException' delete-stream --stream-name Foo
prints '' delete-stream --stream-name Foo --enforce-consumer-deletion
prints '' wait stream-not-exists --stream-name Foo
prints '' list-streams --output text --query 'StreamNames'
stop_server
echo "$name: $commands commands of a first session print what they should"
