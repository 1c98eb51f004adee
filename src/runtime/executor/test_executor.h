// For tests: executors over fake sessions, and requests for them.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <random>
#include <thread>
#include <utility>
#include <vector>

#include "runtime/executor/executor_core.h"
#include "runtime/executor/fake_async_session.h"

namespace ramjet::runtime {

inline std::unique_ptr<ExecutorCore> make_executor(const SessionInfo& info,
                                                   const ExecutorConfig& config,
                                                   FakeSession::Options options = {}) {
  auto core = ExecutorCore::create(std::make_unique<FakeSession>(info, std::move(options)), config,
                                   nullptr);
  EXPECT_TRUE(core.ok()) << core.error().message;
  return std::move(core).value();
}

/// Steps that take a while, so that there is time to interfere.
inline FakeSession::Options slow_steps(std::chrono::milliseconds each) {
  FakeSession::Options options;
  options.hook = [each](int64_t, const StepBatch&) {
    std::this_thread::sleep_for(each);
    return ok_status();
  };
  return options;
}

/// An executor over a session that chooses tokens itself; `session` is borrowed from it.
inline std::unique_ptr<ExecutorCore> make_ahead(const SessionInfo& info,
                                                const ExecutorConfig& config,
                                                FakeAsyncSession** session,
                                                FakeSession::Options options = {}) {
  auto made = std::make_unique<FakeAsyncSession>(info, std::move(options));
  *session = made.get();
  auto core = ExecutorCore::create(std::move(made), config, nullptr);
  EXPECT_TRUE(core.ok()) << core.error().message;
  return std::move(core).value();
}

inline Request greedy(std::vector<int32_t> prompt, int max_tokens) {
  Request request;
  request.prompt_ids = std::move(prompt);
  request.sampling.temperature = 0;
  request.sampling.stop.max_tokens = max_tokens;
  request.sampling.stop.ignore_eos = true;
  return request;
}

inline Request random_request(std::mt19937& rng) {
  Request request;
  const size_t length = 1 + rng() % 40;
  const auto family = static_cast<int32_t>(1 + rng() % 3);
  for (size_t i = 0; i < length; ++i) {
    request.prompt_ids.push_back(i < 20 ? family : static_cast<int32_t>(rng() % 61));
  }
  SamplingParams& s = request.sampling;
  s.seed = rng();
  s.temperature = rng() % 3 == 0 ? 0.0f : 0.7f + 0.1f * static_cast<float>(rng() % 8);
  if (rng() % 3 == 0) s.top_k = static_cast<int>(1 + rng() % 20);
  if (rng() % 3 == 0) s.top_p = 0.8f;
  if (rng() % 4 == 0) s.controls.repetition_penalty = 1.3f;
  if (rng() % 4 == 0) s.controls.frequency_penalty = 0.5f;
  if (rng() % 5 == 0) s.controls.bad_words = {{3}, {5, 6}};
  if (rng() % 9 == 0) s.controls.allowed_ids = {0, 2, 3, 4, 7, 9, 30, 31, 32, 33, 60};
  if (rng() % 5 == 0) s.stop.stop_ids = {7};
  s.stop.max_tokens = static_cast<int>(1 + rng() % 30);
  if (rng() % 4 == 0) s.stop.min_tokens = static_cast<int>(rng() % s.stop.max_tokens);
  s.stop.ignore_eos = rng() % 2 == 0;
  request.n = rng() % 4 == 0 ? 3 : 1;
  request.priority = static_cast<int>(rng() % 3);
  return request;
}

}  // namespace ramjet::runtime
