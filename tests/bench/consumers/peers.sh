# shellcheck shell=sh
# Sourced after common.sh and java/build.sh: builds or installs what is measured. Each sets its command, or leaves it empty after a
# skip line; $versions names what there is.

kcl_version=2.7.2
kcl_rs_version=0.1.4
versions='dynalite 4.0.0'

# build_ours: sets $drain and $sim. Those that DRAIN and KINESIS_SIM name are taken as they are.
build_ours() {
    target=${CARGO_TARGET_DIR:-$root/target}
    drain=${DRAIN:-$target/release/examples/drain}
    sim=${KINESIS_SIM:-$target/release/kinesis-sim}
    if [ -z "${DRAIN:-}" ] || [ -z "${KINESIS_SIM:-}" ]; then
        need cargo 'https://rustup.rs'
        (cd "$root" && cargo build --release --quiet -p kcl --example drain &&
            cargo build --release --quiet -p kinesis-sim --features server --bin kinesis-sim) ||
            fail 'what is to be measured does not build'
    fi
    sdk=$(awk '/^name = "aws-sdk-kinesis"/ { getline; gsub(/.*= |"/, ""); print }' "$root/Cargo.lock")
    versions="kcl and engine of this clone with aws-sdk-kinesis $sdk, $versions"
}

# find_java: sets $java_measured.
find_java() {
    # In a shell of its own: what skips there only leaves a line here.
    java_measured=
    said=$(build_java kcl "$kcl_version" && echo "classpath $classpath")
    case $said in
    "classpath "*)
        # Both compilers, and what the JVM gives itself by default of memory.
        java_measured="java -XX:-UsePerfData -Dorg.slf4j.simpleLogger.defaultLogLevel=error -cp ${said#classpath } KclReader"
        versions="$versions, Java KCL $kcl_version on $(java -version 2>&1 | sed -n '1s/"//gp')"
        ;;
    *) echo "$said" ;;
    esac
}

# find_kcl_rs: sets $python_measured.
find_kcl_rs() {
    python_measured=
    if ! command -v python3 >/dev/null 2>&1; then
        echo "skip: $name: python3 is not installed (https://www.python.org)"
        return
    fi
    venv=$tools/kcl-rs-$kcl_rs_version
    [ -x "$venv/bin/python" ] || python3 -m venv "$venv" || rm -rf "$venv"
    if [ -x "$venv/bin/pip" ] && "$venv/bin/pip" install --quiet --disable-pip-version-check "kcl-rs==$kcl_rs_version" >"$scratch/pip" 2>&1; then
        python_measured="$venv/bin/python $root/tests/bench/consumers/kcl_rs_reader.py"
        versions="$versions, kcl-rs $kcl_rs_version on $(python3 --version)"
    else
        echo "skip: $name: kcl-rs cannot be installed (pip install kcl-rs, Python 3.11 or newer)"
    fi
}

# find_go: sets $go_measured.
find_go() {
    go_measured=
    if ! command -v go >/dev/null 2>&1; then
        echo "skip: $name: go is not installed (https://go.dev)"
        return
    fi
    sources=$root/tests/bench/consumers/go
    if (cd "$sources" && GOFLAGS='-mod=readonly -buildvcs=false' go build -o "$scratch/harlow" .) >"$scratch/go.err" 2>&1; then
        go_measured=$scratch/harlow
        versions="$versions, harlow/kinesis-consumer $(sed -n 's|.*harlow/kinesis-consumer ||p' "$sources/go.mod") on $(go env GOVERSION)"
    else
        tail -n 3 "$scratch/go.err" >&2
        echo "skip: $name: the Go consumer cannot be built (are its modules to be had?)"
    fi
}

# chosen <what there is>...: those of --only, or all if it names none of them.
chosen() {
    chosen_of=
    for word in "$@"; do
        case ,$only, in *,"$word",*) chosen_of="$chosen_of $word" ;; esac
    done
    echo "${chosen_of:-$*}"
}
