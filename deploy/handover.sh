#!/usr/bin/env bash
# A restart without a gap: handover.sh OLD_PID MODEL [serve flags]
# Starts a server beside the old one (both with --reuse-port on the same --port), waits until it is
# ready, and asks the old one to leave. Prints the new pid. The old one goes on if the new one fails.
set -euo pipefail
old=$1; shift
out=$(mktemp)
trap 'rm -f "$out"' EXIT
"${RAMJET:-ramjet}" serve "$@" --reuse-port >"$out" &
new=$!
until grep -q '^ready ' "$out"; do
  kill -0 "$new" 2>/dev/null || { echo "the new server did not start; the old one stays" >&2; exit 1; }
  sleep 0.2
done
kill -TERM "$old"
echo "$new"
