#include "text/tokenizer/model.h"

#include <array>
#include <charconv>
#include <cmath>
#include <cstdlib>

#include "base/json.h"
#include "text/tokenizer/bpe.h"
#include "text/tokenizer/model_tables.h"
#include "text/tokenizer/unigram.h"
#include "text/tokenizer/word_models.h"

namespace ramjet::text {
namespace {

Result<Vocabulary> parse_vocabulary(const Json& json) {
  if (!json.is_object()) return invalid_argument("model.vocab is not an object");
  Vocabulary vocabulary(json.size());
  for (const auto& [token, id] : json.items()) {
    if (!id.is_number_integer()) return invalid_argument("token '{}' has no integer id", token);
    RETURN_IF_ERROR(vocabulary.add(token, id.get<int64_t>()));
  }
  return vocabulary;
}

/// "a b". Some published files have lost their no-break spaces to plain ones, so that a line has
/// more than one space; then the parts must be tokens that join to a token, or we refuse.
Result<BpeModel::Merge> parse_merge(const Json& json, size_t rank, const Vocabulary& vocabulary) {
  if (json.is_array() && json.size() == 2) {
    return BpeModel::Merge{json[0].get_ref<const std::string&>(),
                           json[1].get_ref<const std::string&>()};
  }
  if (!json.is_string()) return invalid_argument("merge {} is neither a string nor a pair", rank);
  const std::string_view line = json.get_ref<const std::string&>();
  const size_t only = line.find(' ');
  const bool ambiguous = only != line.npos && line.find(' ', only + 1) != line.npos;
  for (size_t space = only; space != line.npos; space = line.find(' ', space + 1)) {
    const BpeModel::Merge merge{line.substr(0, space), line.substr(space + 1)};
    if (!ambiguous) return merge;
    if (vocabulary.find(merge.first) && vocabulary.find(merge.second) &&
        vocabulary.find(std::string(merge.first) + std::string(merge.second))) {
      return merge;
    }
  }
  return invalid_argument("merge {}: '{}' is not two tokens with a space between", rank, line);
}

std::string string_or_empty(const Json& json, const char* key) {
  const auto it = json.find(key);
  return it == json.end() || it->is_null() ? "" : it->get<std::string>();
}

/// Without the dropout that some files keep from their training: it would make encoding random.
BpeConfig parse_bpe_config(const Json& json) {
  BpeConfig config;
  if (const auto it = json.find("unk_token"); it != json.end() && !it->is_null()) {
    config.unk_token = it->get<std::string>();
  }
  config.continuing_subword_prefix = string_or_empty(json, "continuing_subword_prefix");
  config.end_of_word_suffix = string_or_empty(json, "end_of_word_suffix");
  config.fuse_unk = json.value("fuse_unk", false);
  config.byte_fallback = json.value("byte_fallback", false);
  config.ignore_merges = json.value("ignore_merges", false);
  config.user_defined = json.value("user_defined", std::vector<std::string>());
  return config;
}

Result<std::unique_ptr<Model>> parse_bpe(const Json& json) {
  BpeConfig config = parse_bpe_config(json);
  config.ranks = json.value("merge_ranks", std::vector<uint32_t>());
  ASSIGN_OR_RETURN(Vocabulary vocabulary, parse_vocabulary(json.at("vocab")));
  std::vector<BpeModel::Merge> merges;
  const Json& list = json.at("merges");
  if (!list.is_array()) return invalid_argument("model.merges is not a list");
  merges.reserve(list.size());
  for (const Json& item : list) {
    if (item.is_string() && item.get_ref<const std::string&>().starts_with("#version")) continue;
    ASSIGN_OR_RETURN(const BpeModel::Merge merge, parse_merge(item, merges.size(), vocabulary));
    merges.push_back(merge);
  }
  return BpeModel::create(std::move(config), std::move(vocabulary), merges);
}

UnigramConfig parse_unigram_config(const Json& json) {
  UnigramConfig config;
  if (const auto it = json.find("unk_id"); it != json.end() && !it->is_null()) {
    config.unk_id = it->get<int32_t>();
  }
  config.byte_fallback = json.value("byte_fallback", false);
  for (const int type : json.value("piece_types", std::vector<int>())) {
    config.sentencepiece_types.push_back(static_cast<char>(type & 0x7f));
  }
  return config;
}

/// A score as the library reads it: its digits as one integer, divided by a power of ten, which is
/// up to an ulp off. Pieces of equal sums are told apart by no more than that. Files hold the
/// shortest digits of a number, as to_chars() does.
double as_the_library_reads(double score) {
  char digits[40];
  const auto printed =
      std::to_chars(digits, std::end(digits), std::fabs(score), std::chars_format::scientific);
  uint64_t integer = 0;
  int exponent = 0;
  const char* at = digits;
  for (bool fraction = false; at != printed.ptr && *at != 'e'; ++at) {
    if (*at == '.') {
      fraction = true;
      continue;
    }
    integer = integer * 10 + static_cast<uint64_t>(*at - '0');
    exponent -= fraction;
  }
  if (at == printed.ptr) return score;  // not finite
  int printed_exponent = 0;
  at += at[1] == '+' ? 2 : 1;
  std::from_chars(at, printed.ptr, printed_exponent);
  exponent += printed_exponent;
  static const std::array<double, 309> powers = [] {
    std::array<double, 309> out{};
    for (int i = 0; i < 309; ++i) {
      const std::string text = "1e" + std::to_string(i);
      std::from_chars(text.data(), text.data() + text.size(), out[static_cast<size_t>(i)]);
    }
    return out;
  }();
  const auto power = static_cast<size_t>(std::abs(exponent));
  if (power >= powers.size()) return score;
  const auto whole = static_cast<double>(integer);
  return std::copysign(exponent < 0 ? whole / powers[power] : whole * powers[power], score);
}

Result<std::unique_ptr<Model>> parse_unigram(const Json& json) {
  const Json& list = json.at("vocab");
  if (!list.is_array()) return invalid_argument("model.vocab of a Unigram is not a list");
  Vocabulary vocabulary(list.size());
  std::vector<double> scores;
  scores.reserve(list.size());
  for (const Json& item : list) {
    if (!item.is_array() || item.size() != 2 || !item[0].is_string() || !item[1].is_number()) {
      return invalid_argument("model.vocab: piece {} is not [text, score]", scores.size());
    }
    RETURN_IF_ERROR(
        vocabulary.add(item[0].get_ref<const std::string&>(), static_cast<int64_t>(scores.size())));
    const double score = item[1].get<double>();
    scores.push_back(json.contains("piece_types") ? score : as_the_library_reads(score));
  }
  return UnigramModel::create(parse_unigram_config(json), std::move(vocabulary), std::move(scores));
}

Result<WordPieceConfig> parse_word_piece_config(const Json& json) {
  WordPieceConfig config;
  config.unk_token = json.value("unk_token", config.unk_token);
  config.continuing_subword_prefix =
      json.value("continuing_subword_prefix", config.continuing_subword_prefix);
  const auto longest = json.value("max_input_chars_per_word", int64_t{100});
  if (longest < 0) return invalid_argument("max_input_chars_per_word {} is negative", longest);
  config.max_input_chars_per_word = static_cast<size_t>(longest);
  return config;
}

Error unknown_type(const std::string& type) {
  return unsupported(
      "tokenizer model '{}' is not supported; BPE, Unigram, WordPiece, WordLevel are",
      type.substr(0, 40));
}

}  // namespace

std::string model_type(const Json& json) {
  if (json.contains("type")) return json.at("type").get<std::string>();
  if (json.contains("max_input_chars_per_word")) return "WordPiece";
  if (json.contains("unk_id")) return "Unigram";
  if (json.contains("merges") || json.contains("fuse_unk")) return "BPE";
  return json.contains("unk_token") ? "WordLevel" : "without a type";
}

Result<std::unique_ptr<Model>> Model::from_tables(const Json& json, std::string_view tables) {
  const std::string type = model_type(json);
  if (type == "BPE") return BpeModel::from_tables(parse_bpe_config(json), tables);
  if (type == "Unigram") return UnigramModel::from_tables(parse_unigram_config(json), tables);
  if (type != "WordPiece" && type != "WordLevel") return unknown_type(type);
  TableReader reader(tables);
  ASSIGN_OR_RETURN(Vocabulary vocabulary, reader.vocabulary());
  if (reader.left() > 0) return corrupt("tokenizer tables: {} bytes too many", reader.left());
  if (type == "WordLevel") {
    return std::unique_ptr<Model>(std::make_unique<WordLevelModel>(
        json.value("unk_token", std::string("<unk>")), std::move(vocabulary)));
  }
  ASSIGN_OR_RETURN(WordPieceConfig config, parse_word_piece_config(json));
  return WordPieceModel::create(std::move(config), std::move(vocabulary));
}

Result<std::unique_ptr<Model>> Model::from_json(const Json& json) {
  if (!json.is_object()) return invalid_argument("'model' is not an object");
  const std::string type = model_type(json);
  if (type == "BPE") return parse_bpe(json);
  if (type == "Unigram") return parse_unigram(json);
  if (type != "WordPiece" && type != "WordLevel") return unknown_type(type);
  ASSIGN_OR_RETURN(Vocabulary vocabulary, parse_vocabulary(json.at("vocab")));
  if (type == "WordLevel") {
    return std::unique_ptr<Model>(std::make_unique<WordLevelModel>(
        json.value("unk_token", std::string("<unk>")), std::move(vocabulary)));
  }
  ASSIGN_OR_RETURN(WordPieceConfig config, parse_word_piece_config(json));
  return WordPieceModel::create(std::move(config), std::move(vocabulary));
}

}  // namespace ramjet::text
