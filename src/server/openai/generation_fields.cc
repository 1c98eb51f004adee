#include <algorithm>
#include <cmath>
#include <limits>

#include "base/hash.h"
#include "base/json.h"
#include "server/openai/fields.h"
#include "server/openai/request.h"

namespace ramjet::server {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kMaxInt = std::numeric_limits<int>::max();
constexpr size_t kMaxStops = 128;
constexpr size_t kMaxStopBytes = 4096;
constexpr size_t kMaxAllStopBytes = 16384;  // each costs some 70 bytes while the request lives
constexpr size_t kMaxBadWords = 1024;
constexpr size_t kMaxBias = 4096;
constexpr int kMaxN = 128;

/// The set that a list of token ids spells; requests keep it, so it is no larger than need be.
void make_set(std::vector<int32_t>& ids) {
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  ids.shrink_to_fit();
}

void parse_controls(Fields& fields, const ModelFacts& facts, LogitControls& out) {
  out.repetition_penalty = facts.defaults.repetition_penalty;
  fields.read("repetition_penalty", out.repetition_penalty, {0, kInfinity, true});
  fields.read("presence_penalty", out.presence_penalty, {-2, 2});
  fields.read("frequency_penalty", out.frequency_penalty, {-2, 2});
  fields.read_ids("allowed_token_ids", out.allowed_ids, facts.vocab_size);
  make_set(out.allowed_ids);
  if (fields.has("allowed_token_ids") && out.allowed_ids.empty()) {
    fields.fail("allowed_token_ids", "'allowed_token_ids' must not be empty");
  }
  const OrderedJson* bias = fields.find_object("logit_bias");
  if (bias == nullptr) return;
  if (bias->size() > kMaxBias) {
    return fields.fail("logit_bias", fmt::format("'logit_bias' takes at most {} tokens, not {}",
                                                 kMaxBias, bias->size()));
  }
  for (const auto& [key, value] : bias->items()) {
    int64_t id = -1;
    const bool digits =
        !key.empty() && key.size() < 10 &&
        std::all_of(key.begin(), key.end(), [](char c) { return c >= '0' && c <= '9'; });
    if (digits) id = std::stoll(key);
    if (id < 0 || id >= facts.vocab_size) {
      return fields.fail("logit_bias",
                         fmt::format("'logit_bias' has the key '{}', but the vocabulary's ids are "
                                     "0 to {}",
                                     key.substr(0, 40), facts.vocab_size - 1));
    }
    if (!value.is_number() || !(std::abs(value.get<double>()) <= 100)) {
      return fields.fail("logit_bias", "'logit_bias' must map token ids to numbers in [-100, 100]");
    }
    out.bias.emplace_back(static_cast<int32_t>(id), value.get<float>());
  }
}

void parse_sampling(Fields& fields, const ModelFacts& facts, SamplingParams& out) {
  out.temperature = facts.defaults.temperature;
  out.top_p = facts.defaults.top_p;
  out.top_k = facts.defaults.top_k;
  out.min_p = facts.defaults.min_p;
  fields.read("temperature", out.temperature, {0, 2});
  fields.read("top_p", out.top_p, {0, 1, true});
  fields.read("min_p", out.min_p, {0, 1});
  fields.read("top_k", out.top_k, {-1, kMaxInt});
  out.top_k = std::max(out.top_k, 0);  // -1 also means off
  if (fields.has("seed")) {
    int64_t seed = 0;
    fields.read("seed", seed);
    out.seed = static_cast<uint64_t>(seed);
  }
  parse_controls(fields, facts, out.controls);
  fields.read("min_tokens", out.stop.min_tokens, {0, kMaxInt});
  fields.read("ignore_eos", out.stop.ignore_eos);
  fields.read_ids("stop_token_ids", out.stop.stop_ids, facts.vocab_size);
  make_set(out.stop.stop_ids);
}

void parse_text(Fields& fields, const ModelFacts& facts, TextOptions& out) {
  fields.read_strings("stop", out.stop, kMaxStops);
  size_t total = 0;
  for (const std::string& stop : out.stop) {
    total += stop.size();
    if (stop.empty()) fields.fail("stop", "'stop' must not hold an empty string");
    if (stop.size() > kMaxStopBytes) {
      fields.fail("stop", fmt::format("'stop' holds a string of {} bytes; {} are allowed",
                                      stop.size(), kMaxStopBytes));
    }
  }
  if (total > kMaxAllStopBytes) {
    fields.fail("stop", fmt::format("'stop' holds {} bytes in all; {} are allowed", total,
                                    kMaxAllStopBytes));
  }
  fields.read("include_stop_str_in_output", out.include_stop);
  fields.read("skip_special_tokens", out.skip_special);
  fields.read_strings("bad_words", out.bad_words, kMaxBadWords);
  fields.read("add_special_tokens", out.add_special_tokens);
  if (fields.has("truncate_prompt_tokens")) {
    int keep = 0;
    fields.read("truncate_prompt_tokens", keep, {-1, static_cast<double>(facts.max_model_len)});
    if (keep == 0) {
      fields.fail("truncate_prompt_tokens",
                  "'truncate_prompt_tokens' must be at least 1, or -1 "
                  "for what the model takes");
    }
    out.truncate_prompt_tokens = keep < 0 ? facts.max_model_len : keep;
  }
}

void parse_stream(Fields& fields, StreamOptions& out) {
  fields.read("stream", out.stream);
  const OrderedJson* options = fields.find_object("stream_options");
  if (options == nullptr) return;
  if (!out.stream) {
    return fields.fail("stream_options", "'stream_options' is only allowed with 'stream': true");
  }
  Fields inner(*options, "stream_options.");
  inner.read("include_usage", out.include_usage);
  inner.read("continuous_usage_stats", out.continuous_usage);
  if (auto error = inner.take_error()) fields.fail(std::move(*error));
}

}  // namespace

void parse_generation(Fields& fields, const ModelFacts& facts, GenerationRequest& out) {
  fields.read("model", out.model);
  parse_stream(fields, out.stream);
  parse_sampling(fields, facts, out.sampling);
  parse_text(fields, facts, out.text);
  parse_constraint(fields, out);
  fields.read("n", out.n, {1, kMaxN});
  fields.read("priority", out.priority, {-kMaxInt, kMaxInt});
  fields.read("request_id", out.request_id);
  fields.read("return_token_ids", out.show.token_ids);
  fields.read("return_tokens_as_token_ids", out.show.tokens_as_ids);
  fields.read("prompt_logprobs", out.show.prompt_logprobs, {0, 20});
  if (out.show.prompt_logprobs >= 0 && out.stream.stream) {
    fields.fail("prompt_logprobs", "'prompt_logprobs' is not available with 'stream': true");
  }
  std::string salt;
  fields.read("cache_salt", salt);
  if (!salt.empty()) out.cache_salt = hash64(salt) | 1;  // 0 means none
}

}  // namespace ramjet::server
