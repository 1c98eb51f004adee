// Encoding speed line by line on prose (WikiText-2) and code (this repository's own), decoding and
// loading. One thread. bench/tokenizer_speed.py sets it beside Hugging Face's library and adds
// tokenizers of its own in build/tokenizer-speed.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <sstream>

#include "base/file.h"
#include "text/stream/detokenizer.h"
#include "text/tokenizer/tokenizer.h"

namespace ramjet::text {
namespace {

const std::string kShared = "../shared/data/";
const std::string kMade = "build/tokenizer-speed/";

std::string corpus() {
  const std::string path = kShared + "eval/wikitext-2/valid.txt";
  return path_exists(path) ? read_file(path).value() : std::string();
}

/// Every header and source under src, by path.
std::string code() {
  std::vector<std::string> paths;
  for (const auto& entry : std::filesystem::recursive_directory_iterator("src")) {
    const std::string extension = entry.path().extension();
    if (extension == ".h" || extension == ".cc") paths.push_back(entry.path().string());
  }
  std::sort(paths.begin(), paths.end());
  std::string out;
  for (const std::string& path : paths) out += read_file(path).value();
  return out;
}

std::string path_of(const std::string& name) {
  return name.ends_with(".json") ? kMade + name : kShared + "tokenizers/" + name;
}

const Tokenizer* tokenizer_at(const std::string& name) {
  static std::map<std::string, std::unique_ptr<Tokenizer>> loaded;
  auto& slot = loaded[name];
  if (slot == nullptr && path_exists(path_of(name))) {
    slot = Tokenizer::load(path_of(name)).value();
  }
  return slot.get();
}

void encode(benchmark::State& state, const std::string& name, bool prose) {
  const Tokenizer* tokenizer = tokenizer_at(name);
  const std::string text = prose ? corpus() : code();
  if (tokenizer == nullptr || text.empty()) return state.SkipWithError("no ../shared/data");
  std::vector<std::string> pieces;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (!line.empty()) pieces.push_back(line);
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
  std::vector<std::string> names = {"gpt2",    "llama3",    "qwen2",   "llama2",
                                    "smollm2", "phi3-mini", "t5-small"};
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(kMade, error)) {
    names.push_back(entry.path().filename());
  }
  for (const std::string& n : names) {
    benchmark::RegisterBenchmark((n + "/prose").c_str(), encode, n, true)
        ->Unit(benchmark::kMillisecond);
    benchmark::RegisterBenchmark((n + "/code").c_str(), encode, n, false)
        ->Unit(benchmark::kMillisecond);
    if (n.ends_with(".json")) continue;
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
