// Older tokenizer files become the tokenizer.json that their publishers' converters would write.
#include <algorithm>

#include "base/json.h"
#include "text/tokenizer/conversion.h"
#include "text/tokenizer/utf8.h"

namespace ramjet::text {
namespace {

constexpr std::string_view kClipPattern =
    R"('s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+)";

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

/// A token that tokenizer_config.json names, as a string or as an object.
std::string configured_token(const Json& config, const char* key, const char* otherwise) {
  const auto it = config.find(key);
  if (it == config.end() || it->is_null()) return otherwise;
  return it->is_object() ? it->value("content", std::string(otherwise)) : it->get<std::string>();
}

Result<Boundary> boundary(const Json& vocab, const std::string& name) {
  if (!vocab.contains(name)) {
    return invalid_argument(
        "vocab.json lacks the token '{}' that its class puts around a text; name the right one in "
        "tokenizer_config.json",
        name.substr(0, 60));
  }
  return Boundary{name, vocab.at(name).get<int64_t>()};
}

Json roberta_processing(const Boundary& begin, const Boundary& end) {
  return {{"type", "RobertaProcessing"},
          {"cls", Json::array({begin.name, begin.id})},
          {"sep", Json::array({end.name, end.id})},
          {"trim_offsets", true},
          {"add_prefix_space", false}};
}

/// CLIP's: lower case, words with an end of their own.
Status make_clip(const Json& config, const Json& vocab, Json& out) {
  const Json spaces = {{"type", "Replace"}, {"pattern", {{"Regex", R"(\s+)"}}}, {"content", " "}};
  out["normalizer"] = {
      {"type", "Sequence"},
      {"normalizers", Json::array({{{"type", "NFC"}}, spaces, {{"type", "Lowercase"}}})}};
  out["pre_tokenizer"] = split_then_bytes(kClipPattern);
  Json& split = out["pre_tokenizer"]["pretokenizers"][0];
  split["behavior"] = "Removed";
  split["invert"] = true;
  out["pre_tokenizer"]["pretokenizers"][1] = byte_level_json(true);
  const std::string end_name = configured_token(config, "eos_token", "<|endoftext|>");
  ASSIGN_OR_RETURN(const Boundary begin,
                   boundary(vocab, configured_token(config, "bos_token", "<|startoftext|>")));
  ASSIGN_OR_RETURN(const Boundary end, boundary(vocab, end_name));
  out["post_processor"] = roberta_processing(begin, end);
  out["added_tokens"] =
      Json::array({special_token(begin.name, begin.id), special_token(end.name, end.id)});
  out["model"]["end_of_word_suffix"] = "</w>";
  out["model"]["unk_token"] = configured_token(config, "unk_token", "<|endoftext|>");
  return ok_status();
}

Status make_roberta(const Json& config, const Json& vocab, Json& out) {
  out["pre_tokenizer"] = byte_level_json(true);
  out["pre_tokenizer"]["add_prefix_space"] = config.value("add_prefix_space", false);
  ASSIGN_OR_RETURN(const Boundary begin,
                   boundary(vocab, configured_token(config, "cls_token", "<s>")));
  ASSIGN_OR_RETURN(const Boundary end,
                   boundary(vocab, configured_token(config, "sep_token", "</s>")));
  out["post_processor"] = roberta_processing(begin, end);
  for (const char* name : {"<s>", "<pad>", "</s>", "<unk>", "<mask>"}) {
    if (!vocab.contains(name)) continue;
    Json token = special_token(name, vocab.at(name).get<int64_t>());
    token["lstrip"] = std::string_view(name) == "<mask>";
    out["added_tokens"].push_back(std::move(token));
  }
  return ok_status();
}

Status make_gpt2(const Json& config, const Json& vocab, Json& out) {
  out["pre_tokenizer"] = byte_level_json(true);
  out["pre_tokenizer"]["add_prefix_space"] = config.value("add_prefix_space", false);
  if (vocab.contains("<|endoftext|>")) {
    out["added_tokens"].push_back(
        special_token("<|endoftext|>", vocab.at("<|endoftext|>").get<int64_t>()));
  }
  return ok_status();
}

Result<Json> parse_config(std::string_view config_json) {
  if (config_json.empty()) return Json::object();
  ASSIGN_OR_RETURN(Json config, parse_json(config_json, 48));
  if (!config.is_object()) return invalid_argument("tokenizer_config.json is not an object");
  return config;
}

bool is_one_of(std::string_view name, std::initializer_list<std::string_view> prefixes) {
  return std::any_of(prefixes.begin(), prefixes.end(),
                     [&](std::string_view prefix) { return name.starts_with(prefix); });
}

Result<Json> convert_vocab(std::string_view vocab_json, std::string_view merges_text,
                           std::string_view config_json) {
  ASSIGN_OR_RETURN(Json vocab, parse_json(vocab_json, 8));
  if (!vocab.is_object()) return invalid_argument("vocab.json is not an object");
  ASSIGN_OR_RETURN(const Json config, parse_config(config_json));
  const auto name = config.value("tokenizer_class", std::string("GPT2Tokenizer"));
  Json out = json_skeleton();
  out["model"] = {{"type", "BPE"}, {"merges", merge_lines(merges_text)}};
  if (is_one_of(name, {"Qwen2Tokenizer"})) {
    out["normalizer"] = {{"type", "NFC"}};
    out["pre_tokenizer"] = split_then_bytes(kQwen2Pattern);
  } else if (is_one_of(name, {"CLIPTokenizer"})) {
    RETURN_IF_ERROR(make_clip(config, vocab, out));
  } else if (is_one_of(name, {"Roberta", "Bart", "Longformer", "LED"})) {
    RETURN_IF_ERROR(make_roberta(config, vocab, out));
  } else if (is_one_of(name, {"GPT2Tokenizer", "CodeGen", "GPTNeoX", "PreTrainedTokenizerFast"})) {
    RETURN_IF_ERROR(make_gpt2(config, vocab, out));
  } else {
    return unsupported(
        "vocab.json with tokenizer_class '{}': known are the classes of GPT-2, CodeGen, GPT-NeoX, "
        "Qwen2, CLIP, RoBERTa, BART, Longformer and LED; provide tokenizer.json",
        name.substr(0, 60));
  }
  if (config.contains("added_tokens_decoder")) {
    out["added_tokens"] = Json::array();
    RETURN_IF_ERROR(add_configured_tokens(config, out["added_tokens"]));
  }
  out["model"]["vocab"] = std::move(vocab);
  return out;
}

/// BERT: words cut into pieces, [CLS] and [SEP] around.
Result<Json> convert_vocab_text(std::string_view text, std::string_view config_json) {
  ASSIGN_OR_RETURN(const Json config, parse_config(config_json));
  if (!is_valid_utf8(text)) return invalid_argument("vocab.txt is not UTF-8");
  Json vocab = Json::object();
  for (int64_t id = 0; !text.empty(); ++id) {
    const size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    vocab[std::string(line)] = id;
  }
  const std::string unk = configured_token(config, "unk_token", "[UNK]");
  ASSIGN_OR_RETURN(const Boundary begin,
                   boundary(vocab, configured_token(config, "cls_token", "[CLS]")));
  ASSIGN_OR_RETURN(const Boundary end,
                   boundary(vocab, configured_token(config, "sep_token", "[SEP]")));
  Json out = json_skeleton();
  out["decoder"] = {{"type", "WordPiece"}, {"prefix", "##"}, {"cleanup", true}};
  out["pre_tokenizer"] = {{"type", "BertPreTokenizer"}};
  out["normalizer"] = {{"type", "BertNormalizer"},
                       {"clean_text", true},
                       {"handle_chinese_chars", config.value("tokenize_chinese_chars", true)},
                       {"strip_accents", nullptr},
                       {"lowercase", config.value("do_lower_case", true)}};
  if (config.contains("strip_accents")) {
    out["normalizer"]["strip_accents"] = config.at("strip_accents");
  }
  out["post_processor"] = bert_template(begin, end);
  for (const std::string& name : {configured_token(config, "pad_token", "[PAD]"), unk, begin.name,
                                  end.name, configured_token(config, "mask_token", "[MASK]")}) {
    if (!vocab.contains(name)) continue;
    out["added_tokens"].push_back(special_token(name, vocab.at(name).get<int64_t>()));
  }
  out["model"] = {{"type", "WordPiece"},
                  {"unk_token", unk},
                  {"continuing_subword_prefix", "##"},
                  {"max_input_chars_per_word", 100}};
  out["model"]["vocab"] = std::move(vocab);
  return out;
}

template <class Convert>
Result<Json> guarded(Convert convert) {
  try {
    return convert();
  } catch (const Json::exception& e) {
    return invalid_argument("tokenizer files: {}", e.what());
  }
}

}  // namespace

Result<Json> json_from_vocab_and_merges(std::string_view vocab_json, std::string_view merges_text,
                                        std::string_view config_json) {
  return guarded([&] { return convert_vocab(vocab_json, merges_text, config_json); });
}

Result<Json> json_from_vocab_text(std::string_view vocab_text, std::string_view config_json) {
  return guarded([&] { return convert_vocab_text(vocab_text, config_json); });
}

}  // namespace ramjet::text
