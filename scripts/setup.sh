#!/usr/bin/env bash
# Installs what is missing, and nothing else: `setup.sh build` for `make run`, `setup.sh test` for the tests as well.
# Expects rustup, a C compiler, make and Node. What is there already costs under a second.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/env.sh

say() { echo "set-up: $*"; }
fail() { echo "set-up: $*" >&2; exit 1; }
have() { command -v "$1" >/dev/null; }

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"
  elif have sudo; then sudo "$@"
  else fail "needs root for: $*"
  fi
}

apt_install() {
  have apt-get || fail "install $* with your system's package manager, then try again"
  say "installing $* with apt-get (one to three minutes)"
  as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"
}

# The version in Cargo.lock of a crate.
locked() { awk -v name="$1" '$1 == "name" { hit = $3 == "\"" name "\"" } hit && $1 == "version" { gsub(/"/, "", $3); print $3; exit }' Cargo.lock; }

# tool CRATE VERSION MINUTES [cargo install flags]: prebuilt when that can be had, else compiled.
tool() {
  local crate=$1 version=$2 minutes=$3
  shift 3
  if cargo binstall -V >/dev/null 2>&1; then
    say "looking for a prebuilt $crate $version (at most two minutes)"
    if timeout 120 cargo binstall --no-confirm --disable-strategies compile --root "$tools" "$crate@$version"; then return; fi
  fi
  say "compiling $crate $version (about $minutes minutes on two cores; once per machine)"
  # Compile time is what counts here: the tool itself is as fast with these settings.
  CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_OPT_LEVEL=0 CARGO_PROFILE_RELEASE_CODEGEN_UNITS=256 \
    CARGO_PROFILE_RELEASE_DEBUG=0 CARGO_TARGET_DIR="$tools/build" \
    cargo install --root "$tools" --version "$version" "$@" "$crate"
  rm -rf "$tools/build"
}

# npm_ci FOLDER SECONDS: exactly what the lock file says, again only when that changes.
npm_ci() {
  cmp -s "$1/package-lock.json" "$1/node_modules/.installed-lock" && return
  say "installing the Node packages of $1/ (about $2 seconds)"
  (cd "$1" && PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD=1 npm ci --no-fund --no-audit --loglevel=error)
  cp "$1/package-lock.json" "$1/node_modules/.installed-lock"
}

# A Python client for the browser tests, in a folder of its own, again only when its list changes.
python_packages() {
  cmp -s end2end/requirements.txt end2end/.venv/.installed && return
  if ! python3 -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then apt_install python3 python3-venv; fi
  say "installing the Python packages of end2end/ (about a minute)"
  rm -rf end2end/.venv
  python3 -m venv end2end/.venv
  end2end/.venv/bin/pip install --quiet --disable-pip-version-check --requirement end2end/requirements.txt
  cp end2end/requirements.txt end2end/.venv/.installed
}

build() {
  have cargo || fail "Rust is missing: install it with rustup, https://rustup.rs"
  have cc || fail "a C compiler is missing: on Debian and Ubuntu, apt-get install build-essential"
  have npm || fail "Node.js with npm is missing: on Debian and Ubuntu, apt-get install nodejs npm"
  node -e 'process.exit(Number(process.versions.node.split(".")[0]) >= 18 ? 0 : 1)' || fail "Node.js 18 or newer is needed"

  if [ ! -d "$(rustc --print sysroot)/lib/rustlib/wasm32-unknown-unknown" ]; then
    say "adding the Rust target wasm32-unknown-unknown (under a minute)"
    rustup target add wasm32-unknown-unknown
  fi
  npm_ci frontend 15

  local bindgen
  bindgen=$(locked wasm-bindgen)
  # It refuses wasm made with any other version than its own.
  if [ "$(wasm-bindgen --version 2>/dev/null)" != "wasm-bindgen $bindgen" ]; then tool wasm-bindgen-cli "$bindgen" 2; fi
  if [ "$(cargo leptos --version 2>/dev/null)" != "cargo-leptos 0.3.7" ]; then tool cargo-leptos 0.3.7 6 --locked; fi
}

tests() {
  node -e 'process.exit(Number(process.versions.node.split(".")[0]) >= 20 ? 0 : 1)' || fail "the browser tests need Node.js 20 or newer"
  if ! cargo fmt --version >/dev/null 2>&1 || ! cargo clippy --version >/dev/null 2>&1; then
    rustup component add rustfmt clippy
  fi
  npm_ci end2end 30
  python_packages

  local missing=()
  compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || have initdb || missing+=(postgresql)
  # Ubuntu's package of that name only points to a snap: there, Playwright's own browser is taken.
  if [ ! -x "${GATEHOUSE_TEST_CHROMIUM:-/usr/bin/chromium}" ] && ! grep -qs '^ID=ubuntu' /etc/os-release; then missing+=(chromium); fi
  if [ ${#missing[@]} -gt 0 ]; then apt_install "${missing[@]}"; fi
  if [ ! -x "${GATEHOUSE_TEST_CHROMIUM:-/usr/bin/chromium}" ]; then
    say "fetching Playwright's Chromium (one to three minutes)"
    (cd end2end && as_root env "PATH=$PATH" npx playwright install-deps chromium && npx playwright install chromium)
  fi
}

audit() {
  if have cargo-deny; then return; fi
  tool cargo-deny 0.20.2 8 --locked
}

case "${1:-build}" in
  build) build ;;
  test) build; tests ;;
  audit) audit ;;
  *) fail "usage: setup.sh [build|test|audit]" ;;
esac
