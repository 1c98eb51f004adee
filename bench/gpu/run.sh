#!/bin/bash
# Tests and benchmarks of a machine with one NVIDIA GPU; results as JSON under OUT.
#
#   bench/gpu/run.sh RAMJET OUT [part ...]      parts: tests greedy latency prefill throughput
#                                               kernels profile trace start rivals (all if none named)
# RAMJET is the binary. Shapes come from bench/configs with dummy weights, so nothing is fetched.
# LIMIT=seconds ends each command; MODELS names what is measured, of 8b-bf16 8b-fp8 70b-fp8; BATCHES
# those of latency, SHAPES isl/osl/requests of throughput; WORK=folder keeps engines for the next call.
# tests wants E2E_TEST=program, trace wants TRACE=AzureLLMInferenceTrace_conv_2023.csv: else they say so.
# Then bench/gpu/report.py draws the tables and plots.
set -u
ramjet=$(realpath "$1") out=$(realpath -m "$2")
shift 2
root=$(cd "$(dirname "$0")/../.." && pwd)
parts=${*:-tests greedy latency prefill throughput kernels profile trace start rivals}
models=${MODELS:-8b-bf16 8b-fp8 70b-fp8}
limit=${LIMIT:-300}
if [ -n "${WORK:-}" ]; then
  work=$WORK
else
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
fi
mkdir -p "$out" "$work"
export XDG_CACHE_HOME=${XDG_CACHE_HOME:-$work/cache}

say() { printf '\n== %s\n' "$*"; }
step() { timeout "$limit" "$@"; }

options() {  # of a model: folder and build options
  case $1 in
    8b-bf16) echo "llama-3-8b --dtype bf16" ;;
    8b-fp8) echo "llama-3-8b --quantize fp8 --kv-dtype fp8" ;;
    70b-fp8) echo "llama-3-70b --quantize fp8 --kv-dtype fp8" ;;
  esac
}

engine() {  # builds it once, and says how long that took
  local file=$work/$1.engine folder
  if [ ! -f "$file" ]; then
    read -r folder flags <<<"$(options "$1")"
    # shellcheck disable=SC2086
    step "$ramjet" build "$root/bench/configs/$folder" -o "$file" --dummy-weights \
      --max-batch-size "${MAX_BATCH:-512}" --max-num-tokens "${MAX_TOKENS:-8192}" $flags --json \
      >"$out/build-$1.json" 2>"$work/log" || tail -3 "$work/log" >&2
    python3 -c "
import json; j = json.load(open('$out/build-$1.json'))
del j['path']; json.dump(j, open('$out/build-$1.json', 'w'), separators=(',', ':'))
print('build $1: %.1f s, %s' % (j['seconds'], 'tuned' if j['tuned'] else 'not tuned'))" >&2
  fi
  echo "$file"
}

served() {  # the 8B shape with the demo model's tokenizer: a server wants one; builds FILE with the flags
  local file=$1
  shift
  mkdir -p "$work/served"
  cp "$root"/models/demo/{tokenizer.json,tokenizer_config.json,chat_template.jinja} "$work/served"
  cp "$root/bench/configs/llama-3-8b/config.json" "$work/served"
  step "$ramjet" build "$work/served" -o "$file" --max-batch-size "${MAX_BATCH:-512}" \
    --max-num-tokens "${MAX_TOKENS:-8192}" "$@" 2>"$work/log" >/dev/null || tail -3 "$work/log"
}

tests() {
  say "end-to-end tests on the GPU"
  [ -n "${E2E_TEST:-}" ] || { echo "no E2E_TEST"; return; }
  (cd "$root" && step "$E2E_TEST" --gtest_filter='*Gpu*:Goldens/*' 2>&1) >"$out/e2e.log"
  grep -E "^\[  (PASSED|FAILED|SKIPPED)" "$out/e2e.log"
}

greedy() {
  say "greedy tokens of the demo model, GPU beside CPU"
  local ids=1,10,50,200,300,77,9 device
  for device in gpu cpu; do
    RAMJET_DEVICE=$device step "$ramjet" run "$root/models/demo" --prompt-ids $ids --max-tokens 200 \
      --temperature 0 --ignore-eos --json >"$work/$device.json" 2>"$work/log" ||
      tail -3 "$work/log"
  done
  python3 - "$work/gpu.json" "$work/cpu.json" <<'P'
import json, sys
gpu, cpu = (json.load(open(p)) for p in sys.argv[1:])
a, b = gpu["token_ids"], cpu["token_ids"]
first = next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), None)
print(gpu["device"], "|", cpu["device"], "|",
      f"{len(a)} tokens equal" if a == b else f"first difference at token {first}")
P
}

latency() {
  local model batch file
  for model in $models; do
    file=$(engine "$model")
    for batch in ${BATCHES:-1 16 64}; do
      say "latency $model batch $batch"
      step "$ramjet" bench latency "$file" --batch $batch --isl 512 --osl 128 --warmup 1 \
        --output "$out/latency-$model-b$batch.json" 2>"$work/log" || tail -3 "$work/log"
    done
  done
}

prefill() {
  local model isl file
  for model in $models; do
    file=$(engine "$model")
    for isl in 1024 8000; do
      say "prefill $model $isl tokens"
      step "$ramjet" bench latency "$file" --batch 1 --isl $isl --osl 2 --warmup 1 \
        --output "$out/prefill-$model-$isl.json" 2>"$work/log" || tail -3 "$work/log"
    done
  done
}

throughput() {  # SHAPES: isl/osl/requests
  local model shape isl osl requests file
  for model in $models; do
    [ "$model" = 8b-bf16 ] && continue
    file=$(engine "$model")
    for shape in ${SHAPES:-128/128/4096 128/2048/2048 1000/1000/2048 2048/128/1024 2048/2048/1024 5000/500/512}; do
      IFS=/ read -r isl osl requests <<<"$shape"
      say "throughput $model $isl/$osl, $requests requests"
      step "$ramjet" bench throughput "$file" --isl "$isl" --osl "$osl" --requests "$requests" \
        --output "$out/throughput-$model-$isl-$osl.json" 2>"$work/log" || tail -3 "$work/log"
    done
  done
}

kernels() {
  local file
  file=$(engine 8b-fp8)
  say "kernels of 8b-fp8 beside cuBLASLt"
  step "$ramjet" bench kernels "$file" --output "$out/kernels-8b-fp8.json" >"$work/log" 2>&1 ||
    tail -3 "$work/log"
}

profile() {
  local model file
  for model in $models; do
    file=$(engine "$model")
    say "profile $model"
    for batch in 1 256; do
      step "$ramjet" bench profile "$file" --batch $batch --context 1024 \
        --output "$out/profile-$model-b$batch.json" >"$work/log" 2>&1 || tail -3 "$work/log"
    done
  done
}

trace() {  # Azure's conversations at three rates, through the server
  local file rate url
  [ -n "${TRACE:-}" ] || { echo "no TRACE"; return; }
  file=$work/served-fp8.engine
  served "$file" --dummy-weights --quantize fp8 --kv-dtype fp8
  "$ramjet" serve "$file" --port 0 --no-request-log >"$work/ready" 2>"$work/log" &
  local server=$!
  for _ in $(seq 300); do grep -q ready "$work/ready" && break; sleep 0.1; done
  url=$(awk '/^ready/ {print $2}' "$work/ready")
  for rate in 4 12 24; do
    say "trace at $rate requests a second"
    step "$ramjet" bench serve --base-url "$url" --dataset "trace:$TRACE" --max-len 8000 \
      --vocab-size 5000 --request-rate $rate --num-prompts $((rate * 25)) \
      --output "$out/trace-8b-fp8-$rate.json" | grep -E "TTFT|TPOT|Failed|throughput"
  done
  kill -TERM $server && wait $server
}

rivals() {
  say "transformers on the same GPU"
  step python3 "$root/bench/gpu/rivals.py" "$out/rivals.json" || echo "rc $?"
}

start() {
  say "serve an 8B engine with its bytes stored: to the first token"
  local file=$work/stored.engine
  served "$file" --dummy-weights=stored --no-tune
  cat "$file" >/dev/null
  python3 "$root/bench/gpu/start.py" "$ramjet" "$file" "$out/start-8b-bf16.json"
}

for part in $parts; do "$part"; done
