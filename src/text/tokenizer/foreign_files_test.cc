// Tokenizers that are no tokenizer.json: SentencePiece models, tiktoken ranks, vocab.txt and
// vocab.json. Models and what their own library makes of texts:
// tools/make_sentencepiece_fixtures.py.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "base/file.h"
#include "base/json.h"
#include "text/tokenizer/charsmap.h"
#include "text/tokenizer/conversion.h"
#include "text/tokenizer/sentencepiece_model.h"
#include "text/tokenizer/tokenizer.h"

namespace ramjet::text {
namespace {

const std::string kModels = "tests/data/sentencepiece/";
constexpr EncodeOptions kPlain{.add_special_tokens = false, .parse_special = false};

TEST(SentencePiece, EqualsItsOwnLibrary) {
  for (const std::string name : {"bpe_bytes", "unigram_rules", "unigram_suffix", "char"}) {
    const auto tokenizer = Tokenizer::load(kModels + name + ".model").value();
    const auto again = Tokenizer::from_serialized(tokenizer->serialized()).value();
    const Json expected = read_json_file(kModels + name + ".expected.json").value();
    ASSERT_GT(expected.size(), 70u);
    for (const Json& item : expected) {
      const auto text = item.at("text").get<std::string>();
      const auto ids = item.at("ids").get<std::vector<int32_t>>();
      EXPECT_EQ(tokenizer->encode(text, kPlain).value(), ids) << name << ": " << text;
      EXPECT_EQ(again->encode(text, kPlain).value(), ids) << name << ": " << text;
    }
  }
}

TEST(SentencePiece, ConfigDecidesAboutBosAndEos) {
  const std::string bytes = read_file(kModels + "bpe_bytes.model").value();
  const SentencePieceModel model = read_sentencepiece(bytes).value();
  const auto ids = [&](const char* config) {
    const Json json = json_of_sentencepiece(model, config).value();
    return Tokenizer::from_json(dump_json(json)).value()->encode("").value();
  };
  EXPECT_EQ(ids(""), (std::vector<int32_t>{1}));
  EXPECT_EQ(ids(R"({"add_bos_token": false, "add_eos_token": true})"), (std::vector<int32_t>{2}));
  EXPECT_EQ(ids(R"({"tokenizer_class": "T5Tokenizer"})"), (std::vector<int32_t>{2}));
  const auto refused =
      json_of_sentencepiece(model, R"({"tokenizer_class": "XLMRobertaTokenizer"})");
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.error().message.find("tokenizer.json"), std::string::npos);
}

TEST(SentencePiece, DamageIsAnError) {
  const std::string good = read_file(kModels + "unigram_rules.model").value();
  int refused = 0;
  for (size_t at = 1; at < good.size(); at += 37) {
    refused += !read_sentencepiece(good.substr(0, at)).ok();
    std::string bad = good;
    bad[at] = static_cast<char>(bad[at] ^ 0x55);
    const auto model = read_sentencepiece(bad);
    if (!model.ok()) continue;
    const auto json = json_of_sentencepiece(*model, "");
    if (json.ok()) (void)Tokenizer::from_json(dump_json(*json));
  }
  EXPECT_GT(refused, 10);
  EXPECT_FALSE(read_sentencepiece("").ok());
}

/// The 256 bytes, then " a", "aa" and "aaa".
std::string small_ranks() {
  std::string out;
  int rank = 0;
  const auto line = [&](const std::string& token) {
    out += encode_base64(token) + " " + std::to_string(rank++) + "\n";
  };
  for (int byte = 0; byte < 256; ++byte) line(std::string(1, static_cast<char>(byte)));
  for (const char* token : {" a", "aa", "aaa"}) line(token);
  return out;
}

TEST(Tiktoken, NameDecidesWhereSizeDoesNot) {
  const auto tokenizer = [](const char* name) {
    const Json json = json_from_tiktoken(small_ranks(), name).value();
    return Tokenizer::from_json(dump_json(json)).value();
  };
  const auto r50k = tokenizer("r50k_base.tiktoken");
  EXPECT_EQ(r50k->token_id("<|endoftext|>"), 50256);
  EXPECT_EQ(r50k->encode("aaaa aa").value(), (std::vector<int32_t>{257, 257, 256, 'a'}));
  const auto llama = tokenizer("llama3.model");
  EXPECT_EQ(llama->encode("b").value(), (std::vector<int32_t>{259, 'b'}));
  EXPECT_EQ(llama->token_id("<|eot_id|>"), 268);
  EXPECT_EQ(tokenizer("qwen.tiktoken")->token_id("<|im_end|>"), 261);
  EXPECT_EQ(tokenizer("o200k_harmony.tiktoken")->token_id("<|channel|>"), 200005);
  const auto unknown = json_from_tiktoken(small_ranks(), "mine.tiktoken");
  ASSERT_FALSE(unknown.ok());
  EXPECT_NE(unknown.error().message.find("259 ranks"), std::string::npos);
}

TEST(Tiktoken, BadLinesAreNamed) {
  for (const char* text :
       {"YQ== 0\nYg==\n", "YQ== 0\n! 1\n", "YQ== 0\nYg== 0\n", "YQ== 0\nYg== x\n"}) {
    const auto json = json_from_tiktoken(text, "cl100k");
    ASSERT_FALSE(json.ok()) << text;
    EXPECT_NE(json.error().message.find("line 2"), std::string::npos) << json.error().message;
  }
  EXPECT_FALSE(json_from_tiktoken("", "cl100k").ok());
}

TEST(VocabularyFiles, Folders) {
  const auto folder =
      std::filesystem::temp_directory_path() / ("ramjet-vocabulary-" + std::to_string(::getpid()));
  std::filesystem::create_directory(folder);
  const auto write = [&](const char* name, const std::string& text) {
    std::ofstream(folder / name) << text;
  };
  write("vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\nen\n##gine\nan\n");
  const auto bert = Tokenizer::load(folder.string()).value();
  EXPECT_EQ(bert->encode("An ENGINE x").value(), (std::vector<int32_t>{2, 6, 4, 5, 1, 3}));
  EXPECT_EQ(bert->encode_pair("an", "an").value().type_ids, (std::vector<int32_t>{0, 0, 0, 1, 1}));
  write("tokenizer_config.json", R"({"do_lower_case": false})");
  EXPECT_EQ(Tokenizer::load((folder / "vocab.txt").string()).value()->encode("An").value(),
            (std::vector<int32_t>{2, 1, 3}));
  write("vocab.json", R"({"<s>":0,"</s>":2,"a":4,"b":5,"ab":6,"b</w>":7,"ab</w>":8,
                         "<|startoftext|>":9,"<|endoftext|>":10})");
  write("merges.txt", "#version: 0.2\na b\na b</w>\n");
  const auto ids = [&](const std::string& name) {
    write("tokenizer_config.json", "{\"tokenizer_class\": \"" + name + "\"}");
    return Tokenizer::load((folder / "vocab.json").string()).value()->encode("ab").value();
  };
  EXPECT_EQ(ids("GPT2Tokenizer"), (std::vector<int32_t>{6}));
  EXPECT_EQ(ids("RobertaTokenizer"), (std::vector<int32_t>{0, 6, 2}));
  EXPECT_EQ(ids("CLIPTokenizer"), (std::vector<int32_t>{9, 8, 10}));
  write("tokenizer_config.json", R"({"tokenizer_class": "MarianTokenizer"})");
  const auto refused = Tokenizer::load(folder.string());
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.error().message.find("MarianTokenizer"), std::string::npos);
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace ramjet::text
