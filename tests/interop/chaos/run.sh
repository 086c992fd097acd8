#!/bin/sh
# Real processes with their leases in a DynamoDB-compatible server that we did not write (tests/interop/dynamodb), where
# node and npm are: a short form of `CHAOS_STORE=dynamodb cargo test --test chaos`. The one with SQLite is among the tests.
#
# Usage: tests/interop/chaos/run.sh     (CHAOS_SECONDS, CHAOS_RATE, CHAOS_SEED as for the test)
name=chaos
. "$(dirname "$0")/../common.sh"

need cargo 'https://rustup.rs'
(cd "$root" && CHAOS_STORE=dynamodb cargo test --quiet --test chaos) >"$scratch/out" 2>&1 || {
    cat "$scratch/out" >&2
    fail 'what the processes were told is not what was stored'
}
grep '^skip: ' "$scratch/out" || echo "$name: leases in dynalite: $(grep '^acknowledged ' "$scratch/out")"
