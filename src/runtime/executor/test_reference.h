// For tests: what a request must give, computed one sequence at a time from FakeSession's logits,
// without scheduler, cache or batch.
#pragma once

#include <ramjet/request.h>

#include <vector>

#include "runtime/executor/validate.h"
#include "runtime/sampling/sampler.h"
#include "runtime/session/fake_session.h"

namespace ramjet::runtime {

struct ReferenceResult {
  std::vector<int32_t> ids;
  FinishReason finish = FinishReason::kNone;
};

/// `request.sampling.seed` must be set unless it is greedy.
inline ReferenceResult reference_generate(const Request& request, int index,
                                          const SessionInfo& info) {
  const SamplingParams& params = request.sampling;
  RequestLimits limits;
  limits.vocab_size = info.vocab_size;
  limits.max_seq_len = std::min(info.max_seq_len, info.num_blocks * info.block_tokens);
  std::vector<int32_t> stops = params.stop.stop_ids;
  if (!params.stop.ignore_eos) stops.insert(stops.end(), info.eos_ids.begin(), info.eos_ids.end());
  SamplingState state(&params, request.prompt_ids, stops, static_cast<uint32_t>(index));
  Sampler sampler(info.vocab_size, nullptr);
  std::vector<int32_t> history = request.prompt_ids;
  const int64_t most = resolve_max_output(request, limits);
  ReferenceResult result;
  while (result.finish == FinishReason::kNone) {
    const std::vector<float> row = FakeSession::row_of(history, info.vocab_size);
    SampleJob job;
    job.logits = row;
    job.state = &state;
    job.history = history;
    job.prompt_tokens = static_cast<int64_t>(request.prompt_ids.size());
    job.seed = params.seed.value_or(0);
    sampler.sample(std::span(&job, 1));
    if (job.error || !state.accept(job.id).ok()) {
      result.finish = FinishReason::kError;
      break;
    }
    const auto in = [&](const std::vector<int32_t>& ids) {
      return std::find(ids.begin(), ids.end(), job.id) != ids.end();
    };
    const bool eos = !params.stop.ignore_eos && in(info.eos_ids);
    if (!eos) result.ids.push_back(job.id);
    history.push_back(job.id);
    if (eos || in(params.stop.stop_ids)) {
      result.finish = FinishReason::kStop;
    } else if (static_cast<int64_t>(result.ids.size()) >= most) {
      result.finish = FinishReason::kLength;
    }
  }
  return result;
}

}  // namespace ramjet::runtime
