#!/usr/bin/env bash
# The native tests, on both databases. Never with the frontend: one build cannot be both `ssr` and `hydrate`.
# With --quick only those that are done in two minutes: not the twins on PostgreSQL, and not those of whole processes.
set -euo pipefail
cd "$(dirname "$0")/.."

slow=(postgres process:: killed:: stopping:: exhaustion:: nodes:: clients:: upstream_oauth::)
tests=()
if cargo nextest --version >/dev/null 2>&1; then
  runner=(cargo nextest run)
  if [[ ${1-} == --quick ]]; then
    shift
    tests=(-E "not (test($(printf '%s) | test(' "${slow[@]}")nothing))")
  fi
else
  runner=(cargo test)
  if [[ ${1-} == --quick ]]; then
    shift
    tests=(--)
    for name in "${slow[@]}"; do tests+=(--skip "$name"); done
  fi
fi
exec scripts/with-postgres.sh "${runner[@]}" --workspace --exclude frontend "$@" "${tests[@]}"
