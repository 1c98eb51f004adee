// Session: runs one step of one model on one rank. The interface the scheduler drives.
//
// A session knows token ids, positions and block tables; nothing of requests. EngineSession runs
// our engines; another engine is scheduled by implementing this. Called from one thread.
#pragma once

#include <cstdint>
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
  std::span<const int32_t> token_ids;    // [T]
  std::span<const int32_t> positions;    // [T]
  std::span<const int32_t> query_start;  // [S + 1]
  std::span<const int32_t> kv_len;       // [S], tokens in the cache after this step
  std::span<const int32_t> block_table;  // [S, max_blocks], row-major; unused entries are 0
  std::span<const int32_t> logit_rows;   // [R], rows of which logits are wanted
  std::span<const BlockCopy> copies;     // done before the step
  std::span<const int32_t> prompt_len;   // [S], of the request's own prompt
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
  std::string device;  // the path that runs
};

class Session {
 public:
  virtual ~Session() = default;
  virtual const SessionInfo& info() const = 0;
  /// Runs the step; returns logits f32[R, vocab], valid until the next step. An error leaves the
  /// cache's blocks of this batch undefined.
  virtual Result<std::span<const float>> step(const StepBatch& batch) = 0;
};

}  // namespace ramjet::runtime
