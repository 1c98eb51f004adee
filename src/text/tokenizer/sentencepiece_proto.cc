// Reads the fields of sentencepiece_model.proto that matter, and no others.
#include <bit>
#include <cmath>
#include <cstring>

#include "text/tokenizer/sentencepiece_model.h"
#include "text/tokenizer/utf8.h"

namespace ramjet::text {
namespace {

constexpr size_t kMaxPieceBytes = 1024;
constexpr size_t kMaxPieces = size_t{1} << 22;

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
      default:
        return corrupt("SentencePiece model: field {} has wire type {}; not a .model file?",
                       field.number, tag & 7);
    }
  }

 private:
  static Error truncated() {
    return corrupt("SentencePiece model: the file ends inside a field; fetch it again");
  }

  Result<uint64_t> varint() {
    uint64_t out = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      if (bytes_.empty()) return truncated();
      const auto byte = static_cast<unsigned char>(bytes_[0]);
      bytes_.remove_prefix(1);
      out |= static_cast<uint64_t>(byte & 0x7f) << shift;
      if (byte < 0x80) return out;
    }
    return corrupt("SentencePiece model: a number is too long; not a .model file?");
  }

  Result<Field> fixed(Field field, size_t size) {
    if (bytes_.size() < size) return truncated();
    std::memcpy(&field.value, bytes_.data(), size);
    bytes_.remove_prefix(size);
    return field;
  }

  std::string_view bytes_;
};

Status read_piece(std::string_view bytes, SentencePieceModel& model) {
  SentencePieceModel::Piece piece;
  std::string_view text;
  uint64_t type = kPieceNormal;
  for (ProtoReader reader(bytes); !reader.done();) {
    ASSIGN_OR_RETURN(const Field field, reader.next());
    if (field.number == 1) text = field.bytes;
    if (field.number == 2) piece.score = std::bit_cast<float>(static_cast<uint32_t>(field.value));
    if (field.number == 3) type = field.value;
  }
  const size_t index = model.pieces.size();
  if (index >= kMaxPieces) {
    return invalid_argument("SentencePiece model: more than {} pieces", kMaxPieces);
  }
  if (text.empty() || text.size() > kMaxPieceBytes || !is_valid_utf8(text)) {
    return invalid_argument("SentencePiece model: piece {} is empty, over {} bytes or not UTF-8",
                            index, kMaxPieceBytes);
  }
  if (!std::isfinite(piece.score) || type < kPieceNormal || type > kPieceByte) {
    return invalid_argument("SentencePiece model: piece {} has score {} and type {}", index,
                            piece.score, type);
  }
  piece.text = text;
  piece.type = static_cast<PieceType>(type);
  model.pieces.push_back(std::move(piece));
  return ok_status();
}

Status read_trainer_spec(std::string_view bytes, SentencePieceModel& model) {
  for (ProtoReader reader(bytes); !reader.done();) {
    ASSIGN_OR_RETURN(const Field field, reader.next());
    if (field.number == 3) {
      if (field.value < 1 || field.value > 4) {
        return unsupported("SentencePiece model: trainer_spec.model_type {} is unknown",
                           field.value);
      }
      model.algorithm = static_cast<SentencePieceModel::Algorithm>(field.value);
    }
    if (field.number == 24) model.whitespace_as_suffix = field.value != 0;
    if (field.number == 35) model.byte_fallback = field.value != 0;
    if (field.number == 46 && is_valid_utf8(field.bytes)) model.bos_piece = field.bytes;
    if (field.number == 47 && is_valid_utf8(field.bytes)) model.eos_piece = field.bytes;
  }
  return ok_status();
}

Status read_normalizer_spec(std::string_view bytes, SentencePieceModel& model) {
  for (ProtoReader reader(bytes); !reader.done();) {
    ASSIGN_OR_RETURN(const Field field, reader.next());
    if (field.number == 2) model.charsmap = field.bytes;
    if (field.number == 3) model.add_dummy_prefix = field.value != 0;
    if (field.number == 4) model.remove_extra_whitespaces = field.value != 0;
    if (field.number == 5) model.escape_whitespaces = field.value != 0;
  }
  return ok_status();
}

}  // namespace

Result<SentencePieceModel> read_sentencepiece(std::string_view bytes) {
  SentencePieceModel model;
  for (ProtoReader reader(bytes); !reader.done();) {
    ASSIGN_OR_RETURN(const Field field, reader.next());
    if (field.number == 1) RETURN_IF_ERROR(read_piece(field.bytes, model));
    if (field.number == 2) RETURN_IF_ERROR(read_trainer_spec(field.bytes, model));
    if (field.number == 3) RETURN_IF_ERROR(read_normalizer_spec(field.bytes, model));
  }
  if (model.pieces.empty()) {
    return invalid_argument("SentencePiece model without pieces; not a .model file?");
  }
  return model;
}

}  // namespace ramjet::text
