#include <algorithm>
#include <limits>

#include "base/json.h"
#include "server/openai/fields.h"
#include "server/openai/request.h"

namespace ramjet::server {
namespace {

constexpr size_t kMaxPrompts = 2048;
constexpr size_t kMaxSequences = 4096;
constexpr double kMaxInt = std::numeric_limits<int>::max();

void add_id(Fields& fields, std::string_view name, const OrderedJson& json, int vocab_size,
            Prompt& prompt) {
  if (!json.is_number_integer()) {
    return fields.fail(name, fmt::format("'{}' must be a string, an array of strings, or "
                                         "token ids; an item is {}",
                                         name, json_type(json)));
  }
  const auto id = json.get<double>();
  if (id < 0 || id >= vocab_size) {
    return fields.fail(name, fmt::format("'{}' holds the token id {}, but the "
                                         "vocabulary's ids are 0 to {}",
                                         name, id, vocab_size - 1));
  }
  prompt.ids.push_back(static_cast<int32_t>(id));
}

}  // namespace

void parse_prompts(Fields& fields, std::string_view name, int vocab_size,
                   std::vector<Prompt>& out) {
  const OrderedJson* json = fields.find(name);
  if (json == nullptr) {
    if (fields.ok()) fields.fail(name, fmt::format("'{}' is required", name));
    return;
  }
  if (json->is_string()) return out.push_back({json->get<std::string>(), {}});
  if (!json->is_array()) {
    return fields.fail(name, fmt::format("'{}' must be a string, an array of strings, or "
                                         "token ids, not {}",
                                         name, json_type(*json)));
  }
  if (json->empty()) {
    return fields.fail(name, fmt::format("'{}' must not be an empty array", name));
  }
  if (json->front().is_number()) {  // one prompt of ids
    out.emplace_back();
    for (const OrderedJson& item : *json) {
      add_id(fields, name, item, vocab_size, out.back());
      if (!fields.ok()) return;
    }
    return;
  }
  if (json->size() > kMaxPrompts) {
    return fields.fail(
        name, fmt::format("'{}' takes at most {} items, not {}", name, kMaxPrompts, json->size()));
  }
  for (const OrderedJson& item : *json) {
    out.emplace_back();
    if (item.is_string()) {
      out.back().text = item.get<std::string>();
      continue;
    }
    if (!item.is_array()) {
      return fields.fail(
          name, fmt::format("'{}' mixes strings or arrays with {}", name, json_type(item)));
    }
    for (const OrderedJson& id : item) {
      add_id(fields, name, id, vocab_size, out.back());
      if (!fields.ok()) return;
    }
  }
}

std::optional<ApiError> parse_completion(const OrderedJson& body, const ModelFacts& facts,
                                         CompletionRequest& out) {
  Fields fields(body);
  GenerationRequest& common = out.common;
  parse_generation(fields, facts, common);
  parse_prompts(fields, "prompt", facts.vocab_size, out.prompts);
  fields.read("echo", out.echo);
  int max_tokens = 16;
  fields.read("max_tokens", max_tokens, {0, kMaxInt});
  common.max_tokens = max_tokens;
  if (max_tokens == 0 && !out.echo) {
    fields.fail("max_tokens", "'max_tokens' must be at least 1 (0 only with 'echo')");
  }
  if (common.sampling.stop.min_tokens > max_tokens) {
    fields.fail("min_tokens", fmt::format("'min_tokens' ({}) must not exceed 'max_tokens' ({})",
                                          common.sampling.stop.min_tokens, max_tokens));
  }
  fields.read("logprobs", common.show.logprobs, {0, 20});
  out.best_of = common.n;
  fields.read("best_of", out.best_of, {static_cast<double>(common.n), 128});
  if (out.best_of > common.n && common.stream.stream) {
    fields.fail("best_of", "'best_of' above 'n' cannot be streamed");
  }
  std::string suffix;
  fields.read("suffix", suffix);
  if (!suffix.empty()) fields.fail(not_supported("suffix", "'suffix' is not supported"));
  if (out.prompts.size() * static_cast<size_t>(out.best_of) > kMaxSequences) {
    fields.fail("n", fmt::format("one request may ask for at most {} sequences", kMaxSequences));
  }
  return fields.take_error();
}

}  // namespace ramjet::server
