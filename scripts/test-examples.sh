#!/bin/sh
# Runs each program of examples/ against one fresh `chancery dev`, where its toolchain is present and its dependencies can be
# had (from the registries that the toolchain is set up for, or from its own cache: the second run needs no network). What
# cannot be run is said; a program that fails, or none that runs, is a failure.
#
#   scripts/test-examples.sh [rust python go java node]     only these
#   CHANCERY_BIN                                            a binary that is there already; built otherwise
set -eu
cd "$(dirname "$0")/.."
root=$PWD
target=${CARGO_TARGET_DIR:-target}
case $target in /*) ;; *) target=$root/$target ;; esac
cache=$target/examples
mkdir -p "$cache"

say() { printf '\n==> %s\n' "$*"; }
has() { command -v "$1" >/dev/null 2>&1; }

./softhsm/install.sh
chancery=${CHANCERY_BIN:-}
if [ -z "$chancery" ]; then
    cargo build --locked --bin chancery
    chancery=$target/debug/chancery
fi
chancery=$(realpath "$chancery")

# The service stops when the pipe to it is closed: at the latest when this script ends, however that is.
work=$(mktemp -d)
mkfifo "$work/life"
"$chancery" dev --dir "$work/dev" --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 --stop-on-eof \
    <"$work/life" >"$work/log" 2>&1 &
service=$!
exec 9>"$work/life"
trap 'status=$?; exec 9>&-; wait "$service" 2>/dev/null || true; rm -rf "$work"; exit "$status"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
waited=0
until [ -s "$work/dev/dev.json" ]; do
    if ! kill -0 "$service" 2>/dev/null || [ "$waited" -ge 600 ]; then
        echo "chancery dev did not come up; it said:" >&2
        cat "$work/log" >&2
        exit 1
    fi
    sleep 0.1
    waited=$((waited + 1))
done
export CHANCERY_DEV="$work/dev"
"$chancery" keys create dev/example --algorithm ECDSA_P256_SHA256 >/dev/null

# For each program: what it needs, how its dependencies are got (may fail for want of a network), how it is built and run.

rust_needs() { has cargo; }
rust_get() { :; }    # fetched with the workspace
rust_run() { (cd examples/rust && cargo run --quiet --locked); }

python_needs() { has python3 && python3 -c 'import venv, ensurepip' 2>/dev/null; }
python_get() {
    venv=$cache/python
    if ! cmp -s examples/python/requirements.txt "$venv/requirements.txt"; then
        rm -rf "$venv" && python3 -m venv "$venv" &&
            "$venv/bin/pip" install --quiet --disable-pip-version-check -r examples/python/requirements.txt &&
            cp examples/python/requirements.txt "$venv/"
    fi
}
python_run() {
    gen=$cache/python-gen
    rm -rf "$gen" && mkdir -p "$gen" &&
        "$cache/python/bin/python" -m grpc_tools.protoc -I proto --python_out="$gen" --grpc_python_out="$gen" \
            proto/chancery/v1/*.proto &&
        PYTHONPATH=$gen "$cache/python/bin/python" examples/python/sign.py
}

# Go 1.21 and later fetch the toolchain that go.mod asks for.
go_needs() { has go && has python3; }
go_get() {
    if ! [ -x "$target/buf/bin/buf" ]; then ./scripts/buf-lint.sh >/dev/null || return; fi
    (cd examples/go && go mod download)
}
go_run() {
    (cd examples/go && PATH="$target/buf/bin:$PATH" go generate ./... && go vet ./... && go build -o "$cache/go" .) && "$cache/go"
}

# Not `dependency:go-offline`, which does not know that the generating plugin fetches protoc, nor `-o`, with which that plugin
# does nothing: what Maven has, it does not fetch again.
java_needs() { has mvn && has javac; }
java_get() {
    mvn -q -B -f examples/java/pom.xml compile org.codehaus.mojo:exec-maven-plugin:help >"$work/java" 2>&1 && return
    cat "$work/java"
    # Only what could not be fetched is a reason to skip: what does not compile fails here, too.
    grep -Eq 'Could not transfer|Unknown host|resolution failed|could not be resolved' "$work/java" || exit 1
    return 1
}
java_run() { mvn -q -B -o -f examples/java/pom.xml exec:java; }

node_needs() { has npm && node -e 'process.exit(+(process.versions.node.split(".")[0] < 20))' 2>/dev/null; }
node_get() {
    if ! cmp -s examples/node/package-lock.json examples/node/node_modules/.of-lock; then
        (cd examples/node && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null) &&
            cp examples/node/package-lock.json examples/node/node_modules/.of-lock
    fi
}
node_run() { (cd examples/node && node sign.js); }

[ "$#" -gt 0 ] || set -- rust python go java node
ran='' skipped='' failed=''
for language; do
    say "$language ($(date -u +%H:%M:%S))"
    if ! "${language}_needs"; then
        echo "SKIP $language: its toolchain is not on this machine (examples/$language/README.md says what it needs)"
        skipped="$skipped $language"
    elif ! "${language}_get"; then
        echo "SKIP $language: its dependencies cannot be fetched, and are not all cached (is there a network?)"
        skipped="$skipped $language"
    elif "${language}_run"; then
        ran="$ran $language"
    else
        echo "FAIL $language"
        failed="$failed $language"
    fi
done

say "examples: ran${ran:- none}; skipped${skipped:- none}; failed${failed:- none}"
if [ -n "$failed" ]; then
    echo "What chancery dev said last:" >&2
    tail -n 20 "$work/log" >&2
    exit 1
fi
[ -n "$ran" ] || { echo "no example could be run: install a toolchain" >&2; exit 1; }
