// The vocabulary in a GGUF's metadata becomes the tokenizer.json that its model came with, as far
// as the metadata tell. What they do not keep: a normalizer (gguf_patterns.h has those of known
// models), whether an added token takes the spaces beside it, and truncation.
#include <algorithm>
#include <cmath>
#include <unordered_map>

#include "base/gguf/gguf.h"
#include "base/json.h"
#include "base/log.h"
#include "text/tokenizer/gguf_patterns.h"
#include "text/tokenizer/sentencepiece_model.h"
#include "text/tokenizer/tokenizer_impl.h"
#include "text/tokenizer/utf8.h"

namespace ramjet::text {
namespace {

constexpr size_t kMaxTokens = size_t{1} << 22;
constexpr std::string_view kSpace = "▁";

enum TokenType { kNormal = 1, kUnknown, kControl, kUserDefined, kUnused, kByte };

struct GgufVocabulary {
  std::vector<std::string_view> tokens;
  std::vector<double> scores;  // empty, or one a token
  std::vector<double> types;   // the same
  int type(size_t id) const { return types.empty() ? kNormal : static_cast<int>(types[id]); }
};

std::string key(std::string_view name) { return fmt::format("tokenizer.ggml.{}", name); }

Status read_list(const gguf::Header& header, std::string_view name, size_t count,
                 std::vector<double>& out) {
  const gguf::Value* value = header.find(key(name));
  if (value == nullptr) return ok_status();
  auto numbers = value->numbers();
  if (!numbers || numbers->size() < count) {
    return invalid_argument(
        "metadata '{}' is {} of {}, it must have a number for each of the {} "
        "tokens",
        key(name), value->type_name(), value->count, count);
  }
  out = *std::move(numbers);
  return ok_status();
}

Result<GgufVocabulary> read_vocabulary(const gguf::Header& header) {
  GgufVocabulary out;
  const gguf::Value* value = header.find(key("tokens"));
  if (value == nullptr) return not_found("no metadata '{}'", key("tokens"));
  auto tokens = value->texts();
  if (!tokens || tokens->empty() || tokens->size() > kMaxTokens) {
    return invalid_argument("metadata '{}' is {} of {}, it must be 1 to {} strings", key("tokens"),
                            value->type_name(), value->count, kMaxTokens);
  }
  out.tokens = *std::move(tokens);
  std::unordered_map<std::string_view, size_t> ids;
  for (size_t id = 0; id < out.tokens.size(); ++id) {
    if (!is_valid_utf8(out.tokens[id])) {
      return invalid_argument("metadata '{}': token {} is not UTF-8", key("tokens"), id);
    }
    const auto [known, fresh] = ids.emplace(out.tokens[id], id);
    if (fresh) continue;
    return invalid_argument("metadata '{}': tokens {} and {} are both '{}'", key("tokens"),
                            known->second, id, out.tokens[id].substr(0, 64));
  }
  RETURN_IF_ERROR(read_list(header, "scores", out.tokens.size(), out.scores));
  RETURN_IF_ERROR(read_list(header, "token_type", out.tokens.size(), out.types));
  return out;
}

/// A special token's id; -1 without one.
Result<int64_t> token_id(const gguf::Header& header, std::string_view name, int64_t fallback,
                         const GgufVocabulary& vocabulary) {
  const auto count = static_cast<int64_t>(vocabulary.tokens.size());
  if (fallback >= count) fallback = -1;
  ASSIGN_OR_RETURN(const int64_t id, header.integer(key(name), fallback));
  if (id < -1 || id >= count) {
    return invalid_argument("metadata '{}' is {}, there are {} tokens", key(name), id, count);
  }
  return id;
}

/// What goes around a text: ids of tokens, -1 for none.
struct Frame {
  int64_t begin = -1;
  int64_t end = -1;
};

struct FrameDefaults {
  int64_t bos = -1, eos = -1;
  bool add_bos = false, add_eos = false;
};

Result<Frame> read_frame(const gguf::Header& header, const GgufVocabulary& vocabulary,
                         const FrameDefaults& defaults) {
  ASSIGN_OR_RETURN(const bool add_bos, header.flag(key("add_bos_token"), defaults.add_bos));
  ASSIGN_OR_RETURN(const bool add_eos, header.flag(key("add_eos_token"), defaults.add_eos));
  ASSIGN_OR_RETURN(const int64_t bos, token_id(header, "bos_token_id", defaults.bos, vocabulary));
  ASSIGN_OR_RETURN(const int64_t eos, token_id(header, "eos_token_id", defaults.eos, vocabulary));
  return Frame{add_bos ? bos : -1, add_eos ? eos : -1};
}

Json frame_processor(const Frame& frame, const GgufVocabulary& vocabulary) {
  if (frame.begin < 0 && frame.end < 0) return nullptr;
  Json specials = Json::object();
  const auto piece = [&](int64_t id, int type) -> Json {
    const std::string token(vocabulary.tokens[static_cast<size_t>(id)]);
    specials[token] = {{"id", token}, {"ids", Json::array({id})}, {"tokens", Json::array({token})}};
    return {{"SpecialToken", {{"id", token}, {"type_id", type}}}};
  };
  Json single = Json::array(), pair = Json::array();
  for (int type = 0; type < 2; ++type) {
    Json part = Json::array();
    // BERT begins a pair once, Llama each of its texts.
    if (frame.begin >= 0 && (type == 0 || frame.end < 0)) part.push_back(piece(frame.begin, type));
    part.push_back({{"Sequence", {{"id", type == 0 ? "A" : "B"}, {"type_id", type}}}});
    if (frame.end >= 0) part.push_back(piece(frame.end, type));
    if (type == 0) single = part;
    pair.insert(pair.end(), part.begin(), part.end());
  }
  return {{"type", "TemplateProcessing"},
          {"single", std::move(single)},
          {"pair", std::move(pair)},
          {"special_tokens", std::move(specials)}};
}

Json added_token(std::string_view content, size_t id, bool special) {
  return {{"id", id},        {"content", content},  {"single_word", false}, {"lstrip", false},
          {"rstrip", false}, {"normalized", false}, {"special", special}};
}

Json byte_level(bool trim) {
  return {{"type", "ByteLevel"},
          {"add_prefix_space", false},
          {"trim_offsets", trim},
          {"use_regex", false}};
}

Json pre_tokenizer_json(const GgufPreTokenizer& row) {
  Json parts = Json::array();
  for (const std::string_view pattern : row.patterns) {
    if (pattern.empty()) continue;
    parts.push_back({{"type", "Split"},
                     {"pattern", {{"Regex", pattern}}},
                     {"behavior", "Isolated"},
                     {"invert", false}});
  }
  parts.push_back(byte_level(false));
  return {{"type", "Sequence"}, {"pretokenizers", std::move(parts)}};
}

Result<Json> merges_json(const gguf::Header& header) {
  const gguf::Value* value = header.find(key("merges"));
  const auto merges = value == nullptr ? std::nullopt : value->texts();
  if (!merges) return invalid_argument("metadata '{}' is no array of strings", key("merges"));
  Json out = Json::array();
  for (const std::string_view merge : *merges) {
    const size_t space = merge.find(' ', 1);
    if (space == merge.npos || !is_valid_utf8(merge)) {
      return invalid_argument("metadata '{}': merge {} is no pair of tokens", key("merges"),
                              out.size());
    }
    out.push_back(Json::array({merge.substr(0, space), merge.substr(space + 1)}));
  }
  return out;
}

Result<const GgufPreTokenizer*> named_pre_tokenizer(const gguf::Header& header) {
  ASSIGN_OR_RETURN(const std::string name, header.text(key("pre"), ""));
  if (name.empty()) {
    log_warn("metadata '{}' is missing: words are split as llama.cpp did before there was one",
             key("pre"));
    return find_gguf_pre_tokenizer("default");
  }
  const GgufPreTokenizer* row = find_gguf_pre_tokenizer(name);
  if (row != nullptr) return row;
  return unsupported("pre-tokenizer '{}' (metadata '{}') is not known; known are {}",
                     name.substr(0, 64), key("pre"), known_gguf_pre_tokenizers());
}

/// Byte-level BPE. Vocabularies padded to a round size have tokens "[PAD151936]": no text has them.
Result<Json> convert_byte_level(const gguf::Header& header, const GgufVocabulary& vocabulary) {
  ASSIGN_OR_RETURN(const GgufPreTokenizer* pre, named_pre_tokenizer(header));
  ASSIGN_OR_RETURN(const Frame frame,
                   read_frame(header, vocabulary, {11, 11, pre->add_bos, false}));
  Json out = {{"version", "1.0"}, {"added_tokens", Json::array()}, {"normalizer", nullptr}};
  if (pre->nfc) out["normalizer"] = {{"type", "NFC"}};
  out["pre_tokenizer"] = pre_tokenizer_json(*pre);
  out["post_processor"] = frame_processor(frame, vocabulary);
  out["decoder"] = byte_level(true);
  Json vocab = Json::object();
  for (size_t id = 0; id < vocabulary.tokens.size(); ++id) {
    const std::string_view token = vocabulary.tokens[id];
    const int type = vocabulary.type(id);
    if (type == kUnused && token == fmt::format("[PAD{}]", id)) continue;
    vocab[std::string(token)] = id;
    if (type == kControl || type == kUserDefined || type == kUnknown) {
      out["added_tokens"].push_back(added_token(token, id, type != kUserDefined));
    }
  }
  out["model"] = {{"type", "BPE"}, {"ignore_merges", pre->ignore_merges}};
  ASSIGN_OR_RETURN(out["model"]["merges"], merges_json(header));
  out["model"]["vocab"] = std::move(vocab);
  return out;
}

Result<SentencePieceModel> sentencepiece_model(const gguf::Header& header,
                                               SentencePieceModel::Algorithm algorithm,
                                               const GgufVocabulary& vocabulary) {
  SentencePieceModel out;
  out.algorithm = algorithm;
  for (size_t id = 0; id < vocabulary.tokens.size(); ++id) {
    const float score = vocabulary.scores.empty() ? 0 : static_cast<float>(vocabulary.scores[id]);
    if (!std::isfinite(score)) {
      return invalid_argument("metadata '{}': the score of token {} is {}", key("scores"), id,
                              score);
    }
    const int type = std::clamp(vocabulary.type(id), 1, 6);
    out.pieces.push_back({std::string(vocabulary.tokens[id]), score, static_cast<PieceType>(type)});
    out.byte_fallback |= type == kByte;
  }
  if (const gguf::Value* map = header.find(key("precompiled_charsmap")); map != nullptr) {
    const bool good = map->is_array && map->bytes.size() == map->count;
    if (!good) return invalid_argument("metadata '{}' is no bytes", key("precompiled_charsmap"));
    out.charsmap = map->bytes;
  }
  ASSIGN_OR_RETURN(out.add_dummy_prefix, header.flag(key("add_space_prefix"), true));
  ASSIGN_OR_RETURN(out.remove_extra_whitespaces,
                   header.flag(key("remove_extra_whitespaces"), false));
  return out;
}

/// A GGUF's user-defined tokens are taken out of the raw text, as added tokens are.
void add_user_defined(const GgufVocabulary& vocabulary, Json& json) {
  for (size_t id = 0; id < vocabulary.tokens.size(); ++id) {
    if (vocabulary.type(id) != kUserDefined) continue;
    json["added_tokens"].push_back(added_token(std::string(vocabulary.tokens[id]), id, false));
  }
  json["normalizer"].erase("user_defined");
  json["model"].erase("user_defined");
}

/// Phi-3's tokens take the spaces behind them: a fact about that model which its files lack.
void strip_behind(const gguf::Header& header, Json& json) {
  const auto architecture = header.text("general.architecture", "");
  if (!architecture.ok() || *architecture != "phi3") return;
  for (Json& token : json["added_tokens"]) {
    const auto& content = token["content"].get_ref<const std::string&>();
    token["rstrip"] = content != "<unk>" && content != "<s>" && content != "<|endoftext|>";
  }
}

Result<Json> convert_pieces(const gguf::Header& header, SentencePieceModel::Algorithm algorithm,
                            const GgufVocabulary& vocabulary) {
  const bool bpe = algorithm == SentencePieceModel::kBpe;
  const FrameDefaults defaults =
      bpe ? FrameDefaults{1, 2, true, false} : FrameDefaults{-1, 1, false, true};
  ASSIGN_OR_RETURN(const Frame frame, read_frame(header, vocabulary, defaults));
  ASSIGN_OR_RETURN(const SentencePieceModel model,
                   sentencepiece_model(header, algorithm, vocabulary));
  ASSIGN_OR_RETURN(Json json, json_of_sentencepiece(model, ""));
  add_user_defined(vocabulary, json);
  json["post_processor"] = frame_processor(frame, vocabulary);
  strip_behind(header, json);
  return json;
}

/// WordPiece: "▁" marks a word's beginning here, "##" its continuation there.
Result<Json> convert_word_pieces(const gguf::Header& header, const GgufVocabulary& vocabulary) {
  ASSIGN_OR_RETURN(const int64_t begin, token_id(header, "bos_token_id", 101, vocabulary));
  ASSIGN_OR_RETURN(const int64_t end, token_id(header, "seperator_token_id", 102, vocabulary));
  ASSIGN_OR_RETURN(const int64_t unknown, token_id(header, "unknown_token_id", 100, vocabulary));
  ASSIGN_OR_RETURN(const bool lowercase, header.flag(key("normalizer.lowercase"), true));
  ASSIGN_OR_RETURN(const bool strip, header.flag(key("normalizer.strip_accents"), lowercase));
  Json out = {{"version", "1.0"}, {"added_tokens", Json::array()}};
  out["normalizer"] = {{"type", "BertNormalizer"},
                       {"clean_text", true},
                       {"handle_chinese_chars", true},
                       {"strip_accents", strip},
                       {"lowercase", lowercase}};
  out["pre_tokenizer"] = {{"type", "BertPreTokenizer"}};
  out["post_processor"] = frame_processor({begin, end}, vocabulary);
  out["decoder"] = {{"type", "WordPiece"}, {"prefix", "##"}, {"cleanup", true}};
  Json vocab = Json::object();
  for (size_t id = 0; id < vocabulary.tokens.size(); ++id) {
    const std::string_view token = vocabulary.tokens[id];
    const int type = vocabulary.type(id);
    const bool whole = type == kControl || type == kUnknown || type == kUserDefined ||
                       type == kUnused || (token.starts_with('[') && token.ends_with(']'));
    std::string spelled(token);
    if (token.starts_with(kSpace)) {
      spelled.erase(0, kSpace.size());
    } else if (!whole) {
      spelled.insert(0, "##");
    }
    if (type == kControl || type == kUnknown) {
      out["added_tokens"].push_back(added_token(spelled, id, true));
    }
    vocab[spelled] = id;
  }
  out["model"] = {{"type", "WordPiece"},
                  {"continuing_subword_prefix", "##"},
                  {"max_input_chars_per_word", 100}};
  out["model"]["unk_token"] =
      unknown < 0 ? "[UNK]" : std::string(vocabulary.tokens[static_cast<size_t>(unknown)]);
  out["model"]["vocab"] = std::move(vocab);
  return out;
}

Result<std::string> convert(const gguf::Header& header) {
  if (header.find("tokenizer.huggingface.json") != nullptr) {
    return header.text("tokenizer.huggingface.json");
  }
  ASSIGN_OR_RETURN(const std::string model, header.text(key("model"), "none"));
  if (model == "none" || model == "no_vocab") return not_found("the GGUF holds no vocabulary");
  ASSIGN_OR_RETURN(const GgufVocabulary vocabulary, read_vocabulary(header));
  Result<Json> json =
      model == "gpt2"    ? convert_byte_level(header, vocabulary)
      : model == "llama" ? convert_pieces(header, SentencePieceModel::kBpe, vocabulary)
      : model == "t5"    ? convert_pieces(header, SentencePieceModel::kUnigram, vocabulary)
      : model == "bert"  ? convert_word_pieces(header, vocabulary)
                         : Result<Json>(unsupported(
                              "tokenizer model '{}' (metadata '{}') is not known; known are gpt2, "
                               "llama, t5 and bert",
                              model.substr(0, 64), key("model")));
  if (!json.ok()) return json.error();
  return dump_json(*json);
}

}  // namespace

Result<std::string> json_from_gguf(const std::string& path) {
  ASSIGN_OR_RETURN(const std::vector<std::string> parts, gguf::part_paths(path));
  ASSIGN_OR_RETURN(const gguf::File file, gguf::File::open(parts.front()));
  try {
    Result<std::string> json = convert(file.header());
    if (!json.ok()) return json.error().with_context(parts.front());
    return json;
  } catch (const Json::exception& e) {
    return invalid_argument("{}: {}", parts.front(), e.what());
  }
}

}  // namespace ramjet::text
