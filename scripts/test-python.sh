#!/bin/sh
# Runs the tests of testkit/python: the pytest fixtures against real services, and through them the contract as a Python caller
# meets it. Needs python3 with venv and the Python package index; what it installs stays under target/testkit.
set -eu
cd "$(dirname "$0")/.."
target=$(realpath "${CARGO_TARGET_DIR:-target}")

venv=$target/testkit/python
if ! cmp -s testkit/python/pyproject.toml "$venv/pyproject.toml"; then
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check --editable 'testkit/python[test]'
    cp testkit/python/pyproject.toml "$venv/"
fi

./softhsm/install.sh
# CHANCERY_BIN names a binary that is there already, as in .ci/run.
if [ -z "${CHANCERY_BIN:-}" ]; then
    cargo build --locked --bin chancery
    CHANCERY_BIN=$target/debug/chancery
fi
CHANCERY_BIN=$(realpath "$CHANCERY_BIN")
export CHANCERY_BIN
cd testkit/python
exec "$venv/bin/python" -m pytest -q "$@"
