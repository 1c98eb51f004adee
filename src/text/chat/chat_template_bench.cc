// Renders per second of chat templates: a dialog of ten messages with tools, and compilation.
#include <benchmark/benchmark.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/json.h"
#include "text/chat/chat_template.h"

namespace ramjet::text {
namespace {

std::string read(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

void run(benchmark::State& state, const std::filesystem::path& path) {
  const auto contexts = parse_ordered_json(read("tests/data/chat/contexts.json")).value();
  const auto compiled = ChatTemplate::compile(read(path)).value();
  RenderOptions options;
  options.now = TemplateTime{};
  for (auto _ : state) {
    benchmark::DoNotOptimize(compiled.render(contexts["multi+gen"], options).ok());
    benchmark::DoNotOptimize(compiled.render(contexts["tool_dialog+gen"], options).ok());
  }
  state.SetItemsProcessed(state.iterations() * 2);
}

void compile(benchmark::State& state, const std::filesystem::path& path) {
  const std::string source = read(path);
  for (auto _ : state) benchmark::DoNotOptimize(ChatTemplate::compile(source).ok());
}

/// The public templates where they are, else the project's own.
int register_all() {
  const std::filesystem::path shared = "../shared/data/chat_templates";
  const std::filesystem::path folder =
      std::filesystem::exists(shared) ? shared : "tests/data/chat/templates";
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const auto& path = entry.path();
    const std::string name = path.stem().string();
    benchmark::RegisterBenchmark(("render/" + name).c_str(), run, path);
    benchmark::RegisterBenchmark(("compile/" + name).c_str(), compile, path);
  }
  return 0;
}

const int kRegistered = register_all();

}  // namespace
}  // namespace ramjet::text
