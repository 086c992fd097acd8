#!/bin/sh
# Lease tables of the Java KCL and of our kcl: rows of every kind, made by one side through the operations of its workers,
# are read by the other side's own code, and both print the same. With the KCL 2.x and 3.x.
#
# Usage: tests/interop/java-leases/run.sh (see ../common.sh for the variables it takes)
name=java-leases
. "$(dirname "$0")/../common.sh"
. "$(dirname "$0")/../java/build.sh"
. "$(dirname "$0")/../helper/build.sh"

build_helper
dynamodb=$("$root/tests/interop/dynamodb/start.sh" "$scratch") || { [ $? = 75 ] && exit 0; exit 1; }
later_stop "$(cat "$scratch/dynamodb.pid")"
at=http://127.0.0.1:$dynamodb

# java_rows <table> [make] [streams]
java_rows() {
    # Unquoted on purpose: $java is a command with its options.
    # shellcheck disable=SC2086
    timeout 60 $java -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -cp "$classpath" LeaseRows "$at" "$@" 2>"$scratch/err" || {
        tail -n 20 "$scratch/err" >&2
        fail "the KCL $version failed on the rows of $1"
    }
}

# same <what> <file> <file>
same() {
    diff "$2" "$3" >&2 || fail "$1: the two sides read different rows"
}

"$helper" leases --dynamodb "$at" --table ours --make >"$scratch/ours" || fail 'kcl could not make rows'
"$helper" leases --dynamodb "$at" --table our-streams --make --streams >"$scratch/our-streams" || fail 'kcl could not make rows'
for version in 2.7.2 3.5.1; do
    build_java kcl $version
    java_rows ours >"$scratch/ours-by-java"
    same 'our table' "$scratch/ours" "$scratch/ours-by-java"
    java_rows "java-$version" make >"$scratch/java"
    "$helper" leases --dynamodb "$at" --table "java-$version" >"$scratch/java-by-us" || fail "kcl could not read Java's rows"
    same "the table of the KCL $version" "$scratch/java" "$scratch/java-by-us"
    # Both sides were told to make the same rows, and did, each in its own way.
    same "our table and that of the KCL $version" "$scratch/ours" "$scratch/java"
    # The same of an application of several streams, which has a table of its own.
    java_rows our-streams streams >"$scratch/streams-by-java"
    same 'our table of several streams' "$scratch/our-streams" "$scratch/streams-by-java"
    java_rows "java-streams-$version" make streams >"$scratch/java-streams"
    "$helper" leases --dynamodb "$at" --table "java-streams-$version" --streams >"$scratch/java-streams-by-us" ||
        fail "kcl could not read Java's rows"
    same "the table of several streams of the KCL $version" "$scratch/java-streams" "$scratch/java-streams-by-us"
    same "our table of several streams and that of the KCL $version" "$scratch/our-streams" "$scratch/java-streams"
done
echo "$name: $(wc -l <"$scratch/ours") rows of every kind, and $(wc -l <"$scratch/our-streams") of an application of several streams," \
    "are the same for our kcl and the KCL 2.7.2 and 3.5.1, whoever made them"
