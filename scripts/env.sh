# shellcheck shell=bash
# Sourced by the other scripts: where the tools are. Ours come first, so that a user's other versions stay untouched.
tools="${XDG_CACHE_HOME:-$HOME/.cache}/gatehouse/tools"
# cargo-leptos takes wasm-opt and wasm-bindgen from PATH, and would download them otherwise.
export PATH="$PWD/frontend/node_modules/.bin:$tools/bin:${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
