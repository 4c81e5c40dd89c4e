#!/usr/bin/env bash
# Builds target/site, all that the browser loads: the wasm in release and split by page, and the assets.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/env.sh

node scripts/assets.mjs
# It empties target/site, copies target/assets there (assets-dir), and runs wasm-bindgen and wasm-opt.
cargo leptos build --frontend-only --release --split
# No page asks for these.
rm -f target/site/pkg/*.d.ts target/site/pkg/gatehouse.css
node scripts/compress.mjs target/site
