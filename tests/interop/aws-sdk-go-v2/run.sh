#!/bin/sh
# aws-sdk-go v2: a program that puts, gets and subscribes through a split, over HTTP and over TLS with the server's own CA, where
# it speaks HTTP/2. Both ways of reading must give exactly what was put, and what a rule throttles, fails or
# loses is put again by the SDK. Endpoint and CA come from the SDK's own variables.
#
# Usage: tests/interop/aws-sdk-go-v2/run.sh (see ../common.sh for the variables it takes)
name=aws-sdk-go-v2
. "$(dirname "$0")/../common.sh"

install_go
build_go .
start_server --tls-port 0 --write-ca "$ca" --call-timeout-ms 500

AWS_ENDPOINT_URL=$endpoint "$scratch/program" plain "$endpoint" >"$scratch/plain" || fail 'it failed over HTTP'
AWS_ENDPOINT_URL=$tls_endpoint AWS_CA_BUNDLE=$ca GODEBUG=http2debug=1 "$scratch/program" secure "$endpoint" >"$scratch/secure" 2>"$scratch/secure.err" || {
    grep -v http2: "$scratch/secure.err" | tail -n 5 >&2
    fail 'it failed over TLS'
}
grep -q 'http2: Transport received DATA' "$scratch/secure.err" || fail 'it did not speak HTTP/2 over TLS'
cmp "$scratch/plain" "$scratch/secure" >&2 || fail 'HTTP and TLS differ'
stop_server
echo "$name: $(cat "$scratch/plain"), over HTTP/1.1 and over TLS with HTTP/2"
