// SentencePiece .model files of type BPE become the tokenizer.json that Hugging Face's converter
// for Llama would write. The file is a protobuf (sentencepiece_model.proto); we read the few
// fields that matter.
#include <algorithm>
#include <bit>
#include <cstring>
#include <unordered_map>

#include "base/json.h"
#include "text/tokenizer/tokenizer_impl.h"
#include "text/tokenizer/utf8.h"

namespace ramjet::text {
namespace {

constexpr size_t kMaxPieceBytes = 1024;

/// One field of a protobuf message.
struct Field {
  uint32_t number = 0;
  uint64_t value = 0;      // varint or fixed
  std::string_view bytes;  // length-delimited
};

class ProtoReader {
 public:
  explicit ProtoReader(std::string_view bytes) : bytes_(bytes) {}
  bool done() const { return bytes_.empty(); }

  Result<Field> next() {
    ASSIGN_OR_RETURN(const uint64_t tag, varint());
    Field field;
    field.number = static_cast<uint32_t>(tag >> 3);
    switch (tag & 7) {
      case 0: {
        ASSIGN_OR_RETURN(field.value, varint());
        return field;
      }
      case 1: return fixed(field, 8);
      case 5: return fixed(field, 4);
      case 2: {
        ASSIGN_OR_RETURN(const uint64_t size, varint());
        if (size > bytes_.size()) return truncated();
        field.bytes = bytes_.substr(0, size);
        bytes_.remove_prefix(size);
        return field;
      }
      default: return corrupt("SentencePiece model: unknown wire type {}", tag & 7);
    }
  }

 private:
  static Error truncated() { return corrupt("SentencePiece model: the file ends in a field"); }

  Result<uint64_t> varint() {
    uint64_t out = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      if (bytes_.empty()) return truncated();
      const auto byte = static_cast<unsigned char>(bytes_[0]);
      bytes_.remove_prefix(1);
      out |= static_cast<uint64_t>(byte & 0x7f) << shift;
      if (byte < 0x80) return out;
    }
    return corrupt("SentencePiece model: a number is too long");
  }

  Result<Field> fixed(Field field, size_t size) {
    if (bytes_.size() < size) return truncated();
    std::memcpy(&field.value, bytes_.data(), size);
    bytes_.remove_prefix(size);
    return field;
  }

  std::string_view bytes_;
};

enum PieceType {
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6
};

struct Piece {
  std::string_view text;
  float score = 0;
  int type = kNormal;
};

struct SentencePieceModel {
  std::vector<Piece> pieces;
  uint64_t model_type = 1;
  bool byte_fallback = false;
  bool add_dummy_prefix = true;
  bool remove_extra_whitespaces = true;
  bool charsmap = false;
};

Status read_piece(std::string_view bytes, SentencePieceModel& model) {
  Piece piece;
  for (ProtoReader reader(bytes); !reader.done();) {
    ASSIGN_OR_RETURN(const Field field, reader.next());
    if (field.number == 1) piece.text = field.bytes;
    if (field.number == 2) piece.score = std::bit_cast<float>(static_cast<uint32_t>(field.value));
    if (field.number == 3) piece.type = static_cast<int>(field.value & 0xff);
  }
  if (piece.text.empty() || piece.text.size() > kMaxPieceBytes || !is_valid_utf8(piece.text)) {
    return invalid_argument("SentencePiece model: piece {} is empty, over {} bytes or not UTF-8",
                            model.pieces.size(), kMaxPieceBytes);
  }
  model.pieces.push_back(piece);
  return ok_status();
}

Status read_specs(const Field& spec, SentencePieceModel& model) {
  for (ProtoReader reader(spec.bytes); !reader.done();) {
    ASSIGN_OR_RETURN(const Field field, reader.next());
    if (spec.number == 2 && field.number == 3) model.model_type = field.value;
    if (spec.number == 2 && field.number == 35) model.byte_fallback = field.value != 0;
    if (spec.number == 3 && field.number == 2) model.charsmap = !field.bytes.empty();
    if (spec.number == 3 && field.number == 3) model.add_dummy_prefix = field.value != 0;
    if (spec.number == 3 && field.number == 4) model.remove_extra_whitespaces = field.value != 0;
  }
  return ok_status();
}

Result<SentencePieceModel> read_model(std::string_view bytes) {
  SentencePieceModel model;
  for (ProtoReader reader(bytes); !reader.done();) {
    ASSIGN_OR_RETURN(const Field field, reader.next());
    if (field.number == 1) RETURN_IF_ERROR(read_piece(field.bytes, model));
    if (field.number == 2 || field.number == 3) RETURN_IF_ERROR(read_specs(field, model));
  }
  if (model.model_type != 2) {
    return unsupported("SentencePiece model type {}: only BPE (2) is read; provide tokenizer.json",
                       model.model_type);
  }
  if (model.charsmap) {
    return unsupported("SentencePiece model with a normalization table; provide tokenizer.json");
  }
  if (model.pieces.empty()) return invalid_argument("SentencePiece model without pieces");
  return model;
}

/// A way to make a piece: ranked by the piece's score, then by the longer parts.
struct Candidate {
  float score;
  size_t left_length;  // in characters
  size_t right_length;
  std::string_view left;
  std::string_view right;
};

Json merges_by_score(const SentencePieceModel& model) {
  std::unordered_map<std::string_view, size_t> ids;
  for (size_t i = 0; i < model.pieces.size(); ++i) {
    if (model.pieces[i].type == kNormal) ids.emplace(model.pieces[i].text, i);
  }
  std::vector<Candidate> all;
  std::vector<std::pair<std::pair<size_t, size_t>, Candidate>> local;
  for (const Piece& piece : model.pieces) {
    if (piece.type != kNormal) continue;
    local.clear();
    size_t characters = 0;
    for (const char c : piece.text) characters += (c & 0xc0) != 0x80;
    size_t done = 0;
    for (size_t cut = 0; cut < piece.text.size();) {
      cut += static_cast<size_t>(utf8_length(piece.text[cut]));
      ++done;
      const auto left = ids.find(piece.text.substr(0, cut));
      const auto right = ids.find(piece.text.substr(cut));
      if (left == ids.end() || right == ids.end()) continue;
      local.push_back({{left->second, right->second},
                       {piece.score, done, characters - done, left->first, right->first}});
    }
    std::stable_sort(local.begin(), local.end(),
                     [](const auto& a, const auto& b) { return a.first < b.first; });
    for (const auto& [order, candidate] : local) all.push_back(candidate);
  }
  std::stable_sort(all.begin(), all.end(), [](const Candidate& a, const Candidate& b) {
    if (a.score != b.score) return a.score > b.score;
    if (a.left_length != b.left_length) return a.left_length > b.left_length;
    return a.right_length > b.right_length;
  });
  Json merges = Json::array();
  for (const Candidate& c : all) {
    merges.push_back(Json::array({std::string(c.left), std::string(c.right)}));
  }
  return merges;
}

Json replace(std::string_view from, std::string_view to) {
  return {{"type", "Replace"}, {"pattern", {{"String", from}}}, {"content", to}};
}

Json bos_template(const Json& bos, int64_t id) {
  const Json piece = {{"SpecialToken", {{"id", bos}, {"type_id", 0}}}};
  const Json text = {{"Sequence", {{"id", "A"}, {"type_id", 0}}}};
  Json tokens = Json::object();
  tokens[bos.get<std::string>()] = {
      {"id", bos}, {"ids", Json::array({id})}, {"tokens", Json::array({bos})}};
  return {{"type", "TemplateProcessing"},
          {"single", Json::array({piece, text})},
          {"pair", Json::array()},
          {"special_tokens", std::move(tokens)}};
}

Json convert(const SentencePieceModel& model) {
  Json out = {{"version", "1.0"}, {"added_tokens", Json::array()}, {"pre_tokenizer", nullptr}};
  Json vocab = Json::object();
  Json unk;
  for (size_t id = 0; id < model.pieces.size(); ++id) {
    const Piece& piece = model.pieces[id];
    vocab[std::string(piece.text)] = id;
    if (piece.type == kUnknown) unk = piece.text;
    if (piece.type == kControl && piece.text == "<s>") {
      out["post_processor"] = bos_template(piece.text, static_cast<int64_t>(id));
    }
    if (piece.type == kUnknown || piece.type == kControl || piece.type == kUserDefined) {
      out["added_tokens"].push_back({{"id", id},
                                     {"content", piece.text},
                                     {"normalized", false},
                                     {"special", piece.type != kUserDefined}});
    }
  }
  Json normalizers = Json::array();
  if (model.remove_extra_whitespaces) {
    normalizers.push_back({{"type", "Strip"}, {"strip_left", true}, {"strip_right", true}});
    normalizers.push_back(
        {{"type", "Replace"}, {"pattern", {{"Regex", " {2,}"}}}, {"content", " "}});
  }
  if (model.add_dummy_prefix) normalizers.push_back({{"type", "Prepend"}, {"prepend", "▁"}});
  normalizers.push_back(replace(" ", "▁"));
  out["normalizer"] = {{"type", "Sequence"}, {"normalizers", std::move(normalizers)}};
  Json decoders = Json::array({replace("▁", " "), {{"type", "ByteFallback"}}, {{"type", "Fuse"}}});
  if (model.add_dummy_prefix) {
    decoders.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
  }
  out["decoder"] = {{"type", "Sequence"}, {"decoders", std::move(decoders)}};
  out["model"] = {{"type", "BPE"},
                  {"unk_token", unk},
                  {"fuse_unk", true},
                  {"byte_fallback", model.byte_fallback},
                  {"merges", merges_by_score(model)}};
  out["model"]["vocab"] = std::move(vocab);
  return out;
}

}  // namespace

Result<std::string> json_from_sentencepiece(std::string_view bytes) {
  try {
    ASSIGN_OR_RETURN(const SentencePieceModel model, read_model(bytes));
    return dump_json(convert(model));
  } catch (const Json::exception& e) {
    return invalid_argument("SentencePiece model: {}", e.what());
  }
}

}  // namespace ramjet::text
