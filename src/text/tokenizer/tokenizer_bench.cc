// Encoding speed on WikiText-2, line by line and as one text; load time. One thread.
#include <benchmark/benchmark.h>

#include <map>
#include <sstream>

#include "base/file.h"
#include "text/stream/detokenizer.h"
#include "text/tokenizer/tokenizer.h"

namespace ramjet::text {
namespace {

const std::string kShared = "../shared/data/";

std::string corpus() {
  const std::string path = kShared + "eval/wikitext-2/valid.txt";
  return path_exists(path) ? read_file(path).value() : std::string();
}

const Tokenizer* tokenizer_at(const std::string& name) {
  static std::map<std::string, std::unique_ptr<Tokenizer>> loaded;
  auto& slot = loaded[name];
  if (slot == nullptr && path_exists(kShared + "tokenizers/" + name)) {
    slot = Tokenizer::load(kShared + "tokenizers/" + name).value();
  }
  return slot.get();
}

void encode(benchmark::State& state, const std::string& name, bool whole) {
  const Tokenizer* tokenizer = tokenizer_at(name);
  const std::string text = corpus();
  if (tokenizer == nullptr || text.empty()) return state.SkipWithError("no ../shared/data");
  std::vector<std::string> pieces;
  if (whole) {
    pieces.push_back(text);
  } else {
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) {
      if (!line.empty()) pieces.push_back(line);
    }
  }
  size_t tokens = 0;
  for (auto _ : state) {
    tokens = 0;
    for (const std::string& piece : pieces) tokens += tokenizer->encode(piece).value().size();
  }
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * text.size()));
  state.counters["tokens"] = static_cast<double>(tokens);
}

void decode_stream(benchmark::State& state, const std::string& name) {
  const Tokenizer* tokenizer = tokenizer_at(name);
  const std::string text = corpus().substr(0, 200000);
  if (tokenizer == nullptr || text.empty()) return state.SkipWithError("no ../shared/data");
  const std::vector<int32_t> ids = tokenizer->encode(text).value();
  for (auto _ : state) {
    IncrementalDetokenizer detokenizer(*tokenizer);
    size_t size = 0;
    for (const int32_t id : ids) size += detokenizer.push(id).size();
    benchmark::DoNotOptimize(size);
  }
  state.SetItemsProcessed(static_cast<int64_t>(state.iterations() * ids.size()));
}

void load(benchmark::State& state, const std::string& name) {
  if (!path_exists(kShared + "tokenizers/" + name)) return state.SkipWithError("no ../shared/data");
  for (auto _ : state) {
    benchmark::DoNotOptimize(Tokenizer::load(kShared + "tokenizers/" + name).value());
  }
}

void load_serialized(benchmark::State& state, const std::string& name) {
  const Tokenizer* tokenizer = tokenizer_at(name);
  if (tokenizer == nullptr) return state.SkipWithError("no ../shared/data");
  for (auto _ : state) {
    benchmark::DoNotOptimize(Tokenizer::from_serialized(tokenizer->serialized()).value());
  }
  state.counters["bytes"] = static_cast<double>(tokenizer->serialized().size());
}

const int kRegistered = [] {
  for (const char* name : {"gpt2", "llama3", "qwen2", "llama2", "smollm2"}) {
    const std::string n = name;
    benchmark::RegisterBenchmark((n + "/lines").c_str(), encode, n, false)
        ->Unit(benchmark::kMillisecond);
    benchmark::RegisterBenchmark((n + "/whole").c_str(), encode, n, true)
        ->Unit(benchmark::kMillisecond);
    benchmark::RegisterBenchmark((n + "/detokenize").c_str(), decode_stream, n)
        ->Unit(benchmark::kMillisecond);
    benchmark::RegisterBenchmark((n + "/load").c_str(), load, n)->Unit(benchmark::kMillisecond);
    benchmark::RegisterBenchmark((n + "/load_serialized").c_str(), load_serialized, n)
        ->Unit(benchmark::kMillisecond);
  }
  return 0;
}();

}  // namespace
}  // namespace ramjet::text
