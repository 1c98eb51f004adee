// The pairs of texts and ids in ../shared/data/tokenizers/expected, made by llama.cpp.
#include <gtest/gtest.h>

#include <sstream>
#include <string>
#include <vector>

#include "base/file.h"
#include "text/tokenizer/tokenizer.h"

namespace ramjet::text {
namespace {

const std::string kData = "../shared/data/tokenizers/";
constexpr std::string_view kSeparator = "\n__ggml_vocab_test__\n";

std::vector<std::string> read_inputs(const std::string& path) {
  const std::string all = read_file(path).value();
  std::vector<std::string> out;
  size_t start = 0;
  for (size_t at; (at = all.find(kSeparator, start)) != all.npos; start = at + kSeparator.size()) {
    out.push_back(all.substr(start, at - start));
  }
  out.push_back(all.substr(start));
  return out;
}

std::vector<std::vector<int32_t>> read_ids(const std::string& path) {
  std::vector<std::vector<int32_t>> out;
  std::istringstream lines(read_file(path).value());
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    out.emplace_back();
    for (int32_t id; words >> id;) out.back().push_back(id);
  }
  return out;
}

struct Pair {
  const char* name;
  const char* path;
};

class Pairs : public testing::TestWithParam<Pair> {};

TEST_P(Pairs, IdsEqual) {
  const std::string expected = kData + "expected/" + GetParam().name;
  if (!path_exists(expected + ".inp")) GTEST_SKIP() << "no " << kData << " beside this checkout";
  auto tokenizer = Tokenizer::load(kData + GetParam().path);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  const std::vector<std::string> inputs = read_inputs(expected + ".inp");
  const std::vector<std::vector<int32_t>> ids = read_ids(expected + ".out");
  ASSERT_GT(inputs.size(), 30u);
  ASSERT_GE(ids.size(), inputs.size() - 1);
  for (size_t i = 0; i < inputs.size() && i < ids.size(); ++i) {
    auto got = (*tokenizer)->encode(inputs[i], {.add_special_tokens = false});
    ASSERT_TRUE(got.ok()) << got.error().message;
    EXPECT_EQ(*got, ids[i]) << "input " << i << ": " << inputs[i];
  }
}

INSTANTIATE_TEST_SUITE_P(Shared, Pairs,
                         testing::Values(Pair{"gpt-2", "gpt2"}, Pair{"llama-bpe", "llama3"},
                                         Pair{"llama-spm", "llama2"},
                                         Pair{"llama-spm", "llama2/tokenizer.model"},
                                         Pair{"phi-3", "phi3-mini"}, Pair{"qwen2", "qwen2"}),
                         [](const auto& info) {
                           std::string name = info.param.name;
                           name += std::string_view(info.param.path).ends_with("r.model") ? "_model"
                                                                                          : "";
                           for (char& c : name) {
                             if (c == '-') c = '_';
                           }
                           return name;
                         });

}  // namespace
}  // namespace ramjet::text
