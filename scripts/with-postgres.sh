#!/usr/bin/env bash
# with-postgres.sh COMMAND…: runs it with a throwaway PostgreSQL, whose address is in GATEHOUSE_TEST_POSTGRES_URL.
# A server of one's own is used instead when that variable is set already; its role must be able to create databases.
set -euo pipefail

if [ -n "${GATEHOUSE_TEST_POSTGRES_URL:-}" ]; then exec "$@"; fi

# Debian keeps them off PATH, a folder per version.
bin=$(printf '%s\n' /usr/lib/postgresql/*/bin | sort -V | tail -n 1)
if [ ! -x "$bin/initdb" ]; then bin=$(dirname "$(command -v initdb)"); fi
if [ ! -x "$bin/initdb" ]; then echo "no PostgreSQL found: run make setup-test" >&2; exit 1; fi

dir=$(mktemp -d "${TMPDIR:-/tmp}/gatehouse-pg.XXXXXX")
as=()
# PostgreSQL refuses to run as root.
if [ "$(id -u)" = 0 ]; then
  user=nobody
  if id postgres >/dev/null 2>&1; then user=postgres; fi
  chown "$user" "$dir"
  as=(setpriv "--reuid=$user" "--regid=$(id -g "$user")" --clear-groups)
fi
# From here on a folder that the other user can enter: the server changes to its own.
run() {
  local program=$1
  shift
  (cd "$dir" && "${as[@]}" "$bin/$program" "$@")
}

stop() {
  run pg_ctl -D "$dir/data" -m immediate -s stop >/dev/null 2>&1 || true
  rm -rf "$dir"
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

password=$(head -c 16 /dev/urandom | od -An -tx1 | tr -d ' \n')
printf '%s' "$password" >"$dir/password"
chmod 644 "$dir/password"
# `password` rather than SCRAM: tests open many connections, and the debug build is slow at hashing.
run initdb -D "$dir/data" -U postgres -E UTF8 --locale=C.UTF-8 --no-sync --auth=password --pwfile="$dir/password" >/dev/null

for _ in 1 2 3; do
  # Somebody may take the port between asking and binding: then ask again.
  port=$(node -e 'const s = require("net").createServer().listen(0, "127.0.0.1", () => { console.log(s.address().port); s.close(); })')
  if run pg_ctl -D "$dir/data" -l "$dir/log" -w -s start -o "-p $port -k $dir \
    -c listen_addresses=127.0.0.1 -c max_connections=300 -c fsync=off -c synchronous_commit=off -c full_page_writes=off"; then
    started=yes
    break
  fi
done
if [ -z "${started:-}" ]; then cat "$dir/log" >&2; exit 1; fi

export GATEHOUSE_TEST_POSTGRES_URL="postgres://postgres:$password@127.0.0.1:$port/postgres"
"$@"
