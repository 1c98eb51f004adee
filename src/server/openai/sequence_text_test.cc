#include "server/openai/sequence_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/testing/test_model.h"

namespace ramjet::server {
namespace {

std::shared_ptr<const text::StopSet> stops_of(const TextOptions& options) {
  return std::make_shared<const text::StopSet>(options.stop);
}

/// Pushes one byte token at a time, as an executor would.
std::vector<Delta> run(const std::string& bytes, TextOptions options, FinishReason how,
                       bool logprobs = true) {
  static const auto tokenizer = make_test_tokenizer();
  SequenceText text(*tokenizer, options, stops_of(options), byte_ids("prompt "), 0);
  std::vector<Delta> deltas;
  const std::vector<int32_t> ids = byte_ids(bytes);
  for (size_t i = 0; i < ids.size(); ++i) {
    RequestOutput output{.ids = {ids[i]}};
    if (logprobs) output.logprobs = {fake_logprobs(ids[i], 0)};
    if (i + 1 == ids.size()) output.finish = how;
    deltas.emplace_back();
    text.push(output, deltas.back());
  }
  return deltas;
}

std::string joined(const std::vector<Delta>& deltas) {
  std::string out;
  for (const Delta& delta : deltas) out += delta.text;
  return out;
}

std::string tokens(const std::vector<Delta>& deltas) {
  std::string out;
  for (const Delta& delta : deltas) {
    for (const LogprobEntry& entry : delta.logprobs) {
      out += static_cast<char>(entry.position.chosen.id);
    }
  }
  return out;
}

TEST(SequenceText, CharactersAreNeverSplit) {
  const auto deltas = run("a\xc3\xa9\xf0\x9f\x9a\x80z", {}, FinishReason::kLength);
  EXPECT_EQ(joined(deltas), "a\xc3\xa9\xf0\x9f\x9a\x80z");
  for (const Delta& delta : deltas) {
    EXPECT_TRUE(delta.text.size() != 1 || (delta.text[0] & 0x80) == 0) << delta.text;
  }
  EXPECT_TRUE(deltas[0].first);
  EXPECT_FALSE(deltas[1].first);
  EXPECT_EQ(deltas.back().finish, "length");
  EXPECT_EQ(tokens(deltas), "a\xc3\xa9\xf0\x9f\x9a\x80z");
}

TEST(SequenceText, AnIncompleteCharacterAtTheEndBecomesTheReplacement) {
  EXPECT_EQ(joined(run("a\xf0\x9f", {}, FinishReason::kLength)), "a\xef\xbf\xbd");
}

TEST(SequenceText, HoldsBackWhatCouldBecomeAStop) {
  const auto deltas = run("ab ST STOP tail", {.stop = {"STOP"}}, FinishReason::kLength);
  EXPECT_EQ(joined(deltas), "ab ST ");
  EXPECT_EQ(tokens(deltas), "ab ST ");
  EXPECT_EQ(deltas[3].text, "");  // the S of "ST"
  EXPECT_TRUE(deltas[3].logprobs.empty());
  EXPECT_EQ(deltas[9].finish, "stop");
  EXPECT_EQ(std::get<std::string>(deltas[9].stop_reason), "STOP");
  EXPECT_TRUE(deltas[10].text.empty() &&
              deltas[10].finish.empty());  // what comes later changes nothing
}

TEST(SequenceText, TheStopIsKeptIfAskedFor) {
  const auto deltas =
      run("ab STOP tail", {.stop = {"STOP"}, .include_stop = true}, FinishReason::kLength);
  EXPECT_EQ(joined(deltas), "ab STOP");
  EXPECT_EQ(tokens(deltas), "ab STOP");
}

TEST(SequenceText, AHeldTailComesOutAtTheEnd) {
  const auto deltas = run("ab STO", {.stop = {"STOP"}}, FinishReason::kLength);
  EXPECT_EQ(joined(deltas), "ab STO");
  EXPECT_EQ(tokens(deltas), "ab STO");
  EXPECT_EQ(deltas.back().finish, "length");
  EXPECT_TRUE(std::holds_alternative<std::monostate>(deltas.back().stop_reason));
}

TEST(SequenceText, OffsetsCountCharacters) {
  const auto deltas = run("\xc3\xa9x", {}, FinishReason::kLength);
  std::vector<size_t> offsets;
  for (const Delta& delta : deltas) {
    for (const LogprobEntry& entry : delta.logprobs) offsets.push_back(entry.text_offset);
  }
  EXPECT_THAT(offsets, testing::ElementsAre(0, 0, 1));
}

TEST(SequenceText, OwnEndIsNoReasonButAStopIdIs) {
  const auto tokenizer = make_test_tokenizer();
  SequenceText own(*tokenizer, {}, stops_of({}), {}, 0);
  Delta delta;
  own.push({.ids = {'a'}, .finish = FinishReason::kStop, .stop_id = 257}, delta);
  EXPECT_EQ(delta.finish, "stop");
  EXPECT_TRUE(std::holds_alternative<std::monostate>(delta.stop_reason));
  SequenceText asked(*tokenizer, {}, stops_of({}), {}, 0);
  Delta stopped;
  asked.push({.ids = {'a', '!'}, .finish = FinishReason::kStop, .stop_id = '!'}, stopped);
  EXPECT_EQ(stopped.text, "a");
  EXPECT_EQ(std::get<int32_t>(stopped.stop_reason), '!');
  EXPECT_EQ(asked.tokens(), 2);
}

}  // namespace
}  // namespace ramjet::server
