#!/bin/sh
# boto3 beyond the first scripts: enhanced fan-out through a split, consumers, partial failures and other faults that a rule
# injects over HTTP, with the retries boto3 makes on its own, names and ARNs, tags, retention, split, merge, update_shard_count,
# paginators and waiters, over HTTP and over TLS with the server's own CA. session.py holds the steps.
#
# Usage: tests/interop/boto3/run.sh (see ../common.sh for the variables it takes)
name=boto3
. "$(dirname "$0")/../common.sh"

install_python
start_server --tls-port 0 --write-ca "$ca" --state-delay-ms 200
"$python" "$here/session.py" "$endpoint" "$tls_endpoint" "$ca" || fail 'a step differed'
stop_server
