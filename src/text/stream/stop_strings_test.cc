#include "text/stream/stop_strings.h"

#include <gtest/gtest.h>

#include <random>

#include "text/tokenizer/utf8.h"

namespace ramjet::text {
namespace {

/// The whole text at once: where the stop that ends first ends; of those the longest.
struct Expected {
  std::string text;
  std::optional<int> matched;
};
Expected expected(const std::vector<std::string>& stops, const std::string& text, bool include) {
  for (size_t end = 1; end <= text.size(); ++end) {
    int best = -1;
    for (size_t i = 0; i < stops.size(); ++i) {
      if (stops[i].empty() || !std::string_view(text).substr(0, end).ends_with(stops[i])) continue;
      if (best < 0 || stops[i].size() > stops[static_cast<size_t>(best)].size()) {
        best = static_cast<int>(i);
      }
    }
    if (best < 0) continue;
    return {text.substr(0, include ? end : end - stops[static_cast<size_t>(best)].size()), best};
  }
  return {text, std::nullopt};
}

std::string random_text(std::mt19937& random, size_t longest) {
  std::string out;
  for (size_t i = random() % (longest + 1); i > 0; --i) out += "abc"[random() % 3];
  return out;
}

TEST(StopMatcher, EqualsSearchingTheWhole) {
  std::mt19937 random(2);
  for (int round = 0; round < 20000; ++round) {
    std::vector<std::string> stops;
    for (uint32_t i = random() % 4; i > 0; --i) stops.push_back(random_text(random, 4));
    const bool include = random() % 2 == 0;
    const std::string text = random_text(random, 20);
    StopMatcher matcher(stops, include);
    std::string out;
    std::optional<int> matched;
    for (size_t at = 0; at < text.size();) {
      const size_t size = 1 + random() % 4;
      const StopMatcher::Step step = matcher.push(std::string_view(text).substr(at, size));
      out += step.text;
      matched = step.matched;
      at += size;
      // What is held back is a prefix of some stop string.
      if (!matched && at < text.size()) {
        const std::string held = text.substr(out.size(), std::min(at, text.size()) - out.size());
        const bool is_prefix =
            held.empty() || std::any_of(stops.begin(), stops.end(), [&](auto& s) {
              return s.size() > held.size() && s.starts_with(held);
            });
        ASSERT_TRUE(is_prefix) << held;
      }
    }
    out += matcher.flush();
    const Expected want = expected(stops, text, include);
    ASSERT_EQ(out, want.text) << "round " << round << " text " << text;
    ASSERT_EQ(matched.has_value(), want.matched.has_value());
    if (matched) {
      EXPECT_EQ(stops[static_cast<size_t>(*matched)], stops[static_cast<size_t>(*want.matched)]);
    }
    EXPECT_EQ(matcher.stopped(), want.matched.has_value());
  }
}

TEST(StopMatcher, HoldsBackOnlyTheLongestTail) {
  StopMatcher matcher({"\n\nUser:", "END"});
  EXPECT_EQ(matcher.push("Hi\n").text, "Hi");
  EXPECT_EQ(matcher.push("\nUs").text, "");
  EXPECT_EQ(matcher.push("ual E").text, "\n\nUsual ");
  const StopMatcher::Step last = matcher.push("ND and more");
  EXPECT_EQ(last.text, "");
  EXPECT_EQ(last.matched, 1);
  EXPECT_EQ(matcher.push("x").text, "");
  EXPECT_EQ(matcher.push("x").matched, 1);
  EXPECT_EQ(matcher.flush(), "");
}

TEST(StopMatcher, WithoutStopsPassesThrough) {
  StopMatcher matcher({"", ""});
  EXPECT_EQ(matcher.push("abc").text, "abc");
  EXPECT_EQ(matcher.flush(), "");
}

TEST(StopMatcher, NeverSplitsCharacters) {
  StopMatcher matcher({"日本!"});
  const StopMatcher::Step step = matcher.push("今日");
  EXPECT_TRUE(is_valid_utf8(step.text));
  EXPECT_EQ(step.text, "今");
  EXPECT_EQ(matcher.push("本.").text, "日本.");
}

TEST(BadWords, WithAndWithoutSpace) {
  const auto tokenizer = Tokenizer::load("tests/data/tokenizers/byte_level_gpt2.json").value();
  const std::vector<std::string> words = {"engine", " engine", "", "  "};
  const auto ids = bad_word_ids(*tokenizer, words).value();
  ASSERT_EQ(ids.size(), 2u);
  EXPECT_EQ(tokenizer->decode(ids[0]), "engine");
  EXPECT_EQ(tokenizer->decode(ids[1]), " engine");
}

}  // namespace
}  // namespace ramjet::text
