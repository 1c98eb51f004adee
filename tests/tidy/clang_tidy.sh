#!/usr/bin/env bash
# A short clang-tidy list, warnings as errors. Usage: clang_tidy.sh [all | FILE...]; without
# arguments the small core. "N passed, N failed" at the end.
set -uo pipefail
cd "$(dirname "$0")/../.."
checks='-*,bugprone-use-after-move,bugprone-dangling-handle,bugprone-infinite-loop,bugprone-sizeof-expression,bugprone-string-constructor,bugprone-unused-raii,bugprone-undelegated-constructor,bugprone-unhandled-self-assignment,performance-for-range-copy,performance-move-const-arg,performance-unnecessary-copy-initialization,misc-unused-using-decls,modernize-use-override,modernize-use-nullptr'
case "${1:-core}" in
  all) mapfile -t files < <(git ls-files 'src/*.cc' 'apps/*.cc' | grep -vE '_(fuzz|bench)\.cc$') ;;
  core) mapfile -t files < <(git ls-files 'src/base/*.cc' 'src/op/*.cc' 'src/tensor/*.cc' 'src/api/*.cc') ;;
  *) files=("$@") ;;
esac
passed=0 failed=0
for file in "${files[@]}"; do
  if out=$(clang-tidy-16 -p build --quiet --warnings-as-errors='*' --checks="$checks" "$file" 2>/dev/null); then
    passed=$((passed + 1))
  else
    failed=$((failed + 1)); echo "FAILED: $file"; grep -E 'error:' <<<"$out" | head -5
  fi
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
