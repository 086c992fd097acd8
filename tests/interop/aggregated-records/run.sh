#!/bin/sh
# Our kpl writes, through a split; consumers in Python (boto3, aws_kinesis_agg) and JavaScript (@aws-sdk/client-kinesis,
# aws-kinesis-agg) read. Every record must be where kpl was told it is, with its key, explicit hash key, data and
# sub-sequence number. ../vectors does the same with blobs in files, and the other way round.
#
# Usage: tests/interop/aggregated-records/run.sh (see ../common.sh for the variables it takes)
name=aggregated-records
. "$(dirname "$0")/../common.sh"
. "$(dirname "$0")/../helper/build.sh"

python_agg='aws_kinesis_agg==1.2.3 protobuf==7.36.2 six==1.17.0'
node_packages='@aws-sdk/client-kinesis@3.1143.0 aws-kinesis-agg@4.2.8'

build_helper
start_server --state-delay-ms 200 --stream agg:2
count=4000
"$helper" put --endpoint "$endpoint" --stream agg --count $count --split-after 2000 --out "$scratch/put" >"$scratch/writer" ||
    fail 'kpl could not put'

# judge <reader>: both packages give a member without an explicit hash key the first one of its aggregate.
judge() {
    result=$("$helper" check --put "$scratch/put" --got "$scratch/got" --borrowed-hash-keys) ||
        fail "$1 did not read what kpl wrote"
    echo "$name: $1: $result"
}

# In a subshell each, so that one language's skip is not the other's.
(
    install_python
    folder=$tools/$(printf '%s' "$python_agg" | tr -c 'a-z0-9._\n' '-')
    if [ ! -e "$folder/installed" ]; then
        # Unquoted on purpose: several arguments.
        # shellcheck disable=SC2086
        "$python" -m pip install --quiet --disable-pip-version-check --no-deps --target "$folder" $python_agg ||
            skip "pip could not install $python_agg"
        touch "$folder/installed"
    fi
    PYTHONPATH=$folder "$python" "$here/read.py" "$endpoint" agg >"$scratch/got" || fail 'the Python consumer failed'
    judge 'boto3 and aws_kinesis_agg'
)
(
    # Unquoted on purpose: several arguments.
    # shellcheck disable=SC2086
    install_node $node_packages
    NODE_NO_WARNINGS=1 NODE_PATH=$node_modules node "$here/read.js" "$endpoint" agg >"$scratch/got" || fail 'the JavaScript consumer failed'
    judge '@aws-sdk/client-kinesis and aws-kinesis-agg'
)
stop_server
