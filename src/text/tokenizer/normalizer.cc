#include "text/tokenizer/normalizer.h"

#include <algorithm>
#include <vector>

#include "base/json.h"
#include "text/tokenizer/byte_level.h"
#include "text/tokenizer/charsmap_normalizers.h"
#include "text/tokenizer/pattern.h"
#include "text/tokenizer/unicode.h"
#include "text/tokenizer/utf8.h"

namespace ramjet::text {
namespace {

constexpr size_t kMaxTextBytes = size_t{1} << 30;

size_t first_character_bytes(std::string_view text) {
  return text.empty() ? 0 : static_cast<size_t>(utf8_length(text[0]));
}

class SequenceNormalizer : public Normalizer {
 public:
  explicit SequenceNormalizer(std::vector<std::unique_ptr<Normalizer>> parts)
      : parts_(std::move(parts)) {}
  Status normalize(NormalizedText& piece) const override {
    for (const auto& part : parts_) RETURN_IF_ERROR(part->normalize(piece));
    return ok_status();
  }

 private:
  std::vector<std::unique_ptr<Normalizer>> parts_;
};

class Prepend : public Normalizer {
 public:
  explicit Prepend(std::string prefix) : prefix_(std::move(prefix)) {}
  Status normalize(NormalizedText& piece) const override {
    if (piece.text.empty()) return ok_status();
    piece.text.insert(0, prefix_);
    if (piece.origin_bytes > 0) piece.origin_bytes += prefix_.size();
    return ok_status();
  }

 private:
  std::string prefix_;
};

class ReplaceNormalizer : public Normalizer {
 public:
  ReplaceNormalizer(Pattern pattern, std::string content)
      : pattern_(std::move(pattern)), content_(std::move(content)) {}
  Status normalize(NormalizedText& piece) const override {
    ASSIGN_OR_RETURN(std::string out, pattern_.replace(piece.text, content_));
    if (out.size() > kMaxTextBytes) {
      return make_error(ErrorCode::kResourceExhausted,
                        "normalized text of {} bytes, the limit is {}", out.size(), kMaxTextBytes);
    }
    if (piece.origin_bytes > 0 && piece.origin_bytes <= piece.text.size()) {
      const std::string_view head(piece.text.data(), piece.origin_bytes);
      ASSIGN_OR_RETURN(std::string new_head, pattern_.replace(head, content_));
      piece.origin_bytes = std::min(new_head.size(), out.size());
    }
    piece.text = std::move(out);
    return ok_status();
  }

 private:
  Pattern pattern_;
  std::string content_;
};

class UnicodeForm : public Normalizer {
 public:
  explicit UnicodeForm(NormalForm form) : form_(form) {}
  Status normalize(NormalizedText& piece) const override {
    std::string out = normalize_form(piece.text, form_);
    if (piece.origin_bytes > 0) {
      const std::string_view head(piece.text.data(),
                                  std::min(piece.origin_bytes, piece.text.size()));
      size_t end = std::max(normalize_form(head, form_).size(), first_character_bytes(out));
      end = std::min(end, out.size());
      // What composes with the next character takes it along.
      while (end < out.size() && (out[end] & 0xc0) == 0x80) ++end;
      piece.origin_bytes = end;
    }
    piece.text = std::move(out);
    return ok_status();
  }

 private:
  NormalForm form_;
};

/// Keeps, drops or rewrites characters one at a time.
template <class Rewrite>
class CharacterWise : public Normalizer {
 public:
  explicit CharacterWise(Rewrite rewrite) : rewrite_(rewrite) {}
  Status normalize(NormalizedText& piece) const override {
    std::string out;
    out.reserve(piece.text.size());
    size_t origin = 0;
    for (size_t pos = 0; pos < piece.text.size();) {
      rewrite_(out, next_code_point(piece.text, pos));
      if (pos <= piece.origin_bytes) origin = out.size();
    }
    piece.text = std::move(out);
    piece.origin_bytes = origin;
    return ok_status();
  }

 private:
  Rewrite rewrite_;
};

template <class Rewrite>
std::unique_ptr<Normalizer> character_wise(Rewrite rewrite) {
  return std::make_unique<CharacterWise<Rewrite>>(rewrite);
}

class StripNormalizer : public Normalizer {
 public:
  StripNormalizer(bool left, bool right) : left_(left), right_(right) {}
  Status normalize(NormalizedText& piece) const override {
    const std::string_view text = piece.text;
    size_t begin = 0;
    size_t end = text.size();
    while (left_ && begin < end) {
      size_t next = begin;
      if (!is_space(next_code_point(text, next))) break;
      begin = next;
    }
    while (right_ && end > begin) {
      const size_t last = previous_character(text, end);
      size_t at = last;
      if (!is_space(next_code_point(text, at))) break;
      end = last;
    }
    piece.origin_bytes = piece.origin_bytes > begin ? piece.origin_bytes - begin : 0;
    piece.text = std::string(text.substr(begin, end - begin));
    return ok_status();
  }

 private:
  bool left_;
  bool right_;
};

class ByteLevelNormalizer : public Normalizer {
 public:
  Status normalize(NormalizedText& piece) const override {
    std::string out;
    if (piece.origin_bytes > 0) {
      append_byte_level(out, std::string_view(piece.text).substr(0, piece.origin_bytes));
      piece.origin_bytes = out.size();
      out.clear();
    }
    append_byte_level(out, piece.text);
    piece.text = std::move(out);
    return ok_status();
  }
};

/// What the library's Nmt drops, and what it makes a space of.
void clean_nmt(std::string& out, uint32_t c) {
  const bool dropped = (c >= 1 && c <= 8) || c == 0xb || (c >= 0xe && c <= 0x1f) || c == 0x7f ||
                       c == 0x8f || c == 0x9f;
  const bool space = c == 9 || c == 0xa || c == 0xc || c == 0xd || c == 0x1680 ||
                     (c >= 0x200b && c <= 0x200f) || c == 0x2028 || c == 0x2029 || c == 0x2581 ||
                     c == 0xfeff || c == 0xfffd;
  if (!dropped) append_code_point(out, space ? ' ' : c);
}

bool is_cjk(uint32_t c) {
  static constexpr CodePointRange kRanges[] = {
      {0x3400, 0x4dbf},   {0x4e00, 0x9fff},   {0xf900, 0xfaff},  {0x20000, 0x2a6df},
      {0x2a700, 0x2b81f}, {0x2b920, 0x2ceaf}, {0x2f800, 0x2fa1f}};
  for (const CodePointRange& r : kRanges) {
    if (c >= r.first && c <= r.last) return true;
  }
  return false;
}

void clean_bert(std::string& out, uint32_t c) {
  if (is_bert_control(c)) return;
  // The library's "whitespace" here leaves U+0085 out: that one counts as a control character.
  is_space(c) ? out.push_back(' ') : append_code_point(out, c);
}

void space_cjk(std::string& out, uint32_t c) {
  if (!is_cjk(c)) return append_code_point(out, c);
  out += ' ';
  append_code_point(out, c);
  out += ' ';
}

std::vector<std::unique_ptr<Normalizer>> bert_parts(const Json& json) {
  std::vector<std::unique_ptr<Normalizer>> parts;
  const bool lowercase = json.value("lowercase", true);
  bool strip = lowercase;
  if (const auto it = json.find("strip_accents"); it != json.end() && !it->is_null()) {
    strip = it->get<bool>();
  }
  if (json.value("clean_text", true)) parts.push_back(character_wise(clean_bert));
  if (json.value("handle_chinese_chars", true)) parts.push_back(character_wise(space_cjk));
  if (strip) {
    parts.push_back(std::make_unique<UnicodeForm>(NormalForm::kNfd));
    parts.push_back(character_wise([](std::string& out, uint32_t c) {
      if (!is_bert_nonspacing(c)) append_code_point(out, c);
    }));
  }
  if (lowercase) parts.push_back(character_wise(append_lower));
  return parts;
}

Result<std::unique_ptr<Normalizer>> parse(const Json& json, int depth);

Result<std::unique_ptr<Normalizer>> parse_sequence(const Json& json, int depth) {
  std::vector<std::unique_ptr<Normalizer>> parts;
  for (const Json& part : json.at("normalizers")) {
    ASSIGN_OR_RETURN(auto parsed, parse(part, depth + 1));
    parts.push_back(std::move(parsed));
  }
  return std::unique_ptr<Normalizer>(std::make_unique<SequenceNormalizer>(std::move(parts)));
}

Result<std::unique_ptr<Normalizer>> parse(const Json& json, int depth) {
  using Out = std::unique_ptr<Normalizer>;
  if (depth > 16) return invalid_argument("normalizers nest deeper than 16 levels");
  const auto type = json.at("type").get<std::string>();
  if (type == "Sequence") return parse_sequence(json, depth);
  if (type == "Prepend") {
    return Out(std::make_unique<Prepend>(json.at("prepend").get<std::string>()));
  }
  if (type == "Replace") {
    ASSIGN_OR_RETURN(Pattern pattern, Pattern::from_json(json.at("pattern")));
    return Out(std::make_unique<ReplaceNormalizer>(std::move(pattern),
                                                   json.at("content").get<std::string>()));
  }
  if (type == "Precompiled") return make_precompiled(json);
  if (type == "SentencePiece") return make_sentencepiece_normalizer(json);
  if (type == "ByteLevel") return Out(std::make_unique<ByteLevelNormalizer>());
  if (type == "Nmt") return character_wise(clean_nmt);
  if (type == "NFC") return Out(std::make_unique<UnicodeForm>(NormalForm::kNfc));
  if (type == "NFD") return Out(std::make_unique<UnicodeForm>(NormalForm::kNfd));
  if (type == "NFKC") return Out(std::make_unique<UnicodeForm>(NormalForm::kNfkc));
  if (type == "NFKD") return Out(std::make_unique<UnicodeForm>(NormalForm::kNfkd));
  if (type == "Lowercase") return character_wise(append_lower);
  if (type == "Strip") {
    return Out(std::make_unique<StripNormalizer>(json.value("strip_left", true),
                                                 json.value("strip_right", true)));
  }
  if (type == "StripAccents") {
    return character_wise([](std::string& out, uint32_t c) {
      if (!(char_flags(c) & kCharCombining)) append_code_point(out, c);
    });
  }
  if (type == "BertNormalizer") {
    return Out(std::make_unique<SequenceNormalizer>(bert_parts(json)));
  }
  return unsupported(
      "normalizer '{}' is not one that `tokenizers` 0.23 has: see docs/tokenizers.md",
      type.substr(0, 40));
}

}  // namespace

Result<std::unique_ptr<Normalizer>> Normalizer::from_json(const Json& json) {
  if (json.is_null()) return std::unique_ptr<Normalizer>();
  return parse(json, 0);
}

}  // namespace ramjet::text
