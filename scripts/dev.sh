#!/usr/bin/env bash
# Rebuilds and restarts at each change: cargo-leptos watches the Rust code, assets.mjs the styles.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/env.sh

# What is in target/site from here on is no release: `make build` has to make it anew.
rm -f target/site.stamp
node scripts/assets.mjs
node scripts/assets.mjs --watch &
trap 'kill %1 2>/dev/null || true' EXIT
cargo leptos watch --split -- serve
