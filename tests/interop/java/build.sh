# shellcheck shell=sh
# Builds a Maven project of this folder once and keeps it; sourced after common.sh. Then
#
#   build_java sdk          # or: build_java kcl 2.7.2
#   $java -cp "$classpath" SdkCheck ...
#
# Jars come from Maven's own cache, so projects share them. A build is made again when its pom or a source changed.

# Small machines run several of these programs at once; client-only start-up is most of what they do.
java='java -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xss512k -Xmx384m -XX:-UsePerfData'

# build_java <project> [<version of the KCL>]: sets $classpath.
build_java() {
    need java 'apt-get install openjdk-17-jdk-headless'
    need javac 'apt-get install openjdk-17-jdk-headless'
    need mvn 'apt-get install maven'
    java_major=$(java -version 2>&1 | sed -n '1s/.*version "\([0-9]*\).*/\1/p')
    [ "${java_major:-0}" -ge 17 ] || skip "Java 17 or newer is needed, this is ${java_major:-unknown}"
    project=$root/tests/interop/java/$1
    built=$tools/java-$1${2:+-$2}
    # shellcheck disable=SC2016 # the names are words
    sum=$(find "$project" -name '*.java' -o -name pom.xml | LC_ALL=C sort | xargs cat | cksum)
    if [ "$(cat "$built/built" 2>/dev/null)" != "$sum" ]; then
        rm -rf "$built"
        mvn --batch-mode --quiet --no-transfer-progress --file "$project/pom.xml" "-Doutput=$built" \
            ${2:+"-Dkcl.version=$2"} compile dependency:copy-dependencies "-DoutputDirectory=$built/lib" \
            >"$scratch/mvn.log" 2>&1 || {
            # Without the packages there is nothing to test; an error of our own source is one.
            if grep -q 'COMPILATION ERROR' "$scratch/mvn.log"; then
                cat "$scratch/mvn.log" >&2
                fail "$1 does not compile"
            fi
            tail -n 5 "$scratch/mvn.log" >&2
            skip "Maven could not install what $1 needs"
        }
        printf '%s' "$sum" >"$built/built"
    fi
    classpath=$built/classes:$built/lib/*
}

# wait_for <word> <file> <process> <tenths of a second>: until the word stands in the file. 1 if the process or the time
# ended first; then what the file holds was printed.
wait_for() {
    wait_tries=0
    until grep -q "$1" "$2" 2>/dev/null; do
        wait_tries=$((wait_tries + 1))
        if [ $wait_tries -gt "$4" ] || ! kill -0 "$3" 2>/dev/null; then
            grep -q "$1" "$2" && return 0
            tail -n 40 "$2" >&2
            return 1
        fi
        sleep 0.1
    done
}
