# shellcheck shell=sh
# What the run.sh scripts share: the server, packages, skipping, cleaning up. Sourced after `name` is set, as in
#
#   name=java-sdk
#   . "$(dirname "$0")/../common.sh"
#   need mvn 'https://maven.apache.org'
#   start_server --stream orders:2
#   mvn ... "-Dendpoint=$endpoint"
#
# Sets: $here (the script's folder), $root (of the clone), $tools (kept between runs), $scratch (removed at the end).
# After start_server also $endpoint, $port, and with --tls-port $tls_endpoint, $tls_port and $ca (give --write-ca "$ca").
set -eu

: "${name:?set name before sourcing common.sh}"
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)
sim=${KINESIS_SIM:-${CARGO_TARGET_DIR:-$root/target}/debug/kinesis-sim}
# Installed packages: shared between scripts that ask for the same ones, and kept. Removing the folder is safe.
tools=${WORK:-${CARGO_TARGET_DIR:-$root/target}/interop}
mkdir -p "$tools"
tools=$(cd "$tools" && pwd)
scratch=$(mktemp -d)
ca=$scratch/ca.pem
started=

# Any credentials will do; a profile or a proxy of this machine must not come between.
export AWS_ACCESS_KEY_ID=any AWS_SECRET_ACCESS_KEY=any AWS_REGION=us-east-1 AWS_DEFAULT_REGION=us-east-1
export AWS_CONFIG_FILE="$scratch/none" AWS_SHARED_CREDENTIALS_FILE="$scratch/none" AWS_EC2_METADATA_DISABLED=true
export AWS_PAGER='' NO_PROXY="127.0.0.1,localhost${NO_PROXY:+,$NO_PROXY}" no_proxy="127.0.0.1,localhost${no_proxy:+,$no_proxy}"
unset AWS_PROFILE AWS_DEFAULT_PROFILE AWS_SESSION_TOKEN AWS_ENDPOINT_URL AWS_ENDPOINT_URL_KINESIS AWS_CA_BUNDLE

skip() {
    echo "skip: $name: $1"
    exit 0
}

fail() {
    echo "$name: $1" >&2
    exit 1
}

# need <tool> <how to get it>
need() {
    command -v "$1" >/dev/null 2>&1 || skip "$1 is not installed ($2)"
}

# Ends a process that this script started, by its id; one that does not end is killed after five seconds.
stop() {
    kill "$1" 2>/dev/null || return 0
    stop_tries=0
    while kill -0 "$1" 2>/dev/null; do
        stop_tries=$((stop_tries + 1))
        if [ $stop_tries -gt 50 ]; then
            echo "$name: process $1 did not stop within 5 s, so it was killed" >&2
            kill -9 "$1" 2>/dev/null || true
        fi
        sleep 0.1
    done
}

# later_stop <process id>: what else the script starts in the background.
later_stop() {
    started="$1 $started"
}

clean_up() {
    # The last started first.
    for process in $started; do
        stop "$process"
    done
    rm -rf "$scratch"
}
trap clean_up EXIT
trap 'exit 1' INT TERM HUP

# start_server [arguments of kinesis-sim]: on a free port; returns when it answers. $server is its process id.
start_server() {
    [ -x "$sim" ] || skip "$sim is not built (cargo build -p kinesis-sim --features server)"
    : >"$scratch/server.out"
    # There before it is looked into.
    : >"$scratch/server.out"
    "$sim" --port 0 "$@" >"$scratch/server.out" 2>&1 &
    server=$!
    later_stop "$server"
    case " $* " in
        *' --tls-port '*) awaited=https ;;
        *) awaited=http ;;
    esac
    start_tries=0
    until grep -q "listening on $awaited://" "$scratch/server.out"; do
        start_tries=$((start_tries + 1))
        if [ $start_tries -gt 100 ] || ! kill -0 "$server" 2>/dev/null; then
            cat "$scratch/server.out" >&2
            fail 'the server did not start'
        fi
        sleep 0.1
    done
    port=$(port_of http)
    endpoint=http://127.0.0.1:$port
    if [ $awaited = https ]; then
        tls_port=$(port_of https)
        # By name: some clients look for a name in the certificate, never for an address.
        tls_endpoint=https://localhost:$tls_port
    fi
    if command -v curl >/dev/null 2>&1; then
        case $(curl --silent --show-error --noproxy '*' --max-time 5 "$endpoint/health") in
            *'"status":"ok"'*) ;;
            *) fail "the server at $endpoint is not healthy" ;;
        esac
    fi
}

port_of() {
    sed -n "s|.*listening on $1://[^ ]*:\([0-9][0-9]*\).*|\1|p" "$scratch/server.out" | head -n 1
}

# The server ends by itself on a signal, and says nothing on the way: the last check of a script.
stop_server() {
    kill "$server"
    status=0
    wait "$server" || status=$?
    running=$started
    started=
    for process in $running; do
        [ "$process" = "$server" ] || started="$started $process"
    done
    [ $status -eq 0 ] || fail "the server ended with $status"
    lines=$(grep -vc 'listening on' "$scratch/server.out" || true)
    [ "$lines" -eq 0 ] || {
        cat "$scratch/server.out" >&2
        fail 'the server complained'
    }
}

# One set of versions for all scripts, so that they are installed once. Sets $python.
python_packages='boto3==1.44.3 awscli==1.46.3'
install_python() {
    need python3 'https://www.python.org'
    venv=$tools/python
    python=$venv/bin/python
    if [ "$(cat "$venv/installed" 2>/dev/null)" != "$python_packages" ]; then
        rm -rf "$venv"
        python3 -m venv "$venv" >/dev/null 2>&1 || skip 'python3 cannot make a virtual environment (python3-venv)'
        # Unquoted on purpose: several arguments.
        # shellcheck disable=SC2086
        "$python" -m pip install --quiet --disable-pip-version-check $python_packages ||
            skip "pip could not install $python_packages"
        printf '%s' "$python_packages" >"$venv/installed"
    fi
}

# install_node <package@version>...: sets $node_modules.
install_node() {
    need node 'https://nodejs.org'
    need npm 'https://nodejs.org'
    node_home=$tools/node-$(printf '%s' "$*" | cksum | cut -d ' ' -f 1)
    node_modules=$node_home/node_modules
    if [ ! -e "$node_home/installed" ]; then
        rm -rf "$node_home"
        mkdir -p "$node_home"
        npm install --prefix "$node_home" --no-save --no-audit --no-fund --ignore-scripts --loglevel=error "$@" >/dev/null ||
            skip "npm could not install $*"
        touch "$node_home/installed"
    fi
}

# Modules go to Go's own cache, at the versions of the script's go.mod and go.sum.
install_go() {
    need go 'https://go.dev'
    (cd "$here" && GOFLAGS=-mod=readonly go list -deps ./... >/dev/null 2>"$scratch/go.err") || {
        cat "$scratch/go.err" >&2
        skip 'go could not download its modules'
    }
}

# build_go <package>...: $scratch/<package> is the program; `.` makes $scratch/program.
build_go() {
    for package in "$@"; do
        program=$package
        [ "$package" != . ] || program=program
        (cd "$here" && GOFLAGS='-mod=readonly -buildvcs=false' go build -o "$scratch/$program" "./$package") ||
            fail "go could not build $package"
    done
}
