#!/usr/bin/env bash
# How many lines of each parser its fuzzer reaches: tests/fuzz/coverage.sh [SECONDS [FUZZER...]]
#
# Every fuzzer runs over its committed corpus and whatever earlier runs found (build/fuzz/corpus),
# then SECONDS more (default 20). Prints a table; "N passed, N failed": below 80 % is a failure.
set -uo pipefail
cd "$(dirname "$0")/../.."
seconds=${1:-20}; shift || true
programs=${FUZZ_PROGRAMS:-build/fuzz/bin}
declare -A parser=(
  [safetensors]='src/checkpoint/safetensors.cc'
  [gguf]='src/base/gguf/gguf_parse.cc src/base/gguf/gguf_value.cc'
  [engine]='src/engine/engine_file.cc src/engine/manifest_decode.cc src/engine/manifest_verify.cc
            src/engine/launch_verify.cc'
  [tokenizer_json]='src/text/tokenizer/tokenizer_load.cc src/text/tokenizer/tokenizer.cc
            src/text/tokenizer/model.cc src/text/tokenizer/bpe.cc src/text/tokenizer/unigram.cc
            src/text/tokenizer/word_models.cc src/text/tokenizer/added_tokens.cc
            src/text/tokenizer/normalizer.cc src/text/tokenizer/pre_tokenizer.cc
            src/text/tokenizer/post_processor.cc src/text/tokenizer/decoder.cc
            src/text/tokenizer/pattern_translate.cc src/text/tokenizer/limits.cc'
  [sentencepiece]='src/text/tokenizer/sentencepiece_proto.cc
            src/text/tokenizer/tokenizer_sentencepiece.cc src/text/tokenizer/tokenizer_tiktoken.cc
            src/text/tokenizer/charsmap.cc src/text/tokenizer/charsmap_normalizers.cc'
  [chat_template]='src/text/chat/lexer.cc src/text/chat/string_literal.cc src/text/chat/parser.cc
            src/text/chat/parser_expressions.cc src/text/chat/scope.cc src/text/chat/symbols.cc
            src/text/chat/interpreter.cc src/text/chat/interpreter_calls.cc
            src/text/chat/interpreter_expressions.cc'
  [http_body]='src/server/openai/fields.cc src/server/openai/completion_request.cc
            src/server/openai/chat_request.cc src/server/openai/generation_fields.cc
            src/server/openai/constraint_fields.cc src/server/openai/tool_grammar.cc
            src/server/responses/responses_request.cc src/server/anthropic/messages_request.cc'
  [config]=$(git ls-files 'src/models/*.cc' | grep -Ev '_(test|fuzz)\.cc$')
)
[ $# -gt 0 ] && names=("$@") ||
  names=(safetensors gguf engine tokenizer_json sentencepiece chat_template http_body config)
if [ -z "${FUZZ_PROGRAMS:-}" ]; then
  [ -f build/fuzz/build.ninja ] || cmake --preset fuzz >/dev/null || exit 1
  cmake --build build/fuzz -j "$(nproc)" --target "${names[@]/%/_fuzz}" >/dev/null || exit 1
fi
out=build/fuzz/coverage
mkdir -p "$out"
passed=0 failed=0
printf '%-16s %7s %7s %9s\n' fuzzer lines reached percent
for name in "${names[@]}"; do
  program=$programs/${name}_fuzz
  found=build/fuzz/corpus/${name}_fuzz
  mkdir -p "$found"
  LLVM_PROFILE_FILE=$out/$name.profraw "$program" -max_total_time="$seconds" -timeout=10 \
    -artifact_prefix="build/fuzz/${name}_fuzz-" "$found" "tests/fuzz/$name" \
    >"$out/$name.log" 2>&1 || { echo "FAILED: $name: a finding, see $out/$name.log"; failed=$((failed + 1)); continue; }
  llvm-profdata-16 merge -o "$out/$name.profdata" "$out/$name.profraw"
  # shellcheck disable=SC2086  # a list of files
  read -r lines missed < <(llvm-cov-16 report "$program" -instr-profile="$out/$name.profdata" \
    ${parser[$name]} | tee "$out/$name.txt" | awk '$1 == "TOTAL" {print $8, $9}')
  percent=$(awk -v l="$lines" -v m="$missed" 'BEGIN {printf "%.1f", 100 * (l - m) / l}')
  printf '%-16s %7d %7d %8s%%\n' "$name" "$lines" "$((lines - missed))" "$percent"
  if awk -v p="$percent" 'BEGIN {exit !(p >= 80)}'; then passed=$((passed + 1)); else
    failed=$((failed + 1)); echo "FAILED: $name is below 80 %"
  fi
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
