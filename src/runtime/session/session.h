// Session: runs one step of one model on one rank. The interface the scheduler drives.
//
// A session knows token ids, positions and block tables; nothing of requests. EngineSession runs
// our engines; another engine is scheduled by implementing this. Called from one thread.
//
// A session that chooses tokens itself (samples()) can run ahead: launch() queues a step and
// returns, collect() waits for the oldest one's tokens. At most two steps are under way, so the
// second is queued before the first one's tokens are known; it names them by their row.
#pragma once

#include <ramjet/request.h>

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"

namespace ramjet::runtime {

struct BlockCopy {  // copy-on-write: all layers of a block
  int32_t from = 0;
  int32_t to = 0;
};

/// One step over S sequences laid end to end; T tokens in all. Borrowed for the call.
struct StepBatch {
  /// [T]; in launch() alone, -1 - r is the token chosen for row r of the step launched before.
  std::span<const int32_t> token_ids;
  std::span<const int32_t> positions;    // [T]
  std::span<const int32_t> query_start;  // [S + 1]
  std::span<const int32_t> kv_len;       // [S], tokens in the cache after this step
  std::span<const int32_t> block_table;  // [S, max_blocks], row-major; unused entries are 0
  std::span<const int32_t> logit_rows;   // [R], rows of which logits are wanted
  std::span<const BlockCopy> copies;     // done before the step
  std::span<const int32_t> prompt_len;   // [S], of the request's own prompt
  std::span<const int32_t> lora_slots;   // [T], each token's adapter or -1; if max_loras > 0
};

struct SessionInfo {
  int64_t vocab_size = 0;
  int64_t max_seq_len = 0;
  int64_t max_batch_size = 0;
  int64_t max_num_tokens = 0;
  int64_t max_logit_rows = 0;
  int64_t block_tokens = 0;
  int64_t max_blocks = 0;  // columns of the block table
  int64_t num_blocks = 0;  // of the cache, as allocated
  int64_t window = 0;      // tokens that every layer sees at most; 0: some layer sees all
  uint64_t kv_bytes = 0;
  std::vector<int32_t> eos_ids;
  /// Not 0: keys depend on the prompt's length once it is above this (dynamic rope scaling), so
  /// that such prompts share prefixes with prompts of equal length only.
  int64_t length_free_tokens = 0;
  std::string device;     // the path that runs
  int64_t max_loras = 0;  // slots of adapters
  int64_t max_lora_rank = 0;
};

/// The matrices of an adapter by module of the engine; modules without any stay as they are.
struct LoraWeights {
  struct Part {
    std::string module;
    int64_t rank = 0;
    std::vector<float> a;  // [rank, in]
    std::vector<float> b;  // [out, rank]
  };
  float scale = 1;
  std::vector<Part> parts;
};

/// How the token after one row of logits is chosen; semantics of runtime/sampling/sampler.h.
/// Borrowed for the call.
struct RowSampling {
  const SamplingParams* params = nullptr;  // that samples() took
  uint64_t seed = 0;
  uint32_t index = 0;                // which of a request's n sequences
  std::span<const int32_t> history;  // prompt and output; the last may be a -1 - r as above
  int64_t prompt_tokens = 0;
  /// Below max_batch_size; of the running sequences only this one has it. For what the session
  /// keeps of a sequence from step to step.
  int32_t slot = -1;
  /// The first row with this slot: what was kept there is another's. History holds no names then.
  bool fresh = false;
};

struct SampledRow {
  int32_t id = -1;
  PositionLogprobs logprobs;   // if the params want any
  std::optional<Error> error;  // of this row alone
};

class Session {
 public:
  virtual ~Session() = default;
  virtual const SessionInfo& info() const = 0;
  /// Runs the step; returns logits f32[R, vocab], valid until the next step. An error leaves the
  /// cache's blocks of this batch undefined.
  virtual Result<std::span<const float>> step(const StepBatch& batch) = 0;

  /// Whether this session chooses tokens with these parameters; if so launch() and collect() work.
  virtual bool samples(const SamplingParams& params) const;
  /// Queues a step with one RowSampling a logit row. An error leaves nothing queued.
  virtual Status launch(const StepBatch& batch, std::span<const RowSampling> rows);
  /// Waits for the oldest launched step; `rows` as many as it had. Not more often than launch().
  virtual Status collect(std::span<SampledRow> rows);
  /// Fills a slot of adapters. From any thread, for a slot that no step under way or later names
  /// until this has returned. Errors leave the slot undefined.
  virtual Status set_adapter(int32_t slot, const LoraWeights& weights);
  /// Asked after an error: whether the device is lost to this process, so that every later step
  /// would fail too.
  virtual bool lost() { return false; }
  /// Seconds that the device was at work, if it is not the calling thread's own.
  virtual double device_busy_s() const { return 0; }
};

}  // namespace ramjet::runtime
