// What a batch-invariant engine promises, checked on one: tokens and the bits of their
// log-probabilities are the same alone, together, in chunks of 16, from cached prefixes, and after
// a pause; so are the logits of a prompt in any chunk.
#pragma once

#include <bit>
#include <future>
#include <random>

#include "golden.h"

namespace ramjet::e2e {

using LogitRows = std::vector<std::vector<float>>;

/// Ids and the bits of log-probabilities of one greedy continuation.
struct Traced {
  std::vector<int32_t> ids;
  std::vector<uint32_t> bits;
  bool operator==(const Traced&) const = default;
};

inline Traced traced(const Result<std::vector<RequestOutput>>& outputs) {
  EXPECT_TRUE(outputs.ok()) << (outputs.ok() ? "" : outputs.error().message);
  Traced out;
  if (!outputs.ok()) return out;
  EXPECT_FALSE((*outputs)[0].error) << (*outputs)[0].error->message;
  out.ids = (*outputs)[0].ids;
  for (const PositionLogprobs& position : (*outputs)[0].logprobs) {
    out.bits.push_back(std::bit_cast<uint32_t>(position.chosen.logprob));
    for (const TokenLogprob& top : position.top) {
      out.bits.push_back(std::bit_cast<uint32_t>(top.logprob));
    }
  }
  return out;
}

class Invariance {
 public:
  static constexpr int kNewTokens = 24;
  static constexpr double kTimeout = 120;

  Invariance(const std::string& folder, BuildOptions options, std::vector<size_t> lengths,
             int vocab) {
    options.batch_invariant = true;
    auto engine = build_and_load(folder, options);
    EXPECT_TRUE(engine.ok()) << (engine.ok() ? "" : engine.error().message);
    if (engine.ok()) engine_ = *engine;
    std::mt19937 rng(11);
    for (const size_t length : lengths) {
      std::vector<int32_t> ids;
      for (size_t i = 0; i < length; ++i) {
        ids.push_back(static_cast<int32_t>(10 + rng() % static_cast<unsigned>(vocab - 10)));
      }
      requests_.push_back(greedy_request(ids, kNewTokens));
      requests_.back().sampling.logprobs = 4;
    }
  }

  void check() {
    if (engine_ == nullptr) return;
    ExecutorConfig plain;
    plain.prefix_caching = false;
    {
      auto exec = executor(plain);
      for (const Request& r : requests_) expected_.push_back(traced(exec->generate(r, kTimeout)));
      together(*exec, "together");
    }
    ExecutorConfig chunks = plain;
    chunks.max_num_tokens = 16;
    {
      auto exec = executor(chunks);
      alone(*exec, "in chunks of 16");
      together(*exec, "together in chunks of 16");
    }
    same_logits(plain, chunks);
    prefixes();
    pauses(plain);
    small_cache();
  }

 private:
  std::unique_ptr<Executor> executor(const ExecutorConfig& config) {
    auto made = Executor::create(engine_, config);
    EXPECT_TRUE(made.ok()) << (made.ok() ? "" : made.error().message);
    return made.ok() ? std::move(*made) : nullptr;
  }

  void alone(Executor& exec, const char* how) {
    for (size_t i = 0; i < requests_.size(); ++i) {
      EXPECT_EQ(traced(exec.generate(requests_[i], kTimeout)), expected_[i])
          << how << ", prompt " << i;
    }
  }

  void together(Executor& exec, const char* how) {
    std::vector<std::future<Result<std::vector<RequestOutput>>>> all;
    for (const Request& request : requests_) {
      all.push_back(std::async(std::launch::async,
                               [&exec, request] { return exec.generate(request, kTimeout); }));
    }
    for (size_t i = 0; i < all.size(); ++i) {
      EXPECT_EQ(traced(all[i].get()), expected_[i]) << how << ", prompt " << i;
    }
    EXPECT_TRUE(exec.check_integrity().ok());
  }

  void same_logits(const ExecutorConfig& whole, const ExecutorConfig& chunks) {
    auto one = executor(whole), other = executor(chunks);
    const std::vector<int32_t>& ids = requests_.back().prompt_ids;
    const LogitRows a = all_logits(*one, ids), b = all_logits(*other, ids);
    ASSERT_EQ(a.size(), b.size());
    for (size_t i = 0; i < a.size(); ++i) {
      EXPECT_EQ(std::memcmp(a[i].data(), b[i].data(), a[i].size() * sizeof(float)), 0)
          << "logits of position " << i;
    }
  }

  /// The same prompt twice, and a prompt that goes on with the first tokens of its continuation.
  void prefixes() {
    auto exec = executor({});
    alone(*exec, "with an empty cache");
    alone(*exec, "from cached prefixes");
    EXPECT_GT(exec->stats().prefix_hits, 0u);
    for (size_t i = 0; i < requests_.size(); ++i) {
      constexpr int kKnown = 7;
      Request request = requests_[i];
      const std::vector<int32_t>& ids = expected_[i].ids;
      if (ids.size() <= kKnown) continue;
      request.prompt_ids.insert(request.prompt_ids.end(), ids.begin(), ids.begin() + kKnown);
      request.sampling.stop.max_tokens = kNewTokens - kKnown;
      const Traced got = traced(exec->generate(request, kTimeout));
      EXPECT_EQ(got.ids, std::vector<int32_t>(ids.begin() + kKnown, ids.end())) << "prompt " << i;
      const size_t per_token = expected_[i].bits.size() / ids.size();
      const auto bits = expected_[i].bits.begin() + static_cast<int64_t>(kKnown * per_token);
      EXPECT_EQ(got.bits, std::vector<uint32_t>(bits, expected_[i].bits.end()))
          << "decoded tokens as a prompt, " << i;
    }
  }

  uint64_t bytes_of(size_t tokens) {
    const ExecutorStats stats = executor({})->stats();
    const auto per_block = stats.kv_bytes / static_cast<uint64_t>(stats.kv_blocks_total);
    return per_block * ((tokens + static_cast<size_t>(stats.block_tokens) - 1) /
                            static_cast<size_t>(stats.block_tokens) +
                        2);
  }
  size_t longest() const {
    size_t most = 0;
    for (const Request& r : requests_) most = std::max(most, r.prompt_ids.size() + kNewTokens);
    return most;
  }

  /// Requests that grow over the end of a block, all at once; each gives what it gave alone.
  void crowd(Executor& exec) {
    const auto block = static_cast<size_t>(exec.stats().block_tokens);
    std::vector<std::future<Result<std::vector<RequestOutput>>>> all;
    std::vector<size_t> which;
    const int copies = block > 16 ? 8 : 4;  // small blocks run out soon
    for (int copy = 0; copy < copies; ++copy) {
      for (size_t i = 0; i < requests_.size(); ++i) {
        const size_t length = requests_[i].prompt_ids.size();
        const bool grows = length / block != (length + kNewTokens - 2) / block;
        if (!grows || length > 130) continue;
        which.push_back(i);
        all.push_back(std::async(std::launch::async,
                                 [&exec, r = requests_[i]] { return exec.generate(r, kTimeout); }));
      }
    }
    for (size_t i = 0; i < all.size(); ++i) {
      EXPECT_EQ(traced(all[i].get()), expected_[which[i]]) << "after pauses, " << which[i];
    }
  }

  /// Room for little more than the longest request: the others are paused and computed again.
  void pauses(ExecutorConfig config) {
    config.kv_bytes = bytes_of(longest());
    config.capacity = CapacityPolicy::kOvercommit;
    auto exec = executor(config);
    // Prompts whose continuation wants another block, several of each, fill the cache. Whether they
    // meet in it is up to the threads that submit them: again until one was paused.
    for (int round = 0; round < 50 && exec->stats().preemptions == 0; ++round) crowd(*exec);
    EXPECT_GT(exec->stats().preemptions, 0u);
    EXPECT_TRUE(exec->check_integrity().ok());
    EXPECT_EQ(exec->stats().kv_blocks_active, 0);
  }

  /// Prefixes that are found, lost and found again.
  void small_cache() {
    ExecutorConfig config;
    config.kv_bytes = bytes_of(2 * longest());
    auto exec = executor(config);
    for (int round = 0; round < 2; ++round) {
      for (size_t i = 0; i < requests_.size(); ++i) {
        for (int again = 0; again < 2; ++again) {
          EXPECT_EQ(traced(exec->generate(requests_[i], kTimeout)), expected_[i])
              << "a small cache, prompt " << i;
        }
      }
    }
    together(*exec, "together with a small cache");
    EXPECT_GT(exec->stats().prefix_hits, 0u);
  }

  std::shared_ptr<const Engine> engine_;  // shared with the executors
  std::vector<Request> requests_;
  std::vector<Traced> expected_;
};

}  // namespace ramjet::e2e
