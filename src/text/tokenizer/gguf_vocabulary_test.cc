#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <set>

#include "base/check.h"
#include "base/file.h"
#include "base/gguf/testing/gguf_writer.h"
#include "base/json.h"
#include "text/tokenizer/gguf_patterns.h"
#include "text/tokenizer/tokenizer.h"

namespace ramjet::text {
namespace {

using gguf::GgufWriter;
using testing::HasSubstr;

const std::string kFixtures = "tests/data/tokenizers/";

Result<std::unique_ptr<Tokenizer>> load(const GgufWriter& writer) {
  const std::string path = testing::TempDir() + "/vocabulary.gguf";
  CHECK(write_file_atomically(path, writer.bytes()).ok());
  return Tokenizer::load(path);
}

/// What llama.cpp's converter would write of a tokenizer.json; an empty `pre`: SentencePiece.
GgufWriter converted(const Json& json, std::string_view pre) {
  std::map<int, std::string> tokens;
  std::map<int, int> types;
  for (const auto& [token, id] : json["model"]["vocab"].items()) {
    tokens[id] = token;
    if (pre.empty() && token.size() == 6 && token.starts_with("<0x")) types[id] = 6;
  }
  for (const Json& token : json["added_tokens"]) {
    tokens[token["id"]] = token["content"];
    types[token["id"]] = !token["special"] ? 4 : token["content"] == "<unk>" ? 2 : 3;
  }
  std::vector<std::string> texts, merges;
  std::vector<int32_t> kinds;
  std::map<std::string, float> ranks;
  for (const auto& [id, token] : tokens) {
    while (texts.size() < static_cast<size_t>(id)) {  // ids that nothing has
      texts.push_back(fmt::format("[PAD{}]", texts.size()));
      kinds.push_back(5);
    }
    texts.push_back(token);
    kinds.push_back(types.contains(id) ? types[id] : 1);
  }
  for (const Json& merge : json["model"]["merges"]) {
    // Pairs, or in older files a string with a space.
    const std::string both = merge.is_string()
                                 ? merge.get<std::string>()
                                 : merge[0].get<std::string>() + " " + merge[1].get<std::string>();
    merges.push_back(both);
    std::string joined = both;
    joined.erase(joined.find(' ', 1), 1);
    ranks.emplace(joined, -static_cast<float>(merges.size()));
  }
  std::vector<float> scores;
  for (const std::string& text : texts) {
    scores.push_back(ranks.contains(text) ? ranks[text] : -1e6f);
  }
  GgufWriter writer;
  writer.text("general.architecture", "llama");
  writer.text("tokenizer.ggml.model", pre.empty() ? "llama" : "gpt2");
  writer.texts("tokenizer.ggml.tokens", texts).i32s("tokenizer.ggml.token_type", kinds);
  if (pre.empty()) {
    writer.f32s("tokenizer.ggml.scores", scores);
  } else {
    writer.text("tokenizer.ggml.pre", pre).texts("tokenizer.ggml.merges", merges);
  }
  const std::string post = dump_json(json["post_processor"]);
  writer.flag("tokenizer.ggml.add_bos_token", post.find("SpecialToken") != post.npos);
  const auto bos = std::find(texts.begin(), texts.end(), "<s>");
  if (bos != texts.end()) {
    writer.u32("tokenizer.ggml.bos_token_id", static_cast<uint32_t>(bos - texts.begin()));
  }
  return writer;
}

TEST(GgufVocabulary, EqualsTheTokenizerItWasMadeOf) {
  const std::pair<const char*, const char*> cases[] = {
      {"byte_level_gpt2", "gpt-2"},   {"byte_level_llama3", "llama-bpe"},
      {"byte_level_qwen2", "qwen2"},  {"byte_level_deepseek", "deepseek-v3"},
      {"byte_level_o200k", "gpt-4o"}, {"spm_prepend", ""},
  };
  for (const auto& [name, pre] : cases) {
    const Json json = *read_json_file(kFixtures + name + ".json");
    const auto tokenizer = load(converted(json, pre));
    ASSERT_TRUE(tokenizer.ok()) << name << ": " << tokenizer.error().message;
    const Json expected = *read_json_file(kFixtures + std::string(name) + ".expected.json");
    for (const Json& pair : expected) {
      const std::string text = pair["text"];
      const auto ids = (*tokenizer)->encode(text);
      ASSERT_TRUE(ids.ok());
      ASSERT_EQ(Json(*ids), pair["ids"]) << name << ": " << text;
      EXPECT_EQ(Json((*tokenizer)->decode(*ids)), pair["decoded"]) << name << ": " << text;
    }
  }
}

GgufWriter letters() {
  GgufWriter writer;
  writer.text("tokenizer.ggml.model", "gpt2").texts("tokenizer.ggml.merges", {"a b"});
  writer.texts("tokenizer.ggml.tokens", {"a", "b", "ab", "<bos>", "<eos>", "[PAD5]"});
  return writer;
}

TEST(GgufVocabulary, FramesAndTypesAreTheFiles) {
  GgufWriter writer = letters();
  writer.text("tokenizer.ggml.pre", "gpt-2").i32s("tokenizer.ggml.token_type", {1, 1, 1, 3, 3, 5});
  writer.u32("tokenizer.ggml.bos_token_id", 3).u32("tokenizer.ggml.eos_token_id", 4);
  writer.flag("tokenizer.ggml.add_bos_token", true).flag("tokenizer.ggml.add_eos_token", true);
  const auto tokenizer = load(writer);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  EXPECT_EQ(*(*tokenizer)->encode("ab<eos>a"), (std::vector<int32_t>{3, 2, 4, 0, 4}));
  EXPECT_EQ((*tokenizer)->decode(std::vector<int32_t>{3, 2, 4, 0, 4}), "aba");
  EXPECT_FALSE((*tokenizer)->token_id("[PAD5]").has_value());
  EXPECT_TRUE((*tokenizer)->is_special(3));
}

TEST(GgufVocabulary, ErrorsNameTheThing) {
  const auto message = [](const GgufWriter& writer) {
    const auto tokenizer = load(writer);
    return tokenizer.ok() ? "ok" : tokenizer.error().message;
  };
  EXPECT_THAT(message(letters().text("tokenizer.ggml.pre", "wonder-bpe")),
              HasSubstr("vocabulary.gguf: pre-tokenizer 'wonder-bpe' (metadata "
                        "'tokenizer.ggml.pre') is not known; known are llama-bpe"));
  EXPECT_EQ(message(letters()), "ok");  // files from before there was a name, with a warning
  EXPECT_THAT(message(GgufWriter().text("general.architecture", "llama")),
              HasSubstr("holds no vocabulary"));
  EXPECT_THAT(
      message(
          GgufWriter().text("tokenizer.ggml.model", "rwkv").texts("tokenizer.ggml.tokens", {"a"})),
      HasSubstr("tokenizer model 'rwkv'"));
  GgufWriter twice;
  twice.text("tokenizer.ggml.model", "llama").texts("tokenizer.ggml.tokens", {"a", "a"});
  EXPECT_THAT(message(twice), HasSubstr("tokens 0 and 1 are both 'a'"));
  GgufWriter bytes;
  bytes.text("tokenizer.ggml.model", "llama").texts("tokenizer.ggml.tokens", {"\xff"});
  EXPECT_THAT(message(bytes), HasSubstr("token 0 is not UTF-8"));
  EXPECT_THAT(message(letters().i32s("tokenizer.ggml.token_type", {1})),
              HasSubstr("'tokenizer.ggml.token_type' is array of i32 of 1"));
  EXPECT_THAT(message(letters().u32("tokenizer.ggml.bos_token_id", 6)),
              HasSubstr("'tokenizer.ggml.bos_token_id' is 6, there are 6 tokens"));
}

TEST(GgufVocabulary, EveryKnownPatternCompiles) {
  std::string names = known_gguf_pre_tokenizers() + " ";
  std::set<const GgufPreTokenizer*> rows;
  for (size_t space; (space = names.find(' ')) != names.npos; names.erase(0, space + 1)) {
    const std::string name = names.substr(0, space);
    const GgufPreTokenizer* row = find_gguf_pre_tokenizer(name);
    ASSERT_NE(row, nullptr) << name;
    if (!rows.insert(row).second) continue;
    const auto tokenizer = load(letters().text("tokenizer.ggml.pre", name));
    ASSERT_TRUE(tokenizer.ok()) << name << ": " << tokenizer.error().message;
    EXPECT_TRUE((*tokenizer)->encode("ab 12345 aba\n\n 今日 b's").ok()) << name;
  }
  EXPECT_GE(rows.size(), 20u);
  EXPECT_EQ(find_gguf_pre_tokenizer("llama"), nullptr);
}

}  // namespace
}  // namespace ramjet::text
