#!/bin/sh
# What can be said of the dependencies without a network: licences, bans, duplicates, sources (deny.toml).
# Advisories need a database from the network: `cargo deny check advisories` is a command of its own.
set -eu
cd "$(dirname "$0")/.."

if ! cargo deny --version >/dev/null 2>&1; then
    echo "cargo-deny is not installed: skipping licences, bans and sources (to have them: cargo install --locked cargo-deny)"
    exit 0
fi
cargo deny --locked --offline check licenses bans sources
