// Sampler: chooses the next token of each sequence from its row of logits, on the CPU.
//
// sample() is called from one thread and spreads rows over the pool; a row's result depends on
// that row and its state alone. Owns scratch memory of a few rows a thread.
//
// Order of operations: bias, exclusions (allowed ids, bad words, minimum length, grammar),
// penalties, then temperature, top-k, min-p, top-p over what is left, renormalised. Ties are
// broken by the lower id. Temperature 0 takes the most likely token. Log-probabilities are the
// log-softmax of the raw logits, before all of this.
#pragma once

#include <ramjet/request.h>

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/thread_pool.h"
#include "runtime/sampling/sampling_state.h"
#include "runtime/sampling/vector_math.h"

namespace ramjet::runtime {

struct SampleJob {
  std::span<const float> logits;     // f32[vocab], raw
  SamplingState* state = nullptr;    // null: score only
  std::span<const int32_t> history;  // prompt and output
  int64_t prompt_tokens = 0;
  uint64_t seed = 0;
  int32_t id = -1;             // out; with a null state, in: the token to score
  int32_t top_logprobs = -1;   // -1: none; k: the chosen and the top k
  PositionLogprobs logprobs;   // out
  std::optional<Error> error;  // out: this row only
};

class Sampler {
 public:
  /// `pool` may be null: rows are then sampled one after the other.
  Sampler(int64_t vocab_size, ThreadPool* pool);
  void sample(std::span<SampleJob> jobs);

 private:
  struct Scratch {
    std::vector<float> logits;   // edited
    std::vector<float> weights;  // unnormalised probabilities
    std::vector<double> block_sums;
    std::vector<Candidate> list;
    MassScratch mass;
  };

  void run(SampleJob& job, Scratch& scratch) const;
  int32_t draw(std::span<const float> x, float max, const SamplingParams& params, double uniform,
               Scratch& scratch) const;
  void score(SampleJob& job, Scratch& scratch) const;

  ThreadPool* pool_;
  std::vector<Scratch> scratch_;  // one a thread
};

}  // namespace ramjet::runtime
