// Beam search over an Executor, token for token that of transformers' generate(num_beams=..).
//
// Each step asks for one token of every open beam of every request at once, so requests of any
// widths share the executor's batches. Beams share their prefixes through the executor's prefix
// cache: whole blocks are found again, and the tokens of a beam's last, unfilled block (fewer than
// ExecutorStats::block_tokens) are computed again in each step. Without prefix caching every step
// computes whole sequences. Thread-safe as far as the executor is.
#pragma once

#include <ramjet/executor.h>

#include <cstdint>
#include <span>
#include <vector>

namespace ramjet {

enum class EarlyStopping : uint8_t {
  kNo,     // ends when no open beam beats the finished ones at its present length
  kYes,    // ends as soon as `width` beams are finished
  kNever,  // ends when no open beam can beat them at any length
};

struct BeamRequest {
  std::vector<int32_t> prompt_ids;
  int width = 4;              // beams kept
  int count = 1;              // of them returned, the best first
  int max_tokens = 16;        // of output
  double length_penalty = 1;  // a finished beam's score is its logprob / its length ^ penalty
  EarlyStopping early_stopping = EarlyStopping::kNo;
  std::vector<int32_t> eos_ids;  // what finishes a beam: ModelInfo::eos_ids, or none
};

struct Beam {
  std::vector<int32_t> ids;  // of the output; the id that finished it is the last
  float score = 0;
  bool stopped = false;  // by one of eos_ids, not by max_tokens
};

/// The best beams of each request. Errors: kInvalidArgument naming the field; the executor's own;
/// kDeadlineExceeded after `timeout_s`.
Result<std::vector<std::vector<Beam>>> beam_search(Executor& executor,
                                                   std::span<const BeamRequest> requests,
                                                   double timeout_s);

}  // namespace ramjet
