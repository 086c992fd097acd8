# shellcheck shell=bash
# Sourced by .ci/run and .ci/full: goes to the root of the clone, names the one target folder, runs and counts steps.

exec </dev/null
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
case ${CARGO_TARGET_DIR:-} in
    "") CARGO_TARGET_DIR=$root/target ;;
    /*) ;;
    *) CARGO_TARGET_DIR=$PWD/$CARGO_TARGET_DIR ;;
esac
export CARGO_TARGET_DIR CARGO_INCREMENTAL=0 CARGO_TERM_COLOR=never
cd "$root" || exit 1

steps=0
skipped=0
failed=""

# step <headline> <command...>: a failing step is remembered, the others still run.
step() {
    local headline=$1
    shift
    steps=$((steps + 1))
    printf '\n== %s (at %d s)\n' "$headline" "$SECONDS"
    if ! "$@"; then
        failed="$failed${failed:+; }$headline"
        printf 'failed: %s\n' "$headline"
    fi
}

skip() {
    skipped=$((skipped + 1))
    printf '\nskip: %s\n' "$1"
}

# installed <cargo subcommand>
installed() {
    cargo "$1" --version >/dev/null 2>&1
}

# within <seconds> <command...>: bounded where the system has `timeout`.
within() {
    local seconds=$1
    shift
    if command -v timeout >/dev/null; then
        timeout --kill-after=5 "$seconds" "$@"
    else
        "$@"
    fi
}

# summary <name>: one line, and the exit code.
summary() {
    if [[ -n $failed ]]; then
        printf '\n%s: FAILED (%s), %d steps, %d skipped, %d s\n' "$1" "$failed" "$steps" "$skipped" "$SECONDS"
        exit 1
    fi
    printf '\n%s: ok, %d steps, %d skipped, %d s\n' "$1" "$steps" "$skipped" "$SECONDS"
}
