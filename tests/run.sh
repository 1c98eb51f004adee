#!/usr/bin/env bash
# The test suite. Usage: tests/run.sh [deep]
#
# Fast: release build and all unit tests, the core again under ASan + UBSan, the style guide as a
# test, end-to-end tests of the binary and the Python clients. Deep adds everything else under
# ASan + UBSan, what has threads and a served model under TSan, clang-tidy on all, longer fuzzing,
# soak and big comparisons. Every suite is run even when an earlier one failed; the last line is
# "N passed, N failed, N skipped".
set -uo pipefail
cd "$(dirname "$0")/.."
deep=${1:-}
jobs=$(nproc)
passed=0 failed=0 skipped=0
logs=build/test-logs

section() { printf '\n== %s (%ss)\n' "$1" "$SECONDS"; }
fail() { printf 'FAILED: %s\n' "$1"; failed=$((failed + 1)); }

# build PRESET TARGET...: an incremental build; a failure is one failed test. Configured each time:
# `make serve` may have done it before what only the tests want was installed.
build() {
  local preset=$1; shift
  local dir=build; [ "$preset" = release ] || dir=build/$preset
  cmake --preset "$preset" >"$logs/$preset-configure.log" 2>&1 ||
    { tail -20 "$logs/$preset-configure.log"; fail "configure $preset"; return 1; }
  # What does not compile takes nothing else with it.
  if ! cmake --build "$dir" -j "$jobs" --target "$@" -- -k 0 >"$logs/$preset-build.log" 2>&1; then
    grep -E 'error|FAILED' -A 8 "$logs/$preset-build.log" | head -60
    fail "build $preset"; return 1
  fi
}

# start NAME COMMAND...: runs a GoogleTest program beside at most one other; count NAME adds what it said.
# LIMIT: the most seconds one may take.
start() {
  local name=$1; shift
  while [ "$(jobs -rp | wc -l)" -ge "$jobs" ]; do wait -n; done
  { timeout "${LIMIT:-900}" "$@" >"$logs/$name.log" 2>&1; echo $? >"$logs/$name.rc"; } &
}
count() {
  local name=$1 log="$logs/$1.log" rc p f s
  rc=$(cat "$logs/$name.rc")
  p=$(sed -n 's/^\[  PASSED  \] \([0-9]*\) test.*/\1/p' "$log" | tail -1)
  f=$(sed -n 's/^\[  FAILED  \] \([0-9]*\) test.*/\1/p' "$log" | tail -1)
  s=$(sed -n 's/^\[  SKIPPED \] \([0-9]*\) test.*/\1/p' "$log" | tail -1)
  passed=$((passed + ${p:-0})) failed=$((failed + ${f:-0})) skipped=$((skipped + ${s:-0}))
  if [ "$rc" -ne 0 ]; then
    grep -E '^\[  FAILED  \]|Failure|ERROR: |runtime error|CHECK\(' -A 6 "$log" | head -60
    # A crash or a time-out prints no count of its own.
    if [ -z "${f:-}" ]; then tail -5 "$log"; fail "$name (exit $rc)"; fi
  fi
  printf '%-28s %s passed, %s failed, %s skipped\n' "$name" "${p:-0}" "${f:-0}" "${s:-0}"
}

# gtests PREFIX PROGRAM...: several of them, the long ones in two parts.
gtests() {
  local prefix=$1 program name names=() part; shift
  for program in "$@"; do
    name=$prefix$(basename "$program")
    if [[ ! $program =~ (e2e|kernels)_test$ ]]; then
      names+=("$name"); start "$name" "$program"
      continue
    fi
    for part in 0 1; do
      names+=("$name-$part")
      start "$name-$part" env GTEST_TOTAL_SHARDS=2 GTEST_SHARD_INDEX=$part "$program"
    done
  done
  wait
  for name in "${names[@]}"; do count "$name"; done
}

# counted NAME COMMAND...: a program that ends with "N passed, N failed[, N skipped]"; LIMIT as above.
counted() {
  local name=$1; shift
  local log="$logs/$name.log"
  timeout "${LIMIT:-1800}" "$@" >"$log" 2>&1
  local rc=$?
  local line p f s
  line=$(grep -E '[0-9]+ (passed|failed|skipped|error)' "$log" | tail -1)
  p=$(sed -n 's/.*[^0-9]\{0,1\}\b\([0-9][0-9]*\) passed.*/\1/p' <<<"$line")
  f=$(sed -n 's/.*\b\([0-9][0-9]*\) failed.*/\1/p' <<<"$line")
  s=$(sed -n 's/.*\b\([0-9][0-9]*\) skipped.*/\1/p' <<<"$line")
  passed=$((passed + ${p:-0})) failed=$((failed + ${f:-0})) skipped=$((skipped + ${s:-0}))
  if [ $rc -ne 0 ]; then
    grep -E '^(FAILED|ERROR|E  |tidy)' "$log" | head -40
    if [ "${f:-0}" -eq 0 ]; then tail -15 "$log"; fail "$name (exit $rc)"; fi
  fi
  printf '%-28s %s\n' "$name" "${line:-no count, exit $rc}"
}

python_environment() {
  [ -x .venv/bin/pytest ] && [ .venv/installed -nt tests/python/requirements.txt ] && return
  python3 -m venv .venv && .venv/bin/pip install -q -r tests/python/requirements.txt \
    >"$logs/pip.log" 2>&1 && touch .venv/installed || { tail -5 "$logs/pip.log"; fail "pip"; return 1; }
}

mkdir -p "$logs"
section "release build"
build release all  # a failure is counted there; what did build is tested all the same
section "unit tests"
gtests "" build/bin/*_test

section "style"
counted tidy python3 tests/tidy/tidy.py

section "ASan + UBSan core"
core=(base_test tensor_test op_test ir_test checkpoint_test engine_test)
if build core "${core[@]}"; then  # -O0: half of the time to build
  ASAN_OPTIONS=detect_leaks=1 gtests asan- "${core[@]/#/build/core/bin/}"
fi

section "clients"
if python_environment; then
  counted python .venv/bin/pytest -q -x --maxfail=20 tests/python
fi

# soak NAME BINARY ARGUMENT...: clients that hang up on a served demo model, and its clean end.
soak() {
  local name=$1 binary=$2; shift 2
  # A quarantine of freed memory that fills at once, so that growth is ours.
  LIMIT=7200 counted "$name" env RAMJET_BINARY="$binary" ASAN_OPTIONS=quarantine_size_mb=8 \
    .venv/bin/python tests/python/soak.py "$@"
}
small=(--requests 600 --concurrency 64 --minutes 60 --timeout 1800)
# What a sanitizer sees end to end in minutes: hostile engines, samplers, policies, a run a family.
some='HostileEngine.*:Sampling.*:Policy.*:Network.*:*F32EqualsTransformers*'

if [ "$deep" = deep ]; then
  section "families in depth"  # the first ones are above
  GTEST_ALSO_RUN_DISABLED_TESTS=1 GTEST_FILTER='DISABLED_Deep/*' LIMIT=3600 \
    gtests deep- build/bin/e2e_test
  section "ASan + UBSan, the rest"
  rest=(runtime_test device_test text_test kernels_test models_test compiler_test server_test)
  if build dev "${rest[@]}" e2e_test ramjet; then
    LIMIT=3600 gtests asan- "${rest[@]/#/build/dev/bin/}"
    LIMIT=3600 GTEST_FILTER=$some gtests asan- build/dev/bin/e2e_test
    soak asan-soak build/dev/ramjet "${small[@]}"
  fi
  section "TSan"
  threaded=(base_test device_test text_test kernels_test compiler_test runtime_test server_test)
  if build tsan "${threaded[@]}" e2e_test ramjet; then
    export TSAN_OPTIONS=suppressions=$PWD/tests/tsan.supp
    LIMIT=3600 gtests tsan- "${threaded[@]/#/build/tsan/bin/}"
    LIMIT=3600 GTEST_FILTER='Policy.*:Sampling.*' gtests tsan- build/tsan/bin/e2e_test
    soak tsan-soak build/tsan/ramjet "${small[@]}"
  fi
  section "clang-tidy"
  LIMIT=7200 counted clang-tidy tests/tidy/clang_tidy.sh all
  section "fuzzing"
  LIMIT=7200 counted fuzz tests/fuzz/run.sh 600
  section "comparisons"
  if .venv/bin/pip install -q -r tests/python/comparisons.txt >"$logs/pip.log" 2>&1; then
    LIMIT=7200 counted tokenizers .venv/bin/python tests/python/tokenizer_differential.py
    LIMIT=7200 counted gguf .venv/bin/python tests/python/gguf_differential.py
    LIMIT=7200 counted templates .venv/bin/python tests/python/template_differential.py \
      build/ramjet --cases 2000
    LIMIT=7200 counted grammars .venv/bin/python tests/python/grammar_differential.py build/ramjet
    counted kserve .venv/bin/pytest -q tests/python/test_kserve.py  # fast runs have no tritonclient
    counted schemas .venv/bin/python tests/python/random_schemas.py --count 500
    counted openapi .venv/bin/python tests/python/openapi_conformance.py
    GTEST_ALSO_RUN_DISABLED_TESTS=1 GTEST_FILTER='TokenMask.DISABLED_Deep*' LIMIT=3600 \
      gtests deep-masks- build/bin/text_test
    section "the page in a browser"
    tools/install_dependencies.sh chromium
    counted page .venv/bin/pytest -q tests/python/test_page.py
  else
    tail -5 "$logs/pip.log"; fail "pip"
  fi
  section "wheel"
  rm -rf build/wheel-env && python3 -m venv build/wheel-env
  if build/wheel-env/bin/pip wheel -q . --no-deps -w build/wheels >"$logs/wheel.log" 2>&1 &&
    build/wheel-env/bin/pip install -q build/wheels/*.whl -r tests/python/requirements.txt \
      >>"$logs/wheel.log" 2>&1; then
    RAMJET_PYTHON=/nonexistent counted wheel build/wheel-env/bin/pytest -q \
      tests/python/test_package.py
  else
    tail -5 "$logs/wheel.log"; fail "wheel"
  fi
  section "soak"
  soak soak build/ramjet --minutes 30
fi

section "done"
printf '%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
[ "$failed" -eq 0 ]
