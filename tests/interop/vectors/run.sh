#!/bin/sh
# Aggregated records against the packages of other languages, in both directions:
#   1. regenerates the vectors that they write (tests/vectors/*.json; `git diff` shows whether anything changed),
#   2. lets them read what our writer writes today and compares record for record.
#
# Usage: tests/interop/vectors/run.sh
#   WORK=<directory>      where the packages are installed (default: a new one, removed at the end)
#   OUR_VECTORS=<file>    our blobs, if they are already written (default: the test binary writes them)
set -eu

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)
vectors=$root/tests/vectors
# The versions that the checked-in vectors come from.
python_packages='aws_kinesis_agg==1.2.3 protobuf==7.36.2 six==1.17.0'
node_packages='aws-kinesis-agg@4.2.8'

if [ -z "${WORK:-}" ]; then
    WORK=$(mktemp -d)
    trap 'rm -rf "$WORK"' EXIT
fi
mkdir -p "$WORK"

python=no
if ! command -v python3 >/dev/null; then
    echo 'skip: python3 is missing, so the PyPI package aws_kinesis_agg was not tried'
elif ! python3 -m venv "$WORK/venv" >/dev/null 2>&1; then
    echo 'skip: python3 cannot make a virtual environment, so the PyPI package aws_kinesis_agg was not tried'
# Unquoted on purpose: three arguments.
# shellcheck disable=SC2086
elif ! "$WORK/venv/bin/python" -m pip install --quiet --disable-pip-version-check $python_packages; then
    echo 'skip: pip is missing or could not install the PyPI package aws_kinesis_agg, so it was not tried'
else
    python=yes
fi

node=no
if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
    echo 'skip: node or npm is missing, so the npm package aws-kinesis-agg was not tried'
elif ! npm install --prefix "$WORK" --no-save --no-audit --no-fund --loglevel=error "$node_packages" >/dev/null; then
    echo 'skip: npm could not install the npm package aws-kinesis-agg, so it was not tried'
else
    node=yes
fi

if [ -z "${OUR_VECTORS:-}" ]; then
    OUR_VECTORS=$WORK/ours.json
    if command -v cargo >/dev/null; then
        (cd "$root" && WRITE_OUR_VECTORS=$OUR_VECTORS cargo test --quiet --test vectors write_our_vectors)
    else
        echo 'skip: cargo is missing, so the checked-in copy of our vectors is read instead of new ones'
        OUR_VECTORS=$vectors/ours.json
    fi
fi

if [ $python = yes ]; then
    "$WORK/venv/bin/python" "$here/make_cases.py" "$vectors"
    "$WORK/venv/bin/python" "$here/aggregate.py" write "$vectors/cases.json" "$vectors/aws_kinesis_agg_python.json"
    "$WORK/venv/bin/python" "$here/aggregate.py" read "$vectors/cases.json" "$OUR_VECTORS"
fi
if [ $node = yes ]; then
    cd "$WORK"
    node "$here/aggregate.js" write "$vectors/cases.json" "$vectors/aws_kinesis_agg_node.json"
    node "$here/aggregate.js" read "$vectors/cases.json" "$OUR_VECTORS"
fi
