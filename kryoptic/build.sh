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

if ! has_libclang || ! command -v perl >/dev/null 2>&1 || ! command -v make >/dev/null 2>&1; then
    if command -v apt-get >/dev/null 2>&1; then
        say "installing libclang-dev, make and perl with apt-get"
        as_root env DEBIAN_FRONTEND=noninteractive apt-get update -q >&2
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends \
            libclang-dev make perl >&2
    elif command -v dnf >/dev/null 2>&1; then
        # Fedora packages the modules of perl one by one; OpenSSL's build wants several of them.
        say "installing clang-libs, make and perl with dnf"
        as_root dnf install -y clang-libs make perl >&2
    elif command -v apk >/dev/null 2>&1; then
        say "installing clang-libclang, linux-headers, make and perl with apk"
        as_root apk add --no-cache clang-libclang linux-headers make perl >&2
    else
        say "no apt-get, dnf or apk here; install libclang, make and perl by hand and run this again"
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
