#include <algorithm>
#include <array>

#include "base/json.h"
#include "checkpoint/gguf_config.h"
#include "checkpoint/hf_assets.h"

namespace ramjet::checkpoint {
namespace {

constexpr int64_t kControl = 3;  // token_type of a control token

// Control tokens that end a generation wherever they occur, beside those the metadata name.
constexpr std::array<std::string_view, 10> kEnds = {
    "<|eot_id|>", "<|eom_id|>", "<|im_end|>",    "<|end|>",         "<end_of_turn>",
    "<|return|>", "<|call|>",   "<|endoftext|>", "<|end_of_text|>", "<｜end▁of▁sentence｜>"};

using Texts = std::vector<std::string_view>;

Result<Texts> token_texts(const gguf::Header& header) {
  const gguf::Value* value = header.find("tokenizer.ggml.tokens");
  if (value == nullptr) return Texts();
  auto texts = value->texts();
  if (!texts) return invalid_argument("metadata 'tokenizer.ggml.tokens' is no array of strings");
  return *std::move(texts);
}

/// The id under "tokenizer.ggml.NAME_token_id"; -1 without one.
Result<int64_t> token_id(const gguf::Header& header, std::string_view name, const Texts& tokens) {
  const std::string key = fmt::format("tokenizer.ggml.{}_token_id", name);
  if (header.find(key) == nullptr) return int64_t{-1};
  ASSIGN_OR_RETURN(const int64_t id, header.integer(key));
  if (!tokens.empty() && (id < 0 || id >= static_cast<int64_t>(tokens.size()))) {
    return invalid_argument("metadata '{}' is {}, there are {} tokens", key, id, tokens.size());
  }
  return id;
}

Status add_special_tokens(const gguf::Header& header, const Texts& tokens,
                          std::map<std::string, std::string>& assets) {
  constexpr std::pair<const char*, const char*> kNames[] = {{"bos_token", "bos"},
                                                            {"eos_token", "eos"},
                                                            {"pad_token", "padding"},
                                                            {"unk_token", "unknown"}};
  Json out = Json::object();
  for (const auto& [field, name] : kNames) {
    ASSIGN_OR_RETURN(const int64_t id, token_id(header, name, tokens));
    if (id >= 0 && !tokens.empty()) out[field] = tokens[static_cast<size_t>(id)];
  }
  for (const char* name : {"add_bos_token", "add_eos_token"}) {
    const std::string key = fmt::format("tokenizer.ggml.{}", name);
    if (header.find(key) == nullptr) continue;
    ASSIGN_OR_RETURN(out[name], header.flag(key));
  }
  if (!out.empty()) assets["special_tokens"] = dump_json(out);
  return ok_status();
}

Status add_generation_config(const gguf::Header& header, const Texts& tokens,
                             std::map<std::string, std::string>& assets) {
  std::vector<int64_t> ends;
  const auto add = [&](int64_t id) {
    if (id >= 0 && std::find(ends.begin(), ends.end(), id) == ends.end()) ends.push_back(id);
  };
  for (const char* name : {"eos", "eot", "eom"}) {
    ASSIGN_OR_RETURN(const int64_t id, token_id(header, name, tokens));
    add(id);
  }
  const gguf::Value* types = header.find("tokenizer.ggml.token_type");
  const auto kinds = types == nullptr ? std::nullopt : types->numbers();
  for (size_t i = 0; kinds && i < std::min(tokens.size(), kinds->size()); ++i) {
    if ((*kinds)[i] != static_cast<double>(kControl)) continue;
    if (std::find(kEnds.begin(), kEnds.end(), tokens[i]) != kEnds.end()) {
      add(static_cast<int64_t>(i));
    }
  }
  Json out = Json::object();
  ASSIGN_OR_RETURN(const int64_t bos, token_id(header, "bos", tokens));
  if (bos >= 0) out["bos_token_id"] = bos;
  if (!ends.empty()) out["eos_token_id"] = ends;
  if (!out.empty()) assets["generation_config"] = dump_json(out);
  return ok_status();
}

}  // namespace

Result<std::map<std::string, std::string>> gguf_assets(const gguf::Header& header) {
  constexpr std::string_view kTemplate = "tokenizer.chat_template";
  std::map<std::string, std::string> assets;
  for (auto it = header.metadata.lower_bound(kTemplate);
       it != header.metadata.end() && it->first.starts_with(kTemplate); ++it) {
    const std::string_view name = it->first.substr(kTemplate.size());
    if (!name.empty() && (name[0] != '.' || !is_template_name(name.substr(1)))) continue;
    ASSIGN_OR_RETURN(assets["chat_template" + std::string(name)], header.text(it->first));
  }
  ASSIGN_OR_RETURN(const Texts tokens, token_texts(header));
  RETURN_IF_ERROR(add_special_tokens(header, tokens, assets));
  RETURN_IF_ERROR(add_generation_config(header, tokens, assets));
  return assets;
}

}  // namespace ramjet::checkpoint
