#!/bin/sh
# Builds Kryoptic, the second PKCS#11 token of the test suite, from crates.io, and prints the path of its module.
# Takes some minutes the first time, and is instant from then on: the module is kept under target/kryoptic, by the
# hash of Cargo.toml and Cargo.lock. What the build lacks is installed with the system's package manager.
set -eu
cd "$(dirname "$0")"

say() { printf 'kryoptic: %s\n' "$*" >&2; }

target=${CARGO_TARGET_DIR:-../target}
mkdir -p "$target/kryoptic"
home=$(cd "$target/kryoptic" && pwd)
key=$(cat Cargo.toml Cargo.lock | sha256sum | cut -c 1-16)
library=libkryoptic_pkcs11.so
kept="$home/$key/$library"

# The path without the key is the one that the tests know.
finish() {
    ln -sfn "$key/$library" "$home/$library.new"
    mv -f "$home/$library.new" "$home/$library"
    printf '%s\n' "$home/$library"
    exit 0
}

[ -f "$kept" ] && finish

# Runs a command as root.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null 2>&1; then
        sudo "$@"
    else
        say "installing needs root and there is no sudo; run as root: $*"
        exit 1
    fi
}

# The build translates C headers with libclang, and builds OpenSSL with perl and make.
has_libclang() {
    [ -n "${LIBCLANG_PATH:-}" ] && return
    for found in /usr/lib/llvm*/lib/libclang.so* /usr/lib/llvm*/lib/libclang-[0-9]*.so* \
        /usr/lib/*/libclang.so* /usr/lib/*/libclang-[0-9]*.so* /usr/lib64/libclang.so* /usr/lib/libclang.so*; do
        [ -e "$found" ] && return
    done
    return 1
}

# Debian's perl-base and Fedora's perl-interpreter come without modules that OpenSSL's build needs.
has_perl() { perl -MFile::Compare -MFile::Copy -MFindBin -MIPC::Cmd -MTime::Piece -e 1 2>/dev/null; }

# The names of the packages of each system for libclang, perl and make, where they are missing.
missing() {
    has_libclang || printf ' %s' "$1"
    has_perl || printf ' %s' "$2"
    command -v make >/dev/null 2>&1 || printf ' %s' "$3"
}

# shellcheck disable=SC2046 # several packages are several words
if [ -n "$(missing libclang perl make)" ]; then
    say "installing what the build lacks:$(missing libclang perl make)"
    if command -v apt-get >/dev/null 2>&1; then
        as_root env DEBIAN_FRONTEND=noninteractive apt-get update -q >&2
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends \
            $(missing libclang-dev perl make) >&2
    elif command -v dnf >/dev/null 2>&1; then
        as_root dnf install -y $(missing clang-devel perl make) >&2
    elif command -v apk >/dev/null 2>&1; then
        as_root apk add --no-cache linux-headers $(missing clang-libclang perl make) >&2
    else
        say "no apt-get, dnf or apk here; install them by hand and run this again"
        exit 1
    fi
fi

say "building Kryoptic $(sed -n 's/^kryoptic = .*"=\([0-9.]*\)".*/\1/p' Cargo.toml) and its OpenSSL, once; some minutes"
began=$(date +%s)
cargo build --locked --release --package kryoptic --target-dir "$home/build" >&2
mkdir -p "$home/$key"
cp "$home/build/release/$library" "$kept.new"
mv -f "$kept.new" "$kept"
# Hundreds of megabytes that nothing needs any more.
rm -rf "$home/build"
say "built in $(($(date +%s) - began)) s"
finish
