#include "text/tokenizer/charsmap_normalizers.h"

#include "base/json.h"
#include "text/tokenizer/charsmap.h"
#include "text/tokenizer/trie.h"
#include "text/tokenizer/utf8.h"

namespace ramjet::text {
namespace {

constexpr std::string_view kSpaceSymbol = "\xe2\x96\x81";  // ▁
constexpr size_t kMaxTextBytes = size_t{1} << 30;

Result<Charsmap> parse_charsmap(const Json& json) {
  const auto it = json.find("precompiled_charsmap");
  if (it == json.end() || it->is_null()) return Charsmap::create({});
  std::string bytes;
  if (!decode_base64(it->get_ref<const std::string&>(), bytes)) {
    return invalid_argument("normalizer: precompiled_charsmap is not base64");
  }
  return Charsmap::create(bytes);
}

Status too_long(size_t size) {
  return make_error(ErrorCode::kResourceExhausted, "normalized text of {} bytes, the limit is {}",
                    size, kMaxTextBytes);
}

class Precompiled : public Normalizer {
 public:
  explicit Precompiled(Charsmap map) : map_(std::move(map)) {}
  Status normalize(NormalizedText& piece) const override {
    size_t first = 0;
    std::string out = apply_precompiled(map_, piece.text, first);
    if (out.size() > kMaxTextBytes) return too_long(out.size());
    piece.text = std::move(out);
    if (piece.origin_bytes == 0) return ok_status();
    // A first character that vanishes leaves its place to the next.
    if (first == 0 && !piece.text.empty()) {
      first = static_cast<size_t>(utf8_length(piece.text[0]));
    }
    piece.origin_bytes = first;
    return ok_status();
  }

 private:
  Charsmap map_;
};

struct SentencePieceOptions {
  bool add_dummy_prefix;
  bool remove_extra_whitespaces;
  bool escape_whitespaces;
  bool whitespace_as_suffix;
  bool prefix_first_only;
};

class SentencePieceNormalizer : public Normalizer {
 public:
  SentencePieceNormalizer(Charsmap map, SentencePieceOptions options,
                          const std::vector<std::string>& user_defined)
      : map_(std::move(map)), options_(options) {
    std::vector<ByteTrie::Entry> entries;
    for (const std::string& text : user_defined) entries.emplace_back(text, 0);
    user_defined_ = ByteTrie(std::move(entries));
  }

  Status normalize(NormalizedText& piece) const override {
    std::string_view in = piece.text;
    const bool extra = !options_.remove_extra_whitespaces;
    while (!extra && !in.empty()) {
      const auto [text, length] = next(in);
      if (text != " ") break;
      in.remove_prefix(length);
    }
    std::string out;
    if (!in.empty()) {
      const std::string_view space = options_.escape_whitespaces ? kSpaceSymbol : " ";
      const bool dummy =
          options_.add_dummy_prefix && (!options_.prefix_first_only || piece.origin_bytes > 0);
      out.reserve(in.size() + in.size() / 2 + 8);
      if (dummy && !options_.whitespace_as_suffix) out += space;
      if (!rewrite(in, space, out)) return too_long(out.size());
      while (!extra && out.ends_with(space)) out.resize(out.size() - space.size());
      if (dummy && options_.whitespace_as_suffix) out += space;
    }
    piece.text = std::move(out);
    piece.origin_bytes = std::min(piece.origin_bytes, piece.text.size());
    return ok_status();
  }

 private:
  struct Prefix {
    std::string_view text;
    size_t length;
  };
  /// What the begin of `in` becomes, and how long that begin is.
  Prefix next(std::string_view in) const {
    if (!user_defined_.empty()) {
      const size_t length = user_defined_.longest_prefix(in).first;
      if (length > 0) return {in.substr(0, length), length};
    }
    if (const auto rule = map_.longest(in)) return {rule->replacement, rule->length};
    const auto length = static_cast<size_t>(utf8_length(in[0]));
    return {in.substr(0, length), length};
  }

  bool rewrite(std::string_view in, std::string_view space, std::string& out) const {
    const bool remove = options_.remove_extra_whitespaces;
    bool after_space = remove;
    while (!in.empty()) {
      auto [text, length] = next(in);
      in.remove_prefix(length);
      while (after_space && text.starts_with(' ')) text.remove_prefix(1);
      for (const char c : text) c == ' ' ? (void)(out += space) : out.push_back(c);
      if (!text.empty()) after_space = remove && text.back() == ' ';
      if (out.size() > kMaxTextBytes) return false;
    }
    return true;
  }

  Charsmap map_;
  SentencePieceOptions options_;
  ByteTrie user_defined_;
};

}  // namespace

Result<std::unique_ptr<Normalizer>> make_precompiled(const Json& json) {
  ASSIGN_OR_RETURN(Charsmap map, parse_charsmap(json));
  return std::unique_ptr<Normalizer>(std::make_unique<Precompiled>(std::move(map)));
}

Result<std::unique_ptr<Normalizer>> make_sentencepiece_normalizer(const Json& json) {
  ASSIGN_OR_RETURN(Charsmap map, parse_charsmap(json));
  const SentencePieceOptions options{
      json.value("add_dummy_prefix", true), json.value("remove_extra_whitespaces", true),
      json.value("escape_whitespaces", true), json.value("whitespace_as_suffix", false),
      json.value("prefix_first_only", false)};
  return std::unique_ptr<Normalizer>(std::make_unique<SentencePieceNormalizer>(
      std::move(map), options, json.value("user_defined", std::vector<std::string>())));
}

}  // namespace ramjet::text
