// Checks every parameter of a request against the model and the cache. Pure; thread-safe.
#pragma once

#include <ramjet/request.h>

#include <cstdint>

#include "base/result.h"

namespace ramjet::runtime {

struct RequestLimits {
  int64_t vocab_size = 0;
  int64_t max_seq_len = 0;     // of the model or the cache, whichever is less
  int64_t max_batch_size = 0;  // the most sequences of one request
};

inline constexpr int kMaxLogprobs = 64;
inline constexpr size_t kMaxListedIds = 65536;  // of each list of ids in a request

/// kInvalidArgument naming the parameter, its value and the limit.
Status validate_request(const Request& request, const RequestLimits& limits);
/// The output tokens a valid request may have. The last token sampled is never computed, so an
/// explicit max_tokens may reach one past max_seq_len; larger ones are cut to what fits.
int64_t resolve_max_output(const Request& request, const RequestLimits& limits);

}  // namespace ramjet::runtime
