#!/usr/bin/env bash
# Runs every fuzzer over its corpus for SECONDS each (default 60). "N passed, N failed" at the end.
set -uo pipefail
cd "$(dirname "$0")/../.."
seconds=${1:-60}
[ -f build/fuzz/build.ninja ] || cmake --preset fuzz >/dev/null || exit 1
mapfile -t names < <(git ls-files 'src/**/*_fuzz.cc' | xargs -n1 basename | sed 's/\.cc$//')
cmake --build build/fuzz -j "$(nproc)" --target "${names[@]}" >/dev/null || exit 1
passed=0 failed=0
for name in "${names[@]}"; do
  corpus=build/fuzz/corpus/$name
  mkdir -p "$corpus"
  seeds=tests/fuzz/${name%_fuzz}
  [ -d "$seeds" ] || seeds=
  if build/fuzz/bin/"$name" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 \
    -artifact_prefix="build/fuzz/$name-" "$corpus" $seeds >"build/fuzz/$name.log" 2>&1; then
    passed=$((passed + 1))
  else
    failed=$((failed + 1))
    echo "FAILED: $name"; grep -E 'ERROR|SUMMARY|Test unit' "build/fuzz/$name.log" | head -5
  fi
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
