// A request inside the executor. Plain data, owned by the step loop's thread once queued.
#pragma once

#include <ramjet/request.h>

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "runtime/executor/adapter_table.h"
#include "runtime/executor/publisher.h"
#include "runtime/sampling/sampling_state.h"
#include "runtime/scheduler/sequence.h"

namespace ramjet::runtime {

/// Hands rows of logits from the step loop to the thread that called logits(). The loop pauses
/// the sequence after each step, so at most one step's rows wait here.
struct LogitsFeed {
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<float> rows;
  bool ready = false;  // rows are there
  bool done = false;   // no more will come
  std::optional<Error> error;
};

struct ActiveRequest {
  uint64_t id = 0;
  Request request;
  uint64_t seed = 0;
  int64_t max_output = 0;      // max_tokens, resolved
  int64_t logits_from = -1;    // as in SequenceSpec
  int64_t max_logit_rows = 0;  // as in SequenceSpec
  int64_t deadline_ns = 0;     // 0: none
  int64_t submit_ns = 0;
  int64_t start_ns = 0;                                // of its first step; 0: not yet
  std::vector<int32_t> stop_ids;                       // the model's included; states borrow it
  std::vector<std::unique_ptr<SamplingState>> states;  // by index
  std::vector<SeqId> sequences;                        // by index; kNoSeq before its fork
  std::vector<int32_t> slots;                          // by index: as in RowSampling; -1: none
  std::vector<bool> finished;                          // by index
  std::vector<bool> unwanted;                          // by index: to end when it has its fork
  std::vector<PositionLogprobs> prompt_logprobs;       // gathered chunk by chunk
  std::shared_ptr<RequestSink> sink;  // owners: this request and its events on their way
  std::shared_ptr<LogitsFeed> feed;   // owners: this request and the caller of logits(); or null
  AdapterRef adapter;                 // null: the bare model
  bool host_sampled = false;          // keeps the step loop from running ahead
  int unfinished = 1;
  int cached_tokens = 0;
};

}  // namespace ramjet::runtime
