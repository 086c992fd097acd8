#!/bin/sh
# Counts the instructions of the codecs with callgrind and compares them with the recorded ones: a noisy machine cannot blur them,
# so a regression of more than 5 % fails. What got more than 5 % cheaper is said, to be recorded.
#
# Usage: tests/bench/instructions/run.sh [--record]
# The counts belong to one compiler; with another one they are not compared.
name=instructions
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)
expected=$here/expected

skip() {
    echo "skip: $name: $1"
    exit 0
}
command -v valgrind >/dev/null 2>&1 || skip 'valgrind is not installed (apt-get install valgrind)'
[ "$(uname -m)" = x86_64 ] || skip "the counts are recorded for x86_64, this is $(uname -m)"
compiler=$(rustc --version)
if [ "${1:-}" != --record ] && [ "$(sed -n 's/^# //p' "$expected")" != "$compiler" ]; then
    skip "recorded with $(sed -n 's/^# //p' "$expected"), this is $compiler (--record records)"
fi

(cd "$root" && cargo build --release --quiet -p kinesis-shard --example codecs) || exit 1
program=${CARGO_TARGET_DIR:-$root/target}/release/examples/codecs

# The instructions of one case.
count() {
    valgrind --tool=callgrind --callgrind-out-file=/dev/null "$program" "$1" 2>&1 | sed -n 's/.*Collected : *\([0-9]*\).*/\1/p'
}

nothing=$(count nothing)
[ -n "$nothing" ] || {
    echo "$name: valgrind counted nothing" >&2
    exit 1
}
counted=$(
    for case in hash hash-many lookup write read; do
        # A thousand items each.
        echo "$case $((($(count $case) - nothing) / 1000))"
    done
)
if [ "${1:-}" = --record ]; then
    printf '# %s\n%s\n' "$compiler" "$counted" >"$expected"
    cat "$expected"
    exit 0
fi
printf '%s\n' "$counted" | awk -v name="$name" -v expected="$expected" '
    BEGIN { while ((getline line < expected) > 0) { split(line, part, " "); wanted[part[1]] = part[2] } }
    {
        said = said sprintf("%s%s %d", (said == "" ? "" : ", "), $1, $2)
        if (!($1 in wanted)) { print name ": " $1 " has no recorded count"; bad = 1 }
        else if ($2 > wanted[$1] * 1.05) { print name ": " $1 " takes " $2 " instructions an item, " wanted[$1] " are recorded"; bad = 1 }
        else if ($2 < wanted[$1] * 0.95) print name ": " $1 " takes only " $2 " instructions an item, " wanted[$1] " are recorded: record the new count"
    }
    END { if (bad) exit 1; print name ": instructions an item within 5 % of what is recorded: " said }'
