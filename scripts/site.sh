#!/usr/bin/env bash
# Builds target/site, all that the browser loads: the wasm in release and split by page, and the assets.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/env.sh

# A panic tells the file it happened in. Where this machine keeps them is nobody's business, and would make every machine's
# wasm another one. (This replaces the flags of .cargo/config.toml, so theirs are here as well.)
sources=${CARGO_HOME:-$HOME/.cargo}/registry/src
export RUSTFLAGS="--cfg erase_components --remap-path-prefix=$PWD/= --remap-path-prefix=$sources/="

node scripts/assets.mjs
# It empties target/site, copies target/assets there (assets-dir), and runs wasm-bindgen. It would also start wasm-opt
# for each of its two hundred files; here it finds one that does nothing, and optimise.mjs does it in one go.
nothing=$(mktemp -d)
trap 'rm -rf "$nothing"' EXIT
printf '#!/bin/sh\n' >"$nothing/wasm-opt"
chmod +x "$nothing/wasm-opt"
PATH="$nothing:$PATH" cargo leptos build --frontend-only --release --split
# No page asks for these.
rm -f target/site/pkg/*.d.ts target/site/pkg/gatehouse.css
node scripts/optimise.mjs target/site/pkg
node scripts/pack.mjs target/site
node scripts/compress.mjs target/site
