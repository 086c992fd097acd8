# shellcheck shell=sh
# Sourced after common.sh.

# build_helper: sets $helper, this folder's program, which runs our own libraries.
build_helper() {
    need cargo 'https://rustup.rs'
    (cd "$root" && cargo build --quiet --example interop) || fail 'the helper does not compile'
    helper=${CARGO_TARGET_DIR:-$root/target}/debug/examples/interop
}
