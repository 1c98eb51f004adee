// Every file under passes/tests/PASS/ is a graph, a line "---", and the graph that PASS makes of
// it. The folder "pipeline" is run through all passes up to fuse_pointwise.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <string>

#include "base/file.h"
#include "compiler/compiler.h"

namespace ramjet::compiler {
namespace {

namespace fs = std::filesystem;
constexpr std::string_view kFolder = "src/compiler/passes/tests";

std::vector<std::string> cases() {
  std::vector<std::string> paths;
  std::error_code error;
  for (const auto& entry : fs::recursive_directory_iterator(fs::path(kFolder), error)) {
    if (entry.path().extension() == ".txt") paths.push_back(entry.path().string());
  }
  std::sort(paths.begin(), paths.end());
  return paths;
}

Status run_named(std::string_view folder, ir::Graph& graph, PassContext& context) {
  if (folder != "pipeline") {
    const auto pass = make_pass(folder);
    if (pass == nullptr) return invalid_argument("there is no pass '{}'", folder);
    auto changed = pass->run(graph, context);
    if (!changed.ok()) return changed.error();
    return ir::verify(graph);
  }
  for (const auto& pass : standard_passes()) {
    if (pass->name() == "tactics") break;
    auto changed = pass->run(graph, context);
    if (!changed.ok()) return changed.error();
    RETURN_IF_ERROR(ir::verify(graph));
  }
  return ok_status();
}

TEST(PassText, EveryFile) {
  const auto paths = cases();
  ASSERT_GE(paths.size(), 9u) << "run from the repository's root";
  for (const std::string& path : paths) {
    SCOPED_TRACE(path);
    const auto text = read_file(path);
    ASSERT_TRUE(text.ok()) << text.error().message;
    const size_t split = text->find("---\n");
    ASSERT_NE(split, std::string::npos);
    auto graph = ir::parse(text->substr(0, split));
    ASSERT_TRUE(graph.ok()) << graph.error().message;
    CompileOptions options;
    // The pass's own folder shows what it does; elsewhere weights stay as they are.
    const std::string folder = fs::path(path).parent_path().filename().string();
    if (folder == "quantize" || path.find("int8") != std::string::npos) {
      options.quant = WeightQuant::kInt8Channel;
    }
    if (path.find("fp8") != std::string::npos) {
      options.quant = WeightQuant::kFp8Channel;
      options.unquantized = {"model.embed_tokens.weight"};
    }
    PassContext context{.options = &options};
    const Status status = run_named(folder, *graph, context);
    ASSERT_TRUE(status.ok()) << status.error().message;
    const std::string actual = ir::print(*graph);
    if (actual != text->substr(split + 4)) {
      const fs::path left = fs::temp_directory_path() /
                            ("ramjet_pass_" + folder + "_" + fs::path(path).filename().string());
      ASSERT_TRUE(write_file_atomically(left.string(), text->substr(0, split + 4) + actual).ok());
      ADD_FAILURE() << "another graph than expected: diff " << path << " " << left;
    }
    const auto again = ir::parse(ir::print(*graph));
    ASSERT_TRUE(again.ok()) << again.error().message;
  }
}

}  // namespace
}  // namespace ramjet::compiler
