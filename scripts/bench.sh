#!/bin/sh
# make bench: `chancery bench` with the given options against a service of its own, in a temporary folder.
set -eu
cd "$(dirname "$0")/.."

chancery=${CARGO_TARGET_DIR:-target}/release/chancery
work=$(mktemp -d)
"$chancery" dev --dir "$work/dev" --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 >"$work/log" 2>&1 &
service=$!
trap 'kill -TERM "$service" 2>/dev/null || true; wait "$service" 2>/dev/null || true; rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

waited=0
until [ -s "$work/dev/dev.json" ]; do
    waited=$((waited + 1))
    if ! kill -0 "$service" 2>/dev/null || [ "$waited" -gt 600 ]; then
        echo "chancery dev did not come up; it said:" >&2
        cat "$work/log" >&2
        exit 1
    fi
    sleep 0.1
done
"$chancery" bench --dev "$work/dev" "$@"
