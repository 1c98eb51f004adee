#include <algorithm>
#include <ctime>
#include <utility>

#include "base/json.h"
#include "server/kserve/kserve.h"
#include "server/kserve/tensors.h"

namespace ramjet::server::kserve {
namespace {

double cumulative(const Delta& delta) {
  double sum = 0;
  for (const LogprobEntry& entry : delta.logprobs) {
    sum += finite_logprob(entry.position.chosen.logprob);
  }
  return sum;
}

class Format final : public WireFormat {
 public:
  explicit Format(FormatParts parts) : parts_(std::move(parts)), form_(parts_.form) {}

  void on_prompt_logprobs(int prompt, std::vector<PositionLogprobs> logprobs) override {}
  void write_delta(const Delta& delta, const Usage& usage, std::string& out) override;
  void write_end(const Usage& usage, std::string& out) override { count(true); }
  void write_error(const ApiError& error, std::string& out) override {
    count(false);
    const OrderedJson json = {{"error", error.message}};
    out += "data: " + dump(json) + "\n\n";
  }
  std::string whole(std::vector<Delta> choices, const Usage& usage) override {
    return whole_reply(std::move(choices), usage).body;
  }
  HttpResponse whole_reply(std::vector<Delta> choices, const Usage& usage) override;
  HttpResponse error_reply(const ApiError& error) override {
    count(false);
    return kserve::error_reply(error);
  }

 private:
  OrderedJson head() const;
  std::string text_of(const Delta& delta) const {
    const auto prompt = static_cast<size_t>(delta.choice / parts_.sequences);
    return delta.first ? parts_.prompts[prompt] + delta.text : delta.text;
  }
  std::vector<OutputTensor> tensors(const std::vector<Delta>& choices) const;
  HttpResponse infer_reply(const std::vector<OutputTensor>& outputs) const;
  void count(bool success);

  const FormatParts parts_;
  const AnswerForm& form_;
};

OrderedJson Format::head() const {
  OrderedJson json;
  if (!form_.id.empty()) json["id"] = form_.id;
  json["model_name"] = form_.model;
  json["model_version"] = kVersion;
  return json;
}

void Format::count(bool success) {
  Statistics& s = *parts_.statistics;
  const auto ns = static_cast<uint64_t>((steady_s() - parts_.start_s) * 1e9);
  (success ? s.success : s.fail) += 1;
  (success ? s.success_ns : s.fail_ns) += ns;
  s.last_ms = static_cast<uint64_t>(std::time(nullptr)) * 1000;
}

void Format::write_delta(const Delta& delta, const Usage& usage, std::string& out) {
  const std::string text = text_of(delta);
  if (text.empty() && delta.finish.empty()) return;
  OrderedJson json = head();
  if (parts_.prompts.size() * static_cast<size_t>(parts_.sequences) > 1) {
    json["sequence_index"] = delta.choice;
  }
  json["text_output"] = text;
  if (form_.log_probs) json["cum_log_probs"] = cumulative(delta);
  if (form_.finish_reason && !delta.finish.empty()) json["finish_reason"] = delta.finish;
  out += "data: " + dump(json) + "\n\n";
}

std::vector<OutputTensor> Format::tensors(const std::vector<Delta>& choices) const {
  OutputTensor texts{"text_output", "BYTES", {}, {}};
  OutputTensor finish{"finish_reason", "BYTES", {}, {}};
  OutputTensor logprobs{"cum_log_probs", "FP32", {}, {}};
  OutputTensor counts{"num_output_tokens", "INT32", {}, {}};
  for (const Delta& delta : choices) {
    texts.texts.push_back(text_of(delta));
    finish.texts.push_back(delta.finish);
    logprobs.numbers.push_back(cumulative(delta));
    counts.numbers.push_back(static_cast<double>(delta.ids.size()));
  }
  const auto named = [this](std::string_view name) {
    return std::any_of(form_.outputs.begin(), form_.outputs.end(),
                       [&](const WantedOutput& output) { return output.name == name; });
  };
  std::vector<OutputTensor> out;
  if (form_.outputs.empty() || named(texts.name)) out.push_back(std::move(texts));
  if (form_.finish_reason || named(finish.name)) out.push_back(std::move(finish));
  if (form_.log_probs || named(logprobs.name)) out.push_back(std::move(logprobs));
  if (form_.counts || named(counts.name)) out.push_back(std::move(counts));
  return out;
}

HttpResponse Format::infer_reply(const std::vector<OutputTensor>& outputs) const {
  OrderedJson json = head();
  json["outputs"] = OrderedJson::array();
  std::string raw;
  for (const OutputTensor& output : outputs) {
    bool binary = form_.binary;
    for (const WantedOutput& wanted : form_.outputs) {
      if (wanted.name == output.name) binary = wanted.binary;
    }
    json["outputs"].push_back(tensor_json(output, binary, raw));
  }
  HttpResponse response{.body = dump(json)};
  if (raw.empty()) return response;
  response.content_type = "application/octet-stream";
  response.headers.emplace_back("Inference-Header-Content-Length",
                                std::to_string(response.body.size()));
  response.body += raw;
  return response;
}

HttpResponse Format::whole_reply(std::vector<Delta> choices, const Usage& usage) {
  count(true);
  const std::vector<OutputTensor> outputs = tensors(choices);
  if (form_.tensors) return infer_reply(outputs);
  OrderedJson json = head();
  for (const OutputTensor& output : outputs) {
    std::string raw;
    OrderedJson data = tensor_json(output, false, raw)["data"];
    // One element stands for itself, as Triton has it.
    json[output.name] = data.size() == 1 ? OrderedJson(data[0]) : std::move(data);
  }
  return {.body = dump(json)};
}

}  // namespace

std::unique_ptr<WireFormat> make_format(FormatParts parts) {
  return std::make_unique<Format>(std::move(parts));
}

HttpResponse error_reply(const ApiError& error) {
  HttpResponse response = error_response(error);
  // The one text there is names what is wrong.
  const bool named = error.param.empty() || error.message.find(error.param) != std::string::npos;
  OrderedJson json;
  json["error"] = named ? error.message : error.param + ": " + error.message;
  response.body = dump(json);
  return response;
}

}  // namespace ramjet::server::kserve
