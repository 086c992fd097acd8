#!/bin/sh
# The AWS SDK for Java v2, unchanged, with its defaults: the synchronous client (Apache) and the asynchronous one (Netty,
# HTTP/2, an event stream through a split), each over plain text (h2c) and over TLS, in CBOR and in JSON.
#
# Usage: tests/interop/java-sdk/run.sh
#   KINESIS_SIM=<program>  the built server (default: target/debug/kinesis-sim)
#   WORK=<directory>       where builds are kept (default: target/interop)
name=java-sdk
. "$(dirname "$0")/../common.sh"
. "$(dirname "$0")/../java/build.sh"

build_java sdk
# The waiters of this SDK look every 10 s, so nothing is left for them to wait for.
start_server --tls-port 0 --write-ca "$ca" --state-delay-ms 0

# run <how it is called in the report> <arguments of java>
run() {
    how=$1
    shift
    # Unquoted on purpose: $java is a command with its options.
    # shellcheck disable=SC2086
    timeout 120 $java -Dorg.slf4j.simpleLogger.defaultLogLevel=warn "$@" >"$scratch/out" 2>"$scratch/err" || {
        tail -n 40 "$scratch/out" "$scratch/err" >&2
        fail "$how failed"
    }
    echo "$name: $how: $(cat "$scratch/out")"
}
run 'h2c' -cp "$classpath" SdkCheck "$endpoint"
run 'h2c without CBOR' -Daws.cborEnabled=false -cp "$classpath" SdkCheck "$endpoint"
run 'TLS' -cp "$classpath" SdkCheck "$tls_endpoint" "$ca"
stop_server
