#!/usr/bin/env bash
# Measures dist/gatehouse on SQLite and on a throwaway PostgreSQL. Arguments go to the benchmark: --quick, for one. With
# `soak` first it lets clients misbehave instead, on SQLite alone, and looks at memory.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo build --release -p bench
bench=target/release/bench
gatehouse=${GATEHOUSE_BENCH_BINARY:-dist/gatehouse}
if [[ ${1:-} == soak ]]; then
  exec "$bench" "$@" --gatehouse "$gatehouse"
fi
"$bench" run --gatehouse "$gatehouse" "$@"
"$bench" memory --gatehouse "$gatehouse" "$@"
"$bench" overview --gatehouse "$gatehouse" --rows 10000000 "$@"

# On a server of one's own it makes a database and removes it again.
exec scripts/with-postgres.sh bash -euo pipefail -c '
  bench=$1 gatehouse=$2
  shift 2
  name=gatehouse_bench_$$
  psql "$GATEHOUSE_TEST_POSTGRES_URL" -qc "CREATE DATABASE $name"
  trap "psql \"$GATEHOUSE_TEST_POSTGRES_URL\" -qc \"DROP DATABASE $name WITH (FORCE)\"" EXIT
  url=${GATEHOUSE_TEST_POSTGRES_URL%%\?*}
  "$bench" run --gatehouse "$gatehouse" --postgres "${url%/*}/$name" "$@"
  psql "$GATEHOUSE_TEST_POSTGRES_URL" -qc "DROP DATABASE $name WITH (FORCE)" -c "CREATE DATABASE $name"
  "$bench" overview --gatehouse "$gatehouse" --postgres "${url%/*}/$name" --rows 10000000 "$@"
' bench.sh "$bench" "$gatehouse" "$@"
