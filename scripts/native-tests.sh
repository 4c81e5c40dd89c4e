#!/usr/bin/env bash
# The native tests, on both databases. Never with the frontend: one build cannot be both `ssr` and `hydrate`.
set -euo pipefail
cd "$(dirname "$0")/.."

if cargo nextest --version >/dev/null 2>&1; then
  runner=(cargo nextest run)
else
  runner=(cargo test)
fi
exec scripts/with-postgres.sh "${runner[@]}" --workspace --exclude frontend "$@"
