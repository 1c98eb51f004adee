// What a caller asks of an executor and what comes back. Plain data; layer 0.
//
// Token ids are int32. A request enters with prompt ids, not text: text is the business of
// tokenizers and servers. Errors in a request's parameters are reported by submit().
#pragma once

#include <ramjet/result.h>

#include <cstdint>
#include <functional>
#include <iterator>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace ramjet {

/// Which tokens may come next. Grammar engines implement it; the runtime knows nothing more.
/// One object follows one sequence; the runtime calls it from one thread at a time.
class TokenMask {
 public:
  virtual ~TokenMask() = default;
  /// Sets bit i of `bits` (LSB first, (vocab + 31) / 32 words) iff token i may come next.
  /// Returns false if every token may (and leaves `bits` alone).
  virtual bool fill(std::span<uint32_t> bits) = 0;
  /// Advances by a sampled token. False if the token was not allowed.
  virtual bool accept(int32_t id) = 0;
  /// True when the text may only end here.
  virtual bool finished() const = 0;
  /// An independent copy in the same state, for n > 1 and restarts.
  virtual std::unique_ptr<TokenMask> clone() const = 0;
};

struct LogitControls {
  float repetition_penalty = 1.0f;  // > 0; over prompt and output (CTRL, Keskar et al. 2019)
  float presence_penalty = 0.0f;    // [-2, 2]; over the output
  float frequency_penalty = 0.0f;   // [-2, 2]; over the output
  std::vector<std::pair<int32_t, float>> bias;  // token id, added to its logit
  std::vector<int32_t> allowed_ids;             // if not empty, all others are excluded
  std::vector<std::vector<int32_t>> bad_words;  // id sequences that may not be completed
  std::shared_ptr<const TokenMask> mask;        // cloned for each sequence; may be null
};

struct StopConditions {
  int max_tokens = -1;            // -1: what the context leaves
  int min_tokens = 0;             // no stop id is sampled before
  std::vector<int32_t> stop_ids;  // beside the model's own end-of-sequence ids
  bool ignore_eos = false;        // the model's own ids do not stop
};

struct SamplingParams {
  float temperature = 1.0f;      // 0: greedy
  int top_k = 0;                 // 0: off
  float top_p = 1.0f;            // (0, 1]
  float min_p = 0.0f;            // [0, 1]
  std::optional<uint64_t> seed;  // unset: drawn by the executor
  int logprobs = -1;             // -1: none; k >= 0: the chosen token and the top k
  int prompt_logprobs = -1;      // likewise for each prompt position
  LogitControls controls;
  StopConditions stop;
};

struct Request {
  std::vector<int32_t> prompt_ids;
  SamplingParams sampling;
  int n = 1;                // sequences that share the prompt
  int priority = 0;         // higher first
  double deadline_s = 0;    // seconds from submit until the request is ended; 0: none
  uint64_t cache_salt = 0;  // prefixes are shared between equal salts only
  std::string adapter;      // name of a loaded LoRA adapter; empty: the bare model
  std::string label;        // for logs and traces
  uint64_t turn = 0;        // among equal priorities lower first, then by arrival
  uint64_t tag = 0;         // the caller's own name for it, see ExecutorHooks
  /// What the output must be, as a grammar spec (docs/structured-output.md); empty: anything. The
  /// executor compiles it; the request waits meanwhile. Not together with controls.mask.
  std::string grammar;
};

struct TokenLogprob {
  int32_t id = 0;
  float logprob = 0;  // natural logarithm, after temperature 1 softmax of the raw logits
  int rank = 0;       // 1 is the most likely
};

struct PositionLogprobs {
  TokenLogprob chosen;
  std::vector<TokenLogprob> top;  // most likely first
};

enum class FinishReason : uint8_t { kNone, kStop, kLength, kCancelled, kError };

/// One event of one request: the tokens that became known since the last, in order.
struct RequestOutput {
  uint64_t request = 0;
  int index = 0;  // which of the n sequences
  std::vector<int32_t> ids;
  std::vector<PositionLogprobs> logprobs;         // one per id, if asked for
  std::vector<PositionLogprobs> prompt_logprobs;  // first event of index 0; [0] is empty
  FinishReason finish = FinishReason::kNone;
  std::optional<int32_t> stop_id;  // the id that stopped it (not part of ids for the model's eos)
  std::optional<Error> error;      // with kError
  int prompt_tokens = 0;
  int cached_tokens = 0;  // prompt tokens served from the prefix cache
  double queue_s = 0;     // from submit to the request's first step (or its end before that)
  bool last = false;      // no further event of this request will come

  /// Takes in the same sequence's next event, while nobody has seen this one.
  void append(RequestOutput&& next) {
    ids.insert(ids.end(), next.ids.begin(), next.ids.end());
    logprobs.insert(logprobs.end(), std::make_move_iterator(next.logprobs.begin()),
                    std::make_move_iterator(next.logprobs.end()));
    finish = next.finish;
    stop_id = next.stop_id;
    error = std::move(next.error);
    last = next.last;
  }
};

/// Called from the executor's publishing thread, in order for a request. Must not block. If it
/// throws, that is logged, the request is cancelled and nothing more of it is delivered.
using OutputCallback = std::function<void(RequestOutput&&)>;

}  // namespace ramjet
