#include <algorithm>
#include <utility>

#include "base/json.h"
#include "server/openai/wire_format.h"

namespace ramjet::server {
namespace {

class CompletionFormat final : public WireFormat {
 public:
  CompletionFormat(AnswerHead head, std::shared_ptr<CompletionRequest> request,
                   std::vector<std::vector<int32_t>> prompt_ids,
                   std::vector<std::string> prompt_texts, const text::Tokenizer& tokenizer)
      : head_(std::move(head)),
        request_(std::move(request)),
        show_(request_->common.show),
        prompt_ids_(std::move(prompt_ids)),
        prompt_texts_(std::move(prompt_texts)),
        tokenizer_(tokenizer),
        writer_(head_, "text_completion", request_->common.stream),
        prompt_logprobs_(prompt_ids_.size()) {}

  void on_prompt_logprobs(int prompt, std::vector<PositionLogprobs> logprobs) override {
    prompt_logprobs_[static_cast<size_t>(prompt)] = std::move(logprobs);
  }
  void write_delta(const Delta& delta, const Usage& usage, std::string& out) override;
  void write_end(const Usage& usage, std::string& out) override { writer_.write_end(usage, out); }
  void write_error(const ApiError& error, std::string& out) override {
    ChunkWriter::write_error(error, out);
  }
  std::string whole(std::vector<Delta> choices, const Usage& usage) override;

 private:
  size_t prompt_of(const Delta& delta) const {
    return static_cast<size_t>(delta.choice / request_->best_of);
  }
  OrderedJson logprobs_json(const Delta& delta) const;
  void add_token(const PositionLogprobs& position, size_t offset, bool known,
                 OrderedJson& json) const;
  void add_prompt_tokens(size_t prompt, OrderedJson& json) const;
  std::vector<Delta> best(std::vector<Delta> choices) const;

  const AnswerHead head_;
  const std::shared_ptr<CompletionRequest> request_;  // with the route that parsed it
  const ShowOptions& show_;
  const std::vector<std::vector<int32_t>> prompt_ids_;
  const std::vector<std::string> prompt_texts_;
  const text::Tokenizer& tokenizer_;
  const ChunkWriter writer_;
  std::vector<std::vector<PositionLogprobs>> prompt_logprobs_;
};

void CompletionFormat::add_token(const PositionLogprobs& position, size_t offset, bool known,
                                 OrderedJson& json) const {
  const auto label = [&](int32_t id) { return token_label(tokenizer_, id, show_.tokens_as_ids); };
  json["tokens"].push_back(label(position.chosen.id));
  json["text_offset"].push_back(offset);
  if (!known) {  // the first token of a prompt has no probability
    json["token_logprobs"].push_back(nullptr);
    json["top_logprobs"].push_back(nullptr);
    return;
  }
  json["token_logprobs"].push_back(finite_logprob(position.chosen.logprob));
  OrderedJson top = OrderedJson::object();
  for (int i = 0; i < show_.logprobs && i < static_cast<int>(position.top.size()); ++i) {
    const TokenLogprob& token = position.top[static_cast<size_t>(i)];
    top[label(token.id)] = finite_logprob(token.logprob);
  }
  top[label(position.chosen.id)] = finite_logprob(position.chosen.logprob);
  json["top_logprobs"].push_back(std::move(top));
}

void CompletionFormat::add_prompt_tokens(size_t prompt, OrderedJson& json) const {
  const std::vector<int32_t>& ids = prompt_ids_[prompt];
  const std::vector<PositionLogprobs>& logprobs = prompt_logprobs_[prompt];
  text::IncrementalDetokenizer detokenizer(tokenizer_);
  size_t offset = 0;
  for (size_t i = 0; i < ids.size(); ++i) {
    PositionLogprobs position = i < logprobs.size() ? logprobs[i] : PositionLogprobs{};
    position.chosen.id = ids[i];
    add_token(position, offset, i > 0 && i < logprobs.size(), json);
    offset += count_characters(detokenizer.push(ids[i]));
  }
}

OrderedJson CompletionFormat::logprobs_json(const Delta& delta) const {
  if (show_.logprobs < 0) return nullptr;
  OrderedJson json;
  for (const char* key : {"text_offset", "token_logprobs", "tokens", "top_logprobs"}) {
    json[key] = OrderedJson::array();
  }
  if (delta.first && request_->echo) add_prompt_tokens(prompt_of(delta), json);
  for (const LogprobEntry& entry : delta.logprobs) {
    add_token(entry.position, entry.text_offset, true, json);
  }
  return json;
}

void CompletionFormat::write_delta(const Delta& delta, const Usage& usage, std::string& out) {
  const size_t prompt = prompt_of(delta);
  const bool echo = delta.first && request_->echo;
  const bool says_ids = show_.token_ids && (delta.first || !delta.ids.empty());
  const std::string head = fmt::format("{{\"index\":{},\"text\":", delta.choice);
  if (echo || says_ids || !delta.text.empty() || !delta.logprobs.empty()) {
    std::string choice = head;
    append_json_string(echo ? prompt_texts_[prompt] + delta.text : delta.text, choice);
    choice += ",\"logprobs\":" + dump(logprobs_json(delta));
    choice += ",\"finish_reason\":null,\"stop_reason\":null";
    if (says_ids && delta.first) {
      choice += ",\"prompt_token_ids\":" + dump(OrderedJson(prompt_ids_[prompt]));
    }
    if (says_ids) choice += ",\"token_ids\":" + dump(OrderedJson(delta.ids));
    writer_.write(choice + "}", {}, usage, out);
  }
  if (!delta.finish.empty()) {
    writer_.write(fmt::format(R"({}"","logprobs":null,"finish_reason":"{}","stop_reason":{}}})",
                              head, delta.finish, dump(stop_reason_json(delta.stop_reason))),
                  {}, usage, out);
  }
}

/// Of each prompt's best_of sequences, the n with the highest logprob a token.
std::vector<Delta> CompletionFormat::best(std::vector<Delta> choices) const {
  const auto group = static_cast<size_t>(request_->best_of);
  const auto n = static_cast<size_t>(request_->common.n);
  if (group == n) return choices;
  const auto score = [](const Delta& delta) {
    double sum = 0;
    for (const LogprobEntry& entry : delta.logprobs) sum += entry.position.chosen.logprob;
    return delta.logprobs.empty() ? 0 : sum / static_cast<double>(delta.logprobs.size());
  };
  std::vector<Delta> out;
  for (size_t begin = 0; begin < choices.size(); begin += group) {
    const auto first = choices.begin() + static_cast<ptrdiff_t>(begin);
    std::stable_sort(first, first + static_cast<ptrdiff_t>(group),
                     [&](const Delta& a, const Delta& b) { return score(a) > score(b); });
    std::move(first, first + static_cast<ptrdiff_t>(n), std::back_inserter(out));
  }
  return out;
}

std::string CompletionFormat::whole(std::vector<Delta> choices, const Usage& usage) {
  OrderedJson list = OrderedJson::array();
  for (const Delta& delta : best(std::move(choices))) {
    const size_t prompt = prompt_of(delta);
    OrderedJson choice = {
        {"index", list.size()},
        {"text", request_->echo ? prompt_texts_[prompt] + delta.text : delta.text},
        {"logprobs", logprobs_json(delta)},
        {"finish_reason", delta.finish},
        {"stop_reason", stop_reason_json(delta.stop_reason)}};
    if (show_.prompt_logprobs >= 0) {
      choice["prompt_logprobs"] = prompt_logprobs_json(tokenizer_, prompt_logprobs_[prompt]);
    }
    if (show_.token_ids) {
      choice["prompt_token_ids"] = prompt_ids_[prompt];
      choice["token_ids"] = delta.ids;
    }
    list.push_back(std::move(choice));
  }
  return dump({{"id", head_.id},
               {"object", "text_completion"},
               {"created", head_.created},
               {"model", head_.model},
               {"choices", std::move(list)},
               {"usage", usage_json(usage)},
               {"system_fingerprint", head_.fingerprint}});
}

}  // namespace

std::unique_ptr<WireFormat> make_completion_format(AnswerHead head,
                                                   std::shared_ptr<CompletionRequest> request,
                                                   std::vector<std::vector<int32_t>> prompt_ids,
                                                   std::vector<std::string> prompt_texts,
                                                   const text::Tokenizer& tokenizer) {
  return std::make_unique<CompletionFormat>(std::move(head), std::move(request),
                                            std::move(prompt_ids), std::move(prompt_texts),
                                            tokenizer);
}

}  // namespace ramjet::server
