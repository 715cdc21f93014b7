#!/bin/sh
# Installs SoftHSM2, the software token for development and tests, with the system's package manager.
# Does nothing where its module is there already; can be run again at any time.
set -eu

say() { printf 'softhsm: %s\n' "$*"; }

find_module() {
    if [ -n "${SOFTHSM2_MODULE:-}" ]; then
        [ -f "$SOFTHSM2_MODULE" ] && printf '%s\n' "$SOFTHSM2_MODULE"
        return
    fi
    # The same places, in the same order, as chancery_hsm::find_softhsm_module.
    for module in \
        /usr/lib/softhsm/libsofthsm2.so \
        /usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so \
        /usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so \
        /usr/lib64/pkcs11/libsofthsm2.so \
        /usr/lib64/softhsm/libsofthsm2.so \
        /usr/lib/pkcs11/libsofthsm2.so \
        /usr/lib/libsofthsm2.so \
        /opt/homebrew/lib/softhsm/libsofthsm2.so \
        /usr/local/lib/softhsm/libsofthsm2.so \
        /usr/local/lib/libsofthsm2.so; do
        if [ -f "$module" ]; then
            printf '%s\n' "$module"
            return
        fi
    done
}

# Runs a command as root.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null 2>&1; then
        sudo "$@"
    else
        say "installing needs root and there is no sudo; run as root: $*" >&2
        exit 1
    fi
}

module=$(find_module) || true
if [ -n "$module" ]; then
    say "the module is there: $module"
    exit 0
fi
if [ -n "${SOFTHSM2_MODULE:-}" ]; then
    say "SOFTHSM2_MODULE is $SOFTHSM2_MODULE, and there is no such file; correct it or unset it" >&2
    exit 1
fi

if command -v apt-get >/dev/null 2>&1; then
    # libsofthsm2 is the module alone: no tool, no token directory, no group.
    say "installing the package libsofthsm2 with apt-get"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get update -q
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends libsofthsm2
elif command -v dnf >/dev/null 2>&1; then
    say "installing the package softhsm with dnf"
    as_root dnf install -y softhsm
elif command -v apk >/dev/null 2>&1; then
    say "installing the package softhsm with apk"
    as_root apk add --no-cache softhsm
elif command -v brew >/dev/null 2>&1; then
    say "installing the formula softhsm with brew"
    brew install softhsm
else
    say "no apt-get, dnf, apk or brew here; install SoftHSM 2.6 by hand and set SOFTHSM2_MODULE to its libsofthsm2.so" >&2
    exit 1
fi

module=$(find_module) || true
if [ -z "$module" ]; then
    say "the package is installed, but its module is in none of the usual places; set SOFTHSM2_MODULE to its libsofthsm2.so" >&2
    exit 1
fi
say "installed: $module"
