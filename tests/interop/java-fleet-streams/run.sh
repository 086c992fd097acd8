#!/bin/sh
# As ../java-fleet/run.sh, but the application reads three streams: Java's workers with a MultiStreamTracker, ours with a
# StreamSet, in one table with Java's keys for several streams. Every shard of every stream is split half way.
#
# Usage: tests/interop/java-fleet-streams/run.sh (with the variables of ../java-fleet/run.sh)
set -eu
export FLEET_STREAMS="${FLEET_STREAMS:-3}" name=java-fleet-streams
exec "$(dirname "$0")/../java-fleet/run.sh"
