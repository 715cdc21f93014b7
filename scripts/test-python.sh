#!/bin/sh
# Runs tests/python against a fresh `chancery dev`: stubs are generated from proto/, certificates come from dev.json.
# Needs python3 with venv and the Python package index; everything it installs stays under target/python.
set -eu
cd "$(dirname "$0")/.."

venv=target/python/venv
stubs=target/python/stubs
if ! [ -x "$venv/bin/python" ]; then
    python3 -m venv "$venv"
fi
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r tests/python/requirements.txt
rm -rf "$stubs" && mkdir -p "$stubs"
"$venv/bin/python" -m grpc_tools.protoc -I proto --python_out="$stubs" --grpc_python_out="$stubs" proto/chancery/v1/*.proto

./softhsm/install.sh
# CHANCERY_BIN names a binary that is there already, as in .ci/run.
chancery=${CHANCERY_BIN:-}
if [ -z "$chancery" ]; then
    cargo build --locked --bin chancery
    chancery=${CARGO_TARGET_DIR:-target}/debug/chancery
fi
dir=$(mktemp -d)
log=$dir/dev.log
"$chancery" dev --dir "$dir/dev" --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 >"$log" 2>&1 &
pid=$!
trap 'kill "$pid" 2>/dev/null || true; wait "$pid" 2>/dev/null || true; rm -rf "$dir"' EXIT
waited=0
until [ -s "$dir/dev/dev.json" ]; do
    if ! kill -0 "$pid" 2>/dev/null || [ "$waited" -ge 600 ]; then
        echo "chancery dev did not come up; it said:" >&2
        cat "$log" >&2
        exit 1
    fi
    sleep 0.1
    waited=$((waited + 1))
done
"$venv/bin/python" tests/python/sign_and_verify.py "$dir/dev/dev.json" "$stubs"
