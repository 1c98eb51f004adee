#include "server/model_host.h"

#include <ramjet/version.h>

#include <algorithm>
#include <cmath>
#include <ctime>

#include "base/hash.h"
#include "base/json.h"
#include "base/log.h"

namespace ramjet::server {
namespace {

template <class T>
void read_number(const Json& json, const char* key, double min, double max, T& out) {
  const auto it = json.find(key);
  if (it == json.end() || !it->is_number()) return;
  const double value = it->get<double>();
  if (value >= min && value <= max) out = static_cast<T>(value);
}

/// "<s>" or {"content": "<s>", ...}, both of which checkpoints have.
std::string token_spelling(const Json& json, const char* key) {
  const auto it = json.find(key);
  if (it == json.end()) return {};
  if (it->is_string()) return it->get<std::string>();
  if (it->is_object() && it->contains("content") && (*it)["content"].is_string()) {
    return (*it)["content"].get<std::string>();
  }
  return {};
}

}  // namespace

Result<GenerationDefaults> GenerationDefaults::from_json(std::string_view generation_config) {
  GenerationDefaults out;
  if (generation_config.empty()) return out;
  ASSIGN_OR_RETURN(const Json json, parse_json(generation_config));
  if (!json.is_object()) return invalid_argument("generation_config is not a JSON object");
  read_number(json, "temperature", 0, 2, out.temperature);
  read_number(json, "top_p", 1e-6, 1, out.top_p);
  read_number(json, "min_p", 0, 1, out.min_p);
  read_number(json, "top_k", 0, 1e9, out.top_k);
  read_number(json, "repetition_penalty", 1e-3, 1e3, out.repetition_penalty);
  return out;
}

ModelHost::~ModelHost() = default;

bool ModelHost::has_name(std::string_view name) const {
  return std::find(parts_.names.begin(), parts_.names.end(), name) != parts_.names.end();
}

Result<std::unique_ptr<ModelHost>> ModelHost::create(Parts parts,
                                                     std::unique_ptr<Backend> backend) {
  std::unique_ptr<ModelHost> host(new ModelHost);
  if (parts.names.empty()) parts.names.push_back(parts.info.name);
  if (parts.tokenizer == nullptr) {
    return unsupported("{}: the engine holds no tokenizer, so it cannot be served", parts.names[0]);
  }
  if (!parts.chat_template.empty()) {
    auto compiled = text::ChatTemplate::compile(parts.chat_template);
    // Completions still work, and a request may bring a template of its own.
    if (!compiled.ok())
      log_warn("the model's chat template is unusable: {}", compiled.error().message);
    if (compiled.ok()) host->chat_template_ = std::move(compiled).value();
  }
  host->output_format_ = text::OutputFormat::of_template(parts.chat_template);
  ASSIGN_OR_RETURN(host->defaults_, GenerationDefaults::from_json(parts.generation_config));
  if (!parts.special_tokens.empty()) {
    ASSIGN_OR_RETURN(const Json special, parse_json(parts.special_tokens));
    if (special.is_object()) {
      host->bos_token_ = token_spelling(special, "bos_token");
      host->eos_token_ = token_spelling(special, "eos_token");
    }
  }
  const text::Tokenizer& tokenizer = *parts.tokenizer;
  if (host->bos_token_.empty()) host->bos_token_ = tokenizer.token(parts.info.bos_id);
  if (host->eos_token_.empty() && !parts.info.eos_ids.empty()) {
    host->eos_token_ = tokenizer.token(parts.info.eos_ids.front());
  }
  host->fingerprint_ =
      "ramjet-" RAMJET_VERSION "-" +
      hash128(parts.info.name + "/" + parts.info.architecture + "/" + backend->stats().device)
          .hex()
          .substr(0, 10);
  host->created_ = std::time(nullptr);
  host->parts_ = std::move(parts);
  host->backend_ = std::move(backend);
  return host;
}

}  // namespace ramjet::server
