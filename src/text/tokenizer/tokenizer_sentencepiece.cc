// The tokenizer.json of a SentencePiece model. Ids must be those of the sentencepiece library, so
// its normalizer and its ways to rank are kept (types and fields that only this project reads).
#include <algorithm>
#include <unordered_map>

#include "base/json.h"
#include "text/tokenizer/charsmap.h"
#include "text/tokenizer/conversion.h"
#include "text/tokenizer/sentencepiece_model.h"
#include "text/tokenizer/utf8.h"

namespace ramjet::text {
namespace {

/// Each way to join two pieces to a third, by the third's score; equal scores, equal ranks.
void add_merges(const SentencePieceModel& model, Json& out) {
  struct Candidate {
    float score;
    size_t piece;
    size_t cut;
  };
  std::unordered_map<std::string_view, size_t> ids;
  for (size_t i = 0; i < model.pieces.size(); ++i) {
    if (model.pieces[i].type == kPieceNormal) ids[model.pieces[i].text] = i;
  }
  std::vector<Candidate> all;
  for (size_t i = 0; i < model.pieces.size(); ++i) {
    const std::string_view text = model.pieces[i].text;
    if (model.pieces[i].type != kPieceNormal) continue;
    for (size_t cut = static_cast<size_t>(utf8_length(text[0])); cut < text.size();
         cut += static_cast<size_t>(utf8_length(text[cut]))) {
      if (ids.contains(text.substr(0, cut)) && ids.contains(text.substr(cut))) {
        all.push_back({model.pieces[i].score, i, cut});
      }
    }
  }
  std::stable_sort(all.begin(), all.end(),
                   [](const Candidate& a, const Candidate& b) { return a.score > b.score; });
  Json merges = Json::array();
  std::vector<uint32_t> ranks;
  uint32_t rank = 0;
  for (size_t i = 0; i < all.size(); ++i) {
    if (i > 0 && all[i].score != all[i - 1].score) ++rank;
    const std::string& text = model.pieces[all[i].piece].text;
    merges.push_back(Json::array({text.substr(0, all[i].cut), text.substr(all[i].cut)}));
    ranks.push_back(rank);
  }
  out["merges"] = std::move(merges);
  out["merge_ranks"] = std::move(ranks);
}

std::vector<std::string> user_defined(const SentencePieceModel& model) {
  std::vector<std::string> out;
  for (const auto& piece : model.pieces) {
    if (piece.type == kPieceUserDefined) out.push_back(piece.text);
  }
  return out;
}

Json model_json(const SentencePieceModel& model) {
  Json out = {{"byte_fallback", model.byte_fallback}};
  size_t unk = model.pieces.size();
  for (size_t id = 0; id < model.pieces.size(); ++id) {
    if (model.pieces[id].type == kPieceUnknown) unk = id;
  }
  const bool has_unk = unk < model.pieces.size();
  if (model.algorithm == SentencePieceModel::kUnigram) {
    out["type"] = "Unigram";
    if (has_unk) out["unk_id"] = unk;
    Json vocab = Json::array();
    Json types = Json::array();
    for (const auto& piece : model.pieces) {
      vocab.push_back(Json::array({piece.text, piece.score}));
      types.push_back(static_cast<int>(piece.type));
    }
    out["vocab"] = std::move(vocab);
    out["piece_types"] = std::move(types);
    return out;
  }
  out["type"] = "BPE";
  if (has_unk) out["unk_token"] = model.pieces[unk].text;
  out["fuse_unk"] = true;
  out["user_defined"] = user_defined(model);
  out["merges"] = Json::array();
  // A character model is one whose characters never join.
  if (model.algorithm == SentencePieceModel::kBpe) add_merges(model, out);
  Json vocab = Json::object();
  for (size_t id = 0; id < model.pieces.size(); ++id) vocab[model.pieces[id].text] = id;
  out["vocab"] = std::move(vocab);
  return out;
}

bool flag(const Json& config, const char* key, bool otherwise) {
  const auto it = config.find(key);
  return it != config.end() && it->is_boolean() ? it->get<bool>() : otherwise;
}

Json post_processor_json(const SentencePieceModel& model, const Json& config) {
  Boundary bos;
  Boundary eos;
  for (size_t id = 0; id < model.pieces.size(); ++id) {
    const auto& piece = model.pieces[id];
    if (piece.type != kPieceControl) continue;
    if (piece.text == model.bos_piece) bos = {piece.text, static_cast<int64_t>(id)};
    if (piece.text == model.eos_piece) eos = {piece.text, static_cast<int64_t>(id)};
  }
  const bool unigram = model.algorithm == SentencePieceModel::kUnigram;
  const bool t5 = config.value("tokenizer_class", std::string()).starts_with("T5");
  if (!flag(config, "add_eos_token", t5 || (unigram && bos.name.empty()))) eos = {};
  if (!flag(config, "add_bos_token", !unigram && !t5)) bos = {};
  return bos_eos_template(bos, eos);
}

Json replace(std::string_view from, std::string_view to) {
  return {{"type", "Replace"}, {"pattern", {{"String", from}}}, {"content", to}};
}

/// Their `transformers` classes number the pieces anew.
bool renumbers(std::string_view tokenizer_class) {
  for (const char* name : {"XLMRoberta", "Camembert", "MBart", "NllbTokenizer", "M2M100", "XGLM",
                           "Barthez", "Pegasus", "Plbart", "Speech2Text", "Deberta"}) {
    if (tokenizer_class.starts_with(name)) return true;
  }
  return false;
}

Result<Json> convert(const SentencePieceModel& model, const Json& config) {
  const auto name = config.value("tokenizer_class", std::string());
  if (renumbers(name)) {
    return unsupported(
        "a SentencePiece model with tokenizer_class '{}', which numbers pieces anew; provide its "
        "tokenizer.json",
        name.substr(0, 60));
  }
  if (model.algorithm == SentencePieceModel::kWord) {
    return unsupported(
        "SentencePiece model of words (trainer_spec.model_type 3): BPE, Unigram and "
        "character models are read; provide tokenizer.json");
  }
  Json out = {{"version", "1.0"}, {"added_tokens", Json::array()}, {"pre_tokenizer", nullptr}};
  out["model"] = model_json(model);
  for (size_t id = 0; id < model.pieces.size(); ++id) {
    const auto& piece = model.pieces[id];
    if (piece.type != kPieceUnknown && piece.type != kPieceControl) continue;
    out["added_tokens"].push_back(
        {{"id", id}, {"content", piece.text}, {"normalized", false}, {"special", true}});
  }
  out["normalizer"] = {{"type", "SentencePiece"},
                       {"precompiled_charsmap", encode_base64(model.charsmap)},
                       {"add_dummy_prefix", model.add_dummy_prefix},
                       {"remove_extra_whitespaces", model.remove_extra_whitespaces},
                       {"escape_whitespaces", model.escape_whitespaces},
                       {"whitespace_as_suffix", model.whitespace_as_suffix},
                       {"prefix_first_only", !flag(config, "legacy", true)},
                       {"user_defined", user_defined(model)}};
  out["post_processor"] = post_processor_json(model, config);
  Json decoders = Json::array({replace("▁", " "), {{"type", "ByteFallback"}}, {{"type", "Fuse"}}});
  if (model.add_dummy_prefix || model.remove_extra_whitespaces) {
    // All the spaces that lead where extra ones go, as no piece has two of them then.
    const int start = model.remove_extra_whitespaces ? 1 << 16 : 1;
    decoders.push_back({{"type", "Strip"}, {"content", " "}, {"start", start}, {"stop", 0}});
  }
  out["decoder"] = {{"type", "Sequence"}, {"decoders", std::move(decoders)}};
  return out;
}

}  // namespace

Result<Json> json_of_sentencepiece(const SentencePieceModel& model, std::string_view config_json) {
  try {
    Json config = Json::object();
    if (!config_json.empty()) {
      ASSIGN_OR_RETURN(config, parse_json(config_json, 48));
      if (!config.is_object()) return invalid_argument("tokenizer_config.json is not an object");
    }
    return convert(model, config);
  } catch (const Json::exception& e) {
    return invalid_argument("SentencePiece model: {}", e.what());
  }
}

}  // namespace ramjet::text
