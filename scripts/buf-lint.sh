#!/bin/sh
# Lints proto/ with buf, which comes from the Python package index into target/ (Python has a venv; npm may not be there).
set -eu
cd "$(dirname "$0")/.."

venv=${CARGO_TARGET_DIR:-target}/buf
if ! [ -x "$venv/bin/buf" ]; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check buf-bin==1.75.0
fi
"$venv/bin/buf" lint proto
echo "buf lint: no findings"
