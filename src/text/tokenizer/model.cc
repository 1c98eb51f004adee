#include "text/tokenizer/model.h"

#include "base/json.h"
#include "text/tokenizer/bpe.h"

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

Result<BpeConfig> parse_bpe_config(const Json& json) {
  if (const auto it = json.find("dropout");
      it != json.end() && !it->is_null() && it->get<double>() != 0) {
    return unsupported("BPE dropout {}: encoding would be random; set it to null",
                       it->get<double>());
  }
  BpeConfig config;
  if (const auto it = json.find("unk_token"); it != json.end() && !it->is_null()) {
    config.unk_token = it->get<std::string>();
  }
  config.continuing_subword_prefix = string_or_empty(json, "continuing_subword_prefix");
  config.end_of_word_suffix = string_or_empty(json, "end_of_word_suffix");
  config.fuse_unk = json.value("fuse_unk", false);
  config.byte_fallback = json.value("byte_fallback", false);
  config.ignore_merges = json.value("ignore_merges", false);
  return config;
}

Result<std::unique_ptr<Model>> parse_bpe(const Json& json) {
  ASSIGN_OR_RETURN(BpeConfig config, parse_bpe_config(json));
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

}  // namespace

Result<std::unique_ptr<Model>> Model::from_tables(const Json& json, std::string_view tables) {
  ASSIGN_OR_RETURN(BpeConfig config, parse_bpe_config(json));
  return BpeModel::from_tables(std::move(config), tables);
}

Result<std::unique_ptr<Model>> Model::from_json(const Json& json) {
  if (!json.is_object()) return invalid_argument("'model' is not an object");
  // Files of old library versions carry no type.
  const auto type = json.contains("type")     ? json.at("type").get<std::string>()
                    : json.contains("merges") ? std::string("BPE")
                                              : std::string("without a type");
  if (type == "BPE") return parse_bpe(json);
  return unsupported("tokenizer model '{}' is not supported; BPE is", type.substr(0, 40));
}

}  // namespace ramjet::text
