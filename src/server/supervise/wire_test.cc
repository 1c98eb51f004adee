// The messages between the server and an executor's process: what is sent comes back, and foreign
// bytes are refused.
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <random>

#include "base/file.h"
#include "server/supervise/wire_fuzz.h"

namespace ramjet::server {
namespace {

Request full_request() {
  Request r;
  r.prompt_ids = {1, 2, -3, 1 << 30};
  r.sampling.temperature = 0.5f;
  r.sampling.top_k = 7;
  r.sampling.top_p = 0.25f;
  r.sampling.min_p = 0.125f;
  r.sampling.seed = 1ull << 63;
  r.sampling.logprobs = 3;
  r.sampling.prompt_logprobs = 2;
  r.sampling.controls.repetition_penalty = 1.5f;
  r.sampling.controls.presence_penalty = -1;
  r.sampling.controls.frequency_penalty = 2;
  r.sampling.controls.bias = {{5, 1.5f}, {6, -2.0f}};
  r.sampling.controls.allowed_ids = {9, 8};
  r.sampling.controls.bad_words = {{1, 2}, {}, {3}};
  r.sampling.stop = {11, 3, {4, 5}, true};
  r.n = 3;
  r.priority = -2;
  r.deadline_s = 1.25;
  r.cache_salt = 77;
  r.label = "a label";
  r.tag = 99;
  return r;
}

RequestOutput full_output() {
  RequestOutput o;
  o.index = 2;
  o.ids = {3, 4};
  o.logprobs = {{{3, -0.5f, 1}, {{3, -0.5f, 1}, {9, -2.0f, 2}}}, {{4, -1.0f, 5}, {}}};
  o.prompt_logprobs = {{}, {{1, -0.1f, 1}, {}}};
  o.finish = FinishReason::kError;
  o.stop_id = -7;
  o.error = Error{ErrorCode::kDeadlineExceeded, "too late"};
  o.prompt_tokens = 5;
  o.cached_tokens = 4;
  o.queue_s = 0.5;
  o.last = true;
  return o;
}

template <class T>
std::string bytes_of(const T& value) {
  std::string out;
  Encoder encode(out);
  encode(value);
  return out;
}

/// Every field differs from its default, comes back, and no prefix parses.
template <class T>
void round_trip(const T& value) {
  std::string out;
  put_message(out, Message::kStatus, value);
  FrameBuffer buffer;
  std::memcpy(buffer.space().data(), out.data(), out.size());
  buffer.filled(out.size());
  const auto frame = buffer.next();
  ASSERT_TRUE(frame.ok() && *frame);
  T again;
  ASSERT_TRUE(get_message(**frame, again).ok());
  EXPECT_EQ(bytes_of(again), bytes_of(value));
  const std::string_view payload = (*frame)->payload;
  for (size_t length = 0; length < payload.size(); ++length) {
    T partial;
    EXPECT_FALSE(get_message(Frame{1, payload.substr(0, length)}, partial).ok()) << length;
  }
  const std::string longer = std::string(payload) + 'x';
  EXPECT_FALSE(get_message(Frame{1, longer}, again).ok());
}

TEST(Wire, WhatIsSentComesBack) {
  round_trip(full_request());
  round_trip(full_output());
  ExecutorConfig config;
  config.kv_bytes = 1ull << 40;
  config.capacity = CapacityPolicy::kGuaranteedNoEvict;
  config.step_deadline_s = 0.5;
  round_trip(config);
  ExecutorStats stats;
  stats.device = "a device";
  stats.steps_by_tokens[15] = 3;
  stats.device_busy_s = 0.25;
  round_trip(stats);
  round_trip(Error{ErrorCode::kInternal, "why"});

  Request again;
  const std::string payload = bytes_of(full_request());
  ASSERT_TRUE(get_message(Frame{1, payload}, again).ok());
  EXPECT_EQ(again.prompt_ids, full_request().prompt_ids);
  EXPECT_EQ(again.sampling.controls.bad_words, full_request().sampling.controls.bad_words);
  EXPECT_EQ(again.sampling.seed, full_request().sampling.seed);
  EXPECT_EQ(again.sampling.stop.stop_ids, (std::vector<int32_t>{4, 5}));
  EXPECT_EQ(again.label, "a label");
}

TEST(Wire, LyingLengthsAndStrangeValuesAreRefused) {
  std::vector<int32_t> ids;
  const std::string many(
      "\xff\xff\xff\xff"
      "abcd",
      8);
  EXPECT_FALSE(get_message(Frame{1, many}, ids).ok());
  EXPECT_LT(ids.capacity(), 100u) << "memory for what is not there";
  std::string text;
  EXPECT_FALSE(get_message(Frame{1, many}, text).ok());
  bool flag = false;
  EXPECT_FALSE(get_message(Frame{1, "\x02"}, flag).ok());
  FinishReason reason{};
  EXPECT_TRUE(get_message(Frame{1, "\x04"}, reason).ok());
  EXPECT_FALSE(get_message(Frame{1, "\x05"}, reason).ok());
}

TEST(Wire, FramesAreCutAnywhere) {
  std::string stream;
  for (int i = 0; i < 50; ++i) {
    put_message(stream, Message::kRefused, uint64_t(i), std::string(size_t(i) * 997, 'a'));
  }
  for (const size_t piece : {size_t{1}, size_t{11}, size_t{4096}, size_t{65536}}) {
    FrameBuffer buffer;
    uint64_t seen = 0;
    for (size_t at = 0; at < stream.size(); at += piece) {
      const size_t count = std::min(piece, stream.size() - at);
      std::memcpy(buffer.space().data(), stream.data() + at, count);
      buffer.filled(count);
      while (true) {
        const auto frame = buffer.next();
        ASSERT_TRUE(frame.ok());
        if (!*frame) break;
        uint64_t number = 0;
        std::string text;
        ASSERT_TRUE(get_message(**frame, number, text).ok());
        EXPECT_EQ(number, seen++);
        EXPECT_EQ(text.size(), number * 997);
      }
    }
    EXPECT_EQ(seen, 50u);
  }
}

TEST(Wire, NoFramesAreAnError) {
  for (const std::string& bytes :
       {std::string(12, 'x'), std::string("RJX\x01....\xff\xff\xff\x7f")}) {
    FrameBuffer buffer;
    std::memcpy(buffer.space().data(), bytes.data(), bytes.size());
    buffer.filled(bytes.size());
    EXPECT_EQ(buffer.next().error().code, ErrorCode::kCorrupt);
  }
}

TEST(Wire, TheFuzzersCorpusAndMutationsOfItAreSurvived) {
  std::mt19937 rng(7);
  int replayed = 0;
  for (const auto& entry : std::filesystem::directory_iterator("tests/fuzz/wire")) {
    std::string bytes = *read_file(entry.path().string());
    fuzz_wire(bytes);
    for (int i = 0; i < 300; ++i) {
      std::string mutant = bytes;
      for (uint32_t k = 0; k <= rng() % 4; ++k) {
        mutant[rng() % mutant.size()] = static_cast<char>(rng() % 3 == 0 ? 0xff : rng());
      }
      fuzz_wire(mutant);
    }
    ++replayed;
  }
  EXPECT_GE(replayed, 5);
}

}  // namespace
}  // namespace ramjet::server
