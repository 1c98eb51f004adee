// Older tokenizer files become the tokenizer.json that their publishers' converters would write.
#include <algorithm>
#include <array>
#include <unordered_map>

#include "base/json.h"
#include "text/tokenizer/byte_level.h"
#include "text/tokenizer/tokenizer_impl.h"

namespace ramjet::text {
namespace {

constexpr std::string_view kQwen2Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N})"
    R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kLlama3Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3})"
    R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

Json byte_level(bool use_regex) {
  return {{"type", "ByteLevel"},
          {"add_prefix_space", false},
          {"trim_offsets", false},
          {"use_regex", use_regex}};
}

Json split_then_bytes(std::string_view pattern) {
  const Json split = {{"type", "Split"},
                      {"pattern", {{"Regex", pattern}}},
                      {"behavior", "Isolated"},
                      {"invert", false}};
  return {{"type", "Sequence"}, {"pretokenizers", Json::array({split, byte_level(false)})}};
}

Json special_token(std::string_view content, int64_t id) {
  return {{"id", id},        {"content", content},  {"single_word", false}, {"lstrip", false},
          {"rstrip", false}, {"normalized", false}, {"special", true}};
}

Json skeleton() {
  return {{"version", "1.0"},           {"truncation", nullptr},
          {"padding", nullptr},         {"added_tokens", Json::array()},
          {"normalizer", nullptr},      {"post_processor", nullptr},
          {"decoder", byte_level(true)}};
}

Json merge_lines(std::string_view text) {
  Json merges = Json::array();
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (!line.empty() && !line.starts_with("#version")) merges.push_back(line);
  }
  return merges;
}

/// tokenizer_config.json's added_tokens_decoder: {"151643": {"content": …}}.
Status add_configured_tokens(const Json& config, Json& added) {
  std::vector<std::pair<int64_t, Json>> tokens;
  for (const auto& [key, token] : config.at("added_tokens_decoder").items()) {
    if (key.empty() || key.size() > 9 || key.find_first_not_of("0123456789") != key.npos) {
      return invalid_argument("tokenizer_config.json: added token id '{}' is no number", key);
    }
    tokens.emplace_back(std::stol(key), token);
  }
  std::sort(tokens.begin(), tokens.end(),
            [](const auto& a, const auto& b) { return a.first < b.first; });
  for (auto& [id, token] : tokens) {
    token["id"] = id;
    added.push_back(token);
  }
  return ok_status();
}

Result<Json> convert_vocab(std::string_view vocab_json, std::string_view merges_text,
                           std::string_view config_json) {
  ASSIGN_OR_RETURN(Json vocab, parse_json(vocab_json, 8));
  Json config = Json::object();
  if (!config_json.empty()) {
    ASSIGN_OR_RETURN(config, parse_json(config_json, 48));
  }
  const auto name = config.value("tokenizer_class", std::string("GPT2Tokenizer"));
  const bool qwen = name.starts_with("Qwen2Tokenizer");
  if (!qwen && !name.starts_with("GPT2Tokenizer")) {
    return unsupported(
        "vocab.json with tokenizer_class '{}': Qwen2Tokenizer and GPT2Tokenizer are "
        "known; provide tokenizer.json",
        name.substr(0, 60));
  }
  Json out = skeleton();
  if (qwen) out["normalizer"] = {{"type", "NFC"}};
  out["pre_tokenizer"] = qwen ? split_then_bytes(kQwen2Pattern) : byte_level(true);
  if (!qwen) out["pre_tokenizer"]["add_prefix_space"] = config.value("add_prefix_space", false);
  if (config.contains("added_tokens_decoder")) {
    RETURN_IF_ERROR(add_configured_tokens(config, out["added_tokens"]));
  } else if (vocab.contains("<|endoftext|>")) {
    out["added_tokens"].push_back(
        special_token("<|endoftext|>", vocab.at("<|endoftext|>").get<int64_t>()));
  }
  out["model"] = {{"type", "BPE"}, {"merges", merge_lines(merges_text)}};
  out["model"]["vocab"] = std::move(vocab);
  return out;
}

bool decode_base64(std::string_view text, std::string& out) {
  uint32_t bits = 0;
  int count = 0;
  while (text.ends_with('=')) text.remove_suffix(1);
  for (const char c : text) {
    int value;
    if (c >= 'A' && c <= 'Z') {
      value = c - 'A';
    } else if (c >= 'a' && c <= 'z') {
      value = c - 'a' + 26;
    } else if (c >= '0' && c <= '9') {
      value = c - '0' + 52;
    } else if (c == '+' || c == '/') {
      value = c == '+' ? 62 : 63;
    } else {
      return false;
    }
    bits = bits << 6 | static_cast<uint32_t>(value);
    if ((count += 6) >= 8) out.push_back(static_cast<char>(bits >> (count -= 8) & 0xff));
  }
  return true;
}

using Ranks = std::vector<std::string>;  // token bytes by rank

Result<Ranks> parse_ranks(std::string_view text) {
  Ranks ranks;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.empty()) continue;
    const size_t space = line.find(' ');
    std::string token;
    if (space == line.npos || !decode_base64(line.substr(0, space), token) || token.empty() ||
        line.substr(space + 1) != std::to_string(ranks.size())) {
      return invalid_argument(
          "line {} is not a base64 token and the next rank: only tiktoken "
          ".model files are read; for others provide tokenizer.json",
          ranks.size() + 1);
    }
    if (token.size() > 1024) return invalid_argument("rank {}: token too long", ranks.size());
    ranks.push_back(std::move(token));
  }
  return ranks;
}

/// Every way to split a token into two known ones is a merge that tiktoken would do; they rank by
/// the token they make, then by their parts.
Json merges_of_ranks(const Ranks& ranks) {
  std::unordered_map<std::string_view, size_t> rank_of;
  for (size_t i = 0; i < ranks.size(); ++i) rank_of.emplace(ranks[i], i);
  Json merges = Json::array();
  std::vector<std::pair<size_t, size_t>> splits;
  for (const std::string& token : ranks) {
    splits.clear();
    for (size_t cut = 1; cut < token.size(); ++cut) {
      const auto left = rank_of.find(std::string_view(token).substr(0, cut));
      const auto right = rank_of.find(std::string_view(token).substr(cut));
      if (left != rank_of.end() && right != rank_of.end()) {
        splits.emplace_back(left->second, right->second);
      }
    }
    std::sort(splits.begin(), splits.end());
    for (const auto& [left, right] : splits) {
      std::string a;
      std::string b;
      append_byte_level(a, ranks[left]);
      append_byte_level(b, ranks[right]);
      merges.push_back({std::move(a), std::move(b)});
    }
  }
  return merges;
}

std::vector<std::string> llama3_specials() {
  std::vector<std::string> out = {"<|begin_of_text|>",
                                  "<|end_of_text|>",
                                  "<|reserved_special_token_0|>",
                                  "<|reserved_special_token_1|>",
                                  "<|reserved_special_token_2|>",
                                  "<|reserved_special_token_3|>",
                                  "<|start_header_id|>",
                                  "<|end_header_id|>",
                                  "<|reserved_special_token_4|>",
                                  "<|eot_id|>"};
  for (int i = 5; out.size() < 256; ++i) {
    out.push_back("<|reserved_special_token_" + std::to_string(i) + "|>");
  }
  return out;
}

Result<Json> convert_tiktoken(std::string_view text) {
  ASSIGN_OR_RETURN(const Ranks ranks, parse_ranks(text));
  if (ranks.size() < 256) return invalid_argument("{} ranks are fewer than bytes", ranks.size());
  Json out = skeleton();
  out["pre_tokenizer"] = split_then_bytes(kLlama3Pattern);
  Json vocab = Json::object();
  for (size_t rank = 0; rank < ranks.size(); ++rank) {
    std::string spelling;
    append_byte_level(spelling, ranks[rank]);
    vocab[spelling] = rank;
  }
  auto id = static_cast<int64_t>(ranks.size());
  const int64_t bos = id;
  for (const std::string& content : llama3_specials()) {
    out["added_tokens"].push_back(special_token(content, id++));
  }
  const Json bos_piece = {{"SpecialToken", {{"id", "<|begin_of_text|>"}, {"type_id", 0}}}};
  const Json text_piece = {{"Sequence", {{"id", "A"}, {"type_id", 0}}}};
  out["post_processor"] = {{"type", "TemplateProcessing"},
                           {"single", Json::array({bos_piece, text_piece})},
                           {"pair", Json::array()},
                           {"special_tokens",
                            {{"<|begin_of_text|>",
                              {{"id", "<|begin_of_text|>"},
                               {"ids", Json::array({bos})},
                               {"tokens", Json::array({"<|begin_of_text|>"})}}}}}};
  out["model"] = {{"type", "BPE"}, {"ignore_merges", true}, {"merges", merges_of_ranks(ranks)}};
  out["model"]["vocab"] = std::move(vocab);
  return out;
}

template <class Convert>
Result<std::string> guarded(Convert convert) {
  try {
    ASSIGN_OR_RETURN(const Json json, convert());
    return dump_json(json);
  } catch (const Json::exception& e) {
    return invalid_argument("tokenizer files: {}", e.what());
  }
}

}  // namespace

Result<std::string> json_from_vocab_and_merges(std::string_view vocab_json,
                                               std::string_view merges_text,
                                               std::string_view config_json) {
  return guarded([&] { return convert_vocab(vocab_json, merges_text, config_json); });
}

Result<std::string> json_from_tiktoken(std::string_view ranks_text) {
  return guarded([&] { return convert_tiktoken(ranks_text); });
}

}  // namespace ramjet::text
