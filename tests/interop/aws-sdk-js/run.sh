#!/bin/sh
# @aws-sdk/client-kinesis v3, which speaks HTTP/2 always: without TLS on the plain port, and over TLS with the server's own CA
# through NODE_EXTRA_CA_CERTS. It puts, gets and subscribes through a split, sees one subscription take over another, and retries what a
# rule throttles, fails or loses.
#
# Usage: tests/interop/aws-sdk-js/run.sh (see ../common.sh for the variables it takes)
name=aws-sdk-js
. "$(dirname "$0")/../common.sh"

install_node @aws-sdk/client-kinesis@3.1143.0
start_server --tls-port 0 --write-ca "$ca" --call-timeout-ms 500
# The SDK warns of the version of Node, which is not what is tested.
export NODE_PATH=$node_modules NODE_NO_WARNINGS=1

node "$here/session.mjs" "$endpoint" plain "$endpoint" >"$scratch/plain" || fail 'it failed over HTTP/2 without TLS'
NODE_EXTRA_CA_CERTS=$ca node "$here/session.mjs" "$tls_endpoint" secure "$endpoint" >"$scratch/secure" || fail 'it failed over TLS'
cmp "$scratch/plain" "$scratch/secure" >&2 || fail 'HTTP and TLS differ'
stop_server
echo "$name: $(cat "$scratch/plain"), over HTTP/2 without and with TLS"
