#include "text/stream/detokenizer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <random>

#include "text/tokenizer/utf8.h"

namespace ramjet::text {
namespace {

const std::string kFixtures = "tests/data/tokenizers/";

std::vector<std::string> fixture_names() {
  std::vector<std::string> out;
  for (const auto& entry : std::filesystem::directory_iterator(kFixtures)) {
    const std::string name = entry.path().filename();
    const size_t at = name.find(".expected.json");
    if (at != name.npos) out.push_back(name.substr(0, at));
  }
  return out;
}

std::unique_ptr<Tokenizer> load(const std::string& name) {
  return Tokenizer::load(kFixtures + name + ".json").value();
}

/// Ids that a model might emit: any, but with byte tokens and specials often.
std::vector<int32_t> random_ids(const Tokenizer& tokenizer, std::mt19937& random) {
  std::vector<int32_t> ids;
  const int32_t size = tokenizer.vocab_size();
  for (uint32_t i = random() % 60; i > 0; --i) {
    switch (random() % 5) {
      case 0: ids.push_back(static_cast<int32_t>(random() % 8)); break;
      case 1: ids.push_back(static_cast<int32_t>(random() % 300) % size); break;
      case 2: {
        const auto some = tokenizer.encode("日 😀é the", {.add_special_tokens = false});
        ids.insert(ids.end(), some->begin(), some->end());
        break;
      }
      default: ids.push_back(static_cast<int32_t>(random() % static_cast<uint32_t>(size + 3)));
    }
  }
  return ids;
}

class Detokenizer : public testing::TestWithParam<std::string> {};

TEST_P(Detokenizer, JoinsToDecode) {
  const auto tokenizer = load(GetParam());
  std::mt19937 random(1);
  for (int round = 0; round < 400; ++round) {
    const bool skip = round % 2 == 0;
    const std::vector<int32_t> ids = random_ids(*tokenizer, random);
    IncrementalDetokenizer detokenizer(*tokenizer, skip);
    std::string joined;
    for (const int32_t id : ids) {
      const std::string piece = detokenizer.push(id);
      EXPECT_TRUE(is_valid_utf8(piece));
      joined += piece;
    }
    joined += detokenizer.flush();
    ASSERT_EQ(joined, tokenizer->decode(ids, skip)) << GetParam() << " round " << round;
  }
}

TEST_P(Detokenizer, ContinuesAPrompt) {
  const auto tokenizer = load(GetParam());
  const std::string text = "The engine's air, the stream and the sea 123";
  std::vector<int32_t> ids = tokenizer->encode(text, {.add_special_tokens = false}).value();
  const std::string whole = tokenizer->decode(ids);
  for (size_t cut = 1; cut < ids.size(); ++cut) {
    const std::span<const int32_t> all(ids);
    const std::string before = tokenizer->decode(all.first(cut));
    if (!whole.starts_with(before)) continue;
    IncrementalDetokenizer detokenizer(*tokenizer, true,
                                       all.first(cut).last(std::min<size_t>(cut, 4)));
    std::string joined;
    for (const int32_t id : all.subspan(cut)) joined += detokenizer.push(id);
    joined += detokenizer.flush();
    EXPECT_EQ(before + joined, whole) << GetParam() << " cut " << cut;
  }
}

INSTANTIATE_TEST_SUITE_P(All, Detokenizer, testing::ValuesIn(fixture_names()),
                         [](const auto& info) { return info.param; });

TEST(IncrementalDetokenizer, HoldsIncompleteCharacters) {
  const auto tokenizer = load("byte_level_gpt2");
  IncrementalDetokenizer detokenizer(*tokenizer);
  const auto byte = [&](const char* spelling) { return tokenizer->token_id(spelling).value(); };
  EXPECT_EQ(detokenizer.push(byte("a")), "a");
  EXPECT_EQ(detokenizer.push(byte("ð")), "");
  EXPECT_EQ(detokenizer.push(byte("Ł")), "");
  EXPECT_EQ(detokenizer.push(byte("ĺ")), "");
  EXPECT_EQ(detokenizer.push(byte("Ģ")), "😀");
  EXPECT_EQ(detokenizer.push(byte("ð")), "");
  EXPECT_EQ(detokenizer.push(byte("b")),
            "\xef\xbf\xbd"
            "b");
  EXPECT_EQ(detokenizer.push(byte("ð")), "");
  EXPECT_EQ(detokenizer.flush(), "\xef\xbf\xbd");
  EXPECT_EQ(detokenizer.flush(), "");
}

TEST(IncrementalDetokenizer, LeadingSpace) {
  const auto tokenizer = load("spm_prepend");
  const int32_t the = tokenizer->token_id("▁the").value();
  IncrementalDetokenizer fresh(*tokenizer);
  EXPECT_EQ(fresh.push(tokenizer->token_id("<s>").value()), "");
  EXPECT_EQ(fresh.push(the), "the");
  EXPECT_EQ(fresh.push(the), " the");
  const std::vector<int32_t> tail = {the, tokenizer->token_id("</s>").value()};
  IncrementalDetokenizer seeded(*tokenizer, true, tail);
  EXPECT_EQ(seeded.push(the), " the");
}

TEST(IncrementalDetokenizer, LongInvalidRunsStayCheap) {
  for (const char* name : {"byte_level_gpt2", "spm_prepend"}) {
    const auto tokenizer = load(name);
    const auto id = tokenizer->token_id(name[0] == 'b' ? "ð" : "<0xF0>").value();
    IncrementalDetokenizer detokenizer(*tokenizer);
    std::string joined;
    const std::vector<int32_t> ids(20000, id);
    for (const int32_t i : ids) joined += detokenizer.push(i);
    joined += detokenizer.flush();
    EXPECT_EQ(joined, tokenizer->decode(ids)) << name;
  }
}

}  // namespace
}  // namespace ramjet::text
