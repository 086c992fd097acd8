#!/bin/sh
# Starts a DynamoDB-compatible server on a free port of 127.0.0.1, in memory, and prints the port.
#
# Usage: port=$(tests/interop/dynamodb/start.sh <directory>) || { [ $? = 75 ] && exit 0; exit 1; }
#        trap 'kill "$(cat <directory>/dynamodb.pid)"' EXIT
# <directory>/dynamodb.pid and dynamodb.log are written. Any access key, secret and region will do; all see the same
# tables. Exit status 75 and a `skip:` line on stderr: the tool is missing.
#
# The server is dynalite, which conditional writes of either style (Expected and ConditionExpression) run against, one
# item at a time as in the service. It knows neither UpdateContinuousBackups, nor deletion protection, nor tags at
# creation, nor indexes that are added later. Why not DynamoDB Local: its licence is the vendor's own.
#   DYNAMODB_LIFETIME=<seconds>   it ends by itself after that, whatever became of its caller (default: 1800)
#   DYNAMODB_PORT=<port>          a fixed port, to start again where a first one was (default: any free port)
#   DYNAMODB_REQUESTS=<file>      a line for each request is appended to it: milliseconds since 1970, operation, table
set -eu

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)
directory=${1:?usage: start.sh <directory for the pid and the log>}
version=4.0.0
installed=${CARGO_TARGET_DIR:-$root/target}/interop/dynalite-$version

skip() {
    echo "skip: dynamodb: $1" >&2
    exit 75
}

command -v node >/dev/null && command -v npm >/dev/null || skip 'node or npm is not installed (apt-get install nodejs npm)'
[ "$(node -p 'parseInt(process.versions.node)')" -ge 20 ] || skip "dynalite $version needs node 20"

if [ ! -d "$installed" ]; then
    # In a folder of its own first, so that two at once do not see each other's half.
    mkdir -p "$(dirname "$installed")"
    fresh=$(mktemp -d "$installed.XXXXXX")
    if ! npm install --prefix "$fresh" --no-save --no-audit --no-fund --loglevel=error "dynalite@$version" >&2; then
        rm -rf "$fresh"
        skip "npm could not install dynalite@$version"
    fi
    mv -T "$fresh" "$installed" 2>/dev/null || rm -rf "$fresh"
fi

mkdir -p "$directory"
rm -f "$directory/dynamodb.port"
NODE_PATH=$installed/node_modules node "$here/server.js" "$directory/dynamodb.port" \
    >"$directory/dynamodb.log" 2>&1 </dev/null &
echo $! >"$directory/dynamodb.pid"

waited=0
while [ ! -s "$directory/dynamodb.port" ]; do
    if ! kill -0 "$(cat "$directory/dynamodb.pid")" 2>/dev/null || [ $waited -ge 200 ]; then
        echo "the DynamoDB server did not start; its log:" >&2
        cat "$directory/dynamodb.log" >&2
        exit 1
    fi
    sleep 0.1
    waited=$((waited + 1))
done
cat "$directory/dynamodb.port"
