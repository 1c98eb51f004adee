#include "runtime/executor/validate.h"

#include <algorithm>
#include <cmath>
#include <span>
#include <string_view>

namespace ramjet::runtime {
namespace {

Status check_range(std::string_view name, double value, double low, double high) {
  if (value >= low && value <= high) return ok_status();  // false for NaN
  return invalid_argument("{} is {}; it must be between {} and {}", name, value, low, high);
}

Status check_ids(std::string_view name, std::span<const int32_t> ids, int64_t vocab_size) {
  if (ids.size() > kMaxListedIds) {
    return invalid_argument("{} has {} entries; the limit is {}", name, ids.size(), kMaxListedIds);
  }
  for (const int32_t id : ids) {
    if (id < 0 || id >= vocab_size) {
      return invalid_argument("{} holds token id {}; the vocabulary has {} tokens", name, id,
                              vocab_size);
    }
  }
  return ok_status();
}

Status check_prompt(const Request& request, const RequestLimits& limits) {
  const auto length = static_cast<int64_t>(request.prompt_ids.size());
  if (length == 0) return invalid_argument("prompt_ids is empty; at least one token is needed");
  if (length > limits.max_seq_len) {
    return invalid_argument(
        "the prompt has {} tokens; the context holds {}: shorten the prompt, or build the engine "
        "with a larger max_seq_len and give it enough KV memory",
        length, limits.max_seq_len);
  }
  for (const int32_t id : request.prompt_ids) {
    if (id < 0 || id >= limits.vocab_size) {
      return invalid_argument("prompt_ids holds token id {}; the vocabulary has {} tokens", id,
                              limits.vocab_size);
    }
  }
  return ok_status();
}

Status check_controls(const LogitControls& c, int64_t vocab_size) {
  if (!(c.repetition_penalty > 0) || !std::isfinite(c.repetition_penalty)) {
    return invalid_argument("repetition_penalty is {}; it must be above 0", c.repetition_penalty);
  }
  RETURN_IF_ERROR(check_range("presence_penalty", c.presence_penalty, -2, 2));
  RETURN_IF_ERROR(check_range("frequency_penalty", c.frequency_penalty, -2, 2));
  if (c.bias.size() > kMaxListedIds) {
    return invalid_argument("logit_bias has {} entries; the limit is {}", c.bias.size(),
                            kMaxListedIds);
  }
  for (const auto& [id, value] : c.bias) {
    RETURN_IF_ERROR(check_ids("logit_bias", std::span(&id, 1), vocab_size));
    if (std::isnan(value) || value == INFINITY) {
      return invalid_argument("logit_bias of token {} is {}; it must be a number", id, value);
    }
  }
  RETURN_IF_ERROR(check_ids("allowed_token_ids", c.allowed_ids, vocab_size));
  size_t total = 0;
  for (const auto& word : c.bad_words) {
    if (word.empty()) return invalid_argument("bad_words holds an empty word");
    RETURN_IF_ERROR(check_ids("bad_words", word, vocab_size));
    total += word.size();
  }
  if (total > kMaxListedIds) {
    return invalid_argument("bad_words hold {} tokens; the limit is {}", total, kMaxListedIds);
  }
  return ok_status();
}

Status check_stop(const Request& request, const RequestLimits& limits) {
  const StopConditions& stop = request.sampling.stop;
  if (stop.max_tokens < -1) {
    return invalid_argument(
        "max_tokens is {}; it must be at least 0, or -1 for what the context "
        "leaves",
        stop.max_tokens);
  }
  RETURN_IF_ERROR(check_ids("stop_token_ids", stop.stop_ids, limits.vocab_size));
  const int64_t most = resolve_max_output(request, limits);
  if (stop.min_tokens < 0 || stop.min_tokens > most) {
    return invalid_argument("min_tokens is {}; it must be between 0 and max_tokens, which is {}",
                            stop.min_tokens, most);
  }
  return ok_status();
}

Status check_sampling(const SamplingParams& s, int64_t vocab_size) {
  RETURN_IF_ERROR(check_range("temperature", s.temperature, 0, 1e6));
  if (s.top_k < -1) return invalid_argument("top_k is {}; it must be at least 0 (0: off)", s.top_k);
  if (!(s.top_p > 0 && s.top_p <= 1)) {
    return invalid_argument("top_p is {}; it must be above 0 and at most 1", s.top_p);
  }
  RETURN_IF_ERROR(check_range("min_p", s.min_p, 0, 1));
  RETURN_IF_ERROR(check_range("logprobs", s.logprobs, -1, kMaxLogprobs));
  RETURN_IF_ERROR(check_range("prompt_logprobs", s.prompt_logprobs, -1, kMaxLogprobs));
  return check_controls(s.controls, vocab_size);
}

}  // namespace

Status validate_request(const Request& request, const RequestLimits& limits) {
  RETURN_IF_ERROR(check_prompt(request, limits));
  if (request.n < 1 || request.n > limits.max_batch_size) {
    return invalid_argument("n is {}; it must be between 1 and {} (max_batch_size)", request.n,
                            limits.max_batch_size);
  }
  if (!(request.deadline_s >= 0) || !std::isfinite(request.deadline_s)) {
    return invalid_argument("deadline_s is {}; it must be 0 (none) or positive",
                            request.deadline_s);
  }
  RETURN_IF_ERROR(check_sampling(request.sampling, limits.vocab_size));
  return check_stop(request, limits);
}

int64_t resolve_max_output(const Request& request, const RequestLimits& limits) {
  const int64_t room = limits.max_seq_len - static_cast<int64_t>(request.prompt_ids.size());
  const int64_t wanted = request.sampling.stop.max_tokens;
  if (wanted < 0) return std::max<int64_t>(1, room);
  return std::min(wanted, room + 1);
}

}  // namespace ramjet::runtime
