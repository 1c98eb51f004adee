#include "text/tokenizer/conversion.h"

#include "base/json.h"

namespace ramjet::text {
namespace {

Json special_piece(const Boundary& token, int type_id) {
  return {{"SpecialToken", {{"id", token.name}, {"type_id", type_id}}}};
}

Json text_piece(const char* id, int type_id) {
  return {{"Sequence", {{"id", id}, {"type_id", type_id}}}};
}

void define(const Boundary& token, Json& tokens) {
  if (token.name.empty()) return;
  tokens[token.name] = {
      {"id", token.name}, {"ids", Json::array({token.id})}, {"tokens", Json::array({token.name})}};
}

}  // namespace

Json byte_level_json(bool use_regex) {
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
  return {{"type", "Sequence"}, {"pretokenizers", Json::array({split, byte_level_json(false)})}};
}

Json special_token(std::string_view content, int64_t id) {
  return {{"id", id},        {"content", content},  {"single_word", false}, {"lstrip", false},
          {"rstrip", false}, {"normalized", false}, {"special", true}};
}

Json json_skeleton() {
  return {{"version", "1.0"},
          {"truncation", nullptr},
          {"padding", nullptr},
          {"added_tokens", Json::array()},
          {"normalizer", nullptr},
          {"post_processor", nullptr},
          {"decoder", byte_level_json(true)}};
}

Json bos_eos_template(const Boundary& bos, const Boundary& eos) {
  if (bos.name.empty() && eos.name.empty()) return nullptr;
  const auto around = [&](const char* id, int type_id, Json& list) {
    if (!bos.name.empty()) list.push_back(special_piece(bos, type_id));
    list.push_back(text_piece(id, type_id));
    if (!eos.name.empty()) list.push_back(special_piece(eos, type_id));
  };
  Json single = Json::array();
  Json pair = Json::array();
  around("A", 0, single);
  around("A", 0, pair);
  around("B", 1, pair);
  Json tokens = Json::object();
  define(bos, tokens);
  define(eos, tokens);
  return {{"type", "TemplateProcessing"},
          {"single", std::move(single)},
          {"pair", std::move(pair)},
          {"special_tokens", std::move(tokens)}};
}

Json bert_template(const Boundary& cls, const Boundary& sep) {
  Json out = {{"type", "TemplateProcessing"}};
  out["single"] = Json::array({special_piece(cls, 0), text_piece("A", 0), special_piece(sep, 0)});
  out["pair"] = out["single"];
  out["pair"].push_back(text_piece("B", 1));
  out["pair"].push_back(special_piece(sep, 1));
  Json tokens = Json::object();
  define(cls, tokens);
  define(sep, tokens);
  out["special_tokens"] = std::move(tokens);
  return out;
}

}  // namespace ramjet::text
