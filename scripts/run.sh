#!/bin/sh
# make run: from a fresh clone to a signature that is on the record, and a service that stays up.
# Can be run again at any time; keys stay in the folder. Needs no terminal. Ctrl-C, or SIGTERM to this script, stops it.
#
#   CHANCERY_RUN_DIR           the folder (default: .chancery/dev)
#   CHANCERY_RUN_LISTEN        where a new folder's service listens (default: 127.0.0.1:8443; port 0 takes a free one)
#   CHANCERY_RUN_ADMIN_LISTEN  the same for metrics and probes (default: 127.0.0.1:9443)
set -eu
cd "$(dirname "$0")/.."

dir=${CHANCERY_RUN_DIR:-.chancery/dev}
chancery=${CARGO_TARGET_DIR:-target}/debug/chancery

say() { printf '\n==> %s\n' "$*"; }

say "Installing what is missing"
./softhsm/install.sh

say "Building"
cargo build --locked --bin chancery

say "Starting chancery dev --dir $dir"
set -- --dir "$dir"
if [ -n "${CHANCERY_RUN_LISTEN:-}" ]; then set -- "$@" --listen "$CHANCERY_RUN_LISTEN"; fi
if [ -n "${CHANCERY_RUN_ADMIN_LISTEN:-}" ]; then set -- "$@" --admin-listen "$CHANCERY_RUN_ADMIN_LISTEN"; fi
work=$(mktemp -d)
"$chancery" dev "$@" >"$work/dev" &
service=$!

stop() {
    trap - INT TERM HUP EXIT
    kill -TERM "$service" 2>/dev/null || true
    wait "$service" 2>/dev/null || true
    rm -rf "$work"
}
trap 'stop; exit 130' INT
trap 'stop; exit 143' TERM HUP
trap 'status=$?; stop; exit "$status"' EXIT

# Where another process has the folder, ours says so and ends. Ours serves when the lock names it (which it does before it
# removes an old dev.json) and the service answers.
waited=0
while :; do
    if ! kill -0 "$service" 2>/dev/null; then
        status=0; wait "$service" || status=$?
        exit "$status"
    fi
    if [ "$(cat "$dir/dev.lock" 2>/dev/null)" = "$service" ] && [ -s "$dir/dev.json" ] &&
        "$chancery" health --dev "$dir" >/dev/null 2>&1; then
        break
    fi
    waited=$((waited + 1))
    if [ "$waited" -gt 600 ]; then
        echo "chancery dev is not healthy after a minute; its messages are above" >&2
        "$chancery" health --dev "$dir" >&2 || true
        exit 1
    fi
    sleep 0.1
done

sed '/^Try,/,$d' "$work/dev"    # what it made, and where it serves; what to try comes below

say "Creating the key dev/hello, unless it is there"
"$chancery" keys list dev --dev "$dir" | awk '$1 == "keyRings/dev/keys/hello" { print; found = 1 } END { exit !found }' ||
    "$chancery" keys create dev/hello --algorithm ECDSA_P256_SHA256 --dev "$dir"

say "Signing and verifying a message through the public API"
date > "$work/message"
"$chancery" sign dev/hello --in "$work/message" --signature "$work/signature" --dev "$dir"
"$chancery" verify dev/hello --in "$work/message" --signature "$work/signature" --dev "$dir"

say "What is on the record"
"$chancery" audit list --limit 5 --dev "$dir"

cat <<END

Chancery is up. Try, in another terminal:

  export CHANCERY_DEV=$dir
  alias chancery=$chancery
  chancery health
  chancery keys list
  echo 'pay 5 to Ada' | chancery sign dev/hello
  chancery public-key dev/hello
  chancery keys rotate dev/hello
  chancery policy explain --caller operator --action Sign --resource dev/hello
  chancery audit list
  chancery bench

Ctrl-C stops it. The keys stay in $dir.
END
wait "$service"
