// ModelHost: a model as the server sees it: its names, its text side and the backend that runs it.
//
// Immutable after create(), so thread-safe. Owns all of it.
#pragma once

#include <ramjet/engine.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "server/backend.h"
#include "text/chat/chat_template.h"
#include "text/tokenizer/tokenizer.h"
#include "text/tools/output_format.h"

namespace ramjet::server {

/// Sampling defaults of the checkpoint's generation_config.json.
struct GenerationDefaults {
  float temperature = 1.0f;
  float top_p = 1.0f;
  float min_p = 0.0f;
  int top_k = 0;
  float repetition_penalty = 1.0f;

  /// Reads what is there; values out of range and other keys are ignored. Empty text: the defaults.
  static Result<GenerationDefaults> from_json(std::string_view generation_config);
};

class ModelHost {
 public:
  struct Parts {
    std::vector<std::string> names;  // the first is shown, all are accepted; not empty
    ModelInfo info;
    EngineLimits limits;
    std::unique_ptr<text::Tokenizer> tokenizer;
    std::string chat_template;            // Jinja source; may be empty
    std::string generation_config;        // JSON text; may be empty
    std::string special_tokens;           // JSON object with bos_token, eos_token; may be empty
    std::optional<EncoderFacts> encoder;  // of an encoder
  };
  static Result<std::unique_ptr<ModelHost>> create(Parts parts, std::unique_ptr<Backend> backend);
  /// The parts of a loaded engine.
  static Result<Parts> parts_of(const Engine& engine);
  ~ModelHost();

  const std::string& name() const { return parts_.names.front(); }
  bool has_name(std::string_view name) const;
  const std::vector<std::string>& names() const { return parts_.names; }
  const ModelInfo& info() const { return parts_.info; }
  int max_model_len() const { return parts_.info.max_seq_len; }
  const EngineLimits& limits() const { return parts_.limits; }
  int vocab_size() const { return parts_.info.vocab_size; }
  const text::Tokenizer& tokenizer() const { return *parts_.tokenizer; }
  const text::ChatTemplate* chat_template() const {
    return chat_template_ ? &*chat_template_ : nullptr;
  }
  /// How the model marks reasoning and tool calls, by its chat template.
  const text::OutputFormat& output_format() const { return output_format_; }
  const GenerationDefaults& defaults() const { return defaults_; }
  const std::string& bos_token() const { return bos_token_; }
  const std::string& eos_token() const { return eos_token_; }
  /// Tells apart answers of other builds, models and devices.
  const std::string& fingerprint() const { return fingerprint_; }
  int64_t created() const { return created_; }
  /// Null for a model that generates.
  const EncoderFacts* encoder() const { return parts_.encoder ? &*parts_.encoder : nullptr; }
  Backend& backend() const { return *backend_; }

 private:
  ModelHost() = default;

  Parts parts_;
  std::optional<text::ChatTemplate> chat_template_;
  text::OutputFormat output_format_;
  GenerationDefaults defaults_;
  std::string bos_token_;
  std::string eos_token_;
  std::string fingerprint_;
  int64_t created_ = 0;  // Unix seconds
  std::unique_ptr<Backend> backend_;
};

}  // namespace ramjet::server
