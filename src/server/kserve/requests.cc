#include <algorithm>
#include <array>
#include <charconv>

#include "base/json.h"
#include "server/kserve/kserve.h"
#include "server/kserve/tensors.h"
#include "server/openai/fields.h"

namespace ramjet::server::kserve {
namespace {

struct Rename {
  std::string_view from, to;
};
/// Names of Triton's TensorRT-LLM and vLLM backends for fields of /v1/completions.
constexpr Rename kRenames[] = {
    {"text_input", "prompt"},
    {"input_ids", "prompt"},
    {"request_output_len", "max_tokens"},
    {"stop_words", "stop"},
    {"random_seed", "seed"},
    {"min_length", "min_tokens"},
    {"end_id", "stop_token_ids"},
    {"num_return_sequences", "n"},
};
/// What one value for all prompts is expected of; all else may be a list.
constexpr std::array<std::string_view, 4> kLists = {"prompt", "stop", "bad_words",
                                                    "stop_token_ids"};

bool truthy(const OrderedJson& value) {
  return value.is_boolean() ? value.get<bool>() : value.is_number() && value.get<double>() != 0;
}

std::string_view field_name(std::string_view name) {
  for (const Rename& rename : kRenames) {
    if (rename.from == name) return rename.to;
  }
  return name;
}

/// Clients send "" for none.
OrderedJson without_empty(const OrderedJson& value) {
  if (value.is_string()) {
    return value.get_ref<const std::string&>().empty() ? OrderedJson(nullptr) : value;
  }
  OrderedJson out = OrderedJson::array();
  for (const OrderedJson& item : value) {
    if (!item.is_string() || !item.get_ref<const std::string&>().empty()) out.push_back(item);
  }
  return out.empty() ? OrderedJson(nullptr) : out;
}

/// Fields that say how to answer. True if `name` is one.
bool read_form(std::string_view name, const OrderedJson& value, AnswerForm& form,
               OrderedJson& completion) {
  if (name == "return_log_probs" || name == "return_cumulative_logprob") {
    form.log_probs = truthy(value);
    if (form.log_probs) completion["logprobs"] = 0;
  } else if (name == "return_finish_reason") {
    form.finish_reason = truthy(value);
  } else if (name == "return_num_output_tokens" || name == "return_num_input_tokens") {
    form.counts = form.counts || truthy(value);
  } else if (name == "exclude_input_in_output") {
    completion["echo"] = !truthy(value);
  } else {
    return name == "pad_id" || name == "streaming" || name == "input_lengths";
  }
  return true;
}

std::optional<ApiError> add_field(std::string_view name, const OrderedJson& value, AnswerForm& form,
                                  OrderedJson& completion) {
  if (value.is_null() || read_form(name, value, form, completion)) return std::nullopt;
  if (name == "beam_width" && value.is_number() && value.get<double>() > 1) {
    return not_supported("beam_width", "'beam_width' above 1 is not supported");
  }
  if (name == "beam_width") return std::nullopt;
  if (name == "sampling_parameters" || name == "parameters") {
    OrderedJson inner = value;
    if (value.is_string()) {
      auto parsed = parse_ordered_json(value.get_ref<const std::string&>());
      if (!parsed.ok()) {
        return bad_request(std::string(name), "'" + std::string(name) + "' is no JSON object");
      }
      inner = std::move(*parsed);
    }
    if (!inner.is_object()) {
      return bad_request(std::string(name), "'" + std::string(name) + "' is no JSON object");
    }
    for (const auto& [key, item] : inner.items()) {
      if (key == "parameters" || key == "sampling_parameters") continue;
      if (auto error = add_field(key, item, form, completion)) return error;
    }
    return std::nullopt;
  }
  const std::string to(field_name(name));
  if (to == "stop" || to == "bad_words") {
    if (OrderedJson kept = without_empty(value); !kept.is_null()) completion[to] = std::move(kept);
  } else if (to == "stop_token_ids" && value.is_number()) {
    if (value.get<double>() >= 0) completion[to] = OrderedJson::array({value});
  } else {
    completion[to] = value;
  }
  return std::nullopt;
}

/// The one value of a tensor that holds as many as there are prompts.
std::optional<ApiError> single(const std::string& name, const OrderedJson& values,
                               OrderedJson& out) {
  if (values.empty()) return std::nullopt;
  const bool same = std::all_of(values.begin(), values.end(),
                                [&](const OrderedJson& value) { return value == values.front(); });
  if (!same) {
    return bad_request(name, "input '" + name +
                                 "': one value for all prompts of a request is "
                                 "expected; send them as several requests");
  }
  out = values.front();
  return std::nullopt;
}

std::optional<ApiError> read_inputs(const OrderedJson& body, std::string_view raw,
                                    OrderedJson& fields) {
  const auto inputs = body.find("inputs");
  if (inputs == body.end() || !inputs->is_array()) {
    return bad_request("inputs", "'inputs' must be an array of tensors");
  }
  for (const OrderedJson& input : *inputs) {
    if (!input.is_object()) return bad_request("inputs", "'inputs' must be an array of tensors");
    OrderedJson values;
    if (auto error = tensor_values(input, raw, values)) return error;
    const std::string name = input["name"];
    const std::string_view to = field_name(name);
    if (std::find(kLists.begin(), kLists.end(), to) != kLists.end()) {
      fields[name] = std::move(values);
      continue;
    }
    OrderedJson value;
    if (auto error = single(name, values, value)) return error;
    fields[name] = std::move(value);
  }
  if (raw.empty()) return std::nullopt;
  return bad_request("inputs",
                     fmt::format("{} bytes of binary data belong to no input", raw.size()));
}

bool wants_binary(const OrderedJson& object, const char* key) {
  const auto parameters = object.find("parameters");
  if (parameters == object.end() || !parameters->is_object()) return false;
  const auto it = parameters->find(key);
  return it != parameters->end() && truthy(*it);
}

std::optional<ApiError> read_outputs(const OrderedJson& body, AnswerForm& form) {
  form.binary = wants_binary(body, "binary_data_output");
  const auto outputs = body.find("outputs");
  if (outputs == body.end() || outputs->is_null()) return std::nullopt;
  const OrderedJson known = output_specs();
  for (const OrderedJson& output : *outputs) {
    const bool named = output.is_object() && output.contains("name") && output["name"].is_string();
    const std::string name = named ? output["name"].get<std::string>() : "";
    const bool there = std::any_of(known.begin(), known.end(),
                                   [&](const OrderedJson& spec) { return spec["name"] == name; });
    if (!there) {
      return bad_request("outputs", "there is no output '" + name + "'; see the model's metadata");
    }
    form.outputs.push_back({name, wants_binary(output, "binary_data")});
    form.log_probs = form.log_probs || name == "cum_log_probs";
  }
  return std::nullopt;
}

/// Where the JSON of a body ends.
std::optional<ApiError> json_length(const HttpRequest& request, size_t& length) {
  const std::string_view header = request.header("inference-header-content-length");
  length = request.body.size();
  if (header.empty()) return std::nullopt;
  const auto [end, error] = std::from_chars(header.data(), header.data() + header.size(), length);
  if (error == std::errc() && end == header.data() + header.size() &&
      length <= request.body.size()) {
    return std::nullopt;
  }
  return bad_request("", fmt::format("Inference-Header-Content-Length must be a number of at most "
                                     "the body's {} bytes",
                                     request.body.size()));
}

}  // namespace

Target parse_target(std::string_view rest) {
  constexpr std::array<std::string_view, 7> kActions = {
      "infer", "generate", "generate_stream", "ready", "config", "stats", "metadata"};
  Target target;
  const size_t slash = rest.rfind('/');
  if (slash != std::string_view::npos) {
    const std::string_view last = rest.substr(slash + 1);
    if (std::find(kActions.begin(), kActions.end(), last) != kActions.end()) {
      target.action = last;
      rest = rest.substr(0, slash);
    }
  }
  constexpr std::string_view kVersions = "/versions/";
  if (const size_t at = rest.rfind(kVersions); at != std::string_view::npos) {
    const std::string_view version = rest.substr(at + kVersions.size());
    if (!version.empty() && version.find('/') == std::string_view::npos) {
      target.version = version;
      rest = rest.substr(0, at);
    }
  }
  target.model = rest;
  return target;
}

std::optional<ApiError> to_completion(const OrderedJson& fields, OrderedJson& completion,
                                      AnswerForm& form) {
  for (const auto& [name, value] : fields.items()) {
    if (name == "model" || name == "id" || name == "stream_options") continue;
    if (auto error = add_field(name, value, form, completion)) return error;
  }
  if (form.log_probs) completion["logprobs"] = 0;
  if (completion.contains("prompt")) return std::nullopt;
  return bad_request("text_input", "'text_input' is required");
}

std::optional<ApiError> read_infer(const HttpRequest& request, OrderedJson& completion,
                                   AnswerForm& form) {
  size_t length = 0;
  if (auto error = json_length(request, length)) return error;
  OrderedJson body;
  const std::string_view whole(request.body);
  if (auto error = parse_body(whole.substr(0, length), body)) return error;
  form.tensors = true;
  if (body.contains("id") && body["id"].is_string()) form.id = body["id"].get<std::string>();
  if (auto error = read_outputs(body, form)) return error;
  OrderedJson fields = OrderedJson::object();
  if (body.contains("parameters") && body["parameters"].is_object()) {
    for (const auto& [name, value] : body["parameters"].items()) {
      if (name != "binary_data_output") fields[name] = value;
    }
  }
  if (auto error = read_inputs(body, whole.substr(length), fields)) return error;
  if (auto error = to_completion(fields, completion, form)) return error;
  if (completion.contains("stream") && truthy(completion["stream"])) {
    return bad_request("stream", "an infer answer is one message; generate_stream streams");
  }
  completion["stream"] = false;  // whatever type said so
  return std::nullopt;
}

std::optional<ApiError> read_generate(std::string_view body, bool stream, OrderedJson& completion,
                                      AnswerForm& form) {
  OrderedJson fields;
  if (auto error = parse_body(body, fields)) return error;
  if (fields.contains("id") && fields["id"].is_string()) form.id = fields["id"].get<std::string>();
  if (auto error = to_completion(fields, completion, form)) return error;
  const bool asked = completion.contains("stream") && truthy(completion["stream"]);
  if (asked && !stream) {
    return bad_request("stream", "a generate answer is one message; generate_stream streams");
  }
  completion["stream"] = stream;
  return std::nullopt;
}

OrderedJson input_specs() {
  constexpr std::array<std::array<std::string_view, 2>, 18> kInputs = {{
      {"text_input", "BYTES"},
      {"max_tokens", "INT32"},
      {"stream", "BOOL"},
      {"sampling_parameters", "BYTES"},
      {"bad_words", "BYTES"},
      {"stop_words", "BYTES"},
      {"end_id", "INT32"},
      {"top_k", "INT32"},
      {"top_p", "FP32"},
      {"temperature", "FP32"},
      {"min_length", "INT32"},
      {"repetition_penalty", "FP32"},
      {"presence_penalty", "FP32"},
      {"frequency_penalty", "FP32"},
      {"random_seed", "UINT64"},
      {"num_return_sequences", "INT32"},
      {"return_log_probs", "BOOL"},
      {"exclude_input_in_output", "BOOL"},
  }};
  OrderedJson out = OrderedJson::array();
  for (const auto& [name, datatype] : kInputs) {
    out.push_back({{"name", name}, {"datatype", datatype}, {"shape", OrderedJson::array({-1})}});
  }
  return out;
}

OrderedJson output_specs() {
  constexpr std::array<std::array<std::string_view, 2>, 4> kOutputs = {{
      {"text_output", "BYTES"},
      {"finish_reason", "BYTES"},
      {"cum_log_probs", "FP32"},
      {"num_output_tokens", "INT32"},
  }};
  OrderedJson out = OrderedJson::array();
  for (const auto& [name, datatype] : kOutputs) {
    out.push_back({{"name", name}, {"datatype", datatype}, {"shape", OrderedJson::array({-1})}});
  }
  return out;
}

}  // namespace ramjet::server::kserve
